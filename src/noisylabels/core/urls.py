"""Places at a URL: recognized, and opened by fsspec, which is imported when the first one is opened."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from noisylabels.core.checks import InputError, one_line
from noisylabels.core.optional import import_optional

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the tries of a request that failed for a reason that may pass."""

CONNECT_SECONDS, READ_SECONDS = 10, 60
"""The time after which a connection that does not open, or an answer that does not continue, has failed."""

_S3 = {
    "config_kwargs": {
        "retries": {"max_attempts": 1},
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
    }
}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/+(.*)", re.DOTALL)


def is_url(place: str | os.PathLike[str]) -> bool:
    """Return whether a text names a place by a URL rather than a path.

    >>> is_url("s3://bucket/digits"), is_url("runs/digits"), is_url("C:/runs")
    (True, False, False)
    """
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.\-]+://", place) is not None


def url_of(place: str | os.PathLike[str]) -> str | None:
    """Return a URL, also from a `Path`, which has one slash of it; None for a path, and for file://.

    >>> url_of(Path("https://host/a.tar")), url_of("file:///data/a.tar"), url_of("a.tar")
    ('https://host/a.tar', None, None)
    """
    found = _URL.fullmatch(os.fspath(place))
    if found is None or found[1].lower() == "file":
        return None
    return f"{found[1].lower()}://{found[2]}"


def local_path(place: str | os.PathLike[str]) -> Path:
    """Return a path, that of a URL file:// too.

    >>> local_path("file:///data/a%20b.tar").as_posix(), local_path("a.tar").as_posix()
    ('/data/a b.tar', 'a.tar')
    """
    found = _URL.fullmatch(os.fspath(place))
    if found is None or found[1].lower() != "file":
        return Path(place)
    rest = found[2].removeprefix("localhost/") if os.fspath(place).startswith("file://l") else found[2]
    return Path("/" + unquote(rest))


def open_files(url: str) -> tuple[Any, str]:
    """Return the file system of fsspec for a URL, and the place in it; nothing is requested yet.

    Requests are not repeated: the caller does this, for a reason that may pass (see `lasting`).

    Raises:
        InputError: no such kind of URL, or its package is missing.
    """
    fsspec = import_optional("fsspec", "fsspec is missing; run pip install 'noisylabels[remote]'")
    protocol = urlsplit(url).scheme
    options: dict[str, Any] = dict(_S3) if protocol in ("s3", "s3a") else {}
    try:
        if protocol in ("http", "https"):
            options = {"client_kwargs": {"timeout": _patience()}}
        files, root = fsspec.core.url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **options
        )
    except ImportError as error:
        raise InputError(
            f"{url} needs a package that is missing ({error}); run pip install 'noisylabels[remote]' for "
            "s3:// and https://, pip install gcsfs for gs://, adlfs for az://"
        ) from None
    except ValueError as error:
        raise InputError(f"{url} names no store ({error}); expected s3://, gs://, az:// or file://") from None
    if protocol in ("s3", "s3a"):
        files.retries = 1
    return files, root


def _patience() -> Any:
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)


def lasting(error: Exception) -> str | None:
    """Return why a request fails however often it is repeated, and what to do; None if it may pass."""
    kind = type(error).__name__
    if kind in (
        "NoCredentialsError",
        "PartialCredentialsError",
        "DefaultCredentialsError",
        "ProfileNotFound",
    ):
        return f"{one_line(error)}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    if isinstance(error, PermissionError):
        return f"{one_line(error)}; the credentials do not allow it"
    if kind in ("ParamValidationError", "InvalidRegionError") or isinstance(error, NotADirectoryError):
        return f"{one_line(error)}; check the URL"
    if (status := getattr(error, "status", 0)) in (400, 401, 403, 405, 410, 416):  # of HTTP
        return (
            f"the server answered {status} {getattr(error, 'message', '')}; check the URL and who may read it"
        )
    return None
