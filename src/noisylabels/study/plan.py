"""Plan a study before it starts: select a shard, read the time budget, put durations in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from noisylabels.core.checks import InputError
from noisylabels.study.grid import Cell

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def read_seconds(text: str) -> float:
    """Parse a duration such as "90", "90s", "9m", "1.5h" or "1h30m" into seconds.

    >>> read_seconds("1h30m"), read_seconds("9m"), read_seconds("0.5")
    (5400.0, 540.0, 0.5)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms]?)", text.strip().lower())
    if not parts or re.sub(r"\s", "", text.lower()) != "".join(number + unit for number, unit in parts):
        raise InputError(f"the duration is {text!r}, expected a text such as 90s, 9m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def in_words(seconds: float) -> str:
    """Return a duration as text.

    >>> in_words(42), in_words(540), in_words(9000)
    ('42 s', '9 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def shard(cells: Sequence[Cell], text: str | None) -> list[Cell]:
    """Return the shard of the cells given as "2/5": the second of five parts, assigned round-robin.

    Raises:
        InputError: text of another form, or a part out of range.
    """
    if text is None:
        return list(cells)
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"the shard is {text!r}, expected a text such as 2/5, the second of five parts")
    return list(cells[int(found[1]) - 1 :: int(found[2])])
