"""Figures of a study's report, for any losses and noises.

Each function yields one kind of figure, usually one per noise family, and none where nothing was measured.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.losses.categories import CATEGORIES
from noisylabels.report.panels import Figure, heatmap, lines, pairs
from noisylabels.report.ranking import ranking
from noisylabels.report.theme import Theme
from noisylabels.study.families import CLEAN, noise_label
from noisylabels.study.plotting import (
    SPREAD,
    TITLES,
    curve_domain,
    curve_panel,
    dots_of,
    file_name,
    grid,
    loss_family,
    measured,
    over_rates,
    per_cent,
    runs_each,
)
from noisylabels.study.results import Results, accuracy, chosen_accuracy, dead, epoch_seconds, memorized
from noisylabels.study.statistics import rank
from noisylabels.training.metrics import DEAD_RECALL

MOST_CLASSES = 30
"""Largest number of classes that fit in one figure."""


def heatmaps(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield heatmaps of the mean accuracy of every loss under every noise, one per noise family."""
    for family in results.families:
        if losses := measured(results, accuracy, family.noises):
            n = runs_each(results, losses, family.noises)
            yield Figure(
                file_name("heatmap", family.key),
                f"Test accuracy under {family.title.lower()}",
                f"Mean test accuracy (%) at the last epoch; {n} runs per cell.",
                [grid(results, accuracy, losses, family)],
            )


def against_rate(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield plots of accuracy versus noise rate, one per noise family."""
    for family in results.families:
        losses = measured(results, accuracy, family.noises)
        if len(family.rates) < 2 or not losses:
            continue
        rows = [row for loss in losses for row in over_rates(results, loss, family)]
        panel = lines(
            family.title,
            rows,
            theme,
            losses,
            x_title="noise rate",
            y_title="test accuracy",
            points=True,
            width=520,
            ticks=family.rates,
        )
        yield Figure(
            file_name("rates", family.key),
            f"Test accuracy versus noise rate, {family.title.lower()}",
            f"Test accuracy at the last epoch, mean {SPREAD}; {runs_each(results, losses, family.noises)}.",
            [panel],
        )


def memorization(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield the share of noisy labels memorized at the last epoch, and by epoch at the highest rate."""
    for family in results.families:
        losses = measured(results, memorized, family.noises)
        if not losses:
            continue
        first = int(family.noises[0] == CLEAN)  # clean data have no noisy labels
        noisy = replace(family, noises=family.noises[first:], rates=family.rates[first:])
        title, hardest = "memorized noisy labels", family.hardest
        by_epoch = curve_panel(
            noise_label(hardest), results, theme, "memorized", losses, hardest, title, width=360
        )
        yield Figure(
            file_name("memorized", family.key),
            f"Memorization of noisy labels, {family.title.lower()}",
            "Share of the training examples with a noisy label that are predicted as that label: % at the "
            "last epoch, and by epoch at the highest rate. Mean over seeds; "
            f"{runs_each(results, losses, noisy.noises)}.",
            [grid(results, memorized, losses, noisy), *([by_epoch] if by_epoch else [])],
        )


def per_class(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield the recall of every class at the highest rate, with dead classes marked."""
    names = results.class_names
    if not 2 <= len(names) <= MOST_CLASSES:
        return
    for family in results.families:
        noise = family.hardest
        losses = measured(results, dead, [noise])
        rows: list[dict[str, Any]] = []
        for loss in losses:
            # a data folder of the same name on another machine may have other classes
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
                f"Per-class accuracy, {noise_label(noise)}",
                "Recall (%) of each class on the test set at the last epoch, mean over seeds. × marks a "
                f"class that is dead (recall of {100 * DEAD_RECALL:g} % or less) in at least one run; "
                f"{runs_each(results, losses, [noise])}.",
                [heatmap(noise_label(noise), rows, columns=names, names=losses, x_title="class")],
            )


def chosen(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield the test accuracy at the last epoch and at the epoch chosen on noisy validation labels."""
    for family in results.families:
        panels = []
        for noise in family.noises:
            rows = []
            for loss in measured(results, chosen_accuracy, [noise]):
                last = results.summary(accuracy, loss, noise)
                best = results.summary(chosen_accuracy, loss, noise)
                if last and best:
                    accuracies = (
                        f"last {per_cent(last.mean, last.deviation)}, chosen "
                        f"{per_cent(best.mean, best.deviation)} (n = {best.n})"
                    )
                    row = {"loss": loss, "first": last.mean, "second": best.mean}
                    rows.append(row | {"reading": f"{loss}: {accuracies}"})
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
                f"Last epoch versus chosen epoch, {family.title.lower()}",
                "Mean test accuracy. The chosen epoch is the one with the highest accuracy on the noisy "
                f"labels of a held-out {100 * share:g} % of the training set; no choice uses test data; {n}.",
                panels,
            )


def spread(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield the accuracy of every run under every noise of a family."""
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
                f"Variation across seeds, {family.title.lower()}",
                f"Test accuracy at the last epoch. Ticks are single runs, points are means {SPREAD}; "
                f"{runs_each(results, results.losses, family.noises)}.",
                panels,
                columns=3,
            )


def ranks(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield the critical-difference diagram of the mean ranks of losses over all noises."""
    table: dict[str, dict[Hashable, float]] = {}
    for loss in results.losses:
        for noise in results.noises:
            if summary := results.summary(accuracy, loss, noise):
                table.setdefault(loss, {})[noise] = summary.mean
    try:
        found = rank(table)
    except InputError:  # a single loss, or no noise under which all losses were run
        return
    if found.critical is None or found.p is None:
        return
    p = "p < 0.0001" if found.p < 1e-4 else f"p = {found.p:.4f}"
    yield Figure(
        "ranks",
        "Critical-difference diagram of the mean ranks",
        f"Mean rank by mean test accuracy over {found.settings} noises (1 is best); "
        f"{runs_each(results, list(table), results.noises)} runs per mean. Friedman test of equal ranks: "
        f"{p}. Losses joined by a bar do not differ significantly (Nemenyi test, α = 0.05).",
        [ranking("", found.mean, found.groups, found.critical)],
    )


def seconds(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield training seconds per epoch over the noises of a family; clean runs count as symmetric."""
    for family in results.families:
        noises = [noise for noise in family.noises if noise != CLEAN or family.key == "symmetric"]
        losses = measured(results, epoch_seconds, noises)
        values = {
            loss: [s for noise in noises for s in results.values(epoch_seconds, loss, noise).values()]
            for loss in losses
        }
        if not values:
            continue
        machines = sorted({run.machine for run in results.done if run.noise in noises})
        over = f"{len(noises)} noises" if len(noises) > 1 else "one noise"
        yield Figure(
            file_name("seconds", family.key),
            f"Training time per epoch, {family.title.lower()}",
            "Training time per epoch in seconds, without evaluation. Ticks are single runs, points are means "
            f"± one sample standard deviation over {over} and all seeds; "
            f"{runs_each(results, losses, noises)} per noise. Hardware: {'; '.join(machines)}. Runs that "
            "share a machine slow each other down.",
            [dots_of(values, theme, "seconds per epoch", format="~g", descending=False, zero=False)],
        )


def learning_curves(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield test and training accuracy by epoch, one figure per noise, one panel per category of loss."""
    kinds = {loss: loss_family(loss).category for loss in results.losses}
    columns = {"test_accuracy": "test accuracy", "given_accuracy": "training accuracy, given labels"}
    for noise in results.noises:
        losses = measured(results, accuracy, [noise])
        groups = {kind: [loss for loss in losses if kinds[loss] == kind] for kind in CATEGORIES}
        axes = {column: curve_domain(results, column, losses, noise) for column in columns}
        drawn = (
            curve_panel(
                TITLES[kind], results, theme, column, group, noise, y_title, losses, 230, axes[column]
            )
            for column, y_title in columns.items()
            for kind, group in groups.items()
        )
        panels = [panel for panel in drawn if panel]
        if panels:
            yield Figure(
                file_name("curves", noise_label(noise)),
                f"Learning curves, {noise_label(noise)}",
                "Top: accuracy on the clean test set; bottom: accuracy on the given training labels. "
                f"Mean {SPREAD}; {runs_each(results, losses, [noise])}.",
                panels,
                columns=max(sum(map(bool, groups.values())), 2),
            )
