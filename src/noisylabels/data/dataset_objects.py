"""Data sets that are Python objects: from Hugging Face's `datasets`, or any map-style PyTorch data set.

`datasets` is not imported: objects are recognized by their attributes. Nothing is cached, because an object
has no files that would identify its content.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.labels import read_labels
from noisylabels.core.positions import Positions, separate
from noisylabels.core.tables import is_missing, role_columns, texts
from noisylabels.data.cache import load_uncached
from noisylabels.data.decode import NAMED, choose_shape, pixel_notes
from noisylabels.data.image_arrays import range_of
from noisylabels.data.image_decoding import Header, failure_reason, header_of, pixels_of
from noisylabels.data.images import ImageSet
from noisylabels.data.names import unique_names
from noisylabels.data.parquet import check_column, choose_column
from noisylabels.data.pixel_range import Peaks, White, to_bytes, white_of_all
from noisylabels.data.reader import Options, Plan, ReadResult, check_no_column, held_out_note
from noisylabels.data.sheets import cells_of
from noisylabels.data.split import hold_out
from noisylabels.data.splits import TEST, TRAIN, VAL, by_split, unread_splits

if TYPE_CHECKING:
    from PIL import Image

_PIECE = 256  # images held at a time
_DAMAGE = (OSError, SyntaxError)  # from Pillow for damaged images; anything else is a bug in the object


def load_object(
    source: object, options: Options, ids: Sequence[Sequence[str]] = (), notes: Sequence[str] = ()
) -> tuple[ImageSet, ImageSet]:
    """Read a data set from an object; each image is requested twice, first for its size.

    Args:
        source: one of
            - a `datasets.Dataset`: the image and label columns are chosen as in Parquet files, and the
              ClassLabel has the names of the classes;
            - a `datasets.DatasetDict` with the parts train, and test or else validation;
            - a map-style PyTorch data set: `source[i]` gives (image, label) for i from 0 to
              `len(source) - 1`, with a PIL image, a tensor (H, W) or (C, H, W), or an array (H, W) or
              (H, W, C): uint8, or numbers that `pixel_range` scales to it; `classes` or `class_to_idx`,
              also of the data set within a `torch.utils.data.Subset`, has the names;
            - a pair (train, test) of the above.
            Without a test part, some examples are held out for testing.
        options: see `Options`.
        ids: the ids of each part; by default "train:0" and so on, or a column of a `datasets.Dataset`.
        notes: lines for the user in addition to those of the set.

    Returns:
        Training and test set.

    Raises:
        InputError: the object is none of these, has no length (streaming), gives floats, or a label has no
            class.

    >>> gray = [torch.full((4, 4), i, dtype=torch.uint8) for i in range(10)]
    >>> train, test = load_object([(image, i % 2) for i, image in enumerate(gray)], Options())
    >>> len(train), len(test), train.class_names
    (8, 2, ('0', '1'))
    """
    notes = list(notes)
    parts = [_Part.of(name, data, notes, options) for name, data in named_parts(source, notes)]
    if ids:
        parts = [dataclasses.replace(part, ids=some) for part, some in zip(parts, ids, strict=True)]
    name = parts[0].title
    plan = Plan(
        name=name,
        root=Path(name),
        files={},
        options={},
        read=lambda: _read(parts, options),
        notes=tuple(dict.fromkeys(notes)),
    )
    return load_uncached(plan)


def named_parts(source: Any, notes: list[str]) -> list[tuple[str, Any]]:
    """Return the training part and, if there is one, the test part."""
    if isinstance(source, Mapping):
        named = by_split(source, "the data set")
        if TRAIN not in named:
            listed = ", ".join(map(str, source)) or "none"
            raise InputError(
                f"the data set has the parts {listed}, but no 'train'; pass the pair (train, test)"
            )
        test = next((named[split] for split in (TEST, VAL) if split in named), None)
        if ignored := sorted(str(name) for name in source if name not in (named[TRAIN], test)):
            counts = (f"{name} ({len(source[name]):,} examples)" for name in ignored)
            notes.append(f"ignored the parts {', '.join(counts)}")
        return [(name, source[name]) for name in (named[TRAIN], test) if name]
    if isinstance(source, tuple):
        if len(source) != 2:
            raise InputError(f"load got a tuple of {len(source)}, expected the pair (train, test)")
        return [(TRAIN, source[0]), (TEST, source[1])]
    return [(TRAIN, source)]


@dataclass(frozen=True)
class _Part:
    """A part with the same interface for either library."""

    name: str  # train, test, ...
    title: str  # of the whole set
    data: Any
    columns: tuple[str, str] | None  # image and label, if a row is a mapping
    class_names: tuple[str, ...]  # empty if the object has none
    ids: Sequence[str] | None = None  # "train:0" and so on without any
    numbers: Mapping[int, str] | None = None  # the names of numbers that are not 0..K-1

    @classmethod
    def of(cls, name: str, data: Any, notes: list[str], options: Options) -> _Part:
        kind = type(data)
        other = isinstance(data, (str, bytes, Mapping)) or getattr(data, "ndim", 1) == 0
        if other or not (hasattr(kind, "__len__") and hasattr(kind, "__getitem__")):
            streams = hasattr(kind, "__iter__") and not other
            hint = (
                "; copy a streaming data set into shards first, which are decoded batch by batch: "
                "nl.write_shards(stream, 'shards'), then nl.load('shards')"
                if streams
                else ""
            )
            raise InputError(
                f"the {name} part is a {kind.__name__}, expected a data set with a length and "
                f"examples that can be indexed{hint}"
            )
        if len(data) == 0:
            raise InputError(f"the {name} part, a {kind.__name__}, is empty")
        if hasattr(data, "features") and hasattr(data, "column_names"):
            return cls._of_columns(name, data, notes, options)
        check_no_column(options, "an object")
        innermost = data
        while isinstance(innermost, torch.utils.data.Subset):
            innermost = innermost.dataset
        return cls(
            name, type(innermost).__name__, data, None, _class_names(innermost), numbers=_numbers(innermost)
        )

    @classmethod
    def _of_columns(cls, name: str, data: Any, notes: list[str], options: Options) -> _Part:
        features = dict(data.features)
        kinds = {column: getattr(kind, "_type", type(kind).__name__) for column, kind in features.items()}
        images = [column for column, kind in kinds.items() if kind == "Image"]
        named = [column for column, kind in kinds.items() if kind == "ClassLabel"]
        where = f"the {name} part"
        image = choose_column(images, "image", where, list(kinds), notes)
        if options.label_column is None:
            label = choose_column(named, "label", where, list(kinds), notes)
        else:
            label = check_column(options.label_column, list(kinds), where)
        title = getattr(getattr(data, "info", None), "dataset_name", None) or type(data).__name__
        ids = None if (key := options.id_column) is None else _ids_in(data, key, list(kinds), where)
        class_names = tuple(getattr(features[label], "names", None) or ())
        columns = [each for k in role_columns(list(kinds), "split") if (each := list(kinds)[k]) != label]
        notes += next(filter(None, (unread_splits(each, data[each]) for each in columns)), [])
        return cls(name, str(title), data, (image, label), class_names, ids)

    def item(self, row: int) -> tuple[Image.Image | np.ndarray, object]:
        """Return the image, see `_values`, and the label of an example."""
        got = self.data[row]
        if self.columns:
            image, label = (got[column] for column in self.columns)
        elif isinstance(got, (tuple, list)) and len(got) >= 2:
            image, label = got[0], got[1]
        else:
            raise InputError(
                f"{self.name}:{row} is a {type(got).__name__}, expected (image, label); pass arrays as the "
                "pair (images, labels)"
            )
        if image is None:
            raise OSError("no image")  # as a damaged one
        return _values(image, f"{self.name}:{row}"), label


def _ids_in(data: Any, key: str, columns: Sequence[str], where: str) -> list[str]:
    """Return the ids in a column of a `datasets.Dataset`.

    Raises:
        InputError: there is no such column, it holds neither text nor integers, or an id is missing.
    """
    cells = cells_of(list(data[check_column(key, columns, where, "id")]))
    if isinstance(cells, str) or cells.ndim != 1:
        raise InputError(f"{where}: the id column {key!r} does not hold text or integers; name another")
    if (missing := is_missing(cells)).any():
        raise InputError(f"{where}, row {int(missing.argmax())}: the id is missing; give the row one")
    return list(texts(cells))


def _class_names(data: Any) -> tuple[str, ...]:
    names = getattr(data, "classes", None)
    numbers = getattr(data, "class_to_idx", None)
    if not isinstance(names, (list, tuple)) and isinstance(numbers, Mapping):
        ranked = sorted(numbers, key=lambda name: numbers[name])
        names = ranked if [numbers[name] for name in ranked] == list(range(len(ranked))) else None
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()


def _numbers(data: Any) -> dict[int, str] | None:
    """Return the names of a data set's label numbers if they are not 0..K-1, as `class_to_idx` says."""
    numbers = getattr(data, "class_to_idx", None)
    if not isinstance(numbers, Mapping) or not all(isinstance(name, str) for name in numbers):
        return None
    named = {int(number): name for name, number in numbers.items() if isinstance(number, Integral)}
    if len(named) < len(numbers) or sorted(named) == list(range(len(named))):
        return None
    return named


def _values(value: Any, where: str) -> Image.Image | np.ndarray:
    """Return an image of any supported type as a decoded Pillow image, or an array (H, W) or (H, W, 3)."""
    from PIL import Image

    if isinstance(value, Image.Image):
        image: Image.Image = value
        image.load()
        return image
    if not isinstance(value, (torch.Tensor, np.ndarray)):
        raise InputError(
            f"{where}: the image is a {type(value).__name__}, expected a PIL image or uint8 tensor or array"
        )
    is_tensor = isinstance(value, torch.Tensor)
    if isinstance(value, torch.Tensor):
        value = (value.float() if value.is_floating_point() else value).detach().cpu().numpy()
    if value.dtype.kind not in "biuf":
        raise InputError(f"{where}: the image holds {value.dtype}, expected numbers, such as uint8 0 to 255")
    pixels: np.ndarray = value
    axis = 0 if is_tensor else -1
    if pixels.ndim == 3 and pixels.shape[axis] in (1, 3):
        pixels = np.moveaxis(pixels, axis, -1)
        return pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels
    if pixels.ndim != 2:
        order = "(H, W) or (C, H, W)" if is_tensor else "(H, W) or (H, W, C)"
        hint = "; for rows of features pass the pair (X, y)" if pixels.ndim == 1 else ""
        raise InputError(
            f"{where}: the image has the shape {tuple(value.shape)}, expected {order} with 1 or 3 "
            f"channels{hint}"
        )
    return pixels


def _header(image: Image.Image | np.ndarray, where: str) -> Header:
    if not isinstance(image, np.ndarray):
        header = header_of(image)
    else:
        height, width = image.shape[:2]
        peaks = range_of(image[None], f"{where}: the image") if image.size else Peaks()
        header = Header(width, height, image.ndim == 2, peaks=peaks)
    if not (header.width and header.height):
        raise InputError(f"{where}: the image has no pixels, its size is {header.width}x{header.height}")
    return header


def _scalar(label: Any) -> object:
    """Return the label in an array or tensor of one element, such as (1,); other labels unchanged."""
    if isinstance(label, (torch.Tensor, np.ndarray, np.generic)) and np.prod(label.shape) == 1:
        return label.item()
    return label


def _read(parts: list[_Part], options: Options) -> ReadResult:
    named = {part.class_names for part in parts if part.class_names}
    if len(named) > 1:
        raise InputError(
            f"the {parts[0].name} and the {parts[1].name} part have different classes: "
            f"{', '.join(parts[0].class_names[:5])}, ... and {', '.join(parts[1].class_names[:5])}, ..."
        )
    sizes: set[tuple[int, int]] = set()
    gray, peaks, paged = True, Peaks(), 0
    rows: list[tuple[_Part, int]] = []
    cells: list[Any] = []
    bad: list[str] = []
    total = sum(len(part.data) for part in parts)
    for part in parts:
        for row in range(len(part.data)):
            try:
                image, label = part.item(row)
            except _DAMAGE as error:
                bad.append(f"{part.name}:{row} ({failure_reason(error, b'something')})")
                continue
            header = _header(image, f"{part.name}:{row}")
            peaks, paged = peaks.joined(header.peaks), paged + (header.pages > 1)
            sizes.add((header.width, header.height))
            gray = gray and header.gray
            cells.append(_scalar(label))
            rows.append((part, row))
            if options.progress and len(rows) % _PIECE == 0:
                options.progress("reading sizes", len(rows), total)
    notes = _judge(bad, total, options)
    ids = [f"{part.name}:{row}" if part.ids is None else part.ids[row] for part, row in rows]
    ids, again = unique_names(ids)
    if again:
        notes.append(f"{len(again):,} ids occur again, first {ids[again[0]]}")
    names = next(iter(named), None)
    if (numbers := next((part.numbers for part in parts if part.numbers), None)) is not None:
        if strange := [c for c in cells if not isinstance(c, int) or c not in numbers]:
            notes.append(f"ignored class_to_idx, which has no class of the label {strange[0]}")
        else:
            cells = [numbers[cell] for cell in cells]
            names = tuple(numbers[number] for number in sorted(numbers))
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    found = read_labels(column, names, where=ids.__getitem__, indexed=True)
    labels, class_names = found.codes, found.class_names
    num_train = sum(part is parts[0] for part, _ in rows)
    positions: Positions | tuple[Positions, Positions]
    places = np.array([row for _, row in rows])
    if len(parts) == 1:
        train, test = hold_out(labels, ids, options.test_fraction)
        order, num_train = np.concatenate([train, test]), len(train)
        labels, rows, ids = labels[order], [rows[i] for i in order], [ids[i] for i in order]
        positions = Positions(places[order], total, whole=False)
        notes.append(held_out_note(len(test), options.test_fraction))
    else:
        counts = [len(part.data) for part in parts]
        positions = (
            separate(counts[0]).take(places[:num_train]),
            separate(counts[1], train=False).take(places[num_train:]),
        )
    (C, H, W), resized = choose_shape(len(rows), sizes, gray, options.size)
    notes += pixel_notes(resized, peaks, paged)
    white = white_of_all(peaks)

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, len(rows), _PIECE):
            some = rows[start : start + _PIECE]
            yield np.stack([_pixels(part, row, C, (H, W), white) for part, row in some])
            if options.progress:
                options.progress("decoding", start + len(some), len(rows))

    return ReadResult(
        (C, H, W), pieces, labels, ids, class_names, num_train, notes, {}, positions, white.of(peaks)
    )


def _pixels(part: _Part, row: int, channels: int, size: tuple[int, int], white: White) -> np.ndarray:
    from PIL import Image

    found = part.item(row)[0]
    try:
        if isinstance(found, np.ndarray):
            found = Image.fromarray(np.ascontiguousarray(to_bytes(found, white)))
        return pixels_of(found, channels, size, white)
    except ValueError as error:
        mode = f"in the mode {found.mode}" if isinstance(found, Image.Image) else str(found.dtype)
        raise InputError(f"{part.name}:{row}: the image is {mode}: {error}; convert it to 8 bits") from None


def _judge(bad: list[str], total: int, options: Options) -> list[str]:
    """Return a note on unreadable images, or raise an `InputError` if they may not be left out."""
    if not bad:
        return []
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    listed = ", ".join(bad[:NAMED]) + more
    if len(bad) == total:
        raise InputError(f"none of the {total} images can be read: {listed}")
    if options.bad_images == "fail":
        raise InputError(
            f"{len(bad)} of {total} images cannot be read: {listed}; leave them out with bad_images='skip'"
        )
    return [f"left out {len(bad)} of {total} images that cannot be read: {listed}"]
