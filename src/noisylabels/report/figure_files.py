"""Write figures to files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noisylabels.core.files import atomic_replace
from noisylabels.report.panels import VEGA_LITE, Figure
from noisylabels.report.renderer import render
from noisylabels.report.theme import darkened, import_altair

SUFFIXES = (".svg", ".png", ".pdf")


def draw(figure: Figure, folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Write a figure as SVG, PNG and PDF, and return the paths.

    Vega runs once, for the SVG; the other formats are converted from it.
    """
    import_altair()
    svg: str = render("vegalite_to_svg", vl_spec=figure.spec(), vl_version=VEGA_LITE)
    made: dict[str, Any] = {
        ".svg": lambda: darkened(svg).encode(),
        ".png": lambda: render("svg_to_png", svg=svg, scale=_scale(svg)),
        ".pdf": lambda: render("svg_to_pdf", svg=svg),
    }
    paths = []
    for suffix in suffixes:
        path = folder / f"{figure.name}{suffix}"
        with atomic_replace(path) as temporary:
            temporary.write_bytes(made[suffix]())
        paths.append(path)
    return paths


WIDEST = 2000
"""The greatest width of a PNG in pixels: it has twice the resolution of the SVG, unless that is wider."""


def _scale(svg: str) -> float:
    width = re.search(r'width="([\d.]+)"', svg)
    return min(2.0, WIDEST / float(width[1])) if width else 2.0
