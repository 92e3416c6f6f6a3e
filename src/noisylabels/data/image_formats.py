"""The image formats that are read: those that the installed Pillow opens, and HEIC with pillow-heif."""

from __future__ import annotations

import functools
import threading
from importlib import util

# EPS would start Ghostscript; the others only have stubs, or decoders of another system's own.
_NOT_OPENED = frozenset({"EPS", "PDF", "MPEG", "WMF", "BUFR", "GRIB", "HDF5"})
# Tried in this order for every file, whatever its ending; they are the usual ones and cheap to tell apart.
_FIRST = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_SAME = {"MPO": "JPEG"}  # an ending whose files another format's decoder opens

HINTS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "install pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "install a newer Pillow"),
    **dict.fromkeys((".eps", ".ps", ".pdf", ".svg", ".wmf", ".emf"), "convert them to .png"),
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"), "convert raw photographs to .jpg"
    ),
}
"""Ending -> how to make such files readable."""

_OTHERS = frozenset({".jxl", ".psd", ".xcf", ".exr", ".ai"})  # without a hint

_lock = threading.Lock()


@functools.cache
def _by_suffix() -> dict[str, str]:
    """Return ending -> format, of those that can be opened."""
    from PIL import Image

    with _lock:
        Image.init()
        if util.find_spec("pillow_heif") is not None:
            import pillow_heif  # type: ignore[import-not-found,unused-ignore]

            pillow_heif.register_heif_opener()
        known = {suffix.lower(): _SAME.get(name, name) for suffix, name in Image.EXTENSION.items()}
        return {
            suffix: name for suffix, name in known.items() if name in Image.OPEN and name not in _NOT_OPENED
        }


def suffixes() -> frozenset[str]:
    """Return the endings of the files that are read as images, in lower case.

    >>> {".jpg", ".jfif", ".png", ".tif"} <= suffixes(), ".eps" in suffixes()
    (True, False)
    """
    return frozenset(_by_suffix())


def is_unread_picture(suffix: str) -> bool:
    """Return whether files with this ending are pictures, in lower case, of a format that is not read.

    >>> is_unread_picture(".svg"), is_unread_picture(".png"), is_unread_picture(".txt")
    (True, False, False)
    """
    return (suffix in HINTS or suffix in _OTHERS) and suffix not in suffixes()


def openers(suffix: str = "") -> tuple[str, ...]:
    """Return the formats to try for a file with this ending, those of the most common images first.

    A format whose files do not begin with a signature is tried only for its own endings: it would accept
    damaged files of other formats.
    """
    return _openers(suffix.lower())


@functools.cache
def _openers(suffix: str) -> tuple[str, ...]:
    from PIL import Image

    by_suffix = _by_suffix()
    own = by_suffix.get(suffix)
    signed = [name for name in dict.fromkeys(by_suffix.values()) if Image.OPEN[name][1] is not None]
    return tuple(dict.fromkeys([*_FIRST, *sorted(signed), *([own] if own else [])]))


def some_suffixes() -> str:
    """Return the most common endings in words, for errors."""
    return ".jpg, .png, .webp, .tif"
