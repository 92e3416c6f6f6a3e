"""Atomic file writes, file locks, and readers that report damage in one line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from noisylabels.core.checks import Busy, InputError, did_you_mean


@contextlib.contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it over `path` if the block succeeds.

    A reader sees the old file or the new one, never a partial file; an error leaves the old file
    unchanged. The data is flushed to disk before the rename, so a power failure leaves no empty file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; give the result the permissions of a plain open()
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """Create the folder `path` for the block; if it is empty afterwards, remove it and its new parents."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty, or gone
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def exclusive_lock(path: Path, seconds: float = 0.05) -> Iterator[None]:
    """Hold the lock file `path` for the block; raise `Busy` if another process holds it for `seconds`.

    The operating system releases the lock when the process ends, however it ends. On systems without
    such locks (Windows) nothing is locked.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    deadline = time.monotonic() + seconds  # never 0: `is_locked` may hold the lock for a moment
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                raise Busy(
                    f"another process is working in {path.parent}; wait for it, or name another folder"
                ) from None
            except OSError:
                pass  # a file system without locks
            # The previous holder removes the file at the end: a lock on an unlinked file protects nothing.
            if not _same_file(file.fileno(), path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


@contextlib.contextmanager
def locked_folder(path: Path, what: str) -> Iterator[None]:
    """Create the folder `path` and hold its lock for the block.

    Args:
        path: the folder; it is removed again if nothing is written to it.
        what: what the folder is called in an error, such as "the run's folder".

    Raises:
        InputError: the folder cannot be written.
        Busy: another process holds the lock.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_for(path))
            stack.enter_context(exclusive_lock(path / ".lock"))
        except OSError as error:
            raise InputError(f"{what} {path} cannot be written: {error.strerror}") from None
        yield


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock file `path`, see `exclusive_lock`."""
    try:
        import fcntl

        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # no lock file, or a system without locks
        return False
    return False


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def check_file(path: Path) -> Path:
    """Return `path` if it is a file, else raise an `InputError` that says what is there."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a file")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    return path


def check_target(path: Path, suffixes: Collection[str], what: str) -> Path:
    """Return `path` if it can name a file with one of the `suffixes`, else raise an `InputError`."""
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"the {what} {path} ends in {path.suffix!r}, expected {', '.join(suffixes)}"
            + (did_you_mean(path.suffix, suffixes) if path.suffix else "").partition("; known")[0]
        )
    if path.is_dir():
        raise InputError(f"the {what} {path} is a folder, expected the name of a file")
    return path


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, atomically."""
    with atomic_replace(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as JSON, atomically. NaN and infinity are refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON from `path`; a missing or damaged file is an `InputError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); remove it or restore it") from None


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark; line endings are kept.

    Raises:
        InputError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"line {line} of {path} is not UTF-8 text; save the file as UTF-8") from None


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def cache_root() -> Path:
    """Return the folder for decoded data: NOISYLABELS_CACHE, else the user's cache folder."""
    named = os.environ.get("NOISYLABELS_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "noisylabels"
