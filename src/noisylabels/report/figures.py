"""Figures of losses and label noise, as declarative charts."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError
from noisylabels.core.files import atomic_replace, check_target
from noisylabels.report.renderer import render
from noisylabels.report.theme import Theme, darkened, import_altair, styled

FORMATS = {".svg": "svg", ".png": "png", ".html": "html", ".json": "json"}


def loss_curves(
    curves: Mapping[str, Mapping[str, Sequence[float]]], num_classes: int, theme: Theme | None = None
) -> Any:
    """Return two panels: the value of each loss, and its gradient, over the label's probability p.

    Args:
        curves: name of a loss -> its "p", "value" and "gradient", lists of equal length, as returned by
            `noisylabels.losses.curve.curve`.
        num_classes: K, for the title.
        theme: the looks of the losses, such as `study.looks.loss_theme`; by default those of their places.

    Returns:
        An altair chart with its data inside; `save` writes it.

    Raises:
        InputError: no curve, or altair is not installed.
    """
    altair = import_altair()
    if not curves:
        raise InputError("no curve to draw, expected one or more losses")
    rows = [
        {"loss": name, "p": p, "value": value, "gradient": gradient}
        for name, curve in curves.items()
        for p, value, gradient in zip(curve["p"], curve["value"], curve["gradient"], strict=True)
    ]
    lines = _lines(rows, list(curves), theme).encode(
        x=altair.X("p:Q", title="probability of the label, p", scale=altair.Scale(domain=[0, 1])),
        tooltip=[
            altair.Tooltip("loss:N"),
            *(altair.Tooltip(f"{key}:Q", format=".4f") for key in ("p", "value", "gradient")),
        ],
    )
    panels = [
        lines.encode(
            y=altair.Y(f"{key}:Q", title=axis, scale=altair.Scale(domain=_domain(curves, key), nice=False))
        ).properties(title=title, width=340, height=280)
        for key, title, axis in (
            ("value", "Loss of one example", "loss"),
            ("gradient", "Gradient by the label's logit", "gradient by the label's logit"),
        )
    ]
    chart = altair.hconcat(*panels, spacing=40).properties(
        title=altair.TitleParams(
            f"Losses over the probability of the label, {num_classes} classes",
            subtitle="The other classes share 1 − p evenly. Below 0, the gradient raises the label's logit.",
            anchor="start",
            offset=16,
        )
    )
    return styled(chart)


def loss_sheet(
    curves: Mapping[str, Mapping[str, Sequence[float]]], num_classes: int, theme: Theme | None = None
) -> Any:
    """Return one column per loss, its value above its gradient and its weight, each on its own scale.

    The weight is the gradient relative to that of cross entropy.

    For losses that differ too much in size for the common axes of `loss_curves`: a loss and its forms, a sum
    and its parts.

    Args:
        curves, num_classes, theme: as in `loss_curves`; the lines have the colors, not the dashes.
    """
    altair = import_altair()
    theme = theme or Theme(list(curves))
    if not curves:
        raise InputError("no curve to draw, expected one or more losses")
    panels = []
    axes = {"value": "value", "gradient": "gradient by its logit", "weight": "gradient / ce's"}
    for key, axis in axes.items():
        for name, curve in curves.items():
            top, bottom = key == "value", key == "weight"
            rows = [{"p": p, key: number} for p, number in zip(curve["p"], curve[key], strict=True)]
            panels.append(
                altair.Chart(altair.Data(values=rows))
                .mark_line(clip=True, strokeWidth=2.5, color=theme.color(name))
                .encode(
                    x=altair.X(
                        "p:Q",
                        title="p of the label" if bottom else None,
                        scale=altair.Scale(domain=[0, 1]),
                        axis=altair.Axis(labels=bottom, ticks=bottom),
                    ),
                    y=altair.Y(
                        f"{key}:Q",
                        title=axis if name == next(iter(curves)) else None,
                        scale=altair.Scale(domain=_domain({name: curve}, key), nice=False, zero=False),
                        axis=altair.Axis(tickCount=5),
                    ),
                )
                .properties(
                    width=215,
                    height=150,
                    **({"title": altair.TitleParams(name, frame="group", offset=10)} if top else {}),
                )
            )
    # a grid keeps rows and columns aligned
    sheet = altair.concat(*panels, columns=len(curves), spacing=24).properties(
        title=altair.TitleParams(
            f"Over the probability of the label, {num_classes} classes; each on its own scale",
            subtitle="The other classes share 1 − p evenly. Below 0, the gradient raises the label's logit.",
            anchor="start",
            offset=12,
        )
    )
    return styled(sheet)


MOST_DRAWN = 100
"""The most classes of a drawn matrix; more make tens of thousands of cells that are too small to read."""


def transition_matrices(realized: Any, nominal: Any, class_names: Sequence[str], title: str) -> Any:
    """Return the realized transition matrix and, if given, the nominal one, side by side.

    Args:
        realized: (K, K), entry (i, j) the share of true class i with given label j.
        nominal: (K, K) probabilities of the noise model, or None.
        class_names: K names.
        title: text that describes data, noise and counts; it is wrapped.

    Returns:
        An altair chart with its data inside; `save` writes it. Up to 20 classes show their numbers.

    Raises:
        InputError: more than 100 classes, or altair is not installed.
    """
    altair = import_altair()
    names, K = list(class_names), len(class_names)
    if K > MOST_DRAWN:
        raise InputError(
            f"a figure of the transition matrix shows at most {MOST_DRAWN} classes, not {K}; leave out --plot"
        )
    named = {"realized": realized} | ({} if nominal is None else {"nominal": nominal})
    rows = [
        {"matrix": kind, "true": names[i], "given": names[j], "share": float(values[i][j])}
        for kind, values in named.items()
        for i in range(K)
        for j in range(K)
    ]
    side = 420 if K <= 20 else 560
    axis = altair.Axis(labelAngle=-90, labelLimit=140, grid=False, domain=False, ticks=False)
    y_axis = altair.Axis(labelLimit=140, grid=False, domain=False, ticks=False)
    if K > 50:  # too many names: every second would be left out
        axis, y_axis = (altair.Axis(labels=False, ticks=False, grid=False) for _ in range(2))
    panels = []
    for kind in named:
        base = altair.Chart(altair.Data(values=[row for row in rows if row["matrix"] == kind])).encode(
            x=altair.X("given:N", sort=names, title="given label", axis=axis),
            y=altair.Y("true:N", sort=names, title="true class", axis=y_axis),
            tooltip=["true:N", "given:N", altair.Tooltip("share:Q", format=".2%")],
        )
        cells = base.mark_rect(stroke="#eeeeee", strokeWidth=1 if K <= 20 else 0).encode(
            color=altair.Color(
                "share:Q",
                title="share",
                scale=altair.Scale(domain=[0, 1], range=["white", "#08519c"], interpolate="rgb"),
                legend=altair.Legend(format=".0%"),
            )
        )
        numbers = (
            base.transform_filter("datum.share >= 0.0005")
            .mark_text(fontSize=11)
            .encode(
                text=altair.Text("per_cent:Q", format=".1f"),
                color=altair.condition("datum.share > 0.5", altair.value("white"), altair.value("#222222")),
            )
        )
        numbers = numbers.transform_calculate(per_cent="100 * datum.share")
        panels.append(
            (altair.layer(cells, numbers) if K <= 20 else cells).properties(
                title=f"{kind}, per cent" if K <= 20 else kind, width=side, height=side
            )
        )
    heading = altair.TitleParams(textwrap.wrap(title, 55 * len(panels)), anchor="start", offset=16)
    return styled(altair.hconcat(*panels, spacing=40).properties(title=heading))


def _lines(rows: Sequence[Mapping[str, Any]], names: Sequence[str], theme: Theme | None) -> Any:
    """Return lines with one color and dash per loss, without axes."""
    altair = import_altair()
    return (
        altair.Chart(altair.Data(values=rows))
        .mark_line(clip=True, strokeWidth=2.5, strokeCap="butt", strokeJoin="round")
        .encode(**(theme or Theme(names)).encode("loss", names, "color", "strokeDash", legend=True))
    )


def save(chart: Any, path: str | Path) -> None:
    """Write a chart to `path`, whole or not at all, in the format of its suffix: svg, png, html, json.

    The HTML includes its scripts and works offline; the JSON is the Vega-Lite specification.

    Raises:
        InputError: an unknown suffix, a path that cannot be written, or missing packages.
    """
    path = check_target(Path(path), FORMATS, "figure")
    altair = import_altair()
    with altair.data_transformers.enable("default"), altair.data_transformers.disable_max_rows():
        spec = chart.to_dict(context={"pre_transform": False})
    made = _rendered(spec, FORMATS[path.suffix.lower()])
    try:
        with atomic_replace(path) as temporary:
            temporary.write_bytes(made.encode() if isinstance(made, str) else made)
    except OSError as error:
        raise InputError(f"the figure {path} cannot be written: {error.strerror or error}") from None


def _rendered(spec: dict[str, Any], kind: str) -> str | bytes:
    """Return a Vega-Lite specification in a format of `FORMATS`."""
    if kind == "json":
        return json.dumps(spec)
    if kind == "html":
        return str(render("html", spec=spec))
    version = ".".join(import_altair().VEGALITE_VERSION.split(".")[:2])
    if kind == "svg":
        return darkened(str(render("vegalite_to_svg", vl_spec=spec, vl_version=version)))
    return bytes(render("vegalite_to_png", vl_spec=spec, vl_version=version, scale=2, ppi=72))


def _domain(curves: Mapping[str, Mapping[str, Sequence[float]]], key: str) -> list[float]:
    """Return the limits of an axis for all values, without letting a pole at an end flatten the rest.

    The outermost 5 % of p at either end are cut off if they would more than double the height of the rest.
    The axis includes zero, unless all values are far from it.
    """
    lowest = min(min(curve[key]) for curve in curves.values())
    far = lowest > 0.5 * max(max(curve[key]) for curve in curves.values())
    inner, outer = ([lowest], [lowest]) if far else ([0.0], [0.0])
    for curve in curves.values():
        for p, value in zip(curve["p"], curve[key], strict=True):
            outer.append(value)
            if 0.05 <= p <= 0.95:
                inner.append(value)
    low, high = min(inner), max(inner)
    height = (high - low) or 1.0
    low = min(outer) if min(outer) >= low - height else low
    high = max(outer) if max(outer) <= high + height else high
    margin = 0.04 * ((high - low) or 1.0)
    return [low - margin if low < 0 or far else 0.0, high + margin]
