"""The cache of decoded data sets: a set is decoded once, and later runs map its arrays into memory.

`cache_root()/data/<key>/` holds images.npy, labels.npy, rows.npy (see `cached_positions`), ids and meta.json.
The key is a hash of the options and of the name and content of every source file, so a changed file never
gives old pixels. Content hashes are stored in `cache_root()/digests/` with the file's size and modification
time, so unchanged files are not read.

A damaged entry is detected and rebuilt, even if a single bit changed: meta.json holds checksums of all files,
which are compared at every start, so that a run never records the digest of other pixels than it trains on.
That reads the pixels once, as an epoch does: `benchmarks/bench_sums.py` measures it.

An entry is written into a folder with another name and renamed when it is complete. A problem with the cache
(a damaged entry, a full disk, a folder that is not writable) costs time but does not stop the run, unless the
set is too large to be held in memory instead.

Small sets are read by threads, in three passes: hashes, sizes, pixels. Large sets of image files are read
once, by processes, into a folder that is kept if the work is interrupted; the next run resumes from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.columnar import next_array, read_array
from noisylabels.core.files import (
    atomic_replace,
    cache_root,
    file_digest,
    make_folder,
    remove_tree,
)
from noisylabels.core.locks import exclusive_lock
from noisylabels.core.opening import open_file, open_in_place
from noisylabels.core.positions import Positions
from noisylabels.core.schema import read_checked
from noisylabels.core.spelling import spelling_notes
from noisylabels.data import parallel_decoding
from noisylabels.data.cache_sums import Damaged, check_sums, file_digests, write_meta
from noisylabels.data.cached_positions import KEY, Meta, completed, read_positions, write_positions
from noisylabels.data.decode import MAX_UNASKED_BYTES, Progress, usable_cores
from noisylabels.data.decode_workers import FACTS
from noisylabels.data.image_lists import Below
from noisylabels.data.images import ImageSet, content_digest
from noisylabels.data.names import Names
from noisylabels.data.pixel_range import White
from noisylabels.data.reader import Plan, ReadResult, class_notes

VERSION = 3  # increase it when the same files must give other arrays than before
# Starting processes takes as long as decoding so many image files, or files of so many bytes, by threads.
PROCESSES_FROM = 5000
PROCESSES_FROM_BYTES = 8 << 20

_STALE_SECONDS = 86_400  # partial folders of killed processes are removed at this age
_KEPT_SECONDS = 7 * 86_400  # and at this age if a later run could have resumed from them


def load_cached(plan: Plan, progress: Progress | None = None) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set of `plan` from the cache, reading and storing them if necessary.

    Args:
        plan: the plan of a reader.
        progress: called with (what, done, total) while files are checked and decoded.

    Returns:
        Training and test set; their pixels are memory-mapped unless the cache could not be written. The
        training set has all notes.

    Raises:
        InputError: the reader refuses the files, or a large set cannot be stored.
    """
    folder = cache_root() / "data"
    sources = Sources(plan)
    large = plan.ordered is not None and parallel_decoding.can_use_processes() and sources.are_many()
    found, damaged = None, False
    if not (large and sources.are_many(unknown=True)):  # otherwise they are hashed while being decoded
        sources.look(progress)
        found, damaged = _opened(folder / sources.key(), plan, progress)
    if found is None:
        try:
            if large:
                entry = _store_files(folder, plan, sources, progress)
            else:
                entry = folder / sources.key()
                _store(entry, plan.start())
        except OSError as error:  # of the cache; readers raise InputError for those of the source
            return _in_memory(plan, f"{error.strerror or error}: {cache_root()}")
        found = _open(entry, plan)  # its digests were just computed from what was written
        if found and damaged:
            train = found[0]
            note = f"the stored images in {entry} were damaged, and were decoded again"
            found = (dataclasses.replace(train, notes=(*train.notes, note)), found[1])
    return found or _in_memory(plan, f"the stored entry cannot be read: {entry}")


class Sources:
    """The files of a plan in their current state, with the digests stored by earlier runs.

    Args:
        plan: the plan of a reader.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        root = os.fsencode(plan.root.absolute())
        self._index = cache_root() / "digests" / f"{hashlib.sha256(root).hexdigest()[:32]}.index"
        self._names = plan.files.names if isinstance(plan.files, Below) else Names.of(plan.files)
        self._facts = np.zeros(len(self._names), dtype=FACTS)
        self.recall()

    def __len__(self) -> int:
        return len(self._names)

    @property
    def num_unknown(self) -> int:
        """The number of files that have not been read since they changed."""
        return int(self._unknown().sum())

    def are_many(self, unknown: bool = False) -> bool:
        """Return whether decoding all files, or the unknown ones, is work for several processes."""
        chosen = self._unknown() if unknown else np.ones(len(self), dtype=bool)
        if int(chosen.sum()) >= PROCESSES_FROM:
            return True
        if not self._facts["time"].any():
            self._stat()
        return int(self._facts["size"][chosen].sum()) >= PROCESSES_FROM_BYTES

    def recall(self) -> None:
        """Use the stored digests of files that have not changed."""
        known = self._read_index()
        if not known["time"].any():  # no file is known, so none need be inspected
            return
        self._stat()
        same = (known["size"] == self._facts["size"]) & (known["time"] == self._facts["time"])
        self._facts["digest"] = np.where(same[:, None], known["digest"], 0)

    def look(self, progress: Progress | None) -> None:
        """Read the unknown files and store their digests; a file that cannot be read stays unknown."""
        if self.num_unknown:
            if not self._facts["time"].any():
                self._stat()
            self._hash(progress)
            self._remember()

    def learn(self, places: np.ndarray, facts: np.ndarray) -> None:
        """Store the facts about the files at `places` that were found when they were read."""
        self._facts[places] = facts
        self._hash(None)  # the lists, and files that could not be read before
        self._remember()

    def _stat(self) -> None:
        for place, path in enumerate(self._plan.files.values()):
            with contextlib.suppress(OSError):  # the reader reports files that cannot be read
                found = path.stat()
                self._facts[place] = (found.st_size, found.st_mtime_ns, 0)

    def _hash(self, progress: Progress | None) -> None:
        unknown = self._unknown()
        paths = (path for path, wanted in zip(self._plan.files.values(), unknown, strict=True) if wanted)
        digests = _digests_of(paths, int(unknown.sum()), progress)
        for place in np.flatnonzero(unknown):
            self._facts["digest"][place] = np.frombuffer(next(digests), dtype=np.uint8)

    def key(self) -> str:
        """Return the entry's name, a hash of the options and of the names and contents of all files."""
        digest = hashlib.sha256(json.dumps([VERSION, self._plan.options], sort_keys=True).encode())
        digest.update(self._names.digest())
        digest.update(self._facts["digest"].tobytes())
        return digest.hexdigest()

    def _unknown(self) -> np.ndarray:
        return np.asarray(~self._facts["digest"].any(axis=1))

    def _read_index(self) -> np.ndarray:
        nothing = np.zeros(len(self), dtype=FACTS)
        try:
            with open_file(self._index) as file:
                names = Names.load(file)
                facts = next_array(file, self._index)
        except (OSError, ValueError, EOFError):
            return nothing
        if facts.dtype != FACTS or len(facts) != len(names):
            return nothing
        if names == self._names:
            return facts
        row = {name: place for place, name in enumerate(names)}
        at = np.fromiter((row.get(name, -1) for name in self._names), dtype=np.int64, count=len(self))
        nothing[at >= 0] = facts[at[at >= 0]]
        return nothing

    def _remember(self) -> None:
        settled = self._facts["time"] < time.time_ns() - parallel_decoding.SETTLED_NS
        kept = np.flatnonzero(settled & ~self._unknown())
        with (
            contextlib.suppress(OSError),
            atomic_replace(self._index) as temporary,
            temporary.open("wb") as file,
        ):
            self._names.take(kept).save(file)  # without it the next run reads the files again
            np.save(file, self._facts[kept])


def _digests_of(paths: Iterator[Path], count: int, progress: Progress | None) -> Iterator[bytes]:
    """Yield the sha256 of each file, zeros for one that cannot be read."""

    def digest(path: Path) -> bytes:
        try:
            return bytes.fromhex(file_digest(path))
        except OSError:
            return bytes(32)

    done = 0
    with ThreadPoolExecutor(usable_cores()) as pool:
        while block := list(itertools.islice(paths, 4096)):
            for found in pool.map(digest, block):
                done += 1
                if progress and (done % 256 == 0 or done == count):
                    progress("checking files", done, count)
                yield found


def _opened(
    entry: Path, plan: Plan, progress: Progress | None
) -> tuple[tuple[ImageSet, ImageSet] | None, bool]:
    """Return the sets of an entry, or None when it is absent or damaged; and whether it is damaged."""
    try:
        if entry.exists():
            check_sums(entry, progress)
        return _open(entry, plan), False
    except Damaged:
        return None, True


def _open(entry: Path, plan: Plan) -> tuple[ImageSet, ImageSet] | None:
    try:
        meta = read_checked(entry / "meta.json", Meta)
        with open_file(entry / "ids") as file:
            ids = Names.load(file)
        labels = read_array(entry / "labels.npy")
        places = read_positions(entry, meta) if KEY in meta else completed(entry, plan, ids, meta)
        if places is None:
            return None
        # "c": private to this process, and writable, as torch requires of an array that it shares
        images = read_array(entry / "images.npy", writable=True)
        if hashlib.sha256(labels.tobytes()).hexdigest() != meta["labels_sha256"]:
            return None
        return _two_sets(images, labels, ids, meta, plan, places)
    except Exception:  # damage of an entry without checksums: it is made again
        return None


def _two_sets(
    images: np.ndarray,
    labels: np.ndarray,
    ids: Sequence[str],
    meta: dict[str, Any],
    plan: Plan,
    places: Sequence[Positions],
) -> tuple[ImageSet, ImageSet]:
    pixels, classes = torch.from_numpy(images), torch.from_numpy(labels)
    n, names = meta["num_train"], tuple(meta["class_names"])
    train_digest, test_digest = meta["digests"]
    notes = (*spelling_notes(labels, names), *plan.notes, *meta["notes"])
    white = White(*meta["white"]) if "white" in meta else None  # nor is it in entries of earlier versions
    train = ImageSet(pixels[:n], classes[:n], names, ids[:n], plan.name, train_digest, notes, white=white)
    test = ImageSet(pixels[n:], classes[n:], names, ids[n:], plan.name, test_digest, white=white)
    return (
        dataclasses.replace(train, positions=places[0]),
        dataclasses.replace(test, positions=places[1]),
    )


def _store(entry: Path, reading: ReadResult) -> None:
    """Write an entry completely or not at all."""
    folder = entry.parent
    make_folder(folder)
    _remove_stale(folder)
    remove_tree(entry)  # damaged, or it would have been used
    temporary = folder / f".{entry.name[:16]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    make_folder(temporary)
    try:
        rows = _write_pixels(temporary / "images.npy", reading)
        _complete(temporary, *_finish(reading, rows))
        _rename(temporary, entry)
    finally:
        remove_tree(temporary)


def _store_files(folder: Path, plan: Plan, sources: Sources, progress: Progress | None) -> Path:
    """Write the entry of a large set of files, resuming an interrupted run; return its folder.

    One process does the work; others that need the same set wait for it.
    """
    assert plan.ordered is not None
    make_folder(folder)
    _remove_stale(folder)
    options = {name: value for name, value in plan.options.items() if name != "bad_images"}
    inputs = json.dumps([VERSION, os.fspath(plan.root.absolute()), options], sort_keys=True)
    part = folder / f".{hashlib.sha256(inputs.encode()).hexdigest()[:32]}.part"
    with exclusive_lock(part.with_suffix(".lock"), seconds=math.inf):
        sources.recall()  # the previous holder of the lock may have finished the work
        if not sources.num_unknown and _opened(entry := folder / sources.key(), plan, progress)[0]:
            return entry
        try:
            with parallel_decoding.Workers(len(sources)) as workers:
                files = plan.ordered()
                plan.check(files.class_names)
                decoded = parallel_decoding.decode_files(files, part, workers, progress)
            sources.learn(files.places, decoded.facts)
            entry = folder / sources.key()
            if _opened(entry, plan, progress)[0]:  # the same files in another folder
                remove_tree(part)
                return entry
            remove_tree(entry)  # damaged, or it would have been used
            remove_tree(part / "chunks")
            rows = len(files.labels)
            parallel_decoding.keep_rows(part / "images.npy", decoded.shape, rows, decoded.bad)
            reading = ReadResult(
                decoded.shape,
                lambda: iter(()),
                files.labels,
                files.ids,
                files.class_names,
                files.num_train,
                files.notes + decoded.notes + parallel_decoding.left_out_note(files, decoded),
                decoded.bad,
                files.positions,
                decoded.white,
            )
            _complete(part, *_finish(reading, rows - len(decoded.bad)))
            _rename(part, entry)
        except OSError as error:
            room = len(sources) * parallel_decoding.row_bytes(part)
            if room <= MAX_UNASKED_BYTES:
                raise
            raise InputError(
                f"the decoded images cannot be stored in {folder} ({error.strerror or error}; "
                f"{parallel_decoding.room_in_words(folder, room)}): free some space, or set "
                "NOISYLABELS_CACHE to a folder on another disk; decoded images are kept, and the next run "
                "resumes from them"
            ) from None
    return entry


def _complete(
    folder: Path, labels: np.ndarray, ids: Names, meta: dict[str, Any], places: Sequence[Positions]
) -> None:
    """Write the files of an entry other than its pixels."""
    write_positions(folder, places, meta)
    meta["digests"] = file_digests(folder / "images.npy", labels, meta)
    np.save(folder / "labels.npy", labels)
    with open_in_place(folder / "ids", "wb") as file:
        ids.save(file)
    write_meta(folder, meta)


def _rename(folder: Path, entry: Path) -> None:
    try:
        folder.rename(entry)
    except OSError:
        if not entry.is_dir():  # otherwise another process has just stored the same entry
            raise


def _write_pixels(path: Path, reading: ReadResult) -> int:
    """Write images.npy piece by piece, and return the number of images.

    With plain writes a full disk raises an error that can be handled; with a memory map it would be the
    signal SIGBUS. NumPy leaves room in the header for another number of rows.
    """
    rows = 0
    with open_in_place(path, "wb") as file:
        _write_header(file, (len(reading.labels), *reading.shape))
        for piece in reading.pieces():
            file.write(np.ascontiguousarray(piece).data)
            rows += len(piece)
        file.seek(0)
        _write_header(file, (rows, *reading.shape))
        file.flush()
        os.fsync(file.fileno())  # the pixels are on disk before the entry gets its name
    return rows


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _finish(
    reading: ReadResult, rows: int
) -> tuple[np.ndarray, Names, dict[str, Any], tuple[Positions, Positions]]:
    """Return the labels, the ids, the metadata and the positions of the images that could be read."""
    kept = np.delete(np.arange(len(reading.labels)), sorted(reading.bad))
    labels = np.ascontiguousarray(reading.labels[kept], dtype=np.int64)
    num_train = int((kept < reading.num_train).sum())
    if not 0 < num_train < len(kept):
        part = "training" if num_train == 0 else "test"
        raise InputError(f"no {part} images are left; " + "; ".join(reading.notes or ["add images"]))
    if rows != len(kept):  # a damaged Parquet file may have columns of different lengths
        raise InputError(f"there are {rows} images and {len(kept)} labels; get the files again")
    meta = {
        "class_names": list(reading.class_names),
        "num_train": num_train,
        "notes": reading.notes + class_notes(labels, num_train, reading.class_names),
        "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
    }
    if reading.white is not None:
        meta["white"] = list(reading.white)
    train, test = reading.places()
    places = train.take(kept[:num_train]), test.take(kept[num_train:] - reading.num_train)
    return labels, Names.of(reading.ids).take(kept), meta, places


def load_uncached(plan: Plan, note: str = "") -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set of `plan`, read into memory and not stored.

    Args:
        plan: the plan of a reader.
        note: a line for the user, or "".

    Raises:
        InputError: the reader refuses the files.
    """
    reading = plan.start()
    pieces = list(reading.pieces())
    labels, ids, meta, places = _finish(reading, sum(map(len, pieces)))
    images = np.concatenate(pieces)
    pixels, classes, n = torch.from_numpy(images), torch.from_numpy(labels), meta["num_train"]
    meta["digests"] = [
        content_digest(pixels[part], classes[part], meta["class_names"])
        for part in (slice(n), slice(n, None))
    ]
    meta["notes"] += [note] if note else []
    return _two_sets(images, labels, ids, meta, plan, places)


def _in_memory(plan: Plan, reason: str) -> tuple[ImageSet, ImageSet]:
    return load_uncached(
        plan,
        f"the decoded images could not be stored ({reason}), so the next run decodes them again; "
        "set NOISYLABELS_CACHE to another folder",
    )


def _remove_stale(folder: Path) -> None:
    for pattern, allowed in ((".*.tmp", _STALE_SECONDS), (".*.part", _KEPT_SECONDS)):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if parallel_decoding.age_seconds(path) > allowed:
                    remove_tree(path)
