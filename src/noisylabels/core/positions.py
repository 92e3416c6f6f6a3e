"""Positions: where the examples of a set lie in their source, in the order that a user knows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noisylabels.core.checks import InputError


@dataclass(frozen=True, eq=False)
class Positions:
    """The place of each example in its source: the row of the file, or the place among the sorted paths.

    Args:
        rows: int64, (N,), from 0; None if the examples have no single order, such as those of a training and
            of a test array.
        total: how many examples the source has, those that the set lacks included; None without `rows`.
        whole: whether these are all examples of the source, or all of a part that the user made; False for a
            part that `load` has drawn, because nobody else knows its examples, and where some are left out.
        source: the name of the source, if the training and the test part have one each.
        doubt: why a count alone does not identify the order, such as two ways to sort the paths; "" if it
            does.
    """

    rows: np.ndarray | None
    total: int | None = None
    whole: bool = True
    source: str = ""
    doubt: str = ""

    def __post_init__(self) -> None:
        if self.rows is None or self.total is None:
            return
        if len(self.rows) and not (self.rows.min() >= 0 and self.rows.max() < self.total):
            raise InputError(
                f"rows are {self.rows.min()} to {self.rows.max()}, expected 0 to {self.total - 1}"
            )

    def take(self, index: Sequence[int] | np.ndarray | slice) -> Positions:
        """Return the positions of some examples."""
        if self.rows is None:
            return self
        at = index if isinstance(index, slice) else np.asarray(index, dtype=np.int64)
        rows = self.rows[at]
        return dataclasses.replace(self, rows=rows, whole=self.whole and len(rows) == len(self.rows))

    def parts(self, num_train: int) -> tuple[Positions, Positions]:
        """Return the positions of the training examples, which are the first, and of the test examples."""
        train, test = (
            dataclasses.replace(self.take(part), whole=self.whole)
            for part in (slice(num_train), slice(num_train, None))
        )
        return train, test

    def among(self, count: int) -> np.ndarray | None:
        """Return which of `count` values in the order of the source belong to the examples, (N,) int64.

        The values must be those of all examples of the source, or of a part that the user made; for any other
        count the result is None.

        >>> Positions(np.array([0, 2]), 3, whole=False).among(3)
        array([0, 2])
        """
        if self.rows is None or self.doubt:
            return None
        if count == self.total:
            return self.rows
        if self.whole and count == len(self.rows):
            return np.argsort(np.argsort(self.rows))
        return None

    def joined(self, other: Positions) -> Positions:
        """Return the positions of these examples followed by others; without `rows` for another source.

        >>> Positions(np.array([0, 2]), 3).joined(Positions(np.array([1]), 3)).rows
        array([0, 2, 1])
        """
        if self.rows is None or other.rows is None:
            return NO_ORDER
        rows = np.concatenate([self.rows, other.rows])
        same = (self.source, self.total) == (other.source, other.total)
        if not same or len(np.unique(rows)) < len(rows):
            return NO_ORDER
        return Positions(rows, self.total, len(rows) == self.total, self.source, self.doubt or other.doubt)


NO_ORDER = Positions(None)
"""The positions of examples without a single order."""


def own(n: int) -> Positions:
    """Return the positions in a set that is its own source."""
    return Positions(np.arange(n), n)


def separate(n: int, train: bool = True) -> Positions:
    """Return the positions in a training or a test part that is a source of its own, such as an array."""
    return Positions(np.arange(n), n, source="training part" if train else "test part")


def check_positions(n: int, positions: Positions | None) -> None:
    """Raise an `InputError` unless the positions are those of `n` examples."""
    if positions is not None and positions.rows is not None and len(positions.rows) != n:
        raise InputError(f"there are {len(positions.rows)} positions for {n} examples, expected one for each")


def by_path(names: Sequence[str]) -> Positions:
    """Return the place of each name among the sorted names; `doubt` if sorting by folders gives another.

    Paths sorted as text differ from paths sorted by folder if a folder's name begins with another's: as text,
    "cat-big/1.png" precedes "cat/1.png".

    >>> by_path(["dog/1.png", "cat/1.png"]).rows
    array([1, 0])
    """
    words = list(names)
    order = np.array(sorted(range(len(words)), key=words.__getitem__), dtype=np.int64)
    rows = np.empty(len(words), dtype=np.int64)
    rows[order] = np.arange(len(words))
    folders = (words[i].split("/") for i in order.tolist())
    unlike = any(before > after for before, after in itertools.pairwise(folders))
    doubt = "paths sorted as text and paths sorted by folder have different orders" if unlike else ""
    return Positions(rows, len(words), doubt=doubt)
