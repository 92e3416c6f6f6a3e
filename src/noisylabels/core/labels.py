"""Read labels of any kind: from text, numbers or truth values in any container to class numbers and names.

One rule holds wherever labels come in. Text stays as it is written; an integer is named by its digits, a
whole float by those of its integer, a truth value "False" or "True". The classes are the labels that occur,
sorted: by value if all names are integers, otherwise as text. Given class names fix the classes instead: text
is one of the names, and integers index them from 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.surrogates import has_lone, whole_text
from noisylabels.core.tables import is_number

INTEGER = re.compile(r"[+-]?\d{1,18}(\.0*)?", re.ASCII)
"""An integer as text; with a missing cell in its column it may have been written as "3.0"."""

_MISSING = ("", "nan")  # of text; "NA" and the like may be classes, see `core.spelling`


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels as class numbers, with the names and the values of the classes.

    Args:
        codes: (N,) int64 in [0, K).
        class_names: K names.
        values: (K,), the value of each class as it was passed: integers, text, bool.
    """

    codes: np.ndarray
    class_names: tuple[str, ...]
    values: np.ndarray

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return len(self.class_names)

    @property
    def numbered(self) -> bool:
        """Whether the values of the classes are the class numbers 0 to K - 1."""
        return self.values.dtype.kind in "iuf" and bool((self.values == np.arange(self.num_classes)).all())


def read_labels(
    labels: Any,
    class_names: Sequence[object] | None = None,
    *,
    where: Callable[[int], str] | None = None,
    what: str = "labels",
    indexed: bool = False,
) -> Labels:
    """Return labels as class numbers, with the names and values of the classes.

    Args:
        labels: N text, integers, whole floats or bool: a list, an array, a tensor, or a series of pandas or
            polars, nullable or categorical too; also a column, (N, 1), or a frame of one column.
        class_names: K names; text must be among them, and integers index them from 0 (names that are
            integers themselves, rather than text, are values of the labels). None: the labels that occur.
        where: row -> what an error calls the label; by default "labels[3]".
        what: what an error calls all labels.
        indexed: whether integers are known to index the class names, also if these are integers.

    Raises:
        InputError: a label is missing, a quantity, or not among the class names; labels are one-hot, or of
            another shape or type; or integers could be either the numbers or the names of the classes.

    >>> read_labels(["02", "01", "02"]).codes, read_labels(["02", "01"]).class_names
    (array([1, 0, 1]), ('01', '02'))
    >>> read_labels([2019.0, 2020.0]).class_names, read_labels([True, False]).class_names
    (('2019', '2020'), ('False', 'True'))
    """
    cells = as_cells(labels, what)
    place = where or (lambda row: f"{what}[{row}]")
    found = _occurring(cells, place, what)
    return found if class_names is None else _among(found, class_names, place, what, indexed)


def number_labels(
    labels: Any,
    num_classes: int | None = None,
    class_names: Sequence[object] | None = None,
    *,
    what: str = "labels",
) -> Labels:
    """Return labels as `read_labels` does, where the number of classes may be known but not their names.

    With `num_classes` K, integers within [0, K) are class numbers, whatever the names; other labels must be
    of exactly K different values.

    Raises:
        InputError: as `read_labels`; or the labels are not of K classes.

    >>> number_labels([0, 2], 3).class_names, number_labels([1, 2, 3], 3).class_names
    (('0', '1', '2'), ('1', '2', '3'))
    """
    found = read_labels(labels, class_names, what=what, indexed=num_classes is not None)
    return found if num_classes is None or class_names is not None else of_count(found, num_classes, what)


def of_count(found: Labels, num_classes: int, what: str = "labels") -> Labels:
    """Return labels whose classes are those that occur in K classes; see `number_labels`."""
    values = found.values
    if values.dtype.kind in "iuf" and ((values >= 0) & (values < num_classes)).all():
        codes = values.astype(np.int64)[found.codes]
        return Labels(codes, tuple(map(str, range(num_classes))), np.arange(num_classes))
    if values.dtype.kind == "b" and num_classes == 2:
        return Labels(values.astype(np.int64)[found.codes], ("False", "True"), np.array([False, True]))
    if found.num_classes != num_classes:
        start, or_ = f"{what} are", ""
        if values.dtype.kind in "iuf":
            outside = (values < 0) | (values >= num_classes)
            row = int(outside[found.codes].argmax())
            start = f"{what}[{row}] is {found.class_names[int(found.codes[row])]}, and they are"
            or_ = f", or class numbers from 0 to {num_classes - 1}"
        different = "one class" if found.num_classes == 1 else f"{found.num_classes} different classes"
        raise InputError(
            f"{start} of {different} ({some(found.class_names)}), expected {num_classes}{or_}; pass the "
            "names of all classes as class_names"
        )
    return found


def as_cells(labels: Any, what: str = "labels") -> np.ndarray:
    """Return labels of any container as an array (N,).

    Lone surrogates in words are replaced, see `whole_text`.

    Raises:
        InputError: they are one-hot or of another shape, or empty.

    >>> as_cells([["cat"], ["dog"]])
    array(['cat', 'dog'], dtype=object)
    """
    check_collected(labels)
    if hasattr(labels, "detach"):  # a torch tensor, recognized without importing torch
        labels = labels.detach().cpu()
        labels = labels.double() if labels.is_floating_point() else labels  # NumPy has no bfloat16
    if isinstance(labels, np.ma.MaskedArray):  # a masked label is a missing one
        cells = np.array(labels.data)
        if (missing := np.ma.getmaskarray(labels)).any():
            cells = cells.astype(object)
            cells[missing] = None
    elif hasattr(labels, "to_pylist") and not hasattr(labels, "columns"):  # an array of Arrow
        cells = _of_list(labels.to_pylist(), what)
    elif hasattr(labels, "to_numpy"):  # a series or frame of pandas or polars
        cells = array_of(labels)
    elif isinstance(labels, np.ndarray):
        cells = np.asarray(labels)
    else:
        cells = _of_list(labels, what)
    if cells.ndim == 2 and cells.shape[1] == 1:
        cells = cells[:, 0]
    if cells.ndim == 2:
        raise InputError(
            f"{what} have the shape {cells.shape}, expected one label per example, (N,); if they are one-hot "
            "or probabilities, pass labels.argmax(1)"
        )
    if cells.ndim != 1:
        raise InputError(f"{what} have the shape {cells.shape}, expected one label per example, (N,)")
    if not len(cells):
        raise InputError(f"{what} are empty, expected one per example")
    if cells.dtype.kind in "OU" and any(isinstance(cell, str) and has_lone(cell) for cell in cells.tolist()):
        cells = np.array([whole_text(c) if isinstance(c, str) else c for c in cells.tolist()], dtype=object)
    return cells


def check_collected(value: Any) -> None:
    """Raise an `InputError` for a lazy frame, whose columns cost time."""
    if hasattr(type(value), "collect") and hasattr(type(value), "collect_schema"):
        raise InputError(f"got a {type(value).__name__}, expected a data frame with its rows; call collect()")


def array_of(series: Any) -> np.ndarray:
    """Return a series or frame of pandas or polars as an array; integers of 128 bits as objects."""
    try:
        return np.asarray(series.to_numpy())
    except Exception:  # polars has an error of its own for types that NumPy lacks
        if not hasattr(series, "to_list"):
            raise
        return np.array(series.to_list(), dtype=object)


def _of_list(labels: Any, what: str) -> np.ndarray:
    try:
        cells = np.asarray(labels)
        if cells.dtype.kind in "USO" or not hasattr(labels, "__array__"):
            # as objects, each label keeps its type: NumPy would turn a NaN among words into "nan", True
            # among integers into 1, and an integer among words into a word
            objects = np.array(labels, dtype=object)
            kinds = {type(value) for value in objects.ravel().tolist()}
            rounded = cells.dtype.kind == "f" and kinds == {int}  # of 64 bits, some below 0
            return objects if len(kinds) > 1 or rounded or cells.dtype.kind in "USO" else cells
    except (ValueError, TypeError):  # lists of different lengths
        raise InputError(f"{what} are nested lists, expected one label per example") from None
    return cells


def _occurring(cells: np.ndarray, where: Callable[[int], str], what: str) -> Labels:
    """Return labels whose classes are those that occur."""
    kind = cells.dtype.kind
    if kind in "iub":
        values, codes = np.unique(cells, return_inverse=True)
    elif kind == "f":
        missing, whole = np.isnan(cells), cells == np.floor(cells)
        _refuse(missing, where)
        if (wrong := ~whole | np.isinf(cells)).any():
            row = int(wrong.argmax())
            raise InputError(f"{where(row)}: the label is {cells[row]:g}, {_QUANTITY}")
        values, codes = np.unique(cells, return_inverse=True)
    elif kind in "UOST":
        return _of_objects(cells.tolist(), where)
    else:
        kinds = {"M": "dates", "m": "durations", "c": "complex numbers", "V": "records"}
        raise InputError(f"{what} hold {kinds.get(kind, cells.dtype)}, expected text, integers or bool")
    return Labels(codes.astype(np.int64), tuple(map(name_of, values.tolist())), values)


_QUANTITY = (
    "expected a class: an integer or a word; divide a quantity into classes first, or write names as words"
)


def _of_objects(cells: list[Any], where: Callable[[int], str]) -> Labels:
    """Return labels that are Python objects: text, numbers and bool, also mixed."""
    places: dict[Any, int] = {}  # (type, value) -> position in order of appearance; True == 1 in Python
    first: list[int] = []
    codes = np.empty(len(cells), dtype=np.int64)
    for row, cell in enumerate(cells):
        try:
            place = places.setdefault((type(cell), cell), len(first))
        except TypeError:
            raise InputError(_strange(cell, where(row))) from None
        if place == len(first):
            first.append(row)
        codes[row] = place
    values = [_plain(cells[row], where(row)) for row in first]
    names = list(map(name_of, values))
    if all(isinstance(value, str) and is_number(value) for value in values) and (
        broken := [k for k, name in enumerate(names) if not float(name).is_integer()]
    ):
        raise InputError(f"{where(first[broken[0]])}: the label is {names[broken[0]]}, {_QUANTITY}")
    kept: dict[str, int] = {}
    for k, name in enumerate(names):
        before = values[kept.setdefault(name, k)]
        if type(before) is not type(values[k]) and isinstance(before, str) != isinstance(values[k], str):
            raise InputError(
                f"{where(first[k])}: the label is {values[k]!r}, and another is {before!r}; write both alike"
            )
    order = in_order(kept)
    number = {name: k for k, name in enumerate(order)}
    numbers = np.array([number[name] for name in names], dtype=np.int64)
    return Labels(numbers[codes], tuple(order), _array([values[kept[name]] for name in order]))


def _plain(cell: Any, where: str) -> Any:
    """Return a label as text, int or bool; raise an `InputError` if it is missing or no label."""
    if hasattr(cell, "item") and getattr(cell, "ndim", 1) == 0:  # a scalar of NumPy or torch
        cell = cell.item()
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "backslashreplace")
    if isinstance(cell, str):
        if cell.strip().lower() in _MISSING:
            raise InputError(_NO_LABEL.format(where))
        return cell
    if isinstance(cell, (bool, int)):
        return cell
    if cell is None or str(cell) in ("nan", "NaN", "NaT", "<NA>"):
        raise InputError(_NO_LABEL.format(where))
    try:
        if (number := float(cell)).is_integer():
            return int(number)
    except (TypeError, ValueError, RuntimeError):  # the last from a tensor of several elements
        raise InputError(_strange(cell, where)) from None
    raise InputError(f"{where}: the label is {cell}, {_QUANTITY}")


_NO_LABEL = "{}: the label is missing; remove the row or give it a label"


def _strange(cell: Any, where: str) -> str:
    kind = type(cell).__name__
    return f"{where}: the label is {str(cell)[:60]!r} ({kind}), expected text, an integer or a bool"


def _refuse(missing: np.ndarray, where: Callable[[int], str]) -> None:
    if missing.any():
        raise InputError(_NO_LABEL.format(where(int(missing.argmax()))))


def _array(values: list[Any]) -> np.ndarray:
    """Return the values of the classes in an array that keeps their type."""
    if len({type(value) for value in values}) == 1 and not any(str(v).endswith("\0") for v in values):
        made = np.array(values)
        if made.dtype.kind != "f":  # NumPy would round integers of 64 bits beside negative ones
            return made
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def name_of(value: Any) -> str:
    """Return the name of the class that a label stands for.

    >>> name_of("01"), name_of(3.0), name_of(True), name_of(np.int8(7))
    ('01', '3', 'True', '7')
    """
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of classes in their order: by value if all are integers, otherwise as text.

    >>> in_order(["10", "9"]), in_order(["10", "9", "b"])
    (['9', '10'], ['10', '9', 'b'])
    """
    known = list(names)
    if all(map(INTEGER.fullmatch, known)):
        return sorted(known, key=lambda name: (int(name.partition(".")[0]), name))
    return sorted(known)


def some(words: Sequence[object], most: int = 6) -> str:
    """Return the first few words and the number of the others, for an error."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(str, words[:most])) + more


# Given class names ----------------------------------------------------------------------------------------


def check_names(class_names: Sequence[object]) -> tuple[str, ...]:
    """Return class names as text.

    Raises:
        InputError: they are no list, or a name occurs twice.
    """
    names = tuple(map(name_of, listed_names(class_names)))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"the class name {twice!r} occurs twice; give each class its own name")
    return names


def listed_names(class_names: Sequence[object]) -> list[object]:
    """Return class names as a list; raise an `InputError` for a single value, or for a set."""
    if isinstance(class_names, (str, bytes)):
        raise InputError(f"class_names is the text {class_names!r}, expected a list with one name per class")
    if isinstance(class_names, Set):
        raise InputError("class_names is a set, which has no order; pass a list with one name per class")
    try:
        return list(class_names)
    except TypeError:
        raise InputError(f"class_names is {class_names!r}, expected a list with one name per class") from None


def _among(
    found: Labels, class_names: Sequence[object], where: Callable[[int], str], what: str, indexed: bool
) -> Labels:
    """Return labels in the classes that are given by name."""
    names = check_names(class_names)
    number = {name: k for k, name in enumerate(names)}
    K, values = len(names), found.values
    by_name = np.array([number.get(name, -1) for name in found.class_names], dtype=np.int64)
    if values.dtype.kind in "iuf":
        in_range = (values >= 0) & (values < K)
        by_number = np.where(in_range, values, -1).astype(np.int64)
        # [2019, 2020] are values of the labels, ["2019", "2020"] may be
        named = not indexed and not all(isinstance(name, str) for name in class_names)
        both = (
            not indexed and (by_name >= 0).all() and (by_number >= 0).all() and (by_name != by_number).any()
        )
        if both and not named:
            raise InputError(
                f"{what} are the integers {some(found.class_names)}, which are numbers as well as names of "
                f"the classes {some(names)}; pass them as text if they are names"
            )
        if named or (not indexed and (by_name >= 0).all() and (by_number < 0).any()):
            return _taken(found, by_name, names, where)
        if (by_number < 0).any():
            row = int((by_number[found.codes] < 0).argmax())
            value = found.class_names[int(found.codes[row])]
            hint = "; -1 marks an unlabeled row" if value == "-1" else ""
            raise InputError(f"{where(row)}: the label is {value}, expected 0 to {K - 1}{hint}")
        return Labels(by_number[found.codes], names, np.arange(K))
    if values.dtype.kind == "b" and (by_name < 0).any() and K == 2:  # such as ("no", "yes")
        return Labels(values.astype(np.int64)[found.codes], names, np.array([False, True]))
    return _taken(found, by_name, names, where)


def _taken(found: Labels, places: np.ndarray, names: tuple[str, ...], where: Callable[[int], str]) -> Labels:
    """Return labels in the classes whose names are theirs, at `places` for each class that occurs."""
    if (places < 0).any():
        row = int((places[found.codes] < 0).argmax())
        word = found.class_names[int(found.codes[row])]
        raise InputError(f"{where(row)}: unknown class {word!r}{did_you_mean(word, names)}")
    occurring = dict(zip(found.class_names, found.values.tolist(), strict=True))
    kinds = {type(value) for value in occurring.values()}
    values: list[Any] = list(names)
    if kinds == {bool} and set(names) <= {"False", "True"}:
        values = [name == "True" for name in names]
    elif kinds <= {int, float} and all(map(INTEGER.fullmatch, names)):
        values = [int(name.partition(".")[0]) for name in names]
    return Labels(places[found.codes], names, _array(values))
