"""Measure the time and memory of a report of many runs.

    python benchmarks/report_size.py                # 3,024 runs of 120 epochs, as one exported file
    python benchmarks/report_size.py --folders      # the same as folders of runs

The runs are synthetic: 12 losses, 9 noises, 28 seeds, smooth histories with random variation. The command
line makes the report in its own process, whose time and peak memory are printed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from noisylabels.core.config import to_dict
from noisylabels.core.files import write_json, write_text
from noisylabels.experiment import load_config
from noisylabels.study import export, load_study

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass
class Options:
    """Choose how many runs to make, and their format."""

    seeds: int = 28
    """runs of each of the 108 losses and noises"""
    epochs: int = 120
    folders: bool = False
    """write folders of runs instead of an exported file"""
    keep: Path | None = None
    """folder for the runs and the report (default: a temporary one)"""


def rows(options: Options) -> Iterator[dict[str, Any]]:
    """Yield synthetic runs of the paper's study."""
    study = load_study("paper")
    draw = np.random.default_rng(0)
    number = 0
    for noise in study.axes["noise"]:
        for loss in study.axes["loss"]:
            for seed in range(1, options.seeds + 1):
                number += 1
                config = load_config("paper", loss=loss, noise=noise, seed=seed, epochs=options.epochs)
                last = draw.uniform(0.2, 0.95)
                yield {
                    "run_id": f"{number:012x}",
                    "status": "done",
                    "message": "",
                    "config": to_dict(config),
                    "noise": {"spec": noise, "seed": seed, "rate": 0.4, "digest": "0" * 64},
                    "class_names": list(CLASSES),
                    "environment": {"noisylabels": "0", "processor": "synthetic", "threads": 1},
                    "history": (history := list(epochs(draw, last, options.epochs))),
                    "final": history[-1],
                }


def epochs(draw: np.random.Generator, last: float, count: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a history that approaches `last`."""
    for epoch in range(1, count + 1):
        now = last * (1 - np.exp(-epoch / 15)) + draw.normal(0, 0.004)
        recall = np.clip(now + draw.normal(0, 0.05, len(CLASSES)), 0, 1).tolist()
        shares = np.clip(now + draw.normal(0, 0.01, 4), 0, 1).tolist()
        named = dict(zip(("given_accuracy", "true_accuracy", "memorized", "recovered"), shares, strict=True))
        yield {
            "epoch": epoch,
            "lr": 0.01,
            "train_loss": float(1 - now),
            **named,
            "test_loss": float(1 - now),
            "test_accuracy": float(np.clip(now, 0, 1)),
            "recall": recall,
            "dead_classes": [],
            "train_seconds": float(draw.uniform(5, 6)),
            "eval_seconds": 0.5,
        }


def write_folders(made: Iterator[dict[str, Any]], folder: Path) -> None:
    """Write runs as training does, one folder per run."""
    for row in made:
        out = folder / row["run_id"]
        names = ("run_id", "status", "message", "final", "noise", "class_names")
        write_json(out / "result.json", {name: row[name] for name in names})
        write_json(out / "config.json", row["config"])
        write_json(out / "environment.json", row["environment"])
        write_text(out / "history.jsonl", "".join(json.dumps(each) + "\n" for each in row["history"]))


def report(source: Path, out: Path) -> None:
    """Make the report in its own process and print its time, memory and size."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "noisylabels", "report", str(source), "--out", str(out)]
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit("the report failed")
    page = out / "index.html"
    peak = usage.ru_maxrss / (1e6 if sys.platform == "linux" else 1e9)  # kB, or bytes on macOS
    drawn = len(list((out / "figures").iterdir()))
    print(
        f"{time.perf_counter() - began:.1f} s, peak memory {peak:.2f} GB, "
        f"page {page.stat().st_size / 1e6:.1f} MB, {drawn} figure files, {os.cpu_count()} cores"
    )


def main(options: Options) -> None:
    """Make synthetic runs and report on them."""
    with tempfile.TemporaryDirectory() as temporary:
        base = options.keep or Path(temporary)
        source = base / ("runs" if options.folders else "runs.parquet")
        if options.folders:
            write_folders(rows(options), source)
        else:
            print(f"{export(rows(options), source)} runs, {source.stat().st_size / 1e6:.1f} MB")
        report(source, base / "report")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
