"""Listing of the class folders and image files below a user's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from noisylabels.core.checks import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def images_below(folder: Path) -> Iterator[Path]:
    """Return an iterator over the image files at any depth in a folder, sorted, without hidden ones.

    Raises:
        InputError: a folder cannot be listed, which must not look like an empty one.
    """
    return (folder / name for name in names_below(folder))


def names_below(folder: Path) -> Iterator[str]:
    """Yield the names of these image files, relative to the folder and with "/"; see `images_below`.

    They are text, because a million `Path` objects take a minute and half a gigabyte.
    """
    seen = set()
    root = os.fspath(folder)
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        identity = os.stat(place)
        if (identity.st_dev, identity.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        relative = os.path.relpath(place, root).replace(os.sep, "/") + "/" if place != root else ""
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not _is_hidden(name):
                yield relative + name


def folders_in(path: Path) -> list[str]:
    """Return the sorted names of the folders directly in `path`, without hidden ones.

    Raises:
        InputError: `path` cannot be listed.
    """
    try:
        return sorted(entry.name for entry in path.iterdir() if not _is_hidden(entry.name) and entry.is_dir())
    except OSError as error:
        _refuse(error)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"cannot list the folder {error.filename} ({error.strerror})") from None
