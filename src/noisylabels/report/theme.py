"""The theme of all figures: colors, dashes, shapes and fonts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noisylabels.core.optional import import_optional

PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31"),
    *("#44AA99", "#332288", "#999933", "#882255"),
)
"""Okabe and Ito's colors, which are distinct for any color vision, with a brown instead of their yellow,
which is hard to see on white; then four of Paul Tol's for the ninth to the twelfth line, ordered so that
colors that look alike with some color vision have different dashes."""

DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (8, 3), (2, 2), (8, 3, 2, 3))
"""Dashes tell lines apart as well, where lines overlap or a figure is printed in gray."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

GRAY = "#666666"


@dataclass(frozen=True)
class Theme:
    """One color, dash and shape per name, the same in every figure with this theme.

    Args:
        names: names of lines, in the order of the legend.
    """

    names: Sequence[str]

    def color(self, name: str) -> str:
        """Return the color of a line."""
        return PALETTE[self.names.index(name) % len(PALETTE)]

    def dash(self, name: str) -> list[int]:
        """Return the dash of a line."""
        place = self.names.index(name)
        # shifted by one when the colors repeat, so that no two of 48 lines look alike
        return list(DASHES[(place + place // len(PALETTE)) % len(DASHES)])

    def shape(self, name: str) -> str:
        """Return the shape of a line's points."""
        return SHAPES[self.names.index(name) % len(SHAPES)]

    def encode(
        self, field: str, names: Sequence[str], *channels: str, legend: str | None = "lines"
    ) -> dict[str, Any]:
        """Return encodings of color, strokeDash or shape for some of the names.

        Args:
            field: the field that contains the name.
            names: the names in the figure, which its legend lists.
            channels: any of "color", "strokeDash", "shape".
            legend: "lines", "points", or None for no legend. Layers with the same value share one legend.
        """
        altair = import_altair()
        look = {"color": self.color, "strokeDash": self.dash, "shape": self.shape}
        make = {"color": altair.Color, "strokeDash": altair.StrokeDash, "shape": altair.Shape}
        symbols: dict[str, Any] = {"symbolOpacity": 1}  # for any marks
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
    """Return altair, or raise an `InputError` that names the packages to install."""
    missing = "figures need two more packages: pip install 'noisylabels[report]'"
    altair = import_optional("altair", missing)
    import_optional("vl_convert", missing)  # draws SVG and PNG
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
"""Vega-Lite configuration of all figures: readable fonts, light grid, white background."""


def styled(chart: Any) -> Any:
    """Return an altair chart with this configuration."""
    return chart.configure(**CONFIG)
