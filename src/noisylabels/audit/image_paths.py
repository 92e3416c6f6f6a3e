"""The image files of audited examples, as the page and the review open them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from noisylabels.data.names import first_id


def image_paths(data: str | None, ids: Sequence[str]) -> list[str | None]:
    """Return each id that is a file below the data's folder, and None for the others."""
    if data is None or not os.path.isabs(data):
        return [None] * len(ids)
    base = data if os.path.isdir(data) else os.path.dirname(data)
    # an image that a list names twice has the ids a.png and a.png#2
    names = [one if "#" not in one or _is_file(base, one) else first_id(one) for one in ids]
    return [
        one if ".." not in one.split("/") and not os.path.isabs(one) and _is_file(base, one) else None
        for one in names
    ]


def _is_file(base: str, name: str) -> bool:
    try:
        return os.path.isfile(os.path.join(base, name))
    except ValueError:  # a zero byte
        return False
