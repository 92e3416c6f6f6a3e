"""Compare how well audits find label errors on the features of a frozen encoder, beside usual methods.

    pip install cleanlab==2.9.0
    python benchmarks/bench_features.py FEATURES.npz --human cifar10n.parquet
    python benchmarks/bench_features.py FEATURES.npz --human cifar10n.parquet --whole   # all images too
    python benchmarks/bench_features.py FEATURES.npz --verdicts VERDICTS.parquet        # and the test part

FEATURES.npz holds x_train (N, D) and y_train (N,), the features and true labels of CIFAR-10's training images
in their order, and with --verdicts also x_test and y_test.

One run compares on the same features and labels:

- ours: `cross_validate` at its defaults, as `noisylabels audit --features` calls it;
- network: its network alone, scored as an audit of pixels or of a table is;
- logistic regression: five folds, C = 0.001 on standardized columns, scored by p of the given label, which is
  cleanlab's default score for these probabilities;
- cleanlab: its label quality scores at their defaults for a logistic regression at scikit-learn's default,
  C = 1, and the count of its `find_label_issues`;
- neighbors: the share of the given label among the 30 nearest by cosine;
- weighted neighbors: the same, each weighted by how many of its own neighbors have its label, the idea of
  WANN (Di Salvo et al. 2024); not its authors' code.

It also measures what accepting the suggestions of all flagged labels does to the share of wrong labels, what
was expected, and how well the probabilities of a wrong label are calibrated. Without cleanlab, its column is
left out, with a notice. Each finished cell is saved, so you can interrupt the script and start it again.
Writes features.json and .md into results/benchmarks.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import noisylabels as nl
from noisylabels.audit.assessment import assess
from noisylabels.audit.cross_validation import cross_validate
from noisylabels.audit.issues import find_issues
from noisylabels.audit.scores import self_confidence
from noisylabels.bench.machine import keep, load, processor
from noisylabels.core.files import read_json, write_json
from noisylabels.core.process import keep_freed_memory
from noisylabels.core.rng import uniforms
from noisylabels.data.features import feature_set
from noisylabels.noise.noise_rate import NETWORK

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
INSTALL = "cleanlab is not installed, so its column is left out; to compare: pip install cleanlab==2.9.0"
WAYS = ("ours", "network", "logistic regression", "cleanlab", "neighbors", "weighted neighbors")
NEIGHBORS, BINS, TOP = 30, 15, 200


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    features: tyro.conf.Positional[Path]
    """.npz file with x_train, y_train; and x_test, y_test for --verdicts"""
    human: Path | None = None
    """CIFAR-10N as its authors publish it, or as Parquet"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    cells: Path = Path("runs/bench-features")
    """folder for the finished cells"""
    name: str = "cifar10-jpeg, EfficientNet-Lite0 at 160 px"
    """name of data and features in the results"""
    columns: tuple[str, ...] = ("worse", "aggre")
    """label sets of the human annotations"""
    noises: tuple[str, ...] = ("symmetric:0.05", "symmetric:0.2", "asymmetric:0.3@cifar10", "none")
    """further noises of the sample"""
    seeds: int = 8
    """number of seeds, from 1, each for the sample, noise, folds, weights and order"""
    images: int = 2500
    """size of the sample of the training images, drawn per seed"""
    whole: bool = False
    """also audit all training images"""
    verdicts: Path | None = None
    """verdicts on test labels; also audit all images with the published labels"""
    only_done: bool = False
    """write the results of the finished cells, without measuring more"""


@dataclass(frozen=True)
class Subject:
    """Features, given labels, and which of them are wrong."""

    name: str
    seed: int
    features: np.ndarray
    given: np.ndarray
    true: np.ndarray
    test: int = 0  # the last rows are the test part, of which some labels are known to be wrong


def subjects(options: Options) -> Iterator[Subject]:
    with np.load(options.features) as file:
        X, y = file["x_train"], file["y_train"].astype(np.int64)
        test = (file["x_test"], file["y_test"].astype(np.int64)) if options.verdicts is not None else None
    labels: dict[str, Any] = {}
    if options.human is not None:
        for column in options.columns:
            spec = f"human:{options.human}@{column}"
            labels[f"CIFAR-10N ({column})"] = nl.corrupt(y, spec, class_names=CLASSES).given
    for seed in range(1, options.seeds + 1):
        chosen = np.sort(np.argsort(uniforms(len(y), seed, "part of the benchmark"))[: options.images])
        for name, given in labels.items():
            yield Subject(f"{len(chosen):,}, {name}", seed, X[chosen], given[chosen], y[chosen])
        for noise in options.noises:
            given = y if noise == "none" else nl.corrupt(y, noise, seed=seed, class_names=CLASSES).given
            yield Subject(f"{len(chosen):,}, {noise}", seed, X[chosen], given[chosen], y[chosen])
    for name, given in labels.items() if options.whole else ():
        yield Subject(f"all {len(y):,}, {name}", 1, X, given, y)
    if test is not None:
        given, true = np.concatenate([y, test[1]]), np.concatenate([y, corrected(test[1], options)])
        yield Subject("all, published labels", 1, np.concatenate([X, test[0]]), given, true, len(test[1]))


def corrected(labels: np.ndarray, options: Options) -> np.ndarray:
    """Return the test labels with those replaced that fewer than three of five people confirmed."""
    import pyarrow.parquet as pq

    rows = pq.read_table(options.verdicts).to_pydict()
    true = labels.copy()
    for i, guessed, votes in zip(rows["index"], rows["guessed"], rows["votes_given"], strict=True):
        if votes < 3:
            true[i] = guessed
    return true


def logistic(subject: Subject, C: float) -> np.ndarray:
    """Return out-of-fold probabilities of a logistic regression."""
    X, y = StandardScaler().fit_transform(subject.features.astype(np.float32)), subject.given
    probs = np.zeros((len(y), len(CLASSES)))
    folds = StratifiedKFold(5, shuffle=True, random_state=subject.seed)
    for rest, held in folds.split(X, y):
        model = LogisticRegression(C=C, max_iter=200).fit(X[rest], y[rest])
        probs[np.ix_(held, model.classes_)] = model.predict_proba(X[held])
    return probs


def by_neighbors(subject: Subject) -> dict[str, np.ndarray]:
    """Return the scores of voting by the nearest neighbors in raw features, plain and weighted."""
    X = subject.features.astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    given, near = subject.given, np.empty((len(X), NEIGHBORS), np.int64)
    for rows in np.array_split(np.arange(len(X)), 1 + len(X) // 500):
        similar = X[rows] @ X.T
        similar[np.arange(len(rows)), rows] = -np.inf
        near[rows] = np.argpartition(similar, -NEIGHBORS, axis=1)[:, -NEIGHBORS:]
    agree = given[near] == given[:, None]
    share = agree.mean(axis=1)
    weight = share[near] + 1e-9
    return {"neighbors": share, "weighted neighbors": (agree * weight).sum(axis=1) / weight.sum(axis=1)}


def cell(subject: Subject, beside: bool) -> dict[str, Any]:
    """Return the figures of every method on one data set and seed."""
    given, true = subject.given, subject.true
    wrong = given != true
    row: dict[str, Any] = {"name": subject.name, "seed": subject.seed, "rate": float(wrong.mean())}
    data = replace(feature_set(subject.features, given, CLASSES), embedding={"name": "benchmark"})
    began = time.process_time()
    found = cross_validate(data, seed=subject.seed, device="cpu")
    scores = {"ours": found.score}
    row["cpu_seconds"] = {"ours": time.process_time() - began}
    scores["network"] = assess(given, found.network, found.seen, NETWORK).posterior.right
    row |= suggestions(given, true, found)
    began = time.process_time()
    probs = logistic(subject, 0.001)
    row["cpu_seconds"]["logistic regression"] = time.process_time() - began
    scores["logistic regression"] = self_confidence(given, probs)
    if beside:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        probs = logistic(subject, 1.0)
        scores["cleanlab"] = get_label_quality_scores(given, probs)
        row["cleanlab_flagged"] = float(find_label_issues(given, probs).mean())
    scores |= by_neighbors(subject)
    if subject.test:
        part = slice(len(given) - subject.test, None)
        row["known"] = int(wrong[part].sum())
        row["top"] = {
            way: int(wrong[part][np.argsort(score[part], kind="stable")[:TOP]].sum())
            for way, score in scores.items()
        }
    elif wrong.any():
        row["average_precision"] = {
            way: float(average_precision_score(wrong, -score)) for way, score in scores.items()
        }
    return row | {"load": load()}


def suggestions(given: np.ndarray, true: np.ndarray, found: Any) -> dict[str, Any]:
    """Return what the flags and suggestions do, and how well the probabilities are calibrated."""
    ids = [str(i) for i in range(len(given))]
    issues = find_issues(found.assessment.posterior, CLASSES, ids)
    wrong = given != true
    bins = np.array_split(np.argsort(issues.wrong), BINS)
    gaps = [abs(issues.wrong[some].mean() - wrong[some].mean()) * len(some) for some in bins]
    every = np.argsort(found.score, kind="stable")[: round(found.rate * len(given))]
    rest = found.judged[every].copy()
    rest[np.arange(len(every)), given[every]] = -1
    accepted = given.copy()
    accepted[every] = rest.argmax(axis=1)
    return {
        "estimated_rate": found.rate,
        "flagged": float(issues.flagged.mean()),
        "precision": float(wrong[issues.flagged].mean()) if issues.flagged.any() else None,
        "after": float((np.where(issues.flagged, issues.suggested, given) != true).mean()),
        "after_all": float((accepted != true).mean()),
        "expected_before": float(issues.expected[0].mean()),
        "expected_after": float(issues.expected[1].mean()),
        "calibration_error": sum(gaps) / len(given),
        "reliability": [[float(issues.wrong[some].mean()), float(wrong[some].mean())] for some in bins],
    }


def shown(values: list[float | None]) -> str:
    """Return mean ± standard deviation in per cent; "-" without values."""
    there = [100 * value for value in values if value is not None]
    if not there:
        return "-"
    spread = f" ± {statistics.stdev(there):.1f}" if len(there) > 1 else ""
    return f"{statistics.mean(there):.1f}{spread}"


def table(result: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault(row["name"], []).append(row)
    ways = [way for way in WAYS if any(way in row.get("average_precision", {}) for row in result["rows"])]
    lines = [
        f"{result['data']}. Mean ± standard deviation of n seeds, in per cent. {result['processor']}, "
        f"{result['cores']} cores, 1 thread, torch {result['torch']}, cleanlab {result['cleanlab']}. Seconds "
        "are CPU time.",
        "",
        f"| examples, labels | n | noise rate | average precision: {' | '.join(ways)} | seconds: ours | "
        "logistic regression |",
        f"|---|{'---:|' * (len(ways) + 4)}",
    ]
    for name, rows in groups.items():
        if "average_precision" in rows[0]:
            found = [shown([row["average_precision"].get(way) for row in rows]) for way in ways]
            times = [
                f"{statistics.mean(row['cpu_seconds'][way] for row in rows):.1f}"
                for way in ("ours", "logistic regression")
            ]
            rate = shown([row["rate"] for row in rows])
            lines.append(f"| {' | '.join([name, str(len(rows)), rate, *found, *times])} |")
    for name, rows in groups.items():
        if "top" in rows[0]:
            counts = ", ".join(f"{way} {count}" for way, count in rows[0]["top"].items())
            lines += [
                "",
                f"Of {rows[0]['known']} known label errors of the test set, among the {TOP} test labels",
            ]
            lines[-1] += f" of lowest quality ({name}): {counts}."
    lines += [
        "",
        "What accepting the suggestion of every flagged label does to the share of wrong labels:",
        "",
        "| examples, labels | n | wrong before | after | expected before | expected after | flagged "
        "| of them wrong | after, if as many were flagged as are estimated to be wrong "
        "| estimated noise rate | "
        "calibration error |",
        f"|---|{'---:|' * 10}",
    ]
    columns = ("rate", "after", "expected_before", "expected_after", "flagged", "precision", "after_all")
    for name, rows in groups.items():
        if "top" not in rows[0]:
            names = (*columns, "estimated_rate", "calibration_error")
            found = [shown([row[column] for row in rows]) for column in names]
            lines.append(f"| {' | '.join([name, str(len(rows)), *found])} |")
    lines += [
        "",
        "Calibration error: mean distance of the probability of a wrong label from the share of wrong "
        f"labels, in {BINS} groups of equal size.",
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
    for subject in subjects(options):
        content = hashlib.sha256(subject.given.tobytes() + np.ascontiguousarray(subject.features).tobytes())
        key = json.dumps([subject.name, subject.seed, content.hexdigest(), version])
        path = options.cells / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        if not path.exists():
            if options.only_done:
                continue
            options.cells.mkdir(parents=True, exist_ok=True)
            write_json(path, cell(subject, version is not None))
        rows.append(read_json(path))
        row = rows[-1]
        figures = row.get("top") or {
            way: round(100 * v, 1) for way, v in row.get("average_precision", {}).items()
        }
        print(subject.name, subject.seed, figures, f"{row['rate']:.3f} -> {row['after']:.3f}", flush=True)
    result: dict[str, Any] = {
        "data": options.name,
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "cleanlab": version or "not installed",
        "rows": rows,
    }
    keep(options.out, "features", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
