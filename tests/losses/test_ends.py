"""Parameters at the ends of their ranges: digits kept, values finite, bounds that hold."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, PER_LABEL, WRAPPERS, loss

mpmath = pytest.importorskip("mpmath")

WEIGHTS = [10.0**-e for e in range(1, 13)]


def js(logits, label, w):
    """The divergence by its definition, from logits of V views, and its gradient by the first: 60 digits."""
    with mpmath.workdps(60):
        w = mpmath.mpf(w)

        def value(views):
            ps = []
            for z in views:
                parts = [mpmath.exp(x) for x in z]
                ps.append([part / mpmath.fsum(parts) for part in parts])
            u = (1 - w) / len(ps)
            mean = [w * (k == label) + u * mpmath.fsum(p[k] for p in ps) for k in range(len(ps[0]))]

            def divergence(p):
                return mpmath.fsum(x * mpmath.log(x / m) for x, m in zip(p, mean, strict=True) if x)

            total = w * -mpmath.log(mean[label]) + u * mpmath.fsum(divergence(p) for p in ps)
            return total / (-(1 - w) * mpmath.log(1 - w))

        step = mpmath.mpf(10) ** -20
        slopes = []
        for k in range(len(logits[0])):
            up, down = ([list(map(mpmath.mpf, z)) for z in logits] for _ in range(2))
            up[0][k] += step
            down[0][k] -= step
            slopes.append(float((value(up) - value(down)) / (2 * step)))
        return float(value([list(map(mpmath.mpf, z)) for z in logits])), slopes


def found(text, logits, dtype):
    views = [torch.tensor([z], dtype=dtype) for z in logits]
    views[0].requires_grad_()
    value = loss(text)(views[0] if len(views) == 1 else views, torch.tensor([0]))
    (slope,) = torch.autograd.grad(value, views[0])
    return value.item(), slope[0].tolist()


ROWS = [[7.0, 0.0, -1.0], [3.0, 0.5, 0.25], [0.0, 0.0, 0.0], [-4.0, 1.0, 2.0], [-20.0, 0.0, 1.0]]


@pytest.mark.parametrize("w", [*WEIGHTS, 0.5, 0.9, 1 - 1e-9])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_js_keeps_its_digits(w, row):
    tolerance = 1e-12
    value, slope = js([row], 0, w)
    for text, views in ((f"js(w={w!r})", [row]), (f"gjs(w={w!r})", [row])):
        ours, ours_slope = found(text, views, torch.float64)
        assert ours == pytest.approx(value, rel=tolerance)
        assert ours_slope == pytest.approx(slope, rel=tolerance, abs=tolerance * max(map(abs, slope)))


@pytest.mark.parametrize("w", [*WEIGHTS, 0.5, 0.9, 1 - 1e-9])
def test_js_keeps_its_digits_in_float32(w):
    """From log p on: the softmax before it has its own rounding near p = 1."""
    l = torch.tensor(
        [
            0.0,
            -1e-6,
            -1e-3,
            -0.01,
            -0.1,
            -0.5,
            -0.7,
            -1.0,
            -2.0,
            -5.0,
            -12.0,
            -20.0,
            -27.0,
            -28.0,
            -40.0,
            -80.0,
        ],
        requires_grad=True,
    )
    value = PER_LABEL["js"].function(l, w)
    (slope,) = torch.autograd.grad(value.sum(), l)
    for x, ours, ours_slope in zip(l.tolist(), value.tolist(), slope.tolist(), strict=True):
        with mpmath.workdps(60):

            def exact(x, w=w):
                w = mpmath.mpf(w)
                p = mpmath.exp(x)
                m = w + (1 - w) * p
                others = (1 - p) * -mpmath.log(1 - w)
                total = -w * mpmath.log(m) + (1 - w) * (p * (x - mpmath.log(m)) + others)
                return total / (-(1 - w) * mpmath.log(1 - w))

            wanted, step = exact(mpmath.mpf(x)), mpmath.mpf(10) ** -20
            wanted_slope = (exact(x + step) - exact(x - step)) / (2 * step)
        assert ours == pytest.approx(float(wanted), rel=2e-6, abs=1e-38)
        assert ours_slope == pytest.approx(float(wanted_slope), rel=4e-6, abs=1e-36)


@pytest.mark.parametrize("w", WEIGHTS)
@pytest.mark.parametrize("other", [[6.5, 0.25, -1.5], [0.0, 4.0, 1.0]], ids=str)
def test_gjs_of_views_that_differ_keeps_its_digits(w, other):
    views = [ROWS[0], other]
    value, slope = js(views, 0, w)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 3e-4)):
        # the divergence between two views near each other is a square of small differences of their logits
        ours, ours_slope = found(f"gjs(w={w!r})", views, dtype)
        assert ours == pytest.approx(value, rel=tolerance)
        assert ours_slope == pytest.approx(slope, rel=tolerance, abs=tolerance * max(map(abs, slope)))


@pytest.mark.parametrize("w", WEIGHTS)
def test_gjs_of_equal_views_is_js(w):
    for row in ROWS:
        for mine, wanted in zip(
            found(f"gjs(w={w!r})", [row, row], torch.float32),
            found(f"js(w={w!r})", [row], torch.float32),
            strict=True,
        ):
            # each view has half the gradient
            half = [x / 2 for x in wanted] if isinstance(wanted, list) else wanted
            assert mine == pytest.approx(half, rel=1e-5, abs=1e-7)


def extremes():
    rows = [
        [1e4, 0, 0],
        [-1e4, 0, 0],
        [0, 1e4, 0],
        [1e4, 1e4, 0],
        [-1e4, 1e4, -1e4],
        [0, 0, 0],
        [1e4, -1e4, 3],
    ]
    return torch.tensor(rows, dtype=torch.float32)


def ends():
    for row in [*PER_LABEL.values(), *WRAPPERS.values()]:
        sides = []
        for name in row.defaults:
            low, high = (row.domain[name][end] for end in ("low", "high"))
            inward = {"low": low, "high": high}
            if row.domain[name].get("open_low"):
                inward["low"] = low * (1 + 1e-6) if low else 1e-6
            if row.domain[name].get("open_high"):
                inward["high"] = math.nextafter(high, -math.inf)
            sides.append([(name, value) for value in inward.values()])
        yield from ((row, dict(given)) for given in itertools.product(*sides) if given)


@pytest.mark.parametrize(
    ("row", "given"),
    list(ends()),
    ids=lambda x: x.name if hasattr(x, "name") else ",".join(map(str, x.values())),
)
def test_the_ends_of_the_ranges_give_finite_values_and_gradients_in_float32(row, given):
    inside = ",".join(f"{name}={value!r}" for name, value in given.items())
    names = [row.name, *(f"{p}{row.name}" for p in ("n", "nn") if f"{p}{row.name}" in LOSSES)]
    for name in names:
        for K in (2, 3):
            z = extremes()[:, :K].clone().requires_grad_()
            made = loss(f"{name}({inside})", reduction="none")
            for label in range(K):
                value = made(z, torch.full((len(z),), label))
                (slope,) = torch.autograd.grad(value.sum(), z)
                assert value.isfinite().all(), (name, K, label, value)
                assert slope.isfinite().all(), (name, K, label, slope)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("agce(q=400)", "[1e-06, 10]"),
        ("aul(q=500)", "[1e-06, 10]"),
        ("gce(q=1e-46)", "[1e-08, 1]"),
        ("js(w=1e-320)", "[1e-12, 1)"),
        ("nnael(a=1e9)", "[0.01, 100]"),
        ("peer(alpha=1e300)", "[0, 1000]"),
        ("logit_clip(tau=1e300)", "[1e-06, 1e+06]"),
        ("amse(a=1e30)", "[1, 1e+06]"),
        ("eps_softmax(floor=1e-2)", "[0, 1e-06]"),
    ],
)
def test_beyond_them_the_range_is_named(text, limits):
    with pytest.raises(InputError) as caught:
        loss(text)
    assert f"expected a number in {limits}" in str(caught.value)


@pytest.mark.parametrize("K", [2, 3, 10])
@pytest.mark.parametrize(
    "text",
    ["logit_clip(gce,tau=3)", "logit_clip(tau=5)", "logit_clip(mae)", "logit_norm(tau=1)", "logit_clip(nce)"],
)
def test_bounds_hold_where_the_norm_is_bounded(text, K):
    """By walking on the sphere: a random search, then smaller and smaller steps from the best."""
    made = loss(text, reduction="none")
    low, high = made.bounds(K)
    generator = torch.Generator().manual_seed(K)
    for sign, bound in ((1, high), (-1, -low)):
        best, at = -math.inf, torch.zeros(1, K, dtype=torch.float64)
        for step in [100.0, *(10.0 * 0.5**i for i in range(30))]:
            z = at + step * torch.randn((2000, K), generator=generator, dtype=torch.float64)
            values = sign * made(z, torch.zeros(2000, dtype=torch.int64))
            if values.max() > best:
                best, at = values.max().item(), z[values.argmax()]
        assert best <= bound + 1e-9
        if K < 10:  # in ten dimensions the walk stops short
            assert best >= bound - 1e-4 * (high - low)


def test_the_bounds_of_the_review_hold():
    assert loss("logit_clip(gce,tau=3)").bounds(3)[1] >= 1.362969
    assert loss("logit_clip(tau=5)").bounds(3)[1] >= 7.10318


def test_the_confidence_penalty_is_least_short_of_certainty():
    """Where the others' share is e = (K-1) e^(-1/beta), nearly: less than its 0 at p = 1."""
    low, _ = loss("conf_penalty(beta=0.5)").bounds(10)
    e = torch.linspace(1e-6, 0.999, 200_001, dtype=torch.float64)
    value = -torch.log1p(-e) + 0.5 * ((1 - e) * torch.log1p(-e) + e * (e / 9).log())
    assert low == pytest.approx(value.min().item(), abs=1e-8)
    assert low < -0.1
