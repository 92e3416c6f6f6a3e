"""Class probabilities, checked once and then read in blocks of rows: a file may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.large_arrays import large_array

SUM_TOLERANCE = 1e-2
"""Tolerance for the sum of a row of probabilities: in bfloat16 it is off by some thousandths."""

_BLOCK_VALUES = 1 << 18  # float64 values held at once: 2 MiB, which a processor's cache holds


class Computed:
    """Class probabilities that are computed whenever rows are read, in place of an array (N, K).

    Args:
        shape: N and K.
        rows: returns some rows, (M, K), of a slice or of positions (M,).
    """

    def __init__(self, shape: tuple[int, int], rows: Callable[[Any], np.ndarray]) -> None:
        self.shape, self._rows = shape, rows

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._rows(rows)

    def part(self, rows: np.ndarray | slice) -> Computed:
        """Return these probabilities of some rows."""
        places = np.arange(len(self))[rows]
        return Computed((len(places), self.shape[1]), lambda some: self._rows(places[some]))


class CheckedProbs:
    """Class probabilities, (N, K), whose rows were checked and are divided by their sum when they are read.

    The values stay as they are stored, such as float32 in a memory-mapped file; no float64 copy of all is
    made. `np.asarray` makes one.

    Args:
        values: (N, K) numbers, N >= 1, K >= 2, not copied, or `Computed` whenever they are read.
        where: their name in errors, or a function from the number of a row to what an error calls it.

    Raises:
        InputError: a row has a negative number or does not sum to 1; the message names the first.

    >>> probs = CheckedProbs(np.array([[0.5, 0.5], [0.2, 0.8]], np.float32), "probs")
    >>> probs.likeliest.tolist(), probs.at(np.array([1, 1])).round(3).tolist()
    ([0, 1], [0.5, 0.8])
    """

    def __init__(self, values: np.ndarray | Computed, where: str | Callable[[int], str]) -> None:
        self.values: Any = values
        self.sums = np.empty(len(values))
        for rows in self._slices():
            self.sums[rows] = _row_sums(self._read(rows), rows.start, where)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of examples N and of classes K."""
        n, K = self.values.shape
        return n, K

    def __len__(self) -> int:
        return len(self.values)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield all rows, some at a time: their slice, and their probabilities, float64, rows sum to 1."""
        for rows in self._slices():
            yield rows, self._read(rows) / self.sums[rows, None]

    def per_row(
        self, function: Callable[[np.ndarray, np.ndarray], np.ndarray], labels: np.ndarray
    ) -> np.ndarray:
        """Return `function(p, labels)` of blocks of rows as one float64 array, (N,)."""
        made = np.empty(len(self))
        for rows, p in self.blocks():
            made[rows] = function(p, labels[rows])
        return made

    def at(self, columns: np.ndarray) -> np.ndarray:
        """Return one probability of each row, that of the class in `columns`, (N,) float64."""
        if isinstance(self.values, Computed):
            return self.per_row(lambda p, y: np.asarray(p[np.arange(len(y)), y]), columns)
        return np.asarray(self.values[np.arange(len(self)), columns], dtype=np.float64) / self.sums

    def take(self, rows: Any) -> np.ndarray:
        """Return the probabilities of some rows, (M, K) float64."""
        return self._read(rows) / self.sums[rows, None]

    def part(self, rows: np.ndarray | slice) -> CheckedProbs:
        """Return these probabilities of some rows; those of all rows are not copied."""
        if isinstance(rows, slice) and rows == slice(None):
            return self
        made = CheckedProbs.__new__(CheckedProbs)
        made.values = self.values.part(rows) if isinstance(self.values, Computed) else self.values[rows]
        made.sums = self.sums[rows]
        return made

    @cached_property
    def likeliest(self) -> np.ndarray:
        """The most probable class of each row, (N,) int64; the first of several."""
        made = np.empty(len(self), np.int64)
        for rows, p in self.blocks():
            made[rows] = p.argmax(axis=1)
        return made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # always one
        return self._into(np.empty(self.shape, np.float64 if dtype is None else dtype))

    def single(self) -> np.ndarray:
        """Return all probabilities as float32, (N, K), in a `large_array`."""
        return self._into(large_array(self.shape, np.float32))

    def _into(self, made: np.ndarray) -> np.ndarray:
        for rows, p in self.blocks():
            made[rows] = p
        return made

    def _slices(self) -> Iterator[slice]:
        n, K = self.shape
        step = max(1, _BLOCK_VALUES // K)
        for start in range(0, n, step):
            yield slice(start, min(n, start + step))

    def _read(self, rows: Any) -> np.ndarray:
        return np.asarray(self.values[rows], dtype=np.float64)


def _row_sums(p: np.ndarray, first: int, where: str | Callable[[int], str]) -> np.ndarray:
    """Return the sums of rows after checking them; `first` is the number of the first row."""
    sums = p.sum(axis=1)
    bad = ~((p >= 0).all(axis=1) & (abs(sums - 1) <= SUM_TOLERANCE))  # NaN is neither
    if bad.any():
        row = int(bad.argmax())
        found = f"sums to {sums[row]:g}"
        if not (p[row] >= 0).all():
            found = "holds NaN" if np.isnan(p[row]).any() else f"holds {p[row].min():g}"
        name = f"row {first + row} of {where}" if isinstance(where, str) else where(first + row)
        raise InputError(f"{name} {found}, expected probabilities that sum to 1; give softmax(logits)")
    return np.asarray(sums)
