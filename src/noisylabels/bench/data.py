"""Decoding of small images from files, against Pillow alone; batches in random order from the cache."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from noisylabels.bench.timing import Ratio, compare
from noisylabels.data.augment import parse_augment
from noisylabels.data.decode import read_images, usable_cores
from noisylabels.data.loader import Batches

SIDE = 32


def decode_ratio(count: int = 4000, *, form: str = "png", rounds: int = 7) -> Ratio:
    """Return the time in which images are read from files, against Pillow's own.

    Pillow's own: as many threads, each opens, converts and copies one image after the other. Ours: the reader
    that fills the cache, which also looks at shapes and keeps the order. The files are made for it in a
    temporary folder, and are in the system's cache.

    Args:
        count: images of 32x32 pixels.
        form: "png" or "jpeg".
        rounds: see `bench.timing.compare`.
    """
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i % 100:02d}", f"{i:06d}.{form}") for i in range(count)]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)

        def ours() -> object:
            return read_images(paths, channels=3, image_size=(SIDE, SIDE))

        def plain(part: list[Path]) -> None:
            for path in part:
                with Image.open(path) as picture:
                    np.asarray(picture.convert("RGB"))

        workers = usable_cores()
        parts = [paths[i::workers] for i in range(workers)]

        def pillow() -> object:
            with ThreadPoolExecutor(workers) as pool:
                return list(pool.map(plain, parts))

        return compare(ours, pillow, rounds=rounds)


def batch_rate(count: int = 50_000, *, batch_size: int = 128, seconds: float = 3.0) -> float:
    """Return how many images a second come out of a memory-mapped file in random order, augmented.

    Args:
        count: images of 32x32 pixels in the file.
        batch_size: of the batches.
        seconds: how long to measure, after one epoch that fills the system's cache.
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
                given += len(batch.labels)
                if (passed := time.perf_counter() - began) >= seconds:
                    break
            epoch += 1
        del pixels, batches
        return given / passed
