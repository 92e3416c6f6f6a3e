"""WebDataset shards at a URL: listed, copied to the cache as far as the disk allows, else read by ranges.

Each shard is read as a whole once, to index it. Its copy is kept while the copies of all shards take at most
half of the space that is free; an image of a shard without a copy is one request for its bytes, whose
checksum the index has. So an epoch's order, resuming and results do not depend on which copies there are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from noisylabels.core.checks import InputError, one_line
from noisylabels.core.files import cache_root, make_folder, remove_file
from noisylabels.core.locks import exclusive_lock
from noisylabels.core.opening import open_file, open_in_place
from noisylabels.core.urls import PAUSES, lasting, open_files
from noisylabels.data.decode import Progress
from noisylabels.data.shard_files import SUFFIX, expand, is_pattern
from noisylabels.data.shard_index import ShardIndex, indexed, load_index, save_index
from noisylabels.data.splits import split_of

CONNECTIONS = 16
"""Requests at a time for the sizes of shards."""

_COPIES = 4  # shards that are copied at a time
_BLOCK = 1 << 23  # bytes per request while a shard is copied
_UNUSED_SECONDS = 30 * 86_400  # after which a copy is removed

_T = TypeVar("_T")


class RemoteShard:
    """A shard at a URL.

    Args:
        url: its URL.
        files: the file system of fsspec.
        place: the shard in it.
        size: its bytes.
        version: its entity tag or time of modification; "" if the server states none.
    """

    def __init__(self, url: str, files: Any, place: str, size: int, version: str) -> None:
        self.url, self.size, self._files, self._place = url, size, files, place
        name = hashlib.sha256(url.encode()).hexdigest()[:24]
        what = hashlib.sha256(json.dumps([url, size, version]).encode()).hexdigest()[:24]
        self._copy = cache_root() / "shards" / f"{name}-{what}{SUFFIX}"

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def forget(self) -> None:
        """Remove the copy and the indexes, which the shard at the URL contradicts."""
        for path in self._copy.parent.glob(f"{self._copy.stem}*"):
            if path.suffix != ".lock":
                remove_file(path)

    @property
    def is_copied(self) -> bool:
        """Whether the shard is in the cache."""
        return self._copy.exists()

    def read(self, offset: int, size: int) -> bytes:
        """Return some bytes, of the copy if there is one.

        Raises:
            InputError: the server does not send them.
        """
        with contextlib.suppress(OSError), open_file(self._copy) as file:  # it may be removed meanwhile
            content = os.pread(file.fileno(), size, offset)
            if len(content) == size:
                return content
        return self._requested(offset, size)

    def index(self, label_column: str | None, keep: bool, stop: threading.Event) -> ShardIndex:
        """Return the index of the shard, from the cache if there is one, and keep the copy if it is wanted.

        Raises:
            InputError: the shard cannot be read, or is damaged, see `shard_index`.
        """
        column = hashlib.sha256(str(label_column).encode()).hexdigest()[:8]
        stored = self._copy.with_name(f"{self._copy.stem}-{column}.remote")
        found = load_index(stored)
        if found is not None and (not keep or self.is_copied):
            return found
        make_folder(self._copy.parent)
        with exclusive_lock(self._copy.with_suffix(".lock"), seconds=float("inf")):
            if not self.is_copied:
                self._fetch(stop)
            if found is None:
                found = indexed(self._copy, label_column, self.url, sums=True)
                save_index(found, stored)
            if not keep:
                remove_file(self._copy)
        return found

    def _fetch(self, stop: threading.Event) -> None:
        """Copy the shard, after the bytes that an interrupted start has left."""
        part = self._copy.with_suffix(".part")
        with open_in_place(part, "ab") as file:
            done = file.tell()
            while done < self.size:
                if stop.is_set():
                    raise InputError(f"the copy of {self.url} was interrupted; start again to resume")
                content = self._requested(done, min(_BLOCK, self.size - done))
                file.write(content)
                done += len(content)
            file.flush()
            os.fsync(file.fileno())  # the bytes are on disk before the copy gets its name
        if done > self.size:
            remove_file(part)
            raise InputError(f"the copy of {self.url} was damaged and is removed; start again")
        part.replace(self._copy)
        earlier = f"{self._copy.name.partition('-')[0]}-*{SUFFIX}"
        for path in self._copy.parent.glob(earlier):
            if path != self._copy:  # of an earlier version
                remove_file(path)

    def _requested(self, offset: int, size: int) -> bytes:
        def request() -> bytes:
            content: bytes = self._files.cat_file(self._place, start=offset, end=offset + size)
            if len(content) > size:
                raise InputError(
                    f"the server of {self.url} ignores ranges: it sent {len(content):,} bytes, expected "
                    f"{size:,}; copy the shards to a disk, or serve them by another server"
                )
            if len(content) < size:
                raise ConnectionError(f"{len(content):,} of {size:,} bytes arrived")
            return content

        return steadily(self.url, request)


def steadily(url: str, request: Callable[[], _T]) -> _T:
    """Return the answer to a request, which is repeated if it fails for a reason that may pass.

    Raises:
        FileNotFoundError: the server says that there is nothing.
        InputError: the request fails for another reason, or every time.
    """
    for pause in (*PAUSES, None):
        try:
            return request()
        except (InputError, FileNotFoundError, MemoryError):
            raise
        except Exception as error:
            if (reason := lasting(error)) is not None:
                raise InputError(f"cannot read {url}: {reason}") from None
            if pause is None:
                raise InputError(
                    f"cannot read {url}, {len(PAUSES) + 1} tries failed: {one_line(error)}; start again when "
                    "the network is back, which goes on where this ended"
                ) from None
        time.sleep(pause)
    raise AssertionError  # the last try returns or raises


def listed(url: str) -> list[tuple[RemoteShard, str | None]]:
    """Return the shards of a URL: one, a folder, or a pattern such as s3://bucket/train-{000..999}.tar.

    Returns:
        Each with the name of its folder below the URL, or None if it lies in no folder below.

    Raises:
        InputError: there is none, one is missing, or the server cannot be asked.
    """
    files, root = open_files(url)
    if not url.lower().endswith(SUFFIX):
        if url.startswith(("http://", "https://")):
            raise InputError(
                f"{url} is no shard, and a web server has no list of files; name the shards, such as "
                f"{url.rstrip('/')}/train-{{000..999}}.tar"
            )
        return _in_folder(url.rstrip("/"), files, root.rstrip("/"))
    urls = expand(url) if is_pattern(url) else [url]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        found = list(pool.map(lambda each: _stated(each, files), urls))
    if missing := [each for each, shard in zip(urls, found, strict=True) if shard is None]:
        raise InputError(
            f"{len(missing):,} of the {len(urls):,} shards of {url!r} {'is' if len(missing) == 1 else 'are'} "
            f"missing, first {missing[0]}; correct the URL"
        )
    return [(shard, None) for shard in found if shard is not None]


def _stated(url: str, files: Any) -> RemoteShard | None:
    """Return a shard as its server describes it, or None if there is nothing."""
    place = files._strip_protocol(url)
    try:
        about = steadily(url, lambda: files.info(place))
    except FileNotFoundError:
        return None
    return _described(url, files, place, about)


def _described(url: str, files: Any, place: str, about: dict[str, Any]) -> RemoteShard:
    if not (size := about.get("size")):
        raise InputError(f"{url}: the server states no size; copy the shards to a disk")
    keys = ("ETag", "etag", "md5Hash", "LastModified", "Last-Modified", "last_modified", "mtime", "created")
    return RemoteShard(url, files, place, int(size), str(next((about[k] for k in keys if about.get(k)), "")))


def _in_folder(url: str, files: Any, root: str) -> list[tuple[RemoteShard, str | None]]:
    """Return the shards of a folder and of its folders for splits, sorted."""
    try:
        found = steadily(url, lambda: files.find(root, maxdepth=2, detail=True))
        if not found:
            steadily(url, lambda: files.ls(root))  # which does not hide that it is refused
    except FileNotFoundError:
        found = {}
    made: list[tuple[RemoteShard, str | None]] = []
    for place, about in sorted(found.items()):
        below = place[len(root) + 1 :]
        folder, _, name = below.rpartition("/")
        if name.lower().endswith(SUFFIX) and not name.startswith(".") and (not folder or split_of(folder)):
            made.append((_described(f"{url}/{below}", files, place, about), folder or None))
    if not made:
        raise InputError(f"{url} holds no shards, expected NAME{SUFFIX}; correct the URL")
    return made


def indexes_of(
    shards: Sequence[RemoteShard], label_column: str | None, progress: Progress | None
) -> tuple[list[ShardIndex], list[str]]:
    """Return the index of each shard, and a note on those without a copy; copies are made as far as they fit.

    Raises:
        InputError: see `RemoteShard.index`.
    """
    kept = _fitting(shards)
    stop = threading.Event()
    with ThreadPoolExecutor(_COPIES, thread_name_prefix="shards") as pool:
        tasks = [
            pool.submit(shard.index, label_column, keep, stop)
            for shard, keep in zip(shards, kept, strict=True)
        ]
        try:
            for done, task in enumerate(as_completed(tasks), start=1):
                task.result()
                if progress:
                    progress("copying and indexing shards", done, len(shards))
        except BaseException:  # Ctrl-C too: whatever is copied stays for the next start
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    left = [shard for shard, keep in zip(shards, kept, strict=True) if not keep]
    notes = []
    if left:
        notes.append(
            f"{len(left):,} of the {len(shards):,} shards, {sum(map(_size, left)) / 1e9:.1f} GB, do not fit "
            f"half of the space in {cache_root()}, and their images are read over the network at each use; "
            "set NOISYLABELS_CACHE to a folder on a larger disk to keep them"
        )
    return [task.result() for task in tasks], notes


def _size(shard: RemoteShard) -> int:
    return shard.size


def _fitting(shards: Sequence[RemoteShard]) -> list[bool]:
    """Return which shards are kept in the cache, the first ones, and remove copies that nobody uses."""
    folder = make_folder(cache_root() / "shards")
    own = {shard._copy for shard in shards}
    for path in _copies(folder):
        with contextlib.suppress(OSError):
            if path in own:
                os.utime(path)
            elif time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
                remove_file(path)
    copied = sum(shard.size for shard in shards if shard.is_copied)
    room = (shutil.disk_usage(folder).free + copied) // 2
    kept = []
    for shard in shards:
        kept.append(shard.size <= room)
        room -= shard.size if kept[-1] else 0
    return kept


def _copies(folder: Path) -> Iterator[Path]:
    yield from folder.glob(f"*{SUFFIX}")
    yield from folder.glob("*.part")
