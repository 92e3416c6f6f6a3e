"""Measure reading WebDataset shards relative to the package webdataset: random resized crops of photographs.

    pip install --no-deps --target wds webdataset braceexpand pyyaml
    python benchmarks/bench_shards.py --webdataset wds

Writes shards-MACHINE.json and .md into results/benchmarks. Both read the same shards into shuffled batches of
random resized crops at 224 pixels, flipped at random: ours by `Batches`, with threads; webdataset with its
decoder `pil`, the same crop by Pillow, and one process of PyTorch's `DataLoader` per core. Each runs in a
process of its own, once over all images after a first pass that is not timed; the two alternate.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image

from noisylabels.bench.machine import ResultFolder, load, processor, tree_bytes
from noisylabels.data.decode import usable_cores

SIDE, BATCH, PER_SHARD = 224, 64, 250
SIZES = ((500, 375), (375, 500), (500, 333), (640, 480))

_OURS = """
import noisylabels as nl
from noisylabels.data.augment import parse_augment
from noisylabels.data.loader import Batches
train, _ = nl.load(folder, image_size=224)
both = Batches(train.images, train.labels, batch_size=64, device="cpu", mean=(0.5,) * 3, std=(0.25,) * 3,
               augment=parse_augment("resized-crop:0.08+flip"), shuffle=True, seed=0)
def epoch(k):
    return sum(len(batch.target) for batch in both.epoch(k))
"""

_THEIRS = """
import glob, math, random, sys
sys.path.append(wds)
import numpy as np, torch, webdataset
from PIL import Image
shards = sorted(glob.glob(folder + "/train-*.tar"))
def crop(image):
    width, height = image.size
    area = random.uniform(0.08, 1) * width * height
    ratio = math.exp(random.uniform(-math.log(4 / 3), math.log(4 / 3)))
    w, h = min(math.sqrt(area * ratio), width), min(math.sqrt(area / ratio), height)
    x, y = random.uniform(0, width - w), random.uniform(0, height - h)
    image = image.resize((224, 224), Image.BILINEAR, (x, y, x + w, y + h), reducing_gap=2.0)
    pixels = torch.from_numpy(np.asarray(image)).permute(2, 0, 1)
    pixels = pixels.flip(2) if random.random() < 0.5 else pixels
    return (pixels.float() / 255 - 0.5) / 0.25
both = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(1000).decode("pil")
both = both.to_tuple("jpg", "cls").map_tuple(crop, int).batched(64)
def epoch(k):
    torch.set_num_threads(1)
    return sum(len(y) for _, y in torch.utils.data.DataLoader(both, batch_size=None, num_workers=cores))
"""

_TIMED = """
import os, time, warnings
warnings.simplefilter("ignore")
{setup}
epoch(0)
began, worked = time.perf_counter(), sum(os.times()[:4])
count = epoch(1)
print(time.perf_counter() - began, sum(os.times()[:4]) - worked, count)
"""


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    webdataset: Path | None = None
    """folder with the package webdataset, if it is not installed"""
    images: int = 2000
    """number of photographs, in shards of 250"""
    rounds: int = 3
    """repetitions of each"""


def write_shards(folder: Path, count: int) -> None:
    """Write images as hard to decode as photographs into train-000.tar, ... and one shard for testing."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (64, 24, 32, 3), dtype=np.uint8)
    names = [f"train-{k:03d}" for k in range(count // PER_SHARD)] + ["test-000"]
    for k, name in enumerate(names):
        with tarfile.open(folder / f"{name}.tar", "w") as tar:
            for i in range(PER_SHARD * k, PER_SHARD * (k + 1)):
                width, height = SIZES[i % len(SIZES)]
                smooth = Image.fromarray(coarse[i % 64]).resize((width, height), Image.Resampling.BICUBIC)
                grain = draw.integers(-12, 13, (height, width, 3), dtype=np.int16)
                pixels = (np.asarray(smooth).astype(np.int16) + grain).clip(0, 255).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "jpeg", quality=88)
                for ending, content in (("jpg", file.getvalue()), ("cls", str(i % 10).encode())):
                    header = tarfile.TarInfo(f"{i:06d}.{ending}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))


def timed(setup: str, folder: Path, cache: Path, options: Options) -> dict[str, float]:
    """Return seconds, CPU seconds, images and peak memory of one epoch in a process of its own."""
    known = f"folder, wds, cores = {str(folder)!r}, {str(options.webdataset)!r}, {usable_cores()}\n"
    here = {"NOISYLABELS_CACHE": os.fspath(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _TIMED.format(setup=known + setup)]
    peak = 0
    with subprocess.Popen(command, env=os.environ | here, stdout=subprocess.PIPE, text=True) as process:
        while True:
            try:
                process.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                peak = max(peak, tree_bytes(process.pid))
        seconds, worked, count = map(float, process.stdout.read().split())  # type: ignore[union-attr]
    return {"seconds": seconds, "cpu_seconds": worked, "images": count, "peak_bytes": peak}


def measure(options: Options) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="noisylabels-bench-") as place:
        shards, cache = Path(place, "shards"), Path(place, "cache")
        shards.mkdir()
        write_shards(shards, options.images)
        for _ in range(options.rounds):
            before = load()
            pair = {
                name: timed(setup, shards, cache, options)
                for name, setup in (("ours", _OURS), ("theirs", _THEIRS))
            }
            rows.append({**pair, "load": [before, load()]})
    return rows


def ratio(rows: list[dict[str, Any]], key: str) -> float:
    """Return the median ratio of our images per second, wall clock or CPU, to webdataset's."""
    rates = [[row[who]["images"] / row[who][key] for who in ("ours", "theirs")] for row in rows]
    return statistics.median(ours / theirs for ours, theirs in rates)


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    rows = result["rows"]
    lines = [
        f"Random resized crops at {SIDE} pixels from {result['images']:,} photographs in shards, on "
        f"{result['cores']} cores: {result['processor']}, torch {result['torch']}. Median of "
        f"{result['rounds']} repetitions, which alternate.",
        "",
        "| reader | images per second | milliseconds of CPU per image | peak memory |",
        "|---|---:|---:|---:|",
    ]
    for who, name in (("ours", "noisylabels, threads"), ("theirs", "webdataset, processes")):
        found = [row[who] for row in rows]
        median = {key: statistics.median(each[key] for each in found) for key in found[0]}
        lines.append(
            f"| {name} | {median['images'] / median['seconds']:,.0f} "
            f"| {1000 * median['cpu_seconds'] / median['images']:.2f} "
            f"| {median['peak_bytes'] / 2**20:,.0f} MiB |"
        )
    lines += [
        "",
        f"Rate relative to webdataset: {ratio(rows, 'seconds'):.2f} by the wall clock, "
        f"{ratio(rows, 'cpu_seconds'):.2f} by CPU time. Load of the machine before and after: "
        + "; ".join(f"{low:.1f}, {high:.1f}" for low, high in (row["load"] for row in rows))
        + ".",
    ]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    result = {
        "processor": processor(),
        "cores": usable_cores(),
        "torch": torch.__version__,
        "images": options.images,
        "rounds": options.rounds,
        "rows": measure(options),
    }
    options.keep("shards", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
