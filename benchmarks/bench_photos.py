"""Train on a folder of photographs with the default loss and with named ones, as a user types it.

    python benchmarks/bench_photos.py PHOTOGRAPHS.parquet FRESH.parquet --human cifar10n.parquet

Each draw writes 3,000 photographs with human labels (random_label1 of CIFAR-10N, 17 % of them wrong) as JPEG
files into a folder per class, runs

    noisylabels train --data photos --epochs 30
    noisylabels train --data photos --epochs 30 --loss ce      # and so on

and predicts 2,000 fresh photographs, whose labels are right. `typed` is the command as it stands, which
trains on the features of the encoder; `cnn8` adds `--features none`, `small-cnn` also `--model small-cnn`.
Repeat the command to resume. Writes default-photos.json and .md into results/benchmarks.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import walk_photographs
from bench_defaults import in_words, regrets
from walk_photographs import Walk

from noisylabels.bench.machine import keep, load, processor
from noisylabels.core.files import read_json
from noisylabels.study.statistics import summarize

HOW = {
    "typed": "",
    "cnn8": " --features none",
    "small-cnn": " --features none --model small-cnn",
}
"""What is trained -> the options that it adds to the command."""

DEFAULT = "default"
KEYS = ("how", "epochs", "loss", "seed")


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    photographs: tyro.conf.Positional[Path]
    """Parquet file of the images to train on, in the order of CIFAR-10's training images"""
    fresh: tyro.conf.Positional[Path]
    """Parquet file of the images to predict"""
    human: Path
    """CIFAR-10N as Parquet"""
    how: tuple[str, ...] = tuple(HOW)
    """what is trained: typed, cnn8, small-cnn"""
    epochs: tuple[int, ...] = (10, 30)
    """epochs; 0 leaves the option out"""
    losses: tuple[str, ...] = (DEFAULT, "ce", "gce", "nce+agce@cifar10")
    """losses, or default, which names none"""
    seeds: tuple[int, ...] = (0,)
    """draws of photographs, and seeds of the runs"""
    images: int = 3000
    """photographs per draw"""
    new: int = 2000
    """fresh photographs per draw"""
    rows: Path = Path("runs/photos.jsonl")
    """file of the finished trainings"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""


def trained(here: Walk, how: str, epochs: int, loss: str, seed: int) -> dict[str, Any]:
    """Train and predict by the command line, and return the accuracies and what was chosen."""
    run = f"runs/{how}-{epochs}-{seed}-{len(here.commands)}"
    command = "noisylabels train --data photos" + (f" --epochs {epochs}" if epochs else "") + HOW[how]
    command += "" if loss == DEFAULT else f" --loss {loss}"
    here.run(f"{command} --seed {seed} --device cpu --out {run}", f"{command}, seed {seed}")
    here.run(f"noisylabels predict {run} new-photos --device cpu --out predicted.csv")
    with (here.folder / "predicted.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    result = read_json(here.folder / run / "result.json")
    return {
        "accuracy": float(np.mean([here.fresh[row["image"]] == row["label"] for row in rows])),
        "dead": len((result.get("kept") or result["final"])["dead_classes"]),
        "classes_never_predicted": len(set(here.fresh.values()) - {row["label"] for row in rows}),
        "model": result["model"],
        "chosen": result["loss"],
        "cpu_seconds": here.commands[-1]["cpu_seconds"],
        "wrong": float(np.mean([here.given[key] != here.true[key] for key in here.given])),
        "load": load(),
    }


def measure(options: Options) -> list[dict[str, Any]]:
    """Return one row per training, from the file where it has them."""
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    rows = [json.loads(line) for line in lines]
    there = {tuple(row[key] for key in KEYS) for row in rows}
    for seed in options.seeds:
        keys = [(h, e, loss, seed) for h in options.how for e in options.epochs for loss in options.losses]
        if there >= set(keys):
            continue
        sizes = walk_photographs.Options(
            options.photographs, options.fresh, options.human, images=options.images, new=options.new
        )
        with tempfile.TemporaryDirectory() as folder:
            here = Walk(Path(folder), sizes, seed)
            if "typed" in options.how:  # once, so that the runs' seconds are those of training
                here.run("noisylabels embed photos --device cpu --out features.npz")
            for key in keys:
                if key in there:
                    continue
                rows.append(dict(zip(KEYS, key, strict=True)) | trained(here, *key))
                with options.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(*key, f"{100 * rows[-1]['accuracy']:.1f} %", flush=True)
    return rows


def table(rows: list[dict[str, Any]], options: Options) -> str:
    """Return the results as Markdown."""
    losses = list(dict.fromkeys(row["loss"] for row in rows))
    named = [loss for loss in losses if loss != DEFAULT]
    wrong = np.mean([row["wrong"] for row in rows])
    names = " | ".join(one if one == DEFAULT else f"`{one}`" for one in losses)
    lines = [
        f"Accuracy on {options.new:,} fresh photographs in per cent, mean ± standard deviation over draws of "
        f"{options.images:,} photographs, {100 * wrong:.1f} % of whose labels are wrong; in brackets, the "
        "dead classes of ten where there are any, mean per run.",
        "",
        f"| trained | epochs | draws | {names} "
        "| regret of the default | the default chose | CPU seconds: default | named |",
        "|---|---:|---:|" + "---:|" * (len(losses) + 1) + "---|---:|---:|",
    ]
    for how, epochs in dict.fromkeys((row["how"], row["epochs"]) for row in rows):
        cell = {
            loss: [row for row in rows if (row["how"], row["epochs"], row["loss"]) == (how, epochs, loss)]
            for loss in losses
        }
        if not cell.get(DEFAULT):
            continue
        values = {loss: {row["seed"]: row["accuracy"] for row in found} for loss, found in cell.items()}
        chosen = dict.fromkeys(f"{row['model']} with {row['chosen']}" for row in cell[DEFAULT])
        seconds = [
            np.mean([row["cpu_seconds"] for row in found])
            for found in (cell[DEFAULT], [row for loss in named for row in cell[loss]])
        ]
        cells = [
            f"{how}: `train --data photos{HOW[how]}`",
            str(epochs or "by default"),
            str(len(cell[DEFAULT])),
        ]
        cells += [_shown(cell[loss]) for loss in losses]
        cells += [in_words(regrets(values, DEFAULT, named)), "; ".join(chosen)]
        lines.append(f"| {' | '.join([*cells, *(f'{each:.0f}' for each in seconds)])} |")
    return "\n".join(lines) + "\n"


def _shown(rows: list[dict[str, Any]]) -> str:
    """Return mean and standard deviation of the accuracies, with dead classes."""
    if not rows:
        return ""
    found = summarize([100 * row["accuracy"] for row in rows])
    dead = np.mean([max(row["dead"], row["classes_never_predicted"]) for row in rows])
    spread = f" ± {found.deviation:.1f}" if len(rows) > 1 else ""
    return f"{found.mean:.1f}{spread}" + (f" ({dead:.1f})" if dead else "")


def main(options: Options) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = measure(options)
    result = {"processor": processor(), "load": load(), "images": options.images, "rows": rows}
    keep(options.out, "default-photos", result, table(rows, options))


if __name__ == "__main__":
    main(tyro.cli(Options))
