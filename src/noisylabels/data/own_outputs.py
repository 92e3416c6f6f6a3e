"""Folders that noisylabels wrote, so that audits and runs beside images are not read as classes."""

from __future__ import annotations

import os

_DEPTH = 4  # of the folders in a collection, such as results/audits/photos


def is_own(folder: str, depth: int = _DEPTH) -> bool:
    """Return whether a folder is an audit, a run or a study, or holds nothing but such folders.

    They are recognized by their files. While one is being written, it may hold no more than its lock.
    """

    def holds(name: str) -> bool:
        return os.path.exists(os.path.join(folder, name))

    if holds("settings.json") and (holds("audit.json") or holds("folds")):
        return True
    if holds("config.json") and holds("environment.json"):
        return True
    locked = holds(".lock")
    if locked and any(map(holds, ("settings.json", "config.json", "study.json", "failure.json"))):
        return True
    found = locked
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "study.json":
                    continue
                if not (depth and entry.is_dir() and is_own(entry.path, depth - 1)):
                    return False
                found = True
    except OSError:  # listing the folder reports it
        return False
    return found
