"""WebDataset shards on a disk or at a URL: their images stay in .tar files and are decoded for each batch.

The index of every shard (`shard_index`) makes an image as easy to reach as a file of its own, so order,
noise, per-example state and resuming are those of a set in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from noisylabels.core.checks import InputError, Unlabeled, one_line
from noisylabels.core.labels import Labels, read_labels
from noisylabels.core.opening import open_file
from noisylabels.core.positions import Positions, separate
from noisylabels.core.spelling import spelling_notes
from noisylabels.core.urls import url_of
from noisylabels.data.decode import AtMost, judge, left_out, survey, usable_cores
from noisylabels.data.encoded_images import EncodedImages
from noisylabels.data.file_sources import PassedOver
from noisylabels.data.image_decoding import failure_reason, read_pixels
from noisylabels.data.images import ImageSet, image_set
from noisylabels.data.names import Names, unique_names
from noisylabels.data.pixel_range import White
from noisylabels.data.reader import Options, check_no_text, class_notes, held_out_note, name_of
from noisylabels.data.shard_files import divided, in_words, is_pattern, shards_of, split_of_shard
from noisylabels.data.shard_index import ShardIndex, key_of, shard_index
from noisylabels.data.split import hold_out
from noisylabels.data.splits import TRAIN

if TYPE_CHECKING:
    from noisylabels.data.remote_shards import RemoteShard

DEFAULT_SIDE = 224
"""The side to which images are resized if the user names none: that of most pretrained networks."""

_SURVEYED = 256  # images whose headers decide on the size, on color and on the range of values
_CHECKED_AT_ONCE = 2048


@dataclass(frozen=True)
class ShardPlan:
    """The plan of reading shards, without the cache of decoded images.

    Args:
        path: a shard, a folder of shards, or a pattern.
        options: see `Options`.
        notes: lines for the user in addition to those of the sets.
    """

    path: Path
    options: Options
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The shard or folder that the user named; of a pattern, the folder."""
        return self.path.parent if is_pattern(self.path) else self.path

    def load(self) -> tuple[ImageSet, ImageSet]:
        """Return training and test set; the training set has all notes."""
        return _load(self)


def plan(path: Path, options: Options) -> ShardPlan:
    """Plan to read shards.

    Raises:
        InputError: a column of ids or texts is named; the keys of samples are their ids.
    """
    check_no_text(options, str(path))
    if options.id_column is not None:
        raise InputError(
            f"{path}: the ids of samples in shards are their keys; leave out --id-column (id_column=)"
        )
    return ShardPlan(path, options)


class LocalShard:
    """A shard on a disk; see `RemoteShard` for one at a URL.

    Args:
        path: its path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = os.fspath(path.absolute())

    def __str__(self) -> str:
        return self._opened

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    def read(self, offset: int, size: int) -> bytes:
        """Return some bytes, fewer at the end of the file; an `OSError` if they cannot be read."""
        with open_file(self._opened) as file:
            return os.pread(file.fileno(), size, offset)


AnyShard: TypeAlias = "LocalShard | RemoteShard"


class ShardStore:
    """The images of shards by number, in the order of the shards; see `EncodedStore`.

    Args:
        shards: the shards.
        indexes: the index of each.
    """

    def __init__(self, shards: Sequence[AnyShard], indexes: Sequence[ShardIndex]) -> None:
        self._opened = list(shards)
        counts = [len(index.names) for index in indexes]
        self._shards = np.repeat(np.arange(len(shards), dtype=np.int32), counts)
        self._offsets = np.concatenate([index.offsets for index in indexes])
        self._sizes = np.concatenate([index.sizes for index in indexes])
        self._sums = np.concatenate([index.sums for index in indexes])  # empty for shards on a disk
        self.names = Names.of(name for index in indexes for name in index.names)

    def __len__(self) -> int:
        return len(self._shards)

    def encoded(self, number: int) -> bytes:
        """See `EncodedStore`; a shard that was removed, cut or changed is an `InputError` that names it."""
        shard, size = self._opened[self._shards[number]], int(self._sizes[number])
        try:
            content: bytes = shard.read(int(self._offsets[number]), size)
        except OSError as error:
            raise InputError(
                f"cannot read {self.where(number)} ({one_line(error)}); get the shard again"
            ) from None
        if len(content) < size:
            raise InputError(f"{self.where(number)}: the shard has become shorter; get it again")
        if len(self._sums) and zlib.crc32(content) != self._sums[number]:
            assert not isinstance(shard, LocalShard)
            shard.forget()
            raise InputError(
                f"{self.where(number)}: the shard has changed since it was indexed; start again, which "
                "indexes it again"
            )
        return content

    def where(self, number: int) -> str:
        """See `EncodedStore`."""
        return f"{self._opened[self._shards[number]]}, {self.names[number]}"

    def content(self) -> bytes:
        """Return a digest of the names of shards and members, and of sizes and places; not of the pixels."""
        digest = hashlib.sha256(Names.of(shard.name for shard in self._opened).digest() + self.names.digest())
        for array in (self._shards.astype("<i8"), self._offsets.astype("<i8"), self._sizes.astype("<i8")):
            digest.update(array.tobytes())
        return digest.digest()


def _load(plan: ShardPlan) -> tuple[ImageSet, ImageSet]:
    path, options, notes = plan.path, plan.options, list(plan.notes)
    parts = _parts(path, notes)
    shards = [shard for part in parts.values() for shard in part]
    indexes = _indexes(shards, options, notes)
    notes += _notes(indexes)
    store = ShardStore(shards, indexes)
    if not len(store):
        raise InputError(
            f"{path}: no sample has an image, such as 0001.jpg beside 0001.cls; found "
            f"{PassedOver(_others(indexes)).in_words() or 'nothing'} in {in_words(shards)}"
        )
    words = [word for index in indexes for word in index.labels]
    kept = _usable(store, words, options, notes)
    found = _classes([words[i] for i in kept.tolist()], store, kept, path)
    ids, again = unique_names(map(key_of, store.names.take(kept)))
    if again:
        where = store.where(int(kept[again[0]]))
        notes.append(f"{len(again):,} keys occur again, first that of {where}, with the id {ids[again[0]]}")
    num_train = None
    if len(parts) > 1:
        num_train = int((kept < sum(len(index.names) for index in indexes[: len(parts[TRAIN])])).sum())
    order, places = _divided(found.codes, ids, num_train, options, notes)
    labels, num_train = found.codes[order], len(places[0].rows) if places[0].rows is not None else 0
    if not 0 < num_train < len(order):
        part = "training" if num_train == 0 else "test"
        raise InputError(f"{path}: no {part} images are left; " + "; ".join(notes))
    notes += [*spelling_notes(labels, found.class_names), *class_notes(labels, num_train, found.class_names)]
    pixels, white = _pixels(store, kept, options, notes)
    train, test = (
        image_set(
            pixels.take(torch.from_numpy(rows)),
            found.codes[rows],
            found.class_names,
            Names.of(ids).take(rows),
            _name(path),
            positions=at,
            white=white,
        )
        for rows, at in zip((order[:num_train], order[num_train:]), places, strict=True)
    )
    return dataclasses.replace(train, notes=tuple(notes)), test


def _divided(
    labels: np.ndarray, ids: Sequence[str], num_train: int | None, options: Options, notes: list[str]
) -> tuple[np.ndarray, tuple[Positions, Positions]]:
    """Return the order of the images, those for training first, and their positions in their sources.

    Without a test part (`num_train` is None), examples are held out.
    """
    if num_train is not None:
        return np.arange(len(ids)), (separate(num_train), separate(len(ids) - num_train, train=False))
    train, held = hold_out(labels, ids, options.test_fraction)
    notes.append(held_out_note(len(held), options.test_fraction))
    order = np.concatenate([train, held])
    return order, Positions(order, len(ids), whole=False).parts(len(train))


def _name(path: Path) -> str:
    if not is_pattern(path):
        return name_of(path)
    if url_of(path) is not None:
        return path.parent.name
    return Path(os.path.abspath(path)).parent.name


def _parts(path: Path, notes: list[str]) -> dict[str, list[AnyShard]]:
    """Return split -> shards, see `shards_of`."""
    if (url := url_of(path)) is None:
        return {split: list(map(LocalShard, some)) for split, some in shards_of(path, notes).items()}
    from noisylabels.data.remote_shards import listed

    found: list[AnyShard] = []
    splits = []
    for shard, folder in listed(url):
        found.append(shard)
        splits.append(split_of_shard(shard.name, folder))
    return divided(found, splits, url, notes)


def _indexes(shards: Sequence[AnyShard], options: Options, notes: list[str]) -> list[ShardIndex]:
    remote = [shard for shard in shards if not isinstance(shard, LocalShard)]
    if remote:  # then all are
        from noisylabels.data.remote_shards import indexes_of

        made, more = indexes_of(remote, options.label_column, options.progress)
        notes += more
        return made
    made = []
    for done, shard in enumerate(shards, start=1):
        assert isinstance(shard, LocalShard)
        made.append(shard_index(shard.path, options.label_column))
        if options.progress:
            options.progress("reading the headers of shards", done, len(shards))
    return made


def _notes(indexes: Sequence[ShardIndex]) -> list[str]:
    """Return notes on what was left out of the shards."""
    others = _others(indexes)
    lines = [
        line.replace("files that are", "members that are").replace("file that is", "member that is")
        for line in PassedOver(others).notes()
    ]
    if imageless := sum(index.imageless for index in indexes):
        lines.append(f"left out {imageless:,} {'sample' if imageless == 1 else 'samples'} without an image")
    return lines


def _others(indexes: Sequence[ShardIndex]) -> Counter[str]:
    return sum((index.others for index in indexes), Counter())


def _usable(store: ShardStore, words: Sequence[str], options: Options, notes: list[str]) -> np.ndarray:
    """Return the numbers of the images that are used: those with a label, and decodable ones if asked for.

    Raises:
        InputError: samples have no label, or images cannot be read, and may not be left out.
    """
    unlabeled = [i for i, word in enumerate(words) if not word]
    wanted = (
        "a .cls, .json or .txt" if options.label_column is None else f"{options.label_column!r} in a .json"
    )
    if len(unlabeled) == len(words):
        raise Unlabeled(f"no sample has a label, expected {wanted} beside each image, first {store.where(0)}")
    if unlabeled:
        count = len(unlabeled)
        line = (
            f"{count:,} of the {len(words):,} samples {'has' if count == 1 else 'have'} no label "
            f"({wanted}), first {store.where(unlabeled[0])}"
        )
        if options.bad_images == "fail":
            raise InputError(
                f"{line}; pack them again, or leave them out with --bad-images skip (bad_images='skip')"
            )
        notes.append(f"left out: {line}")
    kept = np.setdiff1d(np.arange(len(words)), unlabeled)
    if options.bad_images == "fail":
        return kept
    bad = _undecodable(store, kept, options)
    if bad:
        names = [store.where(i) for i in kept.tolist()] if len(bad) == len(kept) else _Where(store, kept)
        judge(bad, names, "skip")
        notes.append(left_out(bad, names))
    return np.delete(kept, sorted(bad))


@dataclass(frozen=True)
class _Where(Sequence[str]):
    """What errors call the images at some numbers of a store."""

    store: ShardStore
    kept: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        return self.store.where(int(self.kept[place]))


def _undecodable(store: ShardStore, kept: np.ndarray, options: Options) -> dict[int, str]:
    """Decode every image once, and return the reason by place for those that cannot be read."""

    def reason(number: int) -> str:
        encoded = store.encoded(number)
        try:
            read_pixels(encoded, 3, (1, 1))
        except Exception as error:  # decoders can raise anything for a damaged file
            return failure_reason(error, encoded)
        return ""

    bad: dict[int, str] = {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(kept), _CHECKED_AT_ONCE):
            numbers = kept[start : start + _CHECKED_AT_ONCE].tolist()
            for place, found in enumerate(pool.map(reason, numbers), start=start):
                if found:
                    bad[place] = found
            if options.progress:
                options.progress("checking images", start + len(numbers), len(kept))
    return bad


def _classes(words: list[str], store: ShardStore, kept: np.ndarray, path: Path) -> Labels:
    """Return the labels; the classes are the labels that occur."""
    cells = np.array(words, dtype=object)
    found = read_labels(cells, where=lambda row: store.where(int(kept[row])), what=f"the labels of {path}")
    if len(found.class_names) == 1:
        raise Unlabeled(f"{path} has a single class, {found.class_names[0]!r}; a classifier needs 2")
    return found


def _pixels(
    store: ShardStore, kept: np.ndarray, options: Options, notes: list[str]
) -> tuple[EncodedImages, White | None]:
    """Return the source of all images, with a size, colors and range of values that a sample decides.

    And `ImageSet.white`.
    """
    sample = np.unique(np.linspace(0, len(kept) - 1, _SURVEYED, dtype=np.int64))
    content = [store.encoded(int(kept[i])) for i in sample]
    found = survey(content, options.image_size or AtMost(options.max_image_size or DEFAULT_SIDE))
    channels, height, width = found.shape
    notes += found.notes
    return EncodedImages(store, kept, (channels, height, width), found.white), found.kept
