"""Measure what Ray costs a study on one machine: cells on Ray beside worker processes, and empty cells.

    python benchmarks/bench_executors.py                           # minutes
    python benchmarks/bench_executors.py --epochs 60 --rounds 3    # the study as `make demo` runs it

Writes executors-MACHINE.json and .md into results/benchmarks. The 96 cells of the study `digits` run in as
many worker processes as there are cores, then as Ray tasks on a cluster of this machine with as many, in
turns. Start of the cluster and of the processes are included. Empty cells do nothing: what is left is the
cost of scheduling. The memory is that of this process, which schedules, with all cells of a study waiting.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.process import usable_cpus
from noisylabels.experiment import load_config
from noisylabels.study import load_study, on_ray
from noisylabels.study.executors import Answer, Executor, Processes
from noisylabels.study.grid import Cell
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    epochs: int = 10
    """epochs of each of the 96 cells"""
    rounds: int = 1
    """repetitions, in turns"""
    empty: int = 10_000
    """number of empty cells"""
    waiting: int = 100_000
    """number of cells whose memory is measured"""


class Silent:
    """A view that shows nothing."""

    def begun(self, cell: Cell) -> None:
        """Do nothing."""

    def ended(self, cell: Cell, answer: dict[str, str]) -> None:
        """Do nothing."""

    def tick(self) -> None:
        """Do nothing."""


def nothing(config: dict[str, Any], track: Sequence[str], folder: str) -> Answer:
    """Stand for `on_ray._carry_out`: a cell that does nothing."""
    return {"status": "done", "message": "", "notes": ""}


def seconds_of(cells: Sequence[Cell], kind: str) -> float:
    """Return the wall time of some cells in a study of their own, the start of the executor included."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        executor: Executor = Processes(usable_cpus()) if kind == "processes" else on_ray.OnRay("local")
        work = carry_out_all(Store(Path(folder) / "study"), cells, Silent(), executor=executor)
        took = time.perf_counter() - began
        assert len(work.ended) == len(cells)
    return took


def empty_cells(count: int) -> list[Cell]:
    """Return cells that differ in their seeds."""
    return [
        Cell(f"seed{seed}-{seed:012x}", {"seed": seed}, load_config("digits", seed=seed), f"{seed:012x}")
        for seed in range(count)
    ]


def peak_bytes() -> int:
    """Return the peak memory of this process."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def scheduling(options: Options) -> dict[str, float]:
    """Return the seconds per empty cell, and the bytes per waiting cell."""
    real, on_ray._carry_out = on_ray._carry_out, nothing
    try:
        with tempfile.TemporaryDirectory() as folder:
            cells, before = empty_cells(options.empty), time.perf_counter()
            executor = on_ray.OnRay("local", cpus=0.1)
            started = time.perf_counter()
            work = carry_out_all(Store(Path(folder) / "study"), cells, Silent(), executor=executor)
            took = time.perf_counter() - started
            assert len(work.ended) == len(cells)
            memory = peak_bytes()
            waiting = empty_cells(options.waiting)
            grown = peak_bytes() - memory
            assert len(waiting) == options.waiting
    finally:
        on_ray._carry_out = real
    return {"start": started - before, "seconds": took / options.empty, "bytes": grown / options.waiting}


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    took, empty = result["seconds"], result["scheduling"]
    ratio = [ray / plain for ray, plain in zip(took["ray"], took["processes"], strict=True)]
    return (
        f"{result['processor']}, {result['cores']} cores, load {result['load'][0]:.1f} before; "
        f"n = {len(ratio)}; Ray {result['ray']}.\n\n"
        "| what | measured |\n|---|---:|\n"
        f"| 96 cells of the digits, {result['epochs']} epochs, worker processes | "
        f"{statistics.median(took['processes']):.1f} s |\n"
        f"| the same on Ray, its start included | {statistics.median(took['ray']):.1f} s, "
        f"{statistics.median(ratio):.2f} times |\n"
        f"| start of a cluster on this machine | {empty['start']:.1f} s |\n"
        f"| scheduling, per cell ({result['empty']:,} empty cells) | {1000 * empty['seconds']:.1f} ms |\n"
        f"| memory of the command, per waiting cell ({result['waiting']:,} cells) | "
        f"{empty['bytes'] / 1024:.1f} KiB |\n"
    )


def main(options: Options) -> None:
    """Measure, in turns."""
    import ray

    before = load()
    cells = load_study("digits").cells({"device": "cpu", "epochs": options.epochs})
    took: dict[str, list[float]] = {"processes": [], "ray": []}
    for _ in range(options.rounds):
        for kind, values in took.items():
            values.append(seconds_of(cells, kind))
    result = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": [before, load()],
        "ray": ray.__version__,
        "epochs": options.epochs,
        "empty": options.empty,
        "waiting": options.waiting,
        "seconds": took,
        "scheduling": scheduling(options),
    }
    options.keep("executors", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
