"""Measure how many planted copies of photographs the audit finds as near-duplicates, and what else.

    python benchmarks/bench_duplicates.py --cifar10 FOLDER

Copies of photographs that are drawn per seed join a fixed sample of CIFAR-10's training images: crops of 80
to 90 % of the area, mirrored, mirrored and cropped, recompressed as JPEG of quality 40, brighter, and rotated
by a right angle. They are searched in pixels alone, and also in the feature space of efficientnet-lite0. A
copy is found if its group holds its original. Groups of two or more photographs of the sample itself are
counted too: CIFAR-10 has near-duplicates of its own, so these are an upper bound of the false alarms.

Writes duplicates.json and .md into results/benchmarks.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image

import noisylabels as nl
from noisylabels.audit.duplicates import Group
from noisylabels.audit.set_duplicates import duplicates_in
from noisylabels.bench.machine import keep, processor
from noisylabels.core.rng import uniforms
from noisylabels.data.images import ImageSet, image_set, subset
from noisylabels.encoders.embedding import embed_sets
from noisylabels.study.statistics import summarize

ENCODER = "efficientnet-lite0"
PIXELS, FEATURES = "pixels", "pixels and features"
Pixels = np.ndarray  # uint8 (H, W, 3)


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    cifar10: Path
    """CIFAR-10 in a form that `noisylabels train --data` reads"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    images: int = 5000
    """size of the sample of training images"""
    copies: int = 50
    """copies of each kind"""
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3, 4, 5])
    """seeds of the photographs that are copied, and of the crops"""


def crop(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return 80 to 90 % of an image's area, resized to its size."""
    height, width = image.shape[:2]
    share = np.sqrt(rng.uniform(0.8, 0.9))
    tall, wide = round(height * share), round(width * share)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    part = Image.fromarray(image[top : top + tall, left : left + wide])
    return np.array(part.resize((width, height), Image.Resampling.BICUBIC))


def compressed(image: Pixels, rng: np.random.Generator) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=40)
    return np.array(Image.open(buffer))


KINDS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "crop": crop,
    "mirrored": lambda image, rng: image[:, ::-1],
    "mirrored crop": lambda image, rng: crop(np.ascontiguousarray(image[:, ::-1]), rng),
    "JPEG 40": compressed,
    "brighter": lambda image, rng: np.clip(image * 1.25 + 10, 0, 255).astype(np.uint8),
    "rotated": lambda image, rng: np.rot90(image, rng.integers(1, 4)),
}


def planted(sample: ImageSet, seed: int, copies: int) -> tuple[ImageSet, np.ndarray]:
    """Return the sample followed by copies, kind by kind, and the positions of their originals."""
    rng = np.random.default_rng(seed)
    originals = rng.permutation(len(sample))[: copies * len(KINDS)]
    images = sample.images.numpy()
    made = [
        build(images[i].transpose(1, 2, 0), rng).transpose(2, 0, 1)
        for build, some in zip(KINDS.values(), originals.reshape(len(KINDS), copies), strict=True)
        for i in some
    ]
    pixels = torch.from_numpy(np.concatenate([images, np.stack(made)]))
    labels = torch.cat([sample.labels, sample.labels[torch.from_numpy(originals)]])
    return image_set(pixels, labels, sample.class_names, name="planted"), originals


def judged(groups: list[Group], originals: np.ndarray, n: int, copies: int) -> dict[str, float]:
    """Return the share of each kind that is found, and the groups of several photographs of the sample."""
    home = {i: number for number, group in enumerate(groups) for i in group.members}
    hits = np.array([home.get(int(i), -1) == home.get(n + k, -2) for k, i in enumerate(originals)])
    found = dict(zip(KINDS, hits.reshape(-1, copies).mean(1).tolist(), strict=True))
    return found | {"others": sum(sum(i < n for i in group.members) > 1 for group in groups)}


def measure(options: Options) -> list[dict[str, Any]]:
    """Return one row per seed and way of searching."""
    train, _ = nl.load(str(options.cifar10))
    chosen = np.sort(np.argsort(uniforms(len(train), 0, "duplicates"))[: options.images])
    sample = subset(train, chosen)
    rows = []
    for seed in options.seeds:
        data, originals = planted(sample, seed, options.copies)
        (embedded,) = embed_sets([data], ENCODER)
        for way, seen in ((PIXELS, None), (FEATURES, embedded)):
            began = time.process_time()
            groups = duplicates_in(data, seen)
            row: dict[str, Any] = {"seed": seed, "way": way, "cpu_seconds": time.process_time() - began}
            rows.append(row | judged(groups, originals, len(sample), options.copies))
            print(rows[-1], flush=True)
    return rows


def table(result: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows: list[dict[str, Any]] = result["rows"]
    lines = [
        "Share of planted copies found, per cent, mean ± standard deviation over "
        f"{len(result['seeds'])} seeds of {result['copies']} copies of each kind among "
        f"{result['images']:,} images of {result['name']}; other groups: groups that hold several "
        "photographs of the sample, which has near-duplicates of its own. "
        f"{result['processor']}, one thread, torch {result['torch']}; seconds are CPU time without "
        "embedding.",
        "",
        f"| searched in | {' | '.join(KINDS)} | other groups | seconds |",
        "|---|" + "---:|" * (len(KINDS) + 2),
    ]
    for way in (PIXELS, FEATURES):
        some = [row for row in rows if row["way"] == way]
        cells = [summarize([100 * row[kind] for row in some]) for kind in KINDS]
        texts = [f"{one.mean:.0f} ± {one.deviation or 0.0:.0f}" for one in cells]
        texts.append(f"{np.mean([row['others'] for row in some]):.1f}")
        texts.append(f"{np.mean([row['cpu_seconds'] for row in some]):.1f}")
        lines.append(f"| {way} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(1)
    rows = measure(options)
    result = {
        "processor": processor(),
        "torch": torch.__version__,
        "name": options.cifar10.name,
        "images": options.images,
        "copies": options.copies,
        "seeds": options.seeds,
        "rows": rows,
    }
    keep(options.out, "duplicates", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
