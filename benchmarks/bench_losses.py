"""What the paper's losses cost beside F.cross_entropy: forward and backward on the CPU, and peak memory.

    python benchmarks/bench_losses.py
    python benchmarks/bench_losses.py --no-compiled --rounds 5      # in a hurry

Writes losses-MACHINE.json and table.md into results/benchmarks. Each figure is a ratio measured in one
process: our loss and F.cross_entropy take turns, each for some 20 ms, and the median of the turns' ratios
is given with its quartiles. With one thread the clock is the processor's, so that other processes disturb
less (they still share its caches and memory: the load before and after is written down). "reference" is this
library's straightforward way (`losses/evaluation.py`), "compiled" is torch.compile(loss), the seconds of its
compilation apart.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.progress import track
from torch import Tensor
from torch.nn.functional import cross_entropy

import noisylabels as nl
from noisylabels.bench.machine import load, processor, slug
from noisylabels.core.files import write_text
from noisylabels.losses import PAPER, evaluation

SHAPES = ((128, 10), (4096, 10), (512, 1000), (256, 50_000))
GOALS = (2.5, 1.3, 1.3, 1.0)
TURN_SECONDS = 0.02

Call = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Options:
    """What to measure and where to."""

    out: Path = Path("results/benchmarks")
    """folder for the results"""
    machine: str = ""
    """its name in the results; by default the processor's and how many cores there are"""
    rounds: int = 15
    """turns of each"""
    threads: int = 1
    """threads of torch"""
    compiled: bool = True
    """measure torch.compile(loss) too: some minutes more"""


def batch(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).requires_grad_()
    return logits, torch.randint(shape[1], shape[:1], generator=generator)


def step(call: Call, logits: Tensor, target: Tensor) -> None:
    logits.grad = None
    call(logits, target).backward()


def seconds(call: Call, logits: Tensor, target: Tensor, times: int) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(times):
        step(call, logits, target)
    return (clock() - start) / times


def ratios(call: Call, shape: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Return the ratio to cross entropy: median, quartiles, n; and what cross entropy took."""
    logits, target = batch(shape)
    for warm in (call, cross_entropy):
        for _ in range(3):
            step(warm, logits, target)
    times = max(1, int(TURN_SECONDS / seconds(cross_entropy, logits, target, 3)))
    found, base = [], []
    for turn in range(rounds):
        pair = (cross_entropy, call) if turn % 2 else (call, cross_entropy)
        took = {one: seconds(one, logits, target, times) for one in pair}
        found.append(took[call] / took[cross_entropy])
        base.append(took[cross_entropy])
    low, median, high = statistics.quantiles(found, n=4)
    return {"median": median, "low": low, "high": high, "n": rounds, "ce_seconds": statistics.median(base)}


def peak_bytes(call: Call, shape: tuple[int, int]) -> int | None:
    """Return how far one step goes beyond the memory in use, or None where Linux does not say."""
    logits, target = batch(shape)
    step(call, *batch((2, 10)))
    status = Path("/proc/self/status")

    def kilobytes(key: str) -> int:
        return int(re.search(rf"{key}:\s*(\d+) kB", status.read_text())[1])  # type: ignore[index]

    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = kilobytes("VmRSS")
        step(call, logits, target)
        return (kilobytes("VmHWM") - before) * 1024
    except (OSError, TypeError):
        return None


def reference(made: nl.Loss) -> Call:
    parts, how = made._plan.parts, evaluation.Target(None, "mean", evaluation.IGNORE, 0.0)
    return lambda logits, target: evaluation.evaluate(parts, logits, target, how)


def compiled(made: nl.Loss, shape: tuple[int, int]) -> tuple[Call, float]:
    """Return torch.compile(loss) and the seconds until it had run once."""
    torch._dynamo.reset()
    call = torch.compile(made, dynamic=False)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        step(call, *batch(shape))
    return call, time.perf_counter() - start


def measure(options: Options) -> list[dict[str, Any]]:
    rows = []
    for name in track(PAPER, description="losses"):
        for shape in SHAPES:
            made = nl.loss(name)
            row: dict[str, Any] = {"loss": name, "shape": list(shape)}
            row["fast"] = ratios(made, shape, options.rounds)
            row["reference"] = ratios(reference(made), shape, options.rounds)
            if options.compiled:
                call, took = compiled(made, shape)
                row["compiled"] = ratios(call, shape, options.rounds) | {"compile_seconds": took}
            if shape == SHAPES[-1] and (base := peak_bytes(cross_entropy, shape)):
                row["peak_memory"] = (peak_bytes(made, shape) or 0) / base
            rows.append(row)
    return rows


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    cells = {(row["loss"], tuple(row["shape"])): row for row in result["rows"]}
    heads = [f"{n:,} x {k:,}" for n, k in SHAPES]
    lines = [
        f"Forward and backward, F.cross_entropy = 1. Median of {result['rounds']} turns (quartiles). "
        f"{result['processor']}, {result['cores']} cores, {result['threads']} thread, "
        f"torch {result['torch']}; load {result['load'][0]:.1f} before, {result['load'][1]:.1f} after.",
        "",
        "| loss | " + " | ".join(heads) + " | peak memory |",
        "|---|" + "---:|" * (len(heads) + 1),
    ]
    for name in PAPER:
        shown = [cells[name, shape]["fast"] for shape in SHAPES]
        memory = cells[name, SHAPES[-1]].get("peak_memory")
        texts = [f"{found['median']:.2f} ({found['low']:.2f}-{found['high']:.2f})" for found in shown]
        lines.append(f"| {name} | " + " | ".join([*texts, f"{memory:.2f}" if memory else ""]) + " |")
    lines.append("| goal | " + " | ".join(f"{goal}" for goal in GOALS) + " | 1.0 |")
    others = [kind for kind in ("reference", "compiled") if kind in result["rows"][0]]
    lines += ["", "The same, medians: " + ", ".join(others) + ".", ""]
    lines += ["| loss | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for name in PAPER:
        texts = [
            ", ".join(f"{cells[name, shape][kind]['median']:.2f}" for kind in others) for shape in SHAPES
        ]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    if "compiled" in others:
        took = sorted(row["compiled"]["compile_seconds"] for row in result["rows"])
        lines += ["", f"Compiling took {took[0]:.1f} to {took[-1]:.1f} s a loss and shape."]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    machine = options.machine or f"{processor()}-{os.cpu_count()}"
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
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / f"losses-{slug(machine)}.json", json.dumps(result, indent=1) + "\n")
    write_text(options.out / "table.md", table(result))
    print(table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
