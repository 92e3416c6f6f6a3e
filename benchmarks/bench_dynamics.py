"""Measure what recording the dynamics costs: the processor time of training on the digits, with and without.

    python benchmarks/bench_dynamics.py

Writes dynamics-cost-MACHINE.json and .md into results/benchmarks. Runs with and without alternate; processor
time, of one thread, is less disturbed by other work on the machine than the time that passes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import noisylabels as nl
from noisylabels.bench.machine import keep, load, processor, slug
from noisylabels.training.dynamics import STRIDE, Dynamics

EPOCHS = {"mlp": 60, "small-cnn": 20}
"""Models, and the epochs that each is trained for."""


@dataclass
class Options:
    """Choose where the results go."""

    out: Path = Path("results/benchmarks")
    """folder for the results"""
    machine: str = ""
    """name of the machine in the results (default: processor and number of cores)"""
    rounds: int = 5
    """runs with and without; the shortest of each is reported"""


def main(options: Options) -> None:
    """Measure, and write the table."""
    torch.set_num_threads(1)
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
        plain, recorded = (min(pair[side] for pair in pairs) for side in (0, 1))
        result["models"].append({"model": name, "epochs": epochs, "plain": plain, "recorded": recorded})
    rows = [
        f"| {each['model']} | {each['epochs']} | {each['plain']:.2f} | {each['recorded']:.2f} | "
        f"{100 * (each['recorded'] / each['plain'] - 1):.1f} % |"
        for each in result["models"]
    ]
    head = "| model | epochs | seconds | seconds, recorded | more |\n|---|---|---|---|---|\n"
    table = head + "\n".join(rows) + "\n"
    name = slug(options.machine or f"{processor()} {os.cpu_count()} cores")
    keep(options.out, f"dynamics-cost-{name}", result, table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
