"""Plan a study before it starts: select a shard, read the time budget, estimate the duration."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from noisylabels.core.checks import InputError
from noisylabels.experiment import Silent, run
from noisylabels.study.grid import Cell

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def read_seconds(text: str) -> float:
    """Parse a duration such as "90", "90s", "9m", "1.5h" or "1h30m" into seconds.

    >>> read_seconds("1h30m"), read_seconds("9m"), read_seconds("0.5")
    (5400.0, 540.0, 0.5)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms]?)", text.strip().lower())
    if not parts or re.sub(r"\s", "", text.lower()) != "".join(number + unit for number, unit in parts):
        raise InputError(f"the duration is {text!r}, expected a text such as 90s, 9m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def in_words(seconds: float) -> str:
    """Return a duration as text.

    >>> in_words(42), in_words(540), in_words(9000)
    ('42 s', '9 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def shard(cells: Sequence[Cell], text: str | None) -> list[Cell]:
    """Return the shard of the cells given as "2/5": the second of five parts, assigned round-robin.

    Raises:
        InputError: text of another form, or a part out of range.
    """
    if text is None:
        return list(cells)
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"the shard is {text!r}, expected a text such as 2/5, the second of five parts")
    return list(cells[int(found[1]) - 1 :: int(found[2])])


class _Clock(Silent):
    """Count steps, and end the run when the time is up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.first: float | None = None
        self.last = 0.0
        self.steps = 0
        self.total = 1

    def step(self, epoch: int, done: int, total: int) -> None:
        """Record the time of a step; the first step includes the setup and is not counted."""
        self.last, self.total = time.monotonic(), total
        if self.first is None:
            self.first = self.last
        else:
            self.steps += 1

    def enough(self) -> bool:
        """Return whether the time is up."""
        return self.first is not None and self.last - self.first > self.seconds


def probe(cell: Cell, seconds: float = 10.0, threads: int = 1) -> float:
    """Estimate the seconds that a cell takes by running it briefly in a temporary folder.

    Args:
        cell: the cell to run.
        seconds: duration of the probe.
        threads: number of threads, as in the study.
    """
    import torch

    from noisylabels.training.interrupt import Interrupted

    clock, before = _Clock(seconds), torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(torch.set_num_threads, before)
        torch.set_num_threads(threads)
        config = dataclasses.replace(cell.config, out=f"{folder}/probe", checkpoint_epochs=10**6)
        began = time.monotonic()
        with contextlib.suppress(Interrupted):
            run(dataclasses.replace(config, epochs=min(config.epochs, 3)), clock, clock.enough)
        whole = time.monotonic() - began
    if clock.first is None or not clock.steps:
        return whole * cell.config.epochs / min(cell.config.epochs, 3)
    a_step = (clock.last - clock.first) / clock.steps  # includes evaluations, if the probe reached one
    return (clock.first - began) + a_step * clock.total * cell.config.epochs


def estimate(each: float, cells: Sequence[Any], jobs: int, cores: int) -> float:
    """Estimate the seconds that all cells take in `jobs` processes on `cores` cores."""
    return each * len(cells) / max(1, min(jobs, cores))
