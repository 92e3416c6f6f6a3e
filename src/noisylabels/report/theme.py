"""The theme of all figures: colors, dashes, shapes and fonts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from noisylabels.core.optional import import_optional

PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31"),
    *("#44AA99", "#332288", "#999933", "#882255"),
)
"""Okabe and Ito's colors, which are distinct for any color vision, with a brown instead of their yellow,
which is hard to see on white; then four of Paul Tol's for the ninth to the twelfth line, ordered so that
colors that look alike with some color vision have different dashes."""

DASHES: tuple[tuple[int, ...], ...] = (
    *((1, 0), (8, 3), (2, 2), (8, 3, 2, 3)),
    *((4, 2), (13, 4), (9, 2, 2, 2, 2, 2)),
)
"""Dashes tell lines apart as well, where lines overlap or a figure is printed in gray."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

GRAY = "#666666"


class Look(NamedTuple):
    """Color, dash and shape of the points of a line."""

    color: str
    dash: tuple[int, ...]
    shape: str


class Family(NamedTuple):
    """Looks of one hue: `colors`, one `shape`, and the places in `DASHES` of the dashes in their order."""

    colors: tuple[str, ...]
    shape: str
    dashes: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


FAMILIES = {
    "standard": Family(("#000000", "#7686F5", "#1A2D93", "#47698A", "#323943"), "circle"),
    "normalized": Family(
        ("#C98600", "#B0904C", "#CD6E2C", "#94684A", "#5D2D00"), "square", (2, 3, 4, 5, 6, 0, 1)
    ),
    "passive": Family(
        ("#189499", "#78A178", "#126511", "#1D3E1F", "#04735D", "#5E9D90"),
        "triangle-up",
        (4, 5, 6, 3, 0, 1, 2),
    ),
    "sum": Family(("#BE33B9", "#520DAF", "#5C3163", "#944755", "#DE6DCF", "#9467FE"), "diamond"),
    "method": Family(PALETTE, "circle"),
}
"""Black and blues, oranges, greens, reds and purples, whose first colors (two, two, four and four: the
paper's losses) were searched for the largest distance between any two of them for any color vision. Those
of them that are equally light have different dashes, for print in gray."""


def look(family: str, place: int, variant: int = 0) -> Look:
    """Return the look of a member of a family of `FAMILIES`.

    Looks differ for all places below 7 times the number of the family's colors. A variant, such as other
    weights of the same terms, has the color of its place and another dash, unless it is a multiple of 7.

    >>> look("passive", 0), look("passive", 0, variant=1).dash
    (Look(color='#189499', dash=(4, 2), shape='triangle-up'), (13, 4))
    """
    colors, shape, dashes = FAMILIES[family]
    turn, at = divmod(place, len(colors))
    return Look(colors[at], DASHES[dashes[(at + turn + variant) % len(dashes)]], shape)


def shade(color: str) -> str:
    """Return a color of the same hue, lighter or, if the color is light itself, darker.

    >>> shade("#BE33B9"), shade("#C98600")
    ('#D57AD2', '#795000')
    """
    parts = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    dark = 0.3 * parts[0] + 0.59 * parts[1] + 0.11 * parts[2] < 130
    mixed = [round(part + 0.35 * (255 - part) if dark else 0.6 * part) for part in parts]
    return "#" + "".join(f"{part:02X}" for part in mixed)


def look_in_order(place: int) -> Look:
    """Return the look of the line at a place, for lines that have an order but no look of their own.

    No two of the first 84 lines look alike.
    """
    turn, at = divmod(place, len(PALETTE))
    return Look(PALETTE[at], DASHES[(at + turn) % len(DASHES)], SHAPES[place % len(SHAPES)])


@dataclass(frozen=True)
class Theme:
    """One color, dash and shape per name, the same in every figure with this theme.

    Args:
        names: names of lines, in the order of the legend.
        looks: name -> its look; names without one get that of their place. Losses have one,
            `study.looks.loss_look`.
    """

    names: Sequence[str]
    looks: Mapping[str, Look] = field(default_factory=dict)

    def look(self, name: str) -> Look:
        """Return the look of a line."""
        return self.looks.get(name) or look_in_order(self.names.index(name))

    def color(self, name: str) -> str:
        """Return the color of a line."""
        return self.look(name).color

    def dash(self, name: str) -> list[int]:
        """Return the dash of a line."""
        return list(self.look(name).dash)

    def shape(self, name: str) -> str:
        """Return the shape of a line's points."""
        return self.look(name).shape

    def encode(
        self, field: str, names: Sequence[str], *channels: str, legend: bool = False
    ) -> dict[str, Any]:
        """Return encodings of color, strokeDash or shape for some of the names.

        Args:
            field: the field that contains the name.
            names: the names in the figure.
            channels: any of "color", "strokeDash", "shape".
            legend: let Vega draw one of lines.
        """
        altair = import_altair()
        look = {"color": self.color, "strokeDash": self.dash, "shape": self.shape}
        make = {"color": altair.Color, "strokeDash": altair.StrokeDash, "shape": altair.Shape}
        symbols = {"symbolType": "stroke", "symbolSize": 500, "symbolStrokeWidth": 3, "symbolOpacity": 1}
        return {
            channel: make[channel](
                f"{field}:N",
                title=None,
                sort=list(names),
                scale=altair.Scale(domain=list(names), range=[look[channel](name) for name in names]),
                legend=altair.Legend(**symbols) if legend else None,
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


DARK = (
    "<style>@media(prefers-color-scheme:dark){svg:root{filter:invert(1) hue-rotate(180deg)}}"
    "@media print{svg:root{filter:none}}</style>"
)
"""Style of an SVG file for dark pages: it inverts what is light and keeps the hues. Not for an SVG inside a
page, which has a root of its own."""


def darkened(svg: str) -> str:
    """Return an SVG file that turns dark where the reader's system is."""
    return re.sub("(<svg[^>]*>)", lambda found: found[1] + DARK, svg, count=1)


def styled(chart: Any) -> Any:
    """Return an altair chart with this configuration."""
    return chart.configure(**CONFIG)
