"""Compare how well the audit and cleanlab find label errors, on labels whose true class is known.

    pip install cleanlab==2.9.0
    python benchmarks/bench_audit.py
    python benchmarks/bench_audit.py --cifar10 FOLDER --human cifar10n.parquet      # human annotations too

One run compares three methods with the same network and recipe:

- ours: `cross_validate` at its defaults, with its label quality score and its estimate of the noise rate;
- (a): cleanlab on the out-of-fold probabilities of the same training;
- (b): cleanlab on those of five-fold cross entropy (stratified folds, the last epoch's model).

cleanlab's `get_label_quality_scores` and `find_label_issues` run at their defaults. Without cleanlab, only
ours is measured, with a notice. Each finished cell is saved, so you can interrupt the script and start it
again. Writes audit-MACHINE.json and .md into results/benchmarks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from torch import nn

import noisylabels as nl
from noisylabels.audit.cross_validation import RECIPE, cross_validate
from noisylabels.audit.issues import find_issues
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.files import read_json, write_json
from noisylabels.core.process import keep_freed_memory
from noisylabels.core.rng import derive_seed, uniforms
from noisylabels.data.catalog import default_augment
from noisylabels.data.images import image_set, subset

NOISES = tuple(
    f"{kind}:{rate:g}" for kind in ("symmetric", "asymmetric", "instance") for rate in (0.1, 0.2, 0.4)
)
INSTALL = "cleanlab is not installed, so only ours is measured; to compare: pip install cleanlab==2.9.0"
WAYS = ("ours", "a", "b")
OF_A_CELL = ("images", "epochs", "folds")


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    cells: Path = Path("runs/bench-audit")
    """folder for the finished cells"""
    noises: tuple[str, ...] = NOISES
    """noises for the digits, all 1,797 of them"""
    seeds: int = 3
    """number of seeds, from 1, each for noise, folds, weights and order"""
    cifar10: Path | None = None
    """CIFAR-10 in a form that `noisylabels train --data` reads, for human annotations"""
    human: Path | None = None
    """CIFAR-10N as its authors publish it, or as Parquet"""
    columns: tuple[str, ...] = ("worse", "aggre")
    """label sets of the human annotations"""
    images: int = 2500
    """size of the sample of CIFAR-10's training images, drawn per seed"""
    epochs: int = RECIPE["epochs"]
    """epochs of every training"""
    folds: int = 5
    """folds of cross entropy"""
    only_done: bool = False
    """write the results of the finished cells, without measuring more"""


@dataclass(frozen=True)
class Subject:
    """A data set, its given labels, and which of them are wrong."""

    name: str
    seed: int
    data: nl.ImageSet
    given: np.ndarray
    wrong: np.ndarray


def subjects(options: Options) -> Iterator[Subject]:
    train, test = nl.load("digits")
    pixels, labels = torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    digits = image_set(pixels, labels, train.class_names, name="digits")
    for noise in options.noises:
        for seed in range(1, options.seeds + 1):
            _, noisy = nl.corrupt_set(digits, noise, seed=seed)
            yield Subject(f"digits, {noise}", seed, digits, noisy.given, noisy.flipped)
    if options.cifar10 is None or options.human is None:
        return
    cifar, _ = nl.load(str(options.cifar10))
    for column in options.columns:
        noisy = nl.corrupt(
            cifar.labels, f"human:{options.human}@{column}", class_names=cifar.class_names, ids=cifar.ids
        )
        for seed in range(1, options.seeds + 1):
            chosen = np.sort(
                np.argsort(uniforms(len(cifar), seed, "part of the benchmark"))[: options.images]
            )
            name = f"{options.images:,} of {cifar.name}, CIFAR-10N ({column})"
            part = subset(cifar, chosen)
            yield Subject(name, seed, part, noisy.given[chosen], noisy.flipped[chosen])


def cross_entropy(subject: Subject, model: dict[str, Any], options: Options) -> np.ndarray:
    """Return the usual out-of-fold probabilities: k folds, cross entropy, the last epoch's `model`."""
    data = dataclasses.replace(subject.data, labels=torch.from_numpy(subject.given))
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=subject.seed)
    probs = np.zeros((len(data), data.num_classes), dtype=np.float32)
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in data.mean_std())
    recipe = RECIPE | {"epochs": options.epochs, "augment": default_augment(data.name, data)}
    for fold, (rest, held) in enumerate(folds.split(subject.given, subject.given)):
        seed = derive_seed(subject.seed, "cross entropy", fold)
        network = nl.build_model(
            model["model"],
            channels=data.images.shape[1],
            image_size=tuple(data.images.shape[2:]),
            num_classes=data.num_classes,
            width=model["width"],
            seed=seed,
        )
        nl.fit(network, data, None, nn.CrossEntropyLoss(), positions=rest, seed=seed, device="cpu", **recipe)
        with torch.no_grad():
            for part in np.array_split(held, max(1, len(held) // 500)):
                pixels = (data.images[part].float() / 255 - mean) / std
                probs[part] = network(pixels).softmax(1).numpy()
    return probs


def judged(score: np.ndarray, flagged: np.ndarray, rate: float, wrong: np.ndarray) -> dict[str, float]:
    """Return the figures of one method: of its ranking, of its flags, and of its estimated rate."""
    return {
        "average_precision": float(average_precision_score(wrong, -score)),
        "flagged": float(flagged.mean()),
        "precision": float(wrong[flagged].mean()) if flagged.any() else 0.0,
        "recall": float(wrong[flagged].sum() / wrong.sum()),
        "rate": rate,
        "rate_error": abs(rate - float(wrong.mean())),
    }


def by_cleanlab(given: np.ndarray, probs: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    flagged = find_label_issues(given, probs)
    row = judged(get_label_quality_scores(given, probs), flagged, float(flagged.mean()), wrong)
    for method, adjust in (
        ("normalized_margin", False),
        ("self_confidence", True),
        ("normalized_margin", True),
    ):
        other = get_label_quality_scores(given, probs, method=method, adjust_pred_probs=adjust)
        row[f"average_precision, {method}{', adjusted' * adjust}"] = average_precision_score(wrong, -other)
    return row


def cell(subject: Subject, options: Options, beside: bool) -> dict[str, Any]:
    """Return the figures of every method on one data set and seed."""
    wrong = subject.wrong
    row: dict[str, Any] = {"name": subject.name, "seed": subject.seed, "rate": float(wrong.mean())}
    began = time.perf_counter(), time.process_time()
    found = cross_validate(
        subject.data,
        labels=subject.given,
        seed=subject.seed,
        device="cpu",
        epochs=options.epochs,
    )
    ids = [str(i) for i in range(len(found))]
    flagged = find_issues(found.assessment.posterior, subject.data.class_names, ids).flagged
    row |= {"seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}
    row["ours"] = judged(found.score, flagged, found.rate, wrong)
    row["ours"]["suggestion_accuracy"] = float(
        (found.judged.argmax(1) == subject.data.labels.numpy())[wrong].mean()
    )
    row["load"] = load()
    row["dynamics"] = {
        name: float(average_precision_score(wrong, value))
        for name, value in (("margin", -found.margin), ("loss", found.loss), ("agreement", -found.agreement))
    }
    if beside:
        row["a"] = by_cleanlab(subject.given, found.probs, wrong)
        began = time.perf_counter(), time.process_time()
        probs = cross_entropy(subject, found.settings, options)
        row["b"] = by_cleanlab(subject.given, probs, wrong)
        row["b"] |= {"seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return mean and standard deviation over the seeds, by method and measure."""

    def both(values: list[float]) -> tuple[float, float]:
        return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0

    measures = ("average_precision", "precision", "rate_error")
    found = {
        way: {m: both([row[way][m] for row in rows]) for m in measures} for way in WAYS if way in rows[0]
    }
    found["ours"]["cpu_seconds"] = both([row["cpu_seconds"] for row in rows])
    if "b" in found:
        found["b"]["cpu_seconds"] = both([row["b"]["cpu_seconds"] for row in rows])
    return found


def table(result: dict[str, Any]) -> str:
    """Return the results as Markdown, with missed goals marked."""
    options, cells = result["options"], result["summary"]
    lines = [
        f"Mean ± standard deviation of n seeds; {options['epochs']} epochs at most; "
        f"{result['processor']}, {result['cores']} cores, 1 thread, torch {result['torch']}, cleanlab "
        f"{result['cleanlab']}. Seconds are CPU time.",
        "",
        "| labels | n | noise rate | average precision: ours | (a) | (b) | precision at the estimated "
        "count: ours | (a) | (b) | error of the estimated noise rate: ours | (a) | (b) "
        "| seconds: ours | (b) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    missed = 0
    for name, found in cells.items():

        def shown(way: str, measure: str, found: Any = found) -> str:
            if way not in found or measure not in found[way]:
                return "-"
            mean, std = (100 * each for each in found[way][measure])
            return f"{mean:.1f} ± {std:.1f}"

        rates = [row["rate"] for row in result["rows"] if row["name"] == name]
        cellwise = [
            f"{shown(way, measure)}"
            for measure in ("average_precision", "precision", "rate_error")
            for way in WAYS
        ]
        if "b" in found:
            ours, a, b = (found[way]["average_precision"][0] for way in WAYS)
            if ours < a or ours <= b:
                cellwise[0] += " (missed)"
                missed += 1
        times = [f"{found[way]['cpu_seconds'][0]:.0f}" if way in found else "-" for way in ("ours", "b")]
        if "b" in found and found["ours"]["cpu_seconds"][0] >= found["b"]["cpu_seconds"][0]:
            times[0] += " (missed)"
            missed += 1
        head = [name, str(len(rates)), f"{100 * statistics.mean(rates):.1f}"]
        lines.append(f"| {' | '.join([*head, *cellwise, *times])} |")
    lines += [
        "",
        "In per cent, except seconds. Goal: average precision above (b) and at least that of (a), in "
        f"less time than (b); missed {missed} times.",
    ]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        import cleanlab

        version = cleanlab.__version__
    except ImportError:
        version = None
        print(INSTALL)
    rows = []
    what = {k: str(v) for k, v in vars(options).items() if k in OF_A_CELL}
    for subject in subjects(options):
        key = json.dumps([subject.name, subject.seed, what, version, RECIPE])
        path = options.cells / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        if not path.exists():
            if options.only_done:
                continue
            options.cells.mkdir(parents=True, exist_ok=True)
            write_json(path, cell(subject, options, version is not None))
        rows.append(read_json(path))
        row = rows[-1]
        words = [f"{way} {100 * row[way]['average_precision']:.1f}" for way in WAYS if way in row]
        print(subject.name, subject.seed, *words, f"{row['cpu_seconds']:.0f} s", flush=True)
    names = list(dict.fromkeys(row["name"] for row in rows))
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "cleanlab": version or "not installed",
        "options": {k: v for k, v in vars(options).items() if k not in ("out", "cells", "cifar10", "human")},
        "rows": rows,
        "summary": {name: summary([row for row in rows if row["name"] == name]) for name in names},
    }
    options.keep("audit", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
