"""Tables of a study's report: accuracies, other measures, paired differences, failed runs, settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from noisylabels.methods.expression import STANDARD
from noisylabels.report.tables import Cell, Number, Table
from noisylabels.study.families import noise_label
from noisylabels.study.plotting import file_name, measured, runs_each
from noisylabels.study.results import (
    LAST_EPOCHS,
    LOOP_COLUMNS,
    Measure,
    Results,
    Run,
    accuracy,
    chosen_accuracy,
    dead,
    epoch_seconds,
    gap,
    instability,
    memorized,
)
from noisylabels.study.statistics import Summary, compare, top
from noisylabels.training.metrics import DEAD_RECALL

SPREAD = "mean ± sample standard deviation over seeds"


def head(results: Results) -> str:
    """Return the head of the column that names rows: the loss, and the method where one is not standard."""
    return "loss" if all(run.method == STANDARD for run in results.runs) else "loss by method"


def accuracies(results: Results) -> Iterator[Table]:
    """Yield one table of test accuracies per noise family."""
    for family in results.families:
        losses = measured(results, accuracy, family.noises)
        if not losses:
            continue
        found = {
            (loss, noise): summary
            for loss in losses
            for noise in family.noises
            if (summary := results.summary(accuracy, loss, noise))
        }
        best = {
            noise: top({loss: found[loss, noise].mean for loss in losses if (loss, noise) in found})
            for noise in family.noises
        }
        rows: list[list[Cell]] = [
            [loss, *(_number(found.get((loss, noise)), loss in best[noise]) for noise in family.noises)]
            for loss in losses
        ]
        yield Table(
            file_name("accuracy", family.key),
            f"Final test accuracy under {family.title.lower()}",
            [head(results), *family.labels],
            rows,
            f"{results.title}. Test accuracy (%) at the last epoch, {SPREAD}; "
            f"{runs_each(results, losses, family.noises)}. The two best means per column, with ties, are in "
            "bold." + (" Columns are noise rates." if family.rates else "") + copies_note(results, losses),
        )


def copies_note(results: Results, losses: Sequence[str]) -> str:
    """Return a sentence for each of the losses whose runs are copies of those of another one, or ""."""
    return "".join(
        f" The runs of {loss} are copied from those of {results.copied[loss]}: it is the same function, to "
        "the last bit."
        for loss in losses
        if loss in results.copied
    )


def _number(summary: Summary | None, bold: bool = False, factor: float = 100.0, digits: int = 2) -> Cell:
    if summary is None:
        return None
    scaled = [
        None if value is None else factor * value
        for value in (summary.mean, summary.deviation, summary.low, summary.high)
    ]
    mean, deviation, low, high = scaled
    return Number(mean or 0.0, deviation, low, high, summary.n, bold, digits=digits)


Spec = tuple[Measure, float, int]
"""Measure, factor of its unit, digits."""

COLUMNS: Mapping[str, Spec] = {
    "test accuracy (%)": (accuracy, 100.0, 2),
    "accuracy at chosen epoch (%)": (chosen_accuracy, 100.0, 2),
    "overfitting gap (points)": (gap, 100.0, 2),
    f"SD over last {LAST_EPOCHS} epochs (points)": (instability, 100.0, 2),
    "memorized noisy labels (%)": (memorized, 100.0, 2),
    "dead classes": (dead, 1.0, 1),
    "time per epoch (s)": (epoch_seconds, 1.0, 3),
}
"""Column head -> specification."""

DEFINITIONS: Mapping[Measure, str] = {
    chosen_accuracy: "Chosen epoch: highest accuracy on noisy validation labels.",
    gap: "Overfitting gap: training accuracy on the given labels minus test accuracy.",
    instability: f"SD over last {LAST_EPOCHS} epochs: standard deviation of the test accuracy of a run.",
    memorized: "Memorized: training examples with a noisy label that are predicted as that label.",
    dead: f"Dead class: recall of {100 * DEAD_RECALL:g} % or less.",
}
"""Measure -> its definition for the note of a table."""


def details(results: Results) -> Iterator[Table]:
    """Yield one table per noise family: all measures of the runs at the highest rate.

    Columns that a callback or a method added to the histories follow under their own names.
    """
    for family in results.families:
        noise = family.hardest
        losses = measured(results, accuracy, [noise])
        columns = {name: spec for name, spec in COLUMNS.items() if measured(results, spec[0], [noise])}
        added = _added_columns(results, losses, noise)
        definitions = [
            text for measure, text in DEFINITIONS.items() if measure in {spec[0] for spec in columns.values()}
        ]
        if losses:
            yield Table(
                file_name("measures", family.key),
                f"All measures under {noise_label(noise)}",
                [head(results), *columns, *added],
                [
                    [
                        loss,
                        *(
                            _number(results.summary(measure, loss, noise), False, factor, digits)
                            for measure, factor, digits in (*columns.values(), *added.values())
                        ),
                    ]
                    for loss in losses
                ],
                " ".join(
                    [
                        f"Last epoch, {SPREAD}; {runs_each(results, losses, [noise])}.",
                        *definitions,
                        *([_added_note(added)] if added else []),
                        *([note] if (note := copies_note(results, losses).strip()) else []),
                    ]
                ),
            )


def _added_columns(results: Results, losses: Sequence[str], noise: str) -> dict[str, Spec]:
    """Return name -> specification of the history columns that the training loop does not write."""
    runs = [run for loss in losses for run in results.cell(loss, noise)]
    names = dict.fromkeys(name for run in runs for name in run.curves if name not in LOOP_COLUMNS)
    found: dict[str, Spec] = {}
    for name in sorted(names):
        measure = partial(Run.last, column=name)
        if means := [s.mean for loss in losses if (s := results.summary(measure, loss, noise))]:
            found[name] = (measure, 1.0, _digits(max(map(abs, means))))
    return found


def _digits(value: float) -> int:
    """Return the number of decimals that shows four significant digits: the unit is unknown.

    >>> _digits(12.5), _digits(0.00125), _digits(1e6), _digits(0.0)
    (2, 6, 0, 2)
    """
    return min(max(3 - math.floor(math.log10(value)), 0), 12) if value else 2


def _added_note(names: Mapping[str, Spec]) -> str:
    return (
        f"Added to the history by a method or callback: {', '.join(names)}, over the runs with a value at "
        "the last epoch (n in the CSV)."
    )


def differences(results: Results, baseline: str = "ce") -> Iterator[Table]:
    """Yield, per noise family, accuracies minus those of a baseline on the same noisy labels."""
    for family in results.families:
        losses = [loss for loss in measured(results, accuracy, family.noises) if loss != baseline]
        rows: list[list[Cell]] = []
        for loss in losses:
            row: list[Cell] = [loss]
            for noise in family.noises:
                first = results.values(accuracy, loss, noise)
                second = results.values(accuracy, baseline, noise)
                row.append(_difference(first, second) if first.keys() & second.keys() else None)
            rows.append(row)
        if any(cell is not None for row in rows for cell in row[1:]):
            yield Table(
                file_name(f"against-{baseline}", family.key),
                f"Paired difference in test accuracy from {baseline}, {family.title.lower()}",
                [head(results), *family.labels],
                rows,
                f"Test accuracy minus that of {baseline} with the same seed, and therefore the same noisy "
                "labels, in points: mean ± sample standard deviation of the differences. The 95 % confidence "
                "interval (Student's t) is shown on hover and in the CSV.",
            )


def _difference(first: Mapping[int, float], second: Mapping[int, float]) -> Cell:
    number = _number(compare(first, second).difference)
    assert isinstance(number, Number)
    return Number(number.mean, number.deviation, number.low, number.high, number.n, signed=True)


def failures(results: Results) -> Table | None:
    """Return the failed runs with the reasons, or None if no run failed."""
    if not results.failed:
        return None
    rows = [[run.loss, noise_label(run.noise), str(run.seed), run.message] for run in results.failed]
    return Table(
        "failed",
        "Failed runs",
        [head(results), "noise", "seed", "reason"],
        rows,
        "Failed runs are excluded from all means. `noisylabels study run ... --retry` runs them again.",
    )


def settings(results: Results) -> Table:
    """Return every setting of the runs; a setting with several values is listed with the noises of each."""
    rows: list[list[Cell]] = []
    for name, values in results.settings.items():
        if len(values) == 1:
            rows.append([name, _written(values[0])])
            continue
        for value in values:
            where = [run for run in results.runs if run.config.get(name, value) == value]
            noises = list(dict.fromkeys(noise_label(run.noise) for run in where))
            rows.append([name, f"{_written(value)}: {', '.join(noises)}"])
    rows += [["machine", value] for value in sorted({run.machine for run in results.done})]
    rows += [["software", value] for value in sorted({run.software for run in results.done if run.software})]
    seeds = ", ".join(map(str, results.seeds))
    return Table("settings", "Experimental settings", ["setting", "value"], [*rows, ["seeds", seeds]])


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
