"""Measure which judge finds label errors in tables: the audit's network, or a classifier of scikit-learn.

    pip install cleanlab==2.9.0
    python benchmarks/bench_judges.py

The nine tables are those of bench_tables.py; two more, "rules" and "products", are made for trees: their
classes depend on thresholds of a few columns of twenty of very different scales, and on signs of products.
For every table, noise and seed, `nl.corrupt_set` makes labels noisy, and each judge gives out-of-fold
probabilities of all rows: the network of `cross_validate` at its defaults, and the classifiers of
`noisylabels audit --classifier`. A cell is the average precision of finding the noisy labels by the audit's
label quality score. Beside it, cleanlab 2.9 scores the same probabilities (left out with a notice if it is
not installed). "likelihood" takes the judge under whose out-of-fold probabilities, after temperature scaling,
the given labels are most likely: it needs no true label, so an audit could choose so.

Writes judges.json and judges.md into results/benchmarks. Each finished cell is one line of the file --rows;
repeat the command to resume.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from bench_tables import SETS, Data
from rich.progress import track
from sklearn.metrics import average_precision_score

import noisylabels as nl
from noisylabels.audit.cross_validation import cross_validate
from noisylabels.audit.scores import sharpened
from noisylabels.bench.machine import keep, processor
from noisylabels.data.features import feature_set
from noisylabels.experiment.classifier_probs import classifier_probs
from noisylabels.experiment.classifiers import CLASSIFIERS
from noisylabels.experiment.model_selection import TINY, calibrate, tempered
from noisylabels.study.statistics import compare, summarize

NOISES = ("symmetric:0.1", "symmetric:0.2", "symmetric:0.4", "asymmetric:0.3", "instance:0.2")
NETWORK, CHOSEN = "network", "likelihood"
JUDGES = (NETWORK, *CLASSIFIERS)


def rules(seed: int) -> Data:
    """Return 600 rows of 20 columns whose class is the leaf of a small tree of thresholds."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(600, 20))
    first, second, third = (rows[:, k] > cut for k, cut in ((0, 0.2), (1, -0.3), (2, 0.1)))
    labels = np.where(first, np.where(second, 0, 1), np.where(third, 2, 0))
    return np.exp(rows * rng.uniform(0.2, 3, 20)), labels


def products(seed: int) -> Data:
    """Return 600 rows of 10 columns; the class is the sign of a product of two, shifted by a third."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(600, 10))
    return rows, (rows[:, 0] * rows[:, 1] + 0.3 * rows[:, 2] > 0).astype(np.int64)


TABLES = SETS | {"rules": rules, "products": products}


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    out: Path = Path("results/benchmarks")
    """folder for the results"""
    rows: Path = Path("runs/judges.jsonl")
    """file of the finished cells"""
    sets: list[str] = field(default_factory=lambda: list(TABLES))
    """tables"""
    noises: list[str] = field(default_factory=lambda: list(NOISES))
    """kinds of label noise"""
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3, 4, 5])
    """seeds of noise, generated data, folds and judges"""
    examples: int = 500
    """maximum number of rows per table, drawn per seed; 0 for all"""
    only_done: bool = False
    """write the results of the finished cells, without measuring more"""


def noisy_table(name: str, noise: str, seed: int, examples: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return a table as a set, its given labels, and which of them are wrong."""
    rows, labels = TABLES[name](seed)
    labels = np.unique(labels, return_inverse=True)[1]
    if examples:
        some = np.random.default_rng(seed).permutation(len(rows))[:examples]
        rows, labels = rows[some], labels[some]
    K = int(labels.max()) + 1
    data = feature_set(rows, labels, [str(k) for k in range(K)], name=name)
    pairs = {k: (k + 1) % K for k in range(K)} if noise.startswith("asymmetric") else None
    data, noisy = nl.corrupt_set(data, noise, seed=seed, pairs=pairs)
    return data, noisy.given, noisy.flipped


def judged(data: Any, given: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """Yield each judge with its out-of-fold probabilities, label quality and CPU seconds."""
    began = time.process_time()
    found = cross_validate(data, labels=given, seed=seed, device="cpu")
    yield NETWORK, found.probs.astype(np.float64), found.score, time.process_time() - began
    for name, build in CLASSIFIERS.items():
        began = time.process_time()
        probs = classifier_probs(build(), data.features.numpy(), given, data.num_classes, seed=seed)
        yield name, probs, sharpened(given, probs), time.process_time() - began


def cell(name: str, noise: str, seed: int, options: Options, beside: bool) -> dict[str, Any]:
    """Return the figures of every judge for one table, noise and seed."""
    data, given, wrong = noisy_table(name, noise, seed, options.examples)
    row: dict[str, Any] = {"set": name, "noise": noise, "seed": seed, "rows": len(given)}
    row |= {"rate": float(wrong.mean()), "judges": {}}
    at = np.arange(len(given))
    network: np.ndarray | None = None
    for judge, probs, score, seconds in judged(data, given, seed):
        temperature, cost = calibrate(probs, given, np.ones(len(given)))
        losses = -np.log(np.maximum(tempered(probs, temperature)[at, given], TINY))
        network = losses if network is None else network
        apart = network - losses
        figures = {
            "average_precision": float(average_precision_score(wrong, -score)),
            "cost": cost,
            "gain": float(apart.mean()),
            "error": float(apart.std(ddof=1) / np.sqrt(len(apart))),
            "cpu_seconds": seconds,
        }
        if beside:
            from cleanlab.rank import get_label_quality_scores

            theirs = get_label_quality_scores(given, probs)
            figures["cleanlab"] = float(average_precision_score(wrong, -theirs))
        row["judges"][judge] = figures
    return row


def measure(options: Options, beside: bool) -> list[dict[str, Any]]:
    """Return one row per cell, from the file where it has them."""
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    done = {(row["set"], row["noise"], row["seed"]): row for row in map(json.loads, lines)}
    wanted = [(n, noise, seed) for seed in options.seeds for n in options.sets for noise in options.noises]
    for key in track(wanted, description="cells", disable=options.only_done):
        if key in done or options.only_done:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optimizers that have not converged
            done[key] = cell(*key, options, beside)
        with options.rows.open("a") as file:
            file.write(json.dumps(done[key]) + "\n")
    return [done[key] for key in wanted if key in done]


def chosen(row: dict[str, Any]) -> str:
    """Return the judge with the highest likelihood of the given labels out of fold."""
    return min(row["judges"], key=lambda judge: row["judges"][judge]["cost"])


def table(rows: list[dict[str, Any]], result: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    names = (*JUDGES, CHOSEN)
    cells: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        found = cells.setdefault((row["set"], row["noise"]), {name: [] for name in names})
        for name in names:
            judge = chosen(row) if name == CHOSEN else name
            found[name].append(100 * row["judges"][judge]["average_precision"])
    sizes = {row["set"]: row["rows"] for row in rows}
    counts = sorted({len(found[NETWORK]) for found in cells.values()})
    lines = [
        "Average precision of finding the noisy labels of tables, per cent, mean ± standard deviation over "
        f"{' to '.join(map(str, counts))} seeds, best mean in bold. {result['processor']}, "
        f"{result['cores']} cores, one thread, torch {result['torch']}, scikit-learn {result['sklearn']}.",
        "",
        "| table, rows | noise | " + " | ".join(names) + " |",
        "|---|---|" + "---:|" * len(names),
    ]
    for (name, noise), found in cells.items():
        means = {judge: summarize(values) for judge, values in found.items()}
        best = max(round(one.mean, 1) for one in means.values())
        texts = [f"{one.mean:.1f} ± {one.deviation or 0.0:.1f}" for one in means.values()]
        texts = [
            f"**{text}**" if round(one.mean, 1) == best else text
            for text, one in zip(texts, means.values(), strict=True)
        ]
        lines.append(f"| {name}, {sizes[name]} | {noise} | " + " | ".join(texts) + " |")
    whole = [np.mean([value for found in cells.values() for value in found[name]]) for name in names]
    lines.append("| mean | all | " + " | ".join(f"{value:.1f}" for value in whole) + " |")
    lines += [f"| {words} | all | {' | '.join(values)} |" for words, values in _others(rows).items()]
    center = {name: {key: float(np.mean(found[name])) for key, found in cells.items()} for name in names}
    lines += ["", _differences(center), "", _choices(rows)]
    return "\n".join(lines) + "\n"


def _others(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return further rows of the table: cleanlab given the same probabilities, and CPU seconds."""
    made = {}
    if all("cleanlab" in row["judges"][NETWORK] for row in rows):
        values = [100 * np.mean([row["judges"][name]["cleanlab"] for row in rows]) for name in JUDGES]
        values.append(100 * np.mean([row["judges"][chosen(row)]["cleanlab"] for row in rows]))
        made["mean of cleanlab, same probabilities"] = [f"{value:.1f}" for value in values]
    times = [np.median([row["judges"][name]["cpu_seconds"] for row in rows]) for name in JUDGES]
    made["CPU seconds, median"] = [f"{value:.2f}" for value in [*times, sum(times)]]
    return made


def _differences(center: dict[str, dict[Any, float]]) -> str:
    """Return how the network compares with every other judge, in words."""
    texts = []
    for name in center:
        if name != NETWORK:
            found = compare(center[NETWORK], center[name])
            one = found.difference
            ends = "" if one.low is None else f" ({one.low:+.1f} to {one.high:+.1f})"
            texts.append(f"{name} {one.mean:+.1f}{ends}, better in {found.better:g} of {one.n}")
    return (
        "The network minus each other judge in points, mean over the settings (a table with a noise) and its "
        f"95 % interval: {'; '.join(texts)}."
    )


def _choices(rows: list[dict[str, Any]]) -> str:
    """Return how often the likelihood chose each judge, and how often that was the best one."""
    picks = [chosen(row) for row in rows]
    best = [max(row["judges"], key=lambda j, row=row: row["judges"][j]["average_precision"]) for row in rows]
    counts = ", ".join(f"{name} {picks.count(name)}" for name in JUDGES)
    hits = sum(one == two for one, two in zip(picks, best, strict=True))
    leads = ", ".join(f"{name} {best.count(name)}" for name in JUDGES)
    return (
        f"The likelihood chose in {len(rows)} cells: {counts}. The highest average precision had: {leads}. "
        f"Both were the same judge in {hits}."
    )


def main(options: Options) -> None:
    torch.set_num_threads(1)
    import sklearn

    try:
        import cleanlab

        version = cleanlab.__version__
    except ImportError:
        version = None
        print("cleanlab is not installed, so it is left out; to compare: pip install cleanlab==2.9.0")
    rows = measure(options, version is not None)
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "sklearn": sklearn.__version__,
        "cleanlab": version,
        "seeds": options.seeds,
        "noises": options.noises,
        "rows": rows,
    }
    keep(options.out, "judges", result, table(rows, result))


if __name__ == "__main__":
    main(tyro.cli(Options))
