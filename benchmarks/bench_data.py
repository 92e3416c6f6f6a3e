"""Measure the first load of a folder of images relative to Pillow's decoding.

    python benchmarks/bench_data.py
    python benchmarks/bench_data.py --files 2000 --side 256 --forms jpeg
    python benchmarks/bench_data.py --files 1000000 --forms png --rounds 3   # 4 GB of files, 3 GB of pixels

Writes data-MACHINE-FILES.json and .md into results/benchmarks. `bench.data.decode` times all of `load` in its
own process with an empty cache, and divides by the rate of Pillow in a plain loop on one core times the
number of cores.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL
import torch
import tyro

from noisylabels.bench.data import SIDE, batch_rate, decode, write_images
from noisylabels.bench.machine import ResultFolder, load, processor


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    files: int = 20_000
    """number of files per format"""
    forms: tuple[str, ...] = ("png", "jpeg")
    """formats: png, jpeg"""
    side: int = SIDE
    """height and width of the images, in pixels"""
    rounds: int = 7
    """repetitions of each"""
    work: Path | None = None
    """folder for the temporary files (default: the system's)"""
    kept: Path | None = None
    """existing folder of class folders to measure instead"""


def measure(options: Options) -> list[dict[str, Any]]:
    rows = []
    for form in options.forms:
        with tempfile.TemporaryDirectory(prefix="noisylabels-bench-", dir=options.work) as folder:
            if options.kept is None:
                write_images(Path(folder), options.files, form, side=options.side)
            before = load()
            found = decode(options.kept or Path(folder), rounds=options.rounds)
        rows.append({"form": form, **dataclasses.asdict(found), "load": [before, load()]})
    return rows


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    lines = [
        f"Loading images of {result['side']}x{result['side']} pixels from files, end to end, relative to "
        f"Pillow alone on {result['cores']} cores. Median of {result['rounds']} repetitions (quartiles). "
        f"{result['processor']}, torch {result['torch']}, Pillow {result['pillow']}.",
        "",
        "| files | format | images per second | relative to Pillow, wall clock "
        "| relative to Pillow, CPU time | peak memory | load |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        ratio = row["ratio"]
        shares = " to ".join(f"{1 / ratio[key]:.2f}" for key in ("high", "low"))
        lines.append(
            f"| {row['images']:,} | {row['form']} | {row['images'] / ratio['seconds']:,.0f} | "
            f"{1 / ratio['median']:.2f} ({shares}) | "
            f"{1 / row['processor_ratio']:.2f} | {row['peak_bytes'] / 2**20:,.0f} MiB | "
            f"{row['load'][0]:.1f}, {row['load'][1]:.1f} |"
        )
    lines += [
        "",
        f"Batches of 128 in random order, augmented: {result['batch_rate']:,.0f} images per second.",
    ]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(1)
    rows = measure(options)
    result = {
        "processor": processor(),
        "cores": rows[0]["cores"],
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "side": options.side,
        "rounds": options.rounds,
        "rows": rows,
        "batch_rate": batch_rate(),
    }
    side = "" if options.side == SIDE else f"-{options.side}px"
    options.keep("data", result, table(result), suffix=f"{side}-{rows[0]['images']}")


if __name__ == "__main__":
    main(tyro.cli(Options))
