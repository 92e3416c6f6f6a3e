"""Measure a training step: ours relative to a plain loop, and each loss relative to cross entropy.

    python benchmarks/bench_step.py
    python benchmarks/bench_step.py --rounds 10 --loss-rounds 10 --no-profile       # quick

Writes step-MACHINE.json and .md into results/benchmarks, with a profile of an epoch of the plain loop and of
ours. A step trains the paper's 8-layer network on a batch of 128, including data loading. With one thread the
clock is CPU time, which other processes disturb less (they still share caches and memory, so the load before
and after is recorded).

Ours and the plain loop alternate. Both keep freed memory in the process, which a plain loop usually does not.
The losses' steps differ by less than one step from the next, so all losses are run in a new random order per
repetition, with a step of F.cross_entropy between any two; each ratio divides a loss's step by the mean of
its two neighbors.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import tyro
from rich.progress import track
from torch.nn import functional as F  # noqa: N812  its usual name
from torch.profiler import ProfilerActivity, profile

from noisylabels.bench import train as loops
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.process import keep_freed_memory
from noisylabels.losses import PAPER
from noisylabels.losses.expression import loss

GOAL_STEP, GOAL_LOSS = 0.38, 1.01


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    model: str = "cnn8"
    """network"""
    batch_size: int = 128
    """examples per step"""
    rounds: int = 15
    """repetitions of our step and the plain loop's"""
    loss_rounds: int = 25
    """repetitions of each loss's step"""
    threads: int = 1
    """threads of torch"""
    profile: bool = True
    """also profile an epoch of both loops"""


def quartiles(values: list[float]) -> dict[str, Any]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "n": len(values)}


def timed(call: Callable[[], object]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    call()
    return clock() - began


def against_plain(ours: Callable[[], object], plain: Callable[[], object], rounds: int) -> dict[str, Any]:
    """Return the ratio of the two steps, run alternately, and the median seconds of each."""
    found: list[float] = []
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in track(range(rounds + 2), description="against the plain loop"):
        pair = [("ours", ours), ("plain", plain)]
        took = {name: timed(call) for name, call in (pair if turn % 2 else pair[::-1])}
        if turn >= 2:
            found.append(took["ours"] / took["plain"])
            for name, value in took.items():
                times[name].append(value)
    return quartiles(found) | {f"{name}_seconds": statistics.median(each) for name, each in times.items()}


def against_cross_entropy(steps: dict[str, Any], rounds: int) -> dict[str, dict[str, Any]]:
    """Return the ratio of each loss's step to cross entropy's, run interleaved."""
    base = steps["F.cross_entropy"]
    names = [name for name in steps if name != "F.cross_entropy"]
    found: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(0)
    for turn in track(range(rounds + 1), description="losses"):
        order.shuffle(names)
        before = timed(base)
        for name in names:
            took = timed(steps[name])
            after = timed(base)
            if turn:
                found[name].append(took / ((before + after) / 2))
            before = after
    return {name: quartiles(found[name]) for name in steps if name in found}


def profiled(step: Callable[[], object], count: int) -> list[dict[str, Any]]:
    """Return the operations that take the most self time in `count` steps, longest first."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(count):
            step()
    events = seen.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    rows = sorted(events, key=lambda event: -event.self_cpu_time_total)
    return [
        {
            "operation": event.key,
            "ms_a_step": event.self_cpu_time_total / 1000 / count,
            "share": event.self_cpu_time_total / total,
            "calls_a_step": event.count / count,
        }
        for event in rows[:12]
    ]


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    step = result["step"]
    lines = [
        f"{result['model']}, batch {result['batch_size']}; {result['processor']}, {result['cores']} cores, "
        f"{result['threads']} thread, torch {result['torch']}; load {result['load'][0]:.1f} before, "
        f"{result['load'][1]:.1f} after. Medians (quartiles) of {step['n']} repetitions; "
        f"{next(iter(result['losses'].values()))['n']} for the losses.",
        "",
        f"One training step takes {step['median']:.3f} ({step['low']:.3f}-{step['high']:.3f}) "
        f"of the plain loop's time: {1000 * step['ours_seconds']:.0f} ms against "
        f"{1000 * step['plain_seconds']:.0f} ms (goal {GOAL_STEP}).",
        "",
        "| loss | whole step, F.cross_entropy = 1 |",
        "|---|---:|",
    ]
    for name, row in result["losses"].items():
        lines.append(f"| {name} | {row['median']:.3f} ({row['low']:.3f}-{row['high']:.3f}) |")
    lines.append(f"| goal | {GOAL_LOSS} |")
    for name, rows in result.get("profile", {}).items():
        lines += ["", f"Profile of the {name} loop over one epoch, by self time:", ""]
        lines += ["| operation | ms per step | share | calls per step |", "|---|---:|---:|---:|"]
        for row in rows:
            lines.append(
                f"| {row['operation']} | {row['ms_a_step']:.1f} | {100 * row['share']:.1f} % | "
                f"{row['calls_a_step']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    before = load()
    cpu = torch.device("cpu")
    pixels, labels = loops.examples()
    # before keep_freed_memory, so that the plain loop is profiled as most run it
    plain = loops.plain_step(pixels, labels, options.model, options.batch_size, cpu)
    result: dict[str, Any] = {"profile": {}}
    epoch = len(labels) // options.batch_size
    if options.profile:
        timed(plain)
        result["profile"]["plain"] = profiled(plain, epoch)
    keep_freed_memory()  # as the command line does

    def ours(criterion: Any) -> Callable[[], object]:
        return loops.our_step(pixels, labels, criterion, options.model, options.batch_size, "bfloat16", cpu)

    step = ours(loss("nce+rce"))
    result["step"] = against_plain(step, plain, options.rounds)
    if options.profile:
        result["profile"]["library's"] = profiled(step, epoch)
    steps = {"F.cross_entropy": ours(F.cross_entropy)} | {name: ours(loss(name)) for name in PAPER}
    result["losses"] = against_cross_entropy(steps, options.loss_rounds)
    result |= {
        "model": options.model,
        "batch_size": options.batch_size,
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "torch": torch.__version__,
        "load": [before, load()],
    }
    options.keep("step", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
