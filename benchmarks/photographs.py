"""What two finished runs say, as one table, one figure and one file of their histories.

    noisylabels train --data FOLDER --noise symmetric:0.4 --loss ce --out runs/photographs/ce
    noisylabels train --data FOLDER --noise symmetric:0.4 --loss nce+rce --out runs/photographs/nce+rce
    python benchmarks/photographs.py runs/photographs/ce runs/photographs/nce+rce

It trains nothing: it copies configuration, environment and history of each run into OUT/runs.json,
and writes OUT/table.md and OUT/curves.svg and .png.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from noisylabels.core.checks import InputError
from noisylabels.core.files import read_json, write_text
from noisylabels.report.figures import learning_curves, save
from noisylabels.training.history import History

LOCAL = ("data_root", "out")  # paths, which say nothing of the run
MACHINE = ("noisylabels", "python", "packages", "processor", "cores", "threads", "gpu", "identity")


@dataclass
class Options:
    """Which runs, and where to."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folders of finished runs that differ in their loss only"""
    out: Path = Path("results/cifar10-jpeg")
    """folder for the results"""


def read(folder: Path) -> dict[str, Any]:
    """Return what is to be kept of a run."""
    result = read_json(folder / "result.json")
    if result["status"] != "done":
        raise InputError(f"{folder} has failed: {result['message']}")
    config = {key: value for key, value in read_json(folder / "config.json").items() if key not in LOCAL}
    config["data"] = Path(config["data"]).name
    environment = {key: read_json(folder / "environment.json")[key] for key in MACHINE}
    history = History.read(folder / "history.jsonl").rows
    return {"config": config, "environment": environment, "noise": result["noise"], "history": history}


def table(runs: dict[str, dict[str, Any]]) -> str:
    """Return a row a run, as Markdown."""
    names = ("test accuracy, last epoch", "its peak", "wrong labels learned by heart")
    lines = ["| loss | " + " | ".join(names) + " | dead classes |", "|---" * 5 + "|"]
    for loss, run in runs.items():
        rows = run["history"]
        last = rows[-1]
        best = max(rows, key=lambda row: row["test_accuracy"])
        lines.append(
            f"| {loss} | {last['test_accuracy']:.1%} | {best['test_accuracy']:.1%} (epoch {best['epoch']}) "
            f"| {last['memorised']:.1%} | {len(last['dead_classes'])} |"
        )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Write table, figure and histories."""
    runs = {run["config"]["loss"]: run for run in map(read, options.runs)}
    first = next(iter(runs.values()))
    config, noise = first["config"], first["noise"]
    title = f"{config['data']}, {noise['spec']} ({noise['rate']:.1%} of the labels wrong)"
    words = ("model", "epochs", "augment", "precision", "seed")
    subtitle = ", ".join(f"{word} {config[word]}" for word in words)
    chart = learning_curves({loss: run["history"] for loss, run in runs.items()}, title, subtitle)
    for suffix in ("svg", "png"):
        save(chart, options.out / f"curves.{suffix}")
    body = ",\n".join(
        f'"{loss}": '
        + json.dumps({k: v for k, v in run.items() if k != "history"}, indent=1)[:-2]
        + ',\n "history": [\n  '
        + ",\n  ".join(json.dumps(row) for row in run["history"])
        + "\n ]}"
        for loss, run in runs.items()
    )
    write_text(options.out / "runs.json", "{\n" + body + "\n}\n")
    write_text(options.out / "table.md", table(runs))
    print(table(runs))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
