"""The index of a WebDataset shard: where in the .tar file each image lies, its key and its label.

One pass over the headers makes it, and the cache keeps it, so that a shard is read at random like a folder.
Of the members only images (.jpg, .png, ...) and labels (.cls, .json, .txt) are read; others, such as pickles,
which WebDataset's default decoders run, are counted and never opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.columnar import next_array
from noisylabels.core.files import atomic_replace, cache_root, make_folder
from noisylabels.core.json_text import parse_json
from noisylabels.core.opening import IMAGE_BYTES, open_file
from noisylabels.core.tables import role_columns
from noisylabels.data.image_formats import suffixes
from noisylabels.data.names import Names

VERSION = 3  # increase it when the same shard must give another index
LABELS = ("cls", "json", "txt")
"""Endings of members that hold a label; the first that a sample has counts. A .json has it under a key."""

_LABEL_BYTES = 1 << 20
_BLOCK = 512  # bytes of a header, and of the zeros that end a .tar file


@dataclass
class ShardIndex:
    """The images of a shard in its order.

    Args:
        names: N names of members.
        offsets, sizes: int64, (N,): where the bytes of each begin in the file, and their number.
        labels: N labels as text; "" for a sample without one.
        others: ending -> the number of members that are not read.
        imageless: samples without an image.
        sums: uint32, (N,): CRC-32 of each image of a shard at a URL; empty for a shard on a disk, of which
            only the headers are read.
    """

    names: Names
    offsets: np.ndarray
    sizes: np.ndarray
    labels: Names
    others: Counter[str] = field(default_factory=Counter)
    imageless: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))


def key_of(member: str) -> str:
    """Return the key of a sample from the name of a member: up to the first dot of its last part.

    >>> key_of("./a/0001.seg.png"), key_of("v1.0/0002.jpg")
    ('a/0001', 'v1.0/0002')
    """
    folder, slash, name = member.removeprefix("./").rpartition("/")
    return folder + slash + name.partition(".")[0]


def shard_index(path: Path, label_column: str | None = None) -> ShardIndex:
    """Return the index of a shard, from the cache if the shard has not changed.

    Args:
        path: the .tar file.
        label_column: the key of the label in .json members; by default .cls, a usual key in .json, or .txt.

    Raises:
        InputError: the shard cannot be read, is no .tar file, is compressed or truncated, has two images or
            two equal members in a sample, or members of a sample that do not follow one another.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"cannot read the shard {path} ({error.strerror}); get it again") from None
    what = [VERSION, os.path.abspath(path), found.st_size, found.st_mtime_ns, label_column]
    name = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
    stored = cache_root() / "shards" / f"{name}.index"
    if (known := load_index(stored)) is not None:
        return known
    made = indexed(path, label_column)
    save_index(made, stored)
    return made


def load_index(stored: Path) -> ShardIndex | None:
    """Return an index that `save_index` wrote; None if it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, EOFError, KeyError, InputError), open_file(stored) as file:
        return _load(file)
    return None


def save_index(index: ShardIndex, stored: Path) -> None:
    """Write an index, if it can be written: without it the next start makes it again."""
    with (
        contextlib.suppress(OSError),
        atomic_replace(make_folder(stored.parent) / stored.name) as temporary,
        temporary.open("wb") as file,
    ):
        _save(index, file)


def _save(index: ShardIndex, file: BinaryIO) -> None:
    index.names.save(file)
    index.labels.save(file)
    rest = json.dumps([dict(index.others), index.imageless]).encode()
    for array in (index.offsets, index.sizes, np.frombuffer(rest, dtype=np.uint8), index.sums):
        np.save(file, array)


def _load(file: BinaryIO) -> ShardIndex:
    names, labels = Names.load(file), Names.load(file)
    offsets, sizes, rest, sums = (next_array(file, "the index of a shard") for _ in range(4))
    others, imageless = json.loads(rest.tobytes())
    if not len(names) == len(labels) == len(offsets) == len(sizes) or len(sums) not in (0, len(names)):
        raise ValueError("the parts of the index differ in length")
    return ShardIndex(names, offsets, sizes, labels, Counter(others), int(imageless), sums)


def indexed(
    path: Path, label_column: str | None, name: str | None = None, *, sums: bool = False
) -> ShardIndex:
    """Read the headers of a shard and return its index.

    Args:
        path: the .tar file.
        label_column: see `shard_index`.
        name: what errors call it; by default its path.
        sums: whether to read the images too, for their checksums.

    Raises:
        InputError: see `shard_index`.
    """
    shown = os.fspath(path) if name is None else name
    reader = _Reader(shown, label_column, sums)
    try:
        with open_file(path) as file:
            _check_ends(file, shown)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # otherwise it keeps all headers
                    reader.add(member, file)
    except tarfile.TarError as error:
        raise InputError(f"{shown} is damaged or truncated ({error}); get the shard again") from None
    except OSError as error:
        raise InputError(f"cannot read the shard {shown} ({error.strerror or error}); get it again") from None
    return reader.finished()


def _check_ends(file: BinaryIO, path: str) -> None:
    """Raise an `InputError` for a compressed file, and one that does not end as .tar files do."""
    head = file.read(4)
    if head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd" or head[:3] == b"BZh":
        raise InputError(f"{path} is compressed, which allows no access at random; decompress it to a .tar")
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _BLOCK))
    if size < _BLOCK or file.read().strip(b"\0"):
        raise InputError(
            f"{path} is truncated: {size:,} bytes without the zeros that end a .tar file; get the shard again"
        )
    file.seek(0)


class _Reader:
    """What is known of the samples of a shard while its members are read in order."""

    def __init__(self, path: str, label_column: str | None, sums: bool) -> None:
        self._path, self._label_column = path, label_column
        self._sums: list[int] | None = [] if sums else None
        self._images = suffixes()
        self._names: list[str] = []
        self._labels: list[str] = []
        self._places: list[tuple[int, int]] = []
        self._others: Counter[str] = Counter()
        self._imageless = 0
        self._keys: set[str] = set()
        self._sum = 0
        self._begin("")

    def _begin(self, key: str) -> None:
        self._key = key
        self._seen: set[str] = set()
        self._image: tuple[str, int, int] | None = None
        self._found: dict[str, str] = {}  # ending -> label

    def add(self, member: tarfile.TarInfo, file: BinaryIO) -> None:
        """Read one member."""
        if member.isdir():
            return
        key = key_of(member.name)
        ending = member.name.rpartition("/")[2].partition(".")[2].lower()
        if not member.isreg() or member.issparse():
            self._others[f"{'.' + ending if ending else ''} (no plain file)"] += 1
            return
        if key != self._key:
            if key in self._keys:
                raise InputError(
                    f"{self._path}: the key {key!r} occurs again after other samples, at {member.name}; pack "
                    "it again, with the members of a sample together (tar --sort=name) and each key once"
                )
            self._end()
            self._begin(key)
            self._keys.add(key)
        if ending in self._seen:
            raise InputError(f"{self._path}: the sample {key!r} has two members .{ending}; pack it again")
        self._seen.add(ending)
        if f".{ending}" in self._images:
            if self._image is not None:
                raise InputError(
                    f"{self._path}: the sample {key!r} has two images, {self._image[0]} and {member.name}; "
                    "keep one, or give the other an ending such as .mask.png"
                )
            self._check_size(member, IMAGE_BYTES)
            self._image = (member.name, member.offset_data, member.size)
            if self._sums is not None:
                self._sum = zlib.crc32(os.pread(file.fileno(), member.size, member.offset_data))
        elif ending in LABELS:
            self._check_size(member, _LABEL_BYTES)
            label = self._label(ending, os.pread(file.fileno(), member.size, member.offset_data), member.name)
            if label:
                self._found[ending] = label
        else:
            self._others[f".{ending}" if ending else ""] += 1

    def _check_size(self, member: tarfile.TarInfo, most: int) -> None:
        if member.size > most:
            raise InputError(
                f"{self._path}: {member.name} has {member.size:,} bytes, expected at most {most:,}"
            )

    def _label(self, ending: str, content: bytes, name: str) -> str:
        """Return the label in a member, "" if it has none."""
        where = f"{self._path}: {name}"
        if ending != "json":
            if self._label_column is not None:
                return ""
            try:
                return content.decode("utf-8").strip()
            except UnicodeDecodeError:
                raise InputError(f"{where} is no text in UTF-8, expected a label") from None
        record = parse_json(content, where, "pack the sample again", foreign=True)
        if not isinstance(record, dict):
            return "" if record is None or isinstance(record, list) else str(record)
        names = list(record)
        chosen = [self._label_column] if self._label_column is not None else []
        chosen = chosen or [names[place] for place in role_columns(names, "label")]
        value = next((record[each] for each in chosen if each in record), None)
        return "" if value is None or isinstance(value, (dict, list)) else str(value)

    def _end(self) -> None:
        if self._image is None:
            self._imageless += bool(self._seen)
            return
        name, offset, size = self._image
        self._names.append(name)
        self._places.append((offset, size))
        if self._sums is not None:
            self._sums.append(self._sum)
        self._labels.append(next((self._found[each] for each in LABELS if each in self._found), ""))

    def finished(self) -> ShardIndex:
        """Return the index after the last member."""
        self._end()
        places = np.array(self._places, dtype=np.int64).reshape(-1, 2)
        return ShardIndex(
            Names.of(self._names),
            np.ascontiguousarray(places[:, 0]),
            np.ascontiguousarray(places[:, 1]),
            Names.of(self._labels),
            self._others,
            self._imageless,
            np.array(self._sums or [], dtype=np.uint32),
        )
