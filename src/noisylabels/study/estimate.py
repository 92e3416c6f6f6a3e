"""Estimate how long a study takes, by measuring a few steps of each kind of its cells."""

from __future__ import annotations

import contextlib
import json
import math
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from noisylabels.core.checks import InputError
from noisylabels.core.config import to_dict
from noisylabels.core.process import processor, usable_cpus
from noisylabels.experiment import RunConfig
from noisylabels.study.executors import worker_environment
from noisylabels.study.grid import Cell
from noisylabels.study.plan import in_words
from noisylabels.study.probe import KNOWN, Measured

PROBE_SECONDS, KIND_SECONDS = 17.0, 6.0
"""Most seconds for all measurements, and for one kind of cells."""

START_SECONDS = 5.0
"""Time that a process takes to start."""

MOST_PROCESSES = 8
"""Processes that measure at the same time, because the cells of a study slow each other down."""

_SAME = frozenset(
    {"noise", "loss", "seed", "out", "lr", "loss_lr", "momentum", "weight_decay", "schedule"}
    | {"warmup_epochs", "epochs", "download", "checkpoint_epochs", "checkpoint_minutes"}
)
"""Settings that hardly change the duration of an epoch."""


@dataclass(frozen=True)
class Kind:
    """Cells whose epochs take about the same time.

    Args:
        cells: the cells, and the number of epochs that each still has to run.
        measured: the times; None if the time was up before.
    """

    cells: tuple[tuple[Cell, int], ...]
    measured: Measured | None = None

    @property
    def config(self) -> RunConfig:
        """Return the configuration that stands for the kind."""
        return self.cells[0][0].config

    @property
    def epochs(self) -> int:
        """Return the epochs of all its cells."""
        return sum(epochs for _, epochs in self.cells)


@dataclass(frozen=True)
class Estimate:
    """Times of a study.

    Args:
        kinds: the kinds of cells.
        workers: cells that run at a time.
        threads: threads of each.
        seconds: duration of the measurement.
    """

    kinds: tuple[Kind, ...]
    workers: int
    threads: int
    seconds: float

    @property
    def by_cell(self) -> list[float]:
        """Return the seconds of each cell; those of kinds that were not measured take the mean epoch."""
        known = [kind for kind in self.kinds if kind.measured is not None]
        total = sum(kind.epochs for kind in known)
        mean = (
            sum(kind.measured.epoch * kind.epochs for kind in known if kind.measured) / total
            if known
            else 0.0
        )
        return [
            kind.measured.setup + kind.measured.epoch * epochs if kind.measured else mean * epochs
            for kind in self.kinds
            for _, epochs in kind.cells
        ]

    @property
    def total(self) -> float:
        """Return the seconds of the study."""
        return max(sum(self.by_cell) / self.workers, *self.by_cell)

    @property
    def lines(self) -> list[str]:
        """Return the estimate in words: the total, each kind, and how they were measured."""
        low, high = min(self.by_cell), max(self.by_cell)
        each = in_words(high) if high < 1.1 * low else f"{in_words(low)} to {in_words(high)}"
        bound = any(kind.measured and kind.measured.at_least for kind in self.kinds)
        if not any(kind.measured for kind in self.kinds):
            first = f"the time is unknown: the machine is busy, and {self.seconds:.0f} s were not enough"
        else:
            first = f"{'more than' if bound else 'about'} {in_words(self.total)}: "
            first += f"{each} per cell, {self.workers} at a time"
        made_up = sorted({kind.config.data for kind in self.kinds} & KNOWN.keys())
        return [
            first,
            *(f"  {line}" for line in map(_in_words, self.kinds)),
            *_embedding_lines(self.kinds),
            f"measured in {self.seconds:.0f} s on {processor()}, {self.workers} at a time with "
            f"{self.threads} thread{'s' * (self.threads > 1)} each"
            + (f", on random images in the shape of {', '.join(made_up)}" if made_up else ""),
        ]


def _in_words(kind: Kind) -> str:
    config, count, found = kind.config, len(kind.cells), kind.measured
    name = f"{config.data}, {config.model}, batch {config.batch_size}, {config.precision}"
    name += f", {config.method}" * (config.method != RunConfig.method)
    cells = "1 cell" if count == 1 else f"{count} cells"
    if found is None:
        return f"{name} ({cells}): not measured, counted like the mean of the others"
    slow = "; --set precision=bfloat16 is faster on a CPU" if config.precision == "float16" else ""
    if found.at_least:
        return f"{name} ({cells}): {found.how}{slow}"
    epoch = f"{found.epoch:.2g} s" if found.epoch < 10 else in_words(found.epoch)
    return f"{name} ({cells}): {epoch} per epoch, from {found.how}{slow if found.epoch > 60 else ''}"


def _embedding_lines(kinds: Sequence[Kind]) -> list[str]:
    """Return how long the features of each data set take, which are computed once, before the cells."""
    found = {
        (kind.config.data, kind.config.features): kind.measured.embedding
        for kind in kinds
        if kind.measured and kind.measured.embedding
    }
    return [
        f"before that, unless they are stored: the features of {data} by {features}, about "
        f"{in_words(seconds)}"
        for (data, features), seconds in found.items()
    ]


def kinds(work: Sequence[tuple[Cell, int]]) -> list[Kind]:
    """Return the kinds of cells, those with the most epochs first, and float16 last: it can be very slow."""
    names = [each.name for each in fields(RunConfig) if each.name not in _SAME]
    found: dict[tuple[Any, ...], list[tuple[Cell, int]]] = {}
    for cell, epochs in work:
        found.setdefault(tuple(getattr(cell.config, name) for name in names), []).append((cell, epochs))
    made = [Kind(tuple(cells)) for cells in found.values()]
    return sorted(made, key=lambda kind: (kind.config.precision == "float16", -kind.epochs))


def estimate(
    work: Sequence[tuple[Cell, int]], jobs: int, threads: int = 1, seconds: float | None = None
) -> Estimate:
    """Estimate the time of cells by measuring a few steps of each kind, in processes like those of the study.

    Args:
        work: the cells, 1 or more, and the number of epochs that each still has to run.
        jobs: number of processes of the study.
        threads: threads per process.
        seconds: most seconds for all measurements, by default `PROBE_SECONDS`; kinds that are not reached
            count like the others.

    Raises:
        InputError: a cell fails.
    """
    began = time.monotonic()
    found = kinds(work)
    workers = max(1, min(jobs, usable_cpus(), len(work)))
    probes = [
        _Probe(found, threads, began + (seconds or PROBE_SECONDS))
        for _ in range(min(workers, MOST_PROCESSES))
    ]
    for probe in probes:
        probe.start()
    for probe in probes:
        probe.join()
    measured = []
    for place, kind in enumerate(found):
        answers = [probe.answers[place] for probe in probes if place in probe.answers]
        for answer in answers:
            if "error" in answer:
                raise InputError(
                    f"cannot estimate the time, because {kind.cells[0][0].name} fails: {answer['error']}"
                )
        measured.append(Kind(kind.cells, _mean([Measured(**answer) for answer in answers])))
    return Estimate(tuple(measured), workers, threads, time.monotonic() - began)


def _mean(found: list[Measured]) -> Measured | None:
    """Return the mean of what several processes measured."""
    if ended := [each for each in found if not each.at_least]:
        n = len(ended)
        epoch, setup = (sum(getattr(each, name) for each in ended) / n for name in ("epoch", "setup"))
        embedding = sum(each.embedding for each in ended) / n
        return Measured(epoch, setup, ended[0].how, embedding=embedding)
    return found[0] if found else None


class _Probe(threading.Thread):
    """A thread with a process that measures each kind, and that is killed when the time is up."""

    def __init__(self, found: list[Kind], threads: int, until: float) -> None:
        super().__init__(daemon=True)
        self.found, self.threads, self.until = found, threads, until
        self.answers: dict[int, dict[str, Any]] = {}

    def run(self) -> None:
        left = max(1.0, self.until - time.monotonic() - START_SECONDS)
        order = {
            "configs": [to_dict(kind.config) for kind in self.found],
            "seconds": min(KIND_SECONDS, left / len(self.found)),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "noisylabels.study.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=worker_environment(self.threads),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        output = process.stdout

        def read() -> None:
            for line in output:
                lines.put(line)
            lines.put("")

        reader = threading.Thread(target=read, daemon=True)
        try:
            reader.start()
            with contextlib.suppress(BrokenPipeError):  # it has ended already, which its output tells
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.close()
            self._listen(lines)
        finally:
            process.kill()
            process.wait()
            reader.join()
            output.close()

    def _listen(self, lines: queue.Queue[str]) -> None:
        place, began = 0, math.inf
        while place < len(self.found):
            try:
                line = lines.get(timeout=max(0.0, self.until - time.monotonic()))
            except queue.Empty:
                return self._bound(place, time.monotonic() - began)
            if not line:
                self.answers[place] = {"error": "its process was killed; out of memory?"}
                return None
            answer = json.loads(line)
            if "began" in answer:
                began = time.monotonic()
            else:
                self.answers[place], began = answer, math.inf
                place += 1
        return None

    def _bound(self, place: int, waited: float) -> None:
        """Record that a step of a kind takes longer than what it was waited for."""
        config = self.found[place].config
        known = KNOWN.get(config.data)
        if known is None or waited < 1.0:
            return
        steps = known.train * config.train_share / config.batch_size
        how = f"a step takes more than {waited:.0f} s"
        self.answers[place] = vars(Measured(waited * steps, waited, how, at_least=True))
