"""Copying of a data set that can only be read in order, such as a stream of Hugging Face, into shards."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import TypedDict

from noisylabels.core.checks import InputError, check_whole, one_line
from noisylabels.core.files import atomic_replace, make_folder, remove_file, write_json
from noisylabels.core.schema import read_checked
from noisylabels.data.decode import Progress
from noisylabels.data.parquet import check_column, choose_column
from noisylabels.data.splits import TEST, TRAIN, VAL, by_split

_unfinished: dict[Path, Iterator[Any]] = {}  # record of a copy -> the iterator that it has read from

_ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}


class _State(TypedDict):
    """How far a part is copied.

    examples, shards: their numbers so far; done: whether these are all; place: where the stream goes on, of
    `IterableDataset.state_dict`, or null.
    """

    examples: int
    shards: int
    done: bool
    place: dict[str, Any] | None


def write_shards(
    source: Any,
    folder: Path | str,
    *,
    per_shard: int = 5000,
    label_column: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Copy a data set that can only be read in order into WebDataset shards, which `load` reads.

    One shard is in memory at a time. An interrupted copy continues when the same call is repeated: at the
    last finished shard, by the stream's own position if it has one (`state_dict`), else by skipping.

    Args:
        source: a `datasets.IterableDataset` (`load_dataset(..., streaming=True)`), whose images are copied as
            they are encoded; another iterable of mappings with image and label, or of pairs (image, label),
            with Pillow images or uint8 arrays (H, W) or (H, W, C), which become PNG; or a mapping of these by
            part, with "train", and "test" or else "validation"; a warning names other parts.
        folder: the folder of the shards, PART-00000.tar and so on; nothing else should be in it.
        per_shard: examples per shard.
        label_column: the column of the labels; by default chosen by type and name, as in Parquet.
        progress: called with ("copying PART", examples, their number or 0 if it is unknown).

    Returns:
        The folder.

    Raises:
        InputError: there is no image or label column, an image cannot be used, the stream ends with an error,
            or the disk has too little space; finished shards stay.

    >>> import tempfile, numpy as np
    >>> images = np.zeros((10, 4, 4), dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = write_shards(zip(images, "uvuvuvuvuv"), folder, per_shard=4)
    ...     sorted(path.name for path in made.glob("*.tar"))
    ['train-00000.tar', 'train-00001.tar', 'train-00002.tar']
    """
    folder = Path(folder).expanduser()
    check_whole(per_shard, "examples per shard", 1)
    for name, stream in _parts(source):
        try:
            _copy(stream, make_folder(folder), name, per_shard, label_column, progress)
        except OSError as error:
            raise InputError(
                f"the {name} part cannot be copied into {folder} ({one_line(error)}); finished shards are "
                "kept, and the same call goes on from there"
            ) from error
    return folder


def _parts(source: Any) -> list[tuple[str, Any]]:
    if isinstance(source, Mapping):
        named = by_split(source, "the data set")
        if TRAIN not in named:
            raise InputError(f"the data set has the parts {', '.join(map(str, source))}, but no 'train'")
        test = next((split for split in (TEST, VAL) if split in named), None)
        copied = [named[split] for split in (TRAIN, test) if split]
        if ignored := sorted(str(name) for name in source if name not in copied):
            used = "only the training part is copied" if test is None else f"{named[test]} is the test part"
            warnings.warn(f"ignored the parts {', '.join(ignored)}: {used}", stacklevel=3)
        return [(TRAIN, source[named[TRAIN]]), *([(TEST, source[named[test]])] if test else [])]
    if isinstance(source, (str, bytes)) or not hasattr(type(source), "__iter__"):
        raise InputError(
            f"the data set is a {type(source).__name__}, expected a streaming data set or another iterable "
            "of examples"
        )
    return [(TRAIN, source)]


class _Reading(NamedTuple):
    """How the examples of a stream are read."""

    stream: Any  # with the encoded images
    columns: tuple[str, str] | None  # image and label, if examples are mappings
    class_names: tuple[str, ...]  # of labels that are numbers of a ClassLabel
    total: int  # 0 if it is unknown


def _copy(
    stream: Any, folder: Path, name: str, per_shard: int, label_column: str | None, progress: Progress | None
) -> None:
    """Copy one part, after the shards that an interrupted call has finished."""
    record = folder / f"{name}.state.json"
    state = _State(examples=0, shards=0, done=False, place=None)
    if record.exists():
        state = read_checked(record, _State, f"remove {folder} and copy again")
    if state["done"]:
        return
    if _unfinished.get(record) is stream:
        raise InputError(
            f"a copy that did not end has read from the iterator of the {name} part, whose next examples "
            "would be missing; pass a new one"
        )
    if isinstance(stream, Iterator):
        _unfinished[record] = stream
    reading = _reading(stream, name, label_column)
    _check_room(stream, folder, name)
    stream = reading.stream
    if state["place"] is not None and hasattr(stream, "load_state_dict"):
        stream.load_state_dict(state["place"])
    elif state["examples"]:
        stream = stream.skip(state["examples"]) if hasattr(stream, "skip") else _skipped(stream, name, state)
    examples = iter(stream)
    done, copied = False, state["examples"]
    while not done:
        some: list[Any] = []
        try:
            some.extend(islice(examples, per_shard))
        except (InputError, MemoryError):
            raise
        except Exception as error:  # of the network, of a decoder, of the user's own code
            raise _ended(name, record, state, some, error) from error
        at, shards = state["examples"], state["shards"]
        if some:
            _write(folder / f"{name}-{shards:05d}.tar", some, at, reading, name)
        done = len(some) < per_shard
        place = None if done else _place(stream)
        copied = at + len(some)
        state = _State(examples=copied, shards=shards + bool(some), done=done, place=place)
        write_json(record, state)
        if progress:
            progress(f"copying {name}", copied, reading.total)
    _unfinished.pop(record, None)
    if not copied:
        remove_file(record)
        raise InputError(f"the {name} part has no examples; a generator can be read only once")


def _ended(name: str, record: Path, state: _State, read: list[Any], error: Exception) -> InputError:
    at = f"{state['examples']:,} copied examples"
    what = f"the {name} part ended after {at} with an error ({one_line(error)})"
    if state["place"] is not None and not read:
        return InputError(f"{what}; the same call goes on from there, unless the stream is another one")
    new = "with a new iterator " if record in _unfinished else ""
    return InputError(f"{what}; the same call {new}goes on from there")


def _skipped(stream: Iterable[Any], name: str, state: _State) -> Iterator[Any]:
    """Yield the examples after those that are copied."""
    examples = iter(stream)
    found = sum(1 for _ in islice(examples, state["examples"]))
    if found < state["examples"]:
        raise InputError(
            f"the {name} part has {found:,} examples, and {state['examples']:,} were copied before; pass the "
            "same data set, and a new iterator if it is one"
        )
    yield from examples


def _place(stream: Any) -> dict[str, Any] | None:
    """Return where a stream goes on, if it can say so in JSON."""
    try:
        place: dict[str, Any] = stream.state_dict()
        json.dumps(place)
    except Exception:  # no such method, or one that fails for this kind of stream
        return None
    return place


def _reading(stream: Any, name: str, label_column: str | None) -> _Reading:
    """Find the columns of a stream, by its features or its first example."""
    where = f"the {name} part"
    features = dict(getattr(stream, "features", None) or {})
    if not features:
        first = next(iter(stream), None) if iter(stream) is not stream else None
        if first is None:  # a generator, whose first example would be lost
            first, stream = _peeked(stream)
        if not isinstance(first, Mapping):
            return _Reading(stream, None, (), 0)
        features = {column: _kind(value) for column, value in first.items()}
    kinds = {column: getattr(kind, "_type", kind) for column, kind in features.items()}
    images = [column for column, kind in kinds.items() if kind == "Image"]
    image = choose_column(images, "image", where, list(kinds), [])
    named = [column for column, kind in kinds.items() if kind == "ClassLabel"]
    if label_column is None:
        label = choose_column(named, "label", where, list(kinds), [])
    else:
        label = check_column(label_column, list(kinds), where)
    if hasattr(features[image], "decode") and hasattr(stream, "cast_column"):
        stream = stream.cast_column(image, type(features[image])(decode=False))  # as they are encoded
    total = getattr(_split_info(stream), "num_examples", None) or 0
    return _Reading(stream, (image, label), tuple(getattr(features[label], "names", None) or ()), total)


def _peeked(stream: Iterable[Any]) -> tuple[Any, Iterator[Any]]:
    examples = iter(stream)
    some = list(islice(examples, 1))
    return (some[0] if some else None), chain(some, examples)


def _kind(value: Any) -> str:
    """Return "Image" for what can be an image."""
    is_image = hasattr(value, "convert") or getattr(value, "ndim", 0) in (2, 3)
    return "Image" if is_image or (isinstance(value, Mapping) and "bytes" in value) else ""


def _split_info(stream: Any) -> Any:
    """Return what Hugging Face knows of the size of a stream, or None."""
    splits = getattr(getattr(stream, "info", None), "splits", None) or {}
    return splits.get(str(getattr(stream, "split", "")))


def _check_room(stream: Any, folder: Path, name: str) -> None:
    needed = getattr(_split_info(stream), "num_bytes", None) or 0
    free = shutil.disk_usage(folder).free
    if needed > free + sum(path.stat().st_size for path in folder.glob(f"{name}-*.tar")):
        raise InputError(
            f"the {name} part takes about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in "
            f"{folder}; choose a folder on a larger disk"
        )


def _write(path: Path, examples: list[Any], first: int, reading: _Reading, name: str) -> None:
    with atomic_replace(path) as temporary, tarfile.open(temporary, "w") as tar:
        for number, example in enumerate(examples, start=first):
            where = f"{name}:{number}"
            if reading.columns is not None:
                image, label = (example[column] for column in reading.columns)
            elif isinstance(example, (tuple, list)) and len(example) >= 2:
                image, label = example[0], example[1]
            else:
                raise InputError(f"{where} is a {type(example).__name__}, expected (image, label)")
            ending, content = _encoded(image, where)
            label = label.item() if hasattr(label, "item") else label
            if isinstance(label, int) and 0 <= label < len(reading.class_names):
                label = reading.class_names[label]
            if label is None or isinstance(label, (list, dict)) or (label == -1 and reading.class_names):
                raise InputError(
                    f"{where} has the label {label!r}, expected a class; filter such examples out"
                )
            for each, bytes_ in ((ending, content), ("json", json.dumps({"label": label}).encode())):
                header = tarfile.TarInfo(f"{number:09d}.{each}")
                header.size = len(bytes_)
                tar.addfile(header, io.BytesIO(bytes_))


def _encoded(image: Any, where: str) -> tuple[str, bytes]:
    """Return the ending and the content of an image file."""
    from PIL import Image

    if image is None:
        return "jpg", b""  # as a damaged one
    if isinstance(image, Mapping):
        content = image.get("bytes")
        if content is None:
            raise InputError(f"{where}: the image is not in the stream, but a path; expected its bytes")
        try:
            with Image.open(io.BytesIO(content)) as opened:
                return _ENDINGS[str(opened.format)], content
        except Exception as error:  # a damaged image stays, and `load` reports it; others become PNG
            if not isinstance(error, KeyError):
                return "jpg", content
            image = Image.open(io.BytesIO(content))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        image = Image.fromarray(image)
    if not hasattr(image, "save"):
        kind = str(getattr(image, "dtype", type(image).__name__))
        raise InputError(f"{where}: the image is {kind}, expected a Pillow image or a uint8 array (H, W, C)")
    file = io.BytesIO()
    image.save(file, "png")
    return "png", file.getvalue()
