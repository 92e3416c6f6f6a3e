"""The noise rate after some labels have been checked by hand: each right and each wrong one counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noisylabels.noise.noise_rate import NoiseRate

STEPS = 61
"""Noise rates that are tried, over the range in which they are not improbable, see `_likely`."""

FREEDOM = 4
"""Degrees of freedom of the rate's distribution beforehand, Student's t. Its tails let many checked labels
overrule an interval that missed; those of a normal distribution would hold the rate near it."""

SLOPES = (0.5, 0.65, 0.8, 1.0, 1.25, 1.55, 2.0)
"""Factors of the log odds that are tried: how far the order of the labels is to be trusted is learned from
the checked ones too, since reviews choose the most suspicious."""

_SLOPE_SPREAD = 0.4  # standard deviation of the logarithm of the factor before labels are checked
_NORMAL = 1.96  # standard deviations from the estimate to the ends of a 95 % interval
_STUDENT = 2.776  # scales of Student's t from the estimate to these ends
_TRIED = 160  # shifts
_LEAST = 1e-4  # the lowest rate that is tried, and the distance of the highest one from 1
_IMPROBABLE = 8.0  # the difference of the log densities of the best rate and of one that is not tried
_PASSES = 12
_ROWS = 20_000  # labels by which a rate is turned into probabilities


def checked_rate(before: NoiseRate, odds: np.ndarray, checked: np.ndarray, wrong: np.ndarray) -> NoiseRate:
    """Return the noise rate of the labels that were not checked, by Bayes' rule.

    Beforehand the rate of all labels has Student's t distribution with the given interval. A rate r and a
    slope b give each label the probability σ(b odds + shift) of having been wrong, where the shift makes
    their mean r; so it does not matter that the checked labels were chosen by these odds, as in a review. The
    likelihood is that of the checked labels that were found wrong and right.

    Args:
        before: the estimate for all labels, as if none had been checked.
        odds: (M,) log odds that a label is wrong, up to a constant, of the labels that were not checked.
        checked: (C,) those of the checked labels, as they were before.
        wrong: (C,) bool, whether they were wrong.

    >>> odds = np.linspace(-4, 4, 200)
    >>> wide = NoiseRate(0.3, 0.1, 0.5)
    >>> found = checked_rate(wide, odds, odds[::4], odds[::4] > 2)
    >>> found.estimate < 0.3, found.high - found.low < 0.2
    (True, True)
    """
    from scipy.special import expit, log_expit

    reach = max(before.high - before.estimate, before.estimate - before.low, 1e-3)
    some = odds[:: -(-len(odds) // _ROWS)]
    share = len(checked) / (len(checked) + len(odds))
    curves = [_curve(slope * some, slope * checked, share) for slope in SLOPES]

    def log_weights(rates: np.ndarray) -> np.ndarray:
        """Return the log density of slopes and rates, up to a constant, (slopes, R)."""
        t = (rates - before.estimate) / (reach / _STUDENT)
        prior = -0.5 * (FREEDOM + 1) * np.log1p(np.square(t) / FREEDOM)
        made = np.empty((len(SLOPES), len(rates)))
        for at, (slope, (shifts, means)) in enumerate(zip(SLOPES, curves, strict=True)):
            z = slope * checked + np.interp(rates, means, shifts)[:, None]
            likelihood = np.where(wrong, log_expit(z), log_expit(-z)).sum(axis=1)
            made[at] = prior + likelihood - 0.5 * (np.log(slope) / _SLOPE_SPREAD) ** 2
        return made

    rates = _likely(log_weights)
    weights, (others, spread) = log_weights(rates), np.empty((2, len(SLOPES), STEPS))
    for at, (slope, (shifts, means)) in enumerate(zip(SLOPES, curves, strict=True)):
        q = [expit(slope * some + shift) for shift in np.interp(rates, means, shifts)]
        others[at] = [each.mean() for each in q]
        spread[at] = [(each * (1 - each)).mean() / len(odds) for each in q]  # of the share that is wrong
    weight = np.exp(weights - weights.max())
    weight /= weight.sum()
    middle = float((weight * others).sum())
    deviation = float((weight * (np.square(others - middle) + spread)).sum()) ** 0.5
    reach = _NORMAL * deviation
    return NoiseRate(middle, max(0.0, middle - reach), min(1.0, middle + reach))


def _likely(log_weights: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the rates to try, (STEPS,), evenly over the range that holds nearly all of the probability.

    Args:
        log_weights: returns the log density of rates, (slopes, R), of (R,).
    """
    low, high = _LEAST, 1 - _LEAST
    for _ in range(_PASSES):
        rates = np.linspace(low, high, STEPS)
        best = log_weights(rates).max(axis=0)
        inside = np.flatnonzero(best > best.max() - _IMPROBABLE)
        # by a step more at both sides: the best rate may lie between the steps
        ends = rates[max(0, inside[0] - 1)], rates[min(STEPS - 1, inside[-1] + 1)]
        if ends[1] - ends[0] > 0.7 * (high - low):
            break
        low, high = ends
    return np.linspace(low, high, STEPS)


def _curve(odds: np.ndarray, checked: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return shifts of the log odds and the mean probabilities that they give, both ascending.

    Args:
        odds, checked: log odds of labels that were not checked, and that were.
        share: of all labels, that were checked.
    """
    from scipy.special import expit

    ends = np.quantile(odds, (0.0005, 0.9995))
    tried = np.linspace(-ends[1] - 8, 8 - ends[0], _TRIED)
    means = [(1 - share) * expit(odds + z).mean() + share * expit(checked + z).mean() for z in tried]
    return tried, np.asarray(means)
