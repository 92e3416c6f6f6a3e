"""What the runs of a study recorded of their dynamics, read from their folders and averaged over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.study.results import Run
from noisylabels.training.dynamics import FILE, read_dynamics, read_examples


class Series(NamedTuple):
    """The numbers of one measure and part: arrays of equal length, one entry per number."""

    epochs: np.ndarray
    keys: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Recording:
    """The recording of one run.

    Args:
        folder: the run's folder.
    """

    folder: Path

    @cached_property
    def _series(self) -> dict[tuple[str, str], Series]:
        table = read_dynamics(self.folder)
        kinds = np.char.add(np.char.add(table["measure"].astype(str), "\t"), table["part"].astype(str))
        order = np.argsort(kinds, kind="stable")
        names, starts = np.unique(kinds[order], return_index=True)
        parts = np.split(order, starts[1:])
        found = {}
        for name, at in zip(names, parts, strict=True):
            measure, _, part = str(name).partition("\t")
            keys = table["key"][at].astype(str)
            found[measure, part] = Series(table["epoch"][at], keys, table["value"][at])
        return found

    def series(self, measure: str, part: str) -> Series | None:
        """Return the numbers of a measure and part, or None if there are none."""
        return self._series.get((measure, part))

    def dead_at_the_end(self) -> list[str]:
        """Return the keys of the classes that are dead in the last epoch."""
        dead = self.series("dead", "all")
        last = max(int(series.epochs.max()) for series in self._series.values())
        return [] if dead is None else dead.keys[dead.epochs == last].tolist()

    @cached_property
    def examples(self) -> dict[str, np.ndarray]:
        """The table of examples, one array per column."""
        return read_examples(self.folder)


def recordings(runs: Sequence[Run]) -> list[Recording]:
    """Return the recordings of the runs that have one; a damaged one is left out."""
    found = []
    for run in runs:
        if run.folder is None or not (run.folder / FILE).exists():
            continue
        each = Recording(run.folder)
        try:
            _ = each._series, each.examples
        except InputError:
            continue
        found.append(each)
    return found


class Mean(NamedTuple):
    """A mean over runs, and its sample standard deviation (None for one run)."""

    x: float
    mean: float
    deviation: float | None

    @classmethod
    def of(cls, x: float, values: Sequence[float] | np.ndarray) -> Mean:
        """Return the mean of the values of some runs at a place."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(float(x), float(np.mean(values)), deviation)


def by_epoch(found: Sequence[Recording], measure: str, part: str, key: str | None = None) -> Iterator[Mean]:
    """Yield a measure by epoch, averaged over runs, in those epochs that all of them measured.

    Args:
        found: the runs.
        measure, part: what to average.
        key: one key; None to average over all keys of an epoch first.
    """
    tables = []
    for each in found:
        series = each.series(measure, part)
        if series is None:
            return
        keep = np.ones(len(series.epochs), bool) if key is None else series.keys == key
        tables.append(_grouped(series.epochs[keep], series.values[keep]))
    yield from _joined(tables)


def by_key(found: Sequence[Recording], measure: str, part: str, last: bool = False) -> Iterator[Mean]:
    """Yield a measure by its key as a number, averaged over epochs, or at the last epoch, and over runs.

    A key that some run has not measured is averaged over the others.
    """
    tables = []
    for each in found:
        series = each.series(measure, part)
        if series is None:
            continue
        keep = series.epochs == series.epochs.max() if last else np.ones(len(series.epochs), bool)
        tables.append(_grouped(series.keys[keep].astype(float), series.values[keep]))
    yield from _joined(tables, complete=False)


def _grouped(x: np.ndarray, values: np.ndarray) -> dict[float, float]:
    """Return the mean of the values of each x."""
    places, inverse = np.unique(x, return_inverse=True)
    sums = np.bincount(inverse, values, len(places)) / np.bincount(inverse, minlength=len(places))
    return dict(zip(places.tolist(), sums.tolist(), strict=True))


def _joined(tables: Sequence[dict[float, float]], complete: bool = True) -> Iterator[Mean]:
    every = sorted(set().union(*tables)) if tables else []
    for x in every:
        values = [table[x] for table in tables if x in table]
        if complete and len(values) < len(tables):
            continue
        yield Mean.of(x, values)


def learned_by_epoch(found: Sequence[Recording], column: str, noisy: bool, epochs: int) -> Iterator[Mean]:
    """Yield the share of the clean or the noisy examples whose first epoch in a column has come.

    Args:
        found: the runs.
        column: learned, kept or true_learned, where 0 means never.
        noisy: whether the given labels are wrong.
        epochs: the number of epochs.
    """
    tables = []
    for each in found:
        columns = each.examples
        if column not in columns or "noisy" not in columns or not (columns["noisy"] == noisy).any():
            return
        first = columns[column][columns["noisy"] == noisy]
        counts = np.bincount(first[first > 0], minlength=epochs + 1)[1 : epochs + 1]
        shares = np.cumsum(counts) / len(first)
        tables.append(dict(zip(map(float, range(1, epochs + 1)), shares.tolist(), strict=True)))
    yield from _joined(tables)
