"""Download of one file: resumed after a failure, tried from several mirrors, checked at the end.

This module does not depend on data sets. Bytes are collected in `NAME.part` beside the final file; it is kept
when the download is interrupted, and the next call, in this process or another, resumes from it. Only a file
with the expected digest gets its final name. Proxies are read from the environment as in `urllib`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import TypedDict

from noisylabels import __version__
from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest, folder_and_lock, remove_file, write_json
from noisylabels.core.opening import open_file, open_in_place
from noisylabels.core.schema import read_checked

Progress = Callable[[str, int, int], None]  # (what, done, total) in bytes; a total of 0 is unknown

CHUNK = 1 << 20
LONGEST_PAUSE = 60.0  # seconds, even if a server asks for more

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP codes of temporary failures


class _RefusedError(Exception):
    """A server cannot be reached or does not send the file, so that another try is pointless."""


class _BrokenError(Exception):
    """A transfer failed on the way; the next try may resume from there."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause  # seconds that the server asks for


def fetch(
    urls: Sequence[str],
    path: Path,
    digest: str,
    progress: Progress | None = None,
    *,
    size: int | None = None,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 1.0,
) -> None:
    """Download the file with `digest` to `path`, unless it is already there.

    Args:
        urls: the addresses of the file, tried in order.
        path: the target; its folder is created. A file there with another digest is replaced at the end.
        digest: an algorithm of `hashlib` and its hexadecimal value, as in
            "md5:c58f30108f718f92721af3b95e74349a".
        progress: called with ("downloading NAME", bytes received, bytes in total or 0 if unknown).
        size: the number of bytes of the file: a server that offers more is skipped, and one that sends more
            is cut off. None: any number.
        timeout: seconds for which a connection may stall, above 0.
        attempts: the number of consecutive failures of one server, each with less than `CHUNK` received,
            after which the next is tried, 1 or more. A server that cannot be reached or refuses is not asked
            again.
        pause: seconds before the second attempt; doubled before each further one.

    Raises:
        InputError: no server sent the file, the folder is not writable, or another process is downloading it;
            the message says why, what to download manually and where to save it.
    """
    work = _Download(path, digest, progress, size, timeout, attempts, pause)
    try:
        with folder_and_lock(path.with_name(f".{path.name}.lock")):
            work.run(urls)
    except OSError as error:  # of the disk; network errors are handled below
        kept = "; received bytes are kept, and the same command resumes" if work.part.exists() else ""
        raise InputError(
            f"{path.name} cannot be written to {path.parent} ({error.strerror or error}){kept}"
        ) from None


class _State(TypedDict):
    url: str
    version: str


class _Download:
    """The download of one file."""

    def __init__(
        self,
        path: Path,
        digest: str,
        progress: Progress | None,
        size: int | None,
        timeout: float,
        attempts: int,
        pause: float,
    ) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.state = path.with_name(f"{path.name}.part.json")  # the part's URL and version
        self.algorithm, _, self.expected = digest.partition(":")
        self.progress = progress
        self.size = size
        self.timeout = timeout
        self.attempts = attempts
        self.pause = pause

    def run(self, urls: Sequence[str]) -> None:
        if self.path.is_file() and file_digest(self.path, self.algorithm) == self.expected:
            return
        reasons = []
        for url in urls:
            reason = self._from_server(url)
            if reason is None:
                with open_file(self.part) as file:
                    os.fsync(file.fileno())  # the bytes are on disk before the file gets its name
                self.part.replace(self.path)
                remove_file(self.state)
                return
            reasons.append(f"{urlsplit(url).netloc}: {reason}")
        there = self._size()
        kept = f"try again, which resumes after the {there:,} bytes received, or " if there else ""
        raise InputError(
            f"could not download {self.path.name} ({'; '.join(reasons)}); "
            f"{kept}get {urls[0]} manually and save it as {self.path}"
        )

    def _from_server(self, url: str) -> str | None:
        """Complete the part from one server; return None if its digest matches, else why it failed."""
        failures, best, again = 0, self._size(), True
        while True:
            try:
                resumed = self._transfer(url)
            except _RefusedError as error:
                return str(error)
            except _BrokenError as error:
                # a long file over a bad connection may fail often, as long as it grows
                failures = 1 if self._size() >= best + CHUNK else failures + 1
                best = max(best, self._size())
                if failures >= self.attempts:
                    return str(error)
                time.sleep(min(LONGEST_PAUSE, max(error.pause, self.pause * 2 ** (failures - 1))))
                continue
            found = file_digest(self.part, self.algorithm)
            if found == self.expected:
                return None
            reason = self._what_came(found)
            self._drop()
            if not (resumed and again):
                return reason
            again = False  # the bad bytes may be earlier ones: try once more from the start

    def _transfer(self, url: str) -> bool:
        """Request and write the missing bytes; return whether they were added to earlier bytes."""
        start = self._size()
        headers = {"User-Agent": f"noisylabels/{__version__}", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if version := self._version(url):
                headers["If-Range"] = version
        try:
            request = urllib.request.Request(url, headers=headers)
            response = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and start:
                    return self._nothing_more(error.headers, start)
                words = _words(f"HTTP {error.code} {error.reason}")
                if error.code in _PASSING:
                    raise _BrokenError(words, _seconds(error.headers.get("Retry-After"))) from None
            raise _RefusedError(words) from None
        except urllib.error.URLError as error:
            cause = error.reason
            if isinstance(cause, ConnectionError) and not isinstance(cause, ConnectionRefusedError):
                raise _BrokenError(_words(cause)) from None
            raise _RefusedError(_words(cause)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_words(error)) from None
        with response:
            offset, total = self._extent(response, start)
            if not offset:
                self._remember(url, response.headers)
            done = self._write(response, offset, total)
        if total is not None and done < total:
            raise _BrokenError(f"the connection ended after {done:,} of {total:,} bytes")
        return offset > 0

    def _extent(self, response: Any, start: int) -> tuple[int, int | None]:
        """Return the byte at which a response begins, and the number of bytes of the whole file."""
        if response.headers.get_content_type() == "text/html":
            # before anything is deleted: captive portals and firewalls answer for any server
            raise _RefusedError("it answered with a web page instead of the file")
        if response.status == 200:  # no range requested, none supported, or the file has changed
            length = response.headers.get("Content-Length", "")
            return 0, self._total(length if length.isdigit() else "*")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if response.status != 206 or not found:
            raise _RefusedError(f"it answered with HTTP {response.status}, expected 200 or 206")
        if int(found[1]) != start or not start:
            self._drop()
            raise _BrokenError(f"it sent bytes from {int(found[1]):,} on, expected {start:,}")
        return start, self._total(found[2])

    def _total(self, stated: str) -> int | None:
        """Return the number of bytes of the whole file: as the server states, or for "*" as known."""
        if stated == "*":
            return self.size
        if self.size is not None and int(stated) > self.size:
            raise _RefusedError(f"it offers a file of {int(stated):,} bytes, expected {self.size:,}")
        return int(stated)  # a file that is too short is downloaded, so that the error shows what it is

    def _write(self, response: Any, offset: int, total: int | None) -> int:
        """Write received bytes to the part immediately, so that none are lost when the process ends."""
        done = offset
        with open_in_place(self.part, "ab" if offset else "wb") as file:
            while True:
                try:
                    piece = response.read1(CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _BrokenError(f"{_words(error)} after {done:,} bytes") from None
                if not piece:
                    return done
                if self.size is not None and done + len(piece) > self.size:
                    break
                file.write(piece)
                file.flush()
                done += len(piece)
                if self.progress:
                    self.progress(f"downloading {self.path.name}", done, total or 0)
        self._drop()
        raise _RefusedError(f"it sent more than the {self.size:,} bytes of the file")

    def _nothing_more(self, headers: Message, start: int) -> bool:
        """Handle the answer that the file has no bytes beyond those of the part."""
        if headers.get("Content-Range", "").replace(" ", "") == f"bytes*/{start}":
            return True  # the part is complete; its digest decides
        self._drop()
        raise _BrokenError("its file has fewer bytes than were received before")

    def _remember(self, url: str, headers: Message) -> None:
        """Store which version of the file the part belongs to, if the server states one."""
        etag = headers.get("ETag", "")
        version = etag if etag.startswith('"') else headers.get("Last-Modified")  # not a weak tag
        if version:
            write_json(self.state, {"url": url, "version": version})
        else:
            remove_file(self.state)

    def _version(self, url: str) -> str | None:
        try:
            state = read_checked(self.state, _State)
            return str(state["version"]) if state["url"] == url else None
        except InputError:
            return None  # the digest decides at the end

    def _size(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self.part.stat().st_size
        return 0

    def _drop(self) -> None:
        remove_file(self.part)
        remove_file(self.state)

    def _what_came(self, found: str) -> str:
        with open_file(self.part) as file:
            head = file.read(24)
        return (
            f"it sent another file of {self._size():,} bytes, which begins with {head!r}: its "
            f"{self.algorithm} is {found}, expected {self.expected}; it was removed"
        )


def _words(error: object) -> str:
    """Return the reason of a failure in one line."""
    if isinstance(error, TimeoutError):
        return "timed out"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _seconds(value: str | None) -> float:
    return float(value) if value and value.isascii() and value.isdigit() else 0.0
