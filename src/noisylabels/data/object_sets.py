"""From examples in memory to sets: a training and a test set to train on, or one set to audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.positions import NO_ORDER
from noisylabels.core.spelling import spelling_notes
from noisylabels.data.cells import Cells
from noisylabels.data.dataset_objects import load_object
from noisylabels.data.encoding import Encoder
from noisylabels.data.feature_rows import Rows, classes_of, sets_of
from noisylabels.data.features import Examples, FeatureSet, feature_set, joined
from noisylabels.data.image_files import load_image_files
from noisylabels.data.images import ImageSet, image_set
from noisylabels.data.precision import loses_differences
from noisylabels.data.reader import Options, check_no_text
from noisylabels.data.recognition import PARTS, Pictures, recognize


def load_in_memory(source: Any, options: Options) -> tuple[Examples, Examples]:
    """Return a training and a test set of examples in memory.

    Args:
        source: see `recognize` and `load_object`.
        options: see `Options`.

    Returns:
        Training and test set. Without a test part, some examples are held out. Rows have the ids of the
        column "id", or "row:0" and so on; images "train:0". With parts, both have "train:0", "test:0", ...

    Raises:
        InputError: the object is none of these, or its labels or columns cannot be used.

    >>> pair = [[0.0], [1.0], [2.0], [3.0]], ["u", "v", "u", "v"]
    >>> train, test = load_in_memory(pair, Options(test_fraction=0.5))
    >>> train.class_names, test.features.shape
    (('u', 'v'), torch.Size([2, 1]))
    """
    notes: list[str] = []
    found = recognize(source, options, notes)
    if isinstance(found, Rows):
        _check_options(options, notes)
        fraction, need = options.test_fraction, options.need_features
        return sets_of(found, "table", fraction, notes, need_features=need)
    return _load_images(source, found, options, notes)


def whole_in_memory(
    source: Any,
    options: Options,
    *,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    part: str = "all",
) -> Examples:
    """Return all examples in memory as one set, in the order in which they are given.

    Nothing is held out, and the columns of a table are encoded according to all of its rows. An array of
    finite numbers is not encoded, unless float32 would lose differences in one of its columns.

    Args:
        source: see `recognize` and `load_object`.
        options: see `Options`.
        labels: the labels, if `source` has the rows or images alone; integers index the class names.
        class_names: K names, which integer labels index from 0; by default the labels name the classes.
        part: "all", or "train" for the training part alone if the object has parts.

    Raises:
        InputError: as for `load_in_memory`.

    >>> both = whole_in_memory((np.arange(8.0).reshape(4, 2), ["u", "v", "v", "u"]), Options())
    >>> both.labels.tolist(), list(both.ids)
    ([0, 1, 1, 0], ['row:0', 'row:1', 'row:2', 'row:3'])
    """
    notes: list[str] = []
    source = source if labels is None else (source, labels)
    found = recognize(source, options, notes)
    if found is None and labels is not None:
        raise InputError(
            f"the data are a {type(source[0]).__name__}, expected rows (N, D) or images with the labels that "
            "are passed; leave labels out for a data set that has its own"
        )
    names = tuple(class_names or ())
    if not isinstance(found, Rows):
        check_no_text(options, "the data set")
    if isinstance(found, Rows):
        _check_options(options, notes)
        found = dataclasses.replace(found, indexed=found.indexed or labels is not None)
        return _whole_table(source, found, names, part, notes, options.need_features)
    if isinstance(found, Pictures):
        names = names or found.class_names
        found = dataclasses.replace(found, class_names=names, indexed=labels is not None)
        arrays = [images for images in found.parts if isinstance(images, np.ndarray)]
        if len(arrays) == len(found.parts) and options.image_size is None and _same_shape(arrays):
            return _whole_images(found, arrays, part, notes)
    elif names:
        raise InputError("class_names has no effect on this data set, which names its classes; leave it out")
    train, test = _load_images(source, found, options, notes)
    own_test = train.rows is None or train.source_rows == len(train)
    if part == "train" and own_test:
        return train
    together = joined(train, test, by_rows=True)
    notes = [note for note in dict.fromkeys(together.notes) if "held out for testing" not in note]
    return dataclasses.replace(together, notes=tuple(notes))


def _whole_table(
    source: Any, found: Rows, names: tuple[str, ...], part: str, notes: list[str], need_features: bool
) -> FeatureSet:
    sheet = found.sheet
    if not len(sheet):
        raise InputError(f"{sheet.source} has no rows")
    used = np.arange(len(sheet))
    if found.parts is not None:
        used = found.parts[0] if part == "train" else np.sort(np.concatenate(found.parts))
    labels, names = classes_of(
        found.labels[used],
        names or found.class_names,
        lambda row: sheet.where(int(used[row])),
        sheet.source,
        found.indexed,
    )
    values = _plain(sheet.columns) if _is_plain(source) else None
    encoder = texts = None
    if values is None:
        encoder = Encoder.fit(
            sheet, used, found.not_features, notes, need_features, found.id_column, found.text_column
        )
        values, texts = encoder.encode(sheet), encoder.texts_of(sheet)
    keys = [found.keys[row] for row in used.tolist()]
    notes[:0] = spelling_notes(labels, names)
    # rows of two parts have no single order
    positions = NO_ORDER if found.separate and part != "train" else None
    notes = list(dict.fromkeys(notes))
    if encoder is None:  # an array, whose features are its cells
        return feature_set(values[used], labels, names, keys, "data", notes, positions=positions)
    encoded = tuple(column.name for column in encoder.columns)
    cells = Cells(lambda: sheet, used, len(sheet), tuple(found.shown), encoded, encoder.texts)
    texts = None if texts is None else [texts[row] for row in used.tolist()]
    return feature_set(values[used], labels, names, keys, "data", notes, encoder, positions, cells, texts)


def _is_plain(source: Any) -> bool:
    """Return whether the rows of a pair are an array, whose columns are features as they are."""
    return isinstance(source, (tuple, list)) and not hasattr(source[0], "columns")


def _plain(columns: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return columns of finite numbers as rows, float32 (N, D); None for columns that need an encoder."""
    if any(cells.dtype.kind not in "iufb" or loses_differences(cells) for cells in columns):
        return None
    values = np.stack([cells.astype(np.float32) for cells in columns], axis=1)
    return values if bool(np.isfinite(values).all()) else None


def _check_options(options: Options, notes: list[str]) -> None:
    if options.image_size is not None:
        raise InputError("the rows have no images; leave out image_size")
    if options.bad_images != "fail":
        notes.append("bad_images has no effect on rows")


@dataclass(frozen=True)
class _Pairs:
    """Images and class numbers as a map-style data set."""

    images: Any
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        image = self.images[row]
        if isinstance(self.images, np.ndarray):  # (C, H, W)
            image = image.transpose(1, 2, 0)
        return image, int(self.labels[row])


def _load_images(
    source: Any, found: Pictures | None, options: Options, notes: list[str]
) -> tuple[ImageSet, ImageSet]:
    """Return training and test set of images; those of other objects are read by `load_object`."""
    check_no_text(options, "the data set")
    if found is None:
        return load_object(source, options)
    labels, names = _numbered(found)
    if all(isinstance(part, list) and isinstance(part[0], str) for part in found.parts):
        ids = [name for part in found.ids for name in part]
        train, test = load_image_files(found.parts, labels, names, options, ids)
        return dataclasses.replace(train, notes=(*notes, *train.notes)), test
    ends = np.cumsum([len(images) for images in found.parts])
    parts = [
        _Pairs(images, labels[end - len(images) : end], names)
        for images, end in zip(found.parts, ends, strict=True)
    ]
    pairs = tuple(parts) if len(parts) > 1 else parts[0]
    train, test = load_object(pairs, options, found.ids, notes)
    return dataclasses.replace(train, name="images"), dataclasses.replace(test, name="images")


def _whole_images(found: Pictures, parts: list[np.ndarray], part: str, notes: list[str]) -> ImageSet:
    labels, names = _numbered(found)
    if part == "train":
        parts = parts[:1]
    ids = [f"{name}:{row}" for name, some in zip(PARTS, parts, strict=False) for row in range(len(some))]
    if found.ids:
        ids = [name for some in found.ids[: len(parts)] for name in some]
    images = np.concatenate(parts) if len(parts) > 1 else parts[0]
    positions = None if len(parts) == 1 else NO_ORDER
    given = torch.from_numpy(labels[: len(images)])
    notes = [*spelling_notes(labels[: len(images)], names), *notes]
    return image_set(images, given, names, ids, "data", notes, positions=positions)


def _numbered(found: Pictures) -> tuple[np.ndarray, tuple[str, ...]]:
    return classes_of(found.labels, found.class_names, lambda row: f"y, image {row}", "y", found.indexed)


def _same_shape(parts: list[np.ndarray]) -> bool:
    return len({images.shape[1:] for images in parts}) == 1
