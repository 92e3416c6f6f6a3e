"""Measure time and peak memory of the paper's losses relative to F.cross_entropy on the CPU.

    python benchmarks/bench_losses.py
    python benchmarks/bench_losses.py --no-compiled --rounds 5      # quick

Writes losses-MACHINE.json and .md into results/benchmarks. Each figure is the median, with quartiles, of
ratios measured in one process: our loss alternates with F.cross_entropy, each for some 50 ms, forward and
backward. "As installed" is `nl.loss` with the kernel that the installation compiled; "operations" is the same
without the kernel; "reference" is the straightforward implementation (`losses/evaluation.py`); "compiled" is
torch.compile(loss), with its compilation timed separately.
"""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import tyro
from rich.progress import track
from torch import Tensor
from torch.nn.functional import cross_entropy

import noisylabels as nl
from noisylabels.bench.losses import SHAPES, draw, loss_ratio, step
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.losses import PAPER, evaluation
from noisylabels.losses.kernels import native

KINDS = {"operations": (2.5, 1.3, 1.3, 1.0), "reference": None, "compiled": None}
"""What is measured beside the losses as installed, and the goal of each at the four shapes."""

LABELS = {"operations": "torch operations", "reference": "reference", "compiled": "torch.compile"}

Call = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    rounds: int = 15
    """repetitions of each"""
    threads: int = 1
    """threads of torch"""
    compiled: bool = True
    """also measure torch.compile(loss), which takes some minutes more"""


def peak_bytes(call: Call, shape: tuple[int, int]) -> int | None:
    """Return how far one step exceeds the memory in use in bytes, or None where /proc is missing."""
    logits, target = draw(shape)
    step(call, *draw((2, 10)))
    status = Path("/proc/self/status")

    def kilobytes(key: str) -> int:
        return int(re.search(rf"{key}:\s*(\d+) kB", status.read_text())[1])  # type: ignore[index]

    try:
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        before = kilobytes("VmRSS")
        step(call, logits, target)
        return (kilobytes("VmHWM") - before) * 1024
    except (OSError, TypeError):
        return None


def reference(made: nl.Loss) -> Call:
    parts, how = made._plan.parts, evaluation.Target(None, "mean", evaluation.IGNORE, 0.0)
    return lambda logits, target: evaluation.evaluate(parts, logits, target, how)


def compiled(made: nl.Loss, shape: tuple[int, int]) -> tuple[Call, float]:
    """Return torch.compile(loss) and the seconds of its first call."""
    torch._dynamo.reset()
    call = torch.compile(made, dynamic=False)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        step(call, *draw(shape))
    return call, time.perf_counter() - start


def measure(options: Options) -> list[dict[str, Any]]:
    rows = []
    for name in track(PAPER, description="losses"):
        for shape in SHAPES:
            made = nl.loss(name)
            row: dict[str, Any] = {"loss": name, "shape": list(shape)}
            row["installed"] = asdict(loss_ratio(made, shape, rounds=options.rounds))
            with mock.patch.object(native, "takes", lambda *given: False):  # noqa: PT008  a mock takes longer
                row["operations"] = asdict(loss_ratio(made, shape, rounds=options.rounds))
            row["reference"] = asdict(loss_ratio(reference(made), shape, rounds=options.rounds))
            if options.compiled:
                call, took = compiled(made, shape)
                found = loss_ratio(call, shape, rounds=options.rounds)
                row["compiled"] = asdict(found) | {"compile_seconds": took}
            if shape == SHAPES[-1] and (base := peak_bytes(cross_entropy, shape)):
                row["peak_memory"] = (peak_bytes(made, shape) or 0) / base
            rows.append(row)
    return rows


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    cells = {(row["loss"], tuple(row["shape"])): row for row in result["rows"]}
    heads = [f"{n:,} x {k:,}" for n, k in SHAPES]
    lines = [
        f"Forward and backward, F.cross_entropy = 1. Median of {result['rounds']} repetitions (quartiles). "
        f"{result['processor']}, {result['cores']} cores, {result['threads']} thread, "
        f"torch {result['torch']}, kernel {result['kernel']}; "
        f"load {result['load'][0]:.1f} before, {result['load'][1]:.1f} after.",
        "",
        "| as installed | " + " | ".join(heads) + " | peak memory |",
        "|---|" + "---:|" * (len(heads) + 1),
    ]
    for name in PAPER:
        shown = [cells[name, shape]["installed"] for shape in SHAPES]
        memory = cells[name, SHAPES[-1]].get("peak_memory")
        texts = [f"{found['median']:.2f} ({found['low']:.2f}-{found['high']:.2f})" for found in shown]
        lines.append(f"| {name} | " + " | ".join([*texts, f"{memory:.2f}" if memory else ""]) + " |")
    lines.append("| goal |" + " 1.0 |" * (len(heads) + 1))
    others = [kind for kind in KINDS if kind in result["rows"][0]]
    lines += [
        "",
        "Medians of the other implementations: " + ", ".join(LABELS[kind] for kind in others) + ".",
        "",
    ]
    lines += ["| loss | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for name in PAPER:
        texts = [
            ", ".join(f"{cells[name, shape][kind]['median']:.2f}" for kind in others) for shape in SHAPES
        ]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    lines.append("| goal of torch operations | " + " | ".join(map(str, KINDS["operations"] or ())) + " |")
    if "compiled" in others:
        took = sorted(row["compiled"]["compile_seconds"] for row in result["rows"])
        lines += ["", f"Compiling took {took[0]:.1f} to {took[-1]:.1f} s per loss and shape."]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    if nl.losses.kernel_name() is None:
        sys.exit("this installation has no compiled kernel; install a C compiler, then reinstall the package")
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "torch": torch.__version__,
        "kernel": nl.losses.kernel_name(),
        "load": [load()],
        "rounds": options.rounds,
        "rows": measure(options),
    }
    result["load"].append(load())
    options.keep("losses", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
