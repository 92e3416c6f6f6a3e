"""File formats of labels, each read as a table of named columns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.columnar import open_parquet
from noisylabels.core.files import read_json, read_text
from noisylabels.core.labels import name_of
from noisylabels.core.schema import checked
from noisylabels.core.tables import ROLES, Table, read_table, read_text_table
from noisylabels.noise.checks import check_index
from noisylabels.noise.saved_labels import KEY, read_saved

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".npy", ".npz", ".parquet")

_KNOWN = {name for role in ("given", "label", "true", "id") for name in ROLES[role]}
_NUMBER = re.compile(r"[+-]?[0-9]+")


def open_labels(path: Path, headless: bool = False) -> tuple[Table, np.ndarray | None, bool]:
    """Open a file of labels by its suffix, one of `SUFFIXES`.

    Args:
        path: the file.
        headless: whether a CSV or TSV file is known to have no header.

    Returns:
        The table; the positions (N,) of its rows in the set, if `NoisyLabels.save` wrote part of a set; and
        whether `NoisyLabels.save` wrote the file, so that its rows are in the order of the set.

    Raises:
        InputError: the file is damaged, or does not hold a list of labels.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        is_heading = (lambda rows: False) if headless else _is_heading
        table = read_text_table(path, is_heading=is_heading, keep_blank=True)
        return _without_row_numbers(table), None, False
    if suffix == ".txt":
        lines = re.split("\r\n?|\n", read_text(path).rstrip())
        return _only(path, lines, lambda i: f"line {i + 1}"), None, False
    if suffix == ".json":
        return _only(path, _from_json(path), lambda i: f"entry {i} (from 0)"), None, False
    if suffix == ".parquet" and (saved := _saved(path)) is not None:
        return *saved, True
    return read_table(path), None, False


def _only(path: Path, labels: Sequence[Any], row: Callable[[int], str]) -> Table:
    """Return the table of a file that holds only labels."""
    cells = np.empty(len(labels), dtype=object)
    for i, label in enumerate(labels):
        cells[i] = label
    return Table(path, [""], lambda _: cells, lambda i: (path, row(i)), headed=False)


def _from_json(path: Path) -> list[Any]:
    again = "restore it or create it again"
    value: list[Any] = checked(read_json(path, again, foreign=True), list[Any], path, again)
    return value


def _is_heading(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row is a header rather than an example.

    It is if it has a known name, or if none of its cells is a number although the next row has one. So the
    header of a single column of class names must be a known name.
    """
    if any(cell.lower() in _KNOWN for cell in rows[0]):
        return True
    below = rows[1] if len(rows) > 1 else []
    return not any(map(_NUMBER.fullmatch, rows[0])) and any(map(_NUMBER.fullmatch, below))


def _without_row_numbers(table: Table) -> Table:
    """Return a table without the row numbers that pandas writes by default."""
    if "" not in table.names or len(table.names) < 2:
        return table
    place = list(table.names).index("")
    cells = table.cells(place)
    if cells.tolist() != [str(i) for i in range(len(cells))]:
        return table
    kept = [k for k in range(len(table.names)) if k != place]
    names = [table.names[k] for k in kept]
    whole = table.written
    return dataclasses.replace(
        table,
        names=names,
        read=lambda k: table.read(kept[k]),
        written=None if whole is None else lambda k: whole(kept[k]),
    )


def _saved(path: Path) -> tuple[Table, np.ndarray | None] | None:
    """Return the table of a file that `NoisyLabels.save` wrote; None for any other file."""
    with open_parquet(path) as parquet:
        metadata = parquet.schema_arrow.metadata or {}
    if KEY not in metadata:
        return None
    record, columns = read_saved(path)  # verifies the digest
    if "foreign" in columns:
        raise InputError(
            f"{path} has labels of foreign images, but not the images; "
            f"generate the noise again: {record['spec']}"
        )
    columns, index = dict(columns), columns.get("index")
    if "classes" in record:
        values = np.array([name_of(value) for value in record["classes"]], dtype=object)
        columns |= {name: values[columns[name]] for name in ("given", "true")}
    # rows of a part of a set are found by their positions, those of a whole set by ids, if there are any
    names = ["given", "true", *(["id"] if "id" in columns and index is None else [])]
    table = Table(path, names, lambda k: columns[names[k]], lambda row: (path, f"row {row}"))
    return table, None if index is None else check_index(index, len(columns["given"]))
