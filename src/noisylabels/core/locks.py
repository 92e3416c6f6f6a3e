"""Locks of files, which the operating system releases when a process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from noisylabels.core.checks import Busy, InputError
from noisylabels.core.opening import check_not_link, open_in_place


@contextlib.contextmanager
def exclusive_lock(path: Path, seconds: float = 0.05) -> Iterator[None]:
    """Hold the lock file `path` for the block; raise `Busy` if another process holds it for `seconds`.

    The file is created, and removed at the end; nothing is written into it. On systems without such locks
    (Windows) nothing is locked.

    Raises:
        Busy: another process holds the lock.
        InputError: the path is a link or no file: in somebody else's folder it could lead to any file.
        OSError: the file cannot be created.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    deadline = time.monotonic() + seconds  # never 0: `is_locked` may hold the lock for a moment
    while True:
        try:
            check_not_link(path)
        except OSError as error:
            raise InputError(f"the lock {path} cannot be used: {error.strerror}") from None
        with open_in_place(path, "ab") as file:
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
                # where the block has moved the folder, another process may have a lock of this name by now
                if _same_file(file.fileno(), path):
                    path.unlink(missing_ok=True)
            return


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock file `path`, see `exclusive_lock`."""
    if not path.exists() or path.is_symlink():
        return False
    with hold_if_free(path, shared=True) as free:
        return free is False


@contextlib.contextmanager
def hold_if_free(path: Path, *, shared: bool = False) -> Iterator[bool | None]:
    """Lock a file or a folder for the block if nobody holds it.

    Args:
        path: the file or folder; it is neither created nor removed.
        shared: another reader may hold it too.

    Yields:
        True if it is locked now, False if another process holds it, None if it cannot be locked.
    """
    try:
        import fcntl
    except ImportError:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            free: bool | None = True
        except BlockingIOError:
            free = False
        except OSError:  # a file system without locks
            free = None
        yield free
    finally:
        os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
