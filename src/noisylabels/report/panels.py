"""Panels of figures of results (lines, heatmaps, dots, pairs), and figures as sets of panels.

On a page each panel stands alone, at the available width and with the page's legend; in a file the panels of
a figure stand side by side beside one legend.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from noisylabels.report.axes import SHARE, holds, share_domain
from noisylabels.report.legend import MARKER, legend
from noisylabels.report.theme import CONFIG, GRAY, Theme, import_altair

VEGA_LITE = "6.1"  # the version of all figures: that of altair 6

DATA = "rows"
"""The name of a panel's data."""

WIDTH, HEIGHT = 300, 220  # of a panel in a file, in pixels

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Panel:
    """A chart over named data.

    Args:
        title: one line.
        chart: an altair chart of the named data `DATA`, without a width.
        rows: the data.
        losses: names in the legend of a file; a page filters rows by their field "loss".
        width, height: in a file.
        hover: an interactive layer for pages only.
        theme: the looks of the names in the legend.
        points: the legend shows the shapes of points.
    """

    title: str
    chart: Any
    rows: Rows
    losses: tuple[str, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    hover: Any = None
    theme: Theme | None = None
    points: bool = False

    @cached_property
    def _drawn(self) -> dict[str, Any]:
        # Without altair's validation against the Vega-Lite schema, which takes seconds; a test does it.
        made: dict[str, Any] = self.chart.properties(height=self.height).to_dict(validate=False)
        return {key: value for key, value in made.items() if key not in ("$schema", "config")}

    def for_file(self, titled: bool) -> dict[str, Any]:
        """Return the Vega-Lite specification without its data, with the title if `titled`."""
        return self._drawn | {"width": self.width} | ({"title": self.title} if titled else {})

    def for_page(self) -> dict[str, Any]:
        """Return the specification for a page, as wide as its container, without a title."""
        made = self._drawn
        if self.hover is not None:
            layers = [made, self.hover.to_dict(validate=False)]
            # data in a layer would override those above, which the page filters
            above = ("$schema", "config", "data", "height")
            inner = [{key: value for key, value in each.items() if key not in above} for each in layers]
            made = {"data": made["data"], "height": self.height, "layer": inner}
        return made | {"width": "container"}


@dataclass(frozen=True)
class Figure:
    """Panels under one title.

    Args:
        name: the name of its files, such as "fig4a-gap-symmetric".
        title: one line.
        caption: describes the content, with units and n.
        panels: in reading order.
        columns: number of panels side by side in a file.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    columns: int = 2

    def spec(self) -> dict[str, Any]:
        """Return the whole figure as one Vega-Lite specification, for a file."""
        datasets, parts = {}, []
        for number, panel in enumerate(self.panels):
            part = _renamed(panel.for_file(titled=len(self.panels) > 1), f"{DATA}{number}")
            datasets[f"{DATA}{number}"] = list(panel.rows)
            parts.append(part)
        widths = [panel.width + 60 for panel in self.panels[: self.columns]]
        drawn: dict[str, Any] = {
            "concat": parts,
            "columns": self.columns,
            "spacing": 28,
            "resolve": {"scale": {"color": "independent"}},
        }
        legends = {
            panel.losses: legend(panel.theme, panel.losses, panel.points)
            for panel in self.panels
            if panel.losses and panel.theme
        }
        if legends:
            drawn = {"hconcat": [drawn, *legends.values()], "spacing": 24}
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "title": {
                "text": self.title,
                "subtitle": textwrap.wrap(self.caption, max(sum(widths) // 6, 60)),
                "anchor": "start",
                "offset": 14,
            },
            **drawn,
            "datasets": datasets,
            "config": CONFIG,
        }


def _renamed(spec: Any, name: str) -> Any:
    """Return a specification with its data renamed to `name`."""
    if isinstance(spec, dict):
        return {
            key: {"name": name} if key == "data" and value == {"name": DATA} else _renamed(value, name)
            for key, value in spec.items()
        }
    return [_renamed(value, name) for value in spec] if isinstance(spec, list) else spec


def chart() -> Any:
    """Return a chart of a panel's rows."""
    altair = import_altair()
    return altair.Chart(altair.NamedData(DATA))


def lines(
    title: str,
    rows: Rows,
    theme: Theme,
    losses: Sequence[str],
    *,
    x_title: str,
    y_title: str,
    points: bool = False,
    format: str = SHARE,
    domain: Sequence[float] | None = None,
    width: int = WIDTH,
    ticks: Sequence[float] | None = None,
    log: bool = False,
    log_x: bool = False,
    by: str = "loss",
) -> Panel:
    """Return lines over a numeric axis, each with a band for its spread if given.

    Args:
        title: of the panel.
        rows: with loss, x, y and, for a spread, low and high.
        theme, losses: colors and names of the figure's legend.
        x_title, y_title: of the axes, with units; an axis of shares that does not begin at 0 says so.
        points: draw points with bars instead of a band; for few points.
        format: of numbers on the y axis.
        domain: of the y axis; by default the range of the rows, for shares that of `share_domain`.
        width: in a file.
        ticks: of the x axis.
        log, log_x: use a logarithmic y axis, or x axis; all values are then above 0.
        by: the field of the rows that names their line.
    """
    altair = import_altair()
    reading = format
    if format == SHARE and not log:
        domain = domain or share_domain([rows])
        if domain[0] > 0:
            y_title = f"{y_title}, from {100 * domain[0]:g} %"
        if domain[1] - domain[0] < 0.04:
            format = ".1%"
    scale = altair.Scale(domain=list(domain)) if domain else altair.Scale(zero=False)
    scale = altair.Scale(type="log") if log else scale
    kind = {"type": "log"} if log_x else {"zero": False}
    x = altair.X(
        "x:Q",
        title=x_title,
        scale=altair.Scale(nice=False, padding=8 if points else 0, **kind),
        axis=altair.Axis(values=list(ticks), grid=False, format="~g")
        if ticks
        else altair.Axis(tickMinStep=1, grid=False),
    )
    y = altair.Y("y:Q", title=y_title, scale=scale, axis=altair.Axis(format=format, tickCount=5))
    base = chart().encode(x=x, y=y)
    drawn = base.mark_line(clip=True, strokeWidth=2, strokeJoin="round").encode(
        **theme.encode(by, losses, "color", "strokeDash")
    )
    spread = base.transform_filter("isValid(datum.low)").encode(
        y=altair.Y("low:Q", title=y_title, scale=scale), y2="high:Q", **theme.encode(by, losses, "color")
    )
    if points:
        # a whole point on the edge, unless lines leave the panel there
        marks = base.mark_point(clip=not holds(domain, rows), **MARKER).encode(
            **theme.encode(by, losses, "color", "shape")
        )
        layers = altair.layer(spread.mark_rule(clip=True, opacity=0.55), drawn, marks)
    else:
        layers = altair.layer(spread.mark_area(clip=True, opacity=0.15), drawn)
    hover = _hover_rule(losses, reading, by)
    return Panel(title, layers, rows, tuple(losses), width, hover=hover, theme=theme, points=points)


def _hover_rule(losses: Sequence[str], format: str, by: str) -> Any:
    """Return a rule that follows the pointer, with a tooltip of the values of all lines there."""
    altair = import_altair()
    nearest = altair.selection_point(
        name="at", fields=["x"], nearest=True, on="pointerover", clear="pointerout", empty=False
    )
    digits = ".1%" if format == SHARE else format
    # Fields are numbered, because Vega would interpret dots, brackets and quotes in their names. The pointer
    # hits a cell around the rule, whose datum is the rule. A loss that is filtered out is undefined, so it is
    # not shown.
    fields = {"at": "format({}.x, '~g')"} | {loss: f"{{}}.loss{place}" for place, loss in enumerate(losses)}
    shown = ", ".join(f"{json.dumps(k)}: {v.format('(datum.datum || datum)')}" for k, v in fields.items())
    return (
        chart()
        .transform_calculate(
            reading=f"format(datum.y, '{digits}')"
            f" + (isValid(datum.high) ? ' ± ' + format(datum.high - datum.y, '{digits}') : '')",
            field=f"'loss' + indexof({json.dumps(list(losses))}, datum[{json.dumps(by)}])",
        )
        .transform_pivot("field", value="reading", groupby=["x"], op="min")  # each group has one text
        .mark_rule(color=GRAY)
        .encode(
            x="x:Q",
            opacity=altair.condition(nearest, altair.value(0.6), altair.value(0)),
            tooltip=altair.value({"expr": f"{{{shown}}}"}),
        )
        .add_params(nearest)
    )


def heatmap(
    title: str,
    rows: Rows,
    *,
    columns: Sequence[str],
    names: Sequence[str],
    x_title: str,
    y_title: str | None = None,
    domain: Sequence[float] = (0.0, 1.0),
    unit: str = "per cent",
) -> Panel:
    """Return a grid of numbers, the larger the darker.

    Args:
        title: of the panel.
        rows: with name (the row of the grid), column, value (for the color), text (printed in the cell) and
            reading (the tooltip); also loss if the names are losses.
        columns, names: in order.
        x_title, y_title: of the axes.
        domain: range of values of the color scale.
        unit: of the numbers.
    """
    altair = import_altair()
    low, high = domain
    base = chart().encode(
        x=altair.X(
            "column:N",
            sort=list(columns),
            title=x_title,
            axis=altair.Axis(labelAngle=-40 if max(map(len, columns)) > 6 else 0, domain=False, ticks=False),
            scale=altair.Scale(domain=list(columns)),
        ),
        y=altair.Y(
            "name:N",
            sort=list(names),
            title=y_title,
            axis=altair.Axis(domain=False, ticks=False, labelLimit=200),
        ),
        tooltip=[altair.Tooltip("reading:N", title=" ")],
    )
    tiles = base.mark_rect(stroke="white", strokeWidth=1.5).encode(
        color=altair.Color(
            "value:Q",
            title=unit,
            legend=None,
            scale=altair.Scale(
                domain=[low, high], range=["#f7fbff", "#08519c"], interpolate="rgb", clamp=True
            ),
        )
    )
    numbers = base.mark_text(fontSize=12).encode(
        text="text:N",
        color=altair.condition(
            f"datum.value > {low + 0.55 * (high - low)}", altair.value("white"), altair.value("#222222")
        ),
    )
    return Panel(
        title,
        altair.layer(tiles, numbers),
        rows,
        width=max(58 * len(columns), 180),
        height=24 * len(names),
    )


def dots(
    title: str,
    rows: Rows,
    theme: Theme,
    *,
    names: Sequence[str],
    x_title: str,
    format: str = SHARE,
    zero: bool = True,
    width: int = WIDTH,
) -> Panel:
    """Return one row per loss: its mean, a bar for its spread and a tick per run.

    Args:
        title: of the panel.
        rows: with loss and x (the value of a run), and in one row per loss mean, low, high and reading.
        theme: the colors.
        names: losses from top to bottom.
        x_title: of the axis, with its unit.
        format: of the axis's numbers.
        zero: draw a line at 0.
        width: in a file.
    """
    altair = import_altair()
    scale = altair.Scale(zero=zero, nice=True)
    x = altair.X("x:Q", title=x_title, scale=scale, axis=altair.Axis(format=format, tickCount=5))
    y = altair.Y(
        "loss:N",
        sort=list(names),
        title=None,
        axis=altair.Axis(domain=False, ticks=False, labelLimit=200, grid=True),
    )
    color = theme.encode("loss", [n for n in theme.names if n in set(names)], "color")
    reading = altair.Tooltip("reading:N", title=" ")
    base = chart().encode(y=y, tooltip=[reading], **color)
    means = base.transform_filter("isValid(datum.mean)")
    layers = [
        base.mark_tick(thickness=1.5, size=13, opacity=0.55).encode(x=x),
        means.mark_rule(strokeWidth=2.5)
        .encode(x=altair.X("low:Q", title=x_title, scale=scale), x2="high:Q")
        .transform_filter("isValid(datum.low)"),
        means.mark_point(filled=True, size=90, opacity=1).encode(
            x=altair.X("mean:Q", title=x_title, scale=scale)
        ),
    ]
    if zero:
        axis = altair.Chart(altair.Data(values=[{"zero": 0}])).mark_rule(color="#999999")
        layers.insert(0, axis.encode(x=altair.X("zero:Q", title=x_title, scale=scale)))
    return Panel(title, altair.layer(*layers), rows, width=width, height=max(22 * len(names), 60))


def pairs(
    title: str,
    rows: Rows,
    theme: Theme,
    *,
    names: Sequence[str],
    x_title: str,
    kinds: tuple[str, str],
    format: str = SHARE,
) -> Panel:
    """Return one line per loss between two values, the first a filled point, the second a hollow one.

    Args:
        title: of the panel.
        rows: with loss, first, second and reading.
        theme: the colors.
        names: losses from top to bottom.
        x_title: of the axis, with its unit.
        kinds: names of the two values, for the title of the axis.
        format: of numbers.
    """
    altair = import_altair()
    scale = altair.Scale(zero=False, nice=True)
    title_ = f"{x_title} (● {kinds[0]}, ○ {kinds[1]})"
    axis = altair.Axis(format=format, tickCount=5)
    base = chart().encode(
        y=altair.Y("loss:N", sort=list(names), title=None, axis=altair.Axis(domain=False, ticks=False)),
        tooltip=[altair.Tooltip("reading:N", title=" ")],
        **theme.encode("loss", [n for n in theme.names if n in set(names)], "color"),
    )
    first = altair.X("first:Q", title=title_, scale=scale, axis=axis)
    second = altair.X("second:Q", title=title_, scale=scale, axis=axis)
    layers = altair.layer(
        base.mark_rule(strokeWidth=2).encode(x=first, x2="second:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=first),
        base.mark_point(filled=False, fill="white", size=80, opacity=1, strokeWidth=2).encode(x=second),
    )
    return Panel(title, layers, rows, height=max(22 * len(names), 60))
