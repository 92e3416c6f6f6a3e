"""Processes that decode image files: both ends of the line between them and the one that started them.

A program that is started anew, not a copy of this process: a copy would inherit the locks of torch's
threads, and what `multiprocessing` starts runs the user's script a second time. It imports neither torch nor
the rest of the library. It gets a line of JSON for each chunk, writes the pixels into the file that all share
and what it found into a file of its own, and answers with a line. When whoever started it is gone, however it
went, there is nothing more to read, and it ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noisylabels.data.image_decoding import failure_reason, read_both

UNREADABLE = b"\0" * 32  # in place of the digest of a file that cannot be read
FACTS = np.dtype([("size", "<i8"), ("time", "<i8"), ("digest", "u1", 32)])
"""Of a file: its size and time of change, in nanoseconds, and the sha256 of its content."""


class Chunk(NamedTuple):
    """What is known of a finished chunk of images."""

    files: np.ndarray  # FACTS, (n,)
    sizes: list[list[int]]  # the widths and heights that occur
    gray: bool  # all that can be read are gray
    bad: dict[int, str]  # reason by position in the chunk, for those that cannot be read
    names_digest: str
    pixels_sum: int  # their CRC-32: pages that were never written are to be noticed, no ill will


class Task(NamedTuple):
    """What all chunks of a set have in common."""

    base: str  # the folder that the names are relative to
    target: str  # the file of all pixels
    offset: int  # where in it the first image begins
    shape: tuple[int, int, int]
    records: str  # the folder for what is found


class Worker:
    """A process that decodes chunks, one at a time.

    Args:
        task: see `Task`.
    """

    def __init__(self, task: Task) -> None:
        # found as this process found it, whatever the working directory and PYTHONPATH are
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
        self._send(task._asdict())

    def decode(self, start: int, names: Sequence[str]) -> None:
        """Have the images `names`, which begin at position `start` of the set, decoded; wait until they are.

        Raises:
            OSError: their pixels cannot be written.
            Died: the process has ended.
            RuntimeError: it failed, which is a fault of the program.
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
            raise RuntimeError(f"a process that decodes images failed:\n{answer['fault']}")

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.communicate()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


class Died(RuntimeError):  # noqa: N818  a state of the process rather than of the program
    """A process ended without an answer; `code` is its exit code, below 0 the signal that ended it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"signal {-code}" if code < 0 else f"exit code {code}")
        self.code = code


def main() -> None:
    """Decode what the lines of standard input ask for, until there are no more."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    task = Task(**json.loads(sys.stdin.buffer.readline()))
    target = os.open(task.target, os.O_WRONLY | getattr(os, "O_BINARY", 0))
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            decode_chunk(task, target, asked["start"], asked["names"])
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
    gray, bad = True, {}
    for place, name in enumerate(names):
        content, stamp, digest = None, (0, 0), UNREADABLE
        try:
            content, stamp = read_file(os.path.join(task.base, name))
            digest = hashlib.sha256(content).digest()
            header, found = read_both(content, channels, (size[0], size[1]))
            sizes.add((header.width, header.height))
            gray = gray and header.gray
            if isinstance(found, Exception):
                raise found
            pixels[place] = found
        except Exception as error:  # decoders raise anything for a damaged file
            bad[place] = failure_reason(error, Path(task.base, name) if content is None else content)
        facts.append(stamp)
        digests.append(digest)
    files = np.zeros(len(names), dtype=FACTS)
    files["size"], files["time"] = np.array(facts, dtype=np.int64).T
    files["digest"] = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)
    view = pixels.reshape(-1).data
    written = 0
    while written < len(view):  # a plain write: where a disk is full a memory map ends the process by SIGBUS
        written += os.pwrite(target, view[written:], task.offset + start * pixels[0].nbytes + written)
    chunk = Chunk(
        files, [list(size) for size in sorted(sizes)], gray, bad, names_digest(names), zlib.crc32(view)
    )
    write_chunk(Path(task.records, f"{start}.npz"), chunk)


def read_file(path: str) -> tuple[bytes, tuple[int, int]]:
    """Return a file's content, its size and its time of change in nanoseconds.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        return file.read(), (found.st_size, found.st_mtime_ns)


def names_digest(names: Sequence[str]) -> str:
    """Return what tells a list of names from another."""
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def write_chunk(path: Path, chunk: Chunk) -> None:
    """Write what is known of a chunk, atomically; `read_chunk` notices any damage."""
    rest = json.dumps(chunk._replace(files=np.empty(0))._asdict() | {"files": None}).encode()
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, files=chunk.files, rest=np.frombuffer(rest, dtype=np.uint8))
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def read_chunk(path: Path) -> Chunk:
    """Read what `write_chunk` wrote; the file is a ZIP archive with a checksum.

    Raises:
        Exception: of many types, where it is missing or damaged.
    """
    with path.open("rb") as file, np.load(file) as stored:
        files, rest = stored["files"], json.loads(stored["rest"].tobytes())
    if files.dtype != FACTS:
        raise ValueError(f"{path} is no record of a chunk")
    rest |= {"files": files, "bad": {int(place): reason for place, reason in rest["bad"].items()}}
    return Chunk(**rest)
