"""Data frames with words, categories, truth values or missing cells, as an estimator is given them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d

from noisylabels.core.checks import InputError
from noisylabels.data.encoding import Encoder
from noisylabels.data.in_memory import column_names, is_table, sheet_of
from noisylabels.data.sheets import Sheet
from noisylabels.estimator.embedded import Embedded


def is_one_hot(values: Any) -> bool:
    """Return whether an array (N, K) of labels has a single 1 in each row, and 0 elsewhere.

    >>> is_one_hot(np.eye(3)), is_one_hot(np.zeros((3, 1)))
    (True, False)
    """
    if getattr(values, "ndim", 0) != 2 or values.shape[1] < 2 or not len(values):
        return False
    values = np.asarray(values)
    if values.dtype.kind not in "iufb":
        return False
    return bool((((values == 0) | (values == 1)).all(1) & (values.sum(1) == 1)).all())


def sheet_to_encode(X: Any) -> Sheet | None:
    """Return a data frame as a sheet if a column holds something else than numbers, or lacks some.

    None for other input, which scikit-learn's own checks convert.

    >>> sheet_to_encode(np.zeros((2, 2))) is None
    True
    """
    if not is_table(X):
        return None
    sheet = sheet_of(X, Path("X"))
    special = any(
        cells.dtype.kind == "O" or (cells.dtype.kind == "f" and bool(np.isnan(cells).any()))
        for cells in sheet.columns
    )
    return sheet if len(sheet) and (special or sheet.unfit) else None


def fit_encoder(
    sheet: Sheet, used: np.ndarray, weights: np.ndarray | None = None
) -> tuple[Encoder, np.ndarray]:
    """Return the encoder of a data frame, chosen from the rows `used`, and all rows as features.

    A warning names the columns that are left out.

    Args:
        sheet: a data frame of N rows.
        used: positions of the rows to learn from, (n,).
        weights: (n,) their weights, above 0; by default all alike.

    Returns:
        The encoder and the features, float64 (N, D).

    Raises:
        InputError: no column is left.
    """
    notes: list[str] = []
    encoder = Encoder.fit(sheet, used, (), notes, weights=weights)
    _warn([note for note in notes if note.startswith("left out")])
    return encoder, encoder.encode(sheet).astype(np.float64)


def encoded(encoder: Encoder, X: Any, of_texts: Embedded | None = None) -> np.ndarray:
    """Return a data frame as features, float64 (N, D); columns are matched by name, in any order.

    The features of its texts come last, if `of_texts` is given.

    A warning names columns with words that did not occur in training, or with cells missing for the first
    time.

    Raises:
        InputError: X has no named columns, lacks a column or has another one.
    """
    if not is_table(X):
        names = ", ".join([*(column.name for column in encoder.columns), *encoder.texts])
        raise InputError(
            f"X is a {type(X).__name__}, expected a data frame with the columns of training: {names}"
        )
    sheet, notes = sheet_of(X, Path("X")), list[str]()
    if not len(sheet):
        raise InputError("X has no rows, expected at least one")
    features = encoder.encode(sheet, notes).astype(np.float64)
    if of_texts is not None and (texts := encoder.texts_of(sheet)) is not None:
        features = np.hstack([features, of_texts(texts)])
    _warn(notes)
    return features


def filled(rows: np.ndarray, medians: np.ndarray) -> np.ndarray:
    """Return rows whose missing numbers are the median of their column in training; a warning counts them."""
    missing = np.isnan(rows)
    if not missing.any():
        return rows
    _warn([f"missing numbers ({missing.sum():,}), of which training had none, are filled with the median"])
    return np.where(missing, medians, rows)


def checked_labels(sheet: Sheet, y: Any) -> np.ndarray:
    """Return the labels of a data frame's rows as scikit-learn checks them, (N,)."""
    if y is None:
        raise InputError("y is missing, expected one label for each row of X")
    labels: np.ndarray = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_consistent_length(sheet.columns[0] if sheet.columns else range(len(sheet)), labels)
    return labels


def text_names(X: Any) -> Sequence[str]:
    """Return the names of a data frame's columns; none if they are not all text, as in scikit-learn."""
    names = getattr(X, "column_names", None) or list(X.columns)
    return column_names(X) if all(isinstance(name, str) for name in names) else ()


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        warnings.warn(f"X: {note}", UserWarning, stacklevel=4)
