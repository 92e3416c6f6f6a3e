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

from noisylabels.core.checks import InputError, check_whole, one_line
from noisylabels.core.files import atomic_replace, make_folder, remove_file, write_json
from noisylabels.core.opening import open_file
from noisylabels.data.decode import Progress
from noisylabels.data.parquet import check_column, choose_column
from noisylabels.data.shard_records import CopyState, check_shards, copy_state, shard_path
from noisylabels.data.splits import TEST, TRAIN, VAL, by_split

_unfinished: dict[Path, Iterator[Any]] = {}  # record of a copy -> the iterator that it has read from

_ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}


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
    last finished shard, by the stream's own position if it has one (`state_dict`), else by skipping. A
    folder with shards of another data set is refused: the first example is compared, and the number of
    examples if the data set has a length.

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
            the folder has shards of another data set, or the disk has too little space; finished shards stay.

    >>> import tempfile, numpy as np
    >>> images = np.zeros((10, 4, 4), dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = write_shards(zip(images, "uvuvuvuvuv"), folder, per_shard=4)
    ...     sorted(path.name for path in made.glob("*.tar"))
    ['train-00000.tar', 'train-00001.tar', 'train-00002.tar']
    """
    folder = Path(folder).expanduser()
    check_whole(per_shard, "examples per shard", 1)
    parts = dict(_parts(source))
    for name, stream in parts.items():
        try:
            check_shards(make_folder(folder), parts)
            _copy(stream, folder, name, per_shard, label_column, progress)
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
    source: str | None = None  # the name of the data set


def _copy(
    stream: Any, folder: Path, name: str, per_shard: int, label_column: str | None, progress: Progress | None
) -> None:
    """Copy one part, after the shards that an interrupted call has finished."""
    record = folder / f"{name}.state.json"
    state = copy_state(folder, name)
    if _unfinished.get(record) is stream:
        raise InputError(
            f"a copy that did not end has read from the iterator of the {name} part, whose next examples "
            "would be missing; pass a new one"
        )
    if isinstance(stream, Iterator):
        _unfinished[record] = stream
    try:
        reading = _compared(_reading(stream, name, label_column), folder, name, state)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if not state["done"]:  # a finished copy needs no stream
            raise _ended(name, record, state, [], error) from error
    if state["done"]:
        _unfinished.pop(record, None)
        return
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
            _write(shard_path(folder, name, shards), some, at, reading, name)
        done = len(some) < per_shard
        place = None if done else _place(stream)
        copied = at + len(some)
        columns = list(reading.columns) if reading.columns else None
        state = CopyState(
            examples=copied, shards=shards + bool(some), done=done, place=place, columns=columns
        )
        state["source"] = reading.source
        write_json(record, state)
        if progress:
            progress(f"copying {name}", copied, reading.total)
    _unfinished.pop(record, None)
    if not copied:
        remove_file(record)
        raise InputError(f"the {name} part has no examples; a generator can be read only once")


def _ended(name: str, record: Path, state: CopyState, read: list[Any], error: Exception) -> InputError:
    at = f"{state['examples']:,} copied examples"
    what = f"the {name} part ended after {at} with an error ({one_line(error)})"
    if state["place"] is not None and not read:
        return InputError(f"{what}; the same call goes on from there, unless the stream is another one")
    new = "with a new iterator " if record in _unfinished else ""
    return InputError(f"{what}; the same call {new}goes on from there")


def _skipped(stream: Iterable[Any], name: str, state: CopyState) -> Iterator[Any]:
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
    names = tuple(getattr(features[label], "names", None) or ())
    source = getattr(getattr(stream, "info", None), "dataset_name", None)
    return _Reading(stream, (image, label), names, total, source and str(source))


def _peeked(stream: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """Return the first example of a stream, None if it has none, and the whole stream."""
    examples = iter(stream)
    some = list(islice(examples, 1))
    # the first example of an iterator would be lost
    return (some[0] if some else None), (chain(some, examples) if examples is stream else stream)


def _compared(reading: _Reading, folder: Path, name: str, state: CopyState) -> _Reading:
    """Return the reading if the shards of a part are of the same data set, see `write_shards`.

    Raises:
        InputError: they are of another one, which the message describes.
    """
    shard = shard_path(folder, name, 0)
    if not shard.exists():
        return reading
    first, stream = _peeked(reading.stream)
    if first is None:
        return reading
    columns, size = state.get("columns"), _size(stream)
    here = list(reading.columns) if reading.columns else None
    if columns and here and columns != here:
        other = f"the columns {' and '.join(columns)}, not {' and '.join(here)}"
    elif not _begins_with(shard, _members(first, 0, reading, name)):
        other = "another first example"
    elif state["done"] and size not in (None, state["examples"]):
        other = f"{state['examples']:,} examples, not {size:,}"
    else:
        return reading._replace(stream=stream)
    new = "a new iterator and " if isinstance(reading.stream, Iterator) else ""
    whose = f" ({state['source']})" if state.get("source") else ""
    raise InputError(
        f"{folder} holds a copy of another data set{whose}, whose {name} part ({shard.name}) has {other}; "
        f"pass {new}another folder, or remove this one to copy again"
    )


def _size(stream: Any) -> int | None:
    """Return the number of examples of a stream if it is known."""
    try:
        return len(stream)
    except Exception:  # no length, or one that this object cannot tell
        return None


def _begins_with(shard: Path, members: list[tuple[str, bytes]]) -> bool:
    """Return whether the first example of a shard is an image and a label, with equal bytes or pixels."""
    from PIL import Image

    try:
        with open_file(shard) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            held = [(each.name, tar.extractfile(each)) for each in islice(tar, 2)]
            found = [(each, b"" if content is None else content.read()) for each, content in held]
    except tarfile.TarError:
        return False
    if found == members:
        return True
    if [name for name, _ in found] != [name for name, _ in members] or found[1] != members[1]:
        return False
    try:  # another release of Pillow may write other bytes
        one, other = (np.asarray(Image.open(io.BytesIO(some[0][1]))) for some in (found, members))
    except Exception:  # decoders can raise anything for a damaged file
        return False
    return np.array_equal(one, other)


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
            for member, content in _members(example, number, reading, name):
                header = tarfile.TarInfo(member)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))


def _members(example: Any, number: int, reading: _Reading, name: str) -> list[tuple[str, bytes]]:
    """Return name and content of the members of an example: its image and its label."""
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
        raise InputError(f"{where} has the label {label!r}, expected a class; filter such examples out")
    record = json.dumps({"label": label}).encode()
    return [(f"{number:09d}.{ending}", content), (f"{number:09d}.json", record)]


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
