"""The noise rate after labels were checked: its coverage, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from noisylabels.noise.checked_rate import STEPS, _likely, checked_rate
from noisylabels.noise.noise_rate import NoiseRate


def problem(seed: int, n: int = 2000, rate: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return log odds that order the labels, by a slope and shift of their own, and which are wrong."""
    draw = np.random.default_rng(seed)
    z = 2 * draw.normal(size=n)
    shifts = np.linspace(-8, 3, 1000)
    shift = shifts[np.searchsorted([(1 / (1 + np.exp(-(z + s)))).mean() for s in shifts], rate)]
    wrong = draw.random(n) < 1 / (1 + np.exp(-(z + shift)))
    return z / 1.3 + 5, wrong


def drawn(how: str, odds: np.ndarray, count: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    if how == "random":
        return np.asarray(draw.permutation(len(odds))[:count])
    order = np.argsort(-odds)
    return np.concatenate([order[: count // 2], draw.permutation(order[count // 2 :])[: count - count // 2]])


@pytest.mark.parametrize("how", ["random", "lowest"])
@pytest.mark.parametrize("count", [50, 200])
def test_the_interval_narrows_and_holds_the_rate_of_the_others(how: str, count: int) -> None:
    held, widths, errors = [], [], []
    for seed in range(40):
        rate = float(np.random.default_rng(seed).uniform(0.1, 0.3))
        odds, wrong = problem(seed, rate=rate)
        # an estimate whose own error is that of its interval
        before = 0.2 + 0.05 * float(np.random.default_rng(100 + seed).normal())
        start = NoiseRate(before, max(0.0, before - 0.14), before + 0.14)
        known = np.zeros(len(odds), bool)
        known[drawn(how, odds, count, seed)] = True
        found = checked_rate(start, odds[~known], odds[known], wrong[known])
        truth = wrong[~known].mean()
        held.append(found.low <= truth <= found.high)
        widths.append(found.high - found.low)
        errors.append(found.estimate - truth)
    assert np.mean(held) >= 0.85
    assert np.median(widths) < (0.2 if count == 50 else 0.125)  # of 0.28 before
    assert abs(np.mean(errors)) < 0.02


def test_without_information_the_estimate_stays() -> None:
    odds, _ = problem(0)
    start = NoiseRate(0.2, 0.15, 0.25)
    found = checked_rate(start, odds, odds[:1], np.array([False]))
    assert found.estimate == pytest.approx(0.2, abs=0.01)
    assert found.high - found.low == pytest.approx(0.1, abs=0.02)


def test_a_constant_added_to_the_odds_does_not_matter() -> None:
    odds, wrong = problem(1)
    start = NoiseRate(0.2, 0.1, 0.3)
    one, other = (checked_rate(start, odds[100:] + c, odds[:100] + c, wrong[:100]) for c in (0.0, 7.0))
    assert (one.estimate, one.low, one.high) == pytest.approx(
        (other.estimate, other.low, other.high), abs=1e-6
    )


@pytest.mark.parametrize("wrong", [True, False])
def test_extreme_findings_stay_between_0_and_1(wrong: bool) -> None:
    odds, _ = problem(2, n=300)
    for start in (NoiseRate(0.01, 0.0, 0.03), NoiseRate(0.99, 0.9, 1.0), NoiseRate(0.5, 0.5, 0.5)):
        found = checked_rate(start, odds, odds[:50], np.full(50, wrong))
        assert 0 <= found.low <= found.estimate <= found.high <= 1


@pytest.mark.parametrize("start", [NoiseRate(0.02, 0.0, 0.045), NoiseRate(0.5, 0.45, 0.55)])
@pytest.mark.parametrize("how", ["random", "lowest"])
def test_many_checked_labels_overrule_an_interval_that_missed(start: NoiseRate, how: str) -> None:
    errors = []
    for seed in range(4):
        odds, wrong = problem(seed, n=3000)
        known = np.zeros(len(odds), bool)
        known[drawn(how, odds, 600, seed)] = True
        found = checked_rate(start, odds[~known], odds[known], wrong[known])
        errors.append(found.estimate - wrong[~known].mean())
        assert found.high - found.low < 0.1
        if how == "random":  # as well known as without the first interval, by the binomial distribution
            assert abs(found.estimate - wrong[known].mean()) < 0.02
    assert np.abs(errors).max() < 0.05


def test_the_range_of_the_tried_rates_follows_a_narrow_and_a_wide_posterior() -> None:
    for middle, deviation in ((0.2, 1e-3), (0.5, 0.2), (0.001, 5e-4), (0.9, 0.03)):
        rates = _likely(lambda tried, m=middle, d=deviation: -0.5 * np.square((tried - m) / d)[None])
        assert rates.shape == (STEPS,)
        low, high = max(1e-4, middle - 3 * deviation), min(1 - 1e-4, middle + 3 * deviation)
        assert rates[0] <= low < high <= rates[-1]
        assert rates[1] - rates[0] < deviation / 2
