"""Simulate the paper's study on a cluster whose machines fail, from the measured time of a cell.

    python benchmarks/simulate_cluster.py

Writes cluster.json and .md into results/benchmarks. The time of a cell is the mean of the runs in
results/paper, made four at once on one GPU. A machine fails at random moments, exponentially distributed, and
comes back after a while; its cells go on from their last checkpoints on whichever machine is free next.
"""

from __future__ import annotations

import heapq
import statistics
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro

from noisylabels.bench.machine import keep
from noisylabels.study.store import read_rows


@dataclass
class Options:
    """Choose the cluster and where the results go."""

    runs: Path = Path("results/paper/runs.parquet")
    """runs whose time is that of a cell"""
    cells: tuple[int, ...] = (324, 3240)
    """numbers of cells"""
    machines: int = 10
    """number of machines"""
    slots: int = 16
    """cells that a machine runs at once: four GPUs, four cells each"""
    start_seconds: float = 30.0
    """from the assignment of a cell to its first step: a process, the data (an assumption)"""
    repair_minutes: float = 10.0
    """until a machine that failed is back (an assumption)"""
    checkpoint_seconds: tuple[float, ...] = (2.0, 30.0)
    """between checkpoints: an epoch, and what is sent to a URL"""
    hours: tuple[float, ...] = (float("inf"), 24.0, 1.0, 0.25)
    """mean time between failures of a machine"""
    repeats: int = 200
    """simulations"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""


@dataclass
class Outcome:
    """What a simulation came to.

    Args:
        seconds: until the last cell ended.
        failures: number of machines that failed in this time.
        lost: seconds of work that were done twice, starts included.
    """

    seconds: float = 0.0
    failures: int = 0
    lost: float = 0.0


@dataclass
class Machine:
    """A machine with its running cells: cell -> (when it began, the work that it had left)."""

    running: dict[int, tuple[float, float]] = field(default_factory=dict)
    up: bool = True
    turn: int = 0  # counts its failures, so that the ends of lost cells are ignored


def simulate(
    count: int, work: float, options: Options, checkpoint: float, hours: float, draw: np.random.Generator
) -> Outcome:
    """Simulate a study once.

    Args:
        count: number of cells.
        work: seconds of a cell.
        options: the cluster.
        checkpoint: seconds between checkpoints.
        hours: mean time between failures of a machine.
        draw: of the moments of failures.
    """
    machines = [Machine() for _ in range(options.machines)]
    waiting = deque((cell, work) for cell in range(count))
    events: list[tuple[float, int, str, int, int]] = []  # when, machine, what, cell, turn
    outcome, now, left = Outcome(), 0.0, count

    def fail_later(number: int) -> None:
        if hours != float("inf"):
            heapq.heappush(events, (now + draw.exponential(3600 * hours), number, "fail", -1, 0))

    def fill() -> None:
        for number, machine in enumerate(machines):
            while machine.up and waiting and len(machine.running) < options.slots:
                cell, rest = waiting.popleft()
                machine.running[cell] = now, rest
                end = now + options.start_seconds + rest
                heapq.heappush(events, (end, number, "end", cell, machine.turn))

    for number in range(options.machines):
        fail_later(number)
    fill()
    while left:
        now, number, what, cell, turn = heapq.heappop(events)
        machine = machines[number]
        if what == "end" and turn == machine.turn:
            del machine.running[cell]
            left -= 1
        elif what == "fail":
            outcome.failures += 1
            for lost, (began, rest) in machine.running.items():
                spent = now - began
                kept = max(0.0, spent - options.start_seconds) // checkpoint * checkpoint
                outcome.lost += spent - kept
                waiting.append((lost, rest - kept))
            machine.running, machine.up, machine.turn = {}, False, machine.turn + 1
            heapq.heappush(events, (now + 60 * options.repair_minutes, number, "back", -1, 0))
        elif what == "back":
            machine.up = True
            fail_later(number)
        fill()
    outcome.seconds = now
    return outcome


def main(options: Options) -> None:
    """Simulate every cluster and write the table."""
    times = [
        sum(epoch["train_seconds"] + epoch["eval_seconds"] for epoch in row["history"])
        for row in read_rows(options.runs)
    ]
    work = statistics.fmean(times)
    rows, lines = [], []
    for count in options.cells:
        for hours in options.hours:
            for checkpoint in options.checkpoint_seconds:
                draw = np.random.default_rng(0)
                found = [
                    simulate(count, work, options, checkpoint, hours, draw) for _ in range(options.repeats)
                ]
                minutes = [each.seconds / 60 for each in found]
                low, high = np.quantile(minutes, (0.05, 0.95))
                share = statistics.fmean(each.lost for each in found) / (count * work)
                failures = statistics.fmean(each.failures for each in found)
                never, mean = hours == float("inf"), statistics.fmean(minutes)
                rows.append(
                    {"cells": count, "hours": None if never else hours, "checkpoint": checkpoint}
                    | {"minutes": [mean, float(low), float(high)], "lost": share, "failures": failures}
                )
                lines.append(
                    f"| {count:,} | {'never' if never else f'every {hours:g} h'} | {checkpoint:g} s | "
                    f"{mean:.1f} ({low:.1f} to {high:.1f}) | {failures:.1f} | {100 * share:.1f} % |"
                )
    table = (
        f"A cell takes {work:.0f} s (mean of {len(times)} runs, four at once on an H200) and "
        f"{options.start_seconds:g} s to start; {options.machines} machines of {options.slots} cells at "
        f"once; a machine that fails is back after {options.repair_minutes:g} minutes. Means of "
        f"{options.repeats} simulations (5 % to 95 %).\n\n"
        "| cells | a machine fails | checkpoints | minutes | failures | work done twice |\n"
        "|---:|---|---:|---:|---:|---:|\n" + "\n".join(lines) + "\n"
    )
    keep(options.out, "cluster", {"work": work, "rows": rows}, table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
