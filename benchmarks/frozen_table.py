"""Write the tables of docs/measured-frozen.md from the runs of the study `frozen`.

    noisylabels study run frozen --data cifar10-jpeg --data-root FOLDER
    noisylabels study export frozen --file results/frozen/runs.parquet
    python benchmarks/frozen_table.py

The script trains nothing. It writes table.md beside the runs, and into the document: one table for each
noise that has runs of at least two losses, one of what the sums gain, and how many cells were not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from document_tables import with_tables
from found_runs import machines, words

from noisylabels.core.files import write_text
from noisylabels.losses import PAPER
from noisylabels.report.tables import Cell, Number, Table, markdown
from noisylabels.study.grid import load_study
from noisylabels.study.results import Measure, Results, Run, accuracy, dead, memorized, read_results
from noisylabels.study.statistics import compare
from noisylabels.training.metrics import DEAD_RECALL

SUMS = tuple(loss for loss in PAPER if "+" in loss)


@dataclass
class Options:
    """Choose where the runs are."""

    results: Path = Path("results/frozen")
    """folder with runs.parquet, in which table.md is written"""
    document: Path = Path("docs/measured-frozen.md")
    """the document that shows the tables between its markers"""


def best(run: Run) -> float:
    """Return the highest test accuracy of any epoch: what an early stop could reach at most."""
    return float(run.curves["test_accuracy"].max())


def recovered(run: Run) -> float | None:
    """Return the share of noisy labels whose true class the last epoch's model predicts."""
    return run.last("recovered")


MEASURES: dict[str, tuple[Measure, float, int]] = {
    "last epoch": (accuracy, 100.0, 1),
    "best epoch": (best, 100.0, 1),
    "memorized": (memorized, 100.0, 1),
    "recovered": (recovered, 100.0, 1),
    "dead classes": (dead, 1.0, 1),
}
"""Column -> measure, factor of its unit, digits."""


def number(results: Results, column: str, loss: str, noise: str) -> Cell:
    """Return mean and deviation of a measure over the seeds."""
    measure, factor, digits = MEASURES[column]
    found = results.summary(measure, loss, noise)
    if found is None:
        return None
    deviation = None if found.deviation is None else factor * found.deviation
    return Number(factor * found.mean, deviation, n=found.n, digits=digits)


def by_noise(results: Results) -> Iterator[Table]:
    """Yield a table of all measures for each noise."""
    for noise in results.noises:
        losses = [loss for loss in PAPER if results.cell(loss, noise)]
        if len(losses) < 2:
            continue
        columns = [c for c in MEASURES if any(number(results, c, loss, noise) for loss in losses)]
        counts = sorted({len(results.cell(loss, noise)) for loss in losses})
        runs = f"n = {counts[0]}" if len(counts) == 1 else f"n from {counts[0]} to {counts[-1]}"
        rows: list[list[Cell]] = [
            [loss, *(number(results, column, loss, noise) for column in columns)] for loss in losses
        ]
        seeds = ", ".join(str(seed) for seed in sorted({r.seed for r in results.done if r.noise == noise}))
        yield Table(
            f"frozen-{noise.replace(':', '-')}",
            "Clean labels" if noise == "none" else f"Noise {words(noise)}",
            ["loss", *columns],
            rows,
            f"{results.title} ({machines(results)}); {runs}, seed{'s' * (',' in seeds)} {seeds}. Test "
            "accuracy of the last and of the best epoch, and shares of the noisy training labels, per cent. "
            "Memorized: predicted as the given label; recovered: predicted as the true one. Dead class: a "
            f"test recall of {100 * DEAD_RECALL:g} % or less.",
        )


def gains(results: Results) -> Table | None:
    """Return what each sum gains over its better part, and over cross entropy, with the same noisy labels."""
    rows: list[list[Cell]] = []
    for noise in results.noises:
        for loss in SUMS:
            values = {each: results.values(accuracy, each, noise) for each in (loss, "ce", *loss.split("+"))}
            seeds = sorted(set.intersection(*({*found} for found in values.values())))
            if not seeds:
                continue
            row: list[Cell] = [words(noise), loss]
            for other in ("ce", *loss.split("+")):
                first, second = ({seed: values[each][seed] for seed in seeds} for each in (loss, other))
                gain = compare(first, second).difference
                spread = None if gain.deviation is None else 100 * gain.deviation
                row.append(Number(100 * gain.mean, spread, n=gain.n, signed=True, digits=1))
            rows.append([*row, str(len(seeds))])
    if not rows:
        return None
    return Table(
        "frozen-sums",
        "What the sums gain",
        ["noise", "sum", "over ce", "over its active part", "over its passive part", "n"],
        rows,
        "Test accuracy of the last epoch minus that of another loss with the same seed, and therefore the "
        "same noisy labels, in points; mean ± sample standard deviation over n seeds. The active part of "
        "nce+mae is nce, its passive part mae.",
    )


def not_run(results: Results) -> str:
    """Return how many cells of the study were run, in words."""
    cells = load_study("frozen").cells()
    there = {(run.loss, run.noise, run.seed) for run in results.done}
    wanted = {(c.config.loss, c.config.noise, c.config.seed) for c in cells}
    missing = len(wanted - there)
    return f"{len(wanted) - missing} of the {len(wanted)} cells of the study have been run" + (
        f"; {missing} have not." if missing else "."
    )


def main(options: Options) -> None:
    """Write table.md."""
    (results,) = read_results([options.results / "runs.parquet"])
    found = [*by_noise(results), gains(results)]
    parts = [markdown(table).rstrip() for table in found if table is not None]
    text = "\n\n".join([*parts, not_run(results)]) + "\n"
    write_text(options.results / "table.md", text)
    document = options.document.read_text(encoding="utf-8")
    write_text(options.document, with_tables(document, [("tables", text)]))
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
