"""SIGINT and SIGTERM, recorded for long work to check between its steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):  # noqa: N818  not an error: the run can be resumed
    """The run stopped on request, after writing its checkpoint if it has a folder.

    Args:
        epoch: the epoch in which it stopped, from 1.
        step: steps of that epoch that are done.
        where: text in place of the epoch and the steps, for a run in several parts.
    """

    def __init__(self, epoch: int, step: int, where: str = "") -> None:
        super().__init__(f"stopped {where or f'in epoch {epoch}, after {step} steps of it'}")
        self.epoch = epoch
        self.step = step
        self.signal = int(signal.SIGINT)  # overwritten by a caller that knows the signal


class RankLost(Exception):  # noqa: N818  the run can be resumed
    """Another process of a run on several processes has ended, or its connection.

    Args:
        rank: the number of this process, from 0.
        size: the number of processes.
    """

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(f"process {rank + 1} of {size} lost the connection to another one, which has ended")


class StopSignals:
    """Records the first SIGINT or SIGTERM; calling it returns whether one arrived."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Return whether a signal arrived."""
        return self.signal is not None

    def interrupted(self, where: str) -> Interrupted:
        """Return the exception to raise for the signal.

        >>> print(StopSignals().interrupted("after 3 of 9 images"))
        stopped after 3 of 9 images
        """
        error = Interrupted(0, 0, where)
        error.signal = self.signal or error.signal
        return error

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Record the signal; a second one raises `KeyboardInterrupt` at once."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stop_on_signals() -> Iterator[StopSignals]:
    """Record SIGINT and SIGTERM within the block, and for blocks around it, instead of ending the process."""
    stop = StopSignals()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
            outer = getattr(handler, "__self__", None)
            if stop.signal == number and isinstance(outer, StopSignals):
                outer.signal = outer.signal or number
