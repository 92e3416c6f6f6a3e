"""Objects at a URL: listed, read, written as a whole, and deleted, with retries.

A name is a path below the URL, such as ``CELL/result.json``. A write is atomic: a reader sees the earlier
object or the new one, never a part.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from noisylabels.core.checks import InputError, one_line
from noisylabels.core.files import atomic_replace, check_within, read_content, remove_file
from noisylabels.core.opening import check_regular, has_no_room
from noisylabels.core.urls import PAUSES, lasting, open_files

CONNECTIONS = 16
"""Requests at a time, where many are independent."""

_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
_CONDITIONAL = ("s3", "s3a", "memory")  # protocols of which fsspec can write an object only if it is new

_T = TypeVar("_T")


class Unreachable(InputError):  # noqa: N818  a state of the network rather than of the input
    """Objects could not be read or written although it was tried several times."""


class Entry(NamedTuple):
    """An object as it is listed: its bytes, and the time of its last write by the clock of the store."""

    size: int
    modified: float


class _Files(Protocol):
    """What a kind of store can do; a name is a path below its root."""

    def find(self, under: str) -> dict[str, Entry]:
        """Return the objects below a name, "" for all."""

    def get(self, name: str, path: Path) -> None:
        """Copy an object to a file; `FileNotFoundError` without it."""

    def put(self, path: Path, name: str, *, new: bool) -> None:
        """Write an object; with `new`, `FileExistsError` if it is there and the store can say so."""

    def delete(self, name: str) -> None:
        """Delete an object, or nothing."""


class _Folder:
    """Objects as files of a folder, for ``file://``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, under: str) -> dict[str, Entry]:
        found = {}
        for folder, _, files in os.walk(self._root / under):
            for name in files:
                path = Path(folder) / name
                if name.endswith(".tmp") or path.is_symlink():
                    continue
                try:
                    about = path.stat()
                except FileNotFoundError:
                    continue
                found[path.relative_to(self._root).as_posix()] = Entry(about.st_size, about.st_mtime)
        return found

    def get(self, name: str, path: Path) -> None:
        source = check_within(self._root / name, self._root)
        check_regular(source)
        shutil.copyfile(source, path)

    def put(self, path: Path, name: str, *, new: bool) -> None:
        target = self._root / name
        with atomic_replace(target, self._root) as temporary:
            shutil.copyfile(path, temporary)
            if new:
                os.link(temporary, target)  # alone tells whether another process was first

    def delete(self, name: str) -> None:
        remove_file(self._root / name, self._root)


class _Fsspec:
    """Objects of any file system that fsspec knows."""

    def __init__(self, url: str, protocol: str) -> None:
        self._files, root = open_files(url)
        self._root = root.rstrip("/")
        self._bucket = protocol in _BUCKETS
        self._conditional = protocol in _CONDITIONAL

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def find(self, under: str) -> dict[str, Entry]:
        try:
            found = self._files.find(self._at(under), detail=True)
        except FileNotFoundError:
            if self._bucket:
                raise
            return {}
        start = len(self._root) + 1
        return {path[start:]: Entry(int(about["size"]), _modified(about)) for path, about in found.items()}

    def get(self, name: str, path: Path) -> None:
        self._files.get_file(self._at(name), str(path))

    def put(self, path: Path, name: str, *, new: bool) -> None:
        if new and self._conditional:
            self._files.pipe_file(self._at(name), read_content(path), mode="create")
        else:
            self._files.put_file(str(path), self._at(name))

    def delete(self, name: str) -> None:
        try:
            self._files.rm_file(self._at(name))
        except FileNotFoundError:
            return


def _modified(about: dict[str, Any]) -> float:
    """Return the time of the last write from what file systems list under different names."""
    for key in ("LastModified", "last_modified", "updated", "mtime", "modified", "created"):
        if (found := about.get(key)) is None:
            continue
        if isinstance(found, str):
            from datetime import datetime

            found = datetime.fromisoformat(found)
        return float(found) if isinstance(found, int | float) else float(found.timestamp())
    return 0.0


class Objects:
    """Objects below a URL. A request that fails for a reason that may pass is repeated.

    Args:
        url: such as s3://BUCKET/PATH.
        files: the store.

    Attributes:
        requests: the number of requests by kind, those that were repeated included. A listing counts once,
            whatever its pages.
    """

    def __init__(self, url: str, files: _Files) -> None:
        self.url, self._files = url, files
        self.requests = Counter[str]()
        self._counting = threading.Lock()

    def find(self, under: str = "") -> dict[str, Entry]:
        """Return the objects below a name, "" for all; without one, nothing."""
        return self._steadily("list", under, lambda: self._files.find(under))

    def get(self, name: str, path: Path, size: int | None = None) -> bool:
        """Copy an object to a file, atomically; return whether it is there.

        Args:
            name: of the object.
            path: the file; its folder is made.
            size: its bytes as they were listed: another number is a broken transfer, which is repeated,
                unless the object has been written again since.
        """

        def copy() -> bool:
            with atomic_replace(path) as temporary:
                self._files.get(name, temporary)
                arrived = temporary.stat().st_size
                if size is not None and arrived != size and arrived != self._size(name):
                    raise ConnectionError(f"{arrived} of {size} bytes arrived")
            return True

        try:
            return self._steadily("get", name, copy)
        except FileNotFoundError:
            return False

    def _size(self, name: str) -> int | None:
        """Return the bytes of an object as it is now; None without it."""
        with self._counting:
            self.requests["list"] += 1
        there = self._files.find(name.rpartition("/")[0]).get(name)  # not every store lists a single object
        return None if there is None else there.size

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a small object; None without it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            return read_content(path) if self.get(name, path) else None

    def put(self, path: Path, name: str, *, new: bool = False) -> None:
        """Write a file as an object.

        Raises:
            FileExistsError: with `new`, where the store can tell: there is such an object already.
        """
        tried = False

        def write() -> None:
            nonlocal tried
            try:
                self._files.put(path, name, new=new)
            except FileExistsError:
                if not tried:
                    raise
                # perhaps of the try before, whose answer was lost
                if self._size(name) != path.stat().st_size:
                    raise
            finally:
                tried = True

        self._steadily("put", name, write)

    def write(self, name: str, content: bytes) -> None:
        """Write bytes as an object."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            path.write_bytes(content)
            self.put(path, name)

    def delete(self, name: str, *, patient: bool = True) -> None:
        """Delete an object, or nothing; with `patient` false try once."""
        self._steadily("delete", name, lambda: self._files.delete(name), PAUSES if patient else ())

    def move(self, name: str, to: str) -> None:
        """Give an object another name."""
        with tempfile.TemporaryDirectory() as folder:
            if self.get(name, path := Path(folder) / "object"):
                self.put(path, to)
        self.delete(name)

    def each(self, work: Callable[[_T], object], items: Iterable[_T]) -> None:
        """Call a function for each item, several at a time."""
        items = list(items)
        if len(items) < 2:
            for item in items:
                work(item)
            return
        with ThreadPoolExecutor(min(CONNECTIONS, len(items))) as pool:
            for _ in pool.map(work, items):
                pass

    def _steadily(
        self, kind: str, name: str, work: Callable[[], _T], pauses: Sequence[float] | None = None
    ) -> _T:
        where = f"{self.url}/{name}" if name else self.url
        pauses = PAUSES if pauses is None else pauses
        for pause in (*pauses, None):
            with self._counting:
                self.requests[kind] += 1
            try:
                return work()
            except (InputError, FileExistsError, MemoryError):
                raise
            except FileNotFoundError as error:
                if kind in ("get", "delete"):
                    raise
                raise InputError(
                    f"{where} does not exist ({one_line(error)}); check the name of the bucket"
                ) from None
            except Exception as error:
                if has_no_room(error):
                    raise
                if (reason := lasting(error)) is not None:
                    raise InputError(f"cannot {kind} {where}: {reason}") from None
                if pause is None:
                    raise Unreachable(
                        f"cannot {kind} {where}, {len(pauses) + 1} tries failed: {one_line(error)}"
                    ) from None
            time.sleep(pause)
        raise AssertionError  # the last try returns or raises


@lru_cache(maxsize=8)
def open_objects(url: str) -> Objects:
    """Return the objects at a URL; nothing is requested yet.

    Raises:
        InputError: no such kind of URL, or its package is missing.
    """
    url = url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise InputError(f"{url} names no folder; expected file:///PATH")
        return Objects(url, _Folder(Path(unquote(parts.path))))
    if not (parts.netloc + parts.path).strip("/"):
        raise InputError(f"{url} names no place; expected a URL such as s3://BUCKET/PATH")
    return Objects(url, _Fsspec(url, parts.scheme))
