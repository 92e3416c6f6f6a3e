"""The state of an audit's folder: which audit it belongs to, and whether that is finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from noisylabels.audit.removal import to_remove
from noisylabels.audit.result import Audit
from noisylabels.core.checks import InputError
from noisylabels.core.files import remove_file, remove_tree
from noisylabels.core.schema import read_checked

SETTINGS = "settings.json"
"""Settings of the audit: written first and kept, so that the same command recognizes its folder."""

FOLDER_OF_FOLDS = "folds"
"""Folder of the finished folds, removed when the audit is finished."""


def finished(folder: Path, identity: dict[str, Any]) -> Audit | None:
    """Return the audit in a folder if it is finished and has this identity; None if it is unfinished.

    Raises:
        InputError: the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder for the audit; choose another --out")
    if not (folder / SETTINGS).exists():
        if folder.exists() and any(not file.name.startswith(".") for file in folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no audit; choose another --out")
        return None
    stored = read_checked(folder / SETTINGS, dict[str, Any], f"restore it, or {to_remove(folder)}")
    for name in {**identity, **stored}:
        was, wanted = stored.get(name), json.loads(json.dumps(identity.get(name)))
        if was != wanted:
            raise InputError(
                f"{folder} holds another audit: its {name} is {_said(was)}, this one's {_said(wanted)}; "
                "choose another --out"
            )
    if not (folder / "audit.json").exists():
        return None
    return Audit.load(folder)


def _said(value: Any) -> str:
    """Return a setting as an error writes it; one that was left out is None."""
    return "the default" if value is None else repr(value)


def remove_unfinished(folder: Path) -> None:
    """Remove the files of an audit that failed."""
    remove_tree(folder / FOLDER_OF_FOLDS)
    remove_file(folder / SETTINGS)
