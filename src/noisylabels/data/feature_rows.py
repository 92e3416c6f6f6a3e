"""From labeled rows of numbers or words, in memory or from a file, to two feature sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.tables import ROLES, is_missing, is_number, texts
from noisylabels.data import image_table
from noisylabels.data.encoding import Encoder
from noisylabels.data.features import FeatureSet, feature_set
from noisylabels.data.names import unique_names
from noisylabels.data.reader import class_notes, held_out_note, number_classes
from noisylabels.data.sheets import Sheet, of_array, of_frame
from noisylabels.data.split import hold_out


@dataclass(frozen=True)
class Rows:
    """A table before its encoding, with training and test rows in any order.

    Args:
        sheet: the columns, (N,) each.
        labels: one cell per row, (N,).
        class_names: K names, if they come with the labels.
        keys: ids of the rows.
        parts: positions of the training and of the test rows; None if a part is to be held out.
        not_features: columns that are not features, such as the labels.
    """

    sheet: Sheet
    labels: np.ndarray
    class_names: tuple[str, ...]
    keys: Sequence[str]
    parts: tuple[np.ndarray, np.ndarray] | None
    not_features: Sequence[str] = ()


def sets_of(rows: Rows, name: str, fraction: float, notes: list[str]) -> tuple[FeatureSet, FeatureSet]:
    """Return the training and the test set of a table, encoded according to its training rows."""
    sheet = rows.sheet
    if not len(sheet):
        raise InputError(f"{sheet.source} has no rows; add lines below the heading")
    used = np.arange(len(sheet)) if rows.parts is None else np.concatenate(rows.parts)
    labels = np.full(len(sheet), -1)
    labels[used], class_names = classes_of(
        rows.labels[used], rows.class_names, lambda row: sheet.where(int(used[row])), sheet.source
    )
    train, test = rows.parts or hold_out(labels, rows.keys, fraction, "rows")
    if rows.parts is None:
        notes.append(held_out_note(len(test), fraction, "rows"))
    encoder = Encoder.fit(sheet, train, rows.not_features, notes)
    features = encoder.encode(sheet)
    notes += class_notes(np.concatenate([labels[train], labels[test]]), len(train), class_names, "row")
    first, second = (
        feature_set(
            features[part], labels[part], class_names, [rows.keys[i] for i in part], name, encoder=encoder
        )
        for part in (train, test)
    )
    return dataclasses.replace(first, notes=tuple(dict.fromkeys(notes))), second


def load_rows(X: Any, y: Any, fraction: float) -> tuple[FeatureSet, FeatureSet]:
    """Return a training and a test set of rows of numbers or words and their labels.

    Args:
        X: (N, D), an array or tensor of numbers, or a data frame of pandas or polars.
        y: (N,), an array, tensor, series or list of words or integers.
        fraction: the share of each class to hold out.

    Raises:
        InputError: as for a file.

    >>> train, test = load_rows([[0.0], [1.0], [2.0], [3.0]], ["u", "v", "u", "v"], 0.5)
    >>> train.class_names, test.features.shape
    (('u', 'v'), torch.Size([2, 1]))
    """
    place = Path("X")
    sheet = of_frame(X, place) if hasattr(X, "columns") else of_array(np.asarray(X), place, "X")
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != len(sheet):
        raise InputError(
            f"y has the shape {labels.shape}, expected one label for each of the {len(sheet)} rows of X"
        )
    if labels.dtype.kind not in "iufbUO":
        raise InputError(f"y holds {labels.dtype}, expected words or integers")
    words = (
        np.array([_word(label) for label in labels], dtype=object)
        if labels.dtype.kind == "O"
        else texts(labels)
    )
    rows = Rows(sheet, words, (), [f"row:{row}" for row in range(len(sheet))], None)
    return sets_of(rows, "table", fraction, [])


def _word(label: object) -> str:
    """Return a label as a word, "" for an object that marks a missing value."""
    word = str(label)
    return "" if label is None or word in ("<NA>", "NaT") else word


def is_rows(source: object) -> bool:
    """Return whether an object is a pair (X, y) as in scikit-learn: rows (N, D) and one label per row."""
    if not isinstance(source, tuple) or len(source) != 2:
        return False
    shapes = [getattr(part, "shape", None) for part in source]
    if isinstance(source[1], list) and not isinstance(source[0], list):
        shapes[1] = (len(source[1]),)
    return all(shape is not None for shape in shapes) and [len(shape) for shape in shapes if shape] == [2, 1]


def classes_of(
    cells: np.ndarray, class_names: tuple[str, ...], where: Callable[[int], str], source: Path | str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class numbers, int64 (N,), and the names of the classes.

    Integers are sorted and name their classes, unless names are given, which they then index from 0. Words
    are sorted and name their classes.

    Args:
        cells: labels, (N,): text, numbers or truth values.
        class_names: K names, or none.
        where: position -> what an error calls the row.
        source: what an error calls the table.

    Raises:
        InputError: a label is missing, has no class or is a measurement; or the labels have a single class,
            or nearly as many classes as rows.

    >>> classes_of(np.array([-1, 1, -1]), (), str, "t")
    (array([0, 1, 0]), ('-1', '1'))
    """
    missing = (
        is_missing(cells) if cells.dtype.kind != "O" else np.isin([c.lower() for c in cells], ("", "nan"))
    )
    if missing.any():
        raise InputError(
            f"{where(int(missing.argmax()))}: the label is missing; remove the row or give it a label"
        )
    words = texts(cells)
    numbers = [image_table.NUMBER.fullmatch(word) for word in words]
    if all(numbers):
        values = np.array([int(found[1]) for found in numbers if found], dtype=np.int64)
        if class_names:
            return number_classes(values, class_names, where)
        kinds, labels = np.unique(values, return_inverse=True)
        names = tuple(map(str, kinds.tolist()))
    else:
        if all(map(is_number, words)):
            row = numbers.index(None)
            raise InputError(
                f"{where(row)}: the label is {words[row]}, expected a class: an integer or a word; "
                "divide a quantity into classes first"
            )
        names = class_names or tuple(sorted(set(words)))
        number = {name: k for k, name in enumerate(names)}
        if strange := [row for row, word in enumerate(words) if word not in number]:
            hint = did_you_mean(words[strange[0]], names)
            raise InputError(f"{where(strange[0])}: unknown class {words[strange[0]]!r}{hint}")
        labels = np.array([number[word] for word in words])
    if len(names) == 1:
        raise InputError(f"{source} has a single class, {names[0]!r}; a classifier needs 2")
    if len(names) > max(2, len(cells) // 2):
        raise InputError(
            f"{source}: {len(cells):,} rows have {len(names):,} different labels; name the column of the "
            "labels with --label-column (label_column=)"
        )
    return labels.astype(np.int64), names


def id_place(names: Sequence[str]) -> int | None:
    """Return the position of the id column of a table of features, or None.

    Only the role's first name counts: features may have any name, so "name" or "image_id" is a feature.
    """
    return next((k for k, name in enumerate(names) if name.lower() == ROLES["id"][0]), None)


def ids_of(sheet: Sheet, notes: list[str] | None = None) -> tuple[list[str], list[str]]:
    """Return the ids of a table's rows and the column that holds them; without one, "row:0", ... and none.

    The second row with an id "a" gets the id "a#2", and `notes` receives a line on such rows.

    Raises:
        InputError: an id is missing.
    """
    place = id_place(sheet.names)
    if place is None:
        return [f"row:{row}" for row in range(len(sheet))], []
    name = sheet.names[place]
    missing = is_missing(sheet[name])
    if missing.any():
        raise InputError(
            f"{sheet.where(int(missing.argmax()))}: the id is missing; give the row one, or rename the "
            f"column {name!r}"
        )
    ids, again = unique_names(texts(sheet[name]))
    if again and notes is not None:
        count = f"{len(again):,} {'row has' if len(again) == 1 else 'rows have'}"
        notes.append(
            f"{count} an id that an earlier row has, first {ids[again[0]]} ({sheet.where(again[0])}); "
            "all are read"
        )
    return ids, [name]
