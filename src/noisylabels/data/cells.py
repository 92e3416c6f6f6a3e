"""Cells: the rows of a table as they are written, for a person to read; models receive encoded features."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.tables import is_number
from noisylabels.data.sheets import Sheet
from noisylabels.data.text_columns import FREE_TEXT


@dataclass(frozen=True)
class Cell:
    """A cell: the name of its column, its content as written, and whether the column holds free text."""

    column: str
    content: str
    free: bool = False


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of chosen rows of a table; the table is read again when they are first asked for.

    Args:
        read: returns the whole table.
        rows: the rows of the table, (N,) int64.
        length: the number of rows that the table had.
        hidden: columns that are shown in another way: labels and ids.
        encoded: columns that models receive as features.
        texts: columns known to hold free text, whatever its length.
    """

    read: Callable[[], Sheet]
    rows: np.ndarray
    length: int
    hidden: tuple[str, ...] = ()
    encoded: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    def row(self, position: int) -> list[Cell]:
        """Return the cells of an example: words that are no features, the longest first, then the others.

        Raises:
            InputError: the table cannot be read, or has another number of rows by now.
        """
        row = int(self.rows[position])
        made = []
        for name, free in self._columns:
            cells = self._sheet.column(name)
            made.append(Cell(name, written(cells[row]), free))
        return made

    @property
    def names(self) -> list[str]:
        """The names of all columns, also of those that are not shown."""
        return [*self._sheet.names, *self._sheet.unfit]

    def column(self, name: str) -> list[str]:
        """Return the cells of one column as they are written, one per example."""
        cells = self._sheet.column(name)
        return [written(cells[row]) for row in self.rows.tolist()]

    def free_texts(self) -> list[str] | None:
        """Return the free text of each example, all such columns joined; None without such a column."""
        names = [name for name, free in self._columns if free]
        if not names:
            return None
        columns = [self._sheet.column(name) for name in names]
        return ["\x1f".join(written(cells[row]) for cells in columns) for row in self.rows.tolist()]

    def take(self, index: np.ndarray) -> Cells:
        """Return the cells of the examples at `index`, in that order."""
        return dataclasses.replace(self, rows=self.rows[index])

    def followed_by(self, other: Cells | None) -> Cells | None:
        """Return the cells of these examples and of others of the same table; None for another table's."""
        if other is None or other.read is not self.read:
            return None
        return dataclasses.replace(self, rows=np.concatenate([self.rows, other.rows]))

    def digest(self) -> bytes:
        """Return the sha256 of the cells of all rows, in order."""
        names = sorted(name for name, _ in self._columns)
        columns = [self._sheet.column(name) for name in names]
        found = hashlib.sha256("\x1f".join(names).encode())
        for row in self.rows.tolist():
            found.update(
                "\x1f".join(["", *(written(cells[row]) for cells in columns)]).encode(
                    "utf-8", "surrogatepass"
                )
            )
        return found.digest()

    @property
    def _sheet(self) -> Sheet:
        sheet = self.read()
        if len(sheet) != self.length:
            raise InputError(
                f"{sheet.source} has {len(sheet):,} rows, and had {self.length:,} when it was read; load it "
                "again"
            )
        return sheet

    @functools.cached_property
    def _columns(self) -> list[tuple[str, bool]]:
        """The shown columns, each with whether it holds free text; words that are no features come first."""
        sheet = self._sheet
        free: dict[str, float] = {}
        others = []
        for name in (*sheet.names, *sheet.unfit):
            if name in self.hidden or name in self.texts:
                continue
            length = 0.0 if name in self.encoded or name in sheet.unfit else _mean_length(sheet[name])
            if length:
                free[name] = length
            else:
                others.append(name)
        # the columns of text first, as they are joined, then other long ones
        words = [*self.texts, *sorted(free, key=lambda name: -free[name])]
        shown = [(name, name in self.texts or free[name] >= FREE_TEXT) for name in words]
        return [*shown, *((name, False) for name in others)]


def _mean_length(cells: np.ndarray) -> float:
    """Return the mean length of the cells of a column of words; 0 for a column of numbers."""
    if cells.dtype.kind != "O" or all(not cell or is_number(cell) for cell in cells):
        return 0.0
    return float(np.mean([len(cell) for cell in cells]))


def written(cell: object) -> str:
    """Return a cell as a person would write it: no digits beyond those that its type had.

    >>> written(np.float32(0.1)), written(np.float64(3)), written(np.bool_(True)), written(float("nan"))
    ('0.1', '3', 'true', '')
    >>> written(np.float64(np.float32(0.1))), written(np.float64(1700000020.25))
    ('0.1', '1700000020.25')
    """
    if isinstance(cell, (bool, np.bool_)):
        return str(cell).lower()
    if isinstance(cell, (float, np.floating)):
        if np.isnan(cell):
            return ""
        if (value := float(cell)).is_integer() and abs(value) < 1e15:
            return str(int(value))
        if float(np.float32(value)) == value:  # a float32, which Parquet's reader widened
            return str(np.float32(value))
    return "" if cell is None else str(cell)
