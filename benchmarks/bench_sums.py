"""Measure the check of the stored images at the start of a run: the checksums of 50,000 and a million images.

    python benchmarks/bench_sums.py

Writes sums-MACHINE.json and .md into results/benchmarks. The images have 3 x 32 x 32 bytes, random, in a file
that the system keeps in memory as far as it fits: from a disk, the check takes as long as reading does. With
the checksum itself, others of Python's library are timed on the same bytes in memory, one thread.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.sums import piece_sums

SHAPE = (3, 32, 32)
COUNTS = (50_000, 1_000_000)
SUMS: dict[str, Callable[[Any], Any]] = {
    "crc32": zlib.crc32,
    "adler32": zlib.adler32,
    "sha256": hashlib.sha256,
    "blake2b": hashlib.blake2b,
}


@dataclass
class Options(ResultFolder):
    """Choose where the results go."""

    rounds: int = 5
    """repetitions of each; the median is reported"""


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Return the median time of `work`."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main(options: Options) -> None:
    """Measure, and write the table."""
    block = np.random.default_rng(0).integers(0, 256, (10_000, *SHAPE), dtype=np.uint8)
    result: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "load": load(), "files": []}
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "images.npy")
            with path.open("wb") as file:
                for _ in range(count // len(block)):
                    file.write(block.data)
            taken = seconds(lambda path=path: piece_sums(path), options.rounds)
            result["files"].append({"images": count, "bytes": path.stat().st_size, "seconds": taken})
    flat = block.reshape(-1).data
    result["gb_per_second"] = {
        name: len(flat) / 1e9 / seconds(lambda work=work: work(flat), options.rounds)
        for name, work in SUMS.items()
    }
    rows = "\n".join(
        f"| {each['images']:,} | {each['bytes'] / 1e9:.2f} | {each['seconds']:.2f} |"
        for each in result["files"]
    )
    table = f"| images | GB | seconds |\n|---|---|---|\n{rows}\n\n| checksum | GB per second |\n|---|---|\n"
    table += "".join(f"| {name} | {speed:.1f} |\n" for name, speed in result["gb_per_second"].items())
    options.keep("sums", result, table)


if __name__ == "__main__":
    main(tyro.cli(Options))
