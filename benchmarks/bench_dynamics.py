"""Measure what recording the dynamics costs: the processor time of training on the digits, with and without.

    python benchmarks/bench_dynamics.py

Writes dynamics-cost-MACHINE.json and .md into results/benchmarks. Runs with and without alternate; processor
time, of one thread, is less disturbed by other work on the machine than the time that passes.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
import tyro

import noisylabels as nl
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.process import keep_freed_memory
from noisylabels.training.dynamics import STRIDE, Dynamics

EPOCHS = {"mlp": 120, "small-cnn": 30}
"""Models, and the epochs that each is trained for."""


@dataclass
class Options(ResultFolder):
    """Choose where the results go."""

    rounds: int = 5
    """pairs of runs, with and without; the median of their ratios is reported, and the range"""


def main(options: Options) -> None:
    """Measure, and write the table."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as `noisylabels train` does
    train, test = nl.load("digits")
    labels = nl.corrupt(train.labels, "symmetric:0.6@exact", seed=0)

    def seconds(name: str, epochs: int, recorded: bool) -> float:
        model = nl.build_model(name, channels=1, image_size=(8, 8), num_classes=10)
        callbacks = [Dynamics()] if recorded else []
        began = time.process_time()
        how = {"labels": labels, "callbacks": callbacks, "epochs": epochs, "lr": 0.05}
        nl.fit(model, train, test, nl.loss("ce"), **how)  # type: ignore[arg-type]
        return time.process_time() - began

    result: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "load": load()}
    result |= {"stride": STRIDE, "rounds": options.rounds, "models": []}
    for name, epochs in EPOCHS.items():
        seconds(name, 2, True)  # loads what is loaded once
        pairs = [(seconds(name, epochs, False), seconds(name, epochs, True)) for _ in range(options.rounds)]
        result["models"].append({"model": name, "epochs": epochs, "pairs": pairs})
    rows = []
    for each in result["models"]:
        more = sorted(100 * (recorded / plain - 1) for plain, recorded in each["pairs"])
        plain = statistics.median(pair[0] for pair in each["pairs"])
        spread = f"{more[0]:+.1f} to {more[-1]:+.1f} %"
        middle = f"{statistics.median(more):+.1f} %"
        rows.append(f"| {each['model']} | {each['epochs']} | {plain:.2f} | {middle} | {spread} |")
    head = "| model | epochs | seconds without | recording: median | range |\n|---|---|---|---|---|\n"
    table = head + "\n".join(rows) + "\n"
    options.keep("dynamics-cost", result, table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
