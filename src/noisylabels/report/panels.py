"""The kinds of panels that figures of results are made of, and figures as sets of panels.

A panel is handed rows and knows nothing of runs. It stands alone on a page, where it takes the width there is
and the page's own legend; in a file the panels of a figure stand side by side over one legend.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from noisylabels.report.theme import CONFIG, GRAY, Theme, import_altair

VEGA_LITE = "6.1"
"""The version of Vega-Lite that figures are written for: altair 6's."""

DATA = "rows"
"""What the data of a panel are called."""

WIDTH, HEIGHT = 300, 220
"""Of a panel in a file, in pixels."""

SHARE = ".0%"
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Panel:
    """A chart over named data.

    Args:
        title: one line.
        chart: an altair chart whose data are called as `DATA` says; without a width.
        rows: the data.
        losses: names that the legend of a file must have; those of the page filter by the field "loss".
        width, height: in a file.
        hover: a layer that only a page has use for.
    """

    title: str
    chart: Any
    rows: Rows
    losses: tuple[str, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    hover: Any = None

    @cached_property
    def _drawn(self) -> dict[str, Any]:
        # Without altair's check against the schema of Vega-Lite, which a test makes: it takes seconds.
        made: dict[str, Any] = self.chart.properties(height=self.height).to_dict(validate=False)
        return {key: value for key, value in made.items() if key not in ("$schema", "config")}

    def for_file(self, titled: bool) -> dict[str, Any]:
        """Return the Vega-Lite specification without its data, its title above where it has one."""
        return self._drawn | {"width": self.width} | ({"title": self.title} if titled else {})

    def for_page(self) -> dict[str, Any]:
        """Return the same for a page, which writes titles itself, as wide as there is room."""
        made = self._drawn
        if self.hover is not None:
            layers = [made, self.hover.to_dict(validate=False)]
            # what stands in a layer goes over what stands above it: the data that the page filters
            above = ("$schema", "config", "data", "height")
            inner = [{key: value for key, value in each.items() if key not in above} for each in layers]
            made = {"data": made["data"], "height": self.height, "layer": inner}
        return made | {"width": "container"}


@dataclass(frozen=True)
class Figure:
    """Panels under one title.

    Args:
        name: of its files, such as "fig4a-gap-symmetric".
        title: one line.
        caption: what is shown, with units and n.
        panels: in reading order.
        columns: how many stand side by side in a file.
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
        # a legend serves all panels, unless one has colors for numbers
        shared = all(panel.losses for panel in self.panels)
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "title": {
                "text": self.title,
                "subtitle": textwrap.wrap(self.caption, max(sum(widths) // 6, 60)),
                "anchor": "start",
                "offset": 14,
            },
            "concat": parts,
            "columns": self.columns,
            "spacing": 28,
            "resolve": {"scale": {"color": "shared" if shared else "independent"}},
            "datasets": datasets,
            "config": CONFIG,
        }


def _renamed(spec: Any, name: str) -> Any:
    """Return a specification whose data are called otherwise."""
    if isinstance(spec, dict):
        return {
            key: {"name": name} if key == "data" and value == {"name": DATA} else _renamed(value, name)
            for key, value in spec.items()
        }
    return [_renamed(value, name) for value in spec] if isinstance(spec, list) else spec


def chart() -> Any:
    """Return a chart of the rows that a panel is handed."""
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
) -> Panel:
    """Return lines over numbers, a band of spread around each where there is one.

    Args:
        title: of the panel.
        rows: with loss, x, y and, where there is a spread, low and high.
        looks, losses: of the figure's legend.
        x_title, y_title: of the axes, with units.
        points: draw each, with a bar for its spread in place of the band; for few of them.
        format: of numbers on the y axis.
        domain: of the y axis; by default what the rows need.
        width: in a file.
        ticks: of the x axis.
    """
    altair = import_altair()
    scale = altair.Scale(domain=list(domain)) if domain else altair.Scale(zero=False)
    x = altair.X(
        "x:Q",
        title=x_title,
        scale=altair.Scale(nice=False, zero=False, padding=8 if points else 0),
        axis=altair.Axis(values=list(ticks), grid=False, format="~g")
        if ticks
        else altair.Axis(tickMinStep=1, grid=False),
    )
    y = altair.Y("y:Q", title=y_title, scale=scale, axis=altair.Axis(format=format, tickCount=5))
    base = chart().encode(x=x, y=y)
    legend = "points" if points else "lines"
    drawn = base.mark_line(clip=True, strokeWidth=2, strokeJoin="round").encode(
        **theme.encode("loss", losses, "color", "strokeDash", legend=legend)
    )
    spread = base.transform_filter("isValid(datum.low)").encode(
        y=altair.Y("low:Q", title=y_title, scale=scale),
        y2="high:Q",
        **theme.encode("loss", losses, "color", legend=legend),
    )
    if points:
        marks = base.mark_point(clip=True, filled=True, size=60, opacity=1)
        layers = altair.layer(
            spread.mark_rule(clip=True, opacity=0.55),
            drawn,
            marks.encode(**theme.encode("loss", losses, "color", "shape", legend=legend)),
        )
    else:
        layers = altair.layer(spread.mark_area(clip=True, opacity=0.15), drawn)
    return Panel(title, layers, rows, tuple(losses), width=width, hover=_readings(losses, format))


def _readings(losses: Sequence[str], format: str) -> Any:
    """Return a rule that follows the pointer and reads every line off where it stands."""
    altair = import_altair()
    nearest = altair.selection_point(
        name="at", fields=["x"], nearest=True, on="pointerover", clear="pointerout", empty=False
    )
    digits = ".1%" if format == SHARE else format
    # Fields are numbered: in the name of one, Vega would read dots, brackets and quotes. The pointer meets a
    # cell around the rule, whose datum is the rule. A loss that is filtered out is undefined, and not shown.
    fields = {"at": "format({}.x, '~g')"} | {loss: f"{{}}.loss{place}" for place, loss in enumerate(losses)}
    shown = ", ".join(f"{json.dumps(k)}: {v.format('(datum.datum || datum)')}" for k, v in fields.items())
    return (
        chart()
        .transform_calculate(
            reading=f"format(datum.y, '{digits}')"
            f" + (isValid(datum.high) ? ' ± ' + format(datum.high - datum.y, '{digits}') : '')",
            field=f"'loss' + indexof({json.dumps(list(losses))}, datum.loss)",
        )
        .transform_pivot("field", value="reading", groupby=["x"], op="min")  # of one text
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
    """Return a grid of numbers, darker where they are larger.

    Args:
        title: of the panel.
        rows: with name (its row), column, value (for the color), text (what is printed), and reading (what a
            pointer is shown); loss too, where a name is one.
        columns, names: in their order.
        x_title, y_title: of the axes.
        domain: of the colors.
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
    """Return a line a loss: its mean, a bar for its spread and a tick for every run.

    Args:
        title: of the panel.
        rows: with loss and x (a run's value), and on one row of each loss mean, low and high and reading.
        looks: the colors.
        names: losses from top to bottom.
        x_title: of the axis, with its unit.
        format: of its numbers.
        zero: whether it has a line at 0.
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
    color = theme.encode("loss", [n for n in theme.names if n in set(names)], "color", legend=None)
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
    """Return a line a loss between two values: the first a filled point, the second a hollow one.

    Args:
        title: of the panel.
        rows: with loss, first, second and reading.
        looks: the colors.
        names: losses from top to bottom.
        x_title: of the axis, with its unit.
        kinds: what the two are, for the title of the axis.
        format: of numbers.
    """
    altair = import_altair()
    scale = altair.Scale(zero=False, nice=True)
    title_ = f"{x_title} (● {kinds[0]}, ○ {kinds[1]})"
    axis = altair.Axis(format=format, tickCount=5)
    base = chart().encode(
        y=altair.Y("loss:N", sort=list(names), title=None, axis=altair.Axis(domain=False, ticks=False)),
        tooltip=[altair.Tooltip("reading:N", title=" ")],
        **theme.encode("loss", [n for n in theme.names if n in set(names)], "color", legend=None),
    )
    first = altair.X("first:Q", title=title_, scale=scale, axis=axis)
    second = altair.X("second:Q", title=title_, scale=scale, axis=axis)
    layers = altair.layer(
        base.mark_rule(strokeWidth=2).encode(x=first, x2="second:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=first),
        base.mark_point(filled=False, fill="white", size=80, opacity=1, strokeWidth=2).encode(x=second),
    )
    return Panel(title, layers, rows, height=max(22 * len(names), 60))
