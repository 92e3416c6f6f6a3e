"""Time limits that do not count while a process waits for a processor, so that load is no finding."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

MOST = 10
"""A limit is extended to at most so many times its length."""


class Limit:
    """A time limit of a process and of all below it.

    The kernel counts how long each thread was ready to run and had no processor. The longest of these times
    is added to the limit: a case that waits for a pipe, a lock or another process still ends in time, while
    one on a machine with other work has as much as on an idle one.

    Args:
        process: the id of the process.
        seconds: the limit, from now on.
    """

    def __init__(self, process: int, seconds: float) -> None:
        self._process, self._seconds = process, seconds
        self._began, self._before = time.monotonic(), _of(process)  # what it starts comes later

    def left(self) -> float:
        """Return the seconds that are left, 0 or fewer when the limit is reached."""
        left = self._began + self._seconds - time.monotonic()
        if left > 0:  # the times need not be read
            return left
        more = max(
            (now - self._before.get(task, 0.0) for task, now in waited(self._process).items()), default=0.0
        )
        return left + min(more, (MOST - 1) * self._seconds)


def waited(process: int) -> dict[str, float]:
    """Return how many seconds each thread of a process, and of those below it, has waited for a processor."""
    return {task: time for each in (process, *descendants(process)) for task, time in _of(each).items()}


def _of(process: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):
                found[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
    return found


def descendants(parent: int) -> list[int]:
    """Return the ids of all processes below a process."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(above, []).append(int(folder.name))
    found, ahead = list[int](), [parent]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found
