"""How every figure looks: colors, dashes, shapes, type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noisylabels.core.checks import InputError

PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31"),
    *("#44AA99", "#332288", "#999933", "#882255"),
)
"""Okabe and Ito's colors, which people with any color vision can tell apart, without the yellow that is
lost on white, for which a brown stands in; then four of Paul Tol's, for the ninth to the twelfth line, in an
order in which those that look alike to somebody have different dashes."""

DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (8, 3), (2, 2), (8, 3, 2, 3))
"""A dash a line as well, so that lines that lie on each other, or a print in gray, can be read."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

GRAY = "#666666"


@dataclass(frozen=True)
class Theme:
    """One color, dash and shape a name, the same in every figure that is drawn with it.

    Args:
        names: of lines, in the order of the legend.
    """

    names: Sequence[str]

    def color(self, name: str) -> str:
        """Return the color of a line."""
        return PALETTE[self.names.index(name) % len(PALETTE)]

    def dash(self, name: str) -> list[int]:
        """Return its dash."""
        place = self.names.index(name)
        # moved on by one where the colors begin anew, so that no two of 48 lines look alike
        return list(DASHES[(place + place // len(PALETTE)) % len(DASHES)])

    def shape(self, name: str) -> str:
        """Return the shape of its points."""
        return SHAPES[self.names.index(name) % len(SHAPES)]

    def encode(
        self, field: str, names: Sequence[str], *channels: str, legend: str | None = "lines"
    ) -> dict[str, Any]:
        """Return encodings of color, strokeDash or shape for some of the names.

        Args:
            field: that holds the name.
            names: those of the figure, which its legend lists.
            channels: of "color", "strokeDash", "shape".
            legend: "lines" or "points", or None for none. Layers must agree, and their legends are then one.
        """
        altair = import_altair()
        look = {"color": self.color, "strokeDash": self.dash, "shape": self.shape}
        make = {"color": altair.Color, "strokeDash": altair.StrokeDash, "shape": altair.Shape}
        symbols: dict[str, Any] = {"symbolOpacity": 1}  # whatever the marks are
        if legend == "lines":
            symbols |= {"symbolType": "stroke", "symbolSize": 500, "symbolStrokeWidth": 3}
        mute = {None: channels, "lines": (), "points": ("strokeDash",)}[legend]
        return {
            channel: make[channel](
                f"{field}:N",
                title=None,
                sort=list(names),
                scale=altair.Scale(domain=list(names), range=[look[channel](name) for name in names]),
                legend=None if channel in mute else altair.Legend(**symbols),
            )
            for channel in channels
        }


def import_altair() -> Any:
    """Return altair, or raise an `InputError` that says how to get it."""
    try:
        import altair
        import vl_convert  # noqa: F401  altair draws SVG and PNG with it
    except ImportError:
        raise InputError("figures need two more packages: pip install 'noisylabels[report]'") from None
    return altair


CONFIG: dict[str, Any] = {
    "background": "white",
    "font": "Helvetica, Arial, 'Liberation Sans', sans-serif",
    "padding": 16,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 13,
        "titleFontSize": 14,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelColor": "#333333",
        "titleColor": "#222222",
        "gridColor": "#e6e6e6",
        "domainColor": "#888888",
        "tickColor": "#888888",
        "tickCount": 6,
    },
    "title": {
        "anchor": "start",
        "fontSize": 15,
        "fontWeight": "bold",
        "subtitleFontSize": 13,
        "subtitleColor": "#555555",
        "subtitlePadding": 6,
    },
    "legend": {
        "labelFontSize": 14,
        "labelColor": "#222222",
        "labelLimit": 320,
        "rowPadding": 6,
        "offset": 24,
    },
}
"""The project's looks: readable type, quiet grid, white ground."""


def styled(chart: Any) -> Any:
    """Return an altair chart with the project's looks."""
    return chart.configure(**CONFIG)
