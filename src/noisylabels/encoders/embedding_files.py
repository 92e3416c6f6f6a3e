"""Files of embeddings that another program computed, or `noisylabels embed`: read, matched and written.

A row belongs to an example by its id, by its row in the data, or by its place in the order of the data, and
never by a guess: without ids the file must have one row per example of a source whose order is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.columnar import CHECKED, array_names, read_array
from noisylabels.core.files import atomic_replace, check_file, check_target, file_digest
from noisylabels.core.positions import Positions, own
from noisylabels.core.row_keys import UNNAMED, row_key
from noisylabels.core.tables import ROLES, Table, check_rows, find_column, read_table, texts
from noisylabels.core.written_names import named_by, plain_name
from noisylabels.data.features import Examples, FeatureSet
from noisylabels.data.precision import as_float32

SUFFIXES = (".npy", ".npz", ".parquet", ".csv", ".tsv")
WRITTEN = (".npz", ".parquet", ".npy")
"""The suffixes of files that `write_embeddings` writes."""

FEATURES = ("features", "embeddings", "embedding", "X", "x")
"""Names of the array of features in an .npz file."""
IDS = ("ids", "id")
"""Names of the array of ids in an .npz file."""

_NAMED = 4  # ids or columns that a message names

Note = Callable[[str], None]


def is_embedding_file(name: str) -> bool:
    """Return whether a choice of features is the name of a file of embeddings, by its suffix.

    >>> is_embedding_file("features.npz"), is_embedding_file("efficientnet-lite0")
    (True, False)
    """
    return name.lower().endswith(SUFFIXES)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The rows of a file.

    Args:
        path: the file.
        rows: float32, (M, D), see `as_float32`.
        ids: M ids; None if the file has none.
        places: int64, (M,): rows of the data, from 0; None if the file has none.
    """

    path: Path
    rows: np.ndarray
    ids: Sequence[str] | None = None
    places: np.ndarray | None = None


def embedding_identity(path: Path, dimension: int) -> dict[str, Any]:
    """Return what identifies the features of a file, as `FrozenEncoder.identity` does for an encoder."""
    return {
        "name": str(path),
        "of": "examples",
        "dimension": dimension,
        "file": file_digest(path),
    }


def read_embeddings(path: Path | str, parts: Sequence[Examples], note: Note) -> list[Tensor]:
    """Return the features of sets, float32 (N, D) each, from a file.

    Args:
        path: .npy, an array (M, D); .npz, with an array "features" and perhaps "ids"; .parquet, .csv or .tsv,
            with a column of ids (id, path, ...) or of rows (index) and the features as one column of lists
            or as columns of numbers.
        parts: the sets, such as training and test set.
        note: receives lines on columns and rows that are not used.

    Raises:
        InputError: no such file, another format; an example without a row, an id that occurs twice, rows
            whose order is unknown; values that are not finite numbers.
    """
    path = check_file(Path(path).expanduser())
    check_choice(path.suffix.lower(), SUFFIXES, f"file type of {path.name!r}:")
    found = _read(path, parts, note)
    _check_finite(found)
    at = [_rows_of(found, part) for part in parts]
    used = len(np.unique(np.concatenate(at)))
    if used < len(found.rows):
        note(f"{path.name}: {len(found.rows) - used:,} of {len(found.rows):,} rows are not used")
    return [torch.from_numpy(np.ascontiguousarray(found.rows[rows])) for rows in at]


# Reading --------------------------------------------------------------------------------------------------


def _read(path: Path, parts: Sequence[Examples], note: Note) -> Embeddings:
    if path.suffix.lower() == ".npy":
        return Embeddings(path, _numbers(read_array(path, mapped=True), path))
    if path.suffix.lower() == ".npz":
        return _of_arrays(path, note)
    return _of_table(path, parts, note)


def _of_arrays(path: Path, note: Note) -> Embeddings:
    names = array_names(path)
    key = next((name for name in FEATURES if name in names), None)
    if key is None and len(names) == 1:
        key = names[0]
    if key is None:
        raise InputError(
            f"{path} has the arrays {_some(names)}, expected one called features, and one called ids"
        )
    ids_key = next((name for name in IDS if name in names), None)
    if ignored := [name for name in names if name not in (key, ids_key)]:
        note(f"{path.name}: ignored arrays: {_some(ignored)}")
    rows = _numbers(read_array(path, key), f"{key} of {path}")
    if ids_key is None:
        return Embeddings(path, rows)
    ids = read_array(path, ids_key)
    if ids.ndim != 1 or len(ids) != len(rows) or ids.dtype.kind not in "UiuS":
        raise InputError(
            f"{ids_key} of {path} is {ids.dtype} of shape {ids.shape}, expected text or whole numbers, "
            f"({len(rows)},), one per row of {key}"
        )
    ids = np.char.decode(ids, "utf-8") if ids.dtype.kind == "S" else ids
    return Embeddings(path, rows, [str(name) for name in ids.tolist()])


def _of_table(path: Path, parts: Sequence[Examples], note: Note) -> Embeddings:
    table = check_rows(read_table(path))
    notes: list[str] = []
    ids, places, key = None, None, None
    for role in ("id", "index"):
        if key is None and (place := find_column(table.names, role, table.source, notes)) is not None:
            key = place
            words = texts(table.cells(place)).tolist()
            if role == "id":
                ids = words
            else:
                places = _whole([word.strip() for word in words], table, place)
    columns = [k for k, name in enumerate(table.names) if k != key and not _has_role(name)]
    if key is None:
        wanted = [name for part in parts for name in part.ids]
        index = [k for k in columns if table.names[k].strip().lower() in UNNAMED]  # numbers, but no feature
        unknown = [k for k in columns if k in index or not _holds_numbers(table, k)]
        key = row_key(table, unknown, wanted, parts[0].name, notes)
        ids = None if key is None else texts(table.cells(key)).tolist()
        columns = [k for k in columns if k != key and k not in index]
    ignored = [name for k, name in enumerate(table.names) if k != key and k not in columns]
    if ignored:
        shown = [name or "the one without a name" for name in ignored]
        notes.append(f"ignored columns, which hold no features: {_some(shown)}")
    rows = _features(table, columns)
    for line in notes:
        note(f"{path.name}: {line}")
    return Embeddings(path, rows, ids, places)


def _has_role(name: str) -> bool:
    """Return whether a column has a meaning of its own, such as a label."""
    return any(name.strip().lower() in names for names in ROLES.values())


def _holds_numbers(table: Table, place: int) -> bool:
    cells = table.read(place)
    if isinstance(cells, str):
        return False
    if cells.dtype.kind != "O":
        return True
    try:
        cells.astype(np.float64)
    except ValueError:
        return False
    return True


def _features(table: Table, columns: Sequence[int]) -> np.ndarray:
    """Return the features in the columns of a table, float32 (M, D): lists of numbers, or one number each."""
    if not columns:
        raise InputError(f"{table.source} has no column of features: its columns are {_some(table.names)}")
    made = []
    for place in columns:
        cells = table.cells(place)
        if cells.dtype.kind == "O":
            cells = _parsed(table, place, cells)
        made.append(as_float32(cells.reshape(len(cells), -1)))
    return np.concatenate(made, axis=1)


def _parsed(table: Table, place: int, cells: np.ndarray) -> np.ndarray:
    try:
        return cells.astype(np.float64)
    except ValueError:
        for row, cell in enumerate(cells):
            try:
                float(cell)
            except (TypeError, ValueError):
                raise InputError(
                    f"{table.where(row)}: the column {table.names[place]!r} is {cell!r}, expected a number; "
                    "name a column of ids id, and remove columns that are no features"
                ) from None
        raise


def _whole(words: Sequence[str], table: Table, place: int) -> np.ndarray:
    for row, word in enumerate(words):
        if not word.isdecimal():
            raise InputError(
                f"{table.where(row)}: the {table.names[place]} is {word!r}, expected a row of the data from 0"
            )
    return np.array([int(word) for word in words], dtype=np.int64)


def _numbers(values: np.ndarray, where: Path | str) -> np.ndarray:
    if values.dtype.kind not in "fiub" or values.ndim != 2 or 0 in values.shape:
        raise InputError(
            f"{where} is an array of {values.dtype} of shape {values.shape}, expected numbers (N, D): one "
            "row of features per example"
        )
    return as_float32(values)


def _check_finite(found: Embeddings) -> None:
    bad = np.flatnonzero(~np.isfinite(found.rows).all(axis=1))
    if len(bad):
        named = f" ({found.ids[bad[0]]!r})" if found.ids is not None else ""
        raise InputError(
            f"{found.path}, row {bad[0]}{named}, has features that are not finite numbers; "
            f"{len(bad):,} of {len(found.rows):,} rows have"
        )


# Matching -------------------------------------------------------------------------------------------------


def _rows_of(found: Embeddings, part: Examples) -> np.ndarray:
    """Return the row of each example of a set, int64 (N,)."""
    if found.ids is not None:
        return _by_key(found, found.ids, list(part.ids), list(part.ids), part.name, "id")
    positions = part.positions or own(len(part))
    if found.places is not None:
        if positions.rows is None:
            raise _no_order(found, positions, part)
        words = [str(row) for row in found.places.tolist()]
        wanted = [str(row) for row in positions.rows.tolist()]
        return _by_key(found, words, wanted, list(part.ids), part.name, "row")
    at = positions.among(len(found.rows))
    if at is None:
        raise _no_order(found, positions, part)
    return at


def _by_key(
    found: Embeddings,
    keys: Sequence[str],
    wanted: Sequence[str],
    ids: Sequence[str],
    name: str,
    what: str,
) -> np.ndarray:
    place = dict[str, int]()
    for row, (key, meant) in enumerate(zip(keys, named_by(keys, wanted), strict=True)):
        word = key if meant is None else meant
        if (before := place.setdefault(word, row)) != row:
            raise InputError(
                f"{found.path} has the {what} {word!r} in the rows {before} and {row}; remove one"
            )
    at = np.array([place.get(word, -1) for word in wanted], dtype=np.int64)
    missing = np.flatnonzero(at < 0)
    if len(missing):
        more = f" (nor for {len(missing) - 1:,} others)" if len(missing) > 1 else ""
        raise InputError(
            f"{found.path} has no features for {ids[missing[0]]!r} of {name}{more}: its {what}s are "
            f"{_some(list(place))}"
        )
    return at


def _no_order(found: Embeddings, positions: Positions, part: Examples) -> InputError:
    start = f"{found.path} has {len(found.rows):,} rows without ids"
    if positions.rows is None or positions.source:
        why = f"the {len(part):,} examples of {part.name} have no single order (a training and a test part)"
        return InputError(f"{start}, and {why}; add ids: an array ids in an .npz file, or a column id")
    if positions.doubt and len(found.rows) in (len(part), positions.total):
        return InputError(f"{start}, and {positions.doubt}; add ids")
    return InputError(
        f"{start}, expected {positions.total:,}, one per example of {part.name} in the order of the file or "
        "of the sorted paths; add rows, or ids"
    )


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(map(str, words[:_NAMED])) + more


# Writing --------------------------------------------------------------------------------------------------


def write_embeddings(path: Path, parts: Sequence[FeatureSet]) -> Path:
    """Write the features of sets, with the ids of their examples, in the order of their source.

    Args:
        path: .npz with arrays ids (N,) and features (N, D), float16 if it holds them exactly; .parquet with
            the columns id and features, a list per row; or .npy, the features alone, if all examples of a
            source are in `parts`.
        parts: the sets, such as training and test set; the examples of one source are written in its order,
            those of a training and of a test part with a source each one after the other.

    Raises:
        InputError: another suffix; an id that two examples have; an order that ids are needed for.
    """
    check_target(path, WRITTEN, "file of embeddings")
    ids = [plain_name(name) for part in parts for name in part.ids]
    rows = np.concatenate([part.features.numpy() for part in parts])
    order = source_order(parts)
    if order is not None:
        ids, rows = [ids[i] for i in order.tolist()], rows[order]
    if path.suffix.lower() == ".npy":
        positions = [part.positions or own(len(part)) for part in parts]
        if order is None or positions[0].total != len(rows):
            raise InputError(
                f"{path.name} would hold features without ids, and these {len(rows):,} examples are not all "
                "of a source with a single order; write .npz or .parquet"
            )
    elif len(set(ids)) < len(ids):
        twice = next(name for i, name in enumerate(ids) if name in ids[:i])
        raise InputError(f"two examples have the id {twice!r}; use data whose ids differ")
    half = rows.astype(np.float16)
    values = half if np.array_equal(half.astype(np.float32), rows) else rows
    with atomic_replace(path) as temporary:
        _write(temporary, path.suffix.lower(), ids, values)
    return path


def source_order(parts: Sequence[FeatureSet]) -> np.ndarray | None:
    """Return the order of examples by their rows in the one source of all parts; None without one."""
    positions = [part.positions or own(len(part)) for part in parts]
    if any(each.rows is None for each in positions):
        return None
    if len({(each.source, each.total) for each in positions}) > 1:
        return None
    rows = np.concatenate([each.rows for each in positions if each.rows is not None])
    return None if len(np.unique(rows)) < len(rows) else np.argsort(rows)


def _write(temporary: Path, suffix: str, ids: Sequence[str], values: np.ndarray) -> None:
    if suffix == ".npy":
        with temporary.open("wb") as file:
            np.save(file, values)
    elif suffix == ".npz":
        with temporary.open("wb") as file:
            np.savez(file, ids=np.array(ids), features=values)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(np.ascontiguousarray(values.astype(np.float32)).reshape(-1))
        features = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        table = pa.table({"id": pa.array(ids, pa.string()), "features": features})
        pq.write_table(table, temporary, **CHECKED)
