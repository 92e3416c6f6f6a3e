"""Panels that figures share: a measure over noises, losses and epochs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.losses import categories
from noisylabels.report.axes import SHARE, share_domain
from noisylabels.report.panels import Panel, dots, heatmap, lines
from noisylabels.report.theme import Theme
from noisylabels.study.families import Family, noise_label
from noisylabels.study.results import Measure, Results, accuracy
from noisylabels.study.statistics import summarize

SPREAD = "± one sample standard deviation over seeds"

TITLES = {
    "standard": "Standard losses",
    "robust": "Robust losses",
    "normalized": "Normalized losses",
    "combined": "Combined losses (Active Passive Loss)",
}
"""Category of `losses.categories` -> title of its panel."""


@dataclass(frozen=True)
class LossFamily:
    """Category, components and normalized form of a loss; see `losses.categories`."""

    category: str
    parts: tuple[str, ...]
    normalized: str | None


def loss_family(loss: str) -> LossFamily:
    """Return the category, components and normalized form of a loss; unknown losses count as standard."""
    try:
        return LossFamily(
            categories.category(loss), tuple(categories.parts(loss)), categories.normalized_of(loss)
        )
    except InputError:
        return LossFamily("standard", (loss,), None)


def file_name(kind: str, what: str) -> str:
    """Return the name of a figure's files: "gap-symmetric"."""
    # truncated: a file name has at most 255 bytes, a noise may be longer
    words = re.sub("[^A-Za-z0-9.]", "-", what[:80])
    return f"{kind}-{words}".rstrip("-.")


def runs_each(results: Results, losses: Sequence[str], noises: Sequence[str]) -> str:
    """Return the number of runs per loss and noise as text: "n = 3"."""
    counts = {n for loss in losses for noise in noises if (n := len(results.cell(loss, noise)))}
    if len(counts) < 2:
        return f"n = {max(counts, default=0)}"
    return f"n = {min(counts)} to {max(counts)}"


def measured(results: Results, measure: Measure, noises: Sequence[str]) -> list[str]:
    """Return the losses for which the measure is known under at least one of the noises."""
    return [loss for loss in results.losses if any(results.values(measure, loss, noise) for noise in noises)]


def per_cent(value: float, deviation: float | None = None, digits: int = 1) -> str:
    """Return a share and its standard deviation as text in percent."""
    mean = f"{100 * value:.{digits}f}"
    return f"{mean} %" if deviation is None else f"{mean} ± {100 * deviation:.{digits}f} %"


def in_seconds(value: float, deviation: float | None = None) -> str:
    """Return a time and its standard deviation as text."""
    digits = 2 if value >= 1 else 4
    return f"{value:.{digits}f} s" if deviation is None else f"{value:.{digits}f} ± {deviation:.{digits}f} s"


def grid(results: Results, measure: Measure, losses: Sequence[str], family: Family) -> Panel:
    """Return a heatmap of a share, one row per loss and one column per noise of a family."""
    rows = []
    for loss in losses:
        for noise, label in zip(family.noises, family.labels, strict=True):
            if found := results.summary(measure, loss, noise):
                value_text = f"{per_cent(found.mean, found.deviation)} (n = {found.n})"
                row = {"loss": loss, "name": loss, "column": label, "value": found.mean}
                row |= {
                    "text": f"{100 * found.mean:.1f}",
                    "reading": f"{loss}, {noise_label(noise)}: {value_text}",
                }
                rows.append(row)
    x_title = "noise rate" if family.rates else "noise"
    return heatmap(family.title, rows, columns=family.labels, names=losses, x_title=x_title)


def over_rates(results: Results, loss: str, family: Family) -> Iterator[dict[str, Any]]:
    """Yield the mean accuracy of a loss and its standard deviation at every rate of a family."""
    for noise, rate in zip(family.noises, family.rates, strict=True):
        if found := results.summary(accuracy, loss, noise):
            yield {"loss": loss, "x": rate, "y": found.mean, **_spread(found.mean, found.deviation)}


def _spread(mean: float, deviation: float | None) -> dict[str, float]:
    return {} if deviation is None else {"low": mean - deviation, "high": mean + deviation}


def curve_panel(
    title: str,
    results: Results,
    theme: Theme,
    column: str,
    losses: Sequence[str],
    noise: str,
    y_title: str,
    legend: Sequence[str] | None = None,
    width: int = 300,
    domain: Sequence[float] | None = None,
) -> Panel | None:
    """Return a history column by epoch, mean and standard deviation over seeds; None if not recorded.

    The y axis is `domain`, such as that of several panels, or `share_domain` of this one, else 0 to 1.
    """
    rows = _by_epoch(results, column, losses, noise)
    if not rows:
        return None
    domain = domain or share_domain([rows], (0, 1))
    return lines(
        title, rows, theme, legend or losses, x_title="epoch", y_title=y_title, domain=domain, width=width
    )


def curve_domain(results: Results, column: str, losses: Sequence[str], noise: str) -> tuple[float, float]:
    """Return the common range of the y axes of panels that `curve_panel` draws of some of the losses."""
    return share_domain([_by_epoch(results, column, losses, noise)], (0, 1))


def _by_epoch(results: Results, column: str, losses: Sequence[str], noise: str) -> list[dict[str, Any]]:
    rows = []
    for loss in losses:
        values = results.curve(column, loss, noise)
        if not values.size or np.isnan(values).any():
            continue
        means = values.mean(axis=0).tolist()
        deviations = values.std(axis=0, ddof=1).tolist() if len(values) > 1 else [None] * len(means)
        for epoch, (mean, deviation) in enumerate(zip(means, deviations, strict=True), 1):
            rows.append({"loss": loss, "x": epoch, "y": mean, **_spread(mean, deviation)})
    return rows


def dots_of(
    values: Mapping[str, Sequence[float]],
    theme: Theme,
    x_title: str,
    *,
    title: str = "",
    format: str = SHARE,
    descending: bool = True,
    zero: bool = True,
    width: int = 480,
) -> Panel:
    """Return one line per loss with all runs, their mean and standard deviation, ordered by the mean."""
    found = {loss: summarize(each) for loss, each in values.items() if len(each)}
    rows: list[dict[str, Any]] = []
    for loss, summary in found.items():
        share = format.endswith("%")
        mean_text = (
            per_cent(summary.mean, summary.deviation, 2)
            if share
            else in_seconds(summary.mean, summary.deviation)
        )
        reading = f"{loss}: {mean_text} (n = {summary.n})"
        mean = {"mean": summary.mean, **_spread(summary.mean, summary.deviation)}
        for number, value in enumerate(values[loss]):
            rows.append({"loss": loss, "x": value, "reading": reading, **({} if number else mean)})
    order = sorted(found, key=lambda loss: found[loss].mean, reverse=descending)
    return dots(title, rows, theme, names=order, x_title=x_title, format=format, zero=zero, width=width)
