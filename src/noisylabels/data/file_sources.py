"""Listing of the class folders and image files below a user's folder, and of what is passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from noisylabels.core.checks import InputError
from noisylabels.data.image_formats import HINTS, suffixes
from noisylabels.data.own_outputs import is_own

_NAMED = 5  # the endings that a note names
_OF_THE_SYSTEM = frozenset({"thumbs.db", "desktop.ini", "icon\r"})  # beside hidden files, such as .DS_Store
_FIRST = frozenset("._TtDdIi")  # the first letters of hidden names


@dataclass
class PassedOver:
    """The files below a folder that are not read, for a note.

    Args:
        endings: ending -> the number of files that are no readable images.
        special: named pipes, sockets and devices, which opening could block.
        empty: lines on class folders without a readable image.
        links: images that are links, and folders (with "/"), which are read.
        written: folders that noisylabels wrote.
    """

    endings: Counter[str] = field(default_factory=Counter)
    special: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def add(self, other: PassedOver, place: str) -> None:
        """Add the files passed over below a folder whose path is `place`."""
        self.endings.update(other.endings)
        self.special += [place + name for name in other.special]
        self.links += [place + name for name in other.links]
        self.written += [place + name for name in other.written]

    def notes(self) -> list[str]:
        """Return lines that count the files by ending.

        >>> PassedOver(Counter({".txt": 2, ".heic": 3})).notes()
        ['left out 5 files that are no readable images: 3 .heic (install pillow-heif), 2 .txt']
        """
        lines = []
        if count := self.endings.total():
            lines.append(
                f"left out {count:,} {'files that are' if count > 1 else 'file that is'} no readable "
                f"{'images' if count > 1 else 'image'}: {self.in_words()}"
            )
        if self.special:
            count = len(self.special)
            lines.append(
                f"left out {count:,} special file{'' if count == 1 else 's'} (named pipes, sockets or "
                f"devices), first {self.special[0]}"
            )
        if self.written:
            more = f" and {len(self.written) - _NAMED} more" if len(self.written) > _NAMED else ""
            what = f"folder{'s' if len(self.written) > 1 else ''} {', '.join(self.written[:_NAMED])}{more}"
            lines.append(f"left out the {what}, written by noisylabels")
        return lines

    def in_words(self) -> str:
        """Return the endings and their numbers, the most frequent first."""
        ranked = sorted(self.endings.items(), key=lambda pair: (-pair[1], pair[0]))
        words = [
            f"{count:,} {ending or 'without an ending'}" + (f" ({HINTS[ending]})" if ending in HINTS else "")
            for ending, count in ranked[:_NAMED]
        ]
        if more := sum(count for _, count in ranked[_NAMED:]):
            words.append(f"{more:,} others")
        return ", ".join(words)


def images_below(folder: Path, passed: PassedOver | None = None) -> Iterator[Path]:
    """Return an iterator over the image files at any depth in a folder, sorted, without hidden ones.

    Args:
        folder: the folder.
        passed: receives the files that are passed over.

    Raises:
        InputError: a folder cannot be listed, which must not look like an empty one.
    """
    return (folder / name for name in names_below(folder, passed))


def names_below(folder: Path, passed: PassedOver | None = None) -> Iterator[str]:
    """Yield the names of these image files, relative to the folder and with "/"; see `images_below`.

    They are text, because a million `Path` objects take a minute and half a gigabyte.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    known = suffixes()
    while waiting:
        below = waiting.pop()
        place = os.path.join(folder, below[:-1]) if below else os.fspath(folder)
        try:
            identity = os.stat(place)
        except OSError as error:
            _refuse(error)
        if (identity.st_dev, identity.st_ino) in seen:  # a link to a folder above
            continue
        seen.add((identity.st_dev, identity.st_ino))
        files, folders, written = _entries(place)
        if passed is not None:
            if below and os.path.islink(place):
                passed.links.append(below)
            passed.written += [below + name for name in written]
        for entry in files:
            name = below + entry.name
            stem, _, last = entry.name.rpartition(".")
            ending = f".{last.lower()}" if stem else ""
            if _is_special(entry):
                if passed is not None:
                    passed.special.append(name)
            elif ending in known:
                if passed is not None and entry.is_symlink():
                    passed.links.append(name)
                yield name
            elif passed is not None:
                passed.endings[ending] += 1
        waiting += [below + name + "/" for name in reversed(folders)]


def image_names_in(folder: Path) -> list[str]:
    """Return the sorted names of the image files directly in a folder, without those in folders below it."""
    known = suffixes()
    return [name for name in file_names_in(folder) if os.path.splitext(name)[1].lower() in known]


def file_names_in(folder: Path) -> list[str]:
    """Return the sorted names of the files directly in a folder, without hidden ones."""
    return [entry.name for entry in _entries(os.fspath(folder))[0] if not _is_special(entry)]


def folders_in(path: Path) -> list[str]:
    """Return the sorted names of the folders directly in `path`, without hidden ones and `outputs_in`.

    Raises:
        InputError: `path` cannot be listed.
    """
    return sorted(name for name, own in _folders(os.fspath(path)) if not own)


def outputs_in(path: Path) -> list[str]:
    """Return the sorted names of the folders directly in `path` that noisylabels wrote."""
    return sorted(name for name, own in _folders(os.fspath(path)) if own)


def _entries(place: str) -> tuple[list[os.DirEntry[str]], list[str], list[str]]:
    """Return the files of a folder, and the names of its folders and of those that noisylabels wrote.

    Each is sorted and without hidden ones.
    """
    files: list[os.DirEntry[str]] = []
    folders: list[str] = []
    written: list[str] = []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if _is_hidden(entry.name):
                    continue
                if entry.is_dir():
                    (written if is_own(entry.path) else folders).append(entry.name)
                else:
                    files.append(entry)
    except OSError as error:
        _refuse(error)
    return sorted(files, key=lambda entry: entry.name), sorted(folders), sorted(written)


def _folders(place: str) -> Iterator[tuple[str, bool]]:
    """Yield the names of the folders of a folder, and whether noisylabels wrote them, without hidden ones."""
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir() and not _is_hidden(entry.name):
                    yield entry.name, is_own(entry.path)
    except OSError as error:
        _refuse(error)


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry that is no folder is no file either; a link to nothing counts as a file."""
    if entry.is_file():
        return False
    return not entry.is_symlink() or os.path.exists(entry.path)


def _is_hidden(name: str) -> bool:
    if name[0] not in _FIRST:  # nearly all: a folder of a million images is listed in half the time
        return False
    return name.startswith(".") or name == "__MACOSX" or name.lower() in _OF_THE_SYSTEM


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"cannot list the folder {error.filename} ({error.strerror})") from None
