"""Worker processes that decode image files: the worker itself, and its handle in the parent process.

A worker is a new program, not a fork of this process: a fork would inherit the locks of torch's threads, and
`multiprocessing` would run the user's script a second time. It imports neither torch nor the rest of the
library. It receives a line of JSON with what all chunks share and then one per chunk, writes the pixels into
the file that all workers share and the record into a file per chunk, and answers with one line. When the
parent ends, for whatever reason, the worker's input ends and so does the worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import traceback
import warnings
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noisylabels.core.opening import IMAGE_BYTES, open_in_place, read_bytes, read_status
from noisylabels.data.image_decoding import failure_reason, read_both
from noisylabels.data.pixel_range import NONE, Peaks, White

_READ_TOGETHER = 64  # small files
_HELD_BYTES = 1 << 18  # of files that wait to be decoded

RECORD = ".record"
"""Ending of the file with the record of a chunk, whose name is the position of the first image."""

_SUM_BYTES = 4

UNREADABLE = b"\0" * 32  # in place of the digest of a file that cannot be read
FACTS = np.dtype([("size", "<i8"), ("time", "<i8"), ("digest", "u1", 32)])
"""The facts about a file: size, modification time in nanoseconds, and sha256 of its content."""


class Chunk(NamedTuple):
    """The record of a finished chunk of images."""

    files: np.ndarray  # FACTS, (n,)
    sizes: list[list[int]]  # the widths and heights that occur
    gray: bool  # whether all readable images are gray
    bad: dict[int, str]  # reason by position in the chunk, for those that cannot be read
    names_digest: str
    pixels_sum: int  # their CRC-32, against pages that were never written, not against tampering
    paged: int = 0  # the number of files with several pages
    peaks: Peaks = Peaks()
    white: White = White()  # the values that became 255 in images of more than 8 bits


class Task(NamedTuple):
    """The parameters shared by all chunks of a set."""

    base: str  # the folder that the names are relative to
    target: str  # the file of all pixels
    offset: int  # where the first image begins in it
    shape: tuple[int, int, int]
    records: str  # the folder of the chunks' records
    white: White = White()


class Worker:
    """The parent's handle of a process that decodes chunks, one at a time; it starts at once."""

    def __init__(self) -> None:
        # the same package as in this process, independent of the working directory and PYTHONPATH
        root = os.fspath(Path(__file__).resolve().parents[2])
        run = "from noisylabels.data.decode_workers import main; main()"
        code = f"import sys; sys.path.insert(0, {root!r}); {run}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.fspath(Path.cwd()),
        )

    def begin(self, task: Task) -> None:
        """Send the parameters of all chunks, once and first."""
        with contextlib.suppress(OSError):  # of a process that has ended, which `decode` reports
            self._send(task._asdict())

    def decode(self, start: int, names: Sequence[str]) -> None:
        """Decode the images `names`, which begin at position `start` of the set, and wait for the result.

        Raises:
            OSError: their pixels cannot be written.
            Died: the process has ended.
            RuntimeError: the process failed because of a bug.
        """
        assert self._process.stdout is not None
        try:
            self._send({"start": start, "names": list(names)})
            answer = json.loads(self._process.stdout.readline() or b"null")
        except (OSError, ValueError):  # a broken pipe, half a line
            answer = None
        if answer is None:
            raise Died(self._process.wait())
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        if "fault" in answer:
            raise RuntimeError(f"an image decoding process failed:\n{answer['fault']}")

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.communicate()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


class Died(RuntimeError):  # noqa: N818  a state of the process rather than of the program
    """A process ended without an answer; `code` is its exit code, or minus the signal that ended it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"signal {-code}" if code < 0 else f"exit code {code}")
        self.code = code


def main() -> None:
    """Decode the chunks that the lines of standard input name, until the input ends."""
    import gc
    import signal

    gc.freeze()  # modules need no further inspection; images do
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    warnings.simplefilter("ignore")
    if not (first := sys.stdin.buffer.readline()):
        return  # nothing was to be decoded
    task = Task(**json.loads(first))
    task = task._replace(white=White(*task.white))
    target = open_in_place(task.target, "r+b")
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            decode_chunk(task, target.fileno(), asked["start"], asked["names"])
            answer: dict[str, Any] = {}
        except OSError as error:
            answer = {"errno": error.errno} if error.errno else {"fault": traceback.format_exc()}
        except Exception:
            answer = {"fault": traceback.format_exc()}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def decode_chunk(task: Task, target: int, start: int, names: list[str]) -> None:
    """Decode images into the open file `target` and write the record of them; see `Worker.decode`."""
    channels, *size = task.shape
    pixels = np.zeros((len(names), *task.shape), dtype=np.uint8)
    facts: list[tuple[int, int]] = []
    digests: list[bytes] = []
    sizes: set[tuple[int, int]] = set()
    gray, bad, paged, peaks = True, {}, 0, Peaks()
    for place, (content, stamp, digest) in enumerate(_read_ahead(task.base, names)):
        try:
            if isinstance(content, Exception):
                raise content
            suffix = os.path.splitext(names[place])[1]
            header, found = read_both(content, channels, (size[0], size[1]), task.white, suffix)
            sizes.add((header.width, header.height))
            gray = gray and header.gray
            paged += header.pages > 1
            if header.peaks is not NONE:
                peaks = peaks.joined(header.peaks)
            if isinstance(found, Exception):
                raise found
            pixels[place] = found
        except Exception as error:  # decoders can raise anything for a damaged file
            file = Path(task.base, names[place])
            bad[place] = failure_reason(error, file if isinstance(content, Exception) else content)
        facts.append(stamp)
        digests.append(digest)
    files = np.zeros(len(names), dtype=FACTS)
    files["size"], files["time"] = np.array(facts, dtype=np.int64).T
    files["digest"] = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)
    view = pixels.reshape(-1).data
    written = 0
    while written < len(view):  # not a memory map, which on a full disk ends the process by SIGBUS
        written += os.pwrite(target, view[written:], task.offset + start * pixels[0].nbytes + written)
    shapes = [list(size) for size in sorted(sizes)]
    chunk = Chunk(files, shapes, gray, bad, names_digest(names), zlib.crc32(view), paged, peaks, task.white)
    write_chunk(Path(task.records, f"{start}{RECORD}"), chunk)


def _read_ahead(
    base: str, names: Sequence[str]
) -> Iterator[tuple[bytes | Exception, tuple[int, int], bytes]]:
    """Yield the content, the status and the digest of each file, some read together before they are decoded.

    The calls of the system for one file after every decoded image took 8 microseconds more per file: the
    processor's caches then alternate between two kinds of work.
    """
    for begin in range(0, len(names), _READ_TOGETHER):
        block: deque[tuple[bytes | Exception, tuple[int, int], bytes]] = deque()
        held = 0
        for name in names[begin : begin + _READ_TOGETHER]:
            try:
                content, stamp = read_file(os.path.join(base, name))
                block.append((content, stamp, hashlib.sha256(content).digest()))
                held += len(content)
            except Exception as error:  # also of a name that no file can have
                block.append((error, (0, 0), UNREADABLE))
            while block and held > _HELD_BYTES:  # photographs
                held -= block[0][1][0]
                yield block.popleft()
        yield from block


def read_file(path: str) -> tuple[bytes, tuple[int, int]]:
    """Return a file's content, its size and its modification time in nanoseconds.

    Raises:
        OSError: it cannot be read.
    """
    content, found = read_status(path, IMAGE_BYTES)
    return content, (found.st_size, found.st_mtime_ns)


def names_digest(names: Sequence[str]) -> str:
    """Return a digest that identifies a list of names."""
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def write_chunk(path: Path, chunk: Chunk) -> None:
    """Write the record of a chunk: a checksum, a line of JSON, and the facts about its files.

    It is not flushed to disk, which would take as long as decoding 50 images: `read_chunk` refuses what a
    kill or a power failure left of it.
    """
    rest = chunk._replace(files=np.empty(0))._asdict() | {"files": None}
    content = json.dumps(rest).encode() + b"\n" + chunk.files.tobytes()
    with open_in_place(path, "wb") as file:
        file.write(zlib.crc32(content).to_bytes(_SUM_BYTES, "little") + content)


def read_chunk(path: Path) -> Chunk:
    """Read the record that `write_chunk` wrote.

    Raises:
        Exception: of many types, if the file is missing or damaged.
    """
    stored = read_bytes(path)
    content = stored[_SUM_BYTES:]
    if zlib.crc32(content).to_bytes(_SUM_BYTES, "little") != stored[:_SUM_BYTES]:
        raise ValueError(f"{path} is no complete record of a chunk")
    line, _, files = content.partition(b"\n")
    rest = json.loads(line)
    rest |= {"files": np.frombuffer(files, FACTS)}
    rest |= {"bad": {int(place): reason for place, reason in rest["bad"].items()}}
    rest |= {name: kind(*rest[name]) for name, kind in (("peaks", Peaks), ("white", White))}
    return Chunk(**rest)
