"""Measure the start-up time of commands and imports in fresh processes.

    python benchmarks/bench_start.py

Writes start-MACHINE.json and .md into results/benchmarks. Every repetition starts one process per line of the
table, one after the other, so that a slow moment affects all lines alike. The process itself times an import
beyond torch, starting when `import torch` has finished.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
import tyro
from rich.progress import track

from noisylabels.bench.machine import ResultFolder, load, processor

AFTER_TORCH = "import torch, time; began = time.perf_counter()\n{}\nprint(time.perf_counter() - began)"

COMMANDS = {
    "noisylabels --help": ("--help",),
    "noisylabels train --help": ("train", "--help"),
    "noisylabels completion bash": ("completion", "bash"),
}
IMPORTS = {
    "import noisylabels, after torch": "import noisylabels",
    "the same and nl.loss('nce+mae')": "import noisylabels as nl; nl.loss('nce+mae')",
    "from noisylabels import *, after torch": "from noisylabels import *",
}
GOALS = {"noisylabels --help": 0.3, "import noisylabels, after torch": 0.1}


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    rounds: int = 15
    """repetitions: fresh processes per line"""


def python(*words: str) -> tuple[float, str]:
    """Return the wall-clock seconds of a Python process and its output."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every line of the table, one number per repetition."""
    found: dict[str, list[float]] = {"an empty Python": [], "import torch, its whole process": []}
    found |= {name: [] for name in (*COMMANDS, *IMPORTS)}
    for turn in track(range(rounds + 1), description="turns"):
        took = {"an empty Python": python("-c", "")[0]}
        took["import torch, its whole process"] = python("-c", "import torch")[0]
        took |= {name: python("-m", "noisylabels", *words)[0] for name, words in COMMANDS.items()}
        took |= {name: float(python("-c", AFTER_TORCH.format(code))[1]) for name, code in IMPORTS.items()}
        if turn:  # the first repetition fills the disk cache and compiles bytecode
            for name, value in took.items():
                found[name].append(value)
    return found


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    lines = [
        f"Seconds, median of {result['rounds']} fresh processes (quartiles). {result['processor']}, "
        f"{result['cores']} cores, torch {result['torch']}; load {result['load'][0]:.1f} before, "
        f"{result['load'][1]:.1f} after.",
        "",
        "| what | seconds | goal |",
        "|---|---:|---:|",
    ]
    for name, row in result["rows"].items():
        goal = GOALS.get(name, "")
        lines.append(f"| {name} | {row['median']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {goal} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    before = load()
    rows = {}
    for name, times in measure(options.rounds).items():
        low, median, high = statistics.quantiles(times, n=4) if len(times) > 1 else 3 * times
        rows[name] = {"median": median, "low": low, "high": high, "n": len(times)}
    result = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "load": [before, load()],
        "rounds": options.rounds,
        "rows": rows,
    }
    options.keep("start", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
