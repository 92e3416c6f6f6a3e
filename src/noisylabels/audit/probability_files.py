"""Probabilities from a file that another program wrote: .npy, .csv, .tsv or .parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.files import check_file

SUFFIXES = (".npy", ".csv", ".tsv", ".parquet")
ID_COLUMNS = ("id", "ids", "path", "filename", "file", "image", "image_id", "index")
"""Columns of which the first that is there says whose row it is; without one, rows are in the set's order."""


def read_probs(
    path: Path | str, class_names: Sequence[str], ids: Sequence[str], name: str = "the data"
) -> np.ndarray:
    """Read a probability of each class for each example, in the order of the examples.

    Args:
        path: .npy, an array (N, K), K in the order of `class_names`; or a table (.csv, .tsv, .parquet) with
            a column a class, called as the classes are, in any order, or by numbers 0 to K - 1. Other
            columns are passed over, but for one of `ID_COLUMNS`: rows are then found by it, in any order.
        class_names: K names.
        ids: N names.
        name: what to call the set in an error.

    Returns:
        (N, K) float64, as they stand in the file.

    Raises:
        InputError: no such file, another form, a class or an example without probabilities.
    """
    path = check_file(Path(path).expanduser())
    check_choice(path.suffix.lower(), SUFFIXES, f"kind of file of probabilities, {path.name!r} ends in")
    if path.suffix.lower() == ".npy":
        probs = _array(path)
        if probs.ndim != 2 or probs.shape[1] != len(class_names):
            raise InputError(
                f"{path} holds an array of shape {probs.shape}, expected ({len(ids)}, {len(class_names)}): "
                f"a row an example of {name}, a column a class"
            )
    else:
        columns = _parquet(path) if path.suffix.lower() == ".parquet" else _cells(path)
        probs = _of_classes(path, columns, class_names)
        key = next((column for column in columns if column.lower() in ID_COLUMNS), None)
        if key is not None and key not in class_names:
            return _in_order(path, probs, key, columns[key], ids, name)
    if len(probs) != len(ids):
        raise InputError(
            f"{path} has {len(probs)} rows and {name} {len(ids)} examples (the training part, then the test "
            "part; --part train audits the first alone); give a row for each, or an id column"
        )
    return probs


def _array(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError, OSError, EOFError):
        raise InputError(
            f"{path} is no readable .npy of numbers; write it by numpy.save(path, probs)"
        ) from None


def _parquet(path: Path) -> dict[str, Sequence[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
        return {name: table[name].to_pylist() for name in table.column_names}
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{path} is no readable Parquet file ({str(error).splitlines()[0]})") from None


def _cells(path: Path) -> dict[str, Sequence[Any]]:
    from noisylabels.core.cells import read_cells

    rows = [(number, cells) for number, cells in read_cells(path) if any(cells)]
    if len(rows) < 2:
        raise InputError(f"{path} holds no row; expected a heading with the classes, then a row an example")
    heading = rows[0][1]
    if twice := next((word for word in heading if heading.count(word) > 1), None):
        raise InputError(f"{path} has two columns called {twice!r}; leave one of them")
    for number, cells in rows:
        if len(cells) != len(heading):
            raise InputError(
                f"line {number} of {path} has {len(cells)} cells, the first line has {len(heading)}"
            )
    return {name: [cells[k] for _, cells in rows[1:]] for k, name in enumerate(heading)}


def _of_classes(path: Path, columns: dict[str, Sequence[Any]], class_names: Sequence[str]) -> np.ndarray:
    numbers = [str(k) for k in range(len(class_names))]
    wanted = next((names for names in (class_names, numbers) if set(names) <= columns.keys()), None)
    if wanted is None:
        missing = next(name for name in class_names if name not in columns)
        raise InputError(
            f"{path} has no column {missing!r}: its columns are {_some(list(columns))}; expected one for "
            f"each of the {len(class_names)} classes"
        )
    made = np.empty((len(columns[wanted[0]]), len(wanted)))
    for k, name in enumerate(wanted):
        for row, cell in enumerate(columns[name]):
            try:
                made[row, k] = float(cell)
            except (TypeError, ValueError):
                raise InputError(
                    f"{path}, row {row + 1}: the probability of {name!r} is {cell!r}, expected a number"
                ) from None
    return made


def _in_order(
    path: Path, probs: np.ndarray, key: str, found: Sequence[Any], ids: Sequence[str], name: str
) -> np.ndarray:
    place: dict[str, int] = {}
    for row, word in enumerate(found):
        if place.setdefault(str(word), row) != row:
            raise InputError(f"{path} has two rows for the {key} {str(word)!r}; leave one of them")
    rows = np.empty(len(ids), np.int64)
    for i, one in enumerate(ids):
        row = place.get(str(i) if key.lower() == "index" else one, -1)
        if row < 0:
            raise InputError(
                f"{path} has no row for {one!r} of {name}: its column {key!r} holds {_some(list(place))}"
            )
        rows[i] = row
    return probs[rows]


def _some(words: Sequence[str]) -> str:
    """Return the first few of many words."""
    return ", ".join(map(str, words[:6])) + (f" and {len(words) - 6} more" if len(words) > 6 else "")
