"""The noise rate after some labels have been checked by hand: each right and each wrong one counts."""

from __future__ import annotations

import numpy as np

from noisylabels.noise.noise_rate import NoiseRate

STEPS = 61
"""Noise rates that are tried, over `REACHES` lengths of the interval to both sides of the estimate."""

REACHES = 2.0

SLOPES = (0.5, 0.65, 0.8, 1.0, 1.25, 1.55, 2.0)
"""Factors of the log odds that are tried: how far the order of the labels is to be trusted is learned from
the checked ones too, since reviews choose the most suspicious."""

_SLOPE_SPREAD = 0.4  # standard deviation of the logarithm of the factor before labels are checked
_NORMAL = 1.96  # standard deviations from the estimate to the ends of a 95 % interval
_TRIED = 160  # shifts
_ROWS = 20_000  # labels by which a rate is turned into probabilities


def checked_rate(before: NoiseRate, odds: np.ndarray, checked: np.ndarray, wrong: np.ndarray) -> NoiseRate:
    """Return the noise rate of the labels that were not checked, by Bayes' rule.

    Beforehand the rate of all labels is normal with the given interval. A rate r and a slope b give each
    label the probability σ(b odds + shift) of having been wrong, where the shift makes their mean r; so it
    does not matter that the checked labels were chosen by these odds, as in a review. The likelihood is that
    of the checked labels that were found wrong and right.

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
    ends = before.estimate - REACHES * reach, before.estimate + REACHES * reach
    rates = np.linspace(max(1e-4, ends[0]), min(1 - 1e-4, ends[1]), STEPS)
    prior = -0.5 * np.square((rates - before.estimate) / (reach / _NORMAL))
    some = odds[:: -(-len(odds) // _ROWS)]
    share = len(checked) / (len(checked) + len(odds))
    weights, others, spread = np.empty((3, len(SLOPES), STEPS))
    for at, slope in enumerate(SLOPES):
        shifts = _shifts(slope * some, slope * checked, share, rates)
        z = slope * checked + shifts[:, None]
        likelihood = np.where(wrong, log_expit(z), log_expit(-z)).sum(axis=1)
        weights[at] = prior + likelihood - 0.5 * (np.log(slope) / _SLOPE_SPREAD) ** 2
        q = [expit(slope * some + shift) for shift in shifts]
        others[at] = [each.mean() for each in q]
        spread[at] = [(each * (1 - each)).mean() / len(odds) for each in q]  # of the share that is wrong
    weight = np.exp(weights - weights.max())
    weight /= weight.sum()
    middle = float((weight * others).sum())
    deviation = float((weight * (np.square(others - middle) + spread)).sum()) ** 0.5
    reach = _NORMAL * deviation
    return NoiseRate(middle, max(0.0, middle - reach), min(1.0, middle + reach))


def _shifts(odds: np.ndarray, checked: np.ndarray, share: float, rates: np.ndarray) -> np.ndarray:
    """Return the shifts of the log odds whose mean probabilities are the rates, (R,), by interpolation.

    Args:
        odds, checked: log odds of labels that were not checked, and that were.
        share: of all labels, that were checked.
        rates: (R,) ascending.
    """
    from scipy.special import expit

    ends = np.quantile(odds, (0.0005, 0.9995))
    tried = np.linspace(-ends[1] - 8, 8 - ends[0], _TRIED)
    means = [(1 - share) * expit(odds + z).mean() + share * expit(checked + z).mean() for z in tried]
    return np.asarray(np.interp(rates, means, tried))
