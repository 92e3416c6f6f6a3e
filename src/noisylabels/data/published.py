"""Published data sets: where they are searched for, and how they are downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from noisylabels.core.checks import InputError
from noisylabels.core.files import cache_root
from noisylabels.data.cache import load_cached
from noisylabels.data.decode import Progress
from noisylabels.data.download import fetch
from noisylabels.data.images import ImageSet
from noisylabels.data.reader import Options, Plan

ROOT_VARIABLE = "NOISYLABELS_DATA"


@dataclass(frozen=True)
class File:
    """A file of a published data set.

    Args:
        name: its path relative to the root.
        urls: its addresses, the preferred one first.
        digest: the expected digest, as in "md5:c58f30108f718f92721af3b95e74349a".
        size: the number of bytes.
    """

    name: str
    urls: tuple[str, ...]
    digest: str
    size: int


@dataclass(frozen=True)
class Published:
    """A data set in the files that its authors publish.

    Args:
        name: the name that users write.
        url: the address at which to get it.
        find: returns the path to pass to `plan` if a path is or holds the set, else None; see `Format`.
        plan: returns the plan of reading the path that was found.
        folders: its usual folders, searched for in the root.
        files: the files of a download; empty if users must ask the authors for it.
    """

    name: str
    url: str
    find: Callable[[Path], Path | None]
    plan: Callable[[Path, Options], Plan]
    folders: tuple[str, ...] = ()
    files: tuple[File, ...] = ()

    def read(self, root: Path | None, options: Options) -> tuple[ImageSet, ImageSet]:
        """Return training and test set, from the cache or else from the files."""
        return load_cached(self.plan(self.locate(root), options), options.progress)

    def locate(self, root: Path | None) -> Path:
        """Return the path of the set in `root`, or by default in one of `roots`.

        Raises:
            InputError: the set is missing; the message names the searched folders and how to get it.
        """
        places = roots(root)
        for place in places:
            if (found := self._in(place)) is not None:
                return found
        get = f"get {self.url}"
        if self.files:
            get = f"run `noisylabels download {self.name}` or use --download, or {get}"
        if root is None and not os.environ.get(ROOT_VARIABLE):
            raise InputError(
                f"{self.name} needs a folder: {get}, and name its folder with --data-root, root=, "
                f"or the environment variable {ROOT_VARIABLE}"
            )
        looked = ", ".join(f"{folder}/" for folder in self.folders)
        raise InputError(
            f"no {self.name} in {places[0]}{f' or, within it, {looked}' if looked else ''}; {get}"
        )

    def obtain(self, root: Path | None, progress: Progress | None = None) -> Path:
        """Download missing or damaged files, and return the path of the set.

        The target is `root`, else the folder that NOISYLABELS_DATA names, else `downloads` in the cache. A
        copy that the user unpacked or obtained otherwise is not changed.

        Raises:
            InputError: the set cannot be downloaded by this program, or the download failed.
        """
        places = roots(root)
        if not self.files:
            if not any(self._in(place) for place in places):
                raise InputError(
                    f"{self.name} cannot be downloaded automatically: get {self.url} under its authors' terms"
                )
            return self.locate(root)
        target = places[0]
        for place in places:
            downloads = {place / file.name for file in self.files}
            if (found := self._in(place)) is not None and (parts := self._parts(found)):
                if not downloads & parts:
                    return found
                target = place
                break
        for file in self.files:
            fetch(file.urls, target / file.name, file.digest, progress, size=file.size)
        return self.locate(target)

    def _in(self, root: Path) -> Path | None:
        # its own folders first: sets of one family have files with the same names
        for place in (*(root / folder for folder in self.folders), root):
            if (found := self.find(place)) is not None:
                return found
        return None

    def _parts(self, place: Path) -> set[Path]:
        """Return the files of a copy, or none if one is missing; reading checks their content."""
        try:
            parts = set(self.plan(place, Options()).files.values())
        except InputError:
            return set()
        return parts if all(path.is_file() for path in parts) else set()


def roots(root: Path | None) -> list[Path]:
    """Return the folders in which named data sets are searched for; downloads go to the first.

    They are `root` alone if the user named one, else the folder that NOISYLABELS_DATA names, if any, and
    `downloads` in the cache.
    """
    if root is not None:
        return [root]
    named = os.environ.get(ROOT_VARIABLE)
    return [*([Path(named).expanduser()] if named else []), cache_root() / "downloads"]
