"""Write the tables of docs/measured-weights.md from the runs of two studies.

    noisylabels study run benchmarks/studies/weights-digits.toml --out runs/weights-digits
    noisylabels study export runs/weights-digits --file results/weights-digits/runs.parquet

    noisylabels embed FOLDER/cifar10-jpeg --features efficientnet-lite0@160 --out lite0-160.npz
    noisylabels study run benchmarks/studies/weights-frozen.toml --data-root FOLDER --out runs/weights-frozen
    noisylabels study export runs/weights-frozen --file results/weights-frozen/runs.parquet

    python benchmarks/weights_table.py

The script trains nothing. It writes table.md beside the runs, and the tables into the document. Gains are
paired: the same seed gives the same noisy labels, initial weights and order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tyro
from document_tables import interval, with_tables
from found_runs import machines, words

from noisylabels.core.files import write_text
from noisylabels.losses import loss as read_loss
from noisylabels.report.tables import Cell, Number, Table, markdown
from noisylabels.study.results import Results, accuracy, read_results
from noisylabels.study.statistics import compare

PLACES = {"digits": "the digits", "frozen": "frozen features"}

RULED, FIXED = "nce+auto(rule=gradient)*mae", "nce+0.1*mae"

ONE_TO_ONE = {"nce": "nce+mae", "mse": "mae+mse"}
"""The loss to compare with, by the active part."""


@dataclass
class Options:
    """Choose where the runs are."""

    results: Path = Path("results")
    """folder of weights-digits and weights-frozen, in which table.md is written"""
    document: Path = Path("docs/measured-weights.md")
    """the document that shows the tables between its markers"""


def base_of(loss: str) -> str:
    """Return the loss with weights of 1 that has the same parts."""
    return ONE_TO_ONE[next(term.name for term in read_loss(loss).terms if term.name in ONE_TO_ONE)]


def accuracies(results: Results, name: str) -> Table:
    """Return mean and deviation of the test accuracy, and the gain over weights of 1, by loss and noise."""
    noises = results.noises
    rows: list[list[Cell]] = []
    for loss in sorted(results.losses, key=lambda each: (base_of(each), each != base_of(each), each)):
        row: list[Cell] = [loss]
        for noise in noises:
            found = results.summary(accuracy, loss, noise)
            if found is None:
                row += [None, None]
                continue
            spread = None if found.deviation is None else 100 * found.deviation
            row.append(Number(100 * found.mean, spread, n=found.n, digits=1))
            row.append("" if loss == base_of(loss) else gain(results, loss, base_of(loss), noise))
        rows.append(row)
    seeds = sorted({run.seed for run in results.done})
    heads = [head for noise in noises for head in (words(noise), "gain")]
    return Table(
        f"weights-{name}",
        {"digits": "Digits", "frozen": "Frozen features"}[name],
        ["loss", *heads],
        rows,
        f"{results.title} ({machines(results)}); seeds {seeds[0]} to {seeds[-1]}. Test accuracy of "
        "the last epoch, per cent, mean ± sample standard deviation; gain over the weights 1 with the same "
        "seed, in points, with its 95 % interval (Student's t of paired differences, not corrected for the "
        "number of comparisons).",
    )


def beside_fixed(results: Results, name: str) -> Table:
    """Return the gain of the rule gradient over the fixed weight at which it ends."""
    row = [gain(results, RULED, FIXED, noise) for noise in results.noises]
    return Table(
        f"weights-fixed-{name}",
        f"The rule gradient beside a fixed weight on {PLACES[name]}",
        ["gain over", *map(words, results.noises)],
        [[FIXED, *row]],
        f"Test accuracy of {RULED} minus that of {FIXED} with the same seed, in points; 95 % interval.",
    )


def gain(results: Results, loss: str, other: str, noise: str) -> str:
    """Return the paired gain over another loss, with its interval."""
    values = (results.values(accuracy, each, noise) for each in (loss, other))
    return interval(compare(*values).difference)


def chosen(path: Path, name: str) -> Table:
    """Return the weights that rules set: before training by run, in training at the end."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in pq.read_table(path).to_pylist():
        config: Mapping[str, Any] = json.loads(row["config"])
        weight = json.loads(row["environment"]).get("chosen", {}).get("weight")
        final = json.loads(row["final"]) or {}
        weight = weight or next((value for key, value in final.items() if key.startswith("weight_")), None)
        if weight is not None and "auto" in config["loss"]:
            found.setdefault((config["loss"], config["noise"]), []).append(weight)
    rows: list[list[Cell]] = []
    for (loss, noise), weights in sorted(found.items()):
        counts = Counter(f"{weight:.3g}" for weight in sorted(weights))
        few = len(counts) <= 5 and "gradient" not in loss and "agreement" not in loss
        text = ", ".join(f"{value} ({count})" for value, count in counts.items())
        rows.append([loss, words(noise), text if few else f"{min(weights):.3g} to {max(weights):.3g}"])
    return Table(
        f"weights-chosen-{name}",
        f"Weights that the rules set on {PLACES[name]}",
        ["loss", "noise", "weight"],
        rows,
        "accuracy and noise: the weight of each run (number of runs); gradient and agreement: the range over "
        "runs at the end of training.",
    )


def main(options: Options) -> None:
    """Write table.md."""
    parts = []
    for name in ("digits", "frozen"):
        path = options.results / f"weights-{name}" / "runs.parquet"
        if path.exists():
            (results,) = read_results([path])
            tables = (accuracies(results, name), beside_fixed(results, name), chosen(path, name))
            text = "\n\n".join(markdown(table).rstrip() for table in tables) + "\n"
            write_text(path.with_name("table.md"), text)
            parts.append(text)
    text = "\n".join(parts)
    document = options.document.read_text(encoding="utf-8")
    write_text(options.document, with_tables(document, [("tables", text)]))
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
