"""The folder of an audit while it is made: whose it is, and whether all is done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from noisylabels.audit.result import Audit
from noisylabels.core.checks import InputError
from noisylabels.core.files import read_json

SETTINGS = "settings.json"
"""What the audit is: written first, and kept, so that the same command finds its own folder."""

FOLDER_OF_FOLDS = "folds"
"""Where the folds are kept that are done, till all is."""


def finished(folder: Path, identity: dict[str, Any]) -> Audit | None:
    """Return the audit in a folder if this very one is done there; anything else there is an error."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder for the audit; give another --out")
    if not (folder / SETTINGS).exists():
        if folder.exists() and any(not file.name.startswith(".") for file in folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no audit; give another --out")
        return None
    there = read_json(folder / SETTINGS)
    if not isinstance(there, dict):
        raise InputError(f"{folder / SETTINGS} holds no settings; restore it, or remove {folder}")
    for name in identity.keys() | there.keys():
        was, wanted = there.get(name), json.loads(json.dumps(identity.get(name)))
        if was != wanted:
            raise InputError(
                f"{folder} holds another audit: its {name} is {was!r}, this one's {wanted!r}; "
                "give another --out"
            )
    if not (folder / "audit.json").exists():
        return None
    return Audit.load(folder)


def emptied(folder: Path) -> None:
    """Remove what an audit wrote from which nothing came."""
    shutil.rmtree(folder / FOLDER_OF_FOLDS, ignore_errors=True)
    (folder / SETTINGS).unlink(missing_ok=True)
