"""What lies in a user's folders: class folders and images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from noisylabels.core.checks import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def images_below(folder: Path) -> Iterator[Path]:
    """Give the image files in a folder and in the folders within it, sorted, hidden ones left out.

    Raises:
        InputError: a folder cannot be listed; it must not pass for an empty one.
    """
    return (folder / name for name in names_below(folder))


def names_below(folder: Path) -> Iterator[str]:
    """Give the names of those image files, relative to the folder and with "/"; see `images_below`.

    Text, because a million paths take a minute and half a gigabyte to make.
    """
    seen = set()
    root = os.fspath(folder)
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        identity = os.stat(place)
        if (identity.st_dev, identity.st_ino) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        relative = os.path.relpath(place, root).replace(os.sep, "/") + "/" if place != root else ""
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not _is_hidden(name):
                yield relative + name


def folders_in(path: Path) -> list[str]:
    """Return the sorted names of the folders directly in `path`, hidden ones left out.

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
    raise InputError(f"cannot look into {error.filename} ({error.strerror})") from None
