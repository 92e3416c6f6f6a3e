"""A difference in numbers, the range in which it is expected, and whether it is there."""

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


@dataclass(frozen=True)
class Unit:
    """How a difference is printed.

    Args:
        name: after the number.
        scale: what it is multiplied by.
        digits: after the point.
        relative: the difference is a share of the second side.
    """

    name: str = ""
    scale: float = 1.0
    digits: int = 3
    relative: bool = False

    @property
    def step(self) -> float:
        """One unit of the last digit shown."""
        return 10.0**-self.digits / self.scale

    def show(self, value: float, name: bool = True) -> str:
        """Return a value with its sign: ``−78.3 points``."""
        text = f"{value * self.scale:+.{self.digits}f}"
        text = text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
        return f"{text} {self.name}".rstrip() if name else text


POINTS = Unit("points", 100, 1)
PER_CENT = Unit("per cent", 100, 1, relative=True)

UNITS: dict[Measure, tuple[str, Unit]] = {
    accuracy: ("accuracy", POINTS),
    chosen_accuracy: ("accuracy of the chosen epoch", POINTS),
    gap: ("gap", POINTS),
    memorized: ("memorized share", POINTS),
    decline: ("decline", POINTS),
    instability: ("instability", Unit("points", 100, 2)),
    epoch_seconds: ("time of an epoch", PER_CENT),
    dead: ("dead classes", Unit("classes", 1, 1)),
}
"""Measure -> what it is called and the unit of its differences; others are bare numbers by their own name."""


def called(measure: Measure) -> tuple[str, Unit]:
    """Return the name of a measure and the unit of its differences."""
    name = getattr(measure, "__name__", "value").replace("_", " ")
    return UNITS.get(measure, (name, Unit()))


@dataclass(frozen=True)
class Comparison:
    """A difference in numbers, and where it is expected.

    Args:
        words: what was compared.
        unit: of the numbers.
        values: one of each seed; empty if runs are missing.
        low, high: expected is ``low < difference < high``.
        missing: which runs are, in words.
    """

    words: str
    unit: Unit = field(default_factory=Unit)
    values: tuple[float, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    missing: tuple[str, ...] = ()

    def summary(self, confidence: float = CONFIDENCE) -> Summary:
        """Return the mean of the differences and its interval by Student's t.

        Accuracies come in steps of a test example, and of two or three seeds the differences are now and then
        alike by chance: the deviation counts as one unit of the last digit shown at least.
        """
        found = summarize(self.values, confidence)
        if found.deviation is None or found.deviation >= self.unit.step:
            return found
        half = float(stats.t.ppf((1 + confidence) / 2, found.n - 1)) * self.unit.step / math.sqrt(found.n)
        return replace(found, deviation=self.unit.step, low=found.mean - half, high=found.mean + half)

    def status(self, confidence: float = CONFIDENCE) -> Status:
        """Return what the interval says: wholly inside the expected range, wholly outside, or neither.

        One seed has no interval and decides nothing.

        >>> Comparison("a less b", values=(0.2, 0.3, 0.25), low=0).status()
        'supported'
        """
        if self.missing or not self.values:
            return "not measured"
        found = self.summary(confidence)
        if found.low is None or found.high is None:
            return "undecided"
        if self.low < found.low and found.high < self.high:
            return "supported"
        return "contradicted" if found.high <= self.low or found.low >= self.high else "undecided"

    @property
    def room(self) -> float:
        """How far the mean is inside the expected range; negative outside."""
        mean = self.summary().mean
        return min(mean - self.low, self.high - mean)

    def text(self, confidence: float = CONFIDENCE) -> str:
        """Return the comparison in one sentence: words, difference, interval, number of seeds.

        >>> Comparison("gap of nce", POINTS, (0.5, 0.25), high=0.0).text()
        'gap of nce: +37.5 points (95 % interval −121.3 to +196.3, n = 2)'
        """
        if self.missing or not self.values:
            return f"{self.words}: not measured, {some(self.missing)} missing"
        found = self.summary(confidence)
        show = self.unit.show
        if found.low is None or found.high is None:
            spread = "one seed, no interval"
        else:
            level = f"{100 * confidence:.4g} %"
            spread = f"{level} interval {show(found.low, False)} to {show(found.high, False)}, n = {found.n}"
        return f"{self.words}: {show(found.mean)} ({spread}{self._expected()})"

    def _expected(self) -> str:
        show = self.unit.show
        low, high = abs(self.low) < math.inf, abs(self.high) < math.inf
        if low and high:
            return f"; expected {show(self.low, False)} to {show(self.high, False)}"
        if low and self.low:
            return f"; expected over {show(self.low, False)}"
        return f"; expected under {show(self.high, False)}" if high and self.high else ""


def some(words: Sequence[str], count: int = 4) -> str:
    """Return words in a row, the first few of many."""
    words = list(dict.fromkeys(words))
    more = len(words) - count
    return ", ".join(words[:count]) + (f" and {more} more" if more > 0 else "")
