"""Facts about losses that are easy to get wrong (losses.md 1, 2, 6), and the paper's appendix A.3."""

from __future__ import annotations

import math

import pytest
import torch

from noisylabels import losses
from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, PAPER, loss
from noisylabels.losses.curve import curve, variation_ratio


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(200, 10, generator=generator, dtype=torch.float64)
    return z, torch.randint(10, (200,), generator=generator)


def both(expression, batch, dtype=torch.float64):
    z, t = batch
    z = z.to(dtype).requires_grad_()
    value = loss(expression, reduction="none")(z, t)
    (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("one", "other"),
    [("rce", "2*mae"), ("nce+rce", "nce+2*mae"), ("nfl+rce", "nfl+2*mae"), ("rce(A=-2)", "mae")],
)
def test_rce_is_twice_mae_to_the_last_bit(one, other, batch, dtype):
    for a, b in zip(both(one, batch, dtype), both(other, batch, dtype), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["nmae", "nrce", "nrce(A=-1)"])
def test_appendix_a3_normalized_passive_losses_are_one_function(name, batch):
    z, t = batch
    p = torch.softmax(z, 1).gather(1, t[:, None])[:, 0]
    value, slope = both(name, batch)
    torch.testing.assert_close(value, (1 - p) / 9, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(slope, both("nmae", batch)[1], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", ["mae", "rce"])
def test_the_short_way_of_a3_equals_the_quotient(name, batch):
    """The library divides by the known sum over the labels; the generic form computes that sum."""
    row = losses.PER_LABEL[name]
    value, slope = both(f"n{name}", batch)
    z = batch[0].clone().requires_grad_()
    generic = losses.normalize(row.function)
    generic.reduction = "none"
    long = generic(z, batch[1])
    torch.testing.assert_close(value, long.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, torch.autograd.grad(long.sum(), z)[0], rtol=1e-9, atol=1e-16)


def test_focal_loss_without_focus_is_cross_entropy(batch):
    for a, b in zip(both("fl(gamma=0)", batch), both("ce", batch), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0])
def test_focal_loss_is_quiet_where_p_is_one(gamma):
    for dtype in (torch.float64, torch.float32):
        z = torch.tensor(
            [[1e4, 0.0, 0.0], [200.0, 0.0, 0.0], [0.0, 1e4, 1e4]], dtype=dtype, requires_grad=True
        )
        value = losses.fl(z, torch.tensor([0, 0, 1]), gamma=gamma, reduction="none")
        (slope,) = torch.autograd.grad(value.sum(), z)
        assert value[:2].tolist() == [0.0, 0.0]
        assert slope[:2].abs().max() < 1e-30
        assert torch.isfinite(slope).all()


def test_focal_loss_has_its_modulator_in_the_graph(batch):
    """Unlike the code of Ma 2020, which detaches it (losses.md, fact 2)."""
    l = torch.tensor([math.log(0.3)], dtype=torch.float64, requires_grad=True)
    losses.PER_LABEL["fl"].function(l, 2.0).backward()
    by_hand = -(0.7**2) + 2 * 0.7 * 0.3 * math.log(0.3)
    assert l.grad.item() == pytest.approx(by_hand, rel=1e-14)


def test_the_constants_are_the_papers_and_not_those_of_ma_2020s_code():
    assert losses.PER_LABEL["fl"].defaults == {"gamma": 0.5, "detach": 0.0}
    assert losses.PER_LABEL["rce"].defaults == {"A": -4.0}
    assert loss("mae").bounds(10) == (0.0, 2.0)
    assert loss("rce").bounds(10) == (0.0, 4.0)
    assert loss("nmae").label_sum(10) == loss("nrce").label_sum(10) == 1.0
    assert [LOSSES[name].expression for name in PAPER] == list(PAPER)


def test_kinds_and_sums():
    assert {name: loss(name).kind for name in ("ce", "nfl", "mae", "nrce", "nnce", "nce+mae")} == {
        "ce": "active",
        "nfl": "active",
        "mae": "passive",
        "nrce": "passive",
        "nnce": "passive",
        "nce+mae": "active + passive",
    }
    assert loss("nce+mae").label_sum(10) == 19.0
    assert loss("2*nce+0.5*rce(A=-2)").label_sum(5) == 6.0
    assert loss("nnce").label_sum(10) == 9.0
    assert loss("ce+mae").label_sum(10) is None
    assert loss("nce").bounds(10) == (0.0, pytest.approx(1.0))
    assert loss("ce").bounds(10) == (0.0, math.inf)


def test_the_symmetrized_losses_are_a_loss_less_its_mean_over_the_labels():
    """Lemire Paquin et al. 2026, Proposition 4.1; q = 1 is half the MAE, q to 0 the unhinged loss."""
    z = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 1, 2, 3, 4, 0])

    def less_its_mean(name):
        each = torch.stack([loss(name, reduction="none")(z, torch.full((6,), k)) for k in range(5)])
        return loss(name, reduction="none")(z, t) - each.mean(0)

    for name, of in (("unhinged", "ce"), ("sgce", "gce"), ("sgce(q=0.2)", "gce(q=0.2)")):
        torch.testing.assert_close(loss(name, reduction="none")(z, t), less_its_mean(of))
    half_mae = loss("0.5*mae", reduction="none")(z, t)
    torch.testing.assert_close(loss("sgce(q=1)", reduction="none")(z, t), half_mae - 0.8)  # 1 - 1/K
    unhinged = loss("unhinged", reduction="none")(z, t)
    torch.testing.assert_close(loss("sgce(q=1e-8)", reduction="none")(z, t), unhinged, rtol=1e-6, atol=1e-7)


def test_the_unhinged_loss_pulls_alike_at_every_prediction():
    z = torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, -3.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    loss("unhinged", reduction="sum")(z, torch.tensor([0, 0, 0])).backward()
    torch.testing.assert_close(z.grad, torch.tensor([-2.0, 1.0, 1.0]).expand(3, 3) / 3)


def test_blurry_loss_lowers_an_unlikely_label_unless_its_weight_is_detached():
    l = torch.tensor([0.01, math.exp(-2), 0.6], dtype=torch.float64).log().requires_grad_()
    for detach, factor in ((0, lambda l: 1 + 0.5 * l), (1, lambda l: 1)):
        (slope,) = torch.autograd.grad(losses.PER_LABEL["blurry"].function(l, 0.5, detach).sum(), l)
        by_hand = [-math.exp(0.5 * x) * factor(x) for x in l.tolist()]
        assert slope.tolist() == pytest.approx(by_hand, rel=1e-13, abs=1e-15)
        assert (slope[0] > 0) == (detach == 0)


def test_masked_classes_leave_blurry_and_piecewise_zero_finite():
    z = torch.tensor([[1.0, 0.5, -math.inf]], requires_grad=True)
    for name in ("blurry", "blurry(detach=1)", "piecewise_zero"):
        value = loss(name)(z, torch.tensor([0]))
        (slope,) = torch.autograd.grad(value, z)
        right, right_slope = loss(name)(z[:, :2], torch.tensor([0])), slope[:, :2]
        assert value == right
        assert torch.isfinite(right_slope).all()
        assert slope[0, 2] == 0


def test_soft_labels_and_peer_do_not_pay_for_a_masked_class():
    z = torch.tensor([[2.0, 0.0, -math.inf], [0.0, 1.0, -math.inf]], requires_grad=True)
    for name, labels in (
        ("ce", torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0]])),
        ("ce", torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])),
        ("peer", torch.tensor([0, 1])),
    ):
        value = loss(name)(z, labels)
        (slope,) = torch.autograd.grad(value, z)
        short = labels[:, :2] if labels.ndim == 2 else labels
        torch.testing.assert_close(value, loss(name)(z[:, :2], short))
        assert slope.isfinite().all()
        assert (slope[:, 2] == 0).all()
    assert loss("peer")(z, torch.tensor([0, 1])).item() == pytest.approx(-0.75)


def test_negative_learning_with_all_other_classes_masked():
    z = torch.tensor([[1.0, -math.inf, -math.inf]], requires_grad=True)
    value = loss("nl")(z, torch.tensor([0]))
    (slope,) = torch.autograd.grad(value, z)
    assert (value.item(), slope.tolist()) == (0.0, [[0.0, 0.0, 0.0]])


RATIOS = {
    "mae": 1.0,
    "rce": 1.0,
    "nmae": 1.0,
    "taylor_ce(t=2)": 2.0,  # 1 + (1 - p)
    "phuber_ce(tau=10)": 10.0,  # 1 / p for p > 1/10, else 10
    "agce(a=0.6,q=0.6)": (1.6 / 0.6) ** 0.4,  # (a + p)^(q-1)
    "aul(a=5.5,q=3)": (5.5 / 4.5) ** 2,  # (a - p)^(q-1)
    "ael(a=2.5)": math.exp(1 / 2.5),  # exp(-p/a) / a
    "mae+2*ael(a=2.5)": (2 + 0.8) / (2 + 0.8 * math.exp(-0.4)),
    **dict.fromkeys(("ce", "fl", "gce", "js", "nce", "nce+mae", "mse"), math.inf),
}


@pytest.mark.parametrize("expression", RATIOS)
def test_the_variation_ratio_is_that_of_the_derivative(expression):
    assert variation_ratio(loss(expression)) == pytest.approx(RATIOS[expression], rel=1e-4)


def test_the_variation_ratio_of_a_loss_of_the_whole_batch_is_unknown():
    assert variation_ratio(loss("peer")) is None


WEIGHTS = {
    "ce": lambda p: 1.0,
    "mae": lambda p: 2 * p,
    "gce(q=0.7)": lambda p: p**0.7,
    "nmae": lambda p: p / 9,
}


@pytest.mark.parametrize("expression", WEIGHTS)
def test_the_weight_of_the_gradient_relative_to_that_of_cross_entropy(expression):
    drawn = curve(loss(expression), points=21)
    expected = [WEIGHTS[expression](p) for p in drawn["p"]]
    assert drawn["weight"] == pytest.approx(expected, rel=1e-9)


def test_the_curve_over_a_whole_batch_is_refused_for_many_classes():
    made = loss("ce+peer(ce)")
    assert len(curve(made, 200, points=3)["value"]) == 3
    with pytest.raises(
        InputError, match=r"depends on the whole batch, .* 1,000 classes, expected at most 200"
    ):
        curve(made, 1000)
