"""Dominance and uniqueness of the optimum, against theory worked by hand and a plain search."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, loss, select
from noisylabels.losses.explain import explain

UNBOUNDED = (
    "ce",
    "fl",
    "boot_soft",
    "boot_hard",
    "sce",
    "ls",
    "poly1",
    "nl",
    "ldr_kl",
    "conf_penalty",
    "temper",
)
WITHIN = ("logit_clip", "logit_norm")  # the norm is bounded, and the optimum has no certain prediction
INFINITE_SLOPE = ("gce", "js", "gjs", "bi_tempered")  # of phi at p = 0
PROPER = ("mse",)  # its optimum is p = the shares
WITHOUT_A_GUARANTEE = {*UNBOUNDED, *WITHIN, *INFINITE_SLOPE, *PROPER}


def by_hand(name, K):
    """Return the c that theory gives to an entry of the catalog.

    A pointwise phi that falls and is convex has D_k = phi(p_k) - phi(0) < 0; the sum over k is largest
    against phi(p_0) - phi(1) near certainty, where both are linear: c = phi'(0) / phi'(1). A concave one is
    superadditive, and c = 1. Zhou et al. 2021 have the same for AGCE, AUL and AEL.

    Normalized, and bounded: with S = sum phi and one other class at t, D_0 = s_1 t / S and
    D_1 = -[(K-2) s_0 + s_1] t / ((K-1) S), s the slopes at 0 and 1: c = ((K-2) s_0/s_1 + 1) / (K-1).
    Unbounded, the label that the optimum lets fall fastest pays all, the others nothing, and c = 1.
    Negative: p below p_min count alike, the sum is K-1, no D_k is above 0: c = 1.
    """
    selected = {
        "mae": 1.0,
        "rce": 1.0,
        "taylor_ce": 2.0,  # phi' = -(1 + (1-p)) for t = 2
        "phuber_ce": 2.0,  # -tau at 0, -1 at 1
        "agce": (1.6 / 0.6) ** (1 - 0.6),
        "aul": (5.5 / 4.5) ** (3 - 1),
        "ael": math.exp(1 / 2.5),
        "amse": (30 + K - 1) / (30 - 1),  # D_0 = 2 (a-1) t / K, sum D_k = -2 (K-1) t / K - 2 a t / K
        "nrce_ma2020": 1.0,
    }
    for active in ("nce", "nfl"):
        selected |= {
            f"{active}+{passive}": selected[passive] for passive in ("mae", "rce", "agce", "aul", "ael")
        }
    # max(p, 1/2) stands still until p_1 > 1/2 > p_0, where label 1 gains no more than label 0 pays
    selected |= {"tgce": 1.0}
    selected |= {"blurry": 1.0, "piecewise_zero": 1.0}  # no label costs less than 0, which certainty costs
    selected |= {"jal_ce": selected["amse"], "jal_fl": selected["amse"], "anl_ce": 1.0, "anl_fl": 1.0}
    if name in selected:
        return selected[name]
    if name in WITHOUT_A_GUARANTEE:
        return math.inf
    if name.startswith("nn") or name in ("nce", "nfl", "npoly1"):
        return 1.0
    if "ngce" in name or name == "njs":
        return math.inf
    if name == "nael":  # phi(1) = e^(-1/a) is not 0
        return nael(K)
    return ((K - 2) * selected[name.removeprefix("n")] + 1) / (K - 1)


def nael(K, a=2.5):
    """S(0) = K-1 + f, f = e^(-1/a); D_j = phi_j/S - phi_j(0)/S(0), n other classes at t / n each."""
    f, c = math.exp(-1 / a), math.exp(1 / a)
    total, slope_1, slope_0 = K - 1 + f, f / a, 1 / a  # of -phi at 1 and at 0
    best = 0.0
    for n in range(1, K):
        dS = slope_1 - slope_0  # S'(t)
        label = (slope_1 * total - f * dS) / total**2
        one = (-slope_0 / n * total - dS) / total**2  # a class at t / n: phi(0) = 1
        rest = -dS / total**2
        best = max(best, (n * max(-one, 0) + (K - 1 - n) * max(-rest, 0)) / label)
    assert best < c
    return best


@pytest.mark.parametrize("K", [3, 10, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_dominance_is_what_theory_says(name, K):
    made = loss(name)
    if name in ("peer", "unhinged"):  # without an optimum for one example
        assert made.dominance(K) is None
        assert made.dominance(K, even=True) == (1.0 if name == "unhinged" else None)
        assert made.unique_optimum(K) is None
        return
    found, even = made.dominance(K), made.dominance(K, even=True)
    if name == "eps_softmax":
        # Label 1 gains log(x/f) where x = t / (1 + m) rises above the floor f, and label 0 pays x - f: up to
        # 1/f, right above it. What is found is a lower bound, of a grid in x.
        assert 0.98e8 < found <= 1e8
        assert 0.98e8 < even <= 1e8
        return
    if name == "sgce":
        # One other class at t: D_0 = t^q / (q K) and D_1 = -(K-1) t^q / (q K) but for terms in t, so that c
        # is K - 1 (n classes have K - n). They vanish as slowly as t^(1-q): found is a lower bound.
        assert 0.97 * (K - 1) < found <= K - 1
        assert even == 1.0
        return
    assert found == pytest.approx(by_hand(name, K), rel=2e-6)
    if made.label_sum(K) is not None:
        assert even == 1.0
    else:  # all the others of the catalog lower every other label's cost near certainty
        assert even == pytest.approx(found, rel=2e-6)


def test_every_symmetric_loss_bears_all_even_noise_and_no_other_does():
    symmetric = {name for name in LOSSES if loss(name).label_sum(10) is not None}
    # but for those that no losing label can move either
    unmoved = {"tgce", "blurry", "piecewise_zero"}
    assert {name for name in LOSSES if loss(name).dominance(10, even=True) == 1.0} == symmetric | unmoved
    assert len(symmetric) == 37


@pytest.mark.parametrize(
    ("expression", "c"),
    [
        # Zhou et al. 2021: AGCE and AUL are completely asymmetric for q >= 1 and q <= 1, else by these ratios
        ("agce(a=6,q=1.5)", 1.0),
        ("agce(a=1.8,q=3)", 1.0),
        ("agce(a=4,q=0.2)", (5 / 4) ** 0.8),
        ("agce(a=0.01,q=0.5)", 101**0.5),
        ("aul(a=3,q=0.1)", 1.0),
        ("aul(a=6.3,q=1.5)", (6.3 / 5.3) ** 0.5),
        ("ael(a=5)", math.exp(1 / 5)),
        ("ael(a=0.5)", math.exp(2)),
        ("gce(q=1)", 1.0),
        ("gce(q=0.99)", math.inf),
        ("taylor_ce(t=1)", 1.0),
        ("taylor_ce(t=6)", 6.0),
        ("phuber_ce(tau=10)", 10.0),
        ("amse(a=5)", (5 + 9) / (5 - 1)),
        ("amse(a=1)", math.inf),
        ("eps_softmax(mae)", 1.0),
        ("logit_clip(mae)", math.inf),  # symmetric, but its optimum is no certain prediction
        ("1e-5*nce+1000*mae", 1.0),
        ("1e-9*mae", 1.0),
        ("sgce(q=1)", 1.0),
        ("sgce(q=0.1)", 9.0),  # one class at t: D_0 = t^q / (q K) and D_1 = -(K-1) t^q / (q K)
        ("tgce(k=0.2)", 1.0),  # two labels above k gain less than the first pays
    ],
)
def test_dominance_with_parameters(expression, c):
    assert loss(expression).dominance(10) == pytest.approx(c, rel=2e-6)


@pytest.mark.parametrize(
    "name", ["mae", "nce+mae", "nnce", "agce", "aul(a=3,q=2)", "nagce", "amse", "phuber_ce"]
)
def test_the_optimum_is_the_true_label_from_there_on_and_not_before(name):
    """By weighing labels and looking at every prediction of a grid."""
    made = loss(name, reduction="none")
    c = made.dominance(3)
    steps = [0.0, *(10.0**-e for e in range(6, 1, -1)), *(i / 24 for i in range(1, 25))]
    rows = [(1 - b, b * (1 - s), b * s) for b, s in itertools.product(steps, steps)]
    z = torch.tensor(rows, dtype=torch.float64).log().clamp_min(-1e30)
    certain = torch.tensor([[0.0, -1e15, -1e30], [0.0, -1e30, -1e15]], dtype=torch.float64)

    def risk(w, logits):
        return sum(w[k] * made(logits, torch.full((len(logits),), k)) for k in range(3))

    others = [*itertools.product((0.0, 1.0), repeat=2), (1.0, 0.5), (0.3, 1.0), (0.9, 0.95)]
    for one, two in others:
        w = (c + 1e-6, one, two)
        assert risk(w, certain).min() <= risk(w, z).min() + 1e-9
    if c > 1:
        assert any(
            risk((0.999 * c, one, two), z).min() < risk((0.999 * c, one, two), certain).min() - 1e-12
            for one, two in others
        )


def test_dominance_is_the_same_each_time_and_cheap_for_many_classes():
    assert loss("nagce").dominance(10) == loss("nagce").dominance(10)
    assert loss("agce").dominance(20_000) == pytest.approx(1.4804286, rel=1e-4)
    assert loss("nce+mae").dominance(20_000) == 1.0


def test_it_is_said_in_words():
    assert explain(loss("nce+mae"))["noise tolerance"].startswith(
        "symmetric noise up to 90 %, flips to one class up to 50 %"
    )
    assert explain(loss("ngce+mae"))["noise tolerance"].startswith(
        "symmetric noise up to 90 %, flips to one class not at all"
    )
    assert explain(loss("ce"))["noise tolerance"].startswith("none, in theory")
    assert explain(loss("peer"))["noise tolerance"] == "unknown"
    assert "1.48 times as often" in explain(loss("agce"))["asymmetric"]


def test_functions_of_ones_own():
    assert select(lambda l: 1 - l.exp()).dominance(4) == 1.0
    assert select(lambda l: (1 - l.exp()) ** 2 + 1 - l.exp()).dominance(4) == pytest.approx(3)
    assert select(lambda l: 1 / l.exp()).dominance(4) == math.inf  # infinite at p = 0
    assert select(lambda l: l * l.exp() / l.exp()).dominance(4) is None  # 0 / 0 there
    assert explain(select(lambda l: l * l.exp() / l.exp()))["noise tolerance"] == "unknown"
    assert select(lambda l: l * l.exp() / l.exp()).unique_optimum(4) is None


@pytest.mark.parametrize("K", [2, 3, 10])
@pytest.mark.parametrize(("t1", "t2"), [(0.5, 0.5), (0.0, 0.3), (0.2, 0.8), (0.9, 0.1)])
def test_a_support_that_ends_at_a_finite_lead_is_seen_to_its_end(t1, t2, K):
    """With p_1 = e near there, label 0 pays as e^(2-t1) or e^2 and label 1 gains as e^(1-t1) or e."""
    assert loss(f"bi_tempered(t1={t1},t2={t2})").dominance(K) == math.inf


@pytest.mark.parametrize("K", [2, 3, 10])
@pytest.mark.parametrize("a", [1e-2, 1e-4, 1e-5, 1e-6])
def test_a_small_a_is_not_taken_for_none(a, K):
    """Zhou et al. 2021: ((a+1)/a)^(1-q); the grid ends within 1e-9 of certainty, as the last digits do."""
    for q in (0.3, 0.5, 0.9):
        wanted = ((a + 1) / a) ** (1 - q)
        assert loss(f"agce(a={a!r},q={q})").dominance(K) == pytest.approx(wanted, rel=3e-4)


@pytest.mark.parametrize("K", [2, 10])
@pytest.mark.parametrize("a", [0.08, 0.1, 0.2])
def test_a_steep_exponential_is_not_taken_for_none(a, K):
    assert loss(f"ael(a={a})").dominance(K) == pytest.approx(math.exp(1 / a), rel=1e-4)


def test_the_largest_class_of_the_optimum_is_right_beyond_the_noise_tolerance():
    """Beyond the reported noise tolerance, on a fine grid of two classes."""
    p = torch.linspace(1e-6, 1 - 1e-6, 200_001, dtype=torch.float64)
    z = torch.stack([p.log(), torch.log1p(-p)], 1)
    for name, shares, best in (
        ("ce", (0.52, 0.48), 0.52),
        ("gce", (0.6, 0.4), 0.794),
        ("mse", (0.6, 0.4), 0.6),
    ):
        made = loss(name, reduction="none")
        assert made.dominance(2) == math.inf
        risk = sum(w * made(z, torch.full((len(z),), k)) for k, w in enumerate(shares))
        assert p[risk.argmin()].item() == pytest.approx(best, abs=1e-3)


def test_optima_that_are_wrong_as_well():
    z = torch.tensor([[-5.0, 0.0, -1e30]]).double()  # 99 % sure of class 1
    for name in ("nce", "nfl", "npoly1"):
        made = loss(name)
        assert made(z, torch.tensor([0])) < 1e-25
        assert made.unique_optimum(3) is False
        assert made.unique_optimum(2) is True  # p of the other rises as that of the label falls
        assert "other optima" in explain(made)
    for name in ("blurry", "piecewise_zero"):  # certain of another class, they cost nothing, even for K = 2
        assert loss(name)(torch.tensor([[-1e30, 0.0, -1e30]]).double(), torch.tensor([0])) == 0
        assert loss(name).unique_optimum(2) is False
    wrong_too = {"nce", "nfl", "npoly1", "blurry", "piecewise_zero"}
    assert {name for name in LOSSES if loss(name).unique_optimum(10) is False} == wrong_too
    assert "other optima" not in explain(loss("nce+mae"))
    assert loss("peer").unique_optimum(3) is None


def test_classes_are_two_or_more():
    made = loss("nce")
    for ask in (made.dominance, made.bounds, made.label_sum, made.unique_optimum, lambda K: explain(made, K)):
        for bad in (1, 0, -3, 2.0, "3", True, None):
            with pytest.raises(InputError, match=r"num_classes is .*, expected an integer of 2 or more"):
                ask(bad)
