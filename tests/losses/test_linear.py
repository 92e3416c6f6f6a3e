"""`linear_loss` against a linear layer followed by the loss: the same numbers, without all logits."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, linear, linear_loss, loss
from noisylabels.losses.evaluation import IGNORE

NEEDY = [name for name in LOSSES if loss(name).needs]
FIT = [name for name in LOSSES if name not in NEEDY]
SOME = ["ce", "nce+rce", "nfl+mae", "5*nce+5*nnce", "nce+amse", "temper(nce+mae, T=2)", "ls(ce)"]


def layer(n=13, size=5, classes=7, seed=0, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    x, w, b = (
        (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()
        for shape in ((n, size), (classes, size), (classes,))
    )
    return x, w, b, torch.randint(classes, (n,), generator=generator)


def gradients(value, given, up=None):
    return torch.autograd.grad(value, given, torch.ones_like(value) if up is None else up)


def assert_same(made, x, w, b, t, up=None, **close):
    given = [one for one in (x, w, b) if one is not None and one.requires_grad]
    whole = made(functional.linear(x, w, b), t)
    value = linear_loss(made, x, w, t, b)
    torch.testing.assert_close(value, whole, **close)
    for got, wanted in zip(gradients(value, given, up), gradients(whole, given, up), strict=True):
        torch.testing.assert_close(got, wanted, **close)


@pytest.fixture(params=[1, 3 * 7 * 8, 10**6], ids=["1 row", "3 rows", "all rows"])
def blocks(request, monkeypatch):
    """Set the size of a block in bytes, without the lower limit of half the weight's size."""
    monkeypatch.setattr(linear, "BLOCK_BYTES", request.param)
    monkeypatch.setattr(
        linear, "block_rows", lambda weight, itemsize: max(1, request.param // (itemsize * len(weight)))
    )


@pytest.mark.parametrize("text", FIT)
def test_every_entry_of_the_catalog_is_as_through_logits(text, blocks):
    assert len(FIT) + len(NEEDY) == len(LOSSES)
    x, w, b, t = layer()
    t[::4] = IGNORE
    assert_same(loss(text), x, w, b, t)


@pytest.mark.parametrize("text", SOME)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [IGNORE, 2, None])
def test_every_form(text, reduction, weighted, ignore, blocks):
    x, w, b, t = layer()
    weights = torch.rand(7, dtype=torch.float64) if weighted else None
    if ignore == IGNORE:
        t[::4] = IGNORE
    made = loss(text, reduction=reduction, weight=weights, ignore_index=ignore)
    up = torch.randn(13, dtype=torch.float64) if reduction == "none" else torch.tensor(-2.5).double()
    assert_same(made, x, w, b, t, up)
    assert_same(made, x, w, None, t.to(torch.int32), up)


@pytest.mark.parametrize("text", SOME)
def test_tokens_have_a_dimension_more(text, blocks):
    x, w, b, t = layer(n=12)
    made = loss(text, reduction="none")
    whole = made(functional.linear(x, w, b), t)
    value = linear_loss(made, x.reshape(3, 4, 5), w, t.reshape(3, 4), b)
    torch.testing.assert_close(value, whole.reshape(3, 4))
    given = (x, w, b)
    for got, wanted in zip(gradients(value, given), gradients(whole, given), strict=True):
        torch.testing.assert_close(got, wanted)


def test_soft_targets_and_smoothing_go_in_blocks_too(blocks):
    x, w, b, t = layer()
    q = torch.softmax(torch.randn(13, 7, dtype=torch.float64), 1)
    assert_same(loss("nce+gce"), x, w, b, q)
    assert_same(loss("ce", weight=torch.rand(7).double()), x, w, b, q)
    assert_same(loss("ce", label_smoothing=0.1), x, w, b, t)


@pytest.mark.parametrize("text", ["nce+rce", "nce+amse"])
@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 2), (0, 1), (1, 2)])
def test_what_is_frozen_gets_no_gradient(text, frozen, blocks, monkeypatch):
    given = list(layer())
    for at in frozen:
        given[at].requires_grad_(False)
    assert_same(loss(text), *given)
    if text == "nce+rce":
        passed = []
        real = linear._pass
        monkeypatch.setattr(linear, "_pass", lambda *a: passed.append(real(*a)) or passed[-1])
        x, w, b, t = given
        linear_loss(text, x, w, t, b)
        assert [one is None for one in passed[0][1:4]] == [at in frozen for at in range(3)]


def test_without_gradients_none_is_made(blocks, monkeypatch):
    asked = []
    real = linear.kernels.value_and_gradient
    x, w, b, t = layer()
    right = loss("nfl+rce")(functional.linear(x, w, b), t).detach()
    monkeypatch.setattr(
        linear.kernels,
        "value_and_gradient",
        lambda *a, **b: asked.append((b["gradient"], b["into"])) or real(*a, **b),
    )
    with torch.no_grad():
        value = linear_loss("nfl+rce", x, w, t, b)
    assert not value.requires_grad
    assert set(asked) == {(False, None)}
    assert not linear_loss("nce", x.detach(), w.detach(), t).requires_grad
    torch.testing.assert_close(value, right)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("text", ["nce+rce", "nfl"])
def test_a_second_backward_pass_adds_the_same_again(text, reduction, blocks):
    x, w, b, t = layer()
    value = linear_loss(loss(text, reduction=reduction), x, w, t, b).sum()
    first = torch.autograd.grad(value, (x, w, b), retain_graph=True)
    kept = [one.clone() for one in first]
    second = torch.autograd.grad(3 * value, (x, w, b))
    for one, other, again in zip(first, kept, second, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(again, 3 * other)


def test_first_and_second_derivatives(blocks):
    x, w, b, t = layer(4, 3, 5, scale=0.5)
    made = loss("nce+rce", reduction="none")
    assert torch.autograd.gradcheck(
        lambda *given: linear_loss(made, given[0], given[1], t, given[2]), (x, w, b)
    )
    assert torch.autograd.gradgradcheck(
        lambda *given: linear_loss("nce+rce", given[0], given[1], t, given[2]), (x, w, b), atol=1e-6
    )
    found = torch.func.grad(lambda x: linear_loss("nce+rce", x, w.detach(), t, b.detach()))(x.detach())
    torch.testing.assert_close(found, gradients(linear_loss("nce+rce", x, w, t, b), (x,))[0])


@pytest.mark.parametrize("text", ["ce", "nce+rce", "nfl+mae", "nce+amse"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_as_near_to_float64_as_apart(text, dtype, blocks):
    x, w, b, t = layer(64, 16, 7, dtype=dtype)
    exact = [one.detach().double().requires_grad_() for one in (x, w, b)]
    right = loss(text)(functional.linear(*exact), t)
    right_gradients = gradients(right, exact)
    value, apart = linear_loss(text, x, w, t, b), loss(text)(functional.linear(x, w, b), t)
    assert value.dtype is torch.float32
    torch.testing.assert_close(value.double(), right, rtol=2e-2, atol=1e-3)
    for got, two, wanted in zip(
        gradients(value, (x, w, b)), gradients(apart, (x, w, b)), right_gradients, strict=True
    ):
        assert got.dtype is dtype
        off, off_apart = ((one.double() - wanted).norm() / wanted.norm() for one in (got, two))
        assert off < max(1.5 * off_apart, 0.01)


@pytest.mark.parametrize("text", ["nce+rce", "nce+amse"])
def test_autocast_takes_products_of_its_type_and_gives_gradients_of_the_parameters(text, blocks):
    x, w, b, t = layer(64, 16, 7, dtype=torch.float32)
    right = gradients(linear_loss(text, x, w, t, b), (x, w, b))
    for given in (x, x.detach().bfloat16().requires_grad_()):
        with torch.autocast("cpu", torch.bfloat16):
            value = linear_loss(text, given, w, t, b)
        assert value.dtype is torch.float32
        found = gradients(value, (given, w, b))
        assert [one.dtype for one in found] == [given.dtype, torch.float32, torch.float32]
        for got, wanted in zip(found, right, strict=True):
            assert (got - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("text", ["nce+rce", "nce+amse"])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_second_derivatives_after_autocast(text, biased, kind):
    """A penalty on the gradient by the features, whose type is not that of the weights."""
    x, w, b, t = layer(64, 16, 7, dtype=torch.float32)
    half = torch.float64 if kind is torch.float64 else torch.bfloat16

    def apart(x, w, b):
        return loss(text)(functional.linear(x.to(half), w.to(half), None if b is None else b.to(half)), t)

    def ours(x, w, b):
        with torch.autocast("cpu", torch.bfloat16):
            return linear_loss(text, x, w, t, b)

    def exact(x, w, b):
        return loss(text)(functional.linear(x, w, b), t)

    found = []
    for form, like in (
        (ours, (kind, torch.float32)),
        (apart, (kind, torch.float32)),
        (exact, [torch.float64] * 2),
    ):
        given, weight = (one.detach().to(to).requires_grad_() for one, to in zip((x, w), like, strict=True))
        value = form(given, weight, b.detach().to(weight.dtype) if biased else None)
        (slope,) = torch.autograd.grad(value, given, create_graph=True)
        found.append(gradients(64 * slope.double().square().sum(), (given, weight)))
        assert [one.dtype for one in found[-1]] == list(like)
    for got, two, wanted in zip(*found, strict=True):
        off, off_apart = ((one.double() - wanted).norm() / wanted.norm() for one in (got, two))
        assert off < max(1.5 * off_apart, 1e-5)


@pytest.mark.filterwarnings("ignore:.*Function.> should not be instantiated:DeprecationWarning")
def test_a_transform_of_float64_features_within_autocast():
    x, w, b, t = layer(8, 4, 7, dtype=torch.float32)
    features = x.detach().double()
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.func.grad(lambda x: linear_loss("nce+rce", x, w.detach(), t, b.detach()))(features)
    (wanted,) = gradients(linear_loss("nce+rce", x, w, t, b), (x,))
    torch.testing.assert_close(found.float(), wanted, rtol=1e-4, atol=1e-6)


def test_the_weights_gradient_of_half_precision_is_summed_in_float32(monkeypatch):
    """4,096 rows that add the same to each number: in bfloat16 the sum would stand still at 256 of it."""
    monkeypatch.setattr(linear, "block_rows", lambda *_: 1)
    x = torch.ones(4096, 2, dtype=torch.bfloat16)
    w = torch.zeros(2, 2, dtype=torch.bfloat16, requires_grad=True)
    linear_loss(loss("ce", reduction="sum"), x, w, torch.zeros(4096).long()).backward()
    assert w.grad.tolist() == [[-2048.0, -2048.0], [2048.0, 2048.0]]


@pytest.mark.parametrize("text", ["nce+rce", "nfl+rce", "nce+amse"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_extremes_and_nothing(text, reduction, blocks):
    x, w, b, t = layer()
    made = loss(text, reduction=reduction)
    none = linear_loss(made, x[:0], w, t[:0], b)
    torch.testing.assert_close(none, made(functional.linear(x[:0], w, b), t[:0]), equal_nan=True)
    value = linear_loss(made, x, w, torch.full_like(t, IGNORE), b)
    assert math.isnan(value.detach().sum()) == (reduction == "mean")
    for got in gradients(value, (x, w, b)):
        assert not got.any()
    with torch.no_grad():
        x *= 1e4
    value = linear_loss(made, x, w, t, b)
    for got in (value, *gradients(value, (x, w, b))):
        assert torch.isfinite(got).all()


def test_a_transposed_weight_and_a_strided_batch(blocks):
    x, w, b, t = layer()
    given = (
        x.detach().repeat_interleave(2, 0)[::2].requires_grad_(),
        w.detach().t().contiguous().t().requires_grad_(),
        b,
    )
    right = gradients(linear_loss("nce+mae", x, w, t, b), (x, w, b))
    found = gradients(linear_loss("nce+mae", given[0], given[1], t, b), given)
    for got, wanted in zip(found, right, strict=True):
        torch.testing.assert_close(got, wanted)


# The module


def test_the_module_is_the_function_and_learns():
    torch.manual_seed(0)
    head = nl.LinearLoss("nce+mae", 8, 30)
    assert [name for name, _ in head.named_parameters()] == ["linear.weight", "linear.bias"]
    assert "nce+mae" in repr(head)
    x, t = torch.randn(60, 8), torch.arange(60) % 30
    torch.testing.assert_close(head(x, t), loss("nce+mae")(head.logits(x), t))
    optimizer = torch.optim.SGD(head.parameters(), 2.0)
    before = head(x, t).item()
    for _ in range(200):
        optimizer.zero_grad()
        head(x, t).backward()
        optimizer.step()
    assert head(x, t).item() < 0.9 * before
    other = nl.LinearLoss("nce+mae", 8, 30)
    other.load_state_dict(copy.deepcopy(head).state_dict())
    assert torch.equal(other(x, t), head(x, t))
    assert nl.LinearLoss(loss("ce"), 8, 30, bias=False, dtype=torch.float64).linear.bias is None


# What is wrong is one line


def test_errors_say_what_came_and_what_was_expected():
    x, w, b, t = layer()
    assert set(NEEDY) == {"gjs", "peer"}
    for name in NEEDY:
        with pytest.raises(InputError, match=rf"'{name}.*' needs .* which blocks of rows do not have"):
            linear_loss(name, x, w, t)
    for call, words in (
        (lambda: linear_loss("nosuch", x, w, t), "nosuch"),
        (lambda: linear_loss(3, x, w, t), "loss is 3, expected a Loss or an expression"),
        (lambda: linear_loss("ce", x.tolist(), w, t), "features is of type list, expected a tensor"),
        (lambda: linear_loss("ce", t, w, t), r"features are torch.int64 of shape \(13,\)"),
        (lambda: linear_loss("ce", x, w.t(), t), r"the weight is torch.float64 of shape \(5, 7\)"),
        (lambda: linear_loss("ce", x, w[:1], t), "with K of 2 or more"),
        (lambda: linear_loss("ce", x, w, t, b[:3]), r"the bias is torch.float64 of shape \(3,\)"),
        (lambda: linear_loss("ce", x, w, t[:3]), r"expected integer labels of shape \(13,\)"),
        (lambda: linear_loss("ce", x, w, x), r"class probabilities of shape \(13, 7\)"),
        (lambda: linear_loss(loss("ce", weight=torch.ones(3)), x, w, t), "3 class weights for 7 classes"),
        (
            lambda: linear_loss("ce", x.float(), w, t),
            "features are torch.float32 and the weight is torch.float64",
        ),
        (lambda: nl.LinearLoss("ce", 0, 5), "in_features"),
        (lambda: nl.LinearLoss("ce", 5, 1), "num_classes"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    for bad in (7, -1):
        t[9] = bad
        for text in ("nce+mae", "nce+amse"):
            with pytest.raises(InputError, match=rf"target\[9\] is {bad}, expected a label in \[0, 6\]"):
                linear_loss(text, x, w, t)


# Memory


PROGRAM = """
import re, sys
from pathlib import Path
import torch
from torch.nn import functional
import noisylabels as nl
from noisylabels.losses import linear
torch.set_num_threads(1)
linear.BLOCK_BYTES //= 2
text, n, k, d, apart = sys.argv[1], *map(int, sys.argv[2:])
def kilobytes(key):
    return int(re.search(rf"{key}:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
made = nl.loss(text)
def step(n, k, d):
    x, w = torch.randn(n, d, requires_grad=True), torch.randn(k, d, requires_grad=True)
    t = torch.randint(k, (n,))
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    (made(functional.linear(x, w), t) if apart else nl.losses.linear_loss(made, x, w, t)).backward()
    assert torch.isfinite(w.grad).all()
    return kilobytes("VmHWM") - before
step(4, 8, 2)
print(step(n, k, d) * 1024)
"""


def peak_bytes(text, n, k, d, apart=False):
    source = str(Path(nl.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, text, *map(str, (n, k, d, int(apart)))],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": source, "OMP_NUM_THREADS": "1", "PATH": "", "MALLOC_TRIM_THRESHOLD_": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not say the peak")
@pytest.mark.parametrize("text", ["nfl+mae", "nce+amse"])  # through a kernel, and by autograd
def test_never_all_logits(text):
    """With blocks of half the size, so that half the logits are enough to exceed a few of them."""
    n, k, d = 512, 131_072, 8
    all_logits, weight = 4 * n * k, 4 * k * d
    peak = peak_bytes(text, n, k, d)
    # the weight's gradient (twice where autograd adds up those of blocks) and a few blocks
    assert peak < 2 * weight + 4 * linear.BLOCK_BYTES < all_logits / 1.8


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not say the peak")
def test_the_peak_of_all_logits_is_seen():
    n, k = 128, 131_072
    assert peak_bytes("ce", n, k, 8, apart=True) > 4 * n * k


def test_a_million_classes():
    x, w, _, t = layer(64, 16, 1_000_000, dtype=torch.float32, scale=0.1)
    value = linear_loss("nce+mae", x, w, t)
    value.backward()
    rows = slice(0, 4)
    few = loss("nce+mae", reduction="none")(functional.linear(x[rows], w), t[rows])
    torch.testing.assert_close(
        linear_loss(loss("nce+mae", reduction="none"), x, w, t)[rows], few, rtol=1e-5, atol=1e-7
    )
    wanted = torch.autograd.grad(few.sum() / 64, x)[0][rows]
    torch.testing.assert_close(x.grad[rows], wanted, rtol=1e-3, atol=1e-8)
    assert torch.isfinite(w.grad).all()
