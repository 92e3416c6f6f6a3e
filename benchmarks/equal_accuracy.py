"""Compare the accuracy of this library's loop with that of a plain PyTorch loop, paired by seed.

    python benchmarks/equal_accuracy.py
    python benchmarks/equal_accuracy.py --data FOLDER --examples 4000 --epochs 8 --width 0.25 --lr 0.05

Ours uses bfloat16, channels-last, augmentation per batch and the losses' fast path. The plain loop in this
file uses float32, a `Dataset` and a ``DataLoader`` with augmentation per image, the losses as their papers
write them (softmax, clamp, one-hot), and ``torch.optim.SGD``. Both get the same noisy labels, initial weights
and recipe; each loop shuffles on its own. Writes equal-accuracy-DATA.json and .md into results/benchmarks.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  its usual name
from torch.utils.data import DataLoader, Dataset

import noisylabels as nl
from noisylabels.bench.machine import keep, processor
from noisylabels.core.rng import derive_seed
from noisylabels.data.catalog import default_augment
from noisylabels.data.images import subset


@dataclass
class Options:
    """Choose what to train and where the results go."""

    data: str = "digits"
    """data set, as for `noisylabels train --data`"""
    noise: str = "symmetric:0.4"
    """noise of the training labels"""
    losses: tuple[str, ...] = ("ce", "nce+rce")
    """losses, from those that this file implements"""
    seeds: int = 3
    """number of seeds, from 1"""
    epochs: int = 30
    """passes over the training set"""
    lr: float = 0.05
    """peak learning rate; cosine"""
    examples: int = 0
    """size of a random training subset, and half as many to test on; 0 for all"""
    width: float = 1.0
    """width of the network: small-cnn for images below 16x16, else cnn8"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""


def nce_and_rce(logits: Tensor, target: Tensor) -> Tensor:
    """Return normalized (Ma et al. 2020) plus reverse cross entropy (Wang et al. 2019, log 0 = -4)."""
    one_hot = F.one_hot(target, logits.shape[1]).float()
    log_p = F.log_softmax(logits, dim=1)
    nce = -(one_hot * log_p).sum(1) / -log_p.sum(1)
    p = F.softmax(logits, dim=1).clamp(1e-7, 1.0)
    rce = -(p * one_hot.clamp(math.exp(-4.0), 1.0).log()).sum(1)
    return (nce + rce).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": F.cross_entropy, "nce+rce": nce_and_rce}


class Plain(Dataset[tuple[Tensor, int]]):
    """Images one by one: cropped and flipped if `augment`, scaled, standardized."""

    def __init__(self, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor, augment: bool) -> None:
        self.images, self.labels, self.mean, self.std = images, labels.tolist(), mean, std
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = self.images[i]
        if self.augment:
            height, width = image.shape[1:]
            top, left = torch.randint(0, 9, (2,)).tolist()
            image = F.pad(image, (4, 4, 4, 4))[:, top : top + height, left : left + width]
            if torch.rand(()) < 0.5:
                image = image.flip(2)
        return (image.float() / 255 - self.mean) / self.std, self.labels[i]


def train_plainly(
    model: nn.Module,
    train: nl.ImageSet,
    given: Tensor,
    test: nl.ImageSet,
    loss: Callable[[Tensor, Tensor], Tensor],
    options: Options,
    augment: bool,
) -> float:
    """Train in float32, and return the accuracy on the test set."""
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in train.mean_std())
    loader = DataLoader(Plain(train.images, given, mean, std, augment), batch_size=128, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)
    for _ in range(options.epochs):
        model.train()
        for images, target in loader:
            optimizer.zero_grad()
            loss(model(images), target).backward()
            optimizer.step()
        scheduler.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for images, target in DataLoader(Plain(test.images, test.labels, mean, std, False), batch_size=500):
            right += int((model(images).argmax(1) == target).sum())
    return right / len(test)


def pair(name: str, seed: int, train: nl.ImageSet, test: nl.ImageSet, options: Options) -> dict[str, float]:
    """Return accuracy and seconds of both loops for a loss and a seed."""
    labels = nl.corrupt(train.labels, options.noise, class_names=train.class_names, seed=seed)
    small = min(train.images.shape[2:]) < 16
    shape = {"channels": train.images.shape[1], "image_size": tuple(train.images.shape[2:])}
    shape |= {"num_classes": train.num_classes, "width": options.width, "seed": seed}
    augment = default_augment(options.data, train)
    recipe = {"epochs": options.epochs, "lr": options.lr, "seed": seed, "device": "cpu", "augment": augment}
    found: dict[str, float] = {}

    model = nl.build_model("small-cnn" if small else "cnn8", **shape)
    began = time.perf_counter()
    history = nl.fit(model, train, test, nl.loss(name), labels=labels, precision="bfloat16", **recipe)
    found["ours"], found["ours_seconds"] = (
        history.final["test_accuracy"],
        time.perf_counter() - began,
    )

    model = nl.build_model("small-cnn" if small else "cnn8", **shape)
    torch.manual_seed(derive_seed(seed, "plain"))
    began = time.perf_counter()
    given = torch.from_numpy(labels.given)
    found["plain"] = train_plainly(model, train, given, test, LOSSES[name], options, augment != "none")
    found["plain_seconds"] = time.perf_counter() - began
    return found


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return mean and standard deviation of both, their difference and its standard error."""
    ours, plain = ([row[who] for row in rows] for who in ("ours", "plain"))
    spread = {who: statistics.stdev(each) for who, each in (("ours", ours), ("plain", plain))}
    return {
        "ours": statistics.mean(ours),
        "plain": statistics.mean(plain),
        "ours_std": spread["ours"],
        "plain_std": spread["plain"],
        "difference": statistics.mean(ours) - statistics.mean(plain),
        "standard_error": math.sqrt((spread["ours"] ** 2 + spread["plain"] ** 2) / len(rows)),
        "time": statistics.median(row["ours_seconds"] / row["plain_seconds"] for row in rows),
    }


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what came out."""
    options, n = result["options"], result["options"]["seeds"]
    lines = [
        f"{result['data']}, {result['examples'][0]:,} images to train on and {result['examples'][1]:,} to "
        f"test on, {options['noise']}, {options['epochs']} epochs, {n} seeds: test accuracy in per cent, "
        "mean ± standard deviation; time: ours divided by the plain loop's, evaluation included.",
        "",
        "| loss | ours (bfloat16) | plain (float32) | difference (standard error) | time |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, rows in result["rows"].items():
        s = {key: 100 * value for key, value in summary(rows).items()}
        lines.append(
            f"| {name} | {s['ours']:.2f} ± {s['ours_std']:.2f} | {s['plain']:.2f} ± {s['plain_std']:.2f} | "
            f"{s['difference']:+.2f} ({s['standard_error']:.2f}) | {s['time'] / 100:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    if options.seeds < 2:
        raise SystemExit(f"--seeds is {options.seeds}, expected 2 or more: one seed has no spread")
    if unknown := sorted(set(options.losses) - set(LOSSES)):
        raise SystemExit(f"the losses {unknown} are not implemented in this file; known: {', '.join(LOSSES)}")
    train, test = nl.load(options.data)
    if options.examples:
        draw = torch.Generator().manual_seed(0)
        train, test = (
            subset(part, torch.randperm(len(part), generator=draw)[:count].numpy())
            for part, count in ((train, options.examples), (test, options.examples // 2))
        )
    rows: dict[str, list[dict[str, float]]] = {}
    for name in options.losses:
        logits, target = torch.randn(64, train.num_classes), torch.randint(train.num_classes, (64,))
        torch.testing.assert_close(nl.loss(name)(logits, target), LOSSES[name](logits, target))
        for seed in range(1, options.seeds + 1):
            rows.setdefault(name, []).append(pair(name, seed, train, test, options))
            print(name, seed, rows[name][-1], flush=True)
    result: dict[str, Any] = {
        "data": train.name,
        "examples": [len(train), len(test)],
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "options": {k: v for k, v in vars(options).items() if k not in ("data", "out")},
        "rows": rows,
        "summary": {name: summary(each) for name, each in rows.items()},
    }
    keep(options.out, f"equal-accuracy-{train.name}", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
