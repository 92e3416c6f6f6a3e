"""Measure whether the probabilities that `noisylabels predict` writes are right, for models of features.

    python benchmarks/bench_calibration.py FEATURES.npz --human cifar10n.parquet

FEATURES.npz holds x_train (N, D), y_train (N,), x_test and y_test, the features and true labels of CIFAR-10
in its order. Per seed, `noisylabels train` learns from a sample of the training images with human labels, and
predicts test images. The table compares the mean probability of the predicted class with the accuracy, and
shows the expected calibration error, before and after the calibration for the label noise. Writes
calibration.json and .md into results/benchmarks.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import noisylabels as nl
from noisylabels.bench.machine import keep, processor
from noisylabels.core.rng import uniforms
from noisylabels.experiment import load_config, run
from noisylabels.experiment.prediction import load_model, predict

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BINS = 15
FIGURES = ("accuracy", "before: mean", "before: ECE", "after: mean", "after: ECE")


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    features: tyro.conf.Positional[Path]
    """.npz file with x_train, y_train, x_test, y_test"""
    human: Path
    """CIFAR-10N as its authors publish it, or as Parquet"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    name: str = "cifar10-jpeg, EfficientNet-Lite0 at 160 px"
    """name of data and features in the results"""
    columns: tuple[str, ...] = ("aggre", "worse")
    """label sets of the human annotations"""
    seeds: int = 3
    """number of seeds, from 1, of the sample"""
    images: int = 2500
    """size of the sample of the training images"""
    test_images: int = 5000
    """number of test images, the first ones"""


def calibration_error(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error of the predicted class, in bins of equal width."""
    confidence, right = probs.max(1), probs.argmax(1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(confidence[bins == k].sum() - right[bins == k].sum()) for k in range(BINS)]
    return float(sum(gaps) / len(labels))


def cell(options: Options, column: str, seed: int) -> dict[str, Any]:
    """Return the figures of a label set and a seed."""
    with np.load(options.features) as file:
        X, y, test, true = (file[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    test, true = test[: options.test_images].astype(np.float32), true[: options.test_images]
    given = nl.corrupt(y.astype(np.int64), f"human:{options.human}@{column}", class_names=CLASSES).given
    chosen = np.sort(np.argsort(uniforms(len(y), seed, "part of the benchmark"))[: options.images])
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder, "data.npz"), Path(folder, "run")
        train = {"x_train": X[chosen].astype(np.float32), "y_train": given[chosen]}
        np.savez(data, **train, x_test=test, y_test=true)
        result = run(load_config(data=str(data), out=str(out), seed=seed))
        trained = load_model(out, "cpu")
        after = predict(trained, torch.from_numpy(test)).numpy()
        before = predict(dataclasses.replace(trained, power=1.0), torch.from_numpy(test)).numpy()
    row: dict[str, Any] = {"labels": column, "seed": seed, "noise rate": (given[chosen] != y[chosen]).mean()}
    row |= {"model": result.model, "loss": result.loss, "power": trained.power}
    row["accuracy"] = (after.argmax(1) == true).mean()
    for when, probs in (("before", before), ("after", after)):
        row[f"{when}: mean"] = probs.max(1).mean()
        row[f"{when}: ECE"] = calibration_error(probs, true)
    return {name: float(value) if isinstance(value, np.floating) else value for name, value in row.items()}


def table(rows: list[dict[str, Any]], options: Options) -> str:
    """Return the results as Markdown."""
    lines = [
        f"Probabilities of the predicted class for {options.test_images:,} test images, per cent, mean ± "
        f"standard deviation over {options.seeds} seeds of {options.images:,} training images; ECE: expected "
        f"calibration error, {BINS} bins. {options.name}; {processor()}, torch {torch.__version__}.",
        "",
        f"| CIFAR-10N labels | noise rate | {' | '.join(FIGURES)} |",
        "|---|---:|" + "---:|" * len(FIGURES),
    ]
    for column in options.columns:
        of_column = [row for row in rows if row["labels"] == column]
        words = []
        for name in ("noise rate", *FIGURES):
            values = [100 * row[name] for row in of_column]
            words.append(f"{np.mean(values):.1f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.1f}")
        lines.append(f"| {column} | {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(1)
    seeds = range(1, options.seeds + 1)
    rows = [cell(options, column, seed) for column in options.columns for seed in seeds]
    about = {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    settings = {name: getattr(options, name) for name in ("name", "columns", "images", "test_images")}
    keep(options.out, "calibration", {**about, **settings, "rows": rows}, table(rows, options))


if __name__ == "__main__":
    main(tyro.cli(Options))
