"""SIGINT and SIGTERM as a question that the loop asks between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):  # noqa: N818  not an error: the run can go on
    """The run was asked to stop, and has written its checkpoint."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"stopped in epoch {epoch}, after {step} steps of it")
        self.epoch = epoch
        self.step = step
        self.signal = int(signal.SIGINT)  # whoever knows better says so


class StopSignals:
    """Remembers the first SIGINT or SIGTERM; calling it says whether one came."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Say whether one came."""
        return self.signal is not None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Take note; a second signal no longer waits for the step to end."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stop_on_signals() -> Iterator[StopSignals]:
    """Within the block, SIGINT and SIGTERM are noted instead of ending the process."""
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
