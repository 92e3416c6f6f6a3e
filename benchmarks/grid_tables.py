"""Write the tables of the paper's grid on frozen features and on the digits.

    noisylabels study run benchmarks/studies/frozen-grid.toml --data-root FOLDER \\
        --labels cifar10n.parquet --out runs/frozen
    noisylabels study export runs/frozen --file results/frozen/runs.parquet
    noisylabels study run benchmarks/studies/frozen-default.toml --data-root FOLDER --labels cifar10n.parquet
    noisylabels study export runs/frozen-default --file results/frozen-default/runs.parquet
    noisylabels study run benchmarks/studies/digits-8.toml
    noisylabels study export runs/digits-8 --file results/digits-8/runs.parquet
    python benchmarks/grid_tables.py

The script trains nothing. It writes table.md beside the runs of each study, and the same tables into its
document, between the markers <!-- tables --> and <!-- /tables -->; and a table of the study frozen-default.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from document_tables import with_tables
from found_runs import machines, span, words

from noisylabels.core.files import write_text
from noisylabels.losses import PAPER
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.report.tables import Cell, Number, Table, markdown
from noisylabels.study.grid import load_study
from noisylabels.study.results import Measure, Results, Run, accuracy, dead, memorized, read_results
from noisylabels.study.statistics import compare, summarize
from noisylabels.study.store import read_rows
from noisylabels.training.metrics import DEAD_RECALL

DOCUMENTS = {
    "frozen": ("frozen-grid", "docs/measured-frozen.md"),
    "digits-8": ("digits-8", "docs/measured-digits.md"),
}
"""Folder of the results -> the study, in benchmarks/studies, and its document."""

KINDS = {
    "symmetric noise": ("none", "symmetric"),
    "asymmetric noise": ("asymmetric",),
    "human annotations and instance-dependent noise": ("human", "instance"),
}
"""Heading -> the first words of its noises."""

SUMS = tuple(loss for loss in PAPER if "+" in loss)


@dataclass
class Options:
    """Choose where the runs are."""

    root: Path = Path()
    """folder of results, docs and benchmarks"""


def forgotten(run: Run) -> float:
    """Return the test accuracy of the best epoch minus that of the last."""
    curve = run.curves["test_accuracy"]
    return float(curve.max() - curve[-1])


MEASURES: dict[str, tuple[Measure, float, int]] = {
    "last epoch": (accuracy, 100.0, 1),
    "after the best epoch": (forgotten, 100.0, 1),
    "memorized": (memorized, 100.0, 1),
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


def tables(results: Results) -> Iterator[Table]:
    """Yield tables of accuracy and memorization for each kind of noise, and of what they hide."""
    for kind, of_kind in KINDS.items():
        noises = [noise for noise in results.noises if noise.partition(":")[0] in of_kind]
        if not noises:
            continue
        yield by_noise(results, kind, "last epoch", noises, "Test accuracy of the last epoch, per cent.")
        noisy = [noise for noise in noises if noise != "none"]
        note = "Share of the noisy training labels that the last epoch's model predicts, per cent."
        yield by_noise(results, kind, "memorized", noisy, note)
    noises = list(results.noises)
    note = (
        "Test accuracy of the best epoch minus that of the last, in points: what an early stop gains at most."
    )
    yield by_noise(results, "every noise", "after the best epoch", noises, note)
    limit = f"{100 * DEAD_RECALL:g} %"
    note = f"Number of classes, of ten, with a test recall of {limit} or less after the last epoch."
    yield by_noise(results, "every noise", "dead classes", noises, note)
    if (found := gains(results)) is not None:
        yield found


def by_noise(results: Results, kind: str, column: str, noises: Sequence[str], note: str) -> Table:
    """Return a table of one measure by loss and noise."""
    losses = [loss for loss in results.losses if any(results.cell(loss, noise) for noise in noises)]
    rows: list[list[Cell]] = [
        [loss, *(number(results, column, loss, noise) for noise in noises)] for loss in losses
    ]
    if column == "dead classes":
        rows = [row for row in rows if any(isinstance(each, Number) and each.mean > 0 for each in row)]
        note += " Losses that are not listed have none."
    counts = sorted({len(results.cell(loss, noise)) for loss in losses for noise in noises} - {0})
    runs = f"n = {span(counts)}" + (", mean ± sample standard deviation" if counts[-1] > 1 else "")
    return Table(
        f"{kind}-{column}".replace(" ", "-"),
        f"{column[0].upper()}{column[1:]}, {kind}",
        ["loss", *(words(noise) for noise in noises)],
        rows,
        f"{note} {runs}.",
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
        "sums",
        "What the sums gain",
        ["noise", "sum", "over ce", "over its active part", "over its passive part", "n"],
        rows,
        "Test accuracy of the last epoch minus that of another loss with the same seed, and therefore the "
        "same noisy labels, in points; mean ± sample standard deviation over n seeds. The active part of "
        "nce+mae is nce, its passive part mae.",
    )


def done(results: Results, study: Path) -> str:
    """Return how many runs there are, on what, and how long they took."""
    cells = len(load_study(str(study)).cells({}, labels="cifar10n.parquet"))
    seconds = [sum(run.curves["train_seconds"]) + sum(run.curves["eval_seconds"]) for run in results.done]
    seeds = sorted({run.seed for run in results.done})
    return (
        f"{results.title}: {len(results.done)} runs with seed{'s' * (len(seeds) > 1)} {span(seeds)} "
        f"({machines(results)}, beside other work), {statistics.median(seconds):.0f} seconds each in the "
        f"median. The study {study.stem} has {cells} cells."
    )


def text(root: Path, name: str) -> str:
    """Return the tables of a study as Markdown."""
    (results,) = read_results([root / "results" / name / "runs.parquet"])
    study = root / "benchmarks" / "studies" / f"{DOCUMENTS[name][0]}.toml"
    parts = [markdown(_by_preset(table, study)).rstrip() for table in tables(results)]
    return "\n\n".join([done(results, study), *parts]) + "\n"


def _by_preset(table: Table, study: Path) -> Table:
    """Return a table that names a loss as its study does, such as nce+agce@cifar10, not by its parameters."""
    names = {parse_loss(str(name)).expression: str(name) for name in load_study(str(study)).axes["loss"]}
    return replace(table, rows=[[names.get(str(cell), cell) for cell in row] for row in table.rows])


def chosen_by_default(root: Path) -> Table:
    """Return the accuracy of the default of `train` by noise, and what it chose."""
    noises = load_study(str(root / "benchmarks" / "studies" / "frozen-default.toml")).axes["noise"]
    found: dict[str, list[dict[str, Any]]] = {words(str(noise)): [] for noise in noises}
    for row in read_rows(root / "results" / "frozen-default" / "runs.parquet"):
        found[words(row["config"]["noise"])].append(row)
    rows: list[list[Cell]] = []
    for noise, runs in found.items():
        chosen = Counter(run["environment"]["chosen"]["loss"] for run in runs)
        shares = [run["final"]["memorized"] for run in runs]
        rows.append(
            [
                noise,
                percent([run["final"]["test_accuracy"] for run in runs]),
                None if None in shares else percent(shares),
                ", ".join(f"{loss} ({count})" for loss, count in chosen.most_common()),
            ]
        )
    every = [run for runs in found.values() for run in runs]
    ((model, epochs),) = {(run["environment"]["chosen"]["model"], len(run["history"])) for run in every}
    counts = span(sorted({len(runs) for runs in found.values()}))
    return Table(
        "default",
        "The default of train",
        ["noise", "last epoch", "memorized", "loss"],
        rows,
        "Test accuracy of the last epoch, and the share of the noisy labels that it predicts, per cent, mean "
        f"± sample standard deviation, n = {counts}. The model is `{model}`, trained for {epochs} epochs; a "
        "cross-validation on the noisy labels chose its penalty and its loss, here with the number of runs.",
    )


def percent(values: Sequence[float]) -> Number:
    """Return mean and deviation of shares, in per cent."""
    found = summarize([100 * value for value in values])
    return Number(found.mean, found.deviation, n=found.n, digits=1)


def main(options: Options) -> None:
    """Write the tables."""
    document = options.root / "docs" / "measured-frozen.md"
    made = markdown(chosen_by_default(options.root))
    write_text(document, with_tables(document.read_text(encoding="utf-8"), [("default", made)]))
    for name, (_, page) in DOCUMENTS.items():
        made, document = text(options.root, name), options.root / page
        write_text(options.root / "results" / name / "table.md", made)
        shown = with_tables(document.read_text(encoding="utf-8"), [("tables", made)])
        write_text(document, shown)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
