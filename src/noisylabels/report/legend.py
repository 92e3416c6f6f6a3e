"""Legends of lines: beside the panels of a file, and in the HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noisylabels.report.theme import Theme

MARKER: dict[str, Any] = {"filled": True, "size": 85, "opacity": 1, "stroke": "white", "strokeWidth": 1}
"""Points on lines: their white edge keeps the gaps of a dash away from them."""

LEGEND_LINE, LEGEND_ROW = 40, 22
"""Length of a line and height of a row of a legend, in pixels."""


def legend(theme: Theme, losses: Sequence[str], points: bool) -> dict[str, Any]:
    """Return a legend as a chart: each line as it is drawn, with its dash and, if `points`, its point.

    The legends of Vega show either the dash or the point.
    """
    names = list(losses)
    looks = [theme.look(name) for name in names]

    def scale(values: Sequence[Any]) -> dict[str, Any]:
        return {"domain": names, "range": list(values)}

    def by_name(channel: str, values: Sequence[Any]) -> dict[str, Any]:
        return {channel: {"field": "name", "type": "nominal", "scale": scale(values), "legend": None}}

    color = by_name("color", [look.color for look in looks])
    line = {
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": {
            "x": {"value": 0},
            "x2": {"value": LEGEND_LINE},
            **color,
            **by_name("strokeDash", [list(look.dash) for look in looks]),
        },
    }
    point = {
        "mark": MARKER | {"type": "point"},
        "encoding": {
            "x": {"value": LEGEND_LINE / 2},
            **color,
            **by_name("shape", [look.shape for look in looks]),
        },
    }
    label = {"type": "text", "align": "left", "fontSize": 13, "color": "#222222", "limit": 320}
    text = {"mark": label, "encoding": {"x": {"value": LEGEND_LINE + 8}, "text": {"field": "name"}}}
    return {
        "data": {"values": [{"name": name} for name in names]},
        "width": LEGEND_LINE,
        "height": LEGEND_ROW * len(names),
        "encoding": {
            "y": {"field": "name", "type": "nominal", "axis": None, "scale": {"domain": names}},
        },
        "layer": [line, *([point] if points else []), text],
    }


SYMBOLS = {
    "circle": "M3.5 0A3.5 3.5 0 1 1-3.5 0A3.5 3.5 0 1 1 3.5 0Z",
    "square": "M-3.2-3.2H3.2V3.2H-3.2Z",
    "triangle-up": "M0-4L4 3.2H-4Z",
    "diamond": "M0-4.6L4.6 0L0 4.6L-4.6 0Z",
    "cross": "M-4-1.4H-1.4V-4H1.4V-1.4H4V1.4H1.4V4H-1.4V1.4H-4Z",
    "triangle-down": "M0 4L-4-3.2H4Z",
}
"""Shape -> its path around the origin."""


def swatch(name: str, theme: Theme, points: bool = False) -> dict[str, str]:
    """Return what the template draws in a legend; the path of a point is empty for lines alone."""
    found = theme.look(name)
    dash = " ".join(map(str, found.dash))
    return {"name": name, "color": found.color, "dash": dash, "point": SYMBOLS[found.shape] * points}
