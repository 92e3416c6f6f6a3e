"""Compare the default loss for few classes with cross entropy where cross entropy should do best.

    python benchmarks/default_loss.py

Digits with clean or nearly clean labels, all of them and subsets of 200: small-cnn, 60 epochs, the other
settings at their defaults, test accuracy of the last epoch. docs/measured-digits.md covers more noise.
Writes default-loss.json and default-loss.md into results/benchmarks.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

import noisylabels as nl
from noisylabels.bench.machine import keep, load, processor
from noisylabels.data.images import subset

LOSSES = ("ce", "nce+rce", "nce+agce@cifar10")
CASES = [
    *((1438, noise) for noise in ("none", "symmetric:0.05", "asymmetric:0.2")),
    *((200, noise) for noise in ("none", "symmetric:0.05", "symmetric:0.2")),
]


@dataclass
class Options:
    """Choose what to train and where the results go."""

    seeds: int = 3
    """number of seeds, each for noise, weights, order and the subset of 200"""
    work: Path = Path("default-loss.jsonl")
    """file of finished runs; repeat the command to resume"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""


def accuracy(n: int, noise: str, loss: str, seed: int) -> float:
    """Train once, and return the test accuracy."""
    train, test = nl.load("digits")
    if n < len(train):
        train = subset(train, np.random.default_rng(seed).permutation(len(train))[:n])
    labels = nl.corrupt(train.labels, noise, class_names=train.class_names, seed=seed)
    model = nl.build_model("small-cnn", channels=1, image_size=(8, 8), num_classes=10, seed=seed)
    history = nl.fit(model, train, test, nl.loss(loss), labels=labels, epochs=60, seed=seed, device="cpu")
    return float(history.final["test_accuracy"])


def main(options: Options) -> None:
    torch.set_num_threads(1)
    lines = options.work.read_text().splitlines() if options.work.exists() else []
    found = {(row["n"], row["noise"], row["loss"], row["seed"]): row["acc"] for row in map(json.loads, lines)}
    for n, noise in CASES:
        for loss in LOSSES:
            for seed in range(options.seeds):
                if (key := (n, noise, loss, seed)) not in found:
                    found[key] = accuracy(*key)
                    row = {"n": n, "noise": noise, "loss": loss, "seed": seed, "acc": found[key]}
                    with options.work.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    table = [
        "| examples | noise | " + " | ".join(f"`{loss}`" for loss in LOSSES) + " |",
        "|---|---|" + "---|" * 3,
    ]
    for n, noise in CASES:
        cells = []
        for loss in LOSSES:
            values = [100 * found[n, noise, loss, seed] for seed in range(options.seeds)]
            cells.append(f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}")
        table.append(f"| {n:,} | `{noise}` | " + " | ".join(cells) + " |")
    rows = [
        dict(zip(("n", "noise", "loss", "seed", "accuracy"), (*key, value), strict=True))
        for key, value in found.items()
    ]
    result = {"processor": processor(), "load": load(), "seeds": options.seeds, "rows": rows}
    keep(options.out, "default-loss", result, "\n".join(table) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
