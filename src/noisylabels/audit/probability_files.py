"""Read class probabilities from a file that another program wrote: .npy, .csv, .tsv or .parquet."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.columnar import read_array
from noisylabels.core.files import check_file
from noisylabels.core.tables import TABLES, Table, find_column, read_table, texts

SUFFIXES = (".npy", *TABLES)


def read_probs(
    path: Path | str,
    class_names: Sequence[str],
    ids: Sequence[str],
    name: str = "the data",
    notes: MutableSequence[str] | None = None,
) -> np.ndarray:
    """Return the probabilities in a file, one row per example in the order of the examples.

    Args:
        path: .npy, an array (N, K), K in the order of `class_names`; or a table (.csv, .tsv, .parquet) with
            one column per class, named as the classes are, in any order, or by numbers 0 to K - 1. A column
            with the role id or index (see `core.tables.ROLES`) matches rows in any order; without one, the
            rows are in the order of the set. Other columns are ignored.
        class_names: K names.
        ids: N names.
        name: name of the set in errors.
        notes: receives a line if several columns could identify the rows.

    Returns:
        (N, K), as in the file; a .npy file is mapped into memory, not read.

    Raises:
        InputError: no such file, another format, or a class or an example without probabilities.
    """
    path = check_file(Path(path).expanduser())
    check_choice(path.suffix.lower(), SUFFIXES, f"file type of {path.name!r}:")
    if path.suffix.lower() == ".npy":
        probs = read_array(path, mapped=True)
        if probs.dtype.kind not in "fiub":
            raise InputError(
                f"{path} holds {probs.dtype}, expected numbers; write it with numpy.save(path, probs)"
            )
        if probs.ndim != 2 or probs.shape[1] != len(class_names):
            raise InputError(
                f"{path} holds an array of shape {probs.shape}, expected ({len(ids)}, {len(class_names)}): "
                f"one row per example of {name}, one column per class"
            )
    else:
        table = read_table(path)
        probs = _of_classes(table, class_names)
        others = [column for column in table.names if column not in class_names]
        for role in ("id", "index"):
            if (place := find_column(others, role, path, notes)) is not None:
                wanted = list(ids) if role == "id" else list(map(str, range(len(ids))))
                return _in_order(table, probs, others[place], wanted, ids, name)
    if len(probs) != len(ids):
        raise InputError(
            f"{path} has {len(probs)} rows, expected {len(ids)}, one per example of {name} (training part, "
            "then test part; --part train audits the training part alone); add rows, or an id column"
        )
    return probs


def _of_classes(table: Table, class_names: Sequence[str]) -> np.ndarray:
    numbers = [str(k) for k in range(len(class_names))]
    names = set(table.names)
    wanted = next((words for words in (class_names, numbers) if set(words) <= names), None)
    if wanted is None:
        missing = next(name for name in class_names if name not in names)
        raise InputError(
            f"{table.source} has no column {missing!r}: its columns are {_some(table.names)}; expected one "
            f"column per class, {len(class_names)} in all"
        )
    return np.stack([_numbers(table, name) for name in wanted], axis=1)


def _numbers(table: Table, name: str) -> np.ndarray:
    """Return a column of probabilities, float64 (N,)."""
    cells = table[name]
    if cells.dtype.kind != "O":
        return cells.astype(np.float64)
    made = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            made[row] = float(cell)
        except ValueError:
            raise InputError(
                f"{table.where(row)}: the probability of {name!r} is {cell!r}, expected a number"
            ) from None
    return made


def _in_order(
    table: Table, probs: np.ndarray, key: str, wanted: Sequence[str], ids: Sequence[str], name: str
) -> np.ndarray:
    """Return the rows in the order in which `wanted` lists their cells in the column `key`."""
    path, place = table.source, dict[str, int]()
    for row, word in enumerate(texts(table[key])):
        if place.setdefault(word, row) != row:
            raise InputError(f"{path} has two rows for the {key} {word!r}; remove one of them")
    rows = np.empty(len(ids), np.int64)
    for i, word in enumerate(wanted):
        row = place.get(word, -1)
        if row < 0:
            raise InputError(
                f"{path} has no row for {ids[i]!r} of {name}: its column {key!r} holds {_some(list(place))}"
            )
        rows[i] = row
    return probs[rows]


def _some(words: Sequence[str]) -> str:
    """Return the first few words, and the number of the others."""
    return ", ".join(map(str, words[:6])) + (f" and {len(words) - 6} more" if len(words) > 6 else "")
