"""Columns with a small spread beside a large offset, such as times in seconds, as float32."""

from __future__ import annotations

import numpy as np

LOST = 1e-3
"""The least rounding error of a column that counts as a loss, as a share of the distances in it."""

_ROWS = 10_000  # about so many rows decide


def loses_differences(values: np.ndarray) -> bool:
    """Return whether float32 loses differences between the numbers of a column.

    The median rounding error is compared with the median distance from the median, of the numbers that differ
    from it: neither changes with a few outliers.

    Args:
        values: (N,) numbers.

    >>> seconds = np.array([1.7e9, 1.7e9 + 20, 1.7e9 + 35])
    >>> loses_differences(seconds), loses_differences(seconds - 1.7e9)
    (True, False)
    """
    if values.dtype.kind == "b" or (values.dtype.kind == "f" and values.dtype.itemsize <= 4):
        return False
    some = values[:: len(values) // _ROWS + 1].astype(np.float64)
    some = some[np.abs(some) < 1e30]  # beyond, a difference may overflow
    error = np.abs(some - some.astype(np.float32))
    if not error.any():
        return False
    distance = np.abs(some - np.median(some))
    apart = distance > 0
    return bool(apart.any()) and bool(np.median(error[apart]) > LOST * np.median(distance[apart]))


def lossy_columns(rows: np.ndarray) -> list[int]:
    """Return the positions of the columns of rows (N, D) that lose differences in float32."""
    some = rows[:: len(rows) // _ROWS + 1]
    return [k for k in range(rows.shape[1]) if loses_differences(some[:, k])]


def as_float32(rows: np.ndarray) -> np.ndarray:
    """Return rows (N, D) as float32; a column that would lose differences has its median subtracted first.

    >>> as_float32(np.array([[1.7e9, 1], [1.7e9 + 20, 2], [1.7e9 + 35, 3]])).tolist()
    [[-20.0, 1.0], [0.0, 2.0], [15.0, 3.0]]
    """
    made = np.asarray(rows, dtype=np.float32)
    for k in lossy_columns(rows):
        column = rows[:, k].astype(np.float64)
        made[:, k] = column - np.median(column[np.isfinite(column)])
    return made
