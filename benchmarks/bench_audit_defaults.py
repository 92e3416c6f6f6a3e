"""Compare settings of the audit by average precision per CPU second, on photographs with human labels.

    python benchmarks/bench_audit_defaults.py --cifar10 FOLDER --human cifar10n.parquet

One row is one audit of the draw of photographs that bench_audit.py uses: `default`, and settings that differ
from it in one or two things. `features` audits an encoder's features (`--features FILE.npz`, as `noisylabels
embed` writes them); its seconds leave out the embedding. A setting is on the frontier if no other one, of
pixels or of features alike, has a higher mean average precision in less time. Repeat the command to resume.
Writes audit-defaults.json and .md into results/benchmarks.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from bench_audit import Options as AuditOptions
from bench_audit import subjects
from sklearn.metrics import average_precision_score

from noisylabels.audit.cross_validation import AUTO_WIDTH, FOLDS, RECIPE, cross_validate
from noisylabels.bench.machine import keep, load, processor
from noisylabels.core.rng import uniforms
from noisylabels.data.features import feature_set

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "10 epochs": {"epochs": 10},
    "40 epochs": {"epochs": 40},
    "2 folds": {"folds": 2},
    "8 folds": {"folds": 8},
    "full width": {"width": 1.0},
    "a quarter of the width": {"width": 0.25},
    "cnn8": {"model": "cnn8"},
    "features": {},
    "features, 10 epochs": {"epochs": 10},
    "features, 2 folds": {"folds": 2},
    "features, 8 folds": {"folds": 8},
}


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    cifar10: Path
    """CIFAR-10 in a form that `noisylabels train --data` reads"""
    human: Path
    """CIFAR-10N as its authors publish it, or as Parquet"""
    features: Path | None = None
    """file with x_train, an encoder's features of the training images, in order"""
    columns: tuple[str, ...] = ("worse", "aggre")
    """label sets of the human annotations"""
    settings: tuple[str, ...] = tuple(SETTINGS)
    """settings to compare"""
    seeds: int = 3
    """number of seeds, from 1"""
    images: int = 2500
    """photographs per draw"""
    rows: Path = Path("runs/audit-defaults.jsonl")
    """file of the finished audits"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""


def measure(options: Options) -> list[dict[str, Any]]:
    """Return one row per audit, from the file where it has them."""
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    rows = [json.loads(line) for line in lines]
    there = {(row["labels"], row["seed"], row["setting"]) for row in rows}
    asked = AuditOptions(
        noises=(), seeds=options.seeds, cifar10=options.cifar10, human=options.human, columns=options.columns
    )
    asked.images = options.images
    drawn = sorted(subjects(asked), key=lambda subject: subject.seed)
    embedded = None
    if options.features is not None:
        with np.load(options.features) as arrays:
            embedded = arrays["x_train"]
    for subject in drawn:
        for setting in options.settings:
            data: Any = subject.data
            if (subject.name, subject.seed, setting) in there:
                continue
            if setting.startswith("features"):
                if embedded is None:
                    continue
                at = np.argsort(uniforms(len(embedded), subject.seed, "part of the benchmark"))
                seen = torch.from_numpy(embedded[np.sort(at[: options.images])].astype(np.float32))
                data = feature_set(seen, subject.data.labels, subject.data.class_names)
                data = dataclasses.replace(data, embedding={"name": "benchmark"})
            began = time.process_time()
            found = cross_validate(
                data, labels=subject.given, seed=subject.seed, device="cpu", **SETTINGS[setting]
            )
            row = {"labels": subject.name, "seed": subject.seed, "setting": setting}
            row |= {"cpu_seconds": time.process_time() - began, "load": load(), "rate": subject.wrong.mean()}
            row["average_precision"] = float(average_precision_score(subject.wrong, -found.score))
            rows.append(row)
            with options.rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(*row.values(), flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = [
        f"Average precision in per cent, mean ± standard deviation over n seeds. The default from pixels: "
        f"small-cnn at {AUTO_WIDTH:g} of its width, {RECIPE['epochs']} epochs at most, {FOLDS} folds.",
    ]
    for labels in dict.fromkeys(row["labels"] for row in rows):
        mine = [row for row in rows if row["labels"] == labels]
        cells = {
            setting: [row for row in mine if row["setting"] == setting]
            for setting in dict.fromkeys(row["setting"] for row in mine)
        }
        means = {
            key: [
                float(np.mean([row[name] for row in found])) for name in ("average_precision", "cpu_seconds")
            ]
            for key, found in cells.items()
        }
        lines += ["", f"{labels}:", "", "| setting | n | average precision | CPU seconds | on the frontier |"]
        lines.append("|---|---:|---:|---:|---|")
        for key, found in cells.items():
            values = [100 * row["average_precision"] for row in found]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            score, seconds = means[key]
            beaten = any(
                mean > score and less < seconds
                for other, (mean, less) in means.items()
                if other.startswith("features") == key.startswith("features")
            )
            last = "" if beaten else "yes"
            lines.append(f"| {key} | {len(found)} | {100 * score:.1f}{spread} | {seconds:.0f} | {last} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(1)
    rows = measure(options)
    result = {"processor": processor(), "torch": torch.__version__, "load": load(), "rows": rows}
    keep(options.out, "audit-defaults", result, table(rows))


if __name__ == "__main__":
    main(tyro.cli(Options))
