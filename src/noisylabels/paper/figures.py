"""Figures specific to the paper: effect of normalization, overfitting gap, stability, synergy.

Each function yields one kind of figure, one per noise family, and none where nothing was measured. What the
paper shows at its highest rate, 0.8 or 0.4, is shown at the highest rate that was run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noisylabels.losses.categories import is_passive
from noisylabels.report.axes import SHARE, share_domain
from noisylabels.report.panels import Figure, lines
from noisylabels.report.theme import Look, Theme
from noisylabels.study.families import CLEAN, noise_label
from noisylabels.study.plotting import (
    SPREAD,
    TITLES,
    curve_domain,
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
        axis = curve_domain(results, "test_accuracy", legend, noise)
        drawn = [
            panel
            for kind, group in groups.items()
            if (
                panel := curve_panel(
                    TITLES[kind],
                    results,
                    theme,
                    "test_accuracy",
                    group,
                    noise,
                    "test accuracy",
                    legend,
                    domain=axis,
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


ROLES = Theme(
    ("active term", "passive term", "their sum"),
    {
        "active term": Look("#E08A00", (8, 3), "square"),
        "passive term": Look("#00805A", (2, 2), "triangle-up"),
        "their sum": Look("#B3123F", (1, 0), "diamond"),
    },
)
"""Orange squares, green triangles and red diamonds, as in the paper's Figures 5 and 7."""


def synergy(results: Results, theme: Theme) -> Iterator[Figure]:
    """Yield each sum of an active and a passive loss with its two components (Figures 5 and 7c to 7f).

    A sum of two terms of the same kind is not drawn.
    """
    sums = {loss: roles for loss in results.losses if (roles := _roles(loss))}
    for family in results.families:
        if len(family.rates) < 2:
            continue
        drawn: dict[str, list[dict[str, Any]]] = {}
        for loss, roles in sums.items():
            rows = [
                row | {"role": role}
                for each, role in roles.items()
                for row in over_rates(results, each, family)
            ]
            if {row["loss"] for row in rows} == roles.keys():
                drawn[loss] = rows
        if not drawn:
            continue
        shown = sorted({str(row["loss"]) for rows in drawn.values() for row in rows})
        domain = share_domain(drawn.values())
        yield Figure(
            file_name("synergy", family.key),
            f"Combined losses and their components, {family.title.lower()}",
            f"Test accuracy at the last epoch, mean {SPREAD}; {runs_each(results, shown, family.noises)}.",
            [
                lines(
                    _spelled(sums[loss]),
                    rows,
                    ROLES,
                    ROLES.names,
                    x_title="noise rate",
                    y_title="test accuracy",
                    points=True,
                    ticks=family.rates,
                    domain=domain,
                    by="role",
                )
                for loss, rows in drawn.items()
            ],
        )


def _roles(loss: str) -> dict[str, str]:
    """Return the terms of a sum of an active and a passive term, and the sum -> its role; else nothing."""
    parts = loss_family(loss).parts
    if len(parts) != 2 or [is_passive(part) for part in parts] != [False, True]:
        return {}
    return dict(zip((*parts, loss), ROLES.names, strict=True))


def _spelled(roles: Mapping[str, str]) -> str:
    """Return the title of a panel: a sum and its terms, unless its expression says all."""
    *parts, whole = roles
    return whole if whole == "+".join(parts) else f"{whole}: {parts[0]}, {parts[1]}"
