"""The formats of files of labels, each read as a table of named columns; what they mean is said elsewhere."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.cells import read_cells
from noisylabels.core.checks import InputError
from noisylabels.core.files import read_text
from noisylabels.noise.checks import check_index
from noisylabels.noise.saved_labels import KEY, read_saved

# A name of the first group is the label to train on even beside one of the second, which then may be
# the true label or another one: nothing says which.
GIVEN_COLUMNS = ("given", "given_label", "noisy", "noisy_label", "noisy_labels")
LABEL_COLUMNS = ("label", "labels", "target", "targets", "class", "y")
TRUE_COLUMNS = ("true", "true_label", "clean", "clean_label")
ID_COLUMNS = ("id", "ids", "path", "filename", "file", "image", "image_id", "name")
_KNOWN = {*GIVEN_COLUMNS, *LABEL_COLUMNS, *TRUE_COLUMNS, *ID_COLUMNS}

_NUMBER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class Table:
    """The columns of a file, read when they are asked for, and how to tell a person which row is meant."""

    path: Path
    names: Sequence[str]
    read: Callable[[str], Any]  # name -> an integer array, or a list with None for a gap
    row: Callable[[int], str]
    headed: bool = True  # whether the columns have names of their own
    index: np.ndarray | None = None  # (N,) places in the set, where the file holds a part of it


def _entry(number: int) -> str:
    return f"entry {number} (from 0)"


@contextlib.contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turn what a library raises on a damaged file, which may be anything, into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        if "allow_pickle" in reason:
            reason = "it holds Python objects, which are not read"
        raise InputError(f"{path} is not a readable {kind} ({reason}); restore it or make it anew") from None


def _only(path: Path, cells: Any, row: Callable[[int], str]) -> Table:
    """Return the table of a file that holds labels and nothing else."""
    return Table(path, [""], lambda name: cells, row, headed=False)


def _read_lines(path: Path) -> Table:
    return _only(path, re.split("\r\n?|\n", read_text(path).rstrip()), lambda i: f"line {i + 1}")


def _read_json(path: Path) -> Table:
    with _readable(path, "JSON file"):
        value = json.loads(read_text(path))
    if not isinstance(value, list):
        raise InputError(f"{path} holds a {type(value).__name__}, expected a list with one label an example")
    return _only(path, value, _entry)


def _read_csv(path: Path) -> Table:
    rows: list[list[str]] = []
    numbers: list[int] = []
    for number, row in read_cells(path):
        # An empty line separates rows, but in a lone column it is a label that is missing: to pass
        # over it would give every later label to the example before.
        if any(row) or len(row) > 1 or (rows and len(rows[0]) == 1):
            rows.append(row)
            numbers.append(number)
    while rows and not rows[-1]:  # but not at the end, where editors leave some
        rows.pop(), numbers.pop()
    if not rows:
        raise InputError(f"{path} holds no label")
    rows = [row or [""] for row in rows]
    for row, number in zip(rows, numbers, strict=True):
        if len(row) != len(rows[0]):
            raise InputError(
                f"line {number} of {path} has {len(row)} cells, the first line has {len(rows[0])}"
            )
    headed = _is_header(rows)
    names = rows[0] if headed else [str(i + 1) for i in range(len(rows[0]))]
    body, numbers = (rows[1:], numbers[1:]) if headed else (rows, numbers)
    columns = {name: [row[i] for row in body] for i, name in enumerate(names)}
    if len(columns) != len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has two columns called {double!r}; leave one of them")
    if columns.get("") == [str(i) for i in range(len(body))]:
        del columns[""]  # the row numbers that a data frame writes unless told not to
    return Table(path, list(columns), columns.__getitem__, lambda i: f"line {numbers[i]}", headed)


def _is_header(rows: list[list[str]]) -> bool:
    """Return whether the first row names the columns rather than being an example.

    It does if it has a name that is known, or else if none of its cells is a number though the row below
    has one. So a lone column of class names needs a known name, or none.
    """
    if any(cell.lower() in _KNOWN for cell in rows[0]):
        return True
    below = rows[1] if len(rows) > 1 else []
    return not any(map(_NUMBER.fullmatch, rows[0])) and any(map(_NUMBER.fullmatch, below))


def _read_numpy(path: Path) -> Table:
    def flat(array: Any, subject: str) -> np.ndarray:
        if not isinstance(array, np.ndarray):  # bytes, of a file in an archive that is no array
            raise ValueError("a file of the archive is no array")
        if array.ndim != 1:
            raise InputError(
                f"{path}: {subject} the shape {array.shape}, expected one label an example, (N,)"
            )
        return array

    def read(name: str) -> np.ndarray:
        # opened here, because np.load leaves a damaged archive open
        with _readable(path, "NumPy file"), path.open("rb") as file:
            return flat(np.load(file, allow_pickle=False)[name], f"{name!r} has")

    with _readable(path, "NumPy file"), path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _only(path, flat(loaded, "the array has"), _entry)
        return Table(path, list(loaded.files), read, _entry)


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read(name: str) -> Any:
        with _readable(path, "Parquet file"):
            column = pq.read_table(path, columns=[name], partitioning=None)[name]
            whole = pa.types.is_integer(column.type) and not column.null_count
            return column.to_numpy() if whole else column.to_pylist()

    with _readable(path, "Parquet file"):
        schema = pq.read_schema(path)
    if KEY in (schema.metadata or {}):
        return _saved(path)
    if len(set(schema.names)) != len(schema.names):
        raise InputError(f"{path} has two columns of one name; leave one of them")
    return Table(path, schema.names, read, _entry)


def _saved(path: Path) -> Table:
    """Return the table of a file that `NoisyLabels.save` wrote."""
    record, columns = read_saved(path)  # which checks the digest
    if "foreign" in columns:
        raise InputError(
            f"{path} has labels of foreign images, which it does not hold; "
            f"make the noise anew: {record['spec']}"
        )
    index = columns.get("index")
    return Table(
        path,
        ["given", "true"],
        columns.__getitem__,
        _entry,
        index=None if index is None else check_index(index, len(columns["given"])),
    )


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_lines,
    ".json": _read_json,
    ".npy": _read_numpy,
    ".npz": _read_numpy,
    ".parquet": _read_parquet,
}
