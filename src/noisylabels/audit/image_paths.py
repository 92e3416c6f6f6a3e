"""The image files of audited examples, as the page and the review open them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from noisylabels.data.names import first_id


def image_paths(data: str | None, ids: Sequence[str]) -> list[str | None]:
    """Return each id that is a file below the data's folder, and None for the others.

    The id a.png of a list may be the path ../a.png; if both files exist, it is unknown which is meant.
    """
    if data is None or not os.path.isabs(data):
        return [None] * len(ids)
    listed = not os.path.isdir(data)
    base = os.path.dirname(data) if listed else data
    # an image that a list names twice has the ids a.png and a.png#2
    names = [one if "#" not in one or _is_file(base, one) else first_id(one) for one in ids]
    return [
        None
        if ".." in one.split("/")
        or os.path.isabs(one)
        or not _is_file(base, one)
        or (listed and _is_file(base, f"../{one}"))
        else one
        for one in names
    ]


def _is_file(base: str, name: str) -> bool:
    try:
        return os.path.isfile(os.path.join(base, name))
    except ValueError:  # a zero byte
        return False
