"""What is decided before a study starts: which part of it, for how long, and how long it may take."""

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
    """Return the seconds that "90", "90s", "9m", "1.5h" or "1h30m" mean.

    >>> read_seconds("1h30m"), read_seconds("9m"), read_seconds("0.5")
    (5400.0, 540.0, 0.5)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms]?)", text.strip().lower())
    if not parts or re.sub(r"\s", "", text.lower()) != "".join(number + unit for number, unit in parts):
        raise InputError(f"the time {text!r} cannot be read, expected such as 90s, 9m, 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def in_words(seconds: float) -> str:
    """Return a span of time for people.

    >>> in_words(42), in_words(540), in_words(9000)
    ('42 s', '9 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def shard(cells: Sequence[Cell], text: str | None) -> list[Cell]:
    """Return the part of the cells that "2/5" means: the second of five, dealt out like cards.

    Raises:
        InputError: text of another form, or a part that there is not.
    """
    if text is None:
        return list(cells)
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"the shard is {text!r}, expected such as 2/5: the second of five parts")
    return list(cells[int(found[1]) - 1 :: int(found[2])])


class _Clock(Silent):
    """Counts steps and ends the run when it has seen enough."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.first: float | None = None
        self.last = 0.0
        self.steps = 0
        self.total = 1

    def step(self, epoch: int, done: int, total: int) -> None:
        """Take the time; the first step, which sets things up, counts for nothing."""
        self.last, self.total = time.monotonic(), total
        if self.first is None:
            self.first = self.last
        else:
            self.steps += 1

    def enough(self) -> bool:
        """Say whether the time is up."""
        return self.first is not None and self.last - self.first > self.seconds


def probe(cell: Cell, seconds: float = 10.0, threads: int = 1) -> float:
    """Return about how many seconds a cell takes, from some seconds of it, in a folder that goes again.

    Args:
        cell: the one that is tried.
        seconds: how long.
        threads: as many as its process would have.
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
    a_step = (clock.last - clock.first) / clock.steps  # with the evaluations in between, if it came so far
    return (clock.first - began) + a_step * clock.total * cell.config.epochs


def estimate(each: float, cells: Sequence[Any], jobs: int, cores: int) -> float:
    """Return about how many seconds all cells take in so many processes on so many cores."""
    return each * len(cells) / max(1, min(jobs, cores))
