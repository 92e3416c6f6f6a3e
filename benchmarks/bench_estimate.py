"""Measure the error of the noise estimates where the noise is known.

    python benchmarks/bench_estimate.py
    python benchmarks/bench_estimate.py --cifar10 FOLDER --human cifar10n.parquet    # human annotations too

Each estimate is given the same labels. Three go by the same probabilities: out of fold, 5 folds, of
scikit-learn's logistic regression with its defaults on standardized columns, a quick model, no network. Two
go by the two nearest neighbors: `neighbors`, and `moments`, which is written out in this file: HOC (Zhu,
Song, Liu, "Clusterability as an alternative to anchor points", 2021), class shares and transition from the
counts of one, two and three neighboring labels, matched by gradient descent (Adam, 1,500 rounds) on all
examples. Features are the pixels of the digits, and gradient histograms (HOG) of photographs, brought to 64
principal components. Writes estimate-noise.json and .md into results/benchmarks.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import noisylabels as nl
from noisylabels.bench.machine import keep, load, processor
from noisylabels.noise.estimate import METHODS, Estimate, estimate_transition
from noisylabels.noise.neighbors import nearest

NOISES = (
    "none",
    *(f"{kind}:{r}" for kind in ("symmetric", "asymmetric", "instance") for r in (0.1, 0.2, 0.4)),
)
PEOPLE = ("aggre", "random1", "worse")
WAYS = (*METHODS, "moments")


@dataclass
class Options:
    """What to estimate on and where the results go."""

    seeds: int = 3
    """draws of each noise on the digits, seeds 0, 1, ..."""
    cifar10: Path | None = None
    """CIFAR-10 in a form that `noisylabels train --data` reads, for human annotations"""
    human: Path | None = None
    """CIFAR-10N as its authors publish it, or as Parquet"""
    examples: int = 5_000
    """photographs of a draw"""
    draws: int = 2
    """draws of so many photographs"""
    bootstrap: int = 40
    """samples of the interval of `neighbors` on the digits"""
    work: Path = Path("estimate-rows.jsonl")
    """what is measured already, from which the same command goes on"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""


def out_of_fold(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return probabilities of examples that the model was not trained on, (N, K)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probs = np.zeros((len(labels), classes))
    for fit, rest in StratifiedKFold(5, shuffle=True, random_state=seed).split(features, labels):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3))
        model.fit(features[fit], labels[fit])
        probs[rest[:, None], model.classes_[None, :]] = model.predict_proba(features[rest])
    return probs


def moments(given: np.ndarray, features: np.ndarray, classes: int, rounds: int = 1500) -> Estimate:
    """Return the estimate of HOC: moments up to the third order, matched by gradient descent."""
    near = nearest(features, 2)
    a, b, c = (
        torch.nn.functional.one_hot(torch.from_numpy(y), classes).double() for y in (given, *given[near].T)
    )
    n = len(given)
    first, second = a.mean(0), a.T @ b / n
    third = torch.einsum("ni,nj,nk->ijk", a, b, c) / n
    start = torch.full((classes, classes), -2.0, dtype=torch.float64)
    start[range(classes), range(classes)] = 2.0
    logits = start.requires_grad_()
    share = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits, share], lr=0.1)
    for _ in range(rounds):
        T, p = logits.softmax(1), share.softmax(0)
        loss = (
            (p @ T - first).square().sum()
            + (torch.einsum("m,mi,mj->ij", p, T, T) - second).square().sum()
            + (torch.einsum("m,mi,mj,mk->ijk", p, T, T, T) - third).square().sum()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Estimate("moments", logits.softmax(1).detach().numpy(), share.softmax(0).detach().numpy(), n)


def gradients(images: torch.Tensor) -> np.ndarray:
    """Return gradient histograms (Dalal and Triggs 2005), 9 directions, cells of 4 pixels, (N, D)."""
    gray = images.float().mean(1) / 255
    x, y = torch.zeros_like(gray), torch.zeros_like(gray)
    x[:, :, 1:-1] = gray[:, :, 2:] - gray[:, :, :-2]
    y[:, 1:-1] = gray[:, 2:] - gray[:, :-2]
    size, angle = torch.hypot(x, y), (torch.atan2(y, x) % torch.pi / torch.pi * 9).long().clamp(max=8)
    cells = torch.stack(
        [torch.nn.functional.avg_pool2d((size * (angle == k))[:, None], 4)[:, 0] for k in range(9)], -1
    )
    blocks = [
        cells[:, i : i + 2, j : j + 2].flatten(1)
        for i in range(cells.shape[1] - 1)
        for j in range(cells.shape[2] - 1)
    ]
    return torch.cat([(each / (each.sum(1, keepdim=True) + 1e-3)).sqrt() for each in blocks], 1).numpy()


def principal(features: np.ndarray, count: int) -> np.ndarray:
    """Return the first principal components."""
    centered = (features - features.mean(0)).astype(np.float64)
    _, vectors = np.linalg.eigh(centered.T @ centered)
    return (centered @ vectors[:, ::-1][:, :count]).astype(np.float32)


def cases(options: Options) -> Iterator[tuple[str, str, int, np.ndarray, nl.NoisyLabels]]:
    """Give data, noise, draw, features and labels."""
    train, _ = nl.load("digits")
    pixels = train.images.flatten(1).numpy().astype(np.float32)
    for noise in NOISES:
        for seed in range(options.seeds if noise != "none" else 1):
            yield "digits", noise, seed, pixels, nl.corrupt_set(train, noise, seed=seed)[1]
    if options.cifar10 is None or options.human is None:
        return
    train, _ = nl.load(options.cifar10)
    spec = f"human:{options.human}@"
    noises = {"none": "none"} | {f"CIFAR-10N {name}": spec + name for name in PEOPLE}
    noises |= {"symmetric:0.4": "symmetric:0.4"}
    whole = {name: nl.corrupt_set(train, noise, seed=0)[1] for name, noise in noises.items()}
    for draw in range(options.draws):
        at = np.sort(np.random.default_rng(draw).permutation(len(train))[: options.examples])
        features = principal(gradients(train.inputs[torch.from_numpy(at)]), 64)
        for noise, labels in whole.items():
            part = nl.NoisyLabels(
                labels.given[at], labels.true[at], spec=labels.spec, seed=0, num_classes=labels.num_classes
            )
            yield "cifar10-jpeg", noise, draw, features, part


def measure(features: np.ndarray, labels: nl.NoisyLabels, seed: int, options: Options) -> dict[str, Any]:
    """Return what each way says of some labels."""
    given, K = labels.given, labels.num_classes
    probs = out_of_fold(features, given, K, seed)
    found: dict[str, Any] = {"rate": labels.rate, "accuracy": float((probs.argmax(1) == labels.true).mean())}
    sizes = np.bincount(labels.true, minlength=K)
    counts = np.zeros((K, K))
    np.add.at(counts, (labels.true, given), 1)
    true = counts / sizes[:, None]
    for way in WAYS:
        began = time.perf_counter()
        estimate = (
            moments(given, features, K)
            if way == "moments"
            else estimate_transition(
                given,
                None if way == "neighbors" else probs,
                features if way == "neighbors" else None,
                method=way,
                num_classes=K,
            )
        )
        found[way] = {"seconds": time.perf_counter() - began, "rate": estimate.rate}
        found[way] |= {"error": abs(estimate.transition - true).mean().item(), "trust": estimate.trust}
    if len(given) < 2000 and options.bootstrap:
        how = {"interval": 0.95, "bootstrap": options.bootstrap, "seed": seed}
        found["interval"] = estimate_transition(given, features=features, num_classes=K, **how).rate_interval
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Return the errors as Markdown: of the rate and of the matrix, in points."""
    titles = {"confident_joint": "confident joint", "dual_t": "dual-T"}
    lines = [
        "| data | noise | n | noise rate | " + " | ".join(titles.get(way, way) for way in WAYS) + " | trust |"
    ]
    lines.append("|---|---|---|---|" + "---|" * (len(WAYS) + 1))
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["noise"]), []).append(row)

    def shown(values: list[float], form: Callable[[float], str]) -> str:
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return form(statistics.mean(values)) + spread

    for (data, noise), group in groups.items():
        cells = [data, f"`{noise}`" if ":" in noise else noise, str(len(group))]
        cells.append(f"{100 * statistics.mean(row['rate'] for row in group):.1f} %")
        for way in WAYS:
            off = [100 * (row[way]["rate"] - row["rate"]) for row in group]
            matrix = 100 * statistics.mean(row[way]["error"] for row in group)
            cells.append(f"{shown(off, '{:+.1f}'.format)}; {matrix:.1f}")
        cells.append(f"{statistics.mean(row['neighbors']['trust'] for row in group):.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    for data in dict.fromkeys(row["data"] for row in rows):
        part = [row for row in rows if row["data"] == data and row["noise"] != "none"]
        if not part:
            continue
        off = [
            f"{100 * statistics.mean(abs(row[way]['rate'] - row['rate']) for row in part):.1f}"
            for way in WAYS
        ]
        matrix = [f"{100 * statistics.mean(row[way]['error'] for row in part):.1f}" for way in WAYS]
        cells = [f"{a}; {b}" for a, b in zip(off, matrix, strict=True)]
        lines.append(
            f"| {data} | all with noise, mean absolute error | {len(part)} | | {' | '.join(cells)} | |"
        )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(1)
    lines = options.work.read_text().splitlines() if options.work.exists() else []
    rows = [json.loads(line) for line in lines]
    known = {(row["data"], row["noise"], row["seed"]) for row in rows}
    for data, noise, seed, features, labels in cases(options):
        if (data, noise, seed) in known:
            continue
        row = {"data": data, "noise": noise, "seed": seed, "examples": len(labels.given)}
        rows.append(row | measure(features, labels, seed, options))
        with options.work.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(data, noise, seed, {way: round(rows[-1][way]["rate"], 3) for way in WAYS}, flush=True)
    part = [row for row in rows if row["noise"] != "none" and row.get("interval")]
    held = sum(row["interval"][0] <= row["rate"] <= row["interval"][1] for row in part)
    result = {"processor": processor(), "load": load(), "intervals": len(part), "that hold the rate": held}
    keep(options.out, "estimate-noise", result | {"rows": rows}, table(rows))
    print(f"{held} of {len(part)} intervals of 95 % hold the realized rate")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
