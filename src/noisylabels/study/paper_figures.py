"""The figures of the paper, for whatever losses and noises were run.

Each function gives one kind, a figure a family of noise; none where nothing was measured. What the paper
shows at its highest rate, eta = 0.8 or 0.4, is shown at the highest that was run.
"""

from __future__ import annotations

from collections.abc import Iterator

from noisylabels.losses.categories import CATEGORIES
from noisylabels.report.panels import SHARE, Figure, lines
from noisylabels.report.theme import Theme
from noisylabels.study.families import CLEAN, Family, noise_label
from noisylabels.study.plotting import (
    SPREAD,
    TITLES,
    curve_panel,
    dots_of,
    file_name,
    grid,
    loss_family,
    measured,
    over_rates,
    runs_each,
)
from noisylabels.study.results import LAST_EPOCHS, Measure, Results, accuracy, epoch_seconds, gap, instability

NUMBERS = {
    "symmetric": {"heatmap": "3a", "rates": "3b", "normalization": "3c, 3d", "gap": "4a", "stability": "4b"}
    | {"synergy": "5", "seconds": "8a"},
    "asymmetric": {"heatmap": "6a", "rates": "6b", "normalization": "6c, 6d", "gap": "7a", "stability": "7b"}
    | {"synergy": "7c to 7f", "seconds": "8b"},
}
"""Which figure of the paper it is, by family of noise and kind."""

CURVES = {
    CLEAN: "10",
    **{f"symmetric:0.{2 * i}": str(10 + i) for i in (1, 2, 3, 4)},
    **{f"asymmetric:0.{i}": str(14 + i) for i in (1, 2, 3, 4)},
}
"""Which figure of the paper has the learning curves of a noise."""


def _numbered(title: str, kind: str, family: Family) -> str:
    number = NUMBERS.get(family.key, {}).get(kind)
    return f"{title} ({'Figures' if ' ' in number else 'Figure'} {number})" if number else title


def heatmaps(results: Results, theme: Theme) -> Iterator[Figure]:
    """Figures 3a and 6a: mean accuracy of every loss under every noise."""
    for family in results.families:
        if losses := measured(results, accuracy, family.noises):
            n = runs_each(results, losses, family.noises)
            yield Figure(
                file_name("heatmap", family.key),
                _numbered(f"Test accuracy, {family.title.lower()}", "heatmap", family),
                f"Mean test accuracy of the last epoch, per cent; {n} seeds.",
                [grid(results, accuracy, losses, family)],
            )


def against_rate(results: Results, theme: Theme) -> Iterator[Figure]:
    """Figures 3b and 6b: accuracy against the rate of noise."""
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
            _numbered(f"Test accuracy against noise, {family.title.lower()}", "rates", family),
            f"Last epoch, mean {SPREAD}; {runs_each(results, losses, family.noises)}.",
            [panel],
        )


def normalization(results: Results, theme: Theme) -> Iterator[Figure]:
    """Figures 3c, 3d, 6c and 6d: learning curves of losses and of their normalized forms, highest rate."""
    forms = {loss: loss_family(loss).normalized for loss in results.losses}
    for family in results.families:
        noise = family.hardest
        groups: dict[str, list[str]] = {}
        for loss, form in forms.items():
            if noise != CLEAN and form and results.cell(loss, noise) and results.cell(form, noise):
                groups.setdefault(loss_family(loss).category, []).extend([loss, form])
        legend = [loss for loss in results.losses if any(loss in group for group in groups.values())]
        drawn = [
            panel
            for kind, group in groups.items()
            if (
                panel := curve_panel(
                    TITLES[kind], results, theme, "test_accuracy", group, noise, "test accuracy", legend
                )
            )
        ]
        if drawn:
            yield Figure(
                file_name("normalization", family.key),
                _numbered(f"What normalization does, {noise_label(noise)}", "normalization", family),
                f"Test accuracy by epoch, mean {SPREAD}; {runs_each(results, legend, [noise])}.",
                drawn,
            )


def gaps(results: Results, theme: Theme) -> Iterator[Figure]:
    """Figures 4a and 7a: the overfitting gap."""
    return _at_the_highest_rate(
        results,
        theme,
        gap,
        "gap",
        "Overfitting gap",
        "accuracy on the labels given − test accuracy",
        "Training accuracy on the noisy labels less test accuracy, last epoch; above 0, wrong labels are "
        "learned by heart.",
        SHARE,
    )


def stability(results: Results, theme: Theme) -> Iterator[Figure]:
    """Figures 4b and 7b: how much the accuracy still moves at the end of training."""
    return _at_the_highest_rate(
        results,
        theme,
        instability,
        "stability",
        "Training stability",
        "standard deviation of test accuracy",
        f"Deviation of the test accuracy over the last {LAST_EPOCHS} epochs of a run; small is stable.",
        ".2%",
    )


def _at_the_highest_rate(
    results: Results,
    theme: Theme,
    measure: Measure,
    kind: str,
    title: str,
    x_title: str,
    caption: str,
    format: str,
) -> Iterator[Figure]:
    for family in results.families:
        noise = family.hardest
        losses = measured(results, measure, [noise])
        values = {loss: list(results.values(measure, loss, noise).values()) for loss in losses}
        if values:
            n = runs_each(results, losses, [noise])
            yield Figure(
                file_name(kind, family.key),
                _numbered(f"{title}, {noise_label(noise)}", kind, family),
                f"{caption} Ticks are runs, points their mean {SPREAD}; {n}.",
                [dots_of(values, theme, x_title, format=format)],
            )


def synergy(results: Results, theme: Theme) -> Iterator[Figure]:
    """Figures 5 and 7c to 7f: a sum of an active and a passive loss beside its two parts."""
    sums = [(loss, inner) for loss in results.losses if len(inner := loss_family(loss).parts) == 2]
    for family in results.families:
        if len(family.rates) < 2:
            continue
        drawn: dict[str, list[dict[str, float]]] = {}
        for loss, inner in sums:
            rows = [row for each in (loss, *inner) for row in over_rates(results, each, family)]
            if {row["loss"] for row in rows} == {loss, *inner}:
                drawn[loss] = rows
        if not drawn:
            continue
        shown = {str(row["loss"]) for rows in drawn.values() for row in rows}
        legend = [loss for loss in results.losses if loss in shown]
        least = min(row.get("low", row["y"]) for rows in drawn.values() for row in rows)
        yield Figure(
            file_name("synergy", family.key),
            _numbered(f"A sum and its parts, {family.title.lower()}", "synergy", family),
            f"Test accuracy of the last epoch, mean {SPREAD}; {runs_each(results, legend, family.noises)}.",
            [
                lines(
                    loss,
                    rows,
                    theme,
                    legend,
                    x_title="noise rate",
                    y_title="test accuracy",
                    points=True,
                    ticks=family.rates,
                    domain=(max(0.0, int(10 * least) / 10), 1),
                )
                for loss, rows in drawn.items()
            ],
        )


def seconds(results: Results, theme: Theme) -> Iterator[Figure]:
    """Figures 8a and 8b: seconds of training an epoch, over the noises of a family.

    Clean runs count with the symmetric ones, as in the paper.
    """
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
        yield Figure(
            file_name("seconds", family.key),
            _numbered(f"Training time, {family.title.lower()}", "seconds", family),
            "Seconds of training an epoch, without evaluation. Ticks are runs, points their mean ± one "
            f"standard deviation over {len(noises)} noises and the seeds; "
            f"{runs_each(results, losses, noises)} a noise. {'; '.join(machines)}. Runs that share a machine "
            "slow each other.",
            [dots_of(values, theme, "seconds an epoch", format="~g", descending=False, zero=False)],
        )


def learning_curves(results: Results, theme: Theme) -> Iterator[Figure]:
    """Figures 10 to 18: test and training accuracy by epoch, a panel a category, a figure a noise."""
    kinds = {loss: loss_family(loss).category for loss in results.losses}
    columns = {"test_accuracy": "test accuracy", "given_accuracy": "training accuracy, labels given"}
    for noise in results.noises:
        losses = measured(results, accuracy, [noise])
        groups = {kind: [loss for loss in losses if kinds[loss] == kind] for kind in CATEGORIES}
        panels = [
            panel
            for column, y_title in columns.items()
            for kind, group in groups.items()
            if (
                panel := curve_panel(TITLES[kind], results, theme, column, group, noise, y_title, losses, 230)
            )
        ]
        if panels:
            number = CURVES.get(noise)
            yield Figure(
                file_name("curves", noise_label(noise)),
                f"Learning curves, {noise_label(noise)}" + (f" (Figure {number})" if number else ""),
                "Above, accuracy on clean test data; below, on the training labels as given. "
                f"Mean {SPREAD}; {runs_each(results, losses, [noise])}.",
                panels,
                columns=max(sum(map(bool, groups.values())), 2),
            )
