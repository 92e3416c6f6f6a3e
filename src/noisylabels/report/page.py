"""A report as one HTML page: sortable tables, interactive figures, and a filter by loss.

The page is one file that includes Vega, loads nothing from elsewhere, and can be printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from noisylabels.core.optional import import_optional
from noisylabels.report.diagram import Diagram
from noisylabels.report.legend import swatch
from noisylabels.report.panels import DATA, Figure, Panel
from noisylabels.report.renderer import render
from noisylabels.report.tables import Table, hypertext
from noisylabels.report.theme import CONFIG, DARK, Theme, import_altair


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Args:
        name: the name of its anchor.
        title: one line.
        text: paragraphs that explain the blocks.
        blocks: tables, figures and diagrams, in reading order.
    """

    name: str
    title: str
    text: Sequence[str] = ()
    blocks: Sequence[Table | Figure | Diagram] = ()


@dataclass(frozen=True)
class Page:
    """The content of a page.

    Args:
        title: one line.
        facts: name -> value, such as data, model and number of runs.
        theme: the losses that the filter lists, and their looks.
        sections: in reading order.
        groups: text of a button -> the losses that it selects.
    """

    title: str
    facts: Mapping[str, str]
    theme: Theme
    sections: Sequence[Section]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)


def page(content: Page) -> str:
    """Return a page as self-contained HTML.

    Raises:
        InputError: jinja2 or a package that draws the figures is not installed.
    """
    import_altair()
    missing = "the page needs one more package: pip install 'noisylabels[report]'"
    jinja2, markupsafe = (import_optional(name, missing) for name in ("jinja2", "markupsafe"))

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    files = resources.files("noisylabels.report")
    template = environment.from_string(files.joinpath("page.html.j2").read_text(encoding="utf-8"))
    losses = content.theme.names
    panels: list[dict[str, Any]] = []
    sections = []
    for section in content.sections:
        blocks: list[dict[str, Any]] = []
        for block in section.blocks:
            if isinstance(block, Table):
                blocks.append({"table": markupsafe.Markup(hypertext(block))})
            elif isinstance(block, Diagram):
                # without its own style for dark pages, which this page has
                svg = markupsafe.Markup(block.svg.replace(DARK, ""))
                blocks.append({"diagram": block, "svg": svg})
            else:
                numbered = [(len(panels) + k, panel) for k, panel in enumerate(block.panels)]
                panels += [_packed(panel) for panel in block.panels]
                legend = _legend(block)
                own = {swatch["name"] for swatch in legend} - set(losses)  # not in the filter
                blocks.append({"figure": block, "panels": numbered, "legend": legend, "own": bool(own)})
        sections.append(
            {"name": section.name, "title": section.title, "text": section.text, "blocks": blocks}
        )

    def script(text: str) -> Any:
        return markupsafe.Markup(re.sub("</(?=script)|<(?=!--)", _escape, text, flags=re.IGNORECASE))

    return str(
        template.render(
            content=content,
            sections=sections,
            losses=[swatch(loss, content.theme) for loss in losses],
            style=markupsafe.Markup(files.joinpath("page.css").read_text(encoding="utf-8")),
            program=script(files.joinpath("page.js").read_text(encoding="utf-8")),
            vega=script(render("javascript_bundle")),
            data=script(json.dumps({"panels": panels, "groups": content.groups}, separators=(",", ":"))),
        )
    )


def _legend(figure: Figure) -> list[dict[str, str]]:
    """Return the swatches of all lines of a figure."""
    found = {
        name: swatch(name, panel.theme, panel.points)
        for panel in figure.panels
        if panel.theme
        for name in panel.losses
    }
    return list(found.values())


def _escape(found: re.Match[str]) -> str:
    """Return a match that would end a script or begin a comment in HTML as a JavaScript escape."""
    return "<\\/" if found[0] == "</" else "\\u003c"


def _packed(panel: Panel) -> dict[str, Any]:
    """Return a panel for the page's script: its specification, and its rows without repeated column names."""
    spec = _without_legends(panel.for_page())  # the filter is the legend
    if any("loss" in row for row in panel.rows):
        spec = _filtered(spec)
        spec["params"] = [{"name": "shown", "value": None}, *spec.get("params", [])]
    small = {"axis": CONFIG["axis"] | {"labelFontSize": 12, "titleFontSize": 12.5}, "padding": 2}
    spec["config"] = CONFIG | small | {"background": None}
    names = list(dict.fromkeys(name for row in panel.rows for name in row))
    rows = [[_short(row.get(name)) for name in names] for row in panel.rows]
    return {"spec": spec, "data": DATA, "names": names, "rows": rows}


def _filtered(spec: Any) -> Any:
    """Return a specification that filters the rows by the signal "shown" wherever it uses them."""
    if isinstance(spec, list):
        return [_filtered(value) for value in spec]
    if not isinstance(spec, dict):
        return spec
    made = {key: _filtered(value) for key, value in spec.items()}
    if spec.get("data") == {"name": DATA}:
        shown = {"filter": "!shown || indexof(shown, datum.loss) >= 0"}
        made["transform"] = [shown, *made.get("transform", [])]
    return made


def _without_legends(spec: Any) -> Any:
    if isinstance(spec, dict):
        return {key: None if key == "legend" else _without_legends(value) for key, value in spec.items()}
    return [_without_legends(value) for value in spec] if isinstance(spec, list) else spec


def _short(value: Any) -> Any:
    """Return a number rounded to the 5 digits that matter on a screen."""
    return float(f"{value:.5g}") if isinstance(value, float) else value
