"""The range of an axis of shares, such as accuracies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SHARE = ".0%"
"""The format of the numbers of such an axis."""

NARROW = 0.1
"""Lines of shares that lie within so much are drawn over their own range, not over all of 0 to 100 %."""


def share_domain(
    panels: Iterable[Sequence[Mapping[str, Any]]], otherwise: Sequence[float] | None = None
) -> tuple[float, float]:
    """Return the range of a y axis of shares for the rows of one or more panels.

    Args:
        panels: the rows of each panel, with y and perhaps low and high.
        otherwise: the range unless all lines lie within `NARROW`; by default whole tenths around all rows.

    >>> share_domain([[{"y": 0.912}, {"y": 0.953, "low": 0.94, "high": 0.966}]])
    (0.91, 0.97)
    >>> share_domain([[{"y": 0.31}, {"y": 0.953}]]), share_domain([[{"y": 0.31}, {"y": 0.953}]], (0, 1))
    ((0.3, 1.0), (0.0, 1.0))
    """
    rows = [row for panel in panels for row in panel]
    values = [row["y"] for row in rows]
    narrow = bool(values) and max(values) - min(values) <= NARROW
    if otherwise is not None and not narrow:
        return float(otherwise[0]), float(otherwise[1])
    step = 100 if narrow else 10
    low = math.floor(step * min((row.get("low", row["y"]) for row in rows), default=0.0) + 1e-9) / step
    high = math.ceil(step * max((row.get("high", row["y"]) for row in rows), default=1.0) - 1e-9) / step
    if high - low < 0.02:  # a flat line
        low, high = low - 0.01, high + 0.01
    return max(low, 0.0), min(high, 1.0)


def holds(domain: Sequence[float] | None, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the points of rows lie within the range of an axis; None is a range around them.

    >>> holds((0, 1), [{"y": 1.0}]), holds((0, 1), [{"y": 1.1}])
    (True, False)
    """
    return domain is None or all(domain[0] <= row["y"] <= domain[1] for row in rows)
