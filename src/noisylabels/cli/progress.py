"""Progress of a study in a terminal: a bar, the running cells, the remaining time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from noisylabels.cli.pace import LogLines
from noisylabels.cli.terminal import log_console, table

if TYPE_CHECKING:
    from noisylabels.study.grid import Cell
    from noisylabels.study.store import Store


MOST_NAMED = 3
"""Running cells that a line of a log names."""


class Progress:
    """Report a study on standard error: live in a terminal, else one line per finished cell and per minute.

    Args:
        store: store of the cells.
        states: the states of all cells at the start.
        clock: returns the time in seconds.
    """

    def __init__(
        self, store: Store, states: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self.total = len(states)
        self.console = log_console()
        self.running: dict[str, tuple[Cell, int]] = {}  # with the epochs that were done before
        self.done, self.failed = states.count("done"), states.count("failed")
        self.ended_before = self.done + self.failed
        self.noted: set[str] = set()
        self.clock, self.began = clock, clock()
        self.drawn = -math.inf
        self.log = LogLines(self.say, clock)
        self._live = Live(console=self.console, refresh_per_second=4, transient=True)
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the live display."""
        self.console.print(text, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a note once, because many cells give the same one."""
        with self._lock:
            new = text not in self.noted
            self.noted.add(text)
        if new:
            self.say(f"note: {text}")

    def begun(self, cell: Cell) -> None:
        """Record that a cell has started."""
        epoch = self.store.state(cell).epoch
        with self._lock:
            self.running[cell.name] = cell, epoch

    def ended(self, cell: Cell, answer: dict[str, str]) -> None:
        """Record the outcome of a cell and print it."""
        with self._lock:
            self.running.pop(cell.name, None)
            status, message = answer["status"], answer["message"]
            self.done += status in ("done", "found")
            self.failed += status in ("failed", "refused")
        for text in answer.get("notes", "").splitlines():
            self.note(text)
        if status == "damaged":
            self.say(f"{cell.name} is damaged ({message})")
        elif status in ("failed", "refused"):
            self.say(f"failed: {cell.name}: {message}")
        elif status == "done" and not self.console.is_terminal:
            accuracy = self.store.state(cell).accuracy or 0.0
            told = f", {message}" if message else ""
            self.say(f"{self.done}/{self.total} {cell.name}: test accuracy {100 * accuracy:.2f} %{told}")

    def tick(self) -> None:
        """Redraw the live display."""
        if self.console.is_terminal:
            if self.clock() - self.drawn > 0.2:
                self._live.update(self._drawn())
                self.drawn = self.clock()
        elif self.log.due():
            _, words, rows = self._now()
            running = "; ".join(f"{name} in epoch {epoch}" for name, epoch, _ in rows[:MOST_NAMED])
            more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
            self.log.line(words + (f", running: {running}{more}" if rows else ""))

    def _drawn(self) -> Any:
        completed, words, rows = self._now()
        head = Table.grid(padding=(0, 1))
        head.add_row(ProgressBar(total=self.total, completed=completed, width=30), words)
        return Group(head, table(["running", "epoch", "test accuracy"], rows) if rows else Text(""))

    def _now(self) -> tuple[float, str, list[list[str]]]:
        """Return the cells completed, also in part, the state in words, and a row per running cell."""
        from noisylabels.study.plan import in_words

        with self._lock:
            running = list(self.running.values())
        elapsed = self.clock() - self.began
        rows, part, before = [], 0.0, 0.0
        for cell, epoch in running:
            state = self.store.state(cell)
            part += state.epoch / cell.config.epochs
            before += epoch / cell.config.epochs
            accuracy = "" if state.accuracy is None else f"{100 * state.accuracy:.1f} %"
            rows.append([cell.name, f"{state.epoch}/{cell.config.epochs}", accuracy])
        total = self.total
        made = self.done + self.failed - self.ended_before + part - before
        left = total - self.done - self.failed - part
        words = f"{self.done} of {total} cells done" + (f", {self.failed} failed" if self.failed else "")
        if made > 0.2:
            words += f", {3600 * made / elapsed:,.0f} per hour, about {in_words(left * elapsed / made)} left"
        return self.done + self.failed + part, words, rows
