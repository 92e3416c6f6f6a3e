"""Match probabilities with labels: columns with classes, by name where they have names, and rows with rows.

Nothing is matched by a guess. A frame of probabilities must name the classes of the labels; an array has one
column per class in the order of `core.labels`, and what could be read in two ways is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.labels import (
    Labels,
    check_collected,
    check_names,
    in_order,
    name_of,
    of_count,
    read_labels,
    some,
)
from noisylabels.core.row_index import is_default, match_rows


def match_probs(labels: Any, probs: Any, class_names: Sequence[object] | None = None) -> tuple[Labels, Any]:
    """Return labels as class numbers and probabilities whose columns are in the order of the classes.

    Args:
        labels: N labels of any kind, see `core.labels.read_labels`.
        probs: (N, K): an array or tensor, returned as it is; or a frame of pandas, polars or Arrow, whose
            columns are matched with the classes by name. Columns named 0 to K - 1, as in a frame made from an
            array, are in the order of the classes, unless these have other integers as names. Rows are
            matched by the index of pandas, see `core.row_index.match_rows`.
        class_names: K names in the order of the class numbers; needed where the labels do not show all
            classes, or not their order.

    Raises:
        InputError: as `read_labels`; or columns, classes or rows do not match, or in more than one way.

    >>> match_probs(["b", "a"], [[0.9, 0.1], [0.2, 0.8]])[0].codes
    array([1, 0])
    """
    found, values = match_classes(labels, probs, class_names)
    rows = match_rows(probs, labels, count=len(found.codes))
    return found, values if rows is None else values[rows]


def match_classes(labels: Any, probs: Any, class_names: Sequence[object] | None = None) -> tuple[Labels, Any]:
    """Return what `match_probs` returns, with the rows of the probabilities as they are."""
    names = column_names(probs)
    if names is None:
        return _of_array(labels, probs, class_names), probs
    found = _of_frame(labels, probs, names, class_names)
    return found, match_columns(probs, found.class_names)


def match_columns(probs: Any, class_names: Sequence[str]) -> Any:
    """Return probabilities with the columns of a frame in the order of the classes; an array as it is.

    Raises:
        InputError: the columns do not name the classes.
    """
    names = column_names(probs)
    if names is None:
        return probs
    order = _order(names, class_names)
    if order is None:
        raise InputError(
            f"probs have the columns {some(names)}, and the classes are {some(class_names)}; name the "
            "columns as the classes are, or pass an array with one column per class"
        )
    values = _values(probs, names)
    return values if order == list(range(len(order))) else values[:, order]


def columns_of(class_names: Sequence[str], given: Sequence[object], name: str) -> list[int]:
    """Return the column of each class among columns in the order of the class names that a caller gave.

    Args:
        class_names: K names, those of the data.
        given: the same names in the order of the columns.
        name: the name of the data in errors.

    Raises:
        InputError: they are other names.

    >>> columns_of(("cat", "dog"), ["dog", "cat"], "pets")
    [1, 0]
    """
    names = check_names(given)
    if set(names) != set(class_names):
        raise InputError(
            f"class_names are {some(names)}, and the classes of {name} are {some(class_names)}; pass the "
            "same names in the order of the columns of probs, or leave class_names out"
        )
    return [names.index(word) for word in class_names]


def column_names(probs: Any) -> list[str] | None:
    """Return the names of the columns of a frame as names of classes; None for an array.

    Raises:
        InputError: two columns have the same name, or the frame is a lazy one.
    """
    check_collected(probs)
    found = getattr(probs, "column_names", None)  # of an Arrow table, whose columns are arrays
    found = getattr(probs, "columns", None) if found is None else found
    if found is None or callable(found):
        return None
    names = list(map(name_of, found))
    if twice := [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []:
        raise InputError(f"probs have two columns called {twice[0]!r}; name each column as its class")
    return names


def has_default_columns(probs: Any) -> bool:
    """Return whether the columns of a frame of pandas count from 0, because it was made without names."""
    columns = getattr(probs, "columns", None)
    return columns is not None and not callable(columns) and is_default(columns)


def _values(probs: Any, names: list[str]) -> np.ndarray:
    """Return the numbers of a frame, (N, K)."""
    if hasattr(probs, "to_numpy"):
        values = np.asarray(probs.to_numpy())
    else:
        values = np.stack([np.asarray(column) for column in probs.columns], axis=1)
    if values.dtype.kind == "O":
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"probs are a frame with the columns {some(names)}, not all of numbers; leave the others out"
            ) from None
    return values


def _order(names: list[str], class_names: Sequence[str]) -> list[int] | None:
    """Return the column of each class; None if columns do not match the classes."""
    if len(names) == len(class_names) and set(names) == set(class_names):
        place = {name: k for k, name in enumerate(names)}
        return [place[name] for name in class_names]
    if names == _numbers(len(class_names)) and not all(map(_is_integer, class_names)):
        return list(range(len(names)))
    return None


def _numbers(count: int) -> list[str]:
    return [str(k) for k in range(count)]


def _is_integer(name: str) -> bool:
    return name.lstrip("-").isdecimal()


def _of_frame(labels: Any, probs: Any, names: list[str], class_names: Sequence[object] | None) -> Labels:
    """Return labels in the classes that the columns of a frame name."""
    if class_names is not None:
        return read_labels(labels, class_names)
    found = read_labels(labels)
    if set(found.class_names) <= set(names):
        if has_default_columns(probs):
            _refuse_two_readings(found, len(names))
        else:
            _check_others(probs, [name for name in names if name not in found.class_names], labels)
        return _within(found, in_order(names))
    if names == _numbers(len(names)) and not all(map(_is_integer, found.class_names)):
        return _of_positions(labels, found, len(names), "columns named 0, 1, ...")
    hint = ""
    if found.values.dtype.kind in "iuf":
        hint = ", or pass class_names in the order of the class numbers"
    raise InputError(
        f"probs have the columns {some(names)}, and the labels are of the classes {some(found.class_names)}; "
        f"name the columns as the classes are{hint}; or pass an array in the order of the sorted classes"
    )


def _check_others(probs: Any, others: list[str], labels: Any) -> None:
    """Raise an `InputError` if a column that no label is called by holds no probability of a class."""
    declared = set(_categories(labels) or ())
    names = column_names(probs) or []
    for name in others:
        column = _values(probs, names)[:, names.index(name)]
        if name not in declared and not ((column >= 0) & (column <= 1)).all():
            what = "numbers beyond 0 to 1"
        elif name not in declared and not column.any():
            what = "zeros alone"
        else:
            continue
        raise InputError(
            f"probs have a column {name!r} of {what}, and no label is {name!r}; leave the column out, or "
            "name it among class_names if it is a class"
        )


def _within(found: Labels, names: list[str]) -> Labels:
    """Return labels in more classes than occur."""
    number = {name: k for k, name in enumerate(names)}
    places = np.array([number[name] for name in found.class_names], dtype=np.int64)
    values = np.array(names, dtype=object)
    if found.values.dtype.kind in "iuf" and all(map(_is_integer, names)):
        values = np.array([int(name) for name in names])
    elif len(names) == found.num_classes:
        values = found.values
    return Labels(places[found.codes], tuple(names), values)


def _of_array(labels: Any, probs: Any, class_names: Sequence[object] | None) -> Labels:
    """Return labels in the classes of the K columns of an array."""
    shape: tuple[int, ...] | None = getattr(probs, "shape", None)
    if shape is None:
        try:
            shape = tuple(np.shape(probs))
        except ValueError:  # lists of different lengths, which the check of probabilities explains
            shape = ()
    if len(shape) != 2 or shape[1] < 2:
        return read_labels(labels, class_names)
    K = int(shape[1])
    if class_names is None:
        return _of_positions(labels, read_labels(labels), K, "an array without names")
    found = read_labels(labels, class_names)
    if found.num_classes != K:
        raise InputError(
            f"probs have {K} columns, expected one for each of {found.num_classes} classes, "
            f"{some(found.class_names)}"
        )
    return found


def _of_positions(labels: Any, found: Labels, K: int, what: str) -> Labels:
    """Return labels in the classes of K columns that have no names, if there is only one way to do so."""
    text = found.values.dtype.kind in "UO"
    if (declared := _categories(labels)) is not None:
        if text and declared == in_order(declared) and len(declared) == K:
            return read_labels(labels, declared)
        if declared != in_order(declared) and set(found.class_names) <= set(declared):
            raise InputError(_CATEGORIES.format(some(declared), what))
    if text and found.num_classes != K:
        raise InputError(
            f"labels are of {found.num_classes} classes, {some(found.class_names)}, and probs have {K} "
            "columns without names; pass the names of all classes in the order of the columns as class_names"
        )
    if text and list(found.class_names) != sorted(found.class_names):  # "10" follows "9", or precedes "2"
        raise InputError(
            f"labels are the numbers {some(found.class_names)} as text, and probs are {what}, whose columns "
            "may be sorted by value or as text; pass class_names in the order of the columns"
        )
    _refuse_two_readings(found, K)
    return of_count(found, K)


def _refuse_two_readings(found: Labels, K: int) -> None:
    """Raise an `InputError` if integers may be class numbers from 0, or classes from 1."""
    values = found.values
    if values.dtype.kind in "iuf" and values.min() > 0 and values.max() < K:
        raise InputError(
            f"labels are the integers {some(found.class_names)}, and probs have {K} columns without names: "
            f"the columns may be the classes from 0 or from 1; pass class_names=range({K}), or "
            f"range(1, {K + 1}), or all classes in the order of the columns"
        )


def check_categories(labels: Any, probs: Any, class_names: Sequence[str]) -> None:
    """Raise an `InputError` if labels are categories in another order than that of columns without names.

    Args:
        labels: labels of any kind, of which only categories have an order.
        probs: (N, K); the columns of a frame have names.
        class_names: K names, in the order in which the columns would be read.
    """
    names = column_names(probs)
    if names is not None and names != _numbers(len(class_names)):
        return
    declared = _categories(labels)
    if declared is None or not set(class_names) <= set(declared):
        return
    if [name for name in declared if name in set(class_names)] != list(class_names):
        raise InputError(_CATEGORIES.format(some(declared), "an array without names"))


_CATEGORIES = (
    "labels are categories in the order {}, and probs are {}, whose columns may have this order or the "
    "sorted one; pass class_names in the order of the columns"
)


def _categories(labels: Any) -> list[str] | None:
    """Return the categories of categorical labels of pandas, polars or Arrow in order; None for others."""
    if column_names(labels) is not None:
        labels = labels[labels.columns[0]] if len(column_names(labels) or ()) == 1 else None
    dtype = getattr(labels, "dtype", None)
    if isinstance(labels, np.ndarray):
        return None
    if type(dtype).__module__.startswith("polars"):
        if type(dtype).__name__ == "Enum":
            return list(map(name_of, dtype.categories))  # type: ignore[union-attr]
        if type(dtype).__name__ != "Categorical":
            return None
        occurring = labels.drop_nulls().unique()
        numbered = zip(occurring.to_physical().to_list(), occurring.to_list(), strict=True)
        return [word for _, word in sorted(numbered)]
    if hasattr(labels, "num_chunks"):  # a column of an Arrow table
        labels = labels.chunk(0) if labels.num_chunks else None
    if hasattr(labels, "dictionary"):
        return list(map(name_of, labels.dictionary.to_pylist()))
    found = getattr(getattr(labels, "cat", labels), "categories", None)
    return None if found is None else list(map(name_of, found))
