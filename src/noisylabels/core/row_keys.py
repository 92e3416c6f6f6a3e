"""Row keys: columns that identify the rows of a table although no role (`core.tables.ROLES`) has their name.

Rows are read in their order only if no column says that this order may be another.
"""

from __future__ import annotations

from collections.abc import Collection, MutableSequence, Sequence
from contextlib import suppress

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.tables import Table, texts
from noisylabels.core.written_names import named_by

UNNAMED = ("", "unnamed: 0", "__index_level_0__", "level_0")
"""The names of the index of a frame that has none, as pandas, R and Arrow write it, in lower case."""


def row_key(
    table: Table, places: Sequence[int], ids: Collection[str], name: str, notes: MutableSequence[str]
) -> int | None:
    """Return the position of a column that holds the ids of the examples; None if rows are in their order.

    A column may identify rows if its cells all differ and are text or whole numbers. The numbers 0, 1, 2, ...
    in order agree with the order of the rows.

    Args:
        table: the file.
        places: the positions of the columns whose meaning is unknown.
        ids: the ids of the examples.
        name: the name of the data in errors.
        notes: receives a line on the column that is used.

    Raises:
        InputError: a column may identify the rows, and its cells are not the ids.
    """
    found = [(place, words) for place in places if (words := _distinct(table, place)) is not None]
    for place, words in found:
        unnamed = table.names[place].strip().lower() in UNNAMED
        numbers = unnamed and _in_order(sorted(words, key=_value))  # of the rows, not ids
        if not numbers and set(ids) <= set(named_by(words, ids)):
            notes.append(f"the column {table.names[place]!r} holds the ids of {name}; rows are matched by it")
            return place
    for place, words in found:
        if not _in_order(words):
            raise InputError(
                f"{table.source}: the cells of the column {table.names[place]!r} all differ, as ids do, but "
                f"they are not the ids of {name}; name the column id if it identifies the rows, or remove it "
                "if the rows are in the order of the data"
            )
    return None


def _in_order(words: Sequence[str]) -> bool:
    return all(word == str(row) for row, word in enumerate(words))


def _value(word: str) -> int:
    return int(word) if word.isdecimal() else -1


def _distinct(table: Table, place: int) -> list[str] | None:
    """Return the cells of a column that may identify rows; None for any other column."""
    cells = table.read(place)
    if isinstance(cells, str) or cells.ndim != 1 or len(cells) < 2 or cells.dtype.kind not in "OUiuf":
        return None
    if cells.dtype.kind == "f" and not (np.isfinite(cells) & (cells == np.round(cells))).all():
        return None
    words = [word.strip() if isinstance(word, str) else str(word) for word in texts(cells)]
    return words if len(set(words)) == len(words) and not _quantities(words) else None


def _quantities(words: Sequence[str]) -> bool:
    """Return whether all words are numbers, not all of them whole."""
    whole = True
    for word in words:
        number = None
        with suppress(ValueError):
            number = float(word)
        if number is None:
            return False
        whole = whole and number.is_integer()
    return not whole
