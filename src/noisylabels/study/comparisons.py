"""Comparisons: paired differences, the range expected of them, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from scipy import stats

from noisylabels.study.results import (
    Measure,
    accuracy,
    chosen_accuracy,
    dead,
    decline,
    epoch_seconds,
    gap,
    instability,
    memorized,
)
from noisylabels.study.statistics import Summary, summarize

Status = Literal["supported", "contradicted", "undecided", "not measured"]

CONFIDENCE = 0.95

FEW = 3
"""Number of seeds from which on a verdict is given at the usual confidence level."""

CAUTION = 5
"""Factor by which fewer seeds must err less: 99 instead of 95 %. Two differences are alike by chance so often
that the rounding of another processor changes verdicts at 95 %; see docs/claims.md."""


@dataclass(frozen=True)
class Unit:
    """Unit in which a difference is printed.

    Args:
        name: printed after the number.
        scale: factor from the measure's unit.
        digits: number of decimals.
        relative: whether the difference is relative to the second side.
    """

    name: str = ""
    scale: float = 1.0
    digits: int = 3
    relative: bool = False

    @property
    def step(self) -> float:
        """One unit of the last printed digit, in the measure's unit."""
        return 10.0**-self.digits / self.scale

    def show(self, value: float, name: bool = True) -> str:
        """Return a value as text with its sign: ``−78.3 points``."""
        text = f"{value * self.scale:+.{self.digits}f}"
        text = text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
        return f"{text} {self.name}".rstrip() if name else text


POINTS = Unit("points", 100, 1)
PER_CENT = Unit("%", 100, 1, relative=True)

UNITS: dict[Measure, tuple[str, Unit]] = {
    accuracy: ("accuracy", POINTS),
    chosen_accuracy: ("accuracy at the chosen epoch", POINTS),
    gap: ("overfitting gap", POINTS),
    memorized: ("memorized noisy labels", POINTS),
    decline: ("decline", POINTS),
    instability: ("instability", Unit("points", 100, 2)),
    epoch_seconds: ("time per epoch", PER_CENT),
    dead: ("dead classes", Unit("classes", 1, 1)),
}
"""Measure -> name and unit of its differences; other measures have their function's name and no unit."""


def called(measure: Measure) -> tuple[str, Unit]:
    """Return the name of a measure and the unit of its differences."""
    name = getattr(measure, "__name__", "value").replace("_", " ")
    return UNITS.get(measure, (name, Unit()))


@dataclass(frozen=True)
class Comparison:
    """A paired difference and the range in which it is expected.

    Args:
        words: description of the difference.
        unit: unit in which it is printed.
        values: one difference per seed; empty if runs are missing.
        low, high: the expected range, ``low < difference < high``.
        missing: descriptions of missing runs.
    """

    words: str
    unit: Unit = field(default_factory=Unit)
    values: tuple[float, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    missing: tuple[str, ...] = ()

    def summary(self, confidence: float = CONFIDENCE) -> Summary:
        """Return the mean of the differences and its confidence interval by Student's t.

        The deviation counts as at least one unit of the last printed digit: accuracies change in steps of one
        test example, so two or three differences can be equal by chance.
        """
        found = summarize(self.values, confidence)
        if found.deviation is None or found.deviation >= self.unit.step:
            return found
        half = float(stats.t.ppf((1 + confidence) / 2, found.n - 1)) * self.unit.step / math.sqrt(found.n)
        return replace(found, deviation=self.unit.step, low=found.mean - half, high=found.mean + half)

    def level(self, confidence: float = CONFIDENCE) -> float:
        """Return the confidence level at which these seeds are judged: a stricter one for two."""
        return confidence if len(self.values) >= FEW else 1 - (1 - confidence) / CAUTION

    def status(self, confidence: float = CONFIDENCE) -> Status:
        """Return whether the interval lies entirely inside the expected range, entirely outside, or neither.

        A single seed has no interval and is undecided. Two seeds are judged at 99 instead of 95 %.

        >>> Comparison("a minus b", values=(0.2, 0.3, 0.25), low=0).status()
        'supported'
        """
        if self.missing or not self.values:
            return "not measured"
        found = self.summary(self.level(confidence))
        if found.low is None or found.high is None:
            return "undecided"
        if self.low < found.low and found.high < self.high:
            return "supported"
        return "contradicted" if found.high <= self.low or found.low >= self.high else "undecided"

    @property
    def room(self) -> float:
        """Distance of the mean from the nearest limit of the expected range; negative outside."""
        mean = self.summary().mean
        return min(mean - self.low, self.high - mean)

    def text(self, confidence: float = CONFIDENCE) -> str:
        """Return the comparison as text: description, difference, confidence interval, number of seeds.

        >>> Comparison("gap of nce", POINTS, (0.5, 0.25), high=0.0).text()
        'gap of nce: +37.5 points (99 % CI −758.2 to +833.2, n = 2)'
        """
        if self.missing or not self.values:
            return f"{self.words}: not measured, {some(self.missing)} missing"
        confidence = self.level(confidence)
        found = self.summary(confidence)
        show = self.unit.show
        if found.low is None or found.high is None:
            spread = "one seed, no CI"
        else:
            level = f"{100 * confidence:.4g} %"
            spread = f"{level} CI {show(found.low, False)} to {show(found.high, False)}, n = {found.n}"
        return f"{self.words}: {show(found.mean)} ({spread}{self._expected()})"

    def _expected(self) -> str:
        show = self.unit.show
        low, high = abs(self.low) < math.inf, abs(self.high) < math.inf
        if low and high:
            return f"; expected {show(self.low, False)} to {show(self.high, False)}"
        if low and self.low:
            return f"; expected above {show(self.low, False)}"
        return f"; expected below {show(self.high, False)}" if high and self.high else ""


def some(words: Sequence[str], count: int = 4) -> str:
    """Return distinct words joined by commas, at most `count` of them."""
    words = list(dict.fromkeys(words))
    more = len(words) - count
    return ", ".join(words[:count]) + (f" and {more} more" if more > 0 else "")
