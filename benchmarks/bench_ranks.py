"""Measure a training step that two processes divide, relative to one process with the same threads in all.

    python benchmarks/bench_ranks.py
    python benchmarks/bench_ranks.py --rounds 5 --models cnn8       # quick

Writes ranks-MACHINE.json and .md into results/benchmarks. Both train with `fit` on random images of 32 x 32
in one global batch size. They stay started and alternate, a few steps each: while one works, the others wait
and use no processor. The clock is the wall's, because processes wait for each other; so the load of the
machine before and after is recorded, and every ratio divides a turn by the one beside it. Other work slows
threads that wait for each other more than processes that wait once per step. So the processor time of all
processes is compared as well, with that of one process that has the threads of one: what dividing a step adds
to the work.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import tyro
from rich.progress import track
from torch import nn

import noisylabels as nl
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.process import keep_freed_memory
from noisylabels.data.images import image_set

WARM_TURNS = 2


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    models: tuple[str, ...] = ("cnn8", "mlp")
    """networks"""
    batch_size: int = 128
    """examples per step, of all processes together"""
    ranks: int = 2
    """processes that divide a step"""
    threads: int = 1
    """threads of each of them; the single process has as many as all of them"""
    steps: int = 8
    """steps per turn"""
    rounds: int = 15
    """turns of each side"""


class Turns(nl.Callback):
    """Trains an epoch, the steps of a turn, when a line arrives, and prints the seconds that it took."""

    def on_epoch_start(self, epoch: int) -> None:
        """Wait for the line; without one the measurement is over."""
        if not sys.stdin.readline():
            os._exit(0)
        self.began = time.perf_counter(), time.process_time()

    def on_step(self, step: Any) -> None:
        """Print both times after the last step."""
        if step.done == step.total:
            print(time.perf_counter() - self.began[0], time.process_time() - self.began[1], flush=True)


def work(settings: dict[str, Any]) -> None:
    """Train turn by turn, as one of the processes."""
    torch.set_num_threads(settings["threads"])
    keep_freed_memory()
    if int(os.environ["WORLD_SIZE"]) > 1:
        dist.init_process_group("gloo")
    count, size = settings["steps"] * settings["batch_size"], (3, 32, 32)
    draw = np.random.default_rng(0)
    pixels = torch.from_numpy(draw.integers(0, 256, (count, *size), dtype=np.uint8))
    train = image_set(pixels, torch.arange(count) % 10, [str(k) for k in range(10)], name="random")
    model: nn.Module = nl.build_model(settings["model"], channels=3, image_size=(32, 32), num_classes=10)
    how = {"augment": "crop:4+flip", "device": "cpu", "batch_size": settings["batch_size"]}
    nl.fit(model, train, None, nl.loss("nce+mae"), callbacks=[Turns()], epochs=10**6, **how)


class Side:
    """The processes of one side.

    Args:
        settings: of `work`.
        ranks: number of processes.
    """

    def __init__(self, settings: dict[str, Any], ranks: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        common["OMP_NUM_THREADS"] = str(settings["threads"])
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--work", json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(ranks)
        ]

    def turn(self) -> tuple[float, float]:
        """Return the seconds of the slowest process for one turn, and the processor's of all."""
        for process in self.processes:
            assert process.stdin is not None
            print(file=process.stdin, flush=True)
        lines = [process.stdout.readline() for process in self.processes if process.stdout is not None]
        wall, work = zip(*(map(float, line.split()) for line in lines), strict=True)
        return max(wall), sum(work)

    def end(self) -> None:
        """End the processes."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            process.wait()


def quartiles(values: list[float]) -> dict[str, Any]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "n": len(values)}


def measured(options: Options, model: str) -> dict[str, Any]:
    """Return the ratios of the sides' steps, and the median milliseconds of each."""
    shared = {"model": model, "batch_size": options.batch_size, "steps": options.steps}
    sides = {
        "ranks": Side(shared | {"threads": options.threads}, options.ranks),
        "one": Side(shared | {"threads": options.threads * options.ranks}, 1),
        "alone": Side(shared | {"threads": options.threads}, 1),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in track(range(options.rounds + WARM_TURNS), description=model):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            took = sides[name].turn()
            if turn >= WARM_TURNS:
                times[name].append(took)
    for side in sides.values():
        side.end()
    network = nl.build_model(model, channels=3, image_size=(32, 32), num_classes=10)
    found: dict[str, Any] = {"parameters": sum(each.numel() for each in network.parameters())}
    found["wall"] = quartiles([a[0] / b[0] for a, b in zip(times["ranks"], times["one"], strict=True)])
    found["work"] = quartiles([a[1] / b[1] for a, b in zip(times["ranks"], times["alone"], strict=True)])
    for name, each in times.items():
        found[f"{name}_ms"] = 1000 * statistics.median(wall for wall, _ in each) / options.steps
    return found


def spread(row: dict[str, Any]) -> str:
    return f"{row['median']:.2f} ({row['low']:.2f}-{row['high']:.2f})"


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    ranks, threads = result["ranks"], result["threads"]
    one = "thread" if threads == 1 else "threads"
    first = next(iter(result["models"].values()))
    lines = [
        f"{ranks} processes with {threads} {one} each, batch {result['batch_size']}, images of 32 x 32; "
        f"{result['processor']}, {result['cores']} cores, torch {result['torch']}; load "
        f"{result['load'][0]:.1f} before, {result['load'][1]:.1f} after. Medians (quartiles) of "
        f"{first['wall']['n']} turns of {result['steps']} steps, taken alternately.",
        "",
        f"| model | parameters | {ranks} processes, ms per step | one with {ranks * threads} threads, ms | "
        f"time, ratio | one with {threads} {one}, ms | processor time, ratio to it |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in result["models"].items():
        lines.append(
            f"| {name} | {row['parameters']:,} | {row['ranks_ms']:.1f} | {row['one_ms']:.1f} | "
            f"{spread(row['wall'])} | {row['alone_ms']:.1f} | {spread(row['work'])} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the result."""
    options = tyro.cli(Options, description=__doc__)
    before = load()
    models = {name: measured(options, name) for name in options.models}
    result = {"batch_size": options.batch_size, "ranks": options.ranks, "threads": options.threads}
    result |= {"steps": options.steps, "models": models, "load": [before, load()]}
    result |= {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    options.keep("ranks", result, table(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
