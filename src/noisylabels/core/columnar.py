"""Readers of Parquet and NumPy files as columns; nothing is unpickled."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.files import atomic_replace, check_file
from noisylabels.core.opening import check_regular, open_file
from noisylabels.core.surrogates import has_lone

REMEDY = "get or save it again"


@contextlib.contextmanager
def open_parquet(file: Path, remedy: str = "get the file again") -> Iterator[Any]:
    """Open a Parquet file; damage found on opening or reading raises an `InputError`.

    Pages with checksums, as `CHECKED` writes them, are compared with them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_regular(file)
        # Arrow accepts UTF-8 paths only
        source = open_file(file) if has_lone(str(file)) else contextlib.nullcontext(file)
        with source as opened, pq.ParquetFile(opened, page_checksum_verification=True) as parquet:
            yield parquet
    except InputError:
        raise
    # besides its own exceptions, Arrow raises OSError and, for names that are not UTF-8, ValueError
    except (pa.ArrowException, OSError, ValueError) as error:
        said = _words(error)
        first_line = said.splitlines()[0] if said else type(error).__name__
        raise InputError(f"{file} cannot be read as Parquet ({first_line}); {remedy}") from None


CHECKED = {"write_page_checksum": True}
"""Argument of writers of Parquet. Without checksums a damaged page often reads as other values."""


def write_parquet(path: Path, table: Any, root: Path | None = None, **how: Any) -> None:
    """Write an Arrow table to a Parquet file with checksums, atomically.

    Args:
        path: the file.
        table: the table.
        root: the folder below which no link is followed, see `atomic_replace`.
        how: further arguments of `pyarrow.parquet.write_table`.

    Raises:
        OSError: the file cannot be written.
    """
    import pyarrow.parquet as pq

    # a file, not its path: Arrow accepts only paths in UTF-8
    with atomic_replace(path, root) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, **CHECKED, **how)


def write_tables(path: Path, tables: Iterable[Any]) -> None:
    """Write Arrow tables of one schema to a Parquet file, a row group each; see `write_parquet`.

    Args:
        path: the file.
        tables: one table or more, made one at a time.

    Raises:
        OSError: the file cannot be written.
    """
    import pyarrow.parquet as pq

    with atomic_replace(path) as temporary, temporary.open("wb") as file, contextlib.ExitStack() as opened:
        writer = None
        for table in tables:
            if writer is None:
                writer = opened.enter_context(pq.ParquetWriter(file, table.schema, **CHECKED))
            writer.write_table(table, row_group_size=len(table))


@dataclass(frozen=True)
class Column:
    """What a column of a file that this program wrote holds.

    Args:
        kind: a key of `KINDS`.
        nullable: whether a cell may be missing.
        optional: whether the column may be missing.
    """

    kind: str
    nullable: bool = False
    optional: bool = False


# by their names, because pyarrow 15 has no tests of these types
_TEXT_VIEW, _LIST_VIEWS = "string_view", ("list_view<", "large_list_view<")

KINDS = ("text", "integers", "numbers", "truth", "lists of integers", "lists of numbers", "lists of rows")
"""What a column can hold."""


def check_columns(schema: Any, columns: Mapping[str, Column], where: object, remedy: str) -> None:
    """Raise an `InputError` unless an Arrow schema has columns of these kinds; others are not looked at.

    >>> import pyarrow as pa
    >>> check_columns(pa.schema({"n": pa.string()}), {"n": Column("integers")}, "x.parquet", "remove it")
    Traceback (most recent call last):
    noisylabels.core.checks.InputError: x.parquet: the column 'n' holds string, expected integers; remove it
    """
    for name, column in columns.items():
        if (count := schema.names.count(name)) > 1 or not (count or column.optional):
            raise InputError(f"{where} has the column {name!r} {count} times, expected once; {remedy}")
        kind = schema.field(name).type if count else None
        if kind is not None and not _is_kind(kind, column):
            raise InputError(f"{where}: the column {name!r} holds {kind}, expected {column.kind}; {remedy}")


def _is_kind(kind: Any, column: Column) -> bool:
    from pyarrow import types

    if types.is_null(kind):
        return column.nullable
    if column.kind.startswith("lists of "):
        inner = Column(column.kind.removeprefix("lists of "), nullable=True)
        return bool(types.is_list(kind)) and _is_kind(kind.value_type, inner)
    if column.kind == "text":
        if types.is_dictionary(kind):
            kind = kind.value_type
        return bool(types.is_string(kind) or types.is_large_string(kind) or str(kind) == _TEXT_VIEW)
    tests = {
        "integers": types.is_integer,
        "numbers": lambda kind: types.is_integer(kind) or types.is_floating(kind),
        "truth": types.is_boolean,
        "rows": types.is_struct,
    }
    return bool(tests[column.kind](kind))


def read_columns(
    path: Path, columns: Mapping[str, Column], remedy: str, error: type[InputError] = InputError
) -> Any:
    """Return the table in a Parquet file that this program wrote, after checks of its columns and cells.

    Args:
        path: the file.
        columns: what the columns hold; others are read and not checked.
        remedy: what to do, for an error.
        error: the type of the error.

    Raises:
        InputError: of the type `error`; the file is missing or damaged, a column is missing or of another
            kind, or a cell is missing, not finite or not UTF-8.
    """
    try:
        with open_parquet(check_file(path), remedy) as parquet:
            check_columns(parquet.schema_arrow, columns, path, remedy)
            return _checked(parquet.read(), columns, path, remedy)
    except InputError as found:
        raise error(str(found)) from None


def read_row_groups(path: Path, columns: Mapping[str, Column], remedy: str) -> Iterator[Any]:
    """Yield the row groups of a Parquet file that this program wrote, after the checks of `read_columns`.

    Raises:
        InputError: as for `read_columns`.
    """
    with open_parquet(check_file(path), remedy) as parquet:
        check_columns(parquet.schema_arrow, columns, path, remedy)
        for group in range(parquet.num_row_groups):
            yield _checked(parquet.read_row_group(group), columns, path, remedy)


def _checked(table: Any, columns: Mapping[str, Column], path: Path, remedy: str) -> Any:
    import pyarrow.compute as pc

    table.validate(full=True)
    for name, column in columns.items():
        if name not in table.column_names:
            continue
        cells = table[name]
        if cells.null_count and not column.nullable:
            raise InputError(f"{path}: the column {name!r} lacks {cells.null_count} cells; {remedy}")
        if column.kind == "numbers" and not pc.all(pc.is_finite(cells)).as_py():
            raise InputError(f"{path}: the column {name!r} has a cell that is not finite; {remedy}")
    return table


def parquet_columns(
    files: Sequence[Path], *, at_once: bool = False
) -> tuple[list[str], list[int], Callable[[str], np.ndarray | str]]:
    """Return the column names, the row counts and a column reader of Parquet files.

    Args:
        files: the parts of one table; each has the columns of the first.
        at_once: read all columns now instead of each on demand.

    Returns:
        The names, the number of rows of each file, and a function that returns the cells of a named column,
        see `arrow_cells`.

    Raises:
        InputError: a file is damaged, or lacks a column that the first has.
    """
    import pyarrow as pa

    names: list[str] = []
    sizes, tables = [], []
    for file in files:
        with open_parquet(file) as parquet:
            found = parquet.schema_arrow.names
            names = names or list(found)
            if lacking := [name for name in names if name not in found]:
                raise InputError(f"{file} lacks the column {lacking[0]!r} that the first file has")
            sizes.append(int(parquet.metadata.num_rows))
            tables.append(parquet.read() if at_once else None)

    def part(file: Path, table: Any, name: str) -> Any:
        if table is not None:
            return table.select([name])
        with open_parquet(file) as parquet:
            return parquet.read(columns=[name]).select([name])

    def read(name: str) -> np.ndarray | str:
        parts = [part(file, table, name) for file, table in zip(files, tables, strict=True)]
        try:
            # a column may hold integers in one file, floats in another and only nulls in a third
            return arrow_cells(pa.concat_tables(parts, promote_options="permissive").column(0))
        except (pa.ArrowException, TypeError, ValueError):
            kinds = dict.fromkeys(str(some.schema.field(0).type) for some in parts)
            return " in one file and ".join(kinds) + (" in another" if len(kinds) > 1 else "")

    return names, sizes, read


def arrow_cells(column: Any) -> np.ndarray | str:
    """Return the cells of an Arrow column, or its type in words if it holds neither numbers nor text.

    Args:
        column: a chunked array of N cells.

    Returns:
        (N,): integers or bool if no cell is missing; float64 with NaN for missing numbers; object, text with
        "" for missing cells: of words, of true and false, and of integers beyond 53 bits. (N, D): float64,
        for lists of D numbers. Otherwise a word such as "dates".
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _plain(column)
    kind = column.type
    if pa.types.is_null(kind):  # how writers store a column of nulls
        return np.full(len(column), np.nan)
    if pa.types.is_temporal(kind):
        return "dates"
    if (pa.types.is_boolean(kind) or pa.types.is_integer(kind)) and not column.null_count:
        return np.asarray(column.to_numpy())
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        whole = _integers(column)
        if whole is not None:
            return whole
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    if pa.types.is_boolean(kind):
        truth = {True: "true", False: "false", None: ""}
        return np.array([truth[cell] for cell in column.to_pylist()], dtype=object)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array([cell or "" for cell in column.to_pylist()], dtype=object)
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    # not cast to lists: pyarrow 26 loses the last ones of a view
    listed = listed or str(kind).startswith(_LIST_VIEWS)
    if listed and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        if column.null_count:
            return "lists, some of them missing"
        if not len(column):
            return np.zeros((0, 0))
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        if len(lengths) != 1:
            return f"lists of {min(lengths)} to {max(lengths)} numbers"
        values = np.asarray(pc.cast(pc.list_flatten(column), pa.float64()).to_numpy(), dtype=np.float64)
        return values.reshape(len(column), lengths[0])
    return str(kind)


def _plain(column: Any) -> Any:
    """Return an Arrow column without a dictionary, run-end encoding or views of text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind) and str(kind.value_type) == _TEXT_VIEW:  # which pyarrow cannot decode
        words = [chunk.dictionary.cast(pa.large_string()).take(chunk.indices) for chunk in column.chunks]
        return pa.chunked_array(words, pa.large_string())
    if pa.types.is_dictionary(kind):
        chunks = [chunk.dictionary_decode() for chunk in column.chunks]
        return pa.chunked_array(chunks, kind.value_type)
    if pa.types.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(column))
    return column.cast(pa.large_string()) if str(kind) == _TEXT_VIEW else column


def _integers(column: Any) -> np.ndarray | None:
    """Return integers or whole decimals with all their digits, as text if some are missing.

    Return None for decimals that are not whole, and for integers that float64 holds beside missing ones.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not column.null_count:
        for wide in (pa.int64(), pa.uint64()):
            with contextlib.suppress(pa.ArrowInvalid):
                return np.asarray(pc.cast(column, wide).to_numpy())
    ends = pc.min_max(column).as_py().values()
    if all(end is None or abs(end) <= 2**53 for end in ends):
        return None
    cells = column.to_pylist()
    if any(cell is not None and cell != int(cell) for cell in cells):
        return None
    return np.array(["" if cell is None else str(int(cell)) for cell in cells], dtype=object)


def column_texts(files: Sequence[Path], name: str) -> np.ndarray:
    """Return the cells of one column of Parquet files as text, object (N,); "" for missing cells."""
    cells: list[str] = []
    for file in files:
        with open_parquet(file) as parquet:
            for cell in parquet.read(columns=[name]).column(name).to_pylist():
                cells.append("" if cell is None else str(cell))
    return np.array(cells, dtype=object)


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in an .npz file, reading only its directory."""
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # a damaged archive can raise anything
        _damaged(path, error)


def read_array(
    path: Path, name: str | None = None, *, mapped: bool = False, writable: bool = False
) -> np.ndarray:
    """Return the array in an .npy file, or one of the arrays in an .npz file.

    Args:
        path: the file.
        name: the name of the array in an .npz file; None for an .npy file.
        mapped: map an .npy file into memory instead of reading it.
        writable: map it so that what is written to the array stays in this process.

    Raises:
        InputError: the file is damaged or not a NumPy file, or holds Python objects.
    """
    try:
        check_regular(path)
        if mapped or writable:
            with open_file(path) as file:
                _check_size(file)
            with _quiet():
                return _with_characters(np.lib.format.open_memmap(path, mode="c" if writable else "r"))
        with open_file(path) as file:  # opened here, because np.load leaves a damaged archive open
            if name is None:
                return next_array(file, path)
            with _quiet():
                array = np.load(file, allow_pickle=False)[name]
        if not isinstance(array, np.ndarray):  # the bytes of another file in the archive
            raise ValueError("not an array")
        return _with_characters(array)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise anything
        _damaged(path if name is None else f"{name} of {path}", error)


def next_array(file: BinaryIO, where: Path | str) -> np.ndarray:
    """Return the array in the format of .npy at the place of an open file; see `read_array` for errors."""
    try:
        _check_size(file)
        with _quiet():
            return _with_characters(np.asarray(np.lib.format.read_array(file, allow_pickle=False)))
    except Exception as error:  # a damaged header can raise anything
        _damaged(where, error)


def array_header(file: Any, where: Path | str, remedy: str = REMEDY) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the type of the array at the place of an open file, whose place is then its data.

    Raises:
        InputError: it has no header of the format of .npy.
    """
    try:
        return _header(file)
    except Exception as error:  # a damaged header can raise anything
        _damaged(where, error, remedy)


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    headers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
    with _quiet():
        shape, _, dtype = headers[version > (1, 0)](file)
    return shape, dtype


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out NumPy's warning of a header that Python 2 wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _check_size(file: BinaryIO) -> None:
    """Raise a `ValueError` if the array at the place of an open file claims more bytes than follow.

    NumPy computes with 64 bits, which a hostile shape overflows.
    """
    began = file.tell()
    shape, dtype = _header(file)
    first = file.tell()
    there = file.seek(0, os.SEEK_END) - first
    file.seek(began)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > there and not dtype.hasobject:
        raise ValueError(f"its shape {shape} takes {claimed:,} bytes, and {there:,} follow")


def _with_characters(array: np.ndarray) -> np.ndarray:
    """Return an array if its texts consist of characters: NumPy reads any 32 bits as one."""
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        flat = np.ascontiguousarray(array).reshape(-1)
        if (flat.view(array.dtype.byteorder + "u4") > sys.maxunicode).any():
            raise ValueError("a text has a number that is no character")
    return array


def _words(error: Exception) -> str:
    """Return what an error says, without the path, which the message names already."""
    return getattr(error, "strerror", None) or str(error)


def _damaged(where: Path | str, error: Exception, remedy: str = REMEDY) -> NoReturn:
    reason = " ".join(_words(error).strip().partition("\n")[0].split())[:200] or type(error).__name__
    if "allow_pickle" in reason or "Python objects" in reason:
        raise InputError(
            f"{where} holds Python objects, which are not read; save it with a numeric or string dtype"
        ) from None
    raise InputError(f"{where} cannot be read as a NumPy file ({reason}); {remedy}") from None
