"""Rows and labels in memory as columns of cells: arrays, tensors, lists, frames, sparse matrices.

Every door that takes objects (`load`, `audit_labels`, `NoisyLabelClassifier`) converts them here. Neither
pandas, polars, SciPy nor `datasets` is imported: objects are recognized by their attributes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.labels import as_cells, check_collected
from noisylabels.core.surrogates import has_lone, whole_text
from noisylabels.core.tables import Table
from noisylabels.data.image_files import image_files
from noisylabels.data.sheets import Sheet, cells_of, of_array, of_arrow, of_frame, of_table
from noisylabels.data.text_columns import TEXT

MOST_DENSE_BYTES = 2 << 30
"""The largest sparse matrix that is made dense."""


def sheet_of(X: Any, source: Path) -> Sheet:
    """Return rows in memory as a sheet; the columns of an array are called "0", "1", ...

    Args:
        X: (N, D), or N texts, which are the column "text"; see `recognize`.
        source: what an error calls the rows.

    Raises:
        InputError: the shape or the type is another.
    """
    if _is_hub(X):
        classes = {
            name: tuple(kind.names)
            for name, kind in dict(X.features).items()
            if getattr(kind, "_type", "") == "ClassLabel"
        }
        return of_arrow(X.with_format("arrow")[:], source, classes)
    if _is_arrow(X):
        return of_arrow(X, source, {})
    if _is_frame(X):
        return of_frame(X, source)
    values = array_of(X)
    if is_texts(values):
        return of_table(Table(source, [TEXT], lambda _: _written(values), lambda row: (source, f"row {row}")))
    if values.dtype.kind in "UOT" and values.ndim == 1:
        raise InputError(f"{source} is objects of the shape {values.shape}, expected rows (N, D) or N texts")
    if values.dtype.kind in "UOT" and values.ndim == 2:
        names = [str(k) for k in range(values.shape[1])]
        columns = Table(
            source, names, lambda k: cells_of(values[:, k].tolist()), lambda row: (source, f"row {row}")
        )
        return of_table(columns)
    return of_array(values, source, str(source))


def is_texts(X: Any) -> bool:
    """Return whether an object is a list, an array or a series of texts, some of which may be missing.

    Paths of image files are not texts, see `image_files`.

    >>> is_texts(["a b", None]), is_texts(np.array(["a b"])), is_texts([["a", "b"]]), is_texts(["a b", 3])
    (True, True, False, False)
    """
    if is_array(X) and not isinstance(X, torch.Tensor) and not is_sparse(X) and np.ndim(X) == 1:
        values = np.asarray(X)
        X = values.tolist() if values.dtype.kind in "UOT" else None
    if not isinstance(X, (list, tuple)):
        return False
    there = [cell for cell in X if isinstance(cell, str)]
    if not there or not all(isinstance(cell, str) or _is_missing(cell) for cell in X):
        return False
    return image_files(there) is None


def texts_in(X: Any) -> list[str]:
    """Return the texts that `is_texts` has found, "" for a missing one."""
    cells: list[str] = _written(np.asarray(X, dtype=object)).tolist()
    return cells


def surrogate_notes(X: Any) -> list[str]:
    """Return a note on the texts that hold lone surrogates, if there are any.

    >>> surrogate_notes(["a", "b\\ud83d"])
    ['1 text holds half of a character (a lone surrogate), first in row 1; it is read as U+FFFD']
    """
    at = [row for row, cell in enumerate(X) if isinstance(cell, str) and has_lone(cell)]
    if not at:
        return []
    what = "1 text holds" if len(at) == 1 else f"{len(at):,} texts hold"
    return [f"{what} half of a character (a lone surrogate), first in row {at[0]}; it is read as U+FFFD"]


def _is_missing(cell: Any) -> bool:
    return cell is None or str(cell) in ("nan", "<NA>")


def _written(values: np.ndarray) -> np.ndarray:
    """Return texts as cells, object (N,); "" for a missing one. See `whole_text` for lone surrogates."""
    made = np.empty(len(values), dtype=object)
    made[:] = [whole_text(cell) if isinstance(cell, str) else "" for cell in values.tolist()]
    return made


def array_of(X: Any) -> np.ndarray:
    """Return an array, a tensor, a list of lists or a sparse matrix as a dense array.

    Raises:
        InputError: a sparse matrix is too large to be made dense, or the rows differ in length.
    """
    if is_sparse(X):
        return dense_of(X)
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        X = X.float() if X.dtype == torch.bfloat16 else X
    try:
        return np.asarray(X)
    except ValueError:
        raise InputError(
            f"X is a {type(X).__name__} of rows of different lengths, expected the shape (N, D)"
        ) from None


def is_sparse(X: Any) -> bool:
    """Return whether an object is a sparse matrix or array of SciPy."""
    return hasattr(X, "tocsr") and hasattr(X, "toarray")


def dense_of(matrix: Any) -> np.ndarray:
    """Return a sparse matrix as a dense array of the same type.

    Raises:
        InputError: it would take more than `MOST_DENSE_BYTES`.
    """
    size = int(np.prod(matrix.shape, dtype=np.int64)) * matrix.dtype.itemsize
    if size > MOST_DENSE_BYTES:
        raise InputError(
            f"the sparse matrix {tuple(matrix.shape)} would take {size / 2**30:.1f} GiB as dense rows, "
            f"expected at most {MOST_DENSE_BYTES / 2**30:.0f}; reduce its columns first, such as with "
            "sklearn.decomposition.TruncatedSVD(100)"
        )
    return np.asarray(matrix.toarray())


def label_cells(y: Any) -> np.ndarray:
    """Return labels in memory as one cell per example, (N,), also from a column (N, 1); see `as_cells`.

    Args:
        y: what `as_cells` takes, a table of one column, or a sparse matrix of one.

    Raises:
        InputError: as `as_cells`.

    >>> label_cells([[1], [0]]).tolist(), label_cells(("a", "b")).tolist()
    ([1, 0], ['a', 'b'])
    """
    if is_table(y) and not _is_frame(y):
        y = np.stack([np.asarray(y[name]) for name in column_names(y)], axis=1)
    if is_sparse(y):
        y = dense_of(y)
    if not hasattr(y, "__len__") or isinstance(y, (str, bytes)):
        raise InputError(f"y is a {type(y).__name__}, expected one label per example")
    return as_cells(y, "the labels y")


def is_array(value: Any) -> bool:
    """Return whether an object is an array, a tensor, a series or a sparse matrix."""
    return hasattr(value, "dtype") and len(getattr(value, "shape", ())) > 0 and not is_table(value)


def is_table(value: Any) -> bool:
    """Return whether an object has named columns: a data frame, an Arrow table or a `datasets.Dataset`."""
    return _is_frame(value) or _is_arrow(value) or (_is_hub(value) and not _has_images(value))


def _is_frame(value: Any) -> bool:
    check_collected(value)
    return hasattr(value, "columns") and hasattr(value, "__getitem__") and not hasattr(value, "column_names")


def _is_arrow(value: Any) -> bool:
    return hasattr(value, "column_names") and hasattr(value, "to_pandas") and hasattr(value, "column")


def _is_hub(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("features", "column_names", "with_format", "__len__"))


def _has_images(value: Any) -> bool:
    return any(getattr(kind, "_type", "") == "Image" for kind in dict(value.features).values())


def column_names(table: Any) -> list[str]:
    """Return the names of a table's columns."""
    return [str(name) for name in (getattr(table, "column_names", None) or table.columns)]


def is_scalar(value: Any) -> bool:
    """Return whether an object is a word, a number or a missing value."""
    return value is None or isinstance(value, (str, bool, int, float)) or getattr(value, "ndim", 1) == 0
