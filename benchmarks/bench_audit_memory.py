"""Measure the memory of audits of many examples and classes, written into a folder.

    python benchmarks/bench_audit_memory.py
    python benchmarks/bench_audit_memory.py --given 1000000

Writes memory-MACHINE.json and .md into results/benchmarks. Each audit runs in a process of its own: of
probabilities in a memory-mapped float32 file, and of features of a frozen encoder, with a linear model, ridge
and neighbor votes. Memory is the peak of anonymous memory (RssAnon) above that before the audit; pages of
mapped files are not part of it.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from bench_given_probs import watched, write_mapped

import noisylabels as nl
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.data.features import FeatureSet, feature_set


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    given: tuple[int, ...] = (50_000, 100_000)
    """examples with given probabilities"""
    given_classes: int = 1000
    """their classes"""
    features: tuple[int, ...] = (35_000,)
    """examples with features"""
    features_classes: int = 500
    """their classes"""
    width: int = 256
    """their features"""
    one: str | None = None
    """measure this audit alone, as kind:examples, and print it (what the others start)"""


def embedded(n: int, K: int, width: int) -> FeatureSet:
    """Return features of K noisy clusters, a tenth of the labels wrong."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, K, n)
    X = draw.normal(size=(K, width)).astype(np.float32)[true]
    X += draw.standard_normal(X.shape, dtype=np.float32)
    given = np.where(draw.random(n) < 0.1, draw.integers(0, K, n), true)
    made = feature_set(X, given, [f"class {k}" for k in range(K)])
    return dataclasses.replace(made, embedding={"name": "benchmark"})


def measure_one(options: Options) -> dict[str, float]:
    """Return seconds and bytes of one audit, and of reading it back."""
    kind, count = str(options.one).split(":")
    nl.audit_labels(labels=[0, 1, 1], probs=[[0.5, 0.5]] * 3)  # imports
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        how: dict[str, Any] = {"out": Path(name) / "audit"}
        if kind == "given":
            write_mapped(Path(name), int(count), options.given_classes)
            how |= {"labels": np.load(Path(name) / "labels.npy"), "probs": Path(name) / "probs.npy"}
        else:
            how["data"] = embedded(int(count), options.features_classes, options.width)
            how |= {"epochs": 1, "folds": 2, "model": "linear"}
        with watched(found, "audit"):
            nl.audit_labels(**how)
        with watched(found, "read"):
            nl.Audit.load(how["out"])
    return found


def measure(options: Options) -> list[dict[str, Any]]:
    rows = []
    for kind in ("given", "features"):
        classes = getattr(options, f"{kind}_classes")
        for count in getattr(options, kind):
            flags = [
                "--one",
                f"{kind}:{count}",
                f"--{kind}-classes",
                str(classes),
                "--width",
                str(options.width),
            ]
            done = subprocess.run(
                [sys.executable, __file__, *flags], check=True, stdout=subprocess.PIPE, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append({"kind": kind, "examples": count, "classes": classes, **found})
    return rows


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    before, after = result["load"]
    lines = [
        "Peak of anonymous memory above that before, in MiB, of an audit into a folder, and of `Audit.load`. "
        f"{result['processor']}, {result['cores']} cores, load {before:.1f} before, {after:.1f} after.",
        "",
        "| audit of | examples x classes | one (N, K) of float32 | audit | seconds | reading | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    names = {"given": "probabilities in a mapped file", "features": f"{result['width']} features"}
    for row in result["rows"]:
        size = 4 * row["examples"] * row["classes"] / 2**20
        audit, read = (row[f"{name}_bytes"] / 2**20 for name in ("audit", "read"))
        lines.append(
            f"| {names[row['kind']]} | {row['examples']:,} x {row['classes']:,} | {size:,.0f} | "
            f"{audit:,.0f} | {row['audit_seconds']:.0f} | {read:,.0f} | {row['read_seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    if options.one is not None:
        print(json.dumps(measure_one(options)))
        return
    from noisylabels.data.decode import usable_cores

    before = load()
    rows = measure(options)
    result: dict[str, Any] = {"processor": processor(), "cores": usable_cores()}
    result |= {"width": options.width, "rows": rows}
    options.keep(
        "audit-memory", result | {"load": [before, load()]}, table(result | {"load": [before, load()]})
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
