"""Sheets: all columns of a table as numbers or words, before they are encoded as features."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.columnar import open_parquet
from noisylabels.core.delimited import SUFFIXES
from noisylabels.core.tables import Table, read_parquet_table, read_text_table
from noisylabels.data.parquet import class_label_names

INDEX = "__index_level_"  # the name of an index that pandas writes into Parquet


@dataclass(frozen=True, eq=False)
class Sheet:
    """Named columns of cells.

    Args:
        source: the file, for errors.
        names: the column names, all different.
        columns: the cells of each, (N,): float with NaN for missing numbers, int, bool, or text as object.
        where: position -> what an error calls the row.
        unfit: columns that cannot be features, not in `names`, each with what it holds.
        classes: the class names of columns that declare them.
    """

    source: Path
    names: Sequence[str]
    columns: Sequence[np.ndarray]
    where: Callable[[int], str]
    unfit: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[self._places[name]]

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.names)}


def read_sheet(path: Path) -> Sheet:
    """Read a file of columns by its suffix: .csv, .tsv or .parquet.

    Raises:
        InputError: the suffix is another, the file cannot be read, a row's length differs from the heading's,
            or a name occurs twice.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return of_text(read_text_table(path, columns="age,height,label"))
    if suffix == ".parquet":
        return of_parquet([path])
    raise InputError(f"{path} is not a readable table; expected .csv, .tsv or .parquet")


def of_text(table: Table) -> Sheet:
    """Return a CSV or TSV table as a sheet; columns without a name are called "column 2" and so on."""
    names = [name or f"column {k}" for k, name in enumerate(table.names, start=1)]
    return _of_table(dataclasses.replace(table, names=names))


def of_parquet(files: Sequence[Path]) -> Sheet:
    """Read Parquet files with the same columns as one sheet; lists of D numbers become D columns.

    Raises:
        InputError: a file is damaged, or lacks a column that the first has.
    """
    with open_parquet(files[0]) as parquet:
        classes = class_label_names(parquet.schema_arrow)
    return _of_table(read_parquet_table(files, at_once=True), classes)


def _of_table(table: Table, classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> Sheet:
    _check_names(table.source, table.names)
    names: list[str] = []
    columns: list[np.ndarray] = []
    unfit: dict[str, str] = {}
    for place, name in enumerate(table.names):
        cells = "an index" if name.startswith(INDEX) else table.read(place)
        if isinstance(cells, str):
            unfit[name] = cells
            continue
        names += [name] if cells.ndim == 1 else [f"{name}[{i}]" for i in range(cells.shape[1])]
        columns += [cells] if cells.ndim == 1 else list(cells.T)
    return Sheet(table.source, names, columns, table.where, unfit, classes)


def of_array(values: np.ndarray, source: Path, name: str) -> Sheet:
    """Return an array (N, D) of numbers as a sheet whose columns are called "0", "1", ...

    Raises:
        InputError: the shape is another, or the array does not hold numbers.
    """
    if values.ndim != 2 or values.dtype.kind not in "iufb" or not values.size:
        raise InputError(
            f"{name} is {values.dtype} of shape {values.shape}, expected numbers of the shape (N, D), "
            "one row per example"
        )
    columns = list(values.T if values.dtype.kind in "bf" else values.T.astype(np.float64))
    return Sheet(source, [str(k) for k in range(len(columns))], columns, lambda row: f"{name}, row {row}")


def of_frame(frame: Any, source: Path) -> Sheet:
    """Return a pandas or polars data frame as a sheet; neither library is imported."""
    names: list[str] = []
    columns: list[np.ndarray] = []
    unfit: dict[str, str] = {}
    _check_names(source, [str(label) for label in frame.columns])
    for label in frame.columns:  # in pandas they may be numbers or tuples
        name, cells = str(label), np.asarray(frame[label].to_numpy())
        if cells.dtype.kind in "mM":
            unfit[name] = "dates"
            continue
        if cells.dtype.kind in "iu":
            cells = cells.astype(np.float64)
        elif cells.dtype.kind not in "fb":  # text, or any type with missing cells
            cells = np.array(["" if cell is None else str(cell) for cell in cells.tolist()], dtype=object)
        names.append(name)
        columns.append(cells)
    return Sheet(source, names, columns, lambda row: f"{source}, row {row}", unfit)


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"{path} has two columns called {twice!r}; rename one")
