"""The figure of a sweep of the learning rate, across sets of runs that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noisylabels.report.page import Section
from noisylabels.report.panels import Figure, lines
from noisylabels.report.theme import Theme
from noisylabels.study.families import noise_label
from noisylabels.study.plotting import SPREAD, file_name, runs_each
from noisylabels.study.results import Measure, Results, accuracy, memorized

SWEPT = {"lr", "weight_decay"}
"""Settings that a sweep may vary: the decay can follow the rate, so that their product stays the same."""

MEASURES: tuple[tuple[str, Measure], ...] = (
    ("test accuracy", accuracy),
    ("noisy labels memorized", memorized),
)


def learning_rates(results: Sequence[Results], theme: Theme) -> list[Section]:
    """Return a section with accuracy and memorization by learning rate, in a list; empty without a sweep."""
    rates = {rate: each for each in results if (rate := _rate(each)) is not None}
    if len(rates) < 2 or len(rates) < len(results):
        return []
    noises = dict.fromkeys(noise for each in results for noise in each.noises)
    figures = [figure for noise in noises if (figure := _figure(rates, noise, theme)) is not None]
    return [Section("learning-rates", "Learning rates", blocks=figures)] if figures else []


def _figure(rates: dict[float, Results], noise: str, theme: Theme) -> Figure | None:
    """Return the figure of a noise; None if nothing was measured under it."""
    losses = [loss for loss in theme.names if any(each.cell(loss, noise) for each in rates.values())]
    panels = []
    for title, measure in MEASURES:
        rows = [row for loss in losses for row in _rows(rates, measure, loss, noise)]
        if rows:
            panel = lines(
                title,
                rows,
                theme,
                losses,
                x_title="learning rate",
                y_title=title,
                points=True,
                ticks=sorted(rates),
                log_x=True,
            )
            panels.append(panel)
    if not panels:
        return None
    first = next(iter(rates.values()))
    decays = any("weight_decay" in each.apart for each in rates.values())
    follows = " The weight decay follows the rate, as the titles of the sets say." * decays
    return Figure(
        file_name("learning-rates", noise_label(noise)),
        f"Accuracy by learning rate, {noise_label(noise)}",
        f"At the last epoch, mean {SPREAD}; {runs_each(first, losses, [noise])} per rate.{follows}",
        panels,
    )


def _rate(results: Results) -> float | None:
    """Return the learning rate that sets these runs apart; None if another setting does so too."""
    if "lr" not in results.apart or not results.apart.keys() <= SWEPT:
        return None
    return float(results.apart["lr"])


def _rows(rates: dict[float, Results], measure: Measure, loss: str, noise: str) -> list[dict[str, Any]]:
    rows = []
    for rate, each in sorted(rates.items()):
        if found := each.summary(measure, loss, noise):
            row = {"loss": loss, "x": rate, "y": found.mean}
            if found.deviation is not None:
                row |= {"low": found.mean - found.deviation, "high": found.mean + found.deviation}
            rows.append(row)
    return rows
