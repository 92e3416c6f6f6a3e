"""Benchmarks of reading small images from files, against Pillow, and of batches from the cache."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from noisylabels.bench.machine import tree_bytes
from noisylabels.bench.timing import Ratio
from noisylabels.core.files import make_folder
from noisylabels.data.augment import parse_augment
from noisylabels.data.decode import usable_cores
from noisylabels.data.loader import Batches

SIDE = 32
CLASSES = 10
SAMPLE = 20_000  # the most files that Pillow reads per round

_LOAD = """
import os, sys, time, torch
from noisylabels.data.catalog import load
began, worked = time.perf_counter(), sum(os.times()[:4])
train, test = load(sys.argv[1])
seconds = time.perf_counter() - began
print(seconds, sum(os.times()[:4]) - worked, len(train) + len(test))
"""


_PILLOW = """
import json, sys, time
import numpy as np
from PIL import Image
print(flush=True)
paths = json.loads(sys.stdin.readline())
began, worked = time.perf_counter(), time.process_time()
for path in paths:
    with Image.open(path) as picture:
        np.asarray(picture.convert("RGB"))
print(json.dumps([time.perf_counter() - began, time.process_time() - worked]))
"""


@dataclass(frozen=True)
class Decoded:
    """The time and memory that reading a folder takes.

    Args:
        ratio: of our time to Pillow's on `cores` cores; below 1 is faster.
        processor_ratio: median ratio of CPU times, which depend less on other work on the machine.
        images: number of images.
        cores: number of cores that this process may use.
        peak_bytes: peak memory of our process and its children; 0 if unknown.
    """

    ratio: Ratio
    processor_ratio: float
    images: int
    cores: int
    peak_bytes: int


def write_images(folder: Path, count: int, form: str = "png", *, side: int = SIDE) -> None:
    """Write images that are as hard to decode as photographs to `folder`/<class>/<number>.

    Args:
        folder: created if it is missing.
        count: number of images, in 10 classes.
        form: "png" or "jpeg".
        side: in pixels.
    """
    draw = np.random.default_rng(0)
    blurred = [
        np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
        for small in draw.integers(0, 256, (256, side // 4, side // 4, 3), dtype=np.uint8)
    ]
    grain = draw.integers(-6, 7, (64, side, side, 3), dtype=np.int16)
    for k in range(CLASSES):
        make_folder(folder / f"{k}")
    for i in range(count):
        pixels = (blurred[i % 256] + grain[i // 256 % 64] + i // 16384 % 32).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i % CLASSES}" / f"{i:07d}.{form}")


def decode(folder: Path, *, rounds: int = 3) -> Decoded:
    """Time the first load of a folder of small images, against Pillow reading the same files.

    Ours is all of `load`: finding, reading, hashing and decoding the files, holding out a test part, and
    storing pixels and index, in a separate process with an empty cache (not counting the start of Python and
    torch). Pillow's is one process per core that this process may use, all at once, each of which opens,
    converts and copies to NumPy one image after the other. The files are in the system's cache; the two
    alternate.

    Args:
        folder: of class folders.
        rounds: number of rounds of each, 2 or more.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sample = [os.fspath(path) for path in paths[:: max(1, len(paths) // SAMPLE)]]
    cores = usable_cores()
    ours: list[float] = []
    theirs: list[float] = []
    worked: list[float] = []
    peak = 0
    _pillow(sample, cores)
    for _ in range(rounds):
        before = _pillow(sample, cores)
        with tempfile.TemporaryDirectory(prefix="noisylabels-bench-") as cache:
            seconds, busy, images, highest = _load(folder, Path(cache))
        after = _pillow(sample, cores)
        took, alone = (np.add(before, after) / 2 / len(sample) * images).tolist()
        ours.append(seconds)
        theirs.append(took)
        worked.append(busy / alone)
        peak = max(peak, highest)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    median = statistics.median
    found = Ratio(median(ratios), low, high, rounds, median(ours), median(theirs))
    return Decoded(found, median(worked), images, cores, peak)


def decode_ratio(count: int = 20_000, *, form: str = "png", rounds: int = 7) -> Ratio:
    """Return the ratio of `decode` for generated images in a temporary folder.

    Args:
        count: number of images, of 32x32 pixels.
        form: "png" or "jpeg".
        rounds: number of rounds of each.
    """
    with tempfile.TemporaryDirectory(prefix="noisylabels-bench-") as folder:
        write_images(Path(folder), count, form)
        return decode(Path(folder), rounds=rounds).ratio


def _pillow(paths: list[str], cores: int) -> tuple[float, float]:
    """Time one process per core that reads its share of the files with Pillow, all at once.

    Returns:
        The seconds until the last process is done, and their total CPU seconds, without the start of Python.
    """
    processes = [
        subprocess.Popen([sys.executable, "-c", _PILLOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(cores)
    ]
    shares = [json.dumps(paths[i::cores]).encode() + b"\n" for i in range(cores)]
    for process in processes:  # wait until all are ready
        assert process.stdout is not None
        process.stdout.readline()
    with ThreadPoolExecutor(cores) as pool:
        answers = list(pool.map(lambda process, share: process.communicate(share)[0], processes, shares))
    took = [json.loads(answer) for answer in answers]
    return max(seconds for seconds, _ in took), sum(worked for _, worked in took)


def _load(folder: Path, cache: Path) -> tuple[float, float, int, int]:
    """Load a folder in a separate process.

    Returns:
        The seconds, the total CPU seconds, the number of images, and the peak memory in bytes.
    """
    here = {"NOISYLABELS_CACHE": os.fspath(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _LOAD, os.fspath(folder)]
    peak = 0
    with subprocess.Popen(command, env=os.environ | here, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid))
            time.sleep(0.2)
        answer = process.stdout.read().split() if process.stdout else []
    return float(answer[0]), float(answer[1]), int(answer[2]), peak


def batch_rate(count: int = 50_000, *, batch_size: int = 128, seconds: float = 3.0) -> float:
    """Return the images per second from a memory-mapped file in random order, augmented.

    Args:
        count: number of images of 32x32 pixels in the file.
        batch_size: images per batch.
        seconds: duration of the measurement, after one epoch that fills the system's cache.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.npy")
        np.save(path, np.random.default_rng(0).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8))
        pixels = torch.from_numpy(np.load(path, mmap_mode="c"))
        batches = Batches(
            pixels,
            torch.zeros(count, dtype=torch.int64),
            batch_size=batch_size,
            device="cpu",
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            augment=parse_augment("crop:4+flip"),
            shuffle=True,
            seed=0,
            channels_last=True,
        )
        for _ in batches.epoch(0):
            pass
        given, epoch, began = 0, 1, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            for batch in batches.epoch(epoch):
                given += len(batch.target)
                if (passed := time.perf_counter() - began) >= seconds:
                    break
            epoch += 1
        del pixels, batches
        return given / passed
