"""Validation of arguments shared by the functions of `noise`: classes, labels, pairs, probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.labels import listed_names
from noisylabels.core.probabilities import column_names, has_default_columns, match_probs
from noisylabels.noise.checked_probs import CheckedProbs

MAX_CLASSES = 1_000_000
"""More classes than any data set has: a larger number means that something else, such as row numbers, was
passed as labels, and would end in a MemoryError."""

Pairs = tuple[tuple[int, int], ...]
"""Class numbers (true, given), in the order in which `@sequential` applies them."""


def check_num_classes(num_classes: int, *, least: int = 1) -> int:
    """Return `num_classes` as an int; raise an `InputError` unless it is from `least` to a million."""
    if not _is_integer(num_classes) or not least <= num_classes <= MAX_CLASSES:
        raise InputError(
            f"num_classes is {num_classes!r}, expected an integer from {least} to {MAX_CLASSES:,}"
        )
    return int(num_classes)


def check_labels(labels: object, num_classes: int | None = None, what: str = "labels") -> np.ndarray:
    """Return class numbers as a new int64 array.

    Args:
        labels: (N,) integers, N >= 1: a list, a NumPy array or a torch tensor on any device.
        num_classes: K; every label must be in [0, K). None: any label of 0 or more.
        what: the name of the labels in an error.

    Returns:
        (N,) int64, never a view of `labels`.

    Raises:
        InputError: the labels are empty, not one-dimensional, not integers or out of range; the
            message names the first bad one.

    >>> check_labels([2, 0, 1], num_classes=3)
    array([2, 0, 1])
    """
    array = _as_array(labels, what)
    if array.ndim != 1:
        raise InputError(
            f"{what} have shape {array.shape}, expected one class number per example, shape (N,)"
        )
    if not array.size:
        raise InputError(f"{what} are empty, expected at least one class number")
    limit = MAX_CLASSES if num_classes is None else num_classes
    hint = ""
    if array.dtype.kind in "iu":
        bad = (array < 0) | (array >= limit)
    else:
        # Whole numbers stored as floats are rejected too, because floats let a missing label (NaN) or a
        # score into a column of labels; a value that is no class number is reported first.
        values = array.tolist()
        bad = np.array([not _is_whole(value) or not 0 <= value < limit for value in values])
        if not bad.any():
            bad = np.array([not _is_integer(value) for value in values])
            hint = f"; the {what} are {array.dtype}, convert them with .astype('int64')"
    if bad.any():
        first = int(bad.argmax())
        raise InputError(
            f"{what}[{first}] is {array.tolist()[first]!r}, expected an integer from 0 to {limit - 1}{hint}"
        )
    return array.astype(np.int64)


def check_index(index: object, count: int) -> np.ndarray:
    """Return the positions of `count` examples in a set as a new (count,) int64 array.

    Raises:
        InputError: they are not `count` integers of 0 or more in ascending order.
    """
    try:
        positions = np.array(index, dtype=np.int64)
    except (TypeError, ValueError):
        raise InputError("index is not a list of positions, expected integers") from None
    if positions.shape != (count,) or (count and positions[0] < 0) or (np.diff(positions) <= 0).any():
        raise InputError(f"index is not {count} positions in ascending order")
    return positions


def check_pairs(pairs: Mapping[int, int] | Iterable[tuple[int, int]], num_classes: int) -> Pairs:
    """Return (true, given) pairs as tuples of ints, in their order.

    Raises:
        InputError: no pair, a pair that is not two different classes, or a true class that occurs twice.

    >>> check_pairs({3: 5, 5: 3}, num_classes=10)
    ((3, 5), (5, 3))
    """
    try:
        items = [(true, given) for true, given in (pairs.items() if isinstance(pairs, Mapping) else pairs)]
    except (TypeError, ValueError):
        raise InputError(
            f"pairs are {pairs!r}, expected true class: given class, such as {{3: 5, 5: 3}}"
        ) from None
    if not items:
        raise InputError(
            "pairs are empty, expected at least one true class and the class given for it: {3: 5}"
        )
    seen: set[int] = set()
    for true, given in items:
        if not all(_is_integer(c) and 0 <= c < num_classes for c in (true, given)):
            raise InputError(
                f"the pair {true!r}: {given!r} is not two class numbers, expected 0 to {num_classes - 1}"
            )
        if true == given:
            raise InputError(
                f"the pair {true}: {given} maps a class to itself; leave it out or name another class"
            )
        if true in seen:
            raise InputError(
                f"class {true} occurs twice in the pairs, expected one given class for each true class"
            )
        seen.add(int(true))
    return tuple((int(true), int(given)) for true, given in items)


def check_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple of strings; raise an `InputError` for anything but a list."""
    return tuple(str(name) for name in listed_names(class_names))


def check_labels_probs(labels: object, probs: object) -> tuple[CheckedProbs, np.ndarray]:
    """Return checked probabilities, (N, K), and labels, (N,) int64; `CheckedProbs` are not checked again.

    Raises:
        InputError: values of another form; the message names the first such row.
    """
    if column_names(probs) is not None:  # a frame, whose columns have names
        numbers = range(probs.shape[1]) if has_default_columns(probs) else None  # type: ignore[attr-defined]
        found, probs = match_probs(labels, probs, numbers)
        labels = found.codes
    p = as_checked(probs, "probs")
    given = check_labels(labels, p.shape[1])
    if len(given) != len(p):
        raise InputError(
            f"there are {len(given)} labels and {len(p)} rows of probs, expected one row per label"
        )
    return p, given


def check_probs(values: object, what: str) -> np.ndarray:
    """Return class probabilities, (N, K) float64, rows divided by their sum; `what` names them in errors."""
    return np.asarray(as_checked(values, what))


def as_checked(values: object, what: str) -> CheckedProbs:
    """Return class probabilities, (N, K), checked; `what` names them in errors."""
    if isinstance(values, CheckedProbs):
        return values
    p = numbers(values, what, "(N, K)", None)
    if p.ndim != 2 or p.shape[1] < 2:
        raise InputError(f"{what} have shape {p.shape}, expected (N, K): one column per class, 2 or more")
    if len(p) == 0:
        raise InputError(f"{what} have no rows, expected one per label")
    return CheckedProbs(p, what)


def check_real(values: Any, what: str, shape: str) -> None:
    """Raise an `InputError` for an array or tensor of complex numbers or dates, which NumPy would convert."""
    kind = str(getattr(values, "dtype", "")).removeprefix("torch.")
    if kind.startswith(("complex", "datetime", "timedelta")):
        raise InputError(f"{what} of type {kind}, expected real numbers of shape {shape}")


def numbers(values: Any, what: str, shape: str, kind: type | None = np.float64) -> np.ndarray:
    """Return numbers, of a torch tensor too, as an array; `what` and `shape` describe them in errors.

    With `kind` None, floats and integers stay as they are stored, without a copy; others become float64.
    """
    check_real(values, f"{what} are", shape)
    if hasattr(values, "detach"):  # a torch tensor, recognized without importing torch
        # NumPy has no bfloat16
        values = values.detach().cpu()
        if kind is not None or str(values.dtype) == "torch.bfloat16":
            values = values.double() if kind is np.float64 else values.float()
    try:
        if kind is None:
            array = values if isinstance(values, np.memmap) else np.asarray(values)
            return array if array.dtype.kind in "fiub" else array.astype(np.float64)
        return np.asarray(values, dtype=kind)
    except (TypeError, ValueError):
        raise InputError(f"{what} are not an array of numbers, expected shape {shape}") from None


def _as_array(labels: Any, what: str) -> np.ndarray:
    if hasattr(labels, "detach"):  # a torch tensor, recognized without importing torch
        labels = labels.detach().cpu()
        labels = labels.double() if labels.is_floating_point() else labels  # NumPy has no bfloat16
    if np.ma.is_masked(labels):
        row = int(np.ma.getmaskarray(labels).ravel().argmax())
        raise InputError(f"{what}[{row}] is masked, expected a class number; leave the row out")
    try:
        return np.asarray(labels)
    except ValueError:  # lists of different lengths
        raise InputError(f"{what} are nested lists, expected one class number per example") from None


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and value.is_integer())
