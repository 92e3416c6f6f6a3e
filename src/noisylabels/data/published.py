"""Published data sets that the user asks for by name: where they lie, and how they come there."""

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
        name: where it goes, relative to the root.
        urls: where it is to be had, the first choice first.
        digest: what it must be, as in "md5:c58f30108f718f92721af3b95e74349a".
        size: how many bytes it has.
    """

    name: str
    urls: tuple[str, ...]
    digest: str
    size: int


@dataclass(frozen=True)
class Published:
    """A data set in the files that its authors publish.

    Args:
        name: what the user asks for.
        url: where to get it.
        find: gives the place that `plan` wants if a path is or holds it, else None; see `Format`.
        plan: makes the plan of reading what was found.
        folders: its usual folders, looked for in the root.
        files: what a download consists of; empty if its authors want to be asked first.
    """

    name: str
    url: str
    find: Callable[[Path], Path | None]
    plan: Callable[[Path, Options], Plan]
    folders: tuple[str, ...] = ()
    files: tuple[File, ...] = ()

    def read(self, root: Path | None, options: Options) -> tuple[ImageSet, ImageSet]:
        """Return training and test set, from the cache or else from where it lies."""
        return load_cached(self.plan(self.locate(root), options), options.progress)

    def locate(self, root: Path | None) -> Path:
        """Return where it lies: in `root`, or without one in one of `roots`.

        Raises:
            InputError: it is not there; the message says where it was looked for and how to get it.
        """
        places = roots(root)
        for place in places:
            if (found := self._in(place)) is not None:
                return found
        get = f"get {self.url}"
        if self.files:
            get = f"let `noisylabels download {self.name}` or --download get it, or {get}"
        if root is None and not os.environ.get(ROOT_VARIABLE):
            raise InputError(
                f"{self.name} needs a folder: {get}, and give its folder by --data-root, root=, "
                f"or the variable {ROOT_VARIABLE}"
            )
        looked = ", ".join(f"{folder}/" for folder in self.folders)
        raise InputError(
            f"no {self.name} in {places[0]}{f' or, within it, {looked}' if looked else ''}; {get}"
        )

    def obtain(self, root: Path | None, progress: Progress | None = None) -> Path:
        """Download what is missing or damaged, and return where it lies.

        Into `root`, else into the folder that NOISYLABELS_DATA names, else into the cache's. A copy that
        the user unpacked or got otherwise is left as it is.

        Raises:
            InputError: it is not to be downloaded, or could not be.
        """
        places = roots(root)
        if not self.files:
            if not any(self._in(place) for place in places):
                raise InputError(f"{self.name} is not downloaded: get {self.url} under its authors' terms")
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
        # its own folders first: sets of one family have files of the same names
        for place in (*(root / folder for folder in self.folders), root):
            if (found := self.find(place)) is not None:
                return found
        return None

    def _parts(self, place: Path) -> set[Path]:
        """Return the files of a copy, none if one is missing; what they hold is checked by reading."""
        try:
            parts = set(self.plan(place, Options()).files.values())
        except InputError:
            return set()
        return parts if all(path.is_file() for path in parts) else set()


def roots(root: Path | None) -> list[Path]:
    """Return the folders in which named data sets are looked for; the first is where downloads go.

    `root` alone if the user named one, else the folder that NOISYLABELS_DATA names, and `downloads` in the
    cache.
    """
    if root is not None:
        return [root]
    named = os.environ.get(ROOT_VARIABLE)
    return [*([Path(named).expanduser()] if named else []), cache_root() / "downloads"]
