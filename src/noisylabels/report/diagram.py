"""Diagrams of boxes, arrows and bars as SVG, in the style of the figures, for light and dark pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from noisylabels.core.files import atomic_replace
from noisylabels.report.renderer import render
from noisylabels.report.theme import CONFIG, DARK

FILLS = {
    "plain": ("#f4f5f7", "#888888"),
    "input": ("#eaf1fb", "#5b7fb5"),
    "active": ("#fdf0dc", "#c98600"),
    "passive": ("#e2f4ec", "#00805a"),
    "sum": ("#fbe6ec", "#b3123f"),
}
"""Kind of a box -> fill and stroke; the strokes are those of the terms in the figures of sums."""

INK, QUIET = "#222222", "#555555"


@dataclass(frozen=True)
class Diagram:
    """A finished diagram.

    Args:
        name: the name of its files.
        title: one line.
        caption: what it shows.
        svg: the drawing.
    """

    name: str
    title: str
    caption: str
    svg: str


@dataclass
class Canvas:
    """A drawing in pixels, x to the right and y downwards.

    Args:
        width, height: of the drawing.
        label: read to those who do not see it.
    """

    width: int
    height: int
    label: str
    parts: list[str] = field(default_factory=list)

    def box(
        self, x: float, y: float, width: float, height: float, lines: Sequence[str] = (), kind: str = "plain"
    ) -> None:
        """Draw a rounded box with centered lines of text, the first in bold if there are several."""
        fill, stroke = FILLS[kind]
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" fill="{fill}" '
            f'stroke="{stroke}" stroke-width="1.5"/>'
        )
        for place, line in enumerate(lines):
            middle = y + height / 2 + 19 * (place - (len(lines) - 1) / 2)
            self.text(x + width / 2, middle, line, bold=place == 0 and len(lines) > 1)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        at: str = "middle",
        size: float = 14,
        bold: bool = False,
        color: str = INK,
    ) -> None:
        """Write one line, its middle at y; ``_k`` and ``_{k+1}`` are subscripts, ``^q`` superscripts."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y + 0.35 * size:.4g}" text-anchor="{at}" font-size="{size:g}" '
            f'fill="{color}"{weight}>{_marked(text)}</text>'
        )

    def line(self, *points: tuple[float, float], color: str = QUIET, width: float = 1.5) -> None:
        """Draw a line through points."""
        path = "M" + "L".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width:g}"/>')

    def arrow(self, *points: tuple[float, float]) -> None:
        """Draw a line through points with a head at the last."""
        self.line(*points)
        (x0, y0), (x, y) = points[-2:]
        length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
        dx, dy = (x - x0) / length, (y - y0) / length
        back = [(x - 9 * dx + s * 4.5 * dy, y - 9 * dy - s * 4.5 * dx) for s in (1, -1)]
        path = "M" + "L".join(f"{a:.4g},{b:.4g}" for a, b in [(x, y), *back])
        self.parts.append(f'<path d="{path}Z" fill="{QUIET}"/>')

    def bar(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """Draw a bar from its left upper corner."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:.4g}" height="{height:g}" fill="{color}"/>'
        )

    def svg(self) -> str:
        """Return the drawing as a file that shrinks with the page and turns dark with the reader's system."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" aria-label="{escape(self.label)}" '
            f'font-family="{escape(str(CONFIG["font"]))}">{DARK}'
            f'<rect width="{self.width}" height="{self.height}" fill="white"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def _marked(text: str) -> str:
    """Return text for SVG, with subscripts and superscripts."""
    parts = re.split(r"([_^])(\{[^}]*\}|\w)", text.replace("-", "−"))
    made = [escape(parts[0])]
    for sign, index, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        shift = 0.28 if sign == "_" else -0.4
        made.append(f'<tspan dy="{shift}em" font-size="75%">{escape(index.strip("{}"))}</tspan>')
        # the text after it is back on the line, and an em is that of the larger font there
        made.append(f'<tspan dy="{-0.75 * shift:g}em">{escape(rest)}</tspan>' if rest else "")
    return "".join(made)


def draw_diagram(diagram: Diagram, folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Write a diagram as SVG, PNG and PDF, as far as asked for, and return the paths."""
    light = diagram.svg.replace(DARK, "")
    paths = []
    for suffix in suffixes:
        if suffix == ".svg":
            made: bytes = diagram.svg.encode()
        elif suffix == ".png":
            made = render("svg_to_png", svg=light, scale=2.0)
        else:
            made = render("svg_to_pdf", svg=light)
        path = folder / f"{diagram.name}{suffix}"
        with atomic_replace(path) as temporary:
            temporary.write_bytes(made)
        paths.append(path)
    return paths
