"""The paper's 12 losses on the digits under symmetric noise: a table of means over seeds.

    python benchmarks/digits_table.py --runs runs/digits-table --jobs 2

Each cell is an ordinary run of the `digits` recipe in a folder of its own, so the script may be
stopped and started again. It writes results/digits/runs.json (a row a run, with the configuration
and the machine) and results/digits/table.md. Figures are of the last epoch; the test set selects nothing.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.progress import track

import noisylabels as nl
from noisylabels.core.files import read_json, write_text
from noisylabels.losses import PAPER

RATES = (0.0, 0.2, 0.4, 0.6, 0.8)
MEASURED = ("test_accuracy", "given_accuracy", "true_accuracy", "memorised", "corrected", "dead_classes")


@dataclass
class Options:
    """What to run and where to."""

    runs: Path = Path("runs/digits-table")
    """folder for the runs"""
    out: Path = Path("results/digits")
    """folder for the results"""
    seeds: int = 3
    """runs a cell, seeds 1, 2, ..."""
    jobs: int = 2
    """processes, of one thread each"""
    epochs: int | None = None
    """epochs a run (default: the recipe's)"""


def cell(loss: str, rate: float, seed: int, options: Options) -> dict[str, Any]:
    """Carry out one run and return its row."""
    import torch

    torch.set_num_threads(1)
    flags: dict[str, Any] = {"loss": loss, "noise": f"symmetric:{rate:g}", "seed": seed}
    if options.epochs is not None:
        flags["epochs"] = options.epochs
    out = options.runs / f"{loss}-{rate:g}-{seed}"
    result = nl.run(nl.load_config("digits", **flags, out=str(out)))
    final = result.final or {}
    row = {"loss": loss, "rate": rate, "seed": seed, "run_id": result.run_id, "status": result.status}
    return row | {"noise_rate": result.noise["rate"]} | {name: final.get(name) for name in MEASURED}


def mean_sd(values: Sequence[float]) -> str:
    """Return mean and sample deviation of shares in per cent, "93.1 ± 0.4"."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table as Markdown: losses down, rates across, a column's two best means bold, ties too."""
    cells = {
        (loss, rate): [r["test_accuracy"] for r in rows if (r["loss"], r["rate"]) == (loss, rate)]
        for loss in PAPER
        for rate in RATES
    }
    # as printed, so that losses that print alike are marked alike
    means = {key: round(100 * statistics.mean(values), 1) for key, values in cells.items()}
    second = {rate: sorted(means[loss, rate] for loss in PAPER)[-2] for rate in RATES}
    lines = [
        "| loss | clean | " + " | ".join(f"{rate:g}" for rate in RATES[1:]) + " |",
        "|---" * (len(RATES) + 1) + "|",
    ]
    for loss in PAPER:
        words = {rate: mean_sd(cells[loss, rate]) for rate in RATES}
        marked = [f"**{w}**" if means[loss, rate] >= second[rate] else w for rate, w in words.items()]
        lines.append(f"| {loss} | " + " | ".join(marked) + " |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Run all cells and write the results."""
    cells = [(loss, rate, seed) for seed in range(1, options.seeds + 1) for rate in RATES for loss in PAPER]
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(cell, *each, options) for each in cells]
        rows = [future.result() for future in track(futures, description="runs")]
    first = options.runs / f"{PAPER[0]}-{RATES[0]:g}-1"
    ignore = ("loss", "noise", "seed", "out")
    config = {key: value for key, value in read_json(first / "config.json").items() if key not in ignore}
    machine = ("noisylabels", "python", "packages", "processor", "cores", "threads", "gpu")
    environment = read_json(first / "environment.json")
    head = {"config": config, "environment": {key: environment[key] for key in machine}}
    body = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    text = json.dumps(head, indent=2)[:-2] + f',\n  "runs": [\n{body}\n  ]\n}}\n'
    write_text(options.out / "runs.json", text)
    write_text(options.out / "table.md", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
