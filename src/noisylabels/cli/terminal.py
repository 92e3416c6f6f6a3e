"""Output in a terminal: progress bars, tables, shaded matrices."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from noisylabels.cli.pace import LogLines, Pace
from noisylabels.core.printable import printable
from noisylabels.core.process import discard_output


class _Output(Console):
    """Rich's console, except that a closed pipe, as after head, is no failure."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; texts, which may hold names from files, are made printable, and `table` does that itself."""
        super().print(*(printable(one) if isinstance(one, str) else one for one in objects), **options)

    def on_broken_pipe(self) -> None:
        """Exit without an error and discard what is left in the buffer."""
        discard_output()
        raise SystemExit(0)


def log_console() -> Console:
    """Return a console for progress and notes: standard error."""
    return _Output(stderr=True, highlight=False)


@cache
def console() -> Console:
    """Return the console for results: standard output, wide enough for a table if it is a pipe."""
    return _Output(soft_wrap=False, highlight=False, width=None if sys.stdout.isatty() else 140)


class TerminalReporter:
    """Report a run on standard error: progress bars in a terminal, elsewhere one line per minute.

    Args:
        epochs: epochs of the run, or of each fold.
        folds: number of folds, whose epochs are counted one after the other.
        clock: returns the time in seconds.
    """

    def __init__(self, epochs: int, folds: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.epochs = epochs * folds
        self.pace = Pace(epochs, folds, clock)
        self.console = log_console()
        self.log = LogLines(self._line, clock)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.noted: set[str] = set()
        self.tasks: dict[str, TaskID] = {}
        self.last: dict[str, Any] | None = None

    def __enter__(self) -> TerminalReporter:
        self.progress.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        from noisylabels.study.plan import in_words

        self.progress.stop()
        if self.log.written and kind is None:
            self._line(f"ended after {in_words(self.log.clock() - self.log.began)}")

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def start(self, text: str) -> None:
        """Print what will be done."""
        self._line(text)

    def note(self, text: str) -> None:
        """Print a note, once: each fold of an audit gives the same ones."""
        if text in self.noted:
            return
        self.noted.add(text)
        self._line(f"note: {text}")

    def decoding(self, what: str, done: int, total: int) -> None:
        """Advance the bar of a download, of the check of files, or of decoding."""
        if what.startswith("downloading"):
            self._bar(what, done / 1e6, total / 1e6, "MB")  # a total of 0 is unknown
        else:
            unit = next((unit for unit in ("files", "texts") if unit in what), "images")
            self._bar(what, done, total, unit)

    def begin(self, epochs: int) -> None:
        """Store the number of epochs, which the recipe for tables may have changed."""
        self.epochs = epochs

    def step(self, epoch: int, done: int, total: int) -> None:
        """Advance the bar of training, over all epochs."""
        self.pace.step(epoch, done, total)
        words = ""
        for part in ("test", "validation"):
            if self.last is not None and (accuracy := self.last.get(f"{part}_accuracy")) is not None:
                words = f", {part} {100 * accuracy:.1f} %"
                break
        if self.progress.disable:
            self.log.training(self.pace, words)
        else:
            words = self.pace.place + words
            self._bar("training", (epoch - 1) * total + done, self.epochs * total, "steps", words)

    def epoch(self, row: dict[str, Any]) -> None:
        """Store the last epoch's row for the bar."""
        self.last = row

    def _bar(self, what: str, done: float, total: float, unit: str, words: str = "") -> None:
        if self.progress.disable:
            self.log.work_done(what, done, total, unit)
            return
        if what not in self.tasks:
            # in a resumed run the first call is not step 0; the rate counts from there
            self.tasks[what] = self.progress.add_task(what, total=total, completed=int(done), rate="")
        task = self.tasks[what]
        self.progress.update(task, completed=done, description=printable(words or what))
        speed = self.progress.tasks[self.progress.task_ids.index(task)].speed
        self.progress.update(task, rate=f"{speed:.1f} {unit}/s" if speed else "")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table of text."""
    result = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for header in headers:
        result.add_column(Text(printable(header)), overflow="fold")
    for row in rows:
        result.add_row(*(Text(printable(cell)) for cell in row))
    return result


def matrix(
    values: Sequence[Sequence[float]], names: Sequence[str], title: str, sizes: Sequence[int] | None = None
) -> Table:
    """Return a shaded matrix of shares in per cent, one row per true and one column per given class.

    With `sizes`, the number of examples of each true class follows its name.
    """
    result = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 0)
    )
    result.add_column("true \\ given ", justify="right", max_width=24, no_wrap=True)
    if sizes is not None:
        result.add_column("examples ", justify="right")
    for name in names:
        result.add_column(Text(f" {printable(name[:4], breaks='')}"), justify="right", min_width=5)
    for k, (name, row) in enumerate(zip(names, values, strict=True)):
        beside = [] if sizes is None else [Text(f"{sizes[k]} ")]
        result.add_row(Text(f"{printable(name, breaks='')} "), *beside, *(_shaded(value) for value in row))
    return result


def _shaded(value: float) -> Text:
    """Return a share in per cent on a background that darkens with it."""
    if value == 0:
        return Text("·", style="dim")
    light = round(255 - 190 * min(1.0, value))
    ground = f"rgb({light},{light},255)" if value < 1 else "rgb(65,65,255)"
    ink = "black" if light > 150 else "white"
    text = f"{100 * value:5.1f}" if value < 0.9995 else "  100"  # leaves a gap to the cell before
    return Text(text, style=f"{ink} on {ground}")
