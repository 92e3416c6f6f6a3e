"""The tables of a study's report: accuracies, other measures, paired differences, failures, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from noisylabels.report.tables import Cell, Number, Table
from noisylabels.study.families import noise_label
from noisylabels.study.plotting import file_name, measured, runs_each
from noisylabels.study.results import (
    LAST_EPOCHS,
    Measure,
    Results,
    accuracy,
    chosen_accuracy,
    dead,
    epoch_seconds,
    gap,
    instability,
    memorized,
)
from noisylabels.study.statistics import Summary, compare, top

SPREAD = "mean ± standard deviation over the seeds"


def accuracies(results: Results) -> Iterator[Table]:
    """Yield one table of accuracies per family of noises."""
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
            f"Final test accuracy, {family.title.lower()}",
            ["loss", *family.labels],
            rows,
            f"{results.title}. Test accuracy of the last epoch, per cent, {SPREAD}; "
            f"{runs_each(results, losses, family.noises)}. Bold: the two best means of a column, ties too. "
            + ("Columns are noise rates." if family.rates else ""),
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


COLUMNS: Mapping[str, tuple[Measure, float, int]] = {
    "test accuracy, %": (accuracy, 100.0, 2),
    "chosen epoch, %": (chosen_accuracy, 100.0, 2),
    "overfitting gap, points": (gap, 100.0, 2),
    f"deviation of the last {LAST_EPOCHS} epochs, points": (instability, 100.0, 2),
    "memorized noisy labels, %": (memorized, 100.0, 2),
    "dead classes": (dead, 1.0, 1),
    "seconds per epoch": (epoch_seconds, 1.0, 3),
}
"""Title of a column -> measure, factor of its unit, digits."""


def details(results: Results) -> Iterator[Table]:
    """Yield one table per family of noises: every measure of a run at the highest rate."""
    for family in results.families:
        noise = family.hardest
        losses = measured(results, accuracy, [noise])
        columns = {name: spec for name, spec in COLUMNS.items() if measured(results, spec[0], [noise])}
        if losses:
            yield Table(
                file_name("measures", family.key),
                f"Every measure, {noise_label(noise)}",
                ["loss", *columns],
                [
                    [
                        loss,
                        *(
                            _number(results.summary(measure, loss, noise), False, factor, digits)
                            for measure, factor, digits in columns.values()
                        ),
                    ]
                    for loss in losses
                ],
                f"Last epoch, {SPREAD}; {runs_each(results, losses, [noise])}. Overfitting gap: accuracy on "
                "the given labels minus test accuracy. Chosen epoch: best on noisy validation labels.",
            )


def differences(results: Results, baseline: str = "ce") -> Iterator[Table]:
    """Yield, for each family, each loss's accuracy minus that of a baseline on the same noisy labels."""
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
                f"Paired difference from {baseline}, {family.title.lower()}",
                ["loss", *family.labels],
                rows,
                f"Test accuracy minus that of {baseline} with the same seed, so on the same noisy labels: "
                "points, mean ± standard deviation of the differences; the 95 % interval (Student's t) under "
                "the pointer and in the CSV.",
            )


def _difference(first: Mapping[int, float], second: Mapping[int, float]) -> Cell:
    number = _number(compare(first, second).difference)
    assert isinstance(number, Number)
    return Number(number.mean, number.deviation, number.low, number.high, number.n, signed=True)


def failures(results: Results) -> Table | None:
    """Return the runs without a result and the reasons; None if there are none."""
    if not results.failed:
        return None
    rows = [[run.loss, noise_label(run.noise), str(run.seed), run.message] for run in results.failed]
    return Table(
        "failed",
        "Runs without a result",
        ["loss", "noise", "seed", "reason"],
        rows,
        "No mean includes them. `noisylabels study run ... --retry` runs them again.",
    )


def settings(results: Results) -> Table:
    """Return every setting of the runs, with the noises under which it differs."""
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
    return Table("settings", "Settings of the runs", ["setting", "value"], [*rows, ["seeds", seeds]])


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
