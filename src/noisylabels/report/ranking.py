"""The critical-difference diagram of mean ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noisylabels.report.panels import Panel, chart
from noisylabels.report.theme import GRAY, import_altair

WIDTH, LINE = 640, 27
"""Width of the diagram and height of a line of text in a file, in pixels."""


def ranking(
    title: str, mean_ranks: Mapping[str, float], groups: Sequence[Sequence[str]], critical: float
) -> Panel:
    """Return losses on an axis of mean ranks, best at the left, with a bar over those that do not differ.

    Args:
        title: of the panel.
        mean_ranks: loss -> mean rank, 1 being the best.
        groups: groups of losses that do not differ significantly, best first.
        critical: the critical difference of mean ranks; drawn as a length.

    Source: Demšar, JMLR 2006, section 3.2.4.
    """
    altair = import_altair()
    order = sorted(mean_ranks, key=lambda name: mean_ranks[name])
    count, half = len(order), (len(order) + 1) // 2
    # y counts lines of text, downwards from the axis
    first = 0.6 * len(groups) + 1
    rows: list[dict[str, Any]] = [{"kind": "axis", "x": 1, "x2": count, "y": 0}]
    rows += [{"kind": "tick", "x": k, "y": 0, "name": str(k)} for k in range(1, count + 1)]
    for place, name in enumerate(order):
        left, at = place < half, mean_ranks[name]
        depth = first + (place if left else count - 1 - place)
        edge = 0.6 if left else count + 0.4
        reading = f"{name}: mean rank {at:.2f}"
        for step, (x, y) in enumerate(((at, 0.0), (at, depth), (edge, depth))):
            rows.append({"kind": "elbow", "of": name, "step": step, "x": x, "y": y, "reading": reading})
        text = f"{name}  {at:.2f}" if left else f"{at:.2f}  {name}"
        side = "left" if left else "right"
        rows.append({"kind": side, "name": text, "x": edge, "y": depth, "reading": reading})
    for level, group in enumerate(groups):
        bar = {"kind": "bar", "x": mean_ranks[group[0]] - 0.06, "x2": mean_ranks[group[-1]] + 0.06}
        rows.append(bar | {"y": 0.6 * level + 0.6, "reading": f"no difference found: {', '.join(group)}"})
    reading = f"critical difference {critical:.2f}"
    rows.append({"kind": "length", "x": 1.0, "x2": 1.0 + critical, "y": -1.9, "reading": reading})
    text_at = {"kind": "length text", "x": 1.0 + critical / 2, "y": -1.9}
    rows.append(text_at | {"name": f"CD = {critical:.2f}", "reading": reading})

    lowest = first + half - 0.4
    # room for the longest name at either side, at 8 pixels per letter
    share = min(0.3, 8 * (max(map(len, order)) + 6) / WIDTH)
    room = (count - 0.2) * share / (1 - 2 * share)
    domain = [0.6 - room, count + 0.4 + room]
    x = altair.X("x:Q", axis=None, scale=altair.Scale(domain=domain, nice=False))
    y = altair.Y("y:Q", axis=None, scale=altair.Scale(domain=[lowest, -2.8], nice=False))
    base = chart().encode(x=x, y=y)

    def kind(name: str) -> Any:
        return base.transform_filter(f"datum.kind == '{name}'")

    def read(name: str) -> Any:
        return kind(name).encode(tooltip=[altair.Tooltip("reading:N", title=" ")])

    layers = altair.layer(
        kind("axis").mark_rule(color=GRAY).encode(x2="x2:Q"),
        kind("tick").mark_tick(color=GRAY, size=7, thickness=1, orient="vertical"),
        kind("tick").mark_text(dy=-13, fontSize=12, color="#333333").encode(text="name:N"),
        read("elbow").mark_line(color="#444444", strokeWidth=1.3).encode(detail="of:N", order="step:Q"),
        read("left").mark_text(align="right", dx=-4, fontSize=13).encode(text="name:N"),
        read("right").mark_text(align="left", dx=4, fontSize=13).encode(text="name:N"),
        read("bar").mark_rule(color="#000000", strokeWidth=5, strokeCap="round").encode(x2="x2:Q"),
        read("length").mark_rule(color="#D55E00", strokeWidth=3).encode(x2="x2:Q"),
        read("length text").mark_text(dy=-9, fontSize=12, color="#D55E00").encode(text="name:N"),
    )
    return Panel(title, layers, rows, width=WIDTH, height=round(LINE * (lowest + 2.8)))
