"""Recognition of labeled examples in memory: pairs (X, y), data frames, mappings, and parts of these."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from noisylabels.core.checks import InputError, one_line
from noisylabels.core.labels import name_of
from noisylabels.core.row_index import check_index, index_of
from noisylabels.core.tables import role_columns
from noisylabels.data import arrays
from noisylabels.data.dataset_objects import named_parts
from noisylabels.data.feature_rows import Rows, ids_of, other_ids
from noisylabels.data.feature_table import labeled_rows
from noisylabels.data.image_arrays import channels_first
from noisylabels.data.image_files import image_files
from noisylabels.data.in_memory import (
    array_of,
    column_names,
    is_array,
    is_scalar,
    is_table,
    is_texts,
    label_cells,
    sheet_of,
    surrogate_notes,
)
from noisylabels.data.names import unique_names
from noisylabels.data.reader import Options
from noisylabels.data.sheets import Sheet, as_objects, joined
from noisylabels.data.splits import TEST, TRAIN, VAL, by_split
from noisylabels.data.text_columns import TEXT

PARTS = ("train", "test")


@dataclass(frozen=True)
class Pictures:
    """Images and their labels in memory, before the classes are numbered.

    Args:
        parts: the training images and, if there are any, the test images: each uint8 (n, C, H, W), a list of
            pictures that `load_object` reads, or a list of paths.
        labels: one cell per image, (N,), training part first.
        class_names: K names, if they come with the labels.
        indexed: whether the labels are known to index the class names.
        ids: the ids of each part, if they come with the images.
    """

    parts: tuple[Any, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    indexed: bool = False
    ids: tuple[Sequence[str], ...] = ()


@dataclass(frozen=True)
class _Part:
    """A part of what the user passed; without labels they are a column of `X`."""

    name: str
    X: Any
    y: Any = None
    class_names: tuple[str, ...] = ()
    ids: Any = None


def recognize(source: Any, options: Options, notes: list[str]) -> Rows | Pictures | None:
    """Return the labeled rows or images that an object holds; None for another object.

    Args:
        source: one of
            - a pair (X, y), also as a list or as a `TensorDataset`. X: rows (N, D) in an array, a tensor, a
              list of lists, a data frame of pandas or polars, an Arrow table or a sparse matrix of SciPy;
              texts, in a list, an array or a series; or uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W),
              a list of images, or a list, an array or a series of paths of image files. y: one label per
              example, (N,) or a column (N, 1), in an array, a tensor, a list, a series or a data frame;
            - a data frame, an Arrow table, or a `datasets.Dataset` without images, with the labels in a
              column: `options.label_column`, or one with a name of the role label (`core.tables.ROLES`);
            - a pair (train, test) of the above, or a mapping of parts such as a `datasets.DatasetDict`;
            - a mapping of arrays called as those of an .npz file: X and y, x_train, y_train, ..., also with
              ids and names of classes.
            A column "id", or `options.id_column`, holds the ids of the rows; the index of a pandas frame does
            not.
        options: `label_column`, `id_column` and `text_column`, columns of a frame.
        notes: receives the lines that the user should read.

    Raises:
        InputError: X and y do not fit together, or the labels are one-hot or missing.
    """
    parts = _parts_of(source, notes)
    if parts is None:
        return None
    label_column, id_column = options.label_column, options.id_column
    for name in ("id_column", "text_column"):
        if getattr(options, name) is not None and not all(is_table(part.X) for part in parts):
            flag = "--" + name.replace("_", "-")
            raise InputError(f"the data have no named columns; leave out {flag} ({name}=)")
    pictures = [_pictures(part.X) for part in parts]
    if all(found is not None for found in pictures):
        _refuse_column(label_column)
        cells = [_labels_of(part.y, len(found)) for part, found in zip(parts, pictures, strict=True)]
        ids = _ids_of(parts, notes)
        ends = np.cumsum([len(part) for part in pictures]).tolist()
        of_parts = tuple(ids[end - len(part) : end] for part, end in zip(pictures, ends, strict=True))
        return Pictures(tuple(pictures), _all(cells), parts[0].class_names, ids=of_parts if ids else ())
    sheets = [
        sheet_of(part.X, Path("X" if part.y is not None else part.name or "the data frame")) for part in parts
    ]
    notes += [line for part in parts if is_texts(part.X) for line in surrogate_notes(part.X)]
    sizes = [len(sheet) for sheet in sheets]
    sheet = sheets[0] if len(sheets) == 1 else joined(*sheets)
    if parts[0].y is None:
        rows = labeled_rows(sheet, options, notes)
        if rows.parts is not None and len(sheets) > 1:
            raise InputError(
                "the data have a train and a test part and a split column; leave out one of the two"
            )
    else:
        _refuse_column(label_column)
        for part in parts:
            check_index(part.X, part.y)
        labels = _all([_labels_of(part.y, n) for part, n in zip(parts, sizes, strict=True)])
        keys, named, others = _numbered("row", len(sheet)), list[str](), list[str]()
        if is_table(parts[0].X):
            keys, named = ids_of(sheet, notes, id_column, labels)
            others = other_ids(sheet, named, notes)
        keys = keys if named else _ids_of(parts, notes) or keys
        repeated = _repeated(sheet, labels, notes) if is_table(parts[0].X) else []
        rows = Rows(
            sheet,
            labels,
            parts[0].class_names,
            keys,
            None,
            [*named, *others, *repeated],
            shown=[*named, *repeated],
            id_column=id_column,
            text_column=TEXT if is_texts(parts[0].X) else options.text_column,
        )
    if any(_has_named_index(part.X) for part in parts):
        notes.append(
            "the index of the data frame is not used as ids; frame.reset_index(names='id') makes it the ids"
        )
    if len(sheets) == 1:
        return rows
    place = np.arange(sum(sizes))
    keys = list(rows.keys)
    if keys[:1] == ["row:0"]:
        keys = [key for name, n in zip(PARTS, sizes, strict=True) for key in _numbered(name, n)]
    return dataclasses.replace(rows, keys=keys, parts=(place[: sizes[0]], place[sizes[0] :]), separate=True)


def rows_of_pair(source: Any) -> Any:
    """Return X of a pair (X, y); None for any other object, also for a pair of parts, see `recognize`."""
    if not isinstance(source, (tuple, list)):
        return None
    parts = _parts_of(source, []) or []
    return parts[0].X if len(parts) == 1 and parts[0].y is not None else None


def row_indexes(source: Any, part: str = "all") -> list[Any]:
    """Return the indexes of pandas that examples in memory have, by their labels and by their features.

    Args:
        source: see `recognize`.
        part: "all", whose index is that of the training part followed by that of the test part; or "train".
    """
    parts = _parts_of(source, []) or []
    parts = parts[:1] if part == "train" else parts
    found = []
    for objects in ([part.y for part in parts], [part.X for part in parts]):
        indexes = [index_of(each) for each in objects]
        if indexes and all(index is not None for index in indexes):
            found.append(indexes[0].append(indexes[1:]))
    return found


def label_series(source: Any, label_column: str | None) -> list[Any]:
    """Return the labels of each part of examples in memory, as they were passed; see `recognize`."""
    found = []
    for part in _parts_of(source, []) or []:
        labels = part.y
        if labels is None:
            names = column_names(part.X)
            named = [names[k] for k in role_columns(names, "label", "features")]
            wanted = label_column or next(iter(named), None)
            keys = getattr(part.X, "column_names", None) or list(part.X.columns)  # perhaps numbers or tuples
            labels = part.X[keys[names.index(wanted)]] if wanted in names else None
        found.append(labels)
    return found


def _ids_of(parts: Sequence[_Part], notes: list[str]) -> list[str]:
    """Return the ids that come in an array of a mapping; none without one."""
    if parts[0].ids is None:
        return []
    ids, again = unique_names(str(name) for part in parts for name in part.ids.tolist())
    if again:
        notes.append(f"{len(again):,} ids occur again, first {ids[again[0]]}")
    return ids


def _labels_of(y: Any, count: int) -> np.ndarray:
    cells = label_cells(y)
    if len(cells) != count:
        raise InputError(f"got {len(cells)} labels for {count} examples; pass one label per example")
    return cells


# Recognition --------------------------------------------------------------------------------------------


def _parts_of(source: Any, notes: list[str]) -> list[_Part] | None:
    """Return the training part and, if there is one, the test part; None for another object."""
    if is_table(source):
        return [_Part("", source)]
    source = _rows_of(source)
    if isinstance(source, Mapping):
        source = {name: _rows_of(part) for name, part in source.items()}
        if found := _named_arrays(source, notes):
            return found
        if not all(is_table(part) or _is_pair(part) for part in source.values()):
            return None
        named = named_parts(source, notes)
        return _both([part for _, part in named]) if len(named) > 1 else _parts_of(named[0][1], notes)
    split = (
        isinstance(source, list) and len(source) == 2 and all(isinstance(part, Dataset) for part in source)
    )
    if isinstance(source, tuple) or split:  # random_split returns a list
        source = tuple(map(_rows_of, source))
    if isinstance(source, tuple) and len(source) == 2 and all(map(is_table, source)):
        names = [column_names(part) for part in source]
        if len(names[1]) > 1 and set(names[0]) == set(names[1]):
            return _both(source)
    if _is_pair(source):
        if source[1] is None:
            raise InputError("labels are missing: y is None; pass the pair (X, y)")
        return [_Part("", source[0], source[1])]
    if isinstance(source, tuple) and len(source) == 2 and all(map(_is_pair, source)):
        return _both(source)
    if hasattr(source, "shape") and hasattr(source, "dtype"):
        raise InputError(f"labels are missing: got {_called(source)} alone; pass the pair (X, y)")
    return None


def _rows_of(source: Any) -> Any:
    """Return the pair (X, y) of a torch TensorDataset of rows, or of a Subset or ConcatDataset of some.

    Anything else is returned as it is, also a class derived from these that may change the examples.

    Raises:
        InputError: positions out of range, or parts of different widths.
    """
    tensors = getattr(source, "tensors", None)
    own = getattr(type(source), "__getitem__", None) is not TensorDataset.__getitem__
    if isinstance(tensors, tuple) and len(tensors) == 2 and tensors[0].ndim == 2 and not own:
        return tensors
    try:
        if type(source) is Subset and isinstance(pair := _rows_of(source.dataset), tuple):
            return tuple(column[list(source.indices)] for column in pair)
        if type(source) is ConcatDataset:
            parts = [_rows_of(part) for part in source.datasets]
            if all(isinstance(part, tuple) for part in parts):
                return tuple(map(torch.cat, zip(*parts, strict=True)))
    except (IndexError, RuntimeError) as error:
        raise InputError(f"the {type(source).__name__} cannot be read: {one_line(error)}") from None
    return source


def _called(array: Any) -> str:
    return f"a {type(array).__name__} of the shape {tuple(array.shape)}"


def _both(parts: Sequence[Any]) -> list[_Part]:
    if len({is_table(part) for part in parts}) > 1:
        raise InputError(
            "one part has its labels in a column, the other is a pair (X, y); pass two of a kind"
        )
    return [
        _Part(f"the {name} part", part) if is_table(part) else _Part(f"the {name} part", *part)
        for name, part in zip(PARTS, parts, strict=True)
    ]


def _named_arrays(source: Mapping[Any, Any], notes: list[str]) -> list[_Part]:
    """Return the parts of a mapping of arrays with the names of an .npz file, or of scikit-learn's Bunch."""
    names = [name for name in source if isinstance(name, str)]
    found = arrays.pairs([name for name in names if name != "images" or "data" not in names])
    every, named = dict(found), by_split(found, "the mapping")
    train = found.pop(named.get(TRAIN, ""), None)
    if train is None:
        return []
    test = next((found.pop(named[split]) for split in (TEST, VAL) if split in named), None)
    if found:
        notes.append(f"ignored the parts {', '.join(found)}")
    parts = [part for part in (train, test) if part]
    others = [name for part in found.values() for name in (part.images, part.labels)]

    def read(name: str) -> np.ndarray:
        return label_cells(source[name]) if name in [part.labels for part in parts] else _words(source[name])

    given = source.get(arrays.CLASS_NAMES, source.get("target_names"))
    named_by = next((name for name in (arrays.CLASS_NAMES, "target_names") if source.get(name) is given), "")
    if given is None and (named_by := arrays.class_names_array(names, parts, read)):
        given = source[named_by]
    words = tuple(map(str, given)) if given is not None and not isinstance(given, str) else ()
    used = [name for part in parts for name in (part.images, part.labels)] + [named_by, *others, *_DESCRIBING]
    keys = [key for part in parts for key in every if every[key] is part]
    ids = arrays.id_arrays(names, keys, parts, read)
    unused = [name for name in names if name not in (*used, *ids) and _is_column(source[name])]
    notes += arrays.unused_notes(unused, parts, "the mapping")
    of_parts: list[Any] = [_words(source[name]) for name in ids] or [None] * len(parts)
    return [
        _Part(part.name, source[part.images], source[part.labels], words, some)
        for part, some in zip(parts, of_parts, strict=True)
    ]


_DESCRIBING = ("feature_names", "target_names", "frame", "images", "DESCR")
"""Entries of scikit-learn's data sets that describe the data, or repeat them in another shape."""


def _words(values: Any) -> np.ndarray:
    return np.array(list(values)) if isinstance(values, (list, tuple)) else np.asarray(values)


def _is_column(value: Any) -> bool:
    """Return whether an entry of a mapping holds values, and is not a word or a number about the data."""
    return is_table(value) or isinstance(value, (list, tuple)) or (is_array(value) and bool(np.ndim(value)))


def _is_pair(source: Any) -> bool:
    """Return whether an object is a pair (X, y)."""
    if not isinstance(source, (tuple, list)) or len(source) != 2:
        return False
    X, y = source
    if isinstance(source, list) and not hasattr(X, "shape"):  # a list of two examples
        return False
    return (is_array(X) or is_table(X) or _is_listed(X, y)) and (
        is_array(y) or is_table(y) or isinstance(y, (list, tuple)) or y is None or hasattr(y, "to_pylist")
    )


def _is_listed(X: Any, y: Any) -> bool:
    """Return whether X is a list of rows, images or texts, and y has a single label for each.

    A list of (image, label) is a data set.
    """
    if not isinstance(X, (list, tuple)) or not len(X) or not (is_array(y) or isinstance(y, (list, tuple))):
        return False
    if isinstance(y, (list, tuple)) and not all(map(_is_label, y)):
        return False
    return all(
        is_scalar(row)
        or _is_picture(row)
        or isinstance(row, os.PathLike)
        or getattr(row, "ndim", 0) == 1
        or (isinstance(row, (list, tuple)) and all(map(is_scalar, row)))
        for row in X
    )


def _is_label(value: Any) -> bool:
    return is_scalar(value) or (isinstance(value, list) and len(value) == 1 and is_scalar(value[0]))


def _is_picture(value: Any) -> bool:
    return hasattr(value, "getbands") or getattr(value, "ndim", 0) in (2, 3)


def _pictures(X: Any) -> Any:
    """Return images as (N, C, H, W), a list of pictures or one of paths; None for rows."""
    if (files := image_files(X)) is not None:
        return files
    if isinstance(X, (list, tuple)):
        return X if X and all(map(_is_picture, X)) else None
    if is_table(X) or len(getattr(X, "shape", ())) < 3:
        return None
    if isinstance(X, torch.Tensor) and X.ndim == 4 and X.shape[1] in (1, 3):
        return array_of(X)  # the order of tensors is never in doubt
    return channels_first(array_of(X), "X")


# Checks -------------------------------------------------------------------------------------------------


def _has_named_index(frame: Any) -> bool:
    """Return whether a pandas frame has an index of words or with a name, by which a user knows the rows."""
    index = getattr(frame, "index", None)
    if not hasattr(index, "sort_values"):
        return False
    return any(name is not None for name in index.names) or index.dtype.kind not in "iu"  # type: ignore[union-attr]


def _repeated(sheet: Sheet, cells: np.ndarray, notes: list[str]) -> list[str]:
    """Return the columns called as labels are that repeat the labels; they would be learned as features."""
    words = [*map(name_of, cells.tolist())]
    named = [sheet.names[k] for k in role_columns(sheet.names, "label")]
    found = [name for name in named if [*map(name_of, sheet.as_read(name).tolist())] == words]
    if found:
        notes.append(f"left out, the column repeats the labels: {', '.join(map(repr, found))}")
    return found


def _refuse_column(label_column: str | None) -> None:
    if label_column is not None:
        raise InputError(
            "label_column names a column of labels, but the labels are passed as y; leave out one of the two"
        )


def _all(cells: list[np.ndarray]) -> np.ndarray:
    return cells[0] if len(cells) == 1 else as_objects(*cells)


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}:{row}" for row in range(count)]
