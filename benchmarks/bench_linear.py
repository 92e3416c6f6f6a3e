"""Measure time and peak memory of linear_loss relative to F.cross_entropy(F.linear(...)).

    python benchmarks/bench_linear.py

Writes linear-MACHINE.json and .md into results/benchmarks. Each figure is the median, with quartiles, of
ratios measured in one process: a step of ours alternates with a step of the baseline, forward and backward.
"Peak memory" is how far a step exceeds the memory in use, including the gradients of weight and features,
which every implementation needs. "torch" is F.linear_cross_entropy in chunks of 256 rows, if torch has it
(its default chunks took up to 150 times as long as the baseline on a CPU).
"""

from __future__ import annotations

import os
import re
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.progress import track
from torch import Tensor
from torch.nn import functional

import noisylabels as nl
from noisylabels.bench.machine import ResultFolder, load, processor

SHAPES = ((2048, 32_000, 256), (512, 131_072, 256), (64, 1_000_000, 64))
LOSSES = ("ce", "nce+mae", "nce+rce", "nfl+rce")
GIB = 2**30

Batch = tuple[Tensor, Tensor, Tensor]
Call = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    rounds: int = 5
    """repetitions of each"""
    threads: int = 1
    """threads of torch"""


def batch(shape: tuple[int, int, int], dtype: torch.dtype) -> Batch:
    n, classes, size = shape
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((n, size), generator=generator)
    weight = torch.randn((classes, size), generator=generator).mul_(size**-0.5)
    target = torch.randint(classes, (n,), generator=generator)
    return features.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), target


def apart(features: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(features, weight), target)


def chunked() -> Call | None:
    """Return torch's own linear cross entropy in chunks, if this torch has one."""
    call = getattr(functional, "linear_cross_entropy", None)
    return call and partial(call, options=torch.nn.LinearCrossEntropyOptions(batch_chunk_size=256))


def step(call: Call, given: Batch) -> None:
    for one in given[:2]:
        one.grad = None
    call(*given).backward()


def seconds(call: Call, given: Batch) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    step(call, given)
    return clock() - start


def peak_bytes(call: Call, given: Batch) -> int | None:
    """Return how far one step exceeds the memory in use in bytes, or None where /proc is missing."""
    status = Path("/proc/self/status")

    def kilobytes(key: str) -> int:
        return int(re.search(rf"{key}:\s*(\d+) kB", status.read_text())[1])  # type: ignore[index]

    for one in given[:2]:
        one.grad = None
    try:
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        before = kilobytes("VmRSS")
        step(call, given)
        return (kilobytes("VmHWM") - before) * 1024
    except (OSError, TypeError):
        return None


def compared(call: Call, given: Batch, rounds: int) -> dict[str, Any]:
    """Return the ratios to the baseline: time with quartiles and n, peak memory."""
    for warm in (call, apart):
        step(warm, given)
    found, base = [], []
    for turn in range(rounds):
        pair = (apart, call) if turn % 2 else (call, apart)
        took = {one: seconds(one, given) for one in pair}
        found.append(took[call] / took[apart])
        base.append(took[apart])
    low, median, high = statistics.quantiles(found, n=4)
    peak, base_peak = peak_bytes(call, given), peak_bytes(apart, given)
    return {
        "median": median,
        "low": low,
        "high": high,
        "n": rounds,
        "baseline_seconds": statistics.median(base),
        "peak_bytes": peak,
        "baseline_peak_bytes": base_peak,
    }


def measure(options: Options) -> list[dict[str, Any]]:
    rows = []
    for shape in track(SHAPES, description="shapes"):
        for dtype in (torch.float32, torch.bfloat16):
            given = batch(shape, dtype)
            calls: dict[str, Call | None] = {
                name: partial(nl.losses.linear_loss, nl.loss(name)) for name in LOSSES
            }
            calls["torch"] = chunked()
            for name, call in calls.items():
                if call is None:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # torch's warning about its prototype
                    row = compared(call, given, options.rounds)
                rows.append({"loss": name, "shape": list(shape), "dtype": str(dtype)[6:], **row})
    return rows


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    lines = [
        f"Forward and backward, F.cross_entropy(F.linear(...)) = 1: median time of {result['rounds']} "
        f"repetitions (quartiles), then peak memory as a ratio and in GiB. {result['processor']}, "
        f"{result['cores']} cores, {result['threads']} thread, torch {result['torch']}; "
        f"load {result['load'][0]:.1f} before, {result['load'][1]:.1f} after.",
        "",
        "| N x K, D | type | " + " | ".join([*LOSSES, "torch"]) + " | baseline |",
        "|---|---|" + "---:|" * (len(LOSSES) + 2),
    ]
    cells = {(tuple(row["shape"]), row["dtype"], row["loss"]): row for row in result["rows"]}
    for shape, dtype in dict.fromkeys(key[:2] for key in cells):
        texts = []
        for name in (*LOSSES, "torch"):
            row = cells.get((shape, dtype, name))
            texts.append("" if row is None else cell(row))
        first = cells[shape, dtype, LOSSES[0]]
        base = f"{first['baseline_seconds']:.2f} s" + (
            f"; {first['baseline_peak_bytes'] / GIB:.2f} GiB" if first["baseline_peak_bytes"] else ""
        )
        n, classes, size = shape
        lines.append(f"| {n:,} x {classes:,}, {size} | {dtype} | " + " | ".join([*texts, base]) + " |")
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any]) -> str:
    text = f"{row['median']:.2f} ({row['low']:.2f}-{row['high']:.2f})"
    if row["peak_bytes"] and row["baseline_peak_bytes"]:
        text += f"; {row['peak_bytes'] / row['baseline_peak_bytes']:.2f}, {row['peak_bytes'] / GIB:.2f}"
    return text


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "torch": torch.__version__,
        "load": [load()],
        "rounds": options.rounds,
        "rows": measure(options),
    }
    result["load"].append(load())
    options.keep("linear", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
