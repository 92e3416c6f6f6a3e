"""The checksums of a cached set's files, in its meta.json, and their comparison at every start."""

from __future__ import annotations

import contextlib
import json
import math
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.columnar import array_header, read_array
from noisylabels.core.files import read_json, write_json
from noisylabels.core.opening import open_file
from noisylabels.core.sums import PIECE_BYTES, piece_sums
from noisylabels.data.decode import Progress
from noisylabels.data.images import digest_of

PIXELS = "images.npy"
_KEY, _OWN = "sums", "meta_crc32"
_FILES = (PIXELS, "labels.npy", "rows.npy", "ids")


class Damaged(Exception):  # noqa: N818  a state of the entry, which is then made again
    """A file of the entry differs from the one that was written."""


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Write meta.json with the checksums of the entry's other files and of itself."""
    meta = {name: value for name, value in meta.items() if name not in (_KEY, _OWN)}
    meta[_KEY] = {name: piece_sums(folder / name) for name in _FILES if (folder / name).exists()}
    write_json(folder / "meta.json", meta | {_OWN: _own_sum(meta)})


def check_sums(entry: Path, progress: Progress | None = None) -> None:
    """Compare an entry with its checksums; add them to an entry of an earlier version.

    Args:
        entry: the folder.
        progress: called with ("checking the stored images", done, total), for large sets.

    Raises:
        Damaged: a file is missing, differs, or cannot be read.
    """
    try:
        meta = read_json(entry / "meta.json")
        if _KEY not in meta:
            _add_sums(entry, meta)
            return
        if meta.pop(_OWN) != _own_sum(meta):
            raise Damaged
        for name, sums in meta[_KEY].items():
            if piece_sums(entry / name, _report(progress) if name == PIXELS else None) != sums:
                raise Damaged
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        raise Damaged from None


def _report(progress: Progress | None) -> Callable[[int, int], None] | None:
    def report(done: int, total: int) -> None:
        assert progress is not None
        progress("checking the stored images", done * PIECE_BYTES, total * PIECE_BYTES)

    return report if progress else None


def _own_sum(meta: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


def _add_sums(entry: Path, meta: dict[str, Any]) -> None:
    """Check an entry by its digests, which takes longer, and write the checksums."""
    labels = read_array(entry / "labels.npy")
    if file_digests(entry / PIXELS, labels, meta) != meta["digests"]:
        raise Damaged
    with contextlib.suppress(OSError):  # a cache that is read-only is checked like this every time
        write_meta(entry, meta)


def file_digests(path: Path, labels: np.ndarray, meta: dict[str, Any]) -> list[str]:
    """Return the digests of both sets; the file is read, not mapped, so a large set does not fill memory."""
    n, names = meta["num_train"], meta["class_names"]
    with open_file(path) as file:  # here: Python 3.11 cannot parse two headers at once in two threads
        shape = array_header(file, path)[0][1:]
        first = file.tell()

    def digest(part: slice) -> str:
        with open_file(path) as file:
            begin, end = (first + at * math.prod(shape) for at in (part.start, part.stop))
            file.seek(begin)
            sizes = (min(PIECE_BYTES, end - at) for at in range(begin, end, PIECE_BYTES))
            mine = labels[part]
            return digest_of((len(mine), *shape), mine, names, map(file.read, sizes))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(digest, (slice(0, n), slice(n, len(labels)))))
