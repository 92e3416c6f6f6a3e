"""The table of named rows on which every catalog of the project is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from noisylabels.core.checks import InputError, check_choice

Row = TypeVar("Row")


class Registry(Mapping[str, Row], Generic[Row]):
    """An ordered mapping from name to row; the error for an unknown name suggests the nearest.

    >>> colors = Registry("color", {"red": 1})
    >>> colors["read"]
    Traceback (most recent call last):
    ...
    noisylabels.core.checks.InputError: unknown color 'read'; did you mean 'red'?
    """

    def __init__(self, what: str, rows: Mapping[str, Row] | None = None) -> None:
        self.what = what
        self._rows: dict[str, Row] = dict(rows or {})

    def add(self, name: str, row: Row) -> Row:
        """Add `row` under `name`, which must be unused."""
        if name in self._rows:
            raise InputError(f"the {self.what} {name!r} exists already; choose another name")
        self._rows[name] = row
        return row

    def remove(self, name: str) -> None:
        """Remove the row called `name`."""
        del self._rows[check_choice(name, self._rows, self.what)]

    def __getitem__(self, name: str) -> Row:
        return self._rows[check_choice(name, self._rows, self.what)]

    # Mapping's own method expects __getitem__ to raise KeyError
    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def get(self, name: str, default: Any = None) -> Any:
        """Return the row called `name`, or `default`."""
        return self._rows.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
