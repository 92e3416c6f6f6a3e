"""Write a table of losses on the digits under label noise, with means over seeds.

    python benchmarks/digits_table.py paper         # the paper's 12 losses, symmetric noise
    python benchmarks/digits_table.py composites    # every named sum, asymmetric noise too

Each run is an ordinary run of the `digits` recipe in its own folder, so you can interrupt the script and
start it again. It writes runs.json (one row per run, with the configuration and the machine) and table.md
into results/digits or results/digits-composites. Accuracies are those of the last epoch; the test set selects
nothing.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.progress import track

import noisylabels as nl
from noisylabels.core.files import read_json, write_text
from noisylabels.losses import LOSSES, PAPER

SYMMETRIC = tuple(f"symmetric:{rate:g}" for rate in (0.2, 0.4, 0.6, 0.8))
ZHOU = ("nce+agce@cifar10", "nce+aul@cifar10", "nce+ael@cifar10")
"""Sums with their authors' constants: with weights of 1 they are not what the authors propose."""

TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "paper": (PAPER, ("none", *SYMMETRIC)),
    "composites": (
        ("ce", *(name for name, row in LOSSES.items() if "+" in row.expression), *ZHOU),
        (*SYMMETRIC, "asymmetric:0.4"),
    ),
}
"""Losses and noises of each table."""

MEASURED = ("test_accuracy", "given_accuracy", "true_accuracy", "memorized", "recovered", "dead_classes")


@dataclass
class Options:
    """Choose what to run and where the results go."""

    table: Annotated[Literal["paper", "composites"], tyro.conf.Positional] = "paper"
    """which losses and noises"""
    runs: Path = Path("runs/digits-table")
    """folder for the runs"""
    out: Path | None = None
    """folder for the results (default: results/digits, or results/digits-composites)"""
    seeds: int = 3
    """runs per cell, seeds 1, 2, ..."""
    jobs: int = 2
    """processes, each with one thread"""
    epochs: int | None = None
    """epochs per run (default: the recipe's)"""


def cell(loss: str, noise: str, seed: int, options: Options) -> dict[str, Any]:
    """Train once and return the row of the run."""
    import torch

    torch.set_num_threads(1)
    flags: dict[str, Any] = {"loss": loss, "noise": noise, "seed": seed}
    if options.epochs is not None:
        flags["epochs"] = options.epochs
    out = folder(loss, noise, seed, options)
    result = nl.run(nl.load_config("digits", **flags, out=str(out)))
    final = result.final or {}
    row = {"loss": loss, "noise": noise, "seed": seed, "run_id": result.run_id, "status": result.status}
    return row | {"noise_rate": result.noise["rate"]} | {name: final.get(name) for name in MEASURED}


def folder(loss: str, noise: str, seed: int, options: Options) -> Path:
    """Return the folder of a run."""
    return options.runs / f"{loss}-{noise.replace(':', '-')}-{seed}"


def mean_sd(values: Sequence[float]) -> str:
    """Return mean and sample deviation of shares in per cent, such as "93.1 ± 0.4"."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def table(rows: Sequence[dict[str, Any]], losses: Sequence[str], noises: Sequence[str]) -> str:
    """Return a Markdown table of losses by noises, the two best means of each column bold, with ties."""
    cells = {
        (loss, noise): [r["test_accuracy"] for r in rows if (r["loss"], r["noise"]) == (loss, noise)]
        for loss in losses
        for noise in noises
    }
    # rounded as printed, so that losses that print alike are marked alike
    means = {key: round(100 * statistics.mean(values), 1) for key, values in cells.items()}
    second = {noise: sorted(means[loss, noise] for loss in losses)[-2] for noise in noises}
    heads = ["clean" if noise == "none" else noise.replace(":", " ") for noise in noises]
    lines = [f"| loss | {' | '.join(heads)} |", "|---" * (len(noises) + 1) + "|"]
    for loss in losses:
        words = {noise: mean_sd(cells[loss, noise]) for noise in noises}
        marked = [f"**{w}**" if means[loss, noise] >= second[noise] else w for noise, w in words.items()]
        lines.append(f"| {loss} | " + " | ".join(marked) + " |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Run all cells and write the results."""
    losses, noises = TABLES[options.table]
    seeds = range(1, options.seeds + 1)
    cells = [(loss, noise, seed) for seed in seeds for noise in noises for loss in losses]
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(cell, *each, options) for each in cells]
        rows = [future.result() for future in track(futures, description="runs")]
    first = folder(*cells[0], options)
    ignore = ("loss", "noise", "seed", "out")
    config = {key: value for key, value in read_json(first / "config.json").items() if key not in ignore}
    machine = ("noisylabels", "python", "packages", "processor", "cores", "threads", "gpu")
    environment = read_json(first / "environment.json")
    head = {"config": config, "environment": {key: environment[key] for key in machine}}
    body = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    text = json.dumps(head, indent=2)[:-2] + f',\n  "runs": [\n{body}\n  ]\n}}\n'
    out = options.out or Path("results") / ("digits" if options.table == "paper" else "digits-composites")
    write_text(out / "runs.json", text)
    write_text(out / "table.md", table(rows, losses, noises))
    print(table(rows, losses, noises))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
