"""Sheets: named columns of numbers or words, read from CSV, TSV, Parquet or NumPy files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.cells import SUFFIXES, read_cells
from noisylabels.core.checks import InputError
from noisylabels.data.parquet import class_label_names, opened

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "<na>", "#n/a"))
"""What a cell holds, in small letters, that holds nothing."""

INDEX = "__index_level_"  # how pandas calls an index that it writes into Parquet


@dataclass(frozen=True, eq=False)
class Sheet:
    """Rows of cells under names.

    Args:
        source: the file, for an error.
        names: of the columns, all different.
        columns: of each (N,): float with NaN for a missing number, int, bool, or object: text, as read.
        where: says which row is number i, for an error.
        unfit: columns of which no numbers can be made, each with the reason; they are not in `names`.
        classes: the names of classes of the columns that come with them.
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


def is_missing(column: np.ndarray) -> np.ndarray:
    """Return which cells of a column hold nothing, bool (N,).

    >>> is_missing(np.array(["3", "", " NaN", "cat"], dtype=object))
    array([False,  True,  True, False])
    """
    if column.dtype.kind == "f":
        return np.asarray(np.isnan(column))
    if column.dtype.kind != "O":
        return np.zeros(len(column), dtype=bool)
    # the words are short: most cells need no more than a look at their length
    longest = max(map(len, MISSING))
    found = (len(cell) <= longest and cell.lower() in MISSING for cell in map(str.strip, column))
    return np.fromiter(found, dtype=bool, count=len(column))


def is_number(word: str) -> bool:
    """Return whether a word is a number as Python writes it, NaN and infinity among them."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def texts(cells: np.ndarray) -> np.ndarray:
    """Return cells as the words that they would be in a file of text."""
    if cells.dtype.kind == "O":
        return cells
    if cells.dtype.kind == "b":
        return np.where(cells, "true", "false").astype(object)
    if cells.dtype.kind == "U":
        return cells.astype(object)
    if cells.dtype.kind in "iu":  # to the last digit: ids may be long
        return np.array([str(value) for value in cells.tolist()], dtype=object)
    return np.array([f"{value:.15g}" for value in cells.tolist()], dtype=object)


def read_sheet(path: Path) -> Sheet:
    """Read a file of columns by its suffix: .csv, .tsv or .parquet.

    Raises:
        InputError: another suffix, a file that cannot be read, a row of another length than the heading, a
            name that occurs twice.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return _of_text(path)
    if suffix == ".parquet":
        return of_parquet([path])
    raise InputError(f"{path} is no table that can be read; expected .csv, .tsv or .parquet")


def _of_text(path: Path) -> Sheet:
    rows = ((line, cells) for line, cells in read_cells(path) if any(cells))
    _, heading = next(rows, (0, []))
    if not heading:
        raise InputError(f"{path} is empty; expected a heading such as age,height,label and a line a row")
    names = [name or f"column {k}" for k, name in enumerate(heading, start=1)]
    _check_names(path, names)
    lines: list[int] = []
    body: list[list[str]] = []
    for line, cells in rows:
        if len(cells) != len(names):
            raise InputError(f"{path}, line {line}: {len(cells)} cells, but the heading has {len(names)}")
        lines.append(line)
        body.append(cells)
    columns = [np.array([cells[k] for cells in body], dtype=object) for k in range(len(names))]
    return Sheet(path, names, columns, lambda row: f"{path}, line {lines[row]}")


def of_parquet(files: Sequence[Path]) -> Sheet:
    """Read Parquet files of the same columns as one sheet; a list of numbers becomes a column a number.

    Raises:
        InputError: a file is damaged, or lacks a column that the first has.
    """
    import pyarrow as pa

    tables = []
    for file in files:
        with opened(file) as parquet:
            tables.append(parquet.read())
        if lacking := [name for name in tables[0].column_names if name not in tables[-1].column_names]:
            raise InputError(f"{file} lacks the column {lacking[0]!r} that the first file has")
        tables[-1] = tables[-1].select(tables[0].column_names)
    _check_names(files[0], tables[0].column_names)
    sizes = [table.num_rows for table in tables]
    ends = np.cumsum(sizes)
    names: list[str] = []
    columns: list[np.ndarray] = []
    unfit: dict[str, str] = {}
    for name in tables[0].column_names:
        if name.startswith(INDEX):
            unfit[name] = "an index"
            continue
        try:
            # files of one set may have a column as whole numbers, as others, or as nothing at all
            whole = pa.concat_tables([table.select([name]) for table in tables], promote_options="permissive")
            made = _of_arrow(whole.column(0))
        except (pa.ArrowException, TypeError, ValueError):
            made = f"{tables[0].schema.field(name).type}"
        if isinstance(made, str):
            unfit[name] = made
            continue
        names += [name] if made.ndim == 1 else [f"{name}[{i}]" for i in range(made.shape[1])]
        columns += [made] if made.ndim == 1 else list(made.T)

    def where(row: int) -> str:
        part = int(np.searchsorted(ends, row, side="right"))
        return f"{files[part]}, row {row - int(ends[part]) + sizes[part]}"

    return Sheet(files[0], names, columns, where, unfit, class_label_names(tables[0].schema))


def _of_arrow(whole: Any) -> np.ndarray | str:
    """Return the cells of a column, (N,) or (N, D); or what it is, if neither numbers nor words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = whole.type
    if pa.types.is_null(kind):  # what a writer makes of a column in which nothing is
        return np.full(len(whole), np.nan)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        whole = pa.chunked_array([chunk.dictionary_decode() for chunk in whole.chunks], kind)
    if pa.types.is_temporal(kind):
        return "dates"
    if (pa.types.is_boolean(kind) or pa.types.is_integer(kind)) and not whole.null_count:
        return np.asarray(whole.to_numpy())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(pc.cast(whole, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    if pa.types.is_boolean(kind):
        return np.asarray(pc.cast(pc.cast(whole, pa.int8()), pa.float64()).to_numpy(), dtype=np.float64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array([cell or "" for cell in whole.to_pylist()], dtype=object)
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if listed and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        if whole.null_count:
            return "lists, some of them missing"
        lengths = pc.unique(pc.list_value_length(whole)).to_pylist()
        if len(lengths) != 1:
            return f"lists of {min(lengths)} to {max(lengths)} numbers"
        flat = pc.list_flatten(whole)
        values = np.asarray(pc.cast(flat, pa.float64()).to_numpy(), dtype=np.float64)
        return values.reshape(len(whole), lengths[0])
    return str(kind)


def of_array(values: np.ndarray, source: Path, name: str) -> Sheet:
    """Return an array (N, D) of numbers as a sheet whose columns are called "0", "1", ...

    Raises:
        InputError: another shape, or an array of something else than numbers.
    """
    if values.ndim != 2 or values.dtype.kind not in "iufb" or not values.size:
        raise InputError(
            f"{name} is {values.dtype} of shape {values.shape}, expected numbers of the shape (N, D), "
            "a row an example"
        )
    columns = list(values.T if values.dtype.kind in "bf" else values.T.astype(np.float64))
    return Sheet(source, [str(k) for k in range(len(columns))], columns, lambda row: f"{name}, row {row}")


def of_frame(frame: Any, source: Path) -> Sheet:
    """Return a data frame of pandas or polars as a sheet; neither is imported."""
    names: list[str] = []
    columns: list[np.ndarray] = []
    unfit: dict[str, str] = {}
    _check_names(source, [str(label) for label in frame.columns])
    for label in frame.columns:  # of pandas they may be numbers or tuples
        name, cells = str(label), np.asarray(frame[label].to_numpy())
        if cells.dtype.kind in "mM":
            unfit[name] = "dates"
            continue
        if cells.dtype.kind in "iu":
            cells = cells.astype(np.float64)
        elif cells.dtype.kind not in "fb":  # text, or anything with gaps in it
            cells = np.array(["" if cell is None else str(cell) for cell in cells.tolist()], dtype=object)
        names.append(name)
        columns.append(cells)
    return Sheet(source, names, columns, lambda row: f"{source}, row {row}", unfit)


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"{path} has two columns called {twice!r}; rename one")
