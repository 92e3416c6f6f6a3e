"""Measure the audit of given probabilities on real label errors of test sets, beside cleanlab.

    python benchmarks/bench_label_errors.py FOLDER    # and pip install cleanlab==2.9.0 for its rows

The folder holds, of github.com/cleanlab/label-errors, NAME.npz with the published test labels and out-of-fold
probabilities of a model, and NAME-verdicts.parquet with the verdicts of five people on the labels that looked
wrong. A label is an error if fewer than three of the five confirmed it. People saw only what the authors'
method had selected, so errors beyond them are unknown: a label without verdicts counts as neither found nor
missed, and precision is of the labels with verdicts. Both sides get the same labels and probabilities.
Writes label-errors.json and .md into results/benchmarks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tyro
from sklearn.metrics import average_precision_score

import noisylabels as nl
from noisylabels.bench.machine import keep, processor

NAMES = ("cifar10", "mnist", "20news")
CONFIRMED = 3
"""Of five people, those who must have confirmed a label that is right."""
Ranked = tuple[np.ndarray, np.ndarray]


@dataclass
class Options:
    """Choose the data and where the results go."""

    folder: tyro.conf.Positional[Path]
    """folder of label-errors"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""


def ours(labels: np.ndarray, probs: np.ndarray) -> Ranked:
    """Return label quality and flags of an audit."""
    found = nl.audit_labels(labels=labels, probs=probs)
    return found.score, found.flagged


def rivals() -> dict[str, Callable[[np.ndarray, np.ndarray], Ranked]]:
    """Return cleanlab's ways; none if it is not installed."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        print("cleanlab is not installed; for its rows: pip install cleanlab==2.9.0")
        return {}

    def way(score: str, filter_by: str) -> Callable[[np.ndarray, np.ndarray], Ranked]:
        return lambda labels, probs: (
            get_label_quality_scores(labels, probs, method=score),
            find_label_issues(labels, probs, filter_by=filter_by, n_jobs=1),
        )

    return {
        "cleanlab, self confidence, prune by noise rate": way("self_confidence", "prune_by_noise_rate"),
        "cleanlab, normalized margin, both": way("normalized_margin", "both"),
    }


def measured(found: Ranked, judged: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """Return how well errors are ranked and flagged.

    Args:
        found: label quality (N,) and flags (N,).
        judged: positions of the labels with verdicts.
        wrong: whether these are errors.
    """
    score, flagged = found
    order = np.argsort(score, kind="stable")
    errors = np.zeros(len(score), bool)
    errors[judged[wrong]] = True
    return {
        "average_precision": float(average_precision_score(wrong, -score[judged])),
        "average_precision_all": float(average_precision_score(errors, -score)),
        "first": [int(errors[order[:k]].sum()) for k in (50, 100, 200)],
        "flagged": int(flagged.sum()),
        "flagged_judged": int(flagged[judged].sum()),
        "flagged_wrong": int(flagged[judged][wrong].sum()),
    }


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    lines = [
        f"{result['processor']}, {result['cores']} cores. Average precision in per cent: among the labels "
        "with verdicts, and among all, where a label without verdicts counts as right.",
        "",
        "| test set | labels | with verdicts | errors | method | average precision | among all "
        "| errors in the first 50, 100, 200 | flagged | of them with verdicts | errors |",
        "|---|---:|---:|---:|---|---:|---:|---|---:|---:|---:|",
    ]
    for name, one in result["sets"].items():
        for method, made in one["methods"].items():
            cells = [name, f"{one['labels']:,}", str(one["judged"]), str(one["errors"]), method]
            cells += [f"{100 * made[key]:.1f}" for key in ("average_precision", "average_precision_all")]
            cells += [", ".join(map(str, made["first"]))]
            cells += [str(made[key]) for key in ("flagged", "flagged_judged", "flagged_wrong")]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| test set | estimated noise rate | 95 % interval | errors known |", "|---|---:|---|---:|"]
    for name, one in result["sets"].items():
        rate = one["rate"]
        ends = f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f}"
        known = 100 * one["errors"] / one["labels"]
        lines.append(f"| {name} | {100 * rate['estimate']:.1f} | {ends} | at least {known:.1f} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    result: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "sets": {}}
    for name in NAMES:
        with np.load(options.folder / f"{name}.npz") as file:
            labels, probs = file["labels"], file["probs"].astype(np.float64)
        probs /= probs.sum(axis=1, keepdims=True)
        rows = pq.read_table(options.folder / f"{name}-verdicts.parquet").to_pydict()
        judged, wrong = np.array(rows["index"]), np.array(rows["votes_given"]) < CONFIRMED
        methods = {"noisylabels": ours, **rivals()}
        result["sets"][name] = {
            "labels": len(labels),
            "judged": len(judged),
            "errors": int(wrong.sum()),
            "rate": nl.audit_labels(labels=labels, probs=probs).summary["rate"],
            "methods": {word: measured(way(labels, probs), judged, wrong) for word, way in methods.items()},
        }
    keep(options.out, "label-errors", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
