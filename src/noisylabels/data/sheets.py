"""Sheets: all columns of a table as numbers or words, before they are encoded as features."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.columnar import arrow_cells, column_texts, open_parquet
from noisylabels.core.delimited import SUFFIXES
from noisylabels.core.labels import array_of
from noisylabels.core.surrogates import whole_text
from noisylabels.core.tables import Table, read_parquet_table, read_text_table, texts
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
        raw: the cells of columns that were converted, as they came.
        written: column -> its cells with the spaces around them, for a text table.
        unfit_cells: name of an unfit column -> its cells as text, (N,).
    """

    source: Path
    names: Sequence[str]
    columns: Sequence[np.ndarray]
    where: Callable[[int], str]
    unfit: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    raw: Mapping[str, np.ndarray] = field(default_factory=dict)
    written: Callable[[str], list[str]] | None = None
    unfit_cells: Callable[[str], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[self._places[name]]

    def as_read(self, name: str) -> np.ndarray:
        """Return the cells of a column as they came, for labels: integers as integers, objects as objects."""
        return self.raw[name] if name in self.raw else self[name]

    def column(self, name: str) -> np.ndarray:
        """Return the cells of a column, also of one that cannot be a feature; those are text, (N,)."""
        if name in self._places:
            return self[name]
        if name not in self._texts:
            nothing = np.full(len(self), "", dtype=object)
            self._texts[name] = nothing if self.unfit_cells is None else self.unfit_cells(name)
        return self._texts[name]

    @functools.cached_property
    def _texts(self) -> dict[str, np.ndarray]:
        return {}

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.names)}


def read_sheet(path: Path, keep_blank: bool = False) -> Sheet:
    """Read a file of columns by its suffix: .csv, .tsv or .parquet.

    Args:
        path: the file.
        keep_blank: whether rows of a text file without anything in them are rows.

    Raises:
        InputError: the suffix is another, the file cannot be read, a row's length differs from the heading's,
            or a name occurs twice.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return of_text(read_text_table(path, columns="age,height,label", keep_blank=keep_blank))
    if suffix == ".parquet":
        return of_parquet([path])
    raise InputError(f"{path} is not a readable table; expected .csv, .tsv or .parquet")


def of_text(table: Table) -> Sheet:
    """Return a CSV or TSV table as a sheet; columns without a name are called "column 2" and so on."""
    names = [name or f"column {k}" for k, name in enumerate(table.names, start=1)]
    return of_table(dataclasses.replace(table, names=names))


def of_parquet(files: Sequence[Path]) -> Sheet:
    """Read Parquet files with the same columns as one sheet; lists of D numbers become D columns.

    Raises:
        InputError: a file is damaged, or lacks a column that the first has.
    """
    with open_parquet(files[0]) as parquet:
        classes = class_label_names(parquet.schema_arrow)
    sheet = of_table(read_parquet_table(files, at_once=True), classes)
    return dataclasses.replace(sheet, unfit_cells=lambda name: column_texts(files, name))


def of_table(table: Table, classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> Sheet:
    """Return all columns of a table as a sheet; lists of D numbers become D columns."""
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
    of_column = table.written
    written = None if of_column is None else lambda name: of_column(list(table.names).index(name))
    return Sheet(table.source, names, columns, table.where, unfit, classes, written=written)


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
    """Return a pandas or polars data frame as the sheet that a Parquet file of it would be.

    Neither library is imported. The index of a pandas frame is not a column.

    Raises:
        InputError: two columns have the same name.
    """
    labels = list(frame.columns)  # in pandas they may be numbers or tuples
    names = [str(label) for label in labels]
    _check_names(source, names)
    table = Table(source, names, lambda k: cells_of(frame[labels[k]]), lambda row: (source, f"row {row}"))
    values = {name: array_of(frame[label]) for name, label in zip(names, labels, strict=True)}
    mixed = {name: cells for name, cells in values.items() if cells.dtype.kind == "O"}

    def unfit_cells(name: str) -> np.ndarray:
        cells = values[name]
        return _texts_of(cells.astype(str) if cells.dtype.kind in "mM" else cells.tolist())

    return dataclasses.replace(of_table(table), raw=mixed, unfit_cells=unfit_cells)


def _texts_of(cells: Iterable[Any]) -> np.ndarray:
    """Return cells of any type as text, object (N,); "" for missing cells."""
    nothing = ("None", "nan", "<NA>", "NaT")
    return np.array(["" if (word := str(cell)) in nothing else word for cell in cells], dtype=object)


def of_arrow(table: Any, source: Path, classes: Mapping[str, tuple[str, ...]]) -> Sheet:
    """Return an Arrow table as a sheet; `classes` has the class names of columns that declare them."""
    sheet = of_table(
        Table(
            source,
            list(table.column_names),
            lambda k: arrow_cells(table.column(k)),
            lambda row: (source, f"row {row}"),
        ),
        classes,
    )
    return dataclasses.replace(sheet, unfit_cells=lambda name: _texts_of(table.column(name).to_pylist()))


def cells_of(values: Any) -> np.ndarray | str:
    """Return a column in memory with the cells that it would have in a Parquet file, see `arrow_cells`.

    Args:
        values: (N,), a list, tuple, array, tensor, or a series of pandas or polars. None, NaN, NA and NaT are
            missing cells. Values of several types are text.

    >>> cells_of(["a", None]).tolist(), cells_of([1, None]).tolist()
    (['a', ''], [1.0, nan])
    """
    import pyarrow as pa

    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, (list, tuple)):  # of tensors or NumPy numbers, perhaps
        values = [cell.item() if getattr(cell, "ndim", 1) == 0 else cell for cell in values]
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    try:
        arrow = values.to_arrow() if hasattr(values, "to_arrow") else pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        if hasattr(values, "to_numpy"):
            return _mixed_cells(array_of(values))
        return _mixed_cells(np.asarray(values, dtype=None if hasattr(values, "dtype") else object))
    chunks = arrow.chunks if isinstance(arrow, pa.ChunkedArray) else [arrow]
    return arrow_cells(pa.chunked_array(chunks, type=arrow.type))


def _mixed_cells(values: np.ndarray) -> np.ndarray | str:
    """Return cells of several types as text, or what they hold in words."""
    if values.dtype.kind == "O" and values.ndim == 1:
        nothing = ("None", "nan", "<NA>", "NaT")
        words = (
            "" if not isinstance(cell, str) and str(cell) in nothing else whole_text(str(cell))
            for cell in values.tolist()
        )
        return np.fromiter(words, dtype=object, count=len(values))
    return values if values.dtype.kind in "iufb" and values.ndim == 1 else str(values.dtype)


def joined(first: Sheet, second: Sheet) -> Sheet:
    """Return the rows of two sheets with the same columns, in any order, as one sheet.

    Raises:
        InputError: a column is in one of them alone.
    """
    for one, other in ((first, second), (second, first)):
        names = [*other.names, *other.unfit]
        if lacking := next((name for name in (*one.names, *one.unfit) if name not in names), None):
            hint = did_you_mean(lacking, [name for name in names if name not in one.names])
            raise InputError(f"{other.source} lacks the column {lacking!r} that {one.source} has{hint}")
    n = len(first)
    unfit = {**second.unfit, **first.unfit}
    names = [name for name in first.names if name not in unfit]
    return Sheet(
        first.source,
        names,
        [stacked(first[name], second[name]) for name in names],
        lambda row: first.where(row) if row < n else second.where(row - n),
        unfit,
        {**second.classes, **first.classes},
        {name: as_objects(first.as_read(name), second.as_read(name)) for name in {**first.raw, **second.raw}},
        unfit_cells=lambda name: stacked(texts(first.column(name)), texts(second.column(name))),
    )


def as_objects(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cells of two columns as one, in which each keeps its type."""
    alike = first.dtype.kind == second.dtype.kind
    return np.concatenate([first, second] if alike else [first.astype(object), second.astype(object)])


def stacked(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cells of two columns as one, as text if either is text."""
    if "O" in (first.dtype.kind, second.dtype.kind):
        first, second = texts(first), texts(second)
    return np.concatenate([first, second])


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"{path} has two columns called {twice!r}; rename one")
