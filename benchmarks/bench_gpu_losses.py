"""Measure time and peak memory of losses relative to F.cross_entropy on a GPU.

    python benchmarks/bench_gpu_losses.py
    python benchmarks/bench_gpu_losses.py --device cpu --precision float32 --shapes 64x10     # a smoke test

Writes gpu-losses-MACHINE.json and .md into results/benchmarks. Each figure is the median, with quartiles, of
ratios measured in one process: our loss alternates with F.cross_entropy, each for some 50 ms, forward and
backward. The logits are drawn on the device, once per shape. The lower bound is the time to read the logits
and to write their gradient at the device's copy bandwidth, which is measured first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch
import tyro
from torch import Tensor
from torch.nn.functional import cross_entropy

from noisylabels.bench.losses import step
from noisylabels.bench.machine import ResultFolder, processor
from noisylabels.bench.timing import compare
from noisylabels.cli.bench import read_shape
from noisylabels.core.checks import one_line
from noisylabels.core.device import pick_device
from noisylabels.losses import PAPER
from noisylabels.losses.expression import loss

COPIED_BYTES = 2**31
"""Size of the copy that measures the bandwidth: many times what a GPU caches."""


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    device: str = "auto"
    """auto, cuda, cpu"""
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """of the logits"""
    shapes: tuple[str, ...] = ("4096x1000", "8192x128000")
    """shapes NxK of the logits"""
    losses: tuple[str, ...] = PAPER
    """losses to measure"""
    rounds: int = 7
    """repetitions of each"""


def bytes_per_second(device: torch.device) -> float:
    """Return the bandwidth of a copy on the device, bytes read plus bytes written."""
    source = torch.ones(COPIED_BYTES if device.type == "cuda" else 2**24, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(12):
        wait(device)
        began = time.perf_counter()
        target.copy_(source)
        wait(device)
        times.append(time.perf_counter() - began)
    return 2 * source.numel() / statistics.median(times[2:])


def wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(call: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> int | None:
    """Return how far one step exceeds the memory in use in bytes; None on a CPU."""
    if logits.device.type != "cuda":
        return None
    logits.grad = None
    torch.cuda.reset_peak_memory_stats(logits.device)
    before = torch.cuda.memory_allocated(logits.device)
    step(call, logits, target)
    return torch.cuda.max_memory_allocated(logits.device) - before


def measure(options: Options, device: torch.device, rate: float) -> list[dict[str, Any]]:
    """Return a row per shape and loss; a loss that fails has the cause in place of figures."""
    rows: list[dict[str, Any]] = []
    generator = torch.Generator(device).manual_seed(0)
    for n, classes in map(read_shape, options.shapes):
        kind: torch.dtype = getattr(torch, options.precision)
        logits = torch.randn((n, classes), generator=generator, device=device, dtype=kind).requires_grad_()
        target = torch.randint(classes, (n,), generator=generator, device=device)
        least = 2 * logits.numel() * logits.element_size() / rate
        base = peak_bytes(cross_entropy, logits, target)
        for name in options.losses:
            row: dict[str, Any] = {"loss": name, "shape": [n, classes], "bound_seconds": least}
            try:
                call = loss(name)
                step(call, logits, target)  # compiles the kernel
                ours, theirs = (partial(step, each, logits, target) for each in (call, cross_entropy))
                row |= asdict(compare(ours, theirs, rounds=options.rounds, device=device))
                row |= {"peak_bytes": peak_bytes(call, logits, target), "cross_entropy_peak_bytes": base}
            except RuntimeError as error:  # out of memory
                row["missing"] = one_line(error)
            rows.append(row)
        del logits, target
    return rows


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    options = result["options"]
    lines = [
        f"Forward and backward in {options['precision']}; {result['device']}, torch {result['torch']}. "
        f"Median of {options['rounds']} repetitions (quartiles). A copy on the device moves "
        f"{result['bytes_per_second'] / 1e12:.2f} TB/s.",
        "",
        "| shape | loss | time, F.cross_entropy = 1 | milliseconds | times the lower bound | "
        "peak memory, F.cross_entropy = 1 |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        start = f"| {row['shape'][0]:,} x {row['shape'][1]:,} | {row['loss']} |"
        if "missing" in row:
            lines.append(f"{start} {row['missing']} | | | |")
            continue
        base = row["cross_entropy_peak_bytes"]
        memory = f"{row['peak_bytes'] / base:.2f}" if base else ""
        lines.append(
            f"{start} {row['median']:.2f} ({row['low']:.2f}-{row['high']:.2f}) | "
            f"{1000 * row['seconds']:.3f} | {row['seconds'] / row['bound_seconds']:.1f} | {memory} |"
        )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    device = pick_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    rate = bytes_per_second(device)
    result: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "options": {key: value for key, value in asdict(options).items() if key != "out"},
        "bytes_per_second": rate,
        "rows": measure(options, device, rate),
    }
    options.keep("gpu-losses", result, table(result), device=name)


if __name__ == "__main__":
    main(tyro.cli(Options))
