"""Figures beyond the paper's: memorization, classes, the chosen epoch, spread over seeds, ranks."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.report.panels import Figure, heatmap, pairs
from noisylabels.report.ranking import ranking
from noisylabels.report.theme import Theme
from noisylabels.study.families import CLEAN, noise_label
from noisylabels.study.plotting import (
    SPREAD,
    curve_panel,
    dots_of,
    file_name,
    grid,
    measured,
    per_cent,
    runs_each,
)
from noisylabels.study.results import Results, accuracy, chosen_accuracy, dead, memorized
from noisylabels.study.statistics import rank
from noisylabels.training.metrics import DEAD_RECALL

MOST_CLASSES = 30
"""More do not fit into a figure beside each other."""


def memorization(results: Results, theme: Theme) -> Iterator[Figure]:
    """Wrong labels learned by heart: at the end under every noise, and by epoch at the highest rate."""
    for family in results.families:
        losses = measured(results, memorized, family.noises)
        if not losses:
            continue
        first = int(family.noises[0] == CLEAN)  # where no label is wrong
        noisy = replace(family, noises=family.noises[first:], rates=family.rates[first:])
        title, hardest = "wrong labels learned by heart", family.hardest
        by_epoch = curve_panel(
            noise_label(hardest), results, theme, "memorized", losses, hardest, title, width=360
        )
        yield Figure(
            file_name("memorized", family.key),
            f"Wrong labels learned by heart, {family.title.lower()}",
            "Of the training examples with a wrong label, the share predicted as that label: per cent at "
            "the last epoch, and by epoch at the highest rate. Mean; "
            f"{runs_each(results, losses, noisy.noises)}.",
            [grid(results, memorized, losses, noisy), *([by_epoch] if by_epoch else [])],
        )


def per_class(results: Results, theme: Theme) -> Iterator[Figure]:
    """Recall of every class at the highest rate, dead classes marked."""
    names = results.class_names
    if not 2 <= len(names) <= MOST_CLASSES:
        return
    for family in results.families:
        noise = family.hardest
        losses = measured(results, dead, [noise])
        rows: list[dict[str, Any]] = []
        for loss in losses:
            # a folder of the same name elsewhere may have other classes
            runs = [run for run in results.cell(loss, noise) if run.recall.shape[1:] == (len(names),)]
            for place, name in enumerate(names):
                recalls = np.array([run.recall[-1, place] for run in runs])
                if not runs or np.isnan(recalls).any():  # a class without test examples
                    continue
                mean, died = float(recalls.mean()), int((recalls <= DEAD_RECALL).sum())
                reading = f"{loss}, {name}: {per_cent(mean)}, dead in {died} of {len(recalls)} runs"
                row = {"loss": loss, "name": loss, "column": name, "value": mean, "reading": reading}
                rows.append(row | {"text": f"{100 * mean:.0f}" + ("×" if died else "")})
        if rows:
            yield Figure(
                file_name("classes", family.key),
                f"Accuracy of each class, {noise_label(noise)}",
                "Of each class's test examples, the share predicted as it: per cent, last epoch, mean; × "
                f"marks a class that is dead ({100 * DEAD_RECALL:g} % or less) in a run. "
                f"{runs_each(results, losses, [noise])}.",
                [heatmap(noise_label(noise), rows, columns=names, names=losses, x_title="class")],
            )


def chosen(results: Results, theme: Theme) -> Iterator[Figure]:
    """The last epoch beside the one that noisy validation chooses."""
    for family in results.families:
        panels = []
        for noise in family.noises:
            rows = []
            for loss in measured(results, chosen_accuracy, [noise]):
                last = results.summary(accuracy, loss, noise)
                best = results.summary(chosen_accuracy, loss, noise)
                if last and best:
                    told = (
                        f"last {per_cent(last.mean, last.deviation)}, chosen "
                        f"{per_cent(best.mean, best.deviation)} (n = {best.n})"
                    )
                    row = {"loss": loss, "first": last.mean, "second": best.mean}
                    rows.append(row | {"reading": f"{loss}: {told}"})
            if rows:
                names = [str(row["loss"]) for row in rows]
                kinds = ("last epoch", "chosen")
                title = noise_label(noise)
                panels.append(pairs(title, rows, theme, names=names, x_title="test accuracy", kinds=kinds))
        if panels:
            share = max(results.settings["validation"])
            n = runs_each(results, results.losses, family.noises)
            yield Figure(
                file_name("chosen", family.key),
                f"The last epoch beside the chosen one, {family.title.lower()}",
                f"Chosen: the epoch with the best accuracy on the noisy labels of {share:.0%} of the "
                f"training examples, held out; the test set selects nothing. Means; {n}.",
                panels,
            )


def spread(results: Results, theme: Theme) -> Iterator[Figure]:
    """Every run's accuracy, under every noise of a family."""
    for family in results.families:
        panels = []
        for noise in family.noises:
            values = {loss: list(results.values(accuracy, loss, noise).values()) for loss in results.losses}
            if any(values.values()):
                title = noise_label(noise)
                panels.append(dots_of(values, theme, "test accuracy", title=title, zero=False, width=240))
        if panels:
            yield Figure(
                file_name("spread", family.key),
                f"Spread over the seeds, {family.title.lower()}",
                f"Test accuracy of the last epoch. Ticks are runs, points their mean {SPREAD}; "
                f"{runs_each(results, results.losses, family.noises)}.",
                panels,
                columns=3,
            )


def ranks(results: Results, theme: Theme) -> Iterator[Figure]:
    """Critical-difference diagram: mean ranks of the losses over noises, of each the mean of its seeds."""
    table: dict[str, dict[Hashable, float]] = {}
    for loss in results.losses:
        for noise in results.noises:
            if summary := results.summary(accuracy, loss, noise):
                table.setdefault(loss, {})[noise] = summary.mean
    try:
        found = rank(table)
    except InputError:  # a single loss, or no noise that all have
        return
    if found.critical is None or found.p is None:
        return
    p = "p < 0.0001" if found.p < 1e-4 else f"p = {found.p:.4f}"
    yield Figure(
        "ranks",
        "Which losses differ: mean ranks and the critical difference",
        f"Rank of the mean test accuracy under each of {found.settings} noises, 1 the best; "
        f"{runs_each(results, list(table), results.noises)} runs a mean. Friedman's test that all are alike: "
        f"{p}. A bar joins losses that Nemenyi's test at 5 % does not tell apart.",
        [ranking("", found.mean, found.groups, found.critical)],
    )
