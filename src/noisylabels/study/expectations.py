"""Expectations about the runs of a study, and their comparison with results.

An expectation consists of a measure, one or two sides, the noises to test at, and the range expected of the
difference: ``less(gap, "nce", "ce", highest("symmetric"))``. Compared with results it gives `Comparison`s
with one difference per seed. Runs of the same seed share initial weights, order of examples and, under the
same noise, the noisy labels, so sides are subtracted per seed; seeds are the independent units, counted by n.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from noisylabels.core.checks import InputError, check_whole
from noisylabels.losses import PAPER, loss
from noisylabels.methods.expression import method
from noisylabels.study.comparisons import Comparison, Unit, called
from noisylabels.study.families import CLEAN, noise_label
from noisylabels.study.results import Measure, Results, epoch_seconds
from noisylabels.study.settings import Pairs, Where, noise_pairs

# Sides --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Average:
    """Mean of several losses within each seed."""

    losses: tuple[str, ...]

    def __str__(self) -> str:
        return f"the mean of {', '.join(self.losses)}"


@dataclass(frozen=True)
class Best:
    """The loss at a given place among several, ranked by mean, highest or lowest first.

    The first side of a comparison is excluded. The same runs select the loss, which favors it: among equally
    good losses the selected one was lucky.
    """

    losses: tuple[str, ...]
    place: int = 1
    lowest: bool = False

    def __str__(self) -> str:
        order = {1: "", 2: "2nd ", 3: "3rd "}.get(self.place, f"{self.place}th ")
        what = "lowest" if self.lowest else "highest"
        among = ", ".join(self.losses) if len(self.losses) < 5 else f"{len(self.losses)} losses"
        return f"the {order}{what} of {among}"


@dataclass(frozen=True)
class _Itself:
    """The first side under another noise."""


Side = str | Average | Best
ITSELF = _Itself()


def _ranked(losses: Sequence[str], place: int, lowest: bool = False) -> Best:
    return Best(tuple(losses), check_whole(place, "the place among losses", 1), lowest)


def average(*losses: str) -> Average:
    """Return a side that is the mean of several losses."""
    return Average(losses)


def best(*losses: str, place: int = 1) -> Best:
    """Return a side that is the highest of several losses, or the `place`-th highest."""
    return _ranked(losses, place)


def lowest(*losses: str, place: int = 1) -> Best:
    """Return a side that is the lowest of several losses, or the `place`-th lowest."""
    return _ranked(losses, place, lowest=True)


class _NotMeasured(Exception):  # noqa: N818  a state of the results, not an error
    def __init__(self, *missing: str) -> None:
        super().__init__()
        self.missing = missing


Values = dict[Hashable, float]


@lru_cache(maxsize=1024)
def _canonical(text: str) -> str:
    text, by, method_text = text.partition(" by ")
    return loss(text).expression + (f" by {method(method_text).expression}" if by else "")


def _name_in(results: Results, loss: str) -> str:
    """Return the name of a loss in the results, however it is spelled."""
    return loss if loss in results.losses else _canonical(loss)


def _of_loss(results: Results, measure: Measure, name: str, noise: str) -> Values:
    """Return (seed, machine) -> value of a loss; the machine counts for times only, elsewhere it is "".

    Times count only of runs that are known to have had their machine to themselves.
    """
    if noise not in results.noises:
        raise _NotMeasured(f"runs at {noise}")
    name = _name_in(results, name)
    timed = measure is epoch_seconds
    found: Values = {
        (run.seed, run.machine if timed else ""): value
        for run in results.cell(name, noise)
        if (run.alone or not timed) and (value := measure(run)) is not None
    }
    if not found:
        alone = " with the machine to itself" if timed and results.cell(name, noise) else ""
        raise _NotMeasured(f"{name} at {noise}{alone}")
    return found


def _of_side(results: Results, measure: Measure, side: Side, noise: str) -> tuple[str, Values]:
    """Return the description of a side and its values."""
    if isinstance(side, str):
        return side, _of_loss(results, measure, side, noise)
    each: dict[str, Values] = {}
    missing: list[str] = []
    for name in side.losses:
        try:
            each[name] = _of_loss(results, measure, name, noise)
        except _NotMeasured as error:
            missing += error.missing
    if missing:
        raise _NotMeasured(*missing)
    keys = _common(each.values())
    if not keys:
        raise _NotMeasured(f"a common seed of {', '.join(side.losses)} at {noise}")
    if isinstance(side, Average):
        return str(side), {key: float(np.mean([values[key] for values in each.values()])) for key in keys}
    if side.place > len(each):  # every loss is in the top three of three
        raise _NotMeasured(f"{side.place} losses to choose from at {noise}")
    means = {name: float(np.mean([values[key] for key in keys])) for name, values in each.items()}
    chosen = sorted(means, key=lambda name: means[name], reverse=not side.lowest)[side.place - 1]
    return f"{chosen} ({side})", each[chosen]


def _common(values: Iterable[Values]) -> list[Hashable]:
    first, *others = values
    return [key for key in first if all(key in other for other in others)]


# Expectations -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """One case of an expectation: description, noise, and the difference per seed."""

    what: str
    general: str
    noise: str
    values: Mapping[Hashable, float]
    missing: tuple[str, ...] = ()


def _place(results: Results, noise: str) -> str:
    """Return a noise as text for a sentence; one that was not run may be a description, not a noise."""
    return "clean labels" if noise == CLEAN else noise_label(noise) if noise in results.noises else noise


@dataclass(frozen=True)
class Expectation:
    """Expect a difference of two sides, or one side, to be in a range at all selected noises.

    Args:
        measure: Run -> number or None.
        firsts: first sides, each tested.
        second: the side that is subtracted, or None.
        where: the noises.
        low, high: the expected range, ``low < difference < high``, in the measure's unit; differences of
            times are relative to the second side.
    """

    measure: Measure
    firsts: tuple[Side, ...]
    second: Side | _Itself | None
    where: Where
    low: float = -math.inf
    high: float = math.inf

    @property
    def unit(self) -> Unit:
        """Unit of the difference."""
        unit = called(self.measure)[1]
        return Unit("seconds", 1, 3) if unit.relative and self.second is None else unit

    def cases(self, results: Results) -> list[_Case]:
        """Return one case per first side and noise."""
        pairs = noise_pairs(results, self.where)
        return [self._case(results, first, *pair) for first in self.firsts for pair in pairs]

    def compare(self, results: Results) -> list[Comparison]:
        """Return one comparison per first side and noise."""
        return [
            Comparison(
                f"{case.what}{case.noise}",
                self.unit,
                tuple(case.values.values()),
                self.low,
                self.high,
                case.missing,
            )
            for case in self.cases(results)
        ]

    def _case(self, results: Results, first: Side, noise: str, other_noise: str) -> _Case:
        name = called(self.measure)[0]
        second = self.second
        if isinstance(second, Best):  # each loss once, and not the one that is compared
            rivals = {_name_in(results, loss): loss for loss in reversed(second.losses)}
            if isinstance(first, str):
                rivals.pop(_name_in(results, first), None)
            second = Best(tuple(reversed(rivals.values())), second.place, second.lowest)
        general = f"{name} of {first}"
        here, there = (_place(results, n) for n in (noise, other_noise))
        place = f" at {here}" if noise == other_noise else f" at {here} minus that at {there}"
        if second is not None and not isinstance(second, _Itself):
            general += f" minus that of {second}"
        try:
            words, values = _of_side(results, self.measure, first, noise)
            what = f"{name} of {words}"
            if second is not None:
                side = first if isinstance(second, _Itself) else second
                words, others = _of_side(results, self.measure, side, other_noise)
                what += "" if isinstance(second, _Itself) else f" minus that of {words}"
                values = self._difference(values, others)
                if not values:
                    same = " on the same machine" if self.measure is epoch_seconds else ""
                    raise _NotMeasured(f"a common seed{same}")
        except _NotMeasured as error:
            return _Case(general, general, place, {}, error.missing)
        return _Case(what, general, place, values)

    def _difference(self, first: Values, second: Values) -> Values:
        relative = self.unit.relative
        return {
            key: (first[key] - second[key]) / (second[key] if relative else 1.0)
            for key in first
            if key in second
        }


@dataclass(frozen=True)
class Sometimes:
    """Expect at least one of the comparisons to hold."""

    expectations: tuple[Expectation, ...]

    def compare(self, results: Results) -> list[Comparison]:
        """Return the comparisons of all expectations."""
        return [comparison for each in self.expectations for comparison in each.compare(results)]


@dataclass(frozen=True)
class Pooled:
    """Expect the mean over all cases to be in the range: one comparison.

    Cases are averaged within each seed, then summarized over seeds. Noises and losses are fixed by the claim,
    not sampled, and cases of one seed are not independent: counting each pair of noise and seed as a run
    would make intervals too narrow.
    """

    expectations: tuple[Expectation, ...]

    def compare(self, results: Results) -> list[Comparison]:
        """Return one comparison over the seeds common to all cases.

        Raises:
            InputError: the expectations differ in measure or range.
        """
        first = self.expectations[0]
        if len({(e.measure, e.low, e.high, e.second is None) for e in self.expectations}) > 1:
            raise InputError("pooled expectations differ in measure or range, expected the same for all")
        cases = [case for expectation in self.expectations for case in expectation.cases(results)]
        missing = tuple(m for case in cases for m in case.missing)
        keys = [] if missing else _common(dict(case.values) for case in cases)
        if not missing and not keys:
            missing = ("a seed common to all cases",)
        values = tuple(float(np.mean([case.values[key] for case in cases])) for key in keys)
        return [Comparison(self._words(cases), first.unit, values, first.low, first.high, missing)]

    @staticmethod
    def _words(cases: Sequence[_Case]) -> str:
        if len(cases) == 1:
            return f"{cases[0].what}{cases[0].noise}"
        places = list(dict.fromkeys(case.noise.removeprefix(" at ") for case in cases))
        whats = list(dict.fromkeys(case.general for case in cases))
        where = f"over {', '.join(places)}" if len(places) < 5 else f"over {len(places)} noises"
        if len(whats) > 1:
            return f"{whats[0]}, averaged with {len(whats) - 1} similar differences {where}"
        return f"{whats[0]}, averaged {where}" if len(places) > 1 else f"{whats[0]} at {places[0]}"


Losses = Side | Sequence[Side]


def _sides(losses: Losses) -> tuple[Side, ...]:
    return (losses,) if isinstance(losses, str | Average | Best) else tuple(losses)


def less(measure: Measure, first: Losses, second: Side, where: Where, *, by: float = 0.0) -> Expectation:
    """Expect each first side to be less than the second, by more than `by`.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        first, second: losses, `average` or `best` of several; each of the first is compared.
        where: noises, such as "symmetric:0.4", or a selection by `each`, `rates` or `highest`.
        by: the least difference.
    """
    return Expectation(measure, _sides(first), second, where, high=-by)


def more(measure: Measure, first: Losses, second: Side, where: Where, *, by: float = 0.0) -> Expectation:
    """Expect each first side to be greater than the second, by more than `by`.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        first, second: losses, `average` or `best` of several; each of the first is compared.
        where: noises, such as "symmetric:0.4", or a selection by `each`, `rates` or `highest`.
        by: the least difference.
    """
    return Expectation(measure, _sides(first), second, where, low=by)


def not_less(measure: Measure, first: Losses, second: Side, where: Where, *, margin: float) -> Expectation:
    """Expect each first side to be above the second, or less than `margin` below it.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        first, second: losses, `average` or `best` of several; each of the first is compared.
        where: noises, such as "symmetric:0.4", or a selection by `each`, `rates` or `highest`.
        margin: the largest difference that still counts as no less.
    """
    return Expectation(measure, _sides(first), second, where, low=-margin)


def not_more(measure: Measure, first: Losses, second: Side, where: Where, *, margin: float) -> Expectation:
    """Expect each first side to be below the second, or less than `margin` above it.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        first, second: losses, `average` or `best` of several; each of the first is compared.
        where: noises, such as "symmetric:0.4", or a selection by `each`, `rates` or `highest`.
        margin: the largest difference that still counts as no more.
    """
    return Expectation(measure, _sides(first), second, where, high=margin)


def alike(measure: Measure, first: Losses, second: Side, where: Where, *, within: float) -> Expectation:
    """Expect each first side to differ from the second by less than `within`, in either direction.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        first, second: losses, `average` or `best` of several; each of the first is compared.
        where: noises, such as "symmetric:0.4", or a selection by `each`, `rates` or `highest`.
        within: the largest difference.
    """
    return Expectation(measure, _sides(first), second, where, -within, within)


def differs(
    measure: Measure, losses: Losses, where: Pairs, *, low: float = -math.inf, high: float = math.inf
) -> Expectation:
    """Expect each loss to differ between two noises (`against`, `equal_rates`) by `low` to `high`.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        losses: one or several, each of which must fulfill it.
        where: two selections of noises, by `against` or `equal_rates`.
        low, high: the ends of the range of the difference.
    """
    return Expectation(measure, _sides(losses), ITSELF, where, low, high)


def positive(measure: Measure, losses: Losses, where: Where, *, by: float = 0.0) -> Expectation:
    """Expect the measure of each loss to be above `by`.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        losses: one or several, each of which must fulfill it.
        where: noises, or a selection by `each`, `rates` or `highest`.
        by: the least value.
    """
    return Expectation(measure, _sides(losses), None, where, low=by)


def negative(measure: Measure, losses: Losses, where: Where, *, by: float = 0.0) -> Expectation:
    """Expect the measure of each loss to be below ``-by``.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        losses: one or several, each of which must fulfill it.
        where: noises, or a selection by `each`, `rates` or `highest`.
        by: the least distance from 0.
    """
    return Expectation(measure, _sides(losses), None, where, high=-by)


def between(measure: Measure, losses: Losses, where: Where, low: float, high: float) -> Expectation:
    """Expect the measure of each loss to be between `low` and `high`.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        losses: one or several, each of which must fulfill it.
        where: noises, or a selection by `each`, `rates` or `highest`.
        low, high: the ends of the range.
    """
    return Expectation(measure, _sides(losses), None, where, low, high)


def among_top(
    measure: Measure, losses: Losses, count: int, where: Where, *, of: Sequence[str] = PAPER
) -> Expectation:
    """Expect each loss to be in the top `count` of `of`: above the `count`-th highest of the others.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        losses: one or several, each of which must fulfill it.
        where: noises, or a selection by `each`, `rates` or `highest`.
        count, of: how many of which losses are in the top.
    """
    return more(measure, losses, _ranked(of, count), where)


def among_lowest(
    measure: Measure, losses: Losses, count: int, where: Where, *, of: Sequence[str] = PAPER
) -> Expectation:
    """Expect each loss to be among the `count` lowest of `of`: below the `count`-th lowest of the others.

    Args:
        measure: from a run to a value or None, such as `accuracy`.
        losses: one or several, each of which must fulfill it.
        where: noises, or a selection by `each`, `rates` or `highest`.
        count, of: how many of which losses are the lowest.
    """
    return less(measure, losses, _ranked(of, count, lowest=True), where)


def sometimes(*expectations: Expectation) -> Sometimes:
    """Expect at least one of the comparisons to hold.

    Args:
        expectations: what `more`, `less` and the others return.
    """
    return Sometimes(expectations)


def pooled(*expectations: Expectation) -> Pooled:
    """Expect the mean over all cases, computed within each seed, to be in the range.

    Args:
        expectations: what `more`, `less` and the others return; the same measure and range in all.
    """
    return Pooled(expectations)
