"""The cache: a data set is decoded once; the next start finds the arrays and maps them into memory.

`cache_root()/data/<key>/` holds images.npy, labels.npy and meta.json. The key is a hash of the options and
of every source file's name and content, so a changed file can never give old pixels. Content hashes are
remembered in `cache_root()/digests/` by size and time of change, so that unchanged files are not read.

A truncated or otherwise broken entry is noticed and made again; single changed bytes among the pixels are
not looked for, because that would mean reading all of them at every start.

An entry is written into a folder of another name and renamed when it is whole. Whatever is wrong with the
cache, a damaged entry, a full disk, a folder that cannot be written, costs time and never the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.files import cache_root, file_digest, read_json, write_json
from noisylabels.data.decode import Progress, usable_cores
from noisylabels.data.images import ImageSet, content_digest
from noisylabels.data.reading import Plan, Reading, class_notes

VERSION = 1  # raise it when the same files must give other arrays than before

_UNREADABLE = "unreadable"
_SETTLED_NS = 2_000_000_000  # a file changed within this time may change again with the same time stamp
_STALE_SECONDS = 86_400  # half-written folders of killed processes are removed at this age


def load_cached(plan: Plan, progress: Progress | None = None) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set of `plan`, from the cache or else by reading and storing them.

    Args:
        plan: what a reader found.
        progress: called with (what, done, total) while files are checked and decoded.

    Returns:
        Training and test set; their pixels are memory-mapped unless the cache could not be written. All
        notes are on the training set.

    Raises:
        InputError: whatever the reader finds wrong with the files.
    """
    entry = cache_root() / "data" / _key(plan, file_digests(plan, progress))
    found = _open(entry, plan)
    if found is None:
        try:
            _store(entry, plan.start())
        except OSError as error:  # of the cache; readers turn those of the source into InputError
            return _in_memory(plan, f"{error.strerror or error}: {entry.parent.parent}")
        found = _open(entry, plan)
    return found or _in_memory(plan, f"what was written cannot be read: {entry}")


def file_digests(plan: Plan, progress: Progress | None = None) -> dict[str, str]:
    """Return the sha256 of each source file, reading only those that changed since the last time.

    A file that cannot be read gets a mark instead; the reader will say which it is.
    """
    root = os.fsencode(plan.root.absolute())
    index_path = cache_root() / "digests" / f"{hashlib.sha256(root).hexdigest()[:32]}.json"
    known = _read_index(index_path)
    stats = {name: _stat(path) for name, path in plan.files.items()}
    unknown = [name for name, stat in stats.items() if stat is None or known.get(name, [])[:2] != stat]
    digests = {name: str(row[2]) for name, row in known.items() if name in stats}
    digests.update(_hash_files({name: plan.files[name] for name in unknown}, progress))
    if unknown:
        now = time.time_ns()
        index = {
            name: [*stat, digests[name]]
            for name, stat in stats.items()
            if stat is not None and digests[name] != _UNREADABLE and now - stat[1] > _SETTLED_NS
        }
        with contextlib.suppress(OSError):  # without it the next start reads the files again
            write_json(index_path, index)
    return {name: digests[name] for name in plan.files}


def _stat(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _read_index(path: Path) -> dict[str, list[Any]]:
    try:
        index = read_json(path)
        return {name: [int(row[0]), int(row[1]), str(row[2])] for name, row in index.items()}
    except (OSError, ValueError, TypeError, AttributeError, LookupError):
        return {}


def _hash_files(files: dict[str, Path], progress: Progress | None) -> dict[str, str]:
    def digest(path: Path) -> str:
        try:
            return file_digest(path)
        except OSError:
            return _UNREADABLE

    digests = {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for name, found in zip(files, pool.map(digest, files.values()), strict=True):
            digests[name] = found
            if progress and (len(digests) % 256 == 0 or len(digests) == len(files)):
                progress("checking files", len(digests), len(files))
    return digests


def _key(plan: Plan, digests: dict[str, str]) -> str:
    text = json.dumps([VERSION, plan.options, sorted(digests.items())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _open(entry: Path, plan: Plan) -> tuple[ImageSet, ImageSet] | None:
    """Return the sets of an entry, or None when it is absent or damaged."""
    try:
        meta = read_json(entry / "meta.json")
        labels = np.load(entry / "labels.npy")
        # "c": private to this process, and writable as torch demands of an array it is to share
        images = np.load(entry / "images.npy", mmap_mode="c")
        if hashlib.sha256(labels.tobytes()).hexdigest() != meta["labels_sha256"]:
            return None
        return _two_sets(images, labels, meta, plan)
    except (OSError, ValueError, TypeError, LookupError, EOFError):
        return None


def _two_sets(
    images: np.ndarray, labels: np.ndarray, meta: dict[str, Any], plan: Plan
) -> tuple[ImageSet, ImageSet]:
    pixels, classes = torch.from_numpy(images), torch.from_numpy(labels)
    n, names, ids = meta["num_train"], tuple(meta["class_names"]), meta["ids"]
    train_digest, test_digest = meta["digests"]
    notes = (*plan.notes, *meta["notes"])
    return (
        ImageSet(pixels[:n], classes[:n], names, ids[:n], plan.name, train_digest, notes),
        ImageSet(pixels[n:], classes[n:], names, ids[n:], plan.name, test_digest),
    )


def _store(entry: Path, reading: Reading) -> None:
    """Write an entry: all of it or nothing."""
    folder = entry.parent
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    shutil.rmtree(entry, ignore_errors=True)  # damaged, or it would have been used
    temporary = folder / f".{entry.name[:16]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    temporary.mkdir()
    try:
        labels, meta = _finish(reading, _write_pixels(temporary / "images.npy", reading))
        images = np.load(temporary / "images.npy", mmap_mode="r+")
        meta["digests"] = _digests(images, labels, meta)
        np.save(temporary / "labels.npy", labels)
        write_json(temporary / "meta.json", meta)
        del images
        try:
            temporary.rename(entry)
        except OSError:
            if not entry.is_dir():  # else another process has just stored the same
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_pixels(path: Path, reading: Reading) -> int:
    """Write images.npy one piece after the other, and return how many images there are.

    Plain writes and not a memory map, because a full disk is then an error that can be handled, and
    not the signal SIGBUS. NumPy leaves room in the header for another number of rows.
    """
    rows = 0
    with path.open("wb") as file:
        _write_header(file, (len(reading.labels), *reading.shape))
        for piece in reading.pieces():
            file.write(np.ascontiguousarray(piece).data)
            rows += len(piece)
        file.seek(0)
        _write_header(file, (rows, *reading.shape))
        file.flush()
        os.fsync(file.fileno())  # the pixels are on the disk before the name is
    return rows


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _finish(reading: Reading, rows: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the labels and the facts of the images that could be read."""
    kept = np.array([i for i in range(len(reading.labels)) if i not in reading.bad], dtype=np.int64)
    labels = np.ascontiguousarray(reading.labels[kept], dtype=np.int64)
    num_train = int((kept < reading.num_train).sum())
    if not 0 < num_train < len(kept):
        part = "training" if num_train == 0 else "test"
        raise InputError(f"no {part} image is left; " + "; ".join(reading.notes or ["add images"]))
    if rows != len(kept):  # a damaged Parquet file may have columns of different lengths
        raise InputError(f"there are {rows} images and {len(kept)} labels; get the files again")
    return labels, {
        "class_names": list(reading.class_names),
        "ids": [reading.ids[i] for i in kept],
        "num_train": num_train,
        "notes": reading.notes + class_notes(labels, num_train, reading.class_names),
        "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
    }


def _digests(images: np.ndarray, labels: np.ndarray, meta: dict[str, Any]) -> list[str]:
    n, names = meta["num_train"], meta["class_names"]
    pixels, classes = torch.from_numpy(images), torch.from_numpy(labels)
    return [content_digest(pixels[part], classes[part], names) for part in (slice(0, n), slice(n, None))]


def load_uncached(plan: Plan, note: str = "") -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set of `plan`, read into memory and not stored.

    Args:
        plan: what a reader found.
        note: a line for the user, or "".

    Raises:
        InputError: whatever the reader finds wrong.
    """
    reading = plan.start()
    pieces = list(reading.pieces())
    labels, meta = _finish(reading, sum(map(len, pieces)))
    images = np.concatenate(pieces)
    meta["digests"] = _digests(images, labels, meta)
    meta["notes"] += [note] if note else []
    return _two_sets(images, labels, meta, plan)


def _in_memory(plan: Plan, reason: str) -> tuple[ImageSet, ImageSet]:
    return load_uncached(
        plan,
        f"the decoded images could not be stored ({reason}), so the next start decodes them again; "
        "NOISYLABELS_CACHE names another folder",
    )


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
