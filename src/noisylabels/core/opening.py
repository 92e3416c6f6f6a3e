"""Opening of files: only regular files, without a hang, and to write not through links.

A path can name more than a file: a named pipe, which waits for a writer; a device, which never ends; a link
into somebody else's folder. Every file is opened here, or checked here before a library opens it. Errors are
`OSError`, as those of `open`, so that callers need no case of their own.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from typing import Any, BinaryIO, Literal, cast

SETTINGS_BYTES = 1 << 24
"""The most that a file of settings may hold, such as a recipe."""

JSON_BYTES = 1 << 28
"""The most that a file of results or metadata in JSON may hold."""

IMAGE_BYTES = 1 << 30
"""The most that the file of one image may hold."""

TEXT_BYTES = 1 << 32
"""The most that a table, a list or a text may hold."""

_UNSIZED_BYTES = 1 << 24  # files of the system, as in /proc, report 0 bytes and may have no end

# Nothing waits: a named pipe opens at once and is then refused. Regular files ignore the flag.
_FLAGS = (
    getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)

_OF_THE_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EFBIG),  # it is no regular file, too short for a position, or too large
)

Location = str | os.PathLike[str]


def open_file(path: Location) -> BufferedReader:
    """Open a regular file and return it for reading bytes; links to a file are followed.

    Raises:
        OSError: there is no such file, it cannot be opened, or the path names a folder, a named pipe, a
            socket or a device, also by ``/dev/stdin`` or ``<(command)``: data are read more than once.

    >>> open_file(os.devnull)
    Traceback (most recent call last):
    OSError: [Errno 22] it is a device, expected a file: '/dev/null'
    """
    check_regular(path)  # before it is opened: opening acts on some devices
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    return cast(BufferedReader, _checked(descriptor, path, "rb"))


def read_bytes(path: Location, most_bytes: int = TEXT_BYTES) -> bytes:
    """Return the content of a regular file of at most `most_bytes`.

    Raises:
        OSError: as for `open_file`, or the file is larger.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        check_size(path, size, most_bytes)
        limit = size or min(most_bytes, _UNSIZED_BYTES)
        content = file.read(limit if size else limit + 1)
    if content is None:
        raise BlockingIOError(errno.EAGAIN, "it has no content yet", str(path))
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has no end, expected at most {limit:,} bytes", str(path))
    return content


def may_pass(error: BaseException | None) -> bool:
    """Return whether an error, or what led to it, is of the system and says nothing of a file's content.

    Such as a disk or a server that does not answer, too many open files, or a missing permission.

    >>> may_pass(PermissionError(errno.EACCES, "")), may_pass(FileNotFoundError(errno.ENOENT, ""))
    (True, False)
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_THE_PATH:
            return True
        error = error.__context__
    return False


def has_no_room(error: BaseException | None) -> bool:
    """Return whether a file could not be written for want of room: a full disk, a quota, a limit of its size.

    >>> has_no_room(OSError(errno.ENOSPC, "")), has_no_room(OSError(errno.EIO, ""))
    (True, False)
    """
    if not isinstance(error, OSError):
        return False
    limited = error.errno == errno.EFBIG and error.strerror == os.strerror(
        errno.EFBIG
    )  # not one of `read_bytes`
    return limited or error.errno in (errno.ENOSPC, errno.EDQUOT)


def read_status(path: Location, most_bytes: int) -> tuple[bytes, os.stat_result]:
    """Return the content and the status of a regular file, in half the time of `read_bytes`.

    For a great many small files, whose calls of the system take longer than their content.

    Raises:
        OSError: as for `read_bytes`, or the file became shorter meanwhile.
    """
    check_regular(path)  # before it is opened: opening acts on some devices
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        found = os.fstat(descriptor)
        _check_mode(found.st_mode, path)
        check_size(path, found.st_size, most_bytes)
        if not found.st_size:  # empty, or of the system
            return read_bytes(path, most_bytes), found
        content = os.read(descriptor, found.st_size)
        while len(content) < found.st_size and (more := os.read(descriptor, found.st_size - len(content))):
            content += more
    finally:
        os.close(descriptor)
    if len(content) < found.st_size:
        raise OSError(errno.EIO, "it became shorter while it was read", str(path))
    return content, found


def check_size(path: Location, size: int, most_bytes: int) -> None:
    """Raise an `OSError` if a file is larger than its kind may be."""
    if size > most_bytes:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, expected at most {most_bytes:,}", str(path))


def check_regular(path: Location) -> None:
    """Raise an `OSError` unless a path leads to a regular file or to nothing.

    For libraries that open a path themselves; of a missing file they report what they need.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    _check_mode(mode, path)


def check_files_below(folder: Location) -> None:
    """Raise an `OSError` unless a folder, with those below it, holds regular files and folders alone.

    For libraries that choose themselves which files of a folder they open.
    """

    def refuse(error: OSError) -> None:
        raise error

    for place, _, files in os.walk(folder, onerror=refuse):
        for name in files:
            check_regular(os.path.join(place, name))


def open_in_place(path: Location, mode: Literal["wb", "ab", "r+b"]) -> BinaryIO:
    """Open a file for writing into it as `open` does, unless it is a link or no regular file.

    Most files are written by `files.atomic_replace`; this is for locks, logs that grow, partial downloads
    and files in a folder that is renamed when it is complete.

    Raises:
        OSError: the path names a link, a folder, a named pipe, a socket or a device, which stay as they are.
    """
    check_not_link(path)
    kind = {"wb": os.O_WRONLY | os.O_CREAT, "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND, "r+b": os.O_RDWR}
    descriptor = os.open(path, kind[mode] | _FLAGS | _NO_LINK, 0o666)
    file = cast(BinaryIO, _checked(descriptor, path, mode))
    if mode == "wb":
        file.truncate(0)
    return file


def check_not_link(path: Location) -> None:
    """Raise an `OSError` unless a path is a regular file itself, or nothing.

    For libraries that write into a file themselves: they would follow a link, and change a file elsewhere.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "it is a link, and links are not followed to write; remove it", str(path))
    _check_mode(mode, path)


def check_database(path: Location) -> None:
    """Raise an `OSError` if a SQLite database or a file that belongs to it is a link or no file."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        check_not_link(f"{os.fspath(path)}{suffix}")


def kind_of(mode: int) -> str:
    """Return in words what a `st_mode` describes.

    >>> kind_of(stat.S_IFIFO | 0o600), kind_of(stat.S_IFREG)
    ('a named pipe', 'a file')
    """
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_mode(mode: int, path: Location) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, expected a file", str(path))
    save = "; save its output to a file first" if stat.S_ISFIFO(mode) else ""
    raise OSError(errno.EINVAL, f"it is {kind_of(mode)}, expected a file{save}", str(path))


def _checked(descriptor: int, path: Location, mode: str) -> Any:
    try:
        _check_mode(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
