"""Columns of free text: which columns they are, and the text of each row."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.tables import is_missing, is_number
from noisylabels.data.sheets import Sheet

TEXT = "text"
"""The name of the only column of a list of texts."""

FREE_TEXT = 30
"""Mean number of characters from which a column of words that is no feature holds free text."""

_FEWEST_WORDS = 3
"""Fewer words than this in half of the cells are names, paths or addresses rather than text."""

_NAMED = 5
"""So many rows without text are named."""


def is_free_text(cells: np.ndarray) -> bool:
    """Return whether a column's cells are sentences, and not names, addresses or keys, by their length.

    >>> is_free_text(np.array(["a parcel that came two days late, and open"] * 3, dtype=object))
    True
    >>> is_free_text(np.array(["https://example.org/photographs/2024/03/001.jpg"] * 3, dtype=object))
    False
    """
    if cells.dtype.kind != "O":
        return False
    there = cells[~is_missing(cells)]
    if not len(there) or float(np.mean([len(cell) for cell in there])) < FREE_TEXT:
        return False
    # not all scripts have blanks between words
    written = [len(cell.split()) >= _FEWEST_WORDS or not cell.isascii() for cell in there]
    return float(np.mean(written)) >= 0.5


def named_text_columns(sheet: Sheet, wanted: str | None, others: Collection[str]) -> list[str]:
    """Return the columns of text that a user named; none for None.

    Args:
        sheet: the table.
        wanted: the name of a column, or several with commas between them.
        others: columns with another role: labels and ids.

    Raises:
        InputError: a column is missing, holds numbers, or has another role.
    """
    if wanted is None:
        return []
    columns = [*sheet.names, *sheet.unfit]
    names = [wanted] if wanted in columns else [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in columns:
            raise InputError(f"{sheet.source} has no text column {name!r}{did_you_mean(name, columns)}")
        if name in others:
            raise InputError(
                f"{sheet.source}: the column {name!r} holds labels or ids, expected text; name another "
                "column with --text-column (text_column=)"
            )
        if name in sheet.unfit or sheet[name].dtype.kind != "O" or all(map(is_number, sheet[name])):
            held = sheet.unfit.get(name, "numbers")
            raise InputError(f"{sheet.source}: the column {name!r} holds {held}, expected text")
    return list(dict.fromkeys(names))


def joined_texts(sheet: Sheet, names: Sequence[str]) -> list[str]:
    """Return the text of each row, the columns of text joined by line breaks; "" for a row without any."""
    columns = [sheet[name].astype(object) for name in names]
    columns = [np.where(is_missing(cells), "", cells) for cells in columns]
    return ["\n".join(filter(None, map(str, cells))) for cells in zip(*columns, strict=True)]


def text_notes(sheet: Sheet, rows: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the lines for the user on the columns of text; none without such a column.

    Args:
        sheet: the table.
        rows: positions of the rows whose length is said, (n,).
        names: the columns of text.
    """
    if not names:
        return []
    lengths = np.array([len(text) for text in joined_texts(sheet, names)])
    listed = ", ".join(map(repr, names))
    what = f"column {listed}" if len(names) == 1 else f"columns {listed}, joined"
    notes = [f"text of each row: the {what} ({lengths[rows].mean():,.0f} characters on average)"]
    if empty := int((lengths == 0).sum()):
        notes.append(f"{empty:,} {'row has' if empty == 1 else 'rows have'} no text")
    return notes


def without_text(texts: Sequence[str]) -> np.ndarray:
    """Return which texts are empty or white space, bool (N,).

    >>> without_text(["a parcel", "", " \\n"]).tolist()
    [False, True, True]
    """
    return np.fromiter((not text.strip() for text in texts), bool, count=len(texts))


def blank_note(ids: Sequence[str], blank: np.ndarray, what: str) -> str:
    """Return the line on rows without text: how many, what is done with them, and the first ids.

    >>> blank_note(["u", "v"], np.array([False, True]), "not judged")
    '1 row has no text and is not judged: v'
    """
    rows = np.flatnonzero(blank).tolist()
    named = ", ".join(ids[i] for i in rows[:_NAMED]) + (", ..." if len(rows) > _NAMED else "")
    does = "row has no text and is" if len(rows) == 1 else "rows have no text and are"
    return f"{len(rows):,} {does} {what}: {named}"
