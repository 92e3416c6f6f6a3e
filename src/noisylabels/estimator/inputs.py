"""Training input of an estimator: distinct examples in a canonical order, with their weights."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Number
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d

from noisylabels.core.checks import InputError
from noisylabels.core.labels import as_cells, read_labels
from noisylabels.core.spelling import spelling_notes
from noisylabels.noise.checks import check_real


def in_values(y: Any) -> Any:
    """Return labels as an array that keeps their values, for scikit-learn to check further.

    Nullable and categorical series become integers, bool or text rather than floats, and a missing label in a
    list of words does not become a word. Labels that are neither text nor numbers stay as they are.

    Raises:
        InputError: a label is missing.

    >>> in_values(["b", "a"])
    array(['b', 'a'], dtype='<U1')
    """
    if np.ma.is_masked(y):
        read_labels(y, what="y")  # raises the error that names the row
    if isinstance(y, np.ndarray) and y.dtype.kind not in "UO":
        return y
    if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    try:
        cells = as_cells(y, "y")
    except InputError:
        return y  # the checks of scikit-learn explain it
    series = hasattr(y, "to_numpy") and np.ndim(y) == 1
    if cells.dtype.kind not in "UOT" or (not series and np.asarray(y).dtype.kind not in "UO"):
        return cells if series else y
    known = (str, bytes, Number, type(None))
    if not all(isinstance(c, known) or str(c) in ("<NA>", "NaT") for c in cells.tolist()):
        return y
    found = read_labels(cells, what="y")
    return y if isinstance(y, np.ndarray) else found.values[found.codes]


@dataclass(frozen=True)
class Examples:
    """Distinct examples with their labels and weights.

    Args:
        rows: float32 (N, D), standardized, or uint8 (N, C, H, W).
        labels: int64, (N,), class numbers.
        weights: float64, (N,), above 0.
    """

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def different(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Examples:
    """Return each distinct pair of row and label once, sorted by bytes, with the sum of its weights.

    Training then does not depend on the order of the input, a weight of 2 equals an example given twice, and
    no example is both trained on and held out.

    Args:
        rows: (N, ...) numbers.
        labels: int64, (N,).
        weights: (N,), 0 or more; examples of weight 0 are left out.

    >>> found = different(np.array([[2.0], [1.0], [2.0]]), np.array([0, 1, 0]), np.array([1.0, 1.0, 1.0]))
    >>> sorted(zip(found.rows.ravel().tolist(), found.labels.tolist(), found.weights.tolist()))
    [(1.0, 1, 1.0), (2.0, 0, 2.0)]
    """
    used = weights > 0
    rows, labels, weights = rows[used], labels[used], weights[used]
    flat = rows.reshape(len(rows), -1)
    flat = flat + np.zeros(1, flat.dtype)  # -0.0 becomes 0.0
    # each row as one byte string: sorting those is many times faster than sorting by columns
    keys = np.ascontiguousarray(flat).view(np.dtype((np.void, flat.itemsize * flat.shape[1]))).ravel()
    # by row, then label: the sort by row is stable, so that equal rows stay sorted by label
    by_label = np.argsort(labels, kind="stable")
    order = by_label[np.argsort(keys[by_label], kind="stable")]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[order][1:] != keys[order][:-1]) | (labels[order][1:] != labels[order][:-1])
    place = np.cumsum(new) - 1
    first = order[new]
    # weights are sorted before they are added: the sum must not depend on the order of the input
    by_weight = np.lexsort((weights[order], place))
    sums = np.bincount(place[by_weight], weights=weights[order][by_weight], minlength=len(first))
    return Examples(rows[first], labels[first], sums)


def weighted_scale(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column, (D,) float64; the latter is 1 if constant."""
    share = weights / weights.sum()
    with np.errstate(over="ignore", invalid="ignore"):
        mean = share @ rows
        std = np.sqrt(share @ (rows - mean) ** 2)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise InputError(
            "the values of a column are too large, expected squares within float64; rescale the column"
        )
    # a column of one value may differ from its mean by rounding
    return mean, np.where(std <= 1e-12 * np.abs(mean), 1.0, np.where(std == 0, 1.0, std))


def held_out(count: int, members: int, share: float, order: np.ndarray) -> list[np.ndarray]:
    """Return the positions of the examples that each member holds out.

    They are windows of `order`, spread so that examples are held out as evenly as possible: five members with
    a share of 0.2 form the five folds of a cross-validation.

    Args:
        count: number of examples.
        members: number of members of the ensemble.
        share: share of the examples that each member holds out, in [0, 1); unless it is 0, at least one and
            at most all but one example.
        order: (count,), a permutation.

    >>> [part.tolist() for part in held_out(4, 2, 0.5, np.arange(4))]
    [[0, 1], [2, 3]]
    """
    size = min(max(1, round(share * count)), count - 1) if share else 0
    starts = [member * count // members for member in range(members)]
    return [np.sort(order[(start + np.arange(size)) % count]) for start in starts]


def some_of(examples: Examples, which: np.ndarray) -> Examples:
    """Return the examples at the positions `which`."""
    return Examples(examples.rows[which], examples.labels[which], examples.weights[which])


def sorted_classes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct labels, sorted, and the class number of each example."""
    try:
        return np.unique(labels, return_inverse=True)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in labels})
        raise InputError(
            f"labels of the types {', '.join(kinds)} cannot be sorted; use one type, with none missing"
        ) from None


def spelling_notes_of(classes: np.ndarray, numbers: np.ndarray) -> list[str]:
    """Return the notes on text labels that look like one class, or like a missing label."""
    words = classes.tolist()
    return spelling_notes(numbers, words) if all(isinstance(word, str) for word in words) else []


def plain(value: Any) -> Any:
    """Return a NumPy integer, which a parameter search may pass, as a Python integer."""
    return int(value) if isinstance(value, Integral) and value is not True and value is not False else value


def image_array(X: Any) -> np.ndarray:
    """Return images as an array, uint8 (N, C, H, W), or raise an `InputError` for anything else."""
    images = np.asarray(X)
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)  # (N, H, W, C)
    images = np.ascontiguousarray(images)
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise InputError(
            f"images are {images.dtype} of shape {images.shape}, expected uint8 (N, C, H, W); "
            "scale them to 0..255, or flatten them into rows"
        )
    return images


def checked_weights(given: Any, count: int) -> np.ndarray:
    """Return the weights of `count` examples, float64."""
    if given is None:
        return np.ones(count)
    check_real(given, "sample_weight is", f"({count},)")
    weights = np.asarray(given, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(count, float(weights))
    if weights.shape != (count,):
        raise InputError(f"sample_weight has shape {weights.shape}, expected ({count},): one per example")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(f"a sample_weight is {weights.min():g} or not finite, expected 0 or more")
    if not weights.any():
        raise InputError("every sample_weight is zero, expected at least one above 0")
    return weights
