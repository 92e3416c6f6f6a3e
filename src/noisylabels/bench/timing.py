"""Time two functions in alternation, so that other load on the machine slows both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from noisylabels.core.checks import check_between


@dataclass(frozen=True)
class Ratio:
    """The time of a function relative to that of a baseline.

    Args:
        median: median of the ratios of all rounds.
        low, high: their quartiles.
        rounds: number of rounds.
        seconds: median time of one call.
        baseline_seconds: median time of one call of the baseline.
    """

    median: float
    low: float
    high: float
    rounds: int
    seconds: float
    baseline_seconds: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def compare(
    what: Callable[[], object],
    baseline: Callable[[], object],
    *,
    rounds: int = 11,
    seconds: float = 0.05,
    device: torch.device | None = None,
) -> Ratio:
    """Time two functions in alternation.

    Args:
        what, baseline: called repeatedly; their results are dropped.
        rounds: number of rounds; each times both functions, in alternating order.
        seconds: the least duration of a round of either; a longer call makes a round alone.
        device: synchronized before and after a round if it is a GPU.

    >>> compare(lambda: sum(range(2000)), lambda: sum(range(1000)), rounds=3, seconds=0.001).rounds
    3
    """
    check_between(rounds, "rounds", low=2)
    for function in (what, baseline):  # warm up caches and compilers
        function()
        function()
    calls = [max(1, round(seconds / max(_time(function, 1, device), 1e-9))) for function in (what, baseline)]
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        turns = ((what, calls[0], ours), (baseline, calls[1], theirs))
        for function, count, times in turns if number % 2 else reversed(turns):
            times.append(_time(function, count, device) / count)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    median = statistics.median
    return Ratio(median(ratios), low, high, rounds, median(ours), median(theirs))


def _time(function: Callable[[], object], count: int, device: torch.device | None) -> float:
    wait = device is not None and device.type == "cuda"
    if wait:
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(count):
        function()
    if wait:
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
