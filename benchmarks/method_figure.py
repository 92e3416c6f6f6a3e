"""Build the figure of docs/measured-methods.md; `method_tables.py` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from method_runs import HYBRID, LOSSES, Grid

from noisylabels.report.panels import Figure, Panel, heatmap


def figure(grids: Mapping[str, Grid], names: Sequence[str]) -> Figure:
    """Return the accuracy of every loss inside every method, one panel per data set and noise."""
    panels = [
        _panel(f"{name}, {noise}", grids[name], noise)
        for name in names
        for noise in grids[name].noises(HYBRID, LOSSES)
    ]
    return Figure(
        "hybrids",
        "Six losses inside seven methods",
        "Test accuracy of the last epoch, per cent, mean over the seeds. In each panel the color runs from "
        "the lowest to the highest value.",
        panels,
        columns=1,
    )


def _panel(title: str, grid: Grid, noise: str) -> Panel:
    rows: list[dict[str, Any]] = []
    for method in HYBRID:
        for loss in LOSSES:
            if found := grid.summary(method, loss, noise):
                row = {"loss": loss, "name": method, "column": loss, "value": found.mean}
                text = f"{100 * found.mean:.1f}"
                rows.append(row | {"text": text, "reading": f"{loss} by {method}: {text} %"})
    values = [row["value"] for row in rows]
    panel = heatmap(
        title, rows, columns=LOSSES, names=HYBRID, x_title="loss inside", domain=(min(values), max(values))
    )
    return panel
