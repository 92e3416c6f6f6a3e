"""Measure what the training methods cost: `standard` against a step without a method, and each against it.

    python benchmarks/bench_methods.py
    python benchmarks/bench_methods.py --rounds 5 --runs 2       # quick

Writes costs-MACHINE.json and .md into results/benchmarks. All times are CPU time of the process, with one
thread, and what is compared alternates, so that other load on the machine slows both alike.

A step without a method is written out below: network, loss, backward, optimizer. It runs on the same batches
as a step of `standard`, which are prepared beforehand, and so does a second copy of it: its ratio shows how
far equal steps differ in this measurement.

The methods are timed as whole trainings by `nl.fit`, everything included but the estimates of what they need
(transition matrix, noise rate, audit), which get placeholders. Each lies between two trainings by `standard`
and is divided by their mean; the order is drawn anew in every round.
"""

from __future__ import annotations

import os
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import torch
import tyro
from rich.progress import track
from torch import Tensor, nn

import noisylabels as nl
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.bench.train import CLASSES, SIDE, examples
from noisylabels.core.process import keep_freed_memory
from noisylabels.data.images import ImageSet, image_set
from noisylabels.data.loader import Batch, Batches
from noisylabels.experiment.method_inputs import with_placeholders
from noisylabels.methods.catalog import METHODS
from noisylabels.methods.standard import Standard
from noisylabels.training.optim import build_optimizer
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater

CPU = torch.device("cpu")
VARIED = ["dividemix(warmup=10)", "dividemix(warmup=0)", "sop@cifar100"]
EXPRESSIONS = [name for name in METHODS if name not in ("standard", "dividemix")] + VARIED
"""The methods at their defaults; DivideMix in its warm-up alone, and without one; SOP+, which has two
views of each example."""


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    rounds: int = 40
    """repetitions of the step with and without a method, 2 or more"""
    runs: int = 3
    """repetitions of the training by each method, 2 or more"""
    loss: str = "nce+mae"
    """the loss inside; methods with a loss of their own keep it"""


@dataclass(frozen=True)
class Task:
    """A data set with a network and the settings of its training.

    Args:
        title: for the table.
        train: the training set.
        model: its name.
        precision: of the networks.
        epochs: of one timed training.
        block: steps that are timed at once in the comparison of steps.
        settings: further settings of `nl.fit`.
    """

    title: str
    train: ImageSet
    model: str
    precision: str
    epochs: int
    block: int
    settings: dict[str, Any] = field(default_factory=dict)

    def network(self, model: str | None = None, seed: int = 0) -> nn.Module:
        """Return the network, or another model for the same images."""
        shape = {"channels": self.train.images.shape[1], "num_classes": self.train.num_classes}
        size = tuple(self.train.images.shape[2:])
        return nl.build_model(model or self.model, image_size=size, seed=seed, **shape)

    def fit(self, expression: str, loss: str) -> float:
        """Return the CPU seconds of a training by a method."""
        spec = nl.method(expression)
        spec = with_placeholders(spec, len(self.train), self.train.num_classes, lambda: self.network(seed=1))
        network, criterion = self.network(spec.own_model), nl.loss(spec.own_loss or loss)
        more = {"epochs": self.epochs, "precision": self.precision, "device": "cpu", **self.settings}
        with warnings.catch_warnings(action="ignore"):  # two views without augmentation are equal: as slow
            return timed(lambda: nl.fit(network, self.train, None, criterion, method=spec, **more))


def tasks() -> list[Task]:
    """Return digits with the small network, and random images with the paper's."""
    digits, _ = nl.load("digits")
    pixels, labels = examples(256)
    photographs = image_set(pixels, labels, [f"class {k}" for k in range(CLASSES)], name="random")
    return [
        Task("digits, small-cnn", digits, "small-cnn", "float32", 4, 10),
        Task(
            f"{SIDE}x{SIDE} images, cnn8", photographs, "cnn8", "bfloat16", 1, 1, {"augment": "crop:4+flip"}
        ),
    ]


def timed(call: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles and number of values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "n": len(values)}


class Bare:
    """A training step without a method: network, loss, backward, optimizer."""

    def __init__(self, network: nn.Module, loss: nn.Module, settings: Settings) -> None:
        self.network, self.loss = network, loss
        self.optimizer = build_optimizer(network.parameters(), settings, CPU)
        self.half = settings.dtype if settings.dtype != torch.float32 else None
        self.scaler = torch.amp.GradScaler("cpu", enabled=self.half is torch.float16)

    def __call__(self, batch: Batch, lr: float) -> tuple[Tensor, Tensor]:
        """Update the weights once; return the loss and the logits."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast("cpu", dtype=self.half, enabled=self.half is not None):
            logits = self.network(batch.inputs)
        value = self.loss(logits.float(), batch.target)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return value.detach(), logits.detach()


def steps_of(task: Task, loss: str) -> dict[str, Callable[[], object]]:
    """Return functions that take a block of steps: without a method, twice, and with `standard`."""
    settings = Settings(precision=task.precision, device="cpu")
    mean, std = task.train.mean_std()
    source = Batches(
        task.train.images,
        task.train.labels,
        batch_size=128,
        device=CPU,
        mean=mean,
        std=std,
        augment=None,
        shuffle=True,
        seed=0,
        channels_last=settings.channels_last,
    )
    batches = list(source.epoch(0))

    def stepper(which: str) -> Callable[[], object]:
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network = task.network().to(memory_format=layout).train()  # type: ignore[call-overload]
        criterion = nl.loss(loss)
        if which == "standard":
            update: Any = Updater(Standard(network, criterion), settings, CPU)
        else:
            update = Bare(network, criterion, settings)
        turn = cycle(batches)

        def block() -> None:
            for _ in range(task.block):
                update(next(turn), settings.lr)

        return block

    return {name: stepper(name) for name in ("bare", "again", "standard")}


def against_bare(task: Task, loss: str, rounds: int) -> dict[str, Any]:
    """Return the ratios of `standard`, and of the second copy, to the step without a method."""
    steps = steps_of(task, loss)
    took: dict[str, list[float]] = {name: [] for name in steps}
    order = random.Random(0)
    for turn in track(range(rounds + 3), description=f"steps: {task.title}"):
        names = list(steps)
        order.shuffle(names)
        for name in names:
            seconds = timed(steps[name])
            if turn >= 3:
                took[name].append(seconds / task.block)
    ratios = {
        name: quartiles([a / b for a, b in zip(took[name], took["bare"], strict=True)])
        for name in ("standard", "again")
    }
    return ratios | {"bare_seconds": statistics.median(took["bare"])}


def against_standard(task: Task, loss: str, runs: int) -> dict[str, Any]:
    """Return the ratio of the training by each method to that by `standard`, run interleaved."""
    ratios: dict[str, list[float]] = {name: [] for name in EXPRESSIONS}
    own: list[float] = []
    order, names = random.Random(0), list(EXPRESSIONS)
    task.fit("standard", loss)
    before = task.fit("standard", loss)
    for _ in track(range(runs), description=f"methods: {task.title}"):
        order.shuffle(names)
        for name in names:
            seconds = task.fit(name, loss)
            after = task.fit("standard", loss)
            ratios[name].append(2 * seconds / (before + after))
            own.append(after)
            before = after
    return {
        "seconds": statistics.median(own) / task.epochs,
        "methods": {name: quartiles(values) for name, values in ratios.items()},
    }


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    names = list(result["tasks"])
    first = result["tasks"][names[0]]
    rounds, runs = first["steps"]["standard"]["n"], next(iter(first["trainings"]["methods"].values()))["n"]
    lines = [
        f"CPU time; {result['processor']}, {result['cores']} cores, 1 thread, torch {result['torch']}, loss "
        f"{result['loss']}, batch 128; load {result['load'][0]:.1f} before, {result['load'][1]:.1f} after. "
        f"Medians (quartiles) of {rounds} repetitions of a step, {runs} of a training.",
        "",
        "| network | a step without a method | `standard` / without | without, again / without |",
        "|---|---:|---:|---:|",
    ]
    for name in names:
        row = result["tasks"][name]["steps"]
        ratios = (_ratio(row[key]) for key in ("standard", "again"))
        lines.append(f"| {name} | {1000 * row['bare_seconds']:.2f} ms | {' | '.join(ratios)} |")
    seconds = [result["tasks"][name]["trainings"]["seconds"] for name in names]
    lines += [
        "",
        f"| time of an epoch, `standard` = 1 | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
        f"| `standard` | {' | '.join(f'1 ({value:.2f} s)' for value in seconds)} |",
    ]
    for method in first["trainings"]["methods"]:
        each = [result["tasks"][name]["trainings"]["methods"][method] for name in names]
        title = f"`{method}`"
        if nl.method(method).fitted:  # one epoch, whatever the setting
            epochs = [result["tasks"][name]["epochs"] for name in names]
            each = [{k: v * n for k, v in row.items()} for row, n in zip(each, epochs, strict=True)]
            title += ", the whole run"
        lines.append(f"| {title} | {' | '.join(map(_ratio, each))} |")
    return "\n".join(lines) + "\n"


def _ratio(row: dict[str, float]) -> str:
    return f"{row['median']:.3f} ({row['low']:.3f}-{row['high']:.3f})"


def main(options: Options) -> None:
    """Measure, and write the results."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command line does
    before, found = load(), {}
    for task in tasks():
        found[task.title] = {
            "model": task.model,
            "examples": len(task.train),
            "epochs": task.epochs,
            "precision": task.precision,
            "steps": against_bare(task, options.loss, options.rounds),
            "trainings": against_standard(task, options.loss, options.runs),
        }
    result: dict[str, Any] = {
        "tasks": found,
        "loss": options.loss,
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "load": [before, load()],
    }
    options.keep("costs", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
