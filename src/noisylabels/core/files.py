"""Files and folders that this program writes, atomically and without following links; readers in one line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.json_text import parse_json
from noisylabels.core.locks import exclusive_lock, hold_if_free
from noisylabels.core.opening import (
    JSON_BYTES,
    TEXT_BYTES,
    check_regular,
    check_size,
    open_file,
    read_bytes,
)

_LONGEST_NAME = 200  # bytes of a name that its temporary name repeats; file systems allow 255
_ABANDONED_SECONDS = 86_400  # where files cannot be locked, a temporary of this age belongs to nobody
_REMOVED_SECONDS = 1.0  # for which a folder is created again that other processes remove


@contextlib.contextmanager
def atomic_replace(path: Path, root: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it over `path` if the block succeeds.

    A reader sees the old file or the new one, never a partial file; an error leaves the old file
    unchanged. The data is flushed to disk before the rename, so a power failure leaves no empty file.
    A link is replaced, not followed. Temporary files of processes that were killed are removed.

    Args:
        path: the file. The block writes into the temporary file, and does not replace it.
        root: a folder above it, see `make_folder`.
    """
    make_folder(path.parent, root)
    temporary, held = _temporary(path, folder=False)
    try:
        yield temporary
        # temporaries are private; give the result the permissions of a plain open()
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if os.name == "nt":  # cannot rename an open file
            held.close()
        temporary.replace(path)
    finally:
        held.close()
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and rename it to `path` if the block succeeds.

    `path` must not exist, or be an empty folder. Temporary folders of processes that were killed are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, held = _temporary(path, folder=True)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        temporary.rename(path)
    finally:
        held.close()
        remove_tree(temporary)


def _temporary(path: Path, *, folder: bool) -> tuple[Path, contextlib.ExitStack]:
    """Make a temporary file or folder beside `path`; return it and its lock, which ends with the process."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    _remove_abandoned(path.parent, name)
    while True:
        made = path.parent / f".{name}.{secrets.token_hex(4)}.tmp"
        try:
            if folder:
                made.mkdir(0o700)
            else:
                os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            continue
        held = contextlib.ExitStack()
        # another process may take it for abandoned until it is locked
        if held.enter_context(hold_if_free(made)) is not False and made.exists():
            return made, held
        held.close()


def _remove_abandoned(folder: Path, name: str) -> None:
    """Remove the temporary files of `name` whose processes have ended."""
    pattern = re.compile(re.escape(f".{name}.") + r"[a-z0-9_]{8}\.tmp")
    with contextlib.suppress(OSError):
        for found in [entry.name for entry in os.scandir(folder) if pattern.fullmatch(entry.name)]:
            with contextlib.suppress(OSError), hold_if_free(folder / found) as free:
                age = time.time() - os.lstat(folder / found).st_mtime
                if free or (free is None and age > _ABANDONED_SECONDS):
                    remove_tree(folder / found)


def make_folder(path: Path, root: Path | None = None) -> Path:
    """Create a folder and those above it, and return it.

    Args:
        path: the folder.
        root: a folder above it, such as that of a run: between the two no link is followed, so that the
            folder of somebody else cannot lead to a file of the user. `root` itself may be a link.

    Raises:
        InputError: there is a link below `root`.
        OSError: the folder cannot be made.
    """
    if root is not None:
        check_within(path, root)
    path.mkdir(parents=True, exist_ok=True)
    return path


def check_within(path: Path, root: Path) -> Path:
    """Return `path` if neither it nor a folder between `root` and it is a link, else raise `InputError`."""
    place = root
    for part in path.relative_to(root).parts:
        place = place / check_name(part, "folder or file")
        if place.is_symlink():
            raise InputError(f"{place} is a link, expected a folder or a file of its own; remove the link")
    return path


def check_name(name: str, what: str) -> str:
    """Return a name that a file of somebody else gives a folder or a file; it must not lead elsewhere.

    >>> check_name("cat", "class")
    'cat'
    >>> check_name("../cat", "class")
    Traceback (most recent call last):
    noisylabels.core.checks.InputError: the class '../cat' cannot name a folder; rename it
    """
    if name in ("", ".", "..") or "\0" in name or any(mark in name for mark in (os.sep, os.altsep) if mark):
        raise InputError(f"the {what} {name!r} cannot name a folder; rename it")
    return name


def remove_file(path: Path, root: Path | None = None) -> None:
    """Remove a file or a link, not what it leads to; no error without one. `root` is as for `make_folder`."""
    if root is not None:
        check_within(path.parent, root)
    path.unlink(missing_ok=True)


def remove_tree(path: Path, root: Path | None = None) -> None:
    """Remove a folder with its content, or a file, as far as possible; of a link only the link itself."""
    if root is not None:
        check_within(path.parent, root)
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a new file to `source`, or copy it where links are not possible."""
    if not source.is_symlink():
        with contextlib.suppress(OSError):  # another disk, or one without links
            os.link(source, target)
            return
    check_regular(source)
    shutil.copy2(source, target)


@contextlib.contextmanager
def folder_for(path: Path, root: Path | None = None) -> Iterator[None]:
    """Create the folder `path` for the block; if it is empty afterwards, remove it and its new parents."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    make_folder(path, root)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty, or gone
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def folder_and_lock(lock: Path, root: Path | None = None) -> Iterator[None]:
    """Create the folder of the lock file `lock` and hold the lock for the block.

    The folder is as of `folder_for`, and the errors as of `exclusive_lock`. If the process that held the lock
    removes the folder, which it has left empty, the folder is created again.
    """
    deadline = time.monotonic() + _REMOVED_SECONDS
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(folder_for(lock.parent, root))
                stack.enter_context(exclusive_lock(lock))
            except FileNotFoundError:
                if time.monotonic() > deadline:
                    raise
                continue
            yield
            return


@contextlib.contextmanager
def locked_folder(path: Path, what: str, root: Path | None = None) -> Iterator[None]:
    """Create the folder `path` and hold its lock for the block.

    Args:
        path: the folder; it is removed again if nothing is written to it.
        what: what the folder is called in an error, such as "the run's folder".
        root: a folder above it, see `make_folder`.

    Raises:
        InputError: the folder cannot be written, or its lock is a link.
        Busy: another process holds the lock.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_and_lock(path / ".lock", root))
        except OSError as error:
            raise InputError(f"{what} {path} cannot be written: {error.strerror}") from None
        yield


def check_file(path: Path) -> Path:
    """Return `path` if it is a file, else raise an `InputError` that says what is there."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, expected a file")
        if not path.exists():
            raise InputError(f"there is no file {path}")
        check_regular(path)
    except OSError as error:  # no file, or a path that cannot be one: a link to itself, a name too long
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
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


def write_text(path: Path, text: str, root: Path | None = None) -> None:
    """Write `text` to `path`, atomically; `root` is as for `make_folder`."""
    with atomic_replace(path, root) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, root: Path | None = None) -> None:
    """Write `value` to `path` as JSON, atomically. NaN and infinity are refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", root)


def read_json(path: Path, remedy: str = "restore or remove it", *, foreign: bool = False) -> Any:
    """Read JSON from `path`; a missing or damaged file is an `InputError`, see `parse_json`."""
    return parse_json(read_content(path, JSON_BYTES), path, remedy, foreign=foreign)


def read_text(path: Path, most_bytes: int = TEXT_BYTES) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark; line endings are kept.

    Raises:
        InputError: the file is missing, cannot be read, has more than `most_bytes`, or is not UTF-8.
    """
    try:
        return read_content(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"line {line} of {path} is not UTF-8 text; save the file as UTF-8") from None


def read_content(path: Path, most_bytes: int = TEXT_BYTES) -> bytes:
    """Return the bytes of a file; a missing, unreadable or larger one is an `InputError`."""
    try:
        return read_bytes(path, most_bytes)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def file_digest(path: Path, algorithm: str = "sha256", most_bytes: int | None = None) -> str:
    """Return the hexadecimal digest of a file's bytes; an `OSError` if it has more than `most_bytes`."""
    with open_file(path) as file:
        if most_bytes is not None:
            check_size(path, os.fstat(file.fileno()).st_size, most_bytes)
        return hashlib.file_digest(file, algorithm).hexdigest()


def real_path(path: Path) -> Path:
    """Return a path without links, as far as it exists; a link to itself stays, for the opening to report."""
    return Path(os.path.realpath(path))


def cache_root() -> Path:
    """Return the folder for decoded data: NOISYLABELS_CACHE, else the user's cache folder."""
    named = os.environ.get("NOISYLABELS_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "noisylabels"
