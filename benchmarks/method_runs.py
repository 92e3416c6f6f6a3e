"""Read the runs of studies of methods: accuracy by method, loss, noise and seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import noisylabels as nl
from noisylabels.study.statistics import Summary, compare, summarize
from noisylabels.study.store import read_rows

LOSSES = ("ce", "gce", "nce+rce", "nce+mae", "nfl+rce", "anl_ce")
SINGLE = ("ce", "gce")
HYBRID = ("standard", "elr", "coteaching", "forward", "agreement", "ogc", "relabel")
METHODS = (
    *("standard", "elr", "sop", "forward", "backward", "coteaching", "agreement", "mixup", "ogc", "relabel"),
    "knn",
)
SYMMETRIC = ("symmetric 0.4", "symmetric 0.5", "symmetric 0.8")
NOISES = (*SYMMETRIC, "asymmetric 0.4", "instance 0.4", "human worse")

Key = tuple[str, str, str]
"""Method, loss, noise."""


def words(noise: str) -> str:
    """Return the name of a noise in tables: "symmetric 0.4", "human worse"."""
    kind, _, rest = noise.partition(":")
    value, _, qualifier = rest.partition("@")
    return f"human {qualifier}" if kind == "human" else f"{kind} {value}"


@dataclass
class Grid:
    """Runs of one data set with one network.

    Args:
        title: the data and the network, in words.
        examples: number of training examples.
        accuracy: (method, loss, noise) -> seed -> test accuracy of the last epoch, in [0, 1].
        failed: (method, loss, noise) -> number of runs that diverged.
        rates: noise -> noise rate of each of its runs.
        last: (method, loss, noise) -> the last row of the history of each run.
        seconds: (method, loss, noise) -> seconds of training of each run.
        epochs: method -> number of epochs.
        config: settings of one run with `standard`.
        machine: what the runs were made on.
    """

    title: str
    examples: int
    accuracy: dict[Key, dict[int, float]] = field(default_factory=dict)
    failed: dict[Key, int] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    last: dict[Key, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[Key, list[float]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    machine: str = ""

    def noises(self, methods: Sequence[str], losses: Sequence[str]) -> list[str]:
        """Return the noises under which all of the methods were run with all of the losses."""
        return [
            noise
            for noise in NOISES
            if all(self._run((method, loss, noise)) for method in methods for loss in losses)
        ]

    def _run(self, key: Key) -> bool:
        return key in self.accuracy or key in self.failed

    @property
    def losses(self) -> list[str]:
        """Return the losses that were run alone, by `standard`."""
        return [loss for loss in LOSSES if any(key[:2] == ("standard", loss) for key in self.accuracy)]

    @property
    def sums(self) -> list[str]:
        """Return the sums among the losses."""
        return [loss for loss in self.losses if loss not in SINGLE]

    def values(self, method: str, loss: str, noise: str) -> dict[int, float]:
        """Return seed -> test accuracy."""
        return self.accuracy.get((method, loss, noise), {})

    def summary(self, method: str, loss: str, noise: str) -> Summary | None:
        """Return a summary of the accuracies of a cell, or None if it has none."""
        values = self.values(method, loss, noise)
        return summarize(list(values.values())) if values else None

    def best(self, noise: str) -> str:
        """Return the loss with the highest mean accuracy under `standard`."""
        means = {loss: found.mean for loss in self.losses if (found := self.summary("standard", loss, noise))}
        return max(means, key=lambda loss: means[loss])

    def gain(self, first: tuple[str, str], second: tuple[str, str], noise: str) -> Summary:
        """Return the difference of two (method, loss), paired by seed: the same noisy labels."""
        return compare(self.values(*first, noise), self.values(*second, noise)).difference

    @property
    def steps(self) -> int:
        """Return the number of steps of a run with one network."""
        return int(self.config["epochs"]) * math.ceil(self.examples / int(self.config["batch_size"]))


def read_grid(title: str, examples: int, files: Sequence[Path]) -> Grid:
    """Return the runs of some exported studies, which have the same data and network.

    Args:
        title: the data and the network, in words.
        examples: number of training examples.
        files: exported studies; one that is missing has no runs.
    """
    names = {nl.loss(loss).expression: loss for loss in LOSSES}
    grid, seen = Grid(title, examples), set()
    for row in _rows(files):
        if row["run_id"] in seen:
            continue
        seen.add(row["run_id"])
        config, final = row["config"], row["final"]
        method, noise = str(config.get("method", "standard")), words(str(config["noise"]))
        loss, seed = names.get(str(config["loss"]), str(config["loss"])), int(config["seed"])
        if row["status"] != "done":
            grid.failed[method, loss, noise] = grid.failed.get((method, loss, noise), 0) + 1
            continue
        grid.accuracy.setdefault((method, loss, noise), {})[seed] = float(final["test_accuracy"])
        grid.rates.setdefault(noise, []).append(float(row["noise"]["rate"]))
        grid.last.setdefault((method, loss, noise), []).append(final)
        took = sum(epoch["train_seconds"] for epoch in row["history"])
        grid.seconds.setdefault((method, loss, noise), []).append(took)
        grid.epochs[method] = int(config["epochs"])
        if method == "standard":
            grid.config = config
            grid.machine = str(row["environment"]["processor"])
    return grid


def _rows(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        if path.exists():
            yield from read_rows(path)
