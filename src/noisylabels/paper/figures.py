"""Figures specific to the paper: effect of normalization, overfitting gap, stability, synergy.

Each function yields one kind of figure, one per noise family, and none where nothing was measured. What the
paper shows at its highest rate, 0.8 or 0.4, is shown at the highest rate that was run.
"""

from __future__ import annotations

from collections.abc import Iterator

from noisylabels.report.panels import SHARE, Figure, lines
from noisylabels.report.theme import Theme
from noisylabels.study.families import CLEAN, noise_label
from noisylabels.study.plotting import (
    SPREAD,
    TITLES,
    curve_panel,
    dots_of,
    file_name,
    loss_family,
    measured,
    over_rates,
    runs_each,
)
from noisylabels.study.results import LAST_EPOCHS, Measure, Results, gap, instability


def normalization(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield the learning curves of losses and their normalized forms at the highest rate (3c, 3d, 6c, 6d)."""
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
                f"Effect of normalization, {noise_label(noise)}",
                f"Test accuracy by epoch, mean {SPREAD}; {runs_each(results, legend, [noise])}.",
                drawn,
            )


def gaps(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield the overfitting gap at the highest rate (Figures 4a and 7a)."""
    return _at_the_highest_rate(
        results,
        theme,
        gap,
        "gap",
        "Overfitting gap",
        "training accuracy on given labels − test accuracy",
        "Training accuracy on the given labels minus test accuracy, at the last epoch. A positive gap "
        "indicates memorized noisy labels.",
        SHARE,
    )


def stability(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield the standard deviation of the test accuracy over the last epochs (Figures 4b and 7b)."""
    return _at_the_highest_rate(
        results,
        theme,
        instability,
        "stability",
        "Training stability",
        "standard deviation of test accuracy",
        f"Sample standard deviation of the test accuracy over the last {LAST_EPOCHS} epochs of a run; lower "
        "is more stable.",
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
                f"{title}, {noise_label(noise)}",
                f"{caption} Ticks are single runs, points are means {SPREAD}; {n}.",
                [dots_of(values, theme, x_title, format=format)],
            )


def synergy(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield each sum of an active and a passive loss with its two components (Figures 5 and 7c to 7f)."""
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
            f"Combined losses and their components, {family.title.lower()}",
            f"Test accuracy at the last epoch, mean {SPREAD}; {runs_each(results, legend, family.noises)}.",
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
