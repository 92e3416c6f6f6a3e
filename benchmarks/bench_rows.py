"""Measure the CPU time of training on rows of features: standardized once, fused optimizer.

    python benchmarks/bench_rows.py

Writes rows-MACHINE.json and .md into results/benchmarks. A cell of the study `frozen` has 20 epochs of 391
steps on 50,000 rows of 1,280 features, each epoch with an evaluation of 10,000. Its steps are timed on random
rows, one thread, in CPU time of the process, alternating with the former way: rows standardized batch by
batch in float32, and the plain optimizer. On a busy machine the other processes take the caches, so that the
lowest tenth of the steps tells more about an idle one than the median.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import time
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
import tyro

import noisylabels as nl
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.process import keep_freed_memory
from noisylabels.data.features import FeatureSet, feature_set
from noisylabels.models.catalog import build_model
from noisylabels.training import training_data, update
from noisylabels.training.optim import build_optimizer

ROWS, TESTED, COLUMNS, CLASSES, EPOCHS = 50_000, 10_000, 1280, 10, 20
"""The shape of a cell of the study."""

WAYS = ("before", "now")
LOSSES = ("ce", "nce+mae")


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    rounds: int = 5
    """repetitions of each, alternating"""
    rows: int = 25_000
    """rows to train on in each repetition; an epoch is counted as one of 50,000"""
    model: str = "mlp:512"
    """model"""


class Watch(nl.Callback):
    """Record the CPU seconds of steps and evaluations."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.evaluations: list[float] = []

    def on_epoch_start(self, epoch: int) -> None:
        """Start the clock."""
        self.last = time.process_time()

    def on_step(self, step: nl.StepResult) -> None:
        """Record a step with the batch before it."""
        now = time.process_time()
        self.steps.append(now - self.last)
        self.last = now

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Record the evaluation."""
        self.evaluations.append(time.process_time() - self.last)


def random_rows(count: int, seed: int) -> FeatureSet:
    """Return random rows in random classes."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, COLUMNS), dtype=np.float32)
    return feature_set(x, rng.integers(0, CLASSES, count), [f"class {k}" for k in range(CLASSES)])


def plain(groups: Any, settings: Any, device: Any, **more: Any) -> torch.optim.Optimizer:
    """Return the optimizer as it was: not fused on a CPU."""
    return build_optimizer(groups, settings, device, **more | {"rows": False})


def measure(way: str, loss: str, train: FeatureSet, test: FeatureSet, model: str) -> Watch:
    """Train for one epoch, in the former way or in today's."""
    watch = Watch()
    shape: dict[str, Any] = {"channels": 1, "image_size": (1, COLUMNS), "num_classes": CLASSES, "width": 1.0}
    network = build_model(model, **shape, seed=1)
    with contextlib.ExitStack() as former:
        if way == "before":
            former.enter_context(mock.patch.object(training_data, "standardized", return_value=None))
            former.enter_context(mock.patch.object(update, "build_optimizer", plain))
        nl.fit(
            network,
            train,
            test,
            nl.loss(loss),
            epochs=1,
            precision="bfloat16",
            device="cpu",
            callbacks=[watch],
        )
    return watch


def summary(steps: list[float], evaluations: list[float], tested: int) -> dict[str, float]:
    """Return milliseconds per step, and the seconds of a whole cell, by its lowest tenth and its median."""
    batches, scale = math.ceil(ROWS / 128), TESTED / tested
    low, middle = (float(np.quantile(steps, q)) for q in (0.1, 0.5))
    return {
        "step_low": low,
        "step_median": middle,
        "cell_low": EPOCHS * (batches * low + scale * min(evaluations)),
        "cell_median": EPOCHS * (batches * middle + scale * statistics.median(evaluations)),
    }


def table(result: dict[str, Any]) -> str:
    """Return the table."""
    before, after = result["load"]
    lines = [
        f"CPU time, lowest tenth and median of the steps; {result['processor']}, {result['cores']} cores, 1 "
        f"thread, torch {result['torch']}; load {before:.1f} before, {after:.1f} after.",
        "",
        "| loss | rows and optimizer | a step, ms | a cell of `frozen`, s |",
        "|---|---|---:|---:|",
    ]
    for row in result["rows"]:
        words = {"before": "standardized per batch, plain", "now": "standardized once, fused"}[row["way"]]
        lines.append(
            f"| {row['loss']} | {words} | {1000 * row['step_low']:.2f}; {1000 * row['step_median']:.2f} | "
            f"{row['cell_low']:.1f}; {row['cell_median']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Measure, and write the results."""
    torch.set_num_threads(1)
    keep_freed_memory()
    began = load()
    train, test = random_rows(options.rows, 0), random_rows(max(2, options.rows // 5), 1)
    measure("now", "ce", random_rows(512, 2), test, options.model)  # imports, and kernels are chosen
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for _ in range(options.rounds):
        for loss in LOSSES:
            for way in WAYS:
                watch = measure(way, loss, train, test, options.model)
                steps, evaluations = found.setdefault((loss, way), ([], []))
                steps += watch.steps
                evaluations += watch.evaluations
    rows = [
        {"loss": loss, "way": way, **summary(*times, len(test))}
        for (loss, way), times in sorted(found.items())
    ]
    result: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    result |= {"load": [began, load()], "rounds": options.rounds, "rows": rows}
    options.keep("rows", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
