"""Measure how often the interval of the accuracy on true labels, which `noisylabels train` shows, holds it.

    python benchmarks/bench_clean_accuracy.py                                                # digits
    python benchmarks/bench_clean_accuracy.py FEATURES.npz --human cifar10n.parquet          # and features

FEATURES.npz holds x_train (N, D) and y_train (N,), the features and true labels of CIFAR-10 in its order. A
draw is a sample of examples with noisy labels. A logistic regression learns from four fifths of them; the
rest are the test part, whose labels are noisy as well. The true accuracy is known twice: of the test part,
and of up to 5,000 examples outside the sample, for "new". Writes clean-accuracy.json and .md into
results/benchmarks.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

import noisylabels as nl
from noisylabels.bench.machine import keep, processor
from noisylabels.core.rng import uniforms
from noisylabels.noise.clean_accuracy import clean_accuracy

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
INJECTED = ("none", "symmetric:0.1", "symmetric:0.2", "symmetric:0.4", "asymmetric:0.2", "asymmetric:0.4")
HUMAN = ("aggre", "random1", "worse")
MODELS = {"strong": (1e-3, None), "memorizing": (1.0, None), "weak": (1.0, 6), "very weak": (1.0, 2)}
"""Inverse strength of the L2 penalty, and the number of principal components that the model sees."""

NEW = 5000  # most examples outside the sample


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    features: tyro.conf.Positional[Path | None] = None
    """.npz file with x_train and y_train"""
    human: Path | None = None
    """CIFAR-10N as its authors publish it, or as Parquet; without it, only injected noise"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    name: str = "cifar10-jpeg, EfficientNet-Lite0 at 160 px"
    """name of data and features in the results"""
    seeds: int = 3
    """number of seeds"""
    first_seed: int = 101
    """the first of them; the weights of the interval were chosen on other samples"""
    sizes: tuple[int, ...] = (500, 1000, 2500, 5000)
    """sizes of the samples"""


def sets(options: Options) -> Iterator[tuple[str, np.ndarray, np.ndarray, tuple[str, ...] | None]]:
    """Yield name, features, true labels and class names of each data set."""
    digits, rest = nl.load("digits")
    X = np.concatenate([part.images.flatten(1).numpy() for part in (digits, rest)])
    yield "digits", X, np.concatenate([part.labels.numpy() for part in (digits, rest)]), None
    if options.features is not None:
        with np.load(options.features) as file:
            yield options.name, file["x_train"], file["y_train"].astype(np.int64), CLASSES


def given_labels(noise: str, true: np.ndarray, names: tuple[str, ...] | None, options: Options) -> np.ndarray:
    """Return the labels of a whole data set under a noise; asymmetric noise goes to the next class."""
    if noise in HUMAN:
        return nl.corrupt(true, f"human:{options.human}@{noise}", class_names=names).given
    pairs = {k: (k + 1) % 10 for k in range(10)} if noise.startswith("asymmetric") and names is None else None
    return nl.corrupt(
        true, noise, seed=options.first_seed, num_classes=10, class_names=names, pairs=pairs
    ).given


def draw(
    X: np.ndarray, true: np.ndarray, given: np.ndarray, model: str, size: int, seed: int
) -> dict[str, Any]:
    """Return what is estimated and what is true for one sample."""
    order = np.argsort(uniforms(len(X), seed, "part of the benchmark"), kind="stable")
    learned, tested, new = np.split(order[: size + NEW], [round(0.8 * size), size])
    mean, std = X[learned].astype(np.float32).mean(0), X[learned].astype(np.float32).std(0) + 1e-3
    a, b, c = ((X[rows].astype(np.float32) - mean) / std for rows in (learned, tested, new))
    strength, components = MODELS[model]
    if components is not None:
        pca = PCA(components, random_state=0).fit(a)
        a, b, c = (pca.transform(each) / 10 for each in (a, b, c))
    fitted = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(a, given[learned])
    probs = np.zeros((len(tested), 10))
    probs[:, fitted.classes_] = fitted.predict_proba(b)
    found = clean_accuracy(given[tested], probs)
    return {
        "examples": len(tested),
        "rate": rounded((given[tested] != true[tested]).mean()),
        "true": rounded((fitted.predict(b) == true[tested]).mean()),
        "new": rounded((fitted.predict(c) == true[new]).mean()) if len(new) else None,
        "agreement": rounded(found.agreement),
        "accuracy": rounded(found.estimate),
        "interval": [rounded(found.low), rounded(found.high)],
    }


def rounded(share: float) -> float:
    """Return a share with the digits that the results keep."""
    return round(float(share), 4)


def measured(options: Options) -> list[dict[str, Any]]:
    """Return a row per draw."""
    rows = []
    for name, X, true, names in sets(options):
        human = HUMAN if options.human is not None and names is not None else ()
        for noise in (*INJECTED, *human):
            given = given_labels(noise, true, names, options)
            for size in options.sizes:
                if size > len(X):
                    continue
                for model in MODELS:
                    for seed in range(options.first_seed, options.first_seed + options.seeds):
                        row = draw(X, true, given, model, size, seed)
                        rows.append({"data": name, "noise": noise, "model": model, "seed": seed, **row})
    return rows


def line(words: str, rows: list[dict[str, Any]]) -> str:
    """Return a line of the table: coverage, width and bias."""
    low, high = np.array([row["interval"] for row in rows]).T
    values = {name: np.array([row[name] for row in rows], dtype=float) for name in ("true", "new")}
    inside = [
        np.mean((low <= each)[np.isfinite(each)] & (each <= high)[np.isfinite(each)])
        for each in values.values()
    ]
    before = values["true"] - [row["agreement"] for row in rows]
    after = np.array([row["accuracy"] for row in rows]) - values["true"]
    return (
        f"| {words} | {len(rows)} | {100 * inside[0]:.0f} | {100 * inside[1]:.0f} | "
        f"{100 * np.median(high - low):.0f} | {100 * np.abs(before).mean():.1f} | "
        f"{100 * np.abs(after).mean():.1f} |"
    )


def table(rows: list[dict[str, Any]], options: Options) -> str:
    """Return the results as Markdown."""
    lines = [
        "How often the 95 % interval of the accuracy on true labels holds it, per cent of the draws: for the "
        "test part itself, and for new examples. Width: median, in points. Error: mean distance in points of "
        "the agreement with the given test labels, and of the estimate, from the accuracy of the test part "
        f"on true labels. {processor()}, torch {torch.__version__}.",
        "",
        "| draws | n | test part | new | width | error of the agreement | error of the estimate |",
        "|---|---:|---:|---:|---:|---:|---:|",
        line("all", rows),
    ]
    for name in ("data", "model", "examples", "noise"):
        for value in dict.fromkeys(row[name] for row in rows):
            words = f"{value} test examples" if name == "examples" else str(value)
            lines.append(line(words, [row for row in rows if row[name] == value]))
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(1)
    rows = measured(options)
    about = {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    settings = {"name": options.name, "seeds": options.seeds, "first_seed": options.first_seed}
    keep(options.out, "clean-accuracy", {**about, **settings, "rows": rows}, table(rows, options))


if __name__ == "__main__":
    main(tyro.cli(Options))
