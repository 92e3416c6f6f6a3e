"""Read transition matrices from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noisylabels.core import columnar, delimited
from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.files import check_file
from noisylabels.noise.transition import check_transition

SUFFIXES = (*delimited.SUFFIXES, ".npy")


def read_transition(
    path: str | Path, num_classes: int, class_names: Sequence[str] | None = None
) -> np.ndarray:
    """Return the transition matrix in a file.

    Args:
        path: a .npy file of a (K, K) array; or a .csv or .tsv file of K rows of K numbers, one row per
            true class. A first line may name the columns and a first column the rows.
        num_classes: K.
        class_names: K names, in the order of the class numbers. Names in the file are matched with them and
            may be in any order; without it they are ignored.

    Returns:
        (K, K) float64, T[true, given], rows sum to 1 within 1e-5.

    Raises:
        InputError: the file is missing or damaged, has other classes, or holds no transition matrix.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "T.csv")
    ...     size = path.write_text(",dog,cat\\ndog,0.9,0.1\\ncat,0.4,0.6\\n")
    ...     read_transition(path, 2, ["cat", "dog"]).tolist()
    [[0.6, 0.4], [0.1, 0.9]]
    """
    path = Path(path)
    check_file(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is not a file of a matrix, expected one of {', '.join(SUFFIXES)}")
    read = _from_array if path.suffix.lower() == ".npy" else _from_cells
    values = read(path, num_classes, class_names)
    try:
        return check_transition(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check_shape(path: Path, rows: int, columns: int, num_classes: int) -> None:
    if not num_classes <= rows <= num_classes + 1 or not num_classes <= columns <= num_classes + 1:
        raise InputError(
            f"{path} has {rows} rows and {columns} columns, expected {num_classes} by {num_classes} numbers "
            f"for {num_classes} classes, with or without names"
        )


def _from_array(path: Path, num_classes: int, class_names: Sequence[str] | None) -> np.ndarray:
    values = columnar.read_array(path)
    if values.shape != (num_classes, num_classes):
        raise InputError(
            f"{path} holds an array of shape {values.shape}, expected ({num_classes}, {num_classes})"
        )
    return values


def _from_cells(path: Path, num_classes: int, class_names: Sequence[str] | None) -> np.ndarray:
    lines = [(number, row) for number, row in delimited.read_cells(path) if any(row)]
    width = max((len(row) for _, row in lines), default=0)
    _check_shape(path, len(lines), width, num_classes)
    for number, row in lines:
        if len(row) != width:
            raise InputError(f"line {number} of {path} has {len(row)} cells, expected {width}")
    headed, named = len(lines) > num_classes, width > num_classes
    body = lines[headed:]
    values = np.empty((num_classes, num_classes))
    for i, (number, row) in enumerate(body):
        for j, cell in enumerate(row[named:]):
            try:
                values[i, j] = float(cell)
            except ValueError:
                raise InputError(
                    f"line {number} of {path} has {cell!r}, expected a number in [0, 1]; correct it"
                ) from None
    if class_names is None:
        return values
    columns = _order(path, lines[0][1][named:] if headed else None, class_names)
    rows = _order(path, [row[0] for _, row in body] if named else None, class_names)
    # if only rows or only columns are named, both are in the same order
    columns, rows = (columns if headed else rows), (rows if named else columns)
    return values if rows is None or columns is None else values[np.ix_(rows, columns)]


def _order(path: Path, names: Sequence[str] | None, class_names: Sequence[str]) -> list[int] | None:
    """Return the position of each class among `names`; None without names."""
    if names is None:
        return None
    numbers = [str(k) for k in range(len(class_names))]
    if sorted(names) == sorted(numbers):
        by_number = [names.index(number) for number in numbers]
        if set(names) != set(class_names):
            return by_number
        if by_number != [names.index(name) for name in class_names]:  # folders named 0, 1, 10, 11, 2, ...
            k = next(k for k, name in enumerate(class_names) if name != numbers[k])
            raise InputError(
                f"{path} has {class_names[k]!r}, which is the name of class {k} and the number of another; "
                "save the matrix without names, in the order of the class numbers"
            )
    for name in names:
        if name not in class_names:
            raise InputError(
                f"{path} has the name {name!r}, which is no class{did_you_mean(name, class_names)}"
            )
    for name in class_names:
        if names.count(name) != 1:
            raise InputError(f"{path} has the class {name!r} {names.count(name)} times, expected once")
    return [names.index(name) for name in class_names]
