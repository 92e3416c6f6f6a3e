"""The fast path by torch's operations, against the reference, with all options."""

from __future__ import annotations

import copy
import gc
import math
import pickle

import pytest
import torch
from torch import nn

from noisylabels import losses
from noisylabels.core.checks import InputError
from noisylabels.losses import PAPER, PER_LABEL, evaluation, loss
from noisylabels.losses.evaluation import TargetOptions
from noisylabels.losses.kernels import fused, native, slopes
from noisylabels.losses.kernels.fused import Plan

SLOPED = [name for name, row in PER_LABEL.items() if row.sloped is not None]
SUMS = [*PAPER, "gce+nnagce", "5*nfl+5*nnfl+njs", "2*nfl+nfl(gamma=2)+3*nce", "nagce+naul+nael+nnpoly1+fl"]
DETACHED = "nfl(detach=1)+fl(detach=1)"  # whose gradient is no derivative
OTHERS = {
    "gce": ({"q": 1e-8}, {"q": 1.0}),
    "fl": ({"gamma": 0.0}, {"gamma": 2.0}, {"gamma": 5.5}, {"detach": 1.0}),
    "rce": ({"A": -1e-6}, {"A": -9.2}),
    "taylor_ce": ({"t": 1.0}, {"t": 7.0}),
    "phuber_ce": ({"tau": 10.0},),
    "agce": ({"a": 1e-5, "q": 0.5}, {"a": 6.0, "q": 1.5}),
    "aul": ({"a": 3.0, "q": 0.1},),
    "ael": ({"a": 0.05},),
    "js": ({"w": 1e-12}, {"w": 0.999}),
    "poly1": ({"epsilon": -1.0},),
}


def batch(*shape, seed=0, dtype=torch.float32, scale=3.0):
    n, classes, *rest = shape
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
    return z.to(dtype), torch.randint(classes, (n, *rest), generator=generator)


def gradient(call, z, up=None):
    z = z.detach().requires_grad_()
    value = call(z)
    (found,) = torch.autograd.grad(value, z, torch.ones_like(value) if up is None else up)
    return value.detach(), found


def both(text, z, t, up=None, **how):
    """Return value and gradient of the fast path and of the reference, after checking that both were used."""
    made = loss(text, **how)
    target = TargetOptions(made.weight, made.reduction, made.ignore_index, 0.0)
    assert fused._fitting(made._plan, z, t, target) is not None
    slow = gradient(lambda z: evaluation.evaluate(made._plan.parts, z, t, target), z, up)
    return gradient(lambda z: made(z, t), z, up), slow


def assert_same(text, z, t, up=None, rtol=None, atol=None, **how):
    wide = z.dtype == torch.float64
    rtol, atol = rtol or (1e-9 if wide else 2e-5), atol or (1e-12 if wide else 1e-6)
    for fast, slow in zip(*both(text, z, t, up, **how), strict=True):
        torch.testing.assert_close(fast, slow, rtol=rtol, atol=atol, equal_nan=True)


@pytest.fixture(autouse=True)
def operations(monkeypatch):
    """Disable the compiled kernel, which test_native.py tests."""
    monkeypatch.setattr(native, "takes", lambda *given: False)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(fused, "BLOCK", 64)
    monkeypatch.setattr(fused, "SMALL_BLOCK", 64)


# Slopes


@pytest.mark.parametrize("name", SLOPED)
def test_costs_and_slopes_are_those_of_phi_and_autograd(name):
    assert len(SLOPED) == 12
    x = torch.cat([torch.logspace(-9, 4, 200, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    for given in ({}, *OTHERS.get(name, ())):
        l = (-x).requires_grad_()
        costs = PER_LABEL[name].function(l, **given)
        (wanted,) = torch.autograd.grad(costs.sum(), l)
        found, slope = PER_LABEL[name].sloped(x, (-x).exp(), **given)
        torch.testing.assert_close(found, costs.detach(), rtol=1e-7, atol=1e-10)
        at = x > 0  # at 0 a focal loss of gamma < 1 has a slope of 0 times infinity
        slope = torch.as_tensor(slope, dtype=x.dtype).expand_as(x)
        torch.testing.assert_close(slope[at], -wanted[at], rtol=1e-6, atol=1e-10)
        assert torch.isfinite(slope).all()


def test_every_function_of_p_in_the_catalog_has_a_slope():
    assert [name for name, row in PER_LABEL.items() if row.pointwise] == SLOPED
    for name in SLOPED:
        assert PER_LABEL[name].sloped is getattr(slopes, name)


# Numbers


@pytest.mark.parametrize("text", [*SUMS, DETACHED])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [-100, 2, None])
def test_it_is_the_reference_in_every_form(text, reduction, weighted, ignore, small_blocks):
    for shape in ((13, 10), (5, 4, 3), (2, 3, 4, 5), (1, 2)):
        z, t = batch(*shape, dtype=torch.float64)
        w = torch.rand(shape[1]) if weighted else None
        if ignore == -100:
            t.view(-1)[::3] = -100
        up = torch.randn(t.shape, dtype=torch.float64) if reduction == "none" else torch.tensor(-2.5).double()
        assert_same(text, z, t, up, reduction=reduction, weight=w, ignore_index=ignore)


@pytest.mark.parametrize("text", SUMS)
def test_blocks_of_every_size_give_the_same(text, monkeypatch):
    z, t = batch(37, 10, dtype=torch.float64)
    whole = gradient(lambda z: loss(text)(z, t), z)
    for size in (1, 10, 30, 180, 360):
        for name in ("BLOCK", "SMALL_BLOCK"):
            monkeypatch.setattr(fused, name, size)
        for got, wanted in zip(gradient(lambda z: loss(text)(z, t), z), whole, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("text", PAPER)
@pytest.mark.parametrize("shape", [(3, 70_000), (2, 200_000), (128, 10), (300, 1000)])
def test_float32_at_the_sizes_that_are_measured(text, shape):
    z, t = batch(*shape)
    t[0] = z[0].argmax()
    assert_same(text, z, t, atol=1e-7)


@pytest.mark.parametrize("text", SUMS)
def test_gradcheck(text):
    z, t = batch(5, 4, dtype=torch.float64)
    made = loss(text, reduction="none", weight=torch.tensor([0.5, 1.0, 2.0, 0.1]))
    assert torch.autograd.gradcheck(lambda z: made(z, t), (z.requires_grad_(),))


@pytest.mark.parametrize("text", SUMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_extreme_logits(text, dtype, small_blocks):
    z = torch.zeros(8, 12)
    z[0, 0], z[1, 1], z[2], z[3, :6], z[4, 0] = 1e4, -1e4, 1e4, -1e4, 60.0
    z[5, 0], z[5, 1:], z[6] = 1e4, -1e4, torch.linspace(-1e4, 1e4, 12)
    for label in (0, 1, 11):
        t = torch.full((8,), label)
        (value, slope), (right, right_slope) = both(text, z.to(dtype), t, reduction="none")
        assert torch.isfinite(value).all()
        assert torch.isfinite(slope).all()
        assert slope.dtype == dtype
        torch.testing.assert_close(value, right, rtol=2e-5, atol=1e-5)
        torch.testing.assert_close(slope, right_slope, rtol=1e-2 if dtype.itemsize == 2 else 1e-4, atol=1e-5)


def test_masked_classes_of_minus_infinity():
    z, t = batch(6, 5)
    t.clamp_(max=3)
    z[:, 4] = -math.inf
    for text in ("ce", "mae", "rce"):
        assert_same(text, z, t)
        assert torch.isfinite(gradient(lambda z, text=text, t=t: loss(text)(z, t), z)[1]).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_when_all_are_ignored_or_there_are_none(reduction):
    for text in ("nce+rce", "nfl"):
        z, _ = batch(4, 5)
        for weight in (None, torch.ones(5)):
            assert_same(text, z, torch.full((4,), -100), reduction=reduction, weight=weight)
        none = gradient(lambda z, text=text: loss(text, reduction=reduction)(z, z.new_zeros(0).long()), z[:0])
        assert none[1].shape == (0, 5)


@pytest.mark.parametrize("text", ["nce+rce", "nfl+rce", "nnagce"])
def test_layouts_and_integers(text, small_blocks):
    z, t = batch(12, 10)
    wanted = gradient(lambda z: loss(text)(z, t), z)
    for view in (
        z.t().contiguous().t(),
        torch.stack([z, z], 2)[..., 0],
        z.repeat(2, 1)[::2][:0].new_tensor([]),
    ):
        if view.numel():
            view.copy_(z)
            assert not view.is_contiguous()
            for kind in (torch.int64, torch.int32, torch.uint8):
                found = gradient(lambda z, kind=kind: loss(text)(z, t.to(kind)), view)
                for got, right in zip(found, wanted, strict=True):
                    torch.testing.assert_close(got, right)
    expanded = z[:1].expand(12, 10)
    assert_same(text, expanded, t)


def test_the_same_input_gives_the_same_bits():
    for shape in ((128, 10), (512, 1000)):
        z, t = batch(*shape)
        for text in ("nce+rce", "nfl+rce"):
            first = gradient(lambda z, text=text, t=t: loss(text)(z, t), z)
            for _ in range(3):
                again = gradient(lambda z, text=text, t=t: loss(text)(z, t), z)
                assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


# Gradients: who owns them, and what more can be asked of them


@pytest.mark.parametrize("text", ["ce", "nce+rce", "nfl+mae"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_second_backward_pass_adds_the_same_again(text, reduction):
    z, t = batch(6, 5)
    z.requires_grad_()
    value = loss(text, reduction=reduction)(z, t).sum()
    value.backward(retain_graph=True)
    first, kept = z.grad, z.grad.clone()
    z.grad = None
    value.backward(retain_graph=True)
    assert z.grad is not first
    assert z.grad.data_ptr() != first.data_ptr()
    torch.testing.assert_close(z.grad, kept)
    (2 * value).backward()
    torch.testing.assert_close(z.grad, 3 * kept)
    assert torch.equal(first, kept)
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()


@pytest.mark.parametrize("text", SUMS)
def test_second_derivatives_go_through_the_reference(text):
    z, t = batch(3, 4, dtype=torch.float64, scale=1.0)
    made = loss(text)
    assert torch.autograd.gradgradcheck(lambda z: made(z, t), (z.requires_grad_(),), atol=1e-6)


def test_logits_changed_in_place_are_found_out_where_they_are_needed():
    z, t = batch(6, 5)
    wanted = gradient(lambda z: loss("nce+rce")(z, t), z)[1]
    leaf = z.clone().requires_grad_()
    logits = leaf * 1
    value = loss("nce+rce")(logits, t)
    logits.detach().zero_()  # the gradient is that of the logits as they were
    value.backward(retain_graph=True)
    torch.testing.assert_close(leaf.grad, wanted)
    with pytest.raises(RuntimeError, match="inplace"):
        value.backward()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own
def test_many_gradients_at_once_and_other_transforms():
    z, t = batch(4, 5, dtype=torch.float64)
    made = loss("nce+rce", reduction="none")
    wanted = torch.autograd.functional.jacobian(lambda z: made(z, t), z)
    torch.testing.assert_close(
        torch.autograd.functional.jacobian(lambda z: made(z, t), z, vectorize=True), wanted
    )
    torch.testing.assert_close(torch.func.jacrev(lambda z: made(z, t))(z), wanted)
    torch.testing.assert_close(torch.func.jacfwd(lambda z: made(z, t))(z), wanted)
    torch.testing.assert_close(torch.func.grad(lambda z: made(z, t).sum())(z), wanted.sum(0))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(z, torch.ones_like(z))
        tangent = torch.autograd.forward_ad.unpack_dual(made(dual, t)).tangent
    torch.testing.assert_close(tangent, wanted.sum((1, 2)), atol=1e-12, rtol=0)
    hessian = torch.autograd.functional.hessian(lambda z: loss("nfl+rce")(z, t), z)
    torch.testing.assert_close(hessian, torch.func.hessian(lambda z: loss("nfl+rce")(z, t))(z))


def test_float16_gradients_under_a_scaler_do_not_vanish():
    z, t = batch(4096, 10, dtype=torch.float16, scale=1.0)
    scaled = gradient(lambda z: loss("nce+rce")(z, t), z, torch.tensor(65536.0))[1]
    right = gradient(lambda z: loss("nce+rce")(z, t), z.float())[1] * 65536
    torch.testing.assert_close(scaled.float(), right, rtol=1e-3, atol=1e-6)


def test_a_gradient_accumulates_into_what_is_there():
    z, t = batch(6, 5)
    z.requires_grad_()
    for _ in range(2):
        (loss("nce")(z, t) + loss("mae")(z, t)).backward()
    wanted = gradient(lambda z: loss("nce+mae")(z, t), z)[1]
    torch.testing.assert_close(z.grad, 2 * wanted)


def test_without_gradients_none_is_made(monkeypatch):
    asked = []
    block = fused._block
    monkeypatch.setattr(fused, "_block", lambda *given: asked.append(given[-1]) or block(*given))
    z, t = batch(6, 5)
    made = loss("nfl+rce")
    plain = made(z, t)
    z.requires_grad_()
    with torch.no_grad():
        assert torch.equal(made(z, t), plain)
    with torch.inference_mode():
        assert torch.equal(made(z, t), plain)
    assert asked == [False] * 3
    assert torch.equal(made(z, t).detach(), plain)
    assert asked[-1] is True
    assert not plain.requires_grad


def test_nothing_is_left_of_a_step():
    z, t = batch(6, 5)
    z.requires_grad_()
    gc.collect()
    gc.disable()
    try:
        value = loss("nce")(z, t)
        node = value.grad_fn
        value.backward()
        assert node.gradient is None
        z.grad = None
        del value, node
    finally:
        gc.enable()


# What goes which way


def test_what_it_does_not_know_goes_through_the_reference():
    z, t = batch(6, 5)
    how = TargetOptions(None, "mean", -100, 0.0)

    def fits(text, z=z, t=t, how=how):
        return fused._fitting(loss(text)._plan, z, t, how) is not None

    assert fits("nce+rce")
    for text in ("amse", "nce+amse", "ls", "temper", "gjs", "bi_tempered", "nrce_ma2020"):
        assert not loss(text)._plan.fast
        assert not fits(text)
    assert not fits("ce", t=torch.rand(6, 5))
    assert not fits("ce", how=how._replace(label_smoothing=0.1))
    assert not fits("ce", how=how._replace(weight=torch.ones(5, requires_grad=True)))
    assert not fits("ce", how=how._replace(weight=torch.ones(4)))
    assert not fits("ce", z=z.to("meta"))
    assert not fits("ce", z=z[0], t=t[0])
    assert not Plan([losses.select(lambda l: -l).terms[0].part]).fast
    w = torch.ones(5, requires_grad=True)
    losses.ce(z, t, weight=w).backward()
    assert w.grad.abs().sum() > 0


def test_labels_out_of_range_are_named():
    z, t = batch(6, 5)
    for bad in (5, -1, -99):
        t[3] = bad
        for how in ({}, {"weight": torch.ones(5)}, {"ignore_index": None}, {"ignore_index": 2}):
            with pytest.raises(InputError, match=rf"target\[3\] is {bad}, expected a label in \[0, 4\]"):
                loss("nce+rce", **how)(z.requires_grad_(), t)


def test_copies_and_pickles_keep_the_way():
    z, t = batch(6, 5)
    made = loss("nfl+rce")
    made(z, t)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other._plan.fast
        assert torch.equal(other(z, t), made(z, t))


def test_a_slope_of_ones_own():
    def squared(l):
        return (1 - l.exp()) ** 2

    def sloped(x, p):
        return (1 - p) ** 2, 2 * (1 - p) * p

    def linear(x, p):
        return x, 1.0

    losses.register("sq", squared, sloped=sloped)
    try:
        z, t = batch(6, 5, dtype=torch.float64)
        assert_same("nsq+nnsq+2*sq", z, t)
    finally:
        losses.unregister("sq")
    losses.register("line", lambda l: -l, sloped=linear)
    try:
        assert_same("2*nline+nnline+line+nfl", z, t)
    finally:
        losses.unregister("line")
    for wrong, words in ((lambda x, p: (p, p), "costs"), (lambda x, p: ((1 - p) ** 2, p), "slopes")):
        with pytest.raises(InputError, match=f"sloped of 'sq' returns {words} that differ from phi's"):
            losses.register("sq", squared, sloped=wrong)
    with pytest.raises(InputError, match="acts entry by entry"):
        losses.register("sq", squared, sloped=sloped, pointwise=False)


def test_in_a_network_it_is_the_reference():
    torch.manual_seed(0)
    layer = nn.Linear(8, 10)
    x, t = torch.randn(32, 8), torch.randint(10, (32,))
    made = loss("nfl+rce")
    made(layer(x), t).backward()
    fast = layer.weight.grad.clone()
    layer.zero_grad()
    evaluation.evaluate(made._plan.parts, layer(x), t, TargetOptions(None, "mean", -100, 0.0)).backward()
    torch.testing.assert_close(fast, layer.weight.grad, rtol=1e-4, atol=1e-7)


COMPILER_WARNS = "ignore:.*Function.> should not be instantiated:DeprecationWarning"  # torch's own doing


@pytest.mark.filterwarnings(COMPILER_WARNS)
@pytest.mark.parametrize("how", [{}, {"reduction": "none"}, {"ignore_index": 2, "reduction": "sum"}], ids=str)
def test_a_compiler_traces_it(how):
    for shape in ((6, 5), (3, 4, 2))[: 1 if how else 2]:  # other shapes are made rows of before
        z, t = batch(*shape, dtype=torch.float16)
        t.view(-1)[0] = how.get("ignore_index", -100)
        up = torch.rand(t.shape) if "none" in how.values() else torch.tensor(3.0)
        for text in ("nce+rce", "nfl+nnagce"):
            made = loss(text, weight=torch.rand(shape[1]), **how)
            torch._dynamo.reset()
            traced = torch.compile(made, fullgraph=True, backend="aot_eager")
            found = gradient(lambda z, traced=traced, t=t: traced(z, t), z, up)
            for got, wanted in zip(found, gradient(lambda z, made=made, t=t: made(z, t), z, up), strict=True):
                torch.testing.assert_close(got, wanted, rtol=2e-3, atol=1e-5)
            with torch.no_grad():
                torch.testing.assert_close(traced(z, t), made(z, t))
    torch._dynamo.reset()


@pytest.mark.filterwarnings(COMPILER_WARNS)
def test_a_compiler_and_transforms_together():
    z, t = batch(6, 5)
    made = loss("nfl+rce")
    torch._dynamo.reset()
    for call in (
        torch.func.grad(made),
        torch.func.vmap(torch.func.grad(lambda z, t: made(z[None], t[None]))),
    ):
        traced = torch.compile(call, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(traced(z, t), call(z, t))
    torch._dynamo.reset()
