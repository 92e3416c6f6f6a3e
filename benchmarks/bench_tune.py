"""Compare a loss that `noisylabels tune` found with the one that is chosen without a search.

    python benchmarks/bench_tune.py
    python benchmarks/bench_tune.py --study benchmarks/studies/weights-digits.toml --only noise=symmetric:*

For each cell and seed, `noisylabels train` runs once as it stands and `noisylabels tune` searches from there
at its defaults (20 trials); the settings that are best on the held-out given labels are trained once more and
compared with the run on clean test labels. With --study, `tune` of the weights of nce and mae is compared
with the weights 1, the preset of the literature and the rules of `auto`, all with the same number of epochs
(tune_budgets.py). Repeat the command to resume. Writes default-tune.json and .md, or STUDY-budgets.json and
.md, into results/benchmarks.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tune_budgets
import tyro
from bench_defaults import Options as SetOptions
from bench_defaults import table_of

import noisylabels as nl
from noisylabels.bench.machine import keep, load, processor
from noisylabels.experiment import run
from noisylabels.study.grid import load_study, read_flags, read_only
from noisylabels.study.statistics import summarize
from noisylabels.study.tune import tune

CELLS = (("digits", "symmetric:0.4"), ("quantiles", "symmetric:0.4"), ("breast_cancer", "asymmetric:0.3"))
"""Data sets, with noise: images, and tables of bench_tables.py."""

EPOCHS = 10
"""Epochs on digits; the recipe for tables chooses its own."""


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    trials: int = 20
    """trials per search"""
    seeds: tuple[int, ...] = (1, 2, 3)
    """seeds of the data, the noise and the weights"""
    rows: Path = Path("runs/tune.jsonl")
    """file of the finished searches"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    study: Path | None = None
    """TOML file of a study: compare approaches to choose weights at equal budgets, with its settings"""
    budget: int = 10
    """with --study: epochs of each approach, in trainings as long as those of the study"""
    only: tuple[str, ...] = ()
    """with --study: as in `noisylabels study`, such as noise=symmetric:* seed=1,2"""
    set: tuple[str, ...] = ()
    """with --study: as in `noisylabels study`, such as epochs=10"""
    data_root: str | None = None
    """with --study: as in `noisylabels study`"""
    labels: str | None = None
    """with --study: as in `noisylabels study`"""


def measured(name: str, noise: str, seed: int, trials: int) -> dict[str, Any]:
    """Return the accuracies of a run and of a search, with their CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        asked: dict[str, Any] = {"seed": seed, "loss": "auto", "device": "cpu"}
        if name == "digits":
            asked |= {"data": "digits", "noise": noise, "epochs": EPOCHS}
        else:
            rows, given, test, true = table_of(name, noise, seed, SetOptions())
            np.savez(here / "rows.npz", x_train=rows, y_train=given, x_test=test, y_test=true)
            asked |= {"data": str(here / "rows.npz")}
        began = time.process_time()
        alone = run(nl.load_config(None, **asked, out=str(here / "run")))
        seconds = time.process_time() - began
        found = tune(nl.load_config(None, **asked, out=str(here / "tune")), trials)
        spent = time.process_time() - began - seconds

        def accuracy(result: Any) -> float:
            return float((result.kept or result.final)["test_accuracy"])

        best = found.ranked[0].config
        tuned = run(dataclasses.replace(best, out=str(here / "best")))
        return {
            "default": accuracy(alone),
            "tuned": accuracy(tuned),
            "loss": alone.loss,
            "found": best.loss,
            "cpu_seconds": [seconds, spent],
        }


def table(rows: list[dict[str, Any]], trials: int) -> str:
    """Return the results as Markdown."""
    lines = [
        f"Test accuracy on clean labels in per cent, means; {trials} trials per search. The gain is that of "
        "the best trial over the run without a search, in points, with its 95 % interval over the seeds.",
        "",
        "| set | noise | n | without a search | best trial | gain | times the CPU seconds |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, noise in dict.fromkeys((row["set"], row["noise"]) for row in rows):
        mine = [row for row in rows if (row["set"], row["noise"]) == (name, noise)]
        means = [f"{100 * np.mean([row[key] for row in mine]):.1f}" for key in ("default", "tuned")]
        gain = summarize([100 * (row["tuned"] - row["default"]) for row in mine])
        words = (
            f"{gain.mean:.1f}" if gain.low is None else f"{gain.mean:.1f} ({gain.low:.1f} to {gain.high:.1f})"
        )
        times = np.mean([row["cpu_seconds"][1] / row["cpu_seconds"][0] for row in mine])
        lines.append(f"| {' | '.join([name, noise, str(len(mine)), *means, words, f'{times:.0f}'])} |")
    return "\n".join(lines) + "\n"


def compare_default(options: Options) -> None:
    """Compare the run without a search and the best trial."""
    rows = read_rows(options.rows)
    for seed in options.seeds:
        for name, noise in CELLS:
            if any((row["set"], row["noise"], row["seed"]) == (name, noise, seed) for row in rows):
                continue
            row = {"set": name, "noise": noise, "seed": seed, "load": load()}
            add_row(options.rows, rows, row | measured(name, noise, seed, options.trials))
    result = {"processor": processor(), "torch": torch.__version__, "trials": options.trials, "rows": rows}
    keep(options.out, "default-tune", result, table(rows, options.trials))


def compare_weights(options: Options, path: Path) -> None:
    """Compare approaches to choose weights, for each noise and seed of a study."""
    study = load_study(str(path))
    flags = read_flags(options.set)
    if options.data_root is not None:
        flags["data_root"] = options.data_root
    cells = study.cells(flags, {"loss": "nce+mae", **read_only(options.only)}, options.labels)
    about = {"study": study.name, "settings": read_flags(options.set)}
    kept = options.rows.with_name(f"tune-{study.name}.jsonl")
    rows = [row for row in read_rows(kept) if about.items() <= row.items()]
    first = cells[0].config
    classes = int(nl.load(first.data, root=first.data_root)[0].num_classes)
    for cell in cells:
        for measure in tune_budgets.rows_of(cell, classes, options.budget, rows):
            add_row(kept, rows, about | {"load": load()} | measure())
    rows = [row for row in rows if row["trainings"] == options.budget]
    result = {"processor": processor(), "torch": torch.__version__, **about, "rows": rows}
    title = f"{Path(first.data).name}, {first.model}, {first.epochs} epochs per training"
    keep(options.out, f"{study.name}-budgets", result, tune_budgets.table(rows, title))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, none if it does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_row(path: Path, rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Add a row to the rows and to their file, and print it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.append(row)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def main(options: Options) -> None:
    torch.set_num_threads(1)
    if options.study is None:
        compare_default(options)
    else:
        compare_weights(options, options.study)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
