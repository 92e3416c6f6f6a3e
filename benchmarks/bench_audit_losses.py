"""Measure whether losses made to find label errors help the audit: as its loss, and as its score.

    python benchmarks/bench_audit_losses.py FEATURES.npz

The features, labels and samples are those of bench_features.py. For every noise and seed, `cross_validate`
trains the audit's network with each loss. A cell is the average precision of finding the noisy labels: by
the whole audit (in which a ridge classifier, neighbors and a logistic regression take part), by the network
alone, and by the loss itself as the score of the network that the audit trains by default.

Writes audit-losses.json and .md into results/benchmarks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from bench_features import CLASSES, Subject, subjects
from bench_features import Options as Sample
from rich.progress import track
from sklearn.metrics import average_precision_score

import noisylabels as nl
from noisylabels.audit.assessment import assess
from noisylabels.audit.cross_validation import LOSS, cross_validate
from noisylabels.bench.machine import keep, load, processor
from noisylabels.data.features import feature_set
from noisylabels.noise.noise_rate import NETWORK
from noisylabels.study.statistics import summarize

TINY = 1e-12
WAYS = ("audit", "network", "score")


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    features: tyro.conf.Positional[Path]
    """.npz file with x_train and y_train"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    name: str = "cifar10-jpeg, EfficientNet-Lite0 at 160 px"
    """name of data and features in the results"""
    losses: tuple[str, ...] = ("ce", "blurry", "blurry(detach=1)", "piecewise_zero")
    """losses beside the audit's own"""
    noises: tuple[str, ...] = ("symmetric:0.2@exact", "asymmetric:0.3@cifar10,exact")
    """kinds of label noise"""
    seeds: int = 4
    """number of seeds, from 1, each for the sample, noise, folds, weights and order"""
    images: int = 2500
    """size of the sample of the images, drawn per seed"""


def cell(subject: Subject, losses: tuple[str, ...]) -> dict[str, Any]:
    """Return the average precision of each loss in each role, for one noise and seed."""
    given, wrong = subject.given, subject.given != subject.true
    data = replace(feature_set(subject.features, given, CLASSES), embedding={"name": "benchmark"})

    def precision(right: np.ndarray) -> float:
        return float(average_precision_score(wrong, -right))

    found: dict[str, dict[str, float]] = {}
    for loss in (LOSS, *losses):
        fold = cross_validate(data, loss=loss, seed=subject.seed, device="cpu")
        alone = assess(given, fold.network, fold.seen, NETWORK).posterior.right
        found[loss] = {"audit": precision(fold.score), "network": precision(alone)}
        if loss == LOSS:
            log_p = torch.from_numpy(np.log(np.maximum(fold.network, TINY)))
        if loss in losses:
            value = nl.loss(loss, reduction="none")(log_p, torch.from_numpy(given))
            found[loss]["score"] = precision(-value.numpy())
    return {"noise": subject.name, "seed": subject.seed, "rate": float(wrong.mean()), "losses": found}


def table(rows: list[dict[str, Any]], options: Options, about: str) -> str:
    """Return the measurements as Markdown."""
    lines = [f"Average precision in per cent, {about}.", ""]
    head = ["loss", *(f"{way}, minus {LOSS if way != 'score' else 'ce'}" for way in WAYS)]
    for noise in dict.fromkeys(row["noise"] for row in rows):
        some = [row["losses"] for row in rows if row["noise"] == noise]
        rate = np.mean([row["rate"] for row in rows if row["noise"] == noise])
        lines += [
            f"**{noise}** (noise rate {100 * rate:.1f} %)",
            "",
            f"| {' | '.join(head)} |",
            "|---" * 4 + "|",
        ]
        for loss in (LOSS, *options.losses):
            cells = [f"`{loss}`"]
            for way in WAYS:
                base = "ce" if way == "score" else LOSS
                values = [100 * each[loss].get(way, np.nan) for each in some]
                if np.isnan(values).any() or base not in some[0]:
                    cells.append("")
                    continue
                text = f"{summarize(values).mean:.1f}"
                if loss != base:
                    apart = summarize(
                        [v - 100 * each[base][way] for v, each in zip(values, some, strict=True)]
                    )
                    text += f", {apart.mean:+.1f}"
                    text += f" ({apart.low:+.1f} to {apart.high:+.1f})" if apart.low is not None else ""
                cells.append(text.replace("-", "−"))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main(options: Options) -> None:
    """Measure and write the results."""
    torch.set_num_threads(1)
    began, before = time.process_time(), load()
    sample = Sample(options.features, noises=options.noises, seeds=options.seeds, images=options.images)
    rows = [cell(subject, options.losses) for subject in track(list(subjects(sample)), "audits")]
    minutes = (time.process_time() - began) / 60
    about = (
        f"{options.name}: {options.images:,} images, mean over {options.seeds} seeds, paired difference with "
        f"95 % interval. {processor()}, 1 thread, {minutes:.0f} CPU minutes; load {before:.1f} before, "
        f"{load():.1f} after"
    )
    setting = {"name": options.name, "images": options.images, "seeds": options.seeds, "default": LOSS}
    keep(options.out, "audit-losses", {"setting": setting, "rows": rows}, table(rows, options, about) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
