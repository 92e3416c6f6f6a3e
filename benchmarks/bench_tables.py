"""Clean test accuracy of classifiers that learned tables with wrong labels.

    python benchmarks/bench_tables.py

NoisyLabelClassifier with its defaults beside scikit-learn's LogisticRegression, RandomForestClassifier and
MLPClassifier with theirs, and beside cleanlab's CleanLearning (`pip install cleanlab`; left out, saying so,
where it is missing) around the first (its own default) and the last. Data sets are those that scikit-learn
carries or makes. For every set, rate and seed, 30 % of the rows are held out, their labels right; the noise
of the others is drawn by `nl.corrupt`; all get the same rows, columns standardized. Nobody sees a right
label before the test.

Writes tables-MACHINE.json and .md into results/benchmarks. Each fit is kept as a line of the file --rows as
soon as it is done, and the same command goes on from there.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.progress import track
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import noisylabels as nl
from noisylabels.bench.machine import keep, load, processor, slug
from noisylabels.study.statistics import Ranks, compare, rank, summarize

Data = tuple[np.ndarray, np.ndarray]

SETS: dict[str, Callable[[int], Data]] = {
    "iris": lambda seed: datasets.load_iris(return_X_y=True),
    "wine": lambda seed: datasets.load_wine(return_X_y=True),
    "breast_cancer": lambda seed: datasets.load_breast_cancer(return_X_y=True),
    "digits": lambda seed: datasets.load_digits(return_X_y=True),
    "moons": lambda seed: datasets.make_moons(500, noise=0.25, random_state=seed),
    "quantiles": lambda seed: datasets.make_gaussian_quantiles(
        n_samples=1000, n_features=6, n_classes=3, random_state=seed
    ),
    "hastie": lambda seed: datasets.make_hastie_10_2(1000, random_state=seed),
    "easy": lambda seed: datasets.make_classification(
        600, n_features=20, n_informative=5, class_sep=1.5, random_state=seed
    ),
    "hard": lambda seed: datasets.make_classification(
        1000, n_features=20, n_informative=10, n_classes=4, random_state=seed
    ),
}
OURS = "NoisyLabelClassifier"


@dataclass
class Options:
    """What to measure and where to."""

    out: Path = Path("results/benchmarks")
    """folder for the results"""
    rows: Path = Path("runs/tables.jsonl")
    """file of the single fits"""
    machine: str = ""
    """its name in the results; by default the processor's and how many cores there are"""
    sets: list[str] = field(default_factory=lambda: list(SETS))
    """data sets"""
    methods: list[str] = field(default_factory=list)
    """classifiers; all by default"""
    noises: list[str] = field(default_factory=lambda: ["symmetric:0.2", "symmetric:0.4"])
    """kinds of label noise"""
    seeds: list[int] = field(default_factory=lambda: list(range(1, 11)))
    """of splits, noise, made data and classifiers"""
    examples: int = 0
    """rows of a set at most; 0 for all"""


def methods() -> dict[str, Callable[[int], Any]]:
    """Return the classifiers by name, each made by its seed."""
    found: dict[str, Callable[[int], Any]] = {
        OURS: ours,
        "LogisticRegression": lambda seed: LogisticRegression(),
        "RandomForest": lambda seed: RandomForestClassifier(random_state=seed),
        "MLPClassifier": lambda seed: MLPClassifier(random_state=seed),
    }
    try:
        from cleanlab.classification import CleanLearning
    except ImportError:
        print("cleanlab is not installed here: CleanLearning is left out")
        return found
    found["CleanLearning(LR)"] = lambda seed: CleanLearning(LogisticRegression(), seed=seed)
    found["CleanLearning(MLP)"] = lambda seed: CleanLearning(MLPClassifier(random_state=seed), seed=seed)
    return found


def ours(seed: int) -> Any:
    from noisylabels.estimator import NoisyLabelClassifier

    return NoisyLabelClassifier(random_state=seed)


def split(name: str, noise: str, seed: int, examples: int) -> tuple[np.ndarray, ...]:
    """Return rows to train on, their noisy labels, rows to test on, their right labels."""
    rows, labels = SETS[name](seed)
    labels = np.unique(labels, return_inverse=True)[1]
    if examples:
        some = np.random.default_rng(seed).permutation(len(rows))[:examples]
        rows, labels = rows[some], labels[some]
    train, test, given, true = train_test_split(
        rows, labels, test_size=0.3, stratify=labels, random_state=seed
    )
    noisy = nl.corrupt(given, noise, num_classes=int(labels.max()) + 1, seed=seed).given
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), noisy, scaler.transform(test), true


def measure(options: Options, known: dict[str, Callable[[int], Any]]) -> list[dict[str, Any]]:
    """Return a row a fit: those of the file and those that it lacked."""
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    done = [json.loads(line) for line in lines]
    keys = ("set", "noise", "seed", "method")
    there = {tuple(row[key] for key in keys) for row in done}
    wanted = [
        (name, noise, seed, method)
        for seed in options.seeds
        for name in options.sets
        for noise in options.noises
        for method in known
    ]
    for name, noise, seed, method in track(wanted, description="fits"):
        if (name, noise, seed, method) in there:
            continue
        rows, noisy, test, true = split(name, noise, seed, options.examples)
        began, ticks = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of optimizers that have not converged
            found = known[method](seed).fit(rows, noisy)
        row = dict(zip(keys, (name, noise, seed, method), strict=True))
        row |= {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - ticks}
        row |= {"accuracy": float((found.predict(test) == true).mean()), "rows": len(rows), "load": load()}
        done.append(row)
        with options.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
    chosen = set(wanted)
    return [row for row in done if tuple(row[key] for key in keys) in chosen]


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    names: list[str] = result["methods"]
    seeds = len(result["seeds"])
    busy = "the load was not kept"
    if result["load"] is not None:
        busy = f"the load was {result['load'][0]:.1f} to {result['load'][1]:.1f}"
    lines = [
        f"Accuracy on clean test rows, per cent, mean ± standard deviation over {seeds} seeds, after "
        f"training on wrong labels; best mean in bold. {result['processor']}, {result['cores']} cores, one "
        f"thread a fit, torch {result['torch']}, scikit-learn {result['sklearn']}, cleanlab "
        f"{result['cleanlab'] or 'absent'}; {busy}.",
        "",
        "| set, rows | noise | " + " | ".join(names) + " |",
        "|---|---|" + "---:|" * len(names),
    ]
    cells: dict[tuple[str, str, str], list[float]] = {}
    sizes, seconds = {}, {name: [] for name in names}  # type: ignore[var-annotated]
    for row in result["rows"]:
        cells.setdefault((row["set"], row["noise"], row["method"]), []).append(100 * row["accuracy"])
        sizes[row["set"]] = row["rows"]
        seconds[row["method"]].append(row["processor_seconds"])
    for name in sizes:
        for noise in result["noises"]:
            found = [summarize(cells[name, noise, method]) for method in names]
            best = max(round(one.mean, 2) for one in found)
            texts = []
            for one in found:
                text = f"{one.mean:.2f} ± {one.deviation or 0.0:.2f}"
                texts.append(f"**{text}**" if round(one.mean, 2) == best else text)
            lines.append(f"| {name}, {sizes[name]} | {noise} | " + " | ".join(texts) + " |")
    ranks = result["ranks"]
    lines.append("| mean rank | all | " + " | ".join(f"{ranks['mean'][name]:.2f}" for name in names) + " |")
    middle = [f"{np.median(seconds[name]):.2f}" for name in names]
    lines += ["| processor seconds a fit | median | " + " | ".join(middle) + " |", ""]
    critical = (
        "" if ranks["critical"] is None else f"; critical difference {ranks['critical']:.2f} (Nemenyi, 0.05)"
    )
    lines.append(
        f"Mean rank over {ranks['settings']} settings (a set under a noise, accuracy averaged over the "
        f"seeds; 1 is the best){critical}. {OURS} less each other in points, mean over the settings and "
        "its 95 % interval: "
        + "; ".join(f"{name} {apart(pair)}" for name, pair in result["pairs"].items())
        + "."
    )
    return "\n".join(lines) + "\n"


def apart(pair: dict[str, Any]) -> str:
    """Return a difference in words."""
    interval = "" if pair["low"] is None else f" ({pair['low']:+.2f} to {pair['high']:+.2f})"
    return f"{pair['mean']:+.2f}{interval}, better in {pair['better']:g} of {pair['n']}"


def ranked(rows: list[dict[str, Any]], names: list[str]) -> tuple[Ranks, dict[str, dict[str, Any]]]:
    """Return the ranks of the settings' means, and how ours compares with each other one."""
    cells: dict[str, dict[Any, list[float]]] = {name: {} for name in names}
    for row in rows:
        cells[row["method"]].setdefault((row["set"], row["noise"]), []).append(100 * row["accuracy"])
    means = {name: {key: float(np.mean(some)) for key, some in cells[name].items()} for name in names}
    pairs = {}
    for name in names:
        if OURS in names and name != OURS:
            found = compare(means[OURS], means[name])
            one = found.difference
            pairs[name] = {"mean": one.mean, "low": one.low, "high": one.high}
            pairs[name] |= {"better": found.better, "n": one.n, "p": found.p}
    return rank(means), pairs


def main(options: Options) -> None:
    torch.set_num_threads(1)
    import importlib.metadata as metadata

    import sklearn

    known = methods()
    if options.methods:
        known = {name: known[name] for name in options.methods}
    if len(known) < 2:
        raise nl.InputError("ranks are of two classifiers or more; name another with --methods")
    rows = measure(options, known)
    ranks, pairs = ranked(rows, list(known))
    loads = [row["load"] for row in rows if "load" in row]
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "sklearn": sklearn.__version__,
        "cleanlab": metadata.version("cleanlab") if any("Clean" in name for name in known) else None,
        "load": [min(loads), max(loads)] if len(loads) == len(rows) else None,
        "seeds": options.seeds,
        "noises": options.noises,
        "methods": list(known),
        "ranks": {"mean": ranks.mean, "settings": ranks.settings, "critical": ranks.critical, "p": ranks.p},
        "pairs": pairs,
        "rows": rows,
    }
    machine = options.machine or f"{processor()}-{os.cpu_count()}"
    keep(options.out, f"tables-{slug(machine)}", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
