"""Decoding of many or large files by processes, chunk by chunk into one file; an interrupted run is resumed.

A chunk is finished when its record exists: the files it was decoded from (names, sizes, modification times
and digests) and the checksum of its pixels. A resumed run checks all of these, and decodes a chunk again if
its record is missing or damaged, its pixels are not those that were written, or one of its files has changed.
Memory holds the names, 48 bytes per file, and one chunk per process.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import queue
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.columnar import array_header
from noisylabels.core.files import make_folder
from noisylabels.core.opening import open_file, open_in_place
from noisylabels.core.positions import Positions
from noisylabels.data.decode import Progress, Size, choose_shape, judge, left_out, pixel_notes, usable_cores
from noisylabels.data.decode_workers import FACTS, RECORD, Chunk, Died, Task, Worker, names_digest, read_chunk
from noisylabels.data.image_decoding import Header, read_header
from noisylabels.data.names import Names
from noisylabels.data.pixel_range import Peaks, White, white_of, white_of_all

SETTLED_NS = 2_000_000_000  # a file changed this recently may change again with the same time stamp
MOST_WORKERS = 16

_CHUNK_IMAGES = 2048
_LEAST_IMAGES = 64
_CHUNKS = 64  # of a small set, so that no process waits long for another's last chunk
_CHUNK_BYTES = 1 << 24  # of pixels that a process holds
_SAMPLED = 32  # images whose headers are read to guess the shape


@dataclass
class Files:
    """Labeled image files in the order of storage, training examples first.

    Args:
        base: the folder that the names are relative to.
        names: N names; a name may be absolute.
        places: int64, (N,): the position of each among the files of the plan.
        labels: int64, (N,).
        class_names: K names.
        num_train: the number of training examples.
        image_size: `size` of `Options`.
        bad_images: as in `Options`.
        notes: lines that the user should read.
        ids: the ids of the examples, N different ones.
        positions: where the files lie in their source.
    """

    base: Path
    names: Names
    places: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    num_train: int
    image_size: Size
    bad_images: str
    notes: list[str]
    ids: Names
    positions: Positions | None = None


@dataclass
class Decoded:
    """The result of decoding files.

    Args:
        shape: channels, height, width.
        facts: FACTS, (N,), of each file when it was decoded.
        bad: the reason by position for unreadable images, whose pixels are missing.
        notes: lines on resizing, the range of values, and pages that are not read.
        white: see `ImageSet`.
    """

    shape: tuple[int, int, int]
    facts: np.ndarray
    bad: dict[int, str]
    notes: list[str]
    white: White | None


class Workers:
    """Processes for `decode_files`, started while the files are put in order: a start takes 0.1 seconds.

    Args:
        images: the number of files, which bounds that of the processes.
    """

    def __init__(self, images: int) -> None:
        least = min(_LEAST_IMAGES, _CHUNK_IMAGES)
        self._count = min(usable_cores(), MOST_WORKERS, -(-images // least))
        self._waiting: list[Worker] = []

    def __enter__(self) -> Workers:
        self._waiting = self._started()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._waiting:
            worker.end()

    def take(self) -> list[Worker]:
        """Return processes, which the caller ends: those that wait, or new ones."""
        taken, self._waiting = self._waiting or self._started(), []
        return taken

    def _started(self) -> list[Worker]:
        return [Worker() for _ in range(self._count)]


def decode_files(files: Files, folder: Path, workers: Workers, progress: Progress | None = None) -> Decoded:
    """Decode all files into `folder`/images.npy, except those that an earlier call has already decoded.

    Args:
        files: the files.
        folder: the folder of the pixels and, in `folder`/chunks, the records; for one process at a time.
        workers: see `Workers`.
        progress: called with ("decoding", done, total).

    Returns:
        The facts about the files and the images that could not be read.

    Raises:
        InputError: images cannot be read and may not be left out, or none can be read; images would take
            too much memory and no size was set; a process was killed.
        OSError: the pixels cannot be stored.
    """
    records = folder / "chunks"
    make_folder(records)
    headers = list(_some_headers(files))
    sizes = {(header.width, header.height) for header in headers}
    gray = all(header.gray for header in headers)
    peaks = functools.reduce(Peaks.joined, (header.peaks._replace(colors=0) for header in headers), Peaks())
    white = white_of(peaks)
    shape = choose_shape(len(files.names), sizes, gray, files.image_size)[0]
    while True:  # until no image requires another shape or range of values: a few times at most
        facts = np.zeros(len(files.names), dtype=FACTS)
        bad: dict[int, str] = {}
        done = paged = 0
        peaks = peaks._replace(colors=0)
        for start, chunk in _chunks(files, shape, white, folder, workers):
            facts[start : start + len(chunk.files)] = chunk.files
            bad |= {start + place: reason for place, reason in chunk.bad.items()}
            # as in `survey` all readable images count; the shape was guessed from some of them
            sizes.update((width, height) for width, height in chunk.sizes)
            gray = gray and chunk.gray
            peaks = peaks.joined(chunk.peaks)
            paged += chunk.paged
            wanted, note = choose_shape(len(files.names), sizes, gray, files.image_size)
            if (wanted, white_of(peaks)) != (shape, white):
                break
            done += len(chunk.files)
            if progress:
                progress("decoding", done, len(files.names))
        if (wanted, white_of(peaks)) == (shape, white):
            break
        shape, white = wanted, white_of(peaks)
    judge(bad, files.ids, files.bad_images)
    white_of_all(peaks)
    return Decoded(shape, facts, bad, pixel_notes(note, peaks, paged), white.of(peaks))


def keep_rows(path: Path, shape: tuple[int, int, int], rows: int, bad: dict[int, str]) -> None:
    """Remove the gaps of bad images from the `rows` of images.npy, and flush it to disk."""
    row_bytes = int(np.prod(shape))
    with open_in_place(path, "r+b") as file:
        _write_header(file, (rows - len(bad), *shape))
        offset = file.tell()
        gaps = [*sorted(bad), rows]
        for number, gap in enumerate(gaps[:-1]):
            first, last = gap + 1, gaps[number + 1]
            for at in range(first, last, _rows_at_once(shape)):
                file.seek(offset + at * row_bytes)
                piece = file.read(min(_rows_at_once(shape), last - at) * row_bytes)
                file.seek(offset + (at - number - 1) * row_bytes)
                file.write(piece)
        file.truncate(offset + (rows - len(bad)) * row_bytes)
        file.flush()
        os.fsync(file.fileno())  # the pixels are on disk before the entry gets its name


def left_out_note(files: Files, decoded: Decoded) -> list[str]:
    """Return a line on the images left out, or no line if there are none."""
    return [left_out(decoded.bad, files.ids)] if decoded.bad else []


def can_use_processes() -> bool:
    """Return whether worker processes can be started and can write into one file."""
    return bool(sys.executable) and hasattr(os, "pwrite")


def row_bytes(folder: Path) -> int:
    """Return the bytes per image in `folder`/images.npy, 0 if that does not exist."""
    try:
        with open_file(folder / "images.npy") as file:
            return int(np.prod(array_header(file, folder)[0][1:]))
    except (OSError, ValueError):
        return 0


def room_in_words(folder: Path, needed: int) -> str:
    """Return in words how much space the pixels take and how much is free."""
    free = shutil.disk_usage(folder).free
    return f"they take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"


def _some_headers(files: Files) -> Iterator[Header]:
    for place in np.unique(np.linspace(0, len(files.names) - 1, _SAMPLED, dtype=np.int64)):
        with contextlib.suppress(Exception):  # decoding reports the reason
            yield read_header(files.base / files.names[int(place)])


def _chunks(
    files: Files, shape: tuple[int, int, int], white: White, folder: Path, workers: Workers
) -> Iterator[tuple[int, Chunk]]:
    """Yield each chunk with its position, finished ones first."""
    n, records = len(files.names), folder / "chunks"
    target = folder / "images.npy"
    rows = min(_rows_at_once(shape), max(_LEAST_IMAGES, n // _CHUNKS))
    with open_in_place(target, "r+b" if target.exists() else "wb") as file:
        _write_header(file, (n, *shape))
        offset = file.tell()
        needed = offset + n * int(np.prod(shape))
        have = os.fstat(file.fileno()).st_blocks * 512 if hasattr(os.stat_result, "st_blocks") else 0
        if shutil.disk_usage(folder).free < needed - have:  # fail now rather than after an hour
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.truncate(needed)
    base, pixels = os.fspath(files.base.absolute()), os.fspath(target.absolute())
    task = Task(base, pixels, offset, shape, str(records), white)
    todo = []
    with open_file(target) as file:
        for start in range(0, n, rows):
            names = files.names[start : start + rows]
            found = _finished(records / f"{start}{RECORD}", names, files.base, file, offset, start, shape)
            if found is None or (found.white != white and (found.peaks.deep or found.peaks.real)):
                todo.append(start)
            else:
                yield start, found
    if todo:
        yield from _by_workers(workers.take(), task, files.names, todo, rows)


def _by_workers(
    workers: Sequence[Worker], task: Task, names: Names, todo: list[int], rows: int
) -> Iterator[tuple[int, Chunk]]:
    """Decode the chunks that begin at `todo` in worker processes, and yield each when it is finished."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for start in todo:
        waiting.put(start)
    results: queue.SimpleQueue[tuple[int, Chunk | BaseException]] = queue.SimpleQueue()

    def serve(worker: Worker) -> None:
        start = -1
        try:
            worker.begin(task)
            while True:
                start = waiting.get_nowait()
                worker.decode(start, names[start : start + rows])
                results.put((start, read_chunk(Path(task.records, f"{start}{RECORD}"))))
        except queue.Empty:
            return
        except BaseException as error:  # raised by the consumer of the results
            results.put((start, error))

    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
    try:
        for thread in threads:
            thread.start()
        for _ in todo:
            start, result = results.get()
            if isinstance(result, Died):
                last = min(start + rows, len(names)) - 1
                raise InputError(
                    f"an image decoding process ended ({result}) at one of {names[start]} to "
                    f"{names[last]}: too little memory, or a file that crashes its decoder; start again to "
                    "resume from there, or remove the file"
                )
            if isinstance(result, BaseException):
                raise result
            yield start, result
    finally:
        for worker in workers:
            worker.end()
        for thread in threads:
            thread.join()


def _finished(
    record: Path, names: Names, base: Path, file: Any, offset: int, start: int, shape: tuple[int, int, int]
) -> Chunk | None:
    """Return a chunk that was decoded before, or None if it is missing, damaged or outdated."""
    if not record.exists():
        return None
    try:
        chunk = read_chunk(record)
        written = record.stat().st_mtime_ns
    except Exception:  # damaged in any way
        return None
    if len(chunk.files) != len(names) or chunk.names_digest != names_digest(list(names)):
        return None
    for place, name in enumerate(names):
        if place in chunk.bad and not chunk.files["size"][place] and not chunk.files["time"][place]:
            return None  # it could not be opened before, but may be readable now
        try:
            found = os.stat(base / name)
        except OSError:
            return None
        size, changed = chunk.files["size"][place], chunk.files["time"][place]
        if (found.st_size, found.st_mtime_ns) != (size, changed) or written - changed < SETTLED_NS:
            return None
    row_bytes = int(np.prod(shape))
    file.seek(offset + start * row_bytes)
    pixels = file.read(len(names) * row_bytes)
    return chunk if zlib.crc32(pixels) == chunk.pixels_sum else None


def _rows_at_once(shape: tuple[int, int, int]) -> int:
    return min(_CHUNK_IMAGES, max(16, _CHUNK_BYTES // int(np.prod(shape))))


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def age_seconds(folder: Path) -> float:
    """Return the seconds since a chunk was last finished in the folder."""
    newest = max(path.stat().st_mtime for path in (folder, folder / "chunks") if path.exists())
    return time.time() - newest
