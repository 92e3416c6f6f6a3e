"""Compare the GPU kernel with the reference in float64: on a GPU, or with Triton's interpreter on the CPU.

The interpreter must be chosen before triton is imported, so `test_triton.py` runs this file in a process
of its own: TRITON_INTERPRET=1 python -m pytest tests/losses/kernels/triton_rows.py; on a GPU, unset the
variable. An interpreted row takes milliseconds, so
batches have few rows, and what all losses share is asked of few.
"""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from torch.nn import functional

from noisylabels.losses import PAPER, PER_LABEL, evaluation, linear_loss, loss
from noisylabels.losses.evaluation import IGNORE, TargetOptions
from noisylabels.losses.kernels import fused

SLOPED = [name for name, row in PER_LABEL.items() if row.sloped is not None]
FORMS = [
    *(form + name for name in SLOPED for form in ("", "n", "nn")),
    "nfl(detach=1)+fl(detach=1)",
    "ntaylor_ce(t=5)+fl(gamma=2)",
]
SUMS = [
    *PAPER,
    *FORMS,
    "gce+nnagce",
    "5*nfl+5*nnfl+2*nce+3*mae",
    "js+poly1+gce",
]


DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


@pytest.fixture(autouse=True)
def where():
    with torch.device(DEVICE):
        yield


@pytest.fixture
def kernels(monkeypatch):
    from noisylabels.losses.kernels import gpu

    monkeypatch.setattr(fused, "KERNEL_DEVICES", (DEVICE,))
    monkeypatch.setattr(gpu, "_working", True)
    called = []
    real = gpu._launch
    monkeypatch.setattr(gpu, "_launch", lambda *given: called.append(given) or real(*given))
    with warnings.catch_warnings():
        # numpy's, of lanes that are masked out or of branches not taken
        warnings.filterwarnings("ignore", "(invalid|divide by zero|overflow|underflow)", RuntimeWarning)
        yield gpu
    assert called, "the kernel was not asked"


@pytest.fixture(params=["whole rows", "a loop"])
def lengths(request, kernels, monkeypatch):
    if request.param == "a loop":
        monkeypatch.setattr(kernels, "WHOLE", 1)
        monkeypatch.setattr(kernels, "LOOP", 16)


def gradient(call, z, up=None):
    z = z.detach().requires_grad_()
    value = call(z)
    (found,) = torch.autograd.grad(value, z, torch.ones_like(value) if up is None else up.to(value))
    return value.detach(), found


def assert_same(text, z, t, up=None, rtol=1e-4, atol=2e-6, **how):
    made = loss(text, **how)
    exact = TargetOptions(made.weight, made.reduction, made.ignore_index, 0.0)
    found = gradient(lambda z: made(z, t), z, up)
    right = gradient(lambda z: evaluation.evaluate(made._plan.parts, z, t, exact), z.double(), up)
    assert found[0].dtype is torch.float32
    assert found[1].dtype is z.dtype
    for got, wanted in zip(found, right, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=rtol, atol=atol, equal_nan=True)


def batch(n, classes, dtype=torch.float32, seed=0):
    generator = torch.Generator("cpu").manual_seed(seed)
    z = torch.randn((n, classes), generator=generator, device="cpu") * 3
    t = torch.randint(classes, (n,), generator=generator, device="cpu")
    return z.to(DEVICE, dtype), t.to(DEVICE)


@pytest.mark.parametrize("text", SUMS)
def test_values_and_gradients_are_the_references(text, lengths):
    for classes in (2, 37):  # a part of a block; in a loop, two blocks and a part
        z, t = batch(2, classes)
        t[0] = z[0].argmax()
        assert_same(text, z, t)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [IGNORE, 2, None])
def test_every_form(reduction, weighted, ignore, lengths):
    """The scale of a row goes through the same lines whatever the loss: one sum has all its terms."""
    text = "3*mae+2*nce+nfl+nnfl(gamma=2)"
    z, t = batch(6, 19)
    t[0] = 2
    if ignore == IGNORE:
        t[::3] = IGNORE
    w = torch.rand(19) if weighted else None
    up = torch.randn(6) if reduction == "none" else torch.tensor(-2.5)
    assert_same(text, z, t, up, reduction=reduction, weight=w, ignore_index=ignore)
    assert_same(text, z[:2], torch.full_like(t[:2], IGNORE), reduction=reduction, weight=w)


@pytest.mark.parametrize(
    ("text", "reduction", "weighted"),
    [
        ("ce", "mean", False),
        ("nce+rce", "mean", True),
        ("nfl+mae", "none", False),
        ("2*nce+nnfl", "sum", True),
    ],
)
def test_layouts_integers_and_whole_blocks(text, reduction, weighted, lengths):
    z, t = batch(5, 32)
    w = torch.rand(32) if weighted else None
    assert_same(text, z, t.to(torch.int32), reduction=reduction, weight=w)
    for view in (torch.stack([z, z], 2)[..., 0], z[:1].expand(5, 32)):
        assert_same(text, view, t, reduction=reduction, weight=w)


@pytest.mark.parametrize("text", ["nce+rce", "nfl+rce", "nnagce+js"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precisions(text, dtype, lengths):
    z, t = batch(6, 37, dtype)
    assert_same(text, z, t, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("text", FORMS)
def test_extreme_logits(text, kernels):
    assert_same_at_extremes(text)


@pytest.mark.parametrize("text", ["nce+rce", "gce+nnagce"])
def test_statistics_of_extreme_logits_in_a_loop(text, kernels, monkeypatch):
    monkeypatch.setattr(kernels, "WHOLE", 1)
    monkeypatch.setattr(kernels, "LOOP", 16)
    assert_same_at_extremes(text)


def assert_same_at_extremes(text):
    z = torch.zeros(8, 37)
    z[0, 0], z[1, 1], z[2], z[3, :6], z[4, 0] = 1e4, -1e4, 1e4, -1e4, 60.0
    z[5, 0], z[5, 1:], z[6] = 1e4, -1e4, torch.linspace(-1e4, 1e4, 37)
    for label in (0, 36):
        assert_same(text, z, torch.full((8,), label), atol=2e-5, reduction="none")


def test_masked_classes(lengths):
    z, t = batch(6, 37)
    z[:, 20:] = -torch.inf
    for text in ("ce", "mae", "fl", "nce", "nfl", "nfl(gamma=2)+mae", "njs", "js", "nnfl", "npoly1"):
        assert_same(text, z, t % 20)
    for text in ("mae", "gce", "js+agce"):  # finite where the label is masked too
        assert_same(text, z, t % 17 + 20)


def test_a_label_out_of_range_gives_nan_and_touches_nothing(lengths):
    z, t = batch(6, 19)
    t[2] = 19
    value, slopes = gradient(lambda z: loss("nce+mae", reduction="none")(z, t), z)
    assert torch.isnan(value).tolist() == [False, False, True, False, False, False]
    assert torch.isnan(slopes).any(1).tolist() == torch.isnan(value).tolist()


def test_what_it_does_not_know_goes_the_other_way(kernels):
    z, t = batch(6, 19)

    def fits(text, z=z):
        made = loss(text)
        how = TargetOptions(None, "mean", IGNORE, 0.0)
        return kernels.run(made._plan.steps(19), z, t, how, True, None) is not None

    assert fits("nce+rce")
    assert not fits("ce", z.double())
    assert not fits("ce+mae+gce+ael")  # a place too few
    assert not fits("ngce+nael+njs")
    assert not fits("taylor_ce(t=40)")
    assert all(kernels.encode(loss(text)._plan.steps(19)) for text in SUMS)


def test_the_first_failure_warns_once_and_the_other_way_is_taken(kernels, monkeypatch):
    z, t = batch(6, 19)
    loss("nce+mae")(z, t)
    right = gradient(lambda z: loss("nce+mae")(z, t), z)

    def fail(*given):
        raise RuntimeError("no such card\nand more")

    monkeypatch.setattr(kernels, "_launch", fail)
    with pytest.warns(
        RuntimeWarning, match=r"failed \(no such card\); this process uses the slower torch operations"
    ):
        found = gradient(lambda z: loss("nce+mae")(z, t), z)
    again = gradient(lambda z: loss("nce+mae")(z, t), z)
    for values in (found, again):
        for got, wanted in zip(values, right, strict=True):
            torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("text", ["nce+rce", "nfl+mae"])
def test_a_linear_layers_blocks_go_through_it(text, lengths, monkeypatch):
    from noisylabels.losses import linear

    monkeypatch.setattr(linear, "block_rows", lambda *_: 4)
    x, w = torch.randn(11, 5, requires_grad=True), torch.randn(37, 5, requires_grad=True)
    t = torch.randint(37, (11,))
    t[3] = IGNORE
    exact = [one.detach().double().requires_grad_() for one in (x, w)]
    for reduction in ("mean", "none"):
        value = linear_loss(loss(text, reduction=reduction), x, w, t).mean()
        right = loss(text, reduction=reduction)(functional.linear(*exact), t).mean()
        torch.testing.assert_close(value.double(), right, rtol=1e-5, atol=1e-6)
        for got, wanted in zip(
            torch.autograd.grad(value, (x, w)), torch.autograd.grad(right, exact), strict=True
        ):
            torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-6)


def test_a_second_backward_pass_and_a_second_derivative(kernels):
    z, t = batch(6, 19)
    z.requires_grad_()
    value = loss("nce+rce")(z, t)
    (first,) = torch.autograd.grad(value, z, retain_graph=True)
    (second,) = torch.autograd.grad(3 * value, z, create_graph=True)
    torch.testing.assert_close(second, 3 * first)
    assert torch.isfinite(torch.autograd.grad(second.square().sum(), z)[0]).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_it_is_an_operator_that_torch_takes_for_its_own(kernels):
    z, t = batch(6, 19)
    codes, numbers = kernels.encode(loss("nce+rce")._plan.steps(19))
    for reduction in ("mean", "none"):
        for kind in (torch.float32, torch.float16):
            torch.library.opcheck(
                kernels.rows,
                (z.to(kind), t, None, reduction, IGNORE, codes, numbers),
                test_utils=("test_schema", "test_faketensor"),
            )
    made = loss("nce+rce")
    torch._dynamo.reset()
    compiled = torch.compile(made, backend="aot_eager", fullgraph=True)
    for got, wanted in zip(
        gradient(lambda z: compiled(z, t), z), gradient(lambda z: made(z, t), z), strict=True
    ):
        torch.testing.assert_close(got, wanted)
    torch._dynamo.reset()
