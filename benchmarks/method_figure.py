"""Build the figure of docs/measured-methods.md; `method_tables.py` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from method_runs import HYBRID, Grid

from noisylabels.report.panels import Figure, Panel, heatmap

WIDTH = 50
"""Width of a column in pixels: with it the figure is read on a telephone."""


def figure(grids: Mapping[str, Grid], names: Sequence[str]) -> Figure:
    """Return the accuracy of every loss inside every method, one panel per data set and noise."""
    places = [(name, noise) for name in names for noise in grids[name].noises(HYBRID, grids[name].losses)]
    panels = [
        _panel(f"{name}, {noise}", grids[name], noise, "loss inside" if (name, noise) == places[-1] else "")
        for name, noise in places
    ]
    return Figure(
        "hybrids",
        "Losses inside seven methods",
        "Test accuracy of the last epoch, per cent, mean over the seeds. In each panel the color runs from "
        "that of standard with ce, or less, to the highest.",
        panels,
        columns=1,
    )


def _panel(title: str, grid: Grid, noise: str, x_title: str) -> Panel:
    rows: list[dict[str, Any]] = []
    for method in HYBRID:
        for loss in grid.losses:
            if found := grid.summary(method, loss, noise):
                text = f"{100 * found.mean:.1f}"
                row = {"loss": loss, "name": method, "column": loss, "value": found.mean, "text": text}
                rows.append(row | {"reading": f"{loss} by {method}: {text} %"})
    values = {(row["name"], row["loss"]): row["value"] for row in rows}
    domain = values["standard", "ce"], max(values.values())
    panel = heatmap(title, rows, columns=grid.losses, names=HYBRID, x_title=x_title, domain=domain)
    return replace(panel, width=WIDTH * len(grid.losses))
