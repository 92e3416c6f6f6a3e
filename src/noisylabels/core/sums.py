"""Checksums of stored files, fast enough to be compared at every start."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from noisylabels.core.opening import open_file
from noisylabels.core.process import usable_cpus

PIECE_BYTES = 1 << 24
"""Bytes of a file per checksum."""

_STEP = 1 << 20  # read at once: the checksum then finds the bytes in the processor's cache


def piece_sums(path: Path, progress: Callable[[int, int], None] | None = None) -> list[int]:
    """Return the CRC-32 of each piece of 16 MiB of a file.

    They find damage, by a disk or by another program, but are no protection against forgery. zlib computes
    them with the processor's instructions where it has them, at several GB per second.

    Args:
        path: the file.
        progress: called with the pieces that are done, and their number.

    Raises:
        OSError: the file cannot be read.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
    starts = range(0, size, PIECE_BYTES)
    sums = []
    with ThreadPoolExecutor(min(8, usable_cpus())) as pool:  # both reading and summing release Python's lock
        for done, found in enumerate(pool.map(lambda start: _sum(path, start), starts), 1):
            sums.append(found)
            if progress:
                progress(done, len(starts))
    return sums


def _sum(path: Path, start: int) -> int:
    found, left, room = 0, PIECE_BYTES, memoryview(bytearray(_STEP))
    with open_file(path) as file:
        file.seek(start)
        while left and (count := file.raw.readinto(room[: min(left, _STEP)])):
            found, left = zlib.crc32(room[:count], found), left - count
    return found
