"""The pace of work: its rate, the time left, and when a log gets its next line."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_SECONDS = 60.0
"""A log gets at most one line of progress in this time."""


class Pace:
    """Rate and remaining time of a training, whose epochs may count over several folds.

    A fold may end before its last epoch; the remaining ones are then expected to be as long as the mean of
    those that have ended.

    Args:
        epochs: epochs per fold.
        folds: number of folds.
        clock: returns the time in seconds.
    """

    def __init__(self, epochs: int, folds: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.epochs, self.folds, self.clock = epochs, folds, clock
        self.began = self.now = clock()
        self.fold = self.epoch = self.done = self.total = self.taken = 0
        self.ended: list[int] = []  # epochs of the folds that have ended

    def step(self, epoch: int, done: int, total: int) -> None:
        """Record a step: `done` of `total` steps of `epoch`, from 1, are done."""
        fold, within = divmod(epoch - 1, self.epochs) if self.folds > 1 else (0, epoch - 1)
        self.now = self.clock()
        if fold + 1 > self.fold > 0:
            self.ended.append(self.epoch)
        if self.taken == 0 or (fold + 1, within + 1, done) <= (self.fold, self.epoch, self.done):
            self.began, self.taken, self.ended = self.now, 0, []  # the first step, or another training
        self.fold, self.epoch, self.done, self.total = fold + 1, within + 1, done, total
        self.taken += 1

    @property
    def place(self) -> str:
        """Return the fold, if there are several, and the epoch, in words."""
        epoch = f"epoch {self.epoch}/{self.epochs}"
        return f"fold {self.fold}/{self.folds}, {epoch}" if self.folds > 1 else epoch

    @property
    def rate(self) -> float | None:
        """Return the steps per second, counted from the first one; None before the second."""
        elapsed = self.now - self.began
        return (self.taken - 1) / elapsed if self.taken > 1 and elapsed > 0 else None

    @property
    def left(self) -> float | None:
        """Return the expected seconds to the end; None if the rate is unknown."""
        if (rate := self.rate) is None:
            return None
        expected = sum(self.ended) / len(self.ended) if self.ended else self.epochs
        here = max(0.0, expected * self.total - (self.epoch - 1) * self.total - self.done)
        return (here + (self.folds - self.fold) * expected * self.total) / rate


class LogLines:
    """Writes lines of progress into a log, at most one per minute.

    Args:
        write: writes a line.
        clock: returns the time in seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.write, self.clock = write, clock
        self.began = self.last = clock()
        self.written = 0
        self.work: tuple[str, float, float] = (
            "",
            0.0,
            0.0,
        )  # its name, when it began, and with how much done

    def due(self) -> bool:
        """Return whether a line may be written now."""
        return self.clock() - self.last >= EVERY_SECONDS

    def line(self, text: str) -> None:
        """Write a line."""
        self.write(text)
        self.last = self.clock()
        self.written += 1

    def training(self, pace: Pace, more: str = "") -> None:
        """Write a line about a training if one is due."""
        if self.due():
            self.line(pace.place + more + _pace(pace.rate, "steps", pace.left))

    def work_done(self, what: str, done: float, total: float, unit: str) -> None:
        """Write a line about a download or the decoding of files if one is due; a total of 0 is unknown."""
        now = self.clock()
        if what != self.work[0] or done < self.work[2]:
            self.work = what, now, done
        if not self.due():
            return
        _, began, first = self.work
        rate = (done - first) / (now - began) if now > began and done > first else None
        amount = f"{done:,.0f} of {total:,.0f}" if total else f"{done:,.0f}"
        left = (total - done) / rate if rate and total else None
        self.line(f"{what}: {amount} {unit}" + _pace(rate, unit, left))


def _pace(rate: float | None, unit: str, left: float | None) -> str:
    from noisylabels.study.plan import in_words

    words = "" if rate is None else f", {rate:.3g} {unit}/s" if rate < 100 else f", {rate:,.0f} {unit}/s"
    return words if left is None else f"{words}, about {in_words(left)} left"
