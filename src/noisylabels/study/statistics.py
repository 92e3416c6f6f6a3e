"""Statistics over the runs of a study: means with confidence intervals, paired comparisons, ranks.

Pure functions of numbers. A cell is one loss under one noise, with one run per seed. Runs of two losses with
the same seed have the same noisy labels, so losses are compared in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from noisylabels.core.checks import InputError, check_between

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Summary:
    """Summary statistics of runs, in the unit of the values.

    Args:
        mean: of the values.
        deviation: their sample standard deviation; None for one value.
        low, high: confidence interval of the mean by Student's t; None for one value.
        n: number of values.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    n: int


def summarize(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Return mean, sample standard deviation s and confidence interval ``mean ± t_(n-1) s / sqrt(n)``.

    Raises:
        InputError: no values, or a value that is not finite.

    >>> summarize([0.25, 0.5, 0.75]).mean, summarize([0.25, 0.5, 0.75]).deviation
    (0.5, 0.25)
    """
    x = _checked(values)
    check_between(confidence, "confidence", 0, 1, open_low=True, open_high=True)
    mean, n = float(x.mean()), len(x)
    if n == 1:
        return Summary(mean, None, None, None, 1)
    deviation = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * deviation / math.sqrt(n)
    return Summary(mean, deviation, mean - half, mean + half, n)


@dataclass(frozen=True)
class Paired:
    """A paired comparison of two losses.

    Args:
        difference: summary of first minus second.
        p: p-value of Student's paired t-test of no difference; None for fewer than two pairs.
        better: number of pairs in which the first is larger; ties count as one half.
    """

    difference: Summary
    p: float | None
    better: float


def compare(first: Mapping[Key, float], second: Mapping[Key, float], confidence: float = 0.95) -> Paired:
    """Compare two losses over their common runs: the same noise, seed and settings.

    Args:
        first, second: key that identifies a pair, such as (noise, seed) -> value.
        confidence: level of the interval of the mean difference.

    Raises:
        InputError: the two have no run in common.

    >>> compare({1: 0.9, 2: 0.8}, {1: 0.7, 2: 0.7, 3: 0.1}).better
    2.0
    """
    both = [key for key in first if key in second]
    if not both:
        raise InputError("the two have no run in common; compare runs of the same noise and seed")
    differences = np.array([first[key] - second[key] for key in both])
    summary = summarize(differences.tolist(), confidence)
    better = float((differences > 0).sum() + 0.5 * (differences == 0).sum())
    p = None
    if len(both) > 1:
        spread = float(differences.std(ddof=1))
        if spread == 0:  # constant differences: t is infinite or undefined
            p = 1.0 if summary.mean == 0 else 0.0
        else:
            t = summary.mean / (spread / math.sqrt(len(both)))
            p = float(2 * stats.t.sf(abs(t), len(both) - 1))
    return Paired(summary, p, better)


@dataclass(frozen=True)
class Contrast:
    """The difference of two means from independent runs.

    Args:
        difference: first minus second.
        low, high: confidence interval; None if neither side has a standard deviation.
    """

    difference: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """Verdict: "higher", "lower", "not significant" (the interval contains 0) or "no interval"."""
        if self.low is None or self.high is None:
            return "no interval"
        if self.low <= 0 <= self.high:
            return "not significant"
        return "higher" if self.difference > 0 else "lower"


def contrast(first: Summary, second: Summary, confidence: float = 0.95) -> Contrast:
    """Compare two means of independent runs, such as ours and a published one.

    Only mean, deviation and n of each side are used. If both have a deviation over two or more runs, the
    interval is Welch's: ``d ± t sqrt(s1^2/n1 + s2^2/n2)`` with Welch-Satterthwaite degrees of freedom. If
    only one has (n runs), the m runs of the other are assumed to have the same deviation:
    ``d ± t_(n-1) s sqrt(1/n + 1/m)``; for m = 1 this is the prediction interval of one more run. If neither
    has, there is no interval.

    Args:
        first, second: the means with what is known of their spread, see `Summary`.
        confidence: level of the interval.

    >>> contrast(Summary(90.0, 1.0, None, None, 4), Summary(88.0, None, None, None, 1)).verdict
    'not significant'
    """
    check_between(confidence, "confidence", 0, 1, open_low=True, open_high=True)
    difference = first.mean - second.mean
    spread = [
        (side.deviation, side.n) for side in (first, second) if side.deviation is not None and side.n > 1
    ]
    if not spread:
        return Contrast(difference, None, None)
    if len(spread) == 2:
        parts = [deviation**2 / n for deviation, n in spread]
        error = math.sqrt(sum(parts))
        below = sum(part**2 / (n - 1) for part, (_, n) in zip(parts, spread, strict=True))
        freedom = sum(parts) ** 2 / below if below else math.inf
    else:
        ((deviation, n),) = spread
        error = deviation * math.sqrt(1 / first.n + 1 / second.n)
        freedom = n - 1
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error if error else 0.0
    return Contrast(difference, difference - half, difference + half)


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of losses over settings.

    Args:
        mean: loss -> mean rank, 1 is best; ties get the average rank.
        settings: number of settings.
        p: p-value of Friedman's test of equal ranks; None for fewer than two settings or three losses.
        critical: Nemenyi's critical difference of mean ranks; None likewise.
        groups: losses, best first, whose mean ranks are within the critical difference of the first one's.
    """

    mean: dict[str, float]
    settings: int
    p: float | None
    critical: float | None
    groups: tuple[tuple[str, ...], ...]


def rank(table: Mapping[str, Mapping[Hashable, float]], alpha: float = 0.05) -> Ranks:
    """Rank losses over their common settings, after Demšar 2006.

    Args:
        table: loss -> setting -> value, larger is better.
        alpha: significance level of the critical difference ``q_alpha sqrt(k (k + 1) / (6 N))`` of k losses
            over N settings.

    Raises:
        InputError: fewer than two losses, no common setting, or a value that is NaN.

    Source: Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006, section 3.2.

    >>> rank({"a": {1: 0.9, 2: 0.8}, "b": {1: 0.5, 2: 0.8}}).mean
    {'a': 1.25, 'b': 1.75}
    """
    losses = list(table)
    if len(losses) < 2:
        raise InputError(f"cannot rank {len(losses)} losses, expected two or more")
    settings = [setting for setting in table[losses[0]] if all(setting in table[loss] for loss in losses)]
    if not settings:
        raise InputError("no setting is common to all losses; ranks need runs of the same noises and seeds")
    values = np.array([[table[loss][setting] for setting in settings] for loss in losses])
    if np.isnan(values).any():
        missing = losses[int(np.isnan(values).any(axis=1).argmax())]
        raise InputError(
            f"a value of {missing!r} is nan, expected a number; leave out failed runs, or rank them last"
        )
    ranks = stats.rankdata(-values, axis=0)
    means = ranks.mean(axis=1)
    order = sorted(range(len(losses)), key=lambda i: (means[i], losses[i]))
    mean = {losses[i]: float(means[i]) for i in order}
    k, n = len(losses), len(settings)
    p = critical = None
    if n > 1 and k > 2:
        spread = float(((ranks - (k + 1) / 2) ** 2).sum())
        if spread > 0:
            # Friedman's statistic, corrected for ties
            statistic = n * n * (k - 1) * float(((means - (k + 1) / 2) ** 2).sum()) / spread
            p = float(stats.chi2.sf(statistic, k - 1))
        else:
            p = 1.0
        q = float(stats.studentized_range.ppf(1 - alpha, k, math.inf)) / math.sqrt(2)
        critical = q * math.sqrt(k * (k + 1) / (6 * n))
    groups: list[tuple[str, ...]] = []
    if critical is not None:
        names = list(mean)
        for place, first in enumerate(names):
            group = tuple(name for name in names[place:] if mean[name] - mean[first] < critical)
            if len(group) > 1 and not any(set(group) <= set(other) for other in groups):
                groups.append(group)
    return Ranks(mean, n, p, critical, tuple(groups))


def top(means: Mapping[Key, float], count: int = 2, digits: int = 4) -> set[Key]:
    """Return the keys of the `count` largest values; values equal when rounded to `digits` are ties.

    >>> sorted(top({"a": 0.9, "b": 0.8, "c": 0.80000001, "d": 0.1}))
    ['a', 'b', 'c']
    """
    printed = {key: round(value, digits) for key, value in means.items()}
    if not printed:
        return set()
    least = sorted(printed.values(), reverse=True)[min(count, len(printed)) - 1]
    return {key for key, value in printed.items() if value >= least}


def _checked(values: Sequence[float]) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if not x.size or not np.isfinite(x).all():
        raise InputError(f"the values are {list(values)!r}, expected one or more finite numbers")
    return x
