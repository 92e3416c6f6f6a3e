"""The contract of every loss of the catalog. A new loss enters by its row (and its formula in naive.py)."""

from __future__ import annotations

import copy
import functools
import importlib.util
import math
import pickle
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from noisylabels import losses
from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, PAPER, PER_LABEL, WRAPPERS, evaluation, loss
from noisylabels.losses.curve import curve
from noisylabels.losses.modules import Loss


def _load_naive():  # --import-mode=importlib knows no neighbors
    spec = importlib.util.spec_from_file_location("tests_losses_naive", Path(__file__).parent / "naive.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


naive = _load_naive()

ENTRIES = list(LOSSES)
NUMBER_OF_ENTRIES = 74
NUMBER_OF_FAST_ENTRIES = 51

FUNCTIONS = [name for name in ENTRIES if name.isidentifier()]
SINGLE = [name for name in FUNCTIONS if LOSSES[name].template == name and name not in WRAPPERS]
HALVES = (torch.float16, torch.bfloat16)
DTYPES = (torch.float32, *HALVES)
EXTREME = 1e4


@pytest.fixture(params=ENTRIES)
def name(request):
    return request.param


@pytest.fixture(params=SINGLE)
def single(request):
    return request.param


def logits_of(*shape, seed=0, scale=2.0, dtype=torch.float64):
    return (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    ).to(dtype)


def labels_of(*shape, classes, seed=1):
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def variants(name):
    """The entry with its defaults, and with the other parameters that naive.py wants tried."""
    yield name
    function = name if name in WRAPPERS else naive.stem(name)[1] if name in SINGLE else None
    if function is not None:
        for given in naive.PARAMETERS.get(function, []):
            yield f"{name}({','.join(f'{key}={value!r}' for key, value in given.items())})"


def gradient(made, z, t):
    z = z.detach().clone().requires_grad_()
    value = made(z, t)
    (found,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), found


def extremes(classes, dtype=torch.float32):
    """Rows of logits at their worst, every label of the first few classes on each."""
    rows = []
    high, low = EXTREME, -EXTREME
    for fill, spike in ((low, high), (high, low), (0.0, high), (0.0, low), (high, 0.0), (low, 0.0)):
        rows.append([spike] + [fill] * (classes - 1))
        rows.append([spike, spike] + [fill] * (classes - 2))
    rows += [[high] * classes, [low] * classes, [0.0] * classes]
    rows.append([high if k % 2 else low for k in range(classes)])
    rows.append([EXTREME * (2 * k / (classes - 1) - 1) for k in range(classes)])
    rows.append([-100.0, 100.0] + [float(k % 7) for k in range(classes - 2)])
    rows.append([-EXTREME, 1.0] + [float(k % 7) for k in range(classes - 2)])
    z = torch.tensor(rows, dtype=dtype)
    few = min(classes, 3)
    return z.repeat_interleave(few, 0), torch.arange(few).repeat(len(rows))


def test_the_suite_visits_every_entry_of_the_catalog(capsys):
    assert list(LOSSES) == ENTRIES
    assert len(ENTRIES) == NUMBER_OF_ENTRIES, (
        f"the catalog has {len(ENTRIES)} entries, this suite knows of {NUMBER_OF_ENTRIES}: when you add a "
        "loss, write its formula into naive.py and raise NUMBER_OF_ENTRIES"
    )
    assert len(SINGLE) == sum(3 if row.pointwise else 1 for row in PER_LABEL.values())
    assert set(PAPER) <= set(ENTRIES)
    assert len(PAPER) == 12
    with capsys.disabled():
        print(f"\nloss contract: {len(ENTRIES)} entries of the catalog")


# Value and gradient against the naive loop


@pytest.mark.parametrize("classes", [2, 3, 7, 10])
def test_value_and_gradient_equal_the_naive_loop(name, classes):
    z, t = logits_of(6, classes, seed=classes), labels_of(6, classes=classes)
    for expression in variants(name):
        made = loss(expression, reduction="none")
        value, slope = gradient(made, z, t)
        for n, (row, label) in enumerate(zip(z.tolist(), t.tolist(), strict=True)):
            assert value[n].item() == pytest.approx(
                naive.value(expression, row, label, t.tolist()), rel=1e-11, abs=1e-13
            )
            for k in range(classes):
                wanted = naive.slope(expression, row, label, k, labels=t.tolist())
                assert slope[n, k].item() == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("classes", [1000, 100_000])
def test_value_and_gradient_equal_the_naive_loop_for_many_classes(name, classes):
    z, t = logits_of(2, classes, seed=5), labels_of(2, classes=classes)
    t[0] = z[0].argmax()
    expression = LOSSES[name].expression
    value, slope = gradient(loss(name, reduction="none"), z, t)
    n = 0
    row, label = z[n].tolist(), int(t[n])
    wanted = naive.value(expression, row, label, t.tolist())
    assert value[n].item() == pytest.approx(wanted, rel=1e-9)
    if classes > 1000:
        return  # a slope is four values in plain Python; test_float32_is_precise compares slopes
    for k in (label, 0):
        # the step is wide: a central difference of a value near 1 has an error of 1e-16 / step
        wanted = naive.slope(expression, row, label, k, step=2e-2, labels=t.tolist())
        assert slope[n, k].item() == pytest.approx(wanted, rel=1e-5, abs=1e-12)


def test_gradcheck(name):
    near_one, near_zero = [9.0, 0.0, -1.0, 0.5], [-9.0, 1.0, 0.0, 2.0]
    z = torch.cat([logits_of(3, 4), torch.tensor([near_one, near_zero], dtype=torch.float64)])
    z.requires_grad_()
    t = torch.tensor([0, 1, 2, 0, 0])
    for expression in variants(name):
        made = loss(expression, reduction="none")
        assert torch.autograd.gradcheck(lambda z, made=made: made(z, t), (z,), eps=1e-6, atol=1e-7)


def test_second_derivatives(name):
    z, t = logits_of(2, 4).requires_grad_(), torch.tensor([0, 3])
    for expression in variants(name):
        made = loss(expression)
        assert torch.autograd.gradgradcheck(lambda z, made=made: made(z, t), (z,), atol=1e-6), expression


def test_upstream_gradient(name):
    z, t = logits_of(5, 7), labels_of(5, classes=7)
    made = loss(name, reduction="none")
    up = torch.tensor([0.0, -1.0, 3.0, 1e-3, 1e3], dtype=torch.float64)
    _, plain = gradient(made, z, t)
    z.requires_grad_()
    (scaled,) = torch.autograd.grad(made(z, t), z, up)
    torch.testing.assert_close(scaled, up[:, None] * plain, rtol=1e-12, atol=1e-15)


# Shapes


@pytest.mark.parametrize("shape", [(5,), (5, 3), (2, 3, 4)], ids=["N", "N,d", "N,H,W"])
@pytest.mark.parametrize("classes", [2, 7])
def test_shapes(name, shape, classes):
    n, *rest = shape
    z, t = logits_of(n, classes, *rest), labels_of(*shape, classes=classes)
    made = loss(name, reduction="none")
    value, slope = gradient(made, z, t)
    assert value.shape == shape
    assert slope.shape == z.shape
    flat_z, flat_t = z.movedim(1, -1).reshape(-1, classes), t.reshape(-1)
    flat_value, flat_slope = gradient(made, flat_z, flat_t)
    torch.testing.assert_close(value.reshape(-1), flat_value)
    torch.testing.assert_close(slope.movedim(1, -1).reshape(-1, classes), flat_slope)


def test_labels_of_any_integer_type_and_layouts_of_any_kind(name):
    z, t = logits_of(4, 5, 6), labels_of(4, 6, classes=5)
    made = loss(name)
    wanted = made(z, t)
    for dtype in (torch.int32, torch.int16, torch.uint8):
        assert made(z, t.to(dtype)) == wanted
    strided = z.movedim(1, -1).contiguous().movedim(-1, 1)
    assert not strided.is_contiguous()
    torch.testing.assert_close(made(strided, t), wanted)


def test_wrong_labels_and_shapes_are_named(name):
    made = loss(name)
    with pytest.raises(InputError, match=r"target\[2\] is 5, expected a label in \[0, 4\]"):
        made(torch.zeros(3, 5), torch.tensor([0, 1, 5]))
    with pytest.raises(InputError, match=r"target\[1\] is -1, .* or -100, which is ignored"):
        made(torch.zeros(2, 5), torch.tensor([-100, -1]))
    with pytest.raises(
        InputError, match=r"target is torch.int64 of shape \(4,\), expected .* of shape \(3,\)"
    ):
        made(torch.zeros(3, 5), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(InputError, match="integer labels"):
        made(torch.zeros(3, 5), torch.zeros(3))
    with pytest.raises(InputError, match="K of 2 or more"):
        made(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="floating-point"):
        made(torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="there are 4 class weights for 5 classes"):
        loss(name, weight=torch.ones(4))(torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64))


# Numbers at their ends


@pytest.mark.parametrize("dtype", [torch.float64, *DTYPES], ids=str)
@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_extreme_logits_give_finite_values_and_gradients(name, classes, dtype):
    z, t = extremes(classes, dtype)
    for expression in variants(name):
        for reduction in losses.modules.REDUCTIONS:
            value, slope = gradient(loss(expression, reduction=reduction), z, t)
            assert torch.isfinite(value).all(), expression
            assert torch.isfinite(slope).all(), expression
            assert value.dtype == (dtype if dtype == torch.float64 else torch.float32)
            assert slope.dtype == dtype


def test_extreme_logits_for_100_000_classes(name):
    z = torch.zeros(4, 100_000)
    z[0, 0], z[1, 1], z[2] = EXTREME, EXTREME, -EXTREME
    z[2, :50_000] = EXTREME
    t = torch.tensor([0, 0, 99_999, 7])
    for dtype in DTYPES:
        value, slope = gradient(loss(name, reduction="none"), z.to(dtype), t)
        assert torch.isfinite(value).all()
        assert torch.isfinite(slope).all()


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_no_hidden_nan_on_the_way_back(name):
    """A NaN that a later mask throws away is found by anomaly detection, and breaks second derivatives."""
    z, t = extremes(3)
    for expression in variants(name):
        with torch.autograd.detect_anomaly(check_nan=True):
            x = z.clone().requires_grad_()
            loss(expression)(x, t).backward()


def test_extreme_values_are_right(name):
    z, t = extremes(3, torch.float64)
    for expression in variants(name):
        value = loss(expression, reduction="none")(z.float(), t)
        wanted = [
            naive.value(expression, row, label, t.tolist())
            for row, label in zip(z.tolist(), t.tolist(), strict=True)
        ]
        # peer takes the difference of two costs of 1e4
        torch.testing.assert_close(
            value, torch.tensor(wanted), rtol=1e-5, atol=5e-3 if name == "peer" else 1e-6
        )


# Precision: float32 against float64. Tolerances: values 2e-6 relative plus 5e-7 absolute, times the
# loss's scale (values are sums of numbers near it); gradients likewise.


# Where float32 cannot do it, by how much more: each is a difference of numbers larger than itself, or a
# sum of so many. All other entries and numbers of classes keep to the limits.
HARD_IN_FLOAT32 = {
    ("nnael", 10): 3,  # its gains are small differences of numbers near 1
    ("nnaul", 10): 3,
    ("nce+aul", 2): 1.5,  # aul's gradient is up to 8
    ("ldr_kl", 10): 4,  # lam times what is left of two numbers near log K
    ("peer", 1000): 4,  # a small difference of two costs
    ("gjs", 100_000): 8,  # an entropy of so many log-probabilities, each rounded
    ("eps_softmax", 100_000): 6,  # a softmax over 1 and 99,999 floors of 1e-8, which a float32 sum loses
}


@functools.cache
def scale_of(name, classes):
    # which are searched for, among as many predictions as K
    size = max(abs(end) for end in loss(name).bounds(min(classes, 100)))
    return size if math.isfinite(size) else 1.0


@pytest.mark.parametrize("classes", [2, 10, 1000, 100_000])
def test_float32_is_precise(name, classes):
    n = 2 if classes == 100_000 else 64
    z, t = logits_of(n, classes, seed=3, scale=4.0, dtype=torch.float32), labels_of(n, classes=classes)
    for expression in variants(name) if classes < 1000 else [name]:
        made = loss(expression, reduction="none")
        value, slope = gradient(made, z, t)
        right, right_slope = gradient(made, z.double(), t)
        scale = scale_of(expression, classes)
        more = HARD_IN_FLOAT32.get((name, classes), 1)
        if classes == 100_000 and torch.backends.cpu.get_cpu_capability() == "AVX2":
            more *= 4  # torch sums twice as many numbers one after the other as with AVX-512
        torch.testing.assert_close(value.double(), right, rtol=more * 2e-6, atol=more * 5e-7 * scale)
        torch.testing.assert_close(
            slope.double(), right_slope, rtol=more * 2e-5, atol=more * 5e-7 * min(scale, 4)
        )


def test_the_gradient_of_a_tiny_p_keeps_its_relative_precision(name):
    z = torch.tensor([[-y, 0.0, 1.0, 0.5, -0.5] for y in (10.0, 20.0, 30.0, 60.0)])
    if any(prefix == "nn" for _, prefix, *_ in naive.terms(LOSSES[name].expression)):
        z = z[:1]  # below 1e-7 it clamps; above, it takes differences
        tolerance = 5e-3
    else:
        tolerance = 1e-4 if name in ("logit_clip", "logit_norm") else 2e-6  # whose norm takes part
        tolerance = 4e-6 if name == "nl" else tolerance  # log p near -60 is rounded twice
    t = torch.zeros(len(z), dtype=torch.int64)
    for expression in variants(name):
        made = loss(expression, reduction="none")
        _, slope = gradient(made, z, t)
        _, right = gradient(made, z.double(), t)
        torch.testing.assert_close(slope[:, 0].double(), right[:, 0], rtol=tolerance, atol=0)


def test_halves_are_computed_in_float32(name):
    t = labels_of(8, classes=10)
    for dtype in HALVES:
        z = logits_of(8, 10, dtype=dtype)
        value, slope = gradient(loss(name), z, t)
        right, right_slope = gradient(loss(name), z.float(), t)
        assert value == right
        assert torch.equal(slope, right_slope.to(dtype))


def test_under_autocast(name):
    z, t = logits_of(8, 10, dtype=torch.float32), labels_of(8, classes=10)
    layer = nn.Linear(10, 10)
    wanted, wanted_slope = gradient(loss(name), z, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, slope = gradient(loss(name), z, t)
        out = layer(z)
        assert out.dtype == torch.bfloat16
        mixed = loss(name)(out, t)
    assert value.dtype == mixed.dtype == torch.float32
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(slope, wanted_slope)
    assert mixed == loss(name)(out.detach().float(), t)
    mixed.backward()
    assert torch.isfinite(layer.weight.grad).all()


# The fast path


def is_fast(name):
    return loss(name)._plan.fast


def test_which_entries_go_the_fast_way():
    assert sum(map(is_fast, ENTRIES)) == NUMBER_OF_FAST_ENTRIES
    assert all(map(is_fast, PAPER))
    for name in ENTRIES:
        assert is_fast(name) == all(
            term.row.pointwise and not term.row.views and not term.wraps for term in loss(name).terms
        )


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_fast_path_equals_the_reference(name, classes):
    if not is_fast(name):
        return
    w = torch.rand(classes, generator=torch.Generator().manual_seed(4))
    t = labels_of(9, classes=classes)
    t[2] = -100
    for dtype in (torch.float64, torch.float32):
        z = logits_of(9, classes, scale=4.0, dtype=dtype)
        for expression in variants(name):
            for weight in (None, w):
                made = loss(expression, weight=weight)
                how = evaluation.TargetOptions(weight, "mean", -100, 0.0)
                fast = gradient(made, z, t)
                slow = gradient(lambda z, t: evaluation.evaluate(made._plan.parts, z, t, how), z, t)  # noqa: B023
                rtol, atol = (
                    (1e-9, 1e-12) if dtype == torch.float64 else (1e-5, 5e-7 * scale_of(name, classes))
                )
                for got, wanted in zip(fast, slow, strict=True):
                    torch.testing.assert_close(got, wanted, rtol=rtol, atol=atol)


# Classes masked by logits of -inf, as of other tasks or of classes that come later

UNDEFINED_IF_MASKED = {  # of the logits themselves, or of costs of every label, one of which is infinite
    "unhinged",
    "ls",
    "logit_clip",
    "logit_norm",
}


def masked_at(least, made, classes, dtype):
    """Return logits whose last class is masked by `least`, and a function that adds a view if needed."""
    first, other = (logits_of(9, classes, seed=seed, dtype=dtype) for seed in (0, 2))
    first[:, -1] = other[:, -1] = least
    return first, lambda z: (z, other) if "two views" in made.needs else z


@pytest.mark.parametrize("classes", [5, 40])  # the compiled kernel has a way for each
def test_masked_classes_have_the_value_and_gradient_of_the_limit(name, classes):
    t = labels_of(9, classes=classes - 1)
    how = evaluation.TargetOptions(None, "none", -100, 0.0)
    for expression in variants(name):
        made = loss(expression, reduction="none")
        reference = functools.partial(evaluation.evaluate, made._plan.parts, options=how)
        z, handed = masked_at(-1e100, made, classes, torch.float64)
        right = gradient(lambda z, t: reference(handed(z), t), z, t)  # noqa: B023
        for dtype, way in ((d, w) for d in (torch.float64, torch.float32) for w in (made, reference)):
            z, handed = masked_at(-math.inf, made, classes, dtype)
            found = gradient(lambda z, t: way(handed(z), t), z, t)  # noqa: B023
            if name in UNDEFINED_IF_MASKED:
                assert not all(each.isfinite().all() for each in found)
                continue
            rtol, atol = (1e-9, 1e-12) if dtype == torch.float64 else (1e-4, 1e-5)
            for got, wanted in zip(found, right, strict=True):
                torch.testing.assert_close(got.double(), wanted, rtol=rtol, atol=atol)
            assert (found[1][:, -1] == 0).all()


# Reduction and class weights


def test_reductions(name):
    z, t = logits_of(4, 5, 3), labels_of(4, 3, classes=5)
    each = loss(name, reduction="none")(z, t)
    torch.testing.assert_close(loss(name)(z, t), each.mean())
    torch.testing.assert_close(loss(name, reduction="sum")(z, t), each.sum())


def test_class_weights(name):
    if any(wrap.row.of == "label" for term in loss(name).terms for wrap in term.wraps):
        return  # several labels, each with its weight: test_targets.py
    z, t = logits_of(4, 5, 3), labels_of(4, 3, classes=5)
    w = torch.tensor([0.0, 0.1, 1.0, 2.0, 7.3], dtype=torch.float64)
    each = loss(name, reduction="none")(z, t)
    weighted = torch.tensor(
        [
            [w[label] * value for label, value in zip(labels, values, strict=True)]
            for labels, values in zip(t.tolist(), each.tolist(), strict=True)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(loss(name, reduction="none", weight=w)(z, t), weighted)
    torch.testing.assert_close(loss(name, reduction="sum", weight=w)(z, t), weighted.sum())
    torch.testing.assert_close(loss(name, weight=w)(z, t), weighted.sum() / w[t].sum())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rest", [(), (3,), (2, 3)], ids=str)
def test_ce_is_cross_entropy(reduction, weighted, rest):
    z, t = logits_of(4, 5, *rest), labels_of(4, *rest, classes=5)
    w = torch.tensor([0.0, 0.1, 1.0, 2.0, 7.3], dtype=torch.float64) if weighted else None
    value, slope = gradient(loss("ce", reduction=reduction, weight=w), z, t)
    wanted, wanted_slope = gradient(nn.CrossEntropyLoss(weight=w, reduction=reduction), z, t)
    torch.testing.assert_close(value, wanted, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(slope, wanted_slope, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(losses.ce(z, t, reduction=reduction, weight=w), wanted, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(wanted, nn.functional.cross_entropy(z, t, weight=w, reduction=reduction))


# What the catalog claims


def predictions(classes, n=60):
    """Random log-probabilities, from nearly one-hot to nearly even."""
    rows = []
    for number, concentration in enumerate((0.01, 0.1, 1.0, 10.0, 1000.0)):
        torch.manual_seed(number)
        spread = torch.distributions.Dirichlet(torch.full((classes,), concentration, dtype=torch.float64))
        rows.append(spread.sample((n,)).clamp_min(1e-300).log())
    return torch.cat(rows)


@pytest.fixture(autouse=True)
def _keep_the_global_random_state():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("classes", [2, 3, 30])
def test_the_sum_over_labels_is_constant_exactly_where_claimed(name, classes):
    certain = torch.zeros(1, classes, dtype=torch.float64)
    certain[0, 1] = 1e30  # heavy tails come near it only so far out
    z = torch.cat([predictions(classes, n=10), certain])
    for expression in variants(name):
        made = loss(expression, reduction="none")
        if "the whole batch" in made.needs:
            assert made.label_sum(classes) is None
            continue
        sums = sum(made(z, torch.full((len(z),), k)) for k in range(classes))
        claim = made.label_sum(classes)
        if claim is None:
            low, high = made.bounds(classes)  # some have a large constant in them
            size = sums.abs().max() if math.isinf(high - low) else high - low
            assert sums.max() - sums.min() > 0.01 * size
        else:
            assert isinstance(claim, float)
            size = torch.stack([made(z, torch.full((len(z),), k)) for k in range(classes)]).abs().amax(0)
            slack = 1e-9 * size.clamp_min(abs(claim))  # a symmetrized loss sums to 0
            assert ((sums - claim).abs() <= slack).all(), expression


@pytest.mark.parametrize("classes", [2, 3, 30])
def test_bounds_hold_and_are_tight(name, classes):
    random_z = predictions(classes)
    far = 1e30  # nce tends to 1 only as K log K / |log p| does to 0, and heavy tails take long
    worst, _ = extremes(classes, torch.float64)
    excluded = torch.zeros(7, classes, dtype=torch.float64)
    excluded[0, 0] = -far
    excluded[1] = -far
    excluded[1, 1] = 0
    excluded[2, :] = far / (classes - 1)
    excluded[2, 0] = -far
    excluded[3, :2] = torch.tensor([-far, far])
    excluded[4, 0] = far
    excluded[5] = -excluded[2]
    excluded[6] = -far / (classes - 1)
    excluded[6, 1] = far
    between = torch.zeros(3001, classes, dtype=torch.float64)
    between[:, 0] = torch.linspace(-30, 30, 3001)
    jumps = torch.tensor([0.05, 0.2], dtype=torch.float64).unsqueeze(1) * (1 + 1e-9)  # of piecewise_zero
    jumps = torch.cat([jumps, ((1 - jumps) / (classes - 1)).expand(2, classes - 1)], 1).log()
    z = torch.cat([random_z, worst, excluded, between, jumps])
    t = torch.zeros(len(z), dtype=torch.int64)
    for expression in variants(name):
        made = loss(expression, reduction="none")
        low, high = made.bounds(classes)
        if "the whole batch" in made.needs:
            assert (low, high) == (-math.inf, math.inf)
            continue
        values = made(z, t)
        slack = 1e-9 * max(1.0, min(high, 1e9))
        assert low - slack <= values.min()
        assert values.max() <= high + slack
        if "+amse" in made.expression:
            continue  # its terms take their extremes apart
        if math.isfinite(high):
            assert values.max() >= high - 1e-4 * (high - low)
        else:
            assert values.max() > 1000
        if low == -math.inf:
            assert values.min() < -1000
        elif name not in ("ls", "conf_penalty"):  # least between: test_limits.py
            assert values.min() <= low + 1e-9


def test_the_catalog_row_is_filled(name):
    entry = LOSSES[name]
    made = loss(entry.expression)
    assert entry.name == name
    assert made.kind in ("active", "passive", "active + passive")
    for text in (entry.title, entry.source, entry.use, made.equation):
        assert len(text) > 3
        assert "{" not in text
    for term in made.terms:
        for key, default in term.row.defaults.items():
            assert key in term.row.domain, f"{key} of {term.row.name} has no limits in the catalog"
            assert term.row.parameters({key: default})[key] == default
            for bad in (math.nan, math.inf, -math.inf, "2", True):
                with pytest.raises(InputError, match=f"the parameter {key} of"):
                    term.row.parameters({key: bad})


# Forms


def test_expression_round_trip(name):
    for expression in variants(name):
        for factor in (1, 0.1, 3, 1e-7):
            made = factor * loss(expression)
            again = loss(made.expression)
            assert again.expression == made.expression
            assert again.terms == made.terms
            shouted = re.sub(r"(?<![\w.])[a-z]\w*(?![\w=])", lambda m: m[0].upper(), made.expression)
            assert loss(shouted).terms == made.terms


def test_module_equals_function(single):
    z, t = logits_of(4, 5, 3), labels_of(4, 3, classes=5)
    function = getattr(losses, single)
    w = torch.tensor([0.5, 0.1, 1.0, 2.0, 7.3], dtype=torch.float64)
    _, stem = naive.stem(single)
    assert function.__name__ == single
    assert losses.function(single) is function
    for reduction in ("mean", "sum", "none"):
        for given in [{}, *naive.PARAMETERS.get(stem, [])]:
            text = single + (f"({','.join(f'{k}={v!r}' for k, v in given.items())})" if given else "")
            for weight in (None, w):
                module = loss(text, reduction=reduction, weight=weight)
                assert torch.equal(function(z, t, reduction=reduction, weight=weight, **given), module(z, t))
    for words in ("logits", "target", "reduction", "Source", "Raises", *PER_LABEL[stem].defaults):
        assert words in function.__doc__
    with pytest.raises(InputError, match="unknown reduction 'men'; did you mean 'mean'"):
        function(z, t, reduction="men")
    with pytest.raises(InputError, match="has no parameter 'nonsense'"):
        function(z, t, nonsense=1)


@pytest.mark.parametrize("name", [name for name in ENTRIES if name not in SINGLE])
def test_functions_of_sums_and_wrappers_equal_their_modules(name):
    z, t = logits_of(4, 5, 3), labels_of(4, 3, classes=5)
    function = losses.function(name)
    assert torch.equal(function(z, t), loss(name)(z, t))
    for key, default in LOSSES[name].defaults.items():
        given = {key: 0.5 * default}
        assert torch.equal(function(z, t, **given), loss(f"{name}({key}={0.5 * default!r})")(z, t))
        assert key in function.__doc__
    with pytest.raises(InputError, match="has no parameter 'nonsense'"):
        function(z, t, nonsense=1)


def test_a_sum_of_modules_is_the_sum_of_their_values(name):
    z, t = logits_of(6, 5), labels_of(6, classes=5)
    parts = [loss(str(term)) for term in loss(name).terms]
    assert sum(parts).expression == loss(name).expression
    torch.testing.assert_close(loss(name)(z, t), sum(part(z, t) for part in parts))
    torch.testing.assert_close(
        (2 * loss(name) + loss("ce") * 0.5)(z, t), 2 * loss(name)(z, t) + loss("ce")(z, t) / 2
    )


def test_copies_and_pickles(name):
    z, t = logits_of(6, 5, dtype=torch.float32), labels_of(6, classes=5)
    made = loss(f"3*{name}" if name.isidentifier() else name, weight=torch.rand(5), reduction="sum")
    for other in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(other(z, t), made(z, t))
        assert other.terms == made.terms
        assert other.kind == made.kind
        assert other.label_sum(5) == made.label_sum(5)
        assert (made + other).terms == (2 * made).terms  # they merge: the rows are the same
    with torch.no_grad():
        copied = copy.deepcopy(made)
        copied.weight.zero_()
        assert made.weight.any()


def test_state_and_moves(name):
    w = torch.tensor([0.5, 0.1, 1.0, 2.0, 7.3])
    made = loss(name, weight=w)
    assert list(made.parameters()) == []
    assert list(made.state_dict()) == ["weight"]
    other = loss(name, weight=torch.ones(5))
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.weight, w)
    assert list(loss(name).state_dict()) == []
    assert made.to(torch.float64).weight.dtype == torch.float64
    assert made.to("meta").weight.device.type == "meta"
    made.train().eval()
    meta = loss(name)(torch.zeros(4, 5, device="meta"), torch.zeros(4, device="meta", dtype=torch.int64))
    assert meta.shape == ()  # nothing in the forward pass looks at a value: no wait for a device


def test_vmap_and_functional_gradients(name):
    z, t = logits_of(6, 5), labels_of(6, classes=5)
    made = loss(name)
    if "the whole batch" in made.needs:
        return
    each = torch.func.vmap(torch.func.grad(lambda z, t: made(z[None], t[None])))(z, t)
    torch.testing.assert_close(each, gradient(loss(name, reduction="sum"), z, t)[1])


def test_curve(name):
    drawn = curve(loss(name, reduction="sum", weight=torch.full((4,), 9.0)), num_classes=4, points=9)
    expression = LOSSES[name].expression
    assert {name: len(numbers) for name, numbers in drawn.items()} == dict.fromkeys(
        ("p", "value", "gradient", "weight"), 9
    )
    for p, value, slope in zip(drawn["p"], drawn["value"], drawn["gradient"], strict=True):
        row = [math.log(p), *[math.log((1 - p) / 3)] * 3]
        even = range(4)  # the labels of the batch that a curve assumes
        assert value == pytest.approx(naive.value(expression, row, 0, even), rel=1e-9, abs=1e-12)
        if name in ("boot_hard", "eps_softmax") and abs(p - 0.25) < 1e-9:
            continue  # all alike, where the largest changes: there is no slope
        if name == "tgce" and p == 0.5:
            continue  # its joint
        step = 1e-6 if "phuber" in name else 1e-3  # at its joint, p = 1/2, the second derivative jumps
        wanted = naive.slope(expression, row, 0, 0, step, even)
        assert slope == pytest.approx(wanted, rel=1e-5, abs=1e-9)
        if name == "blurry":
            assert (slope > 0) == (p < math.exp(-1 / 0.5))  # it lowers the probability of an unlikely label
        elif name not in ("ls", "peer", "conf_penalty"):  # which stop short of p = 1
            assert slope <= 1e-12


def test_curve_checks():
    drawn = curve(loss("ce"), points=2)
    assert drawn["p"] == [1e-4, 1 - 1e-4]
    with torch.no_grad():
        assert curve(loss("ce"), points=2) == drawn
    for given in ({"num_classes": 1}, {"points": 1}, {"points": 2.0}, {"num_classes": True}):
        with pytest.raises(InputError, match="expected an integer of 2 or more"):
            curve(loss("ce"), **given)


# Compilation


# torch's compiler itself makes an object of each autograd.Function, and torch warns of that
COMPILER_WARNS = pytest.mark.filterwarnings(
    "ignore:.*Function.> should not be instantiated:DeprecationWarning"
)


# forms and sums are the same code for every function: each function and wrapper is compiled, and some of them
COMPILED = [name for name in ENTRIES if name in WRAPPERS or (name in SINGLE and not naive.stem(name)[0])]


@COMPILER_WARNS
@pytest.mark.parametrize("name", [*COMPILED, "nfl", "nnagce", "nce+rce", "anl_fl", "jal_ce"])
def test_compiles_without_graph_breaks(name):
    z, t = logits_of(6, 5, dtype=torch.float32), labels_of(6, classes=5)
    expression = list(variants(name))[-1]
    made = loss(expression, weight=torch.rand(5))
    torch._dynamo.reset()
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(gradient(compiled, z, t), gradient(made, z, t), strict=True):
        torch.testing.assert_close(got, wanted)
    torch._dynamo.reset()


@COMPILER_WARNS
@pytest.mark.parametrize(
    "name",
    [name for name in FUNCTIONS if name not in SINGLE or not naive.stem(name)[0] or name[-4:] == "ngce"],
)
def test_functions_compile_without_graph_breaks_whatever_their_parameters(name):
    z, t = logits_of(6, 5, dtype=torch.float32), labels_of(6, classes=5)
    w = torch.rand(5)
    keys = list(LOSSES[name].defaults)

    def step(z, t, *values):
        given = dict(zip(keys, values, strict=True))
        return getattr(losses, name)(z, t, reduction="sum", weight=w, **given)

    torch._dynamo.reset()
    # breaks are found before the backend, and modules of the same code go through aot_eager above
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    limits = losses.functional.domain(LOSSES[name])
    for factor in (1, 0.5, 0.25, 0.75):  # from the second on, the compiler takes floats for variables
        values = [
            value
            if limits.get(key, {}).get("whole") or key == "t2"
            else max(factor * value, low(limits, key))
            for key, value in LOSSES[name].defaults.items()
        ]
        torch.testing.assert_close(compiled(z, t, *values), step(z, t, *values))
    torch._dynamo.reset()


def low(limits, key):
    """The least value of a parameter that its limits let pass."""
    least = limits.get(key, {}).get("low", -math.inf)
    return least + 0.5 * limits.get(key, {}).get("open_low", False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("expression", ["nce+2*mae", "nfl+nnfl"])
def test_inductor(expression):
    made = loss(expression)
    torch._dynamo.reset()
    compiled = torch.compile(made, fullgraph=True)
    z, t = logits_of(6, 5, dtype=torch.float32), labels_of(6, classes=5)
    for got, wanted in zip(gradient(compiled, z, t), gradient(made, z, t), strict=True):
        torch.testing.assert_close(got, wanted)
    z, t = extremes(5)
    for numbers in gradient(compiled, z, t):
        assert torch.isfinite(numbers).all()
    torch._dynamo.reset()


def test_arithmetic_refuses_what_makes_no_sense():
    ce = loss("ce")
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="the weight of 'ce' is"):
            bad * ce
    with pytest.raises(InputError, match="inf"):
        1e200 * (1e200 * ce)
    with pytest.raises(TypeError):
        ce * True
    for bad in (torch.tensor(2.0), torch.ones(3)):
        for attempt in (lambda x=bad: x * ce, lambda x=bad: ce * x, lambda x=bad: ce / x):
            with pytest.raises(InputError, match=r"multiplied by a tensor of shape .* expected a number"):
                attempt()
    assert (ce / 4).expression == "0.25*ce"
    assert ((ce + loss("mae")) / 3).expression == (loss("ce+mae") * (1 / 3)).expression
    with pytest.raises(InputError, match="divided by 0"):
        ce / 0
    with pytest.raises(InputError, match="the weight of 'ce' is"):
        ce / -1
    with pytest.raises(TypeError):
        ce / True
    with pytest.raises(TypeError):
        1 / ce
    with pytest.raises(TypeError):
        ce + 1
    with pytest.raises(TypeError):
        ce - ce
    with pytest.raises(TypeError):
        ce + torch.zeros(3)
    with pytest.raises(InputError, match="reduction or class weights"):
        ce + loss("mae", reduction="sum")
    with pytest.raises(InputError, match="reduction or class weights"):
        ce + loss("mae", weight=torch.ones(3))
    same = loss("ce", weight=torch.ones(3)) + loss("mae", weight=torch.ones(3))
    assert repr(same) == 'Loss("ce+mae", weight=(3 class weights))'
    assert repr(nn.Sequential(loss("ce", reduction="sum"))).count("Loss(\"ce\", reduction='sum')") == 1
    for bad in (torch.ones(2, 2), torch.tensor([1.0, math.nan]), torch.tensor([-1.0, 1.0])):
        with pytest.raises(InputError, match="class weights are"):
            loss("ce", weight=bad)
    with pytest.raises(InputError, match="at least one term"):
        Loss([])
    assert loss("ce", weight=torch.tensor([1, 2])).weight.dtype == torch.float32
    assert loss("ce", weight=torch.ones(2, dtype=torch.float64)).weight.dtype == torch.float64
