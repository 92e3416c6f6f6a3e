"""Compare a row of a table with the means of its given and of its suggested class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SPREAD_ROWS = 10_000  # rows from which the spread of a column is estimated


class ClassMeans:
    """The means of a table's columns per given class, each computed when it is first asked for.

    Args:
        table: (N, D) numbers; may be memory-mapped.
        given: (N,) int64, the given labels.
    """

    def __init__(self, table: np.ndarray, given: np.ndarray) -> None:
        self._table = table
        self._given = given
        self._of_class: dict[int, np.ndarray] = {}
        self._spread: np.ndarray | None = None

    def beside(
        self, position: int, labels: Sequence[int], most: int, columns: Sequence[int] | None = None
    ) -> list[tuple[int, float, float, float]]:
        """Return the columns of a row with the means of two classes.

        Args:
            position: position of the row.
            labels: the two classes, the given one first.
            most: the number of columns; of more, those that separate the two classes best are returned, by
                the difference of the means in standard deviations of the column.
            columns: the columns to choose from; None for all.

        Returns:
            column, value, mean of the first class, mean of the second class; in the order of the columns.

        >>> table = np.array([[0.0, 1.0], [0.2, 3.0], [9.0, 2.0]])
        >>> ClassMeans(table, np.array([0, 0, 1])).beside(1, (0, 1), most=1)
        [(0, 0.2, 0.1, 9.0)]
        """
        first, second = (self._mean(int(label)) for label in labels)
        row = np.asarray(self._table[position])
        chosen = np.arange(len(row)) if columns is None else np.asarray(columns, dtype=np.int64)
        if len(chosen) > most:
            apart = np.abs(first - second) / self._deviation()
            apart = (apart if apart.any() else np.abs(row - first))[chosen]
            chosen = np.sort(chosen[np.argsort(-apart, kind="stable")[:most]])
        return [(c, float(row[c]), float(first[c]), float(second[c])) for c in chosen.tolist()]

    def _mean(self, label: int) -> np.ndarray:
        if label not in self._of_class:
            of_class: np.ndarray = self._table[self._given == label]
            empty = np.full(self._table.shape[1], np.nan)
            # rows of float32 are added one after the other, which loses digits of many large values
            self._of_class[label] = of_class.mean(axis=0, dtype=np.float64) if len(of_class) else empty
        return self._of_class[label]

    def _deviation(self) -> np.ndarray:
        if self._spread is None:
            deviation = self._table[:: -(-len(self._table) // _SPREAD_ROWS)].std(axis=0, dtype=np.float64)
            self._spread = np.where(deviation > 0, deviation, 1)
        return self._spread
