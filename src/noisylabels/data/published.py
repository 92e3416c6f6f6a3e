"""Where a published data set lies that the user asks for by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from noisylabels.core.checks import InputError


def locate(
    name: str,
    url: str,
    folders: Sequence[str],
    find: Callable[[Path], Path | None],
    root: Path | None,
    variable: str,
) -> Path:
    """Return where a named data set lies: in `root`, or else in the folder that the variable names.

    Args:
        name: what the user asked for.
        url: where to get it.
        folders: its usual folders, looked for in the root if it is not there itself.
        find: says whether it is there, see `Format`.
        root: the folder that the user named, or None.
        variable: the environment variable that names a folder otherwise.

    Raises:
        InputError: it is not there; the message says where it was looked for and how to get it.
    """
    if root is None:
        named = os.environ.get(variable)
        if not named:
            raise InputError(
                f"{name} needs a folder: get {url}, and give its folder by --data-root, root=, "
                f"or the variable {variable}"
            )
        root = Path(named).expanduser()
    for place in (root, *(root / folder for folder in folders)):
        if (found := find(place)) is not None:
            return found
    looked = ", ".join(f"{folder}/" for folder in folders)
    raise InputError(f"no {name} in {root} or, within it, {looked}; get {url}")
