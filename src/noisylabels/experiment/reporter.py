"""Reporters: receivers of a run's progress and notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from noisylabels.training.callbacks import Callback, StepResult


class Reporter(Protocol):
    """Receives the progress and notes of a run; the command line displays them."""

    def start(self, text: str) -> None:
        """Handle a line about the training that is about to start."""

    def note(self, text: str) -> None:
        """Handle a message that the user should see once."""

    def decoding(self, what: str, done: int, total: int) -> None:
        """Handle progress: `done` of `total` images, files or bytes; `what` describes them."""

    def begin(self, epochs: int) -> None:
        """Handle the start of training, which takes at most `epochs` epochs."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """Handle a step: `done` of `total` steps of `epoch` are done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Handle the end of an epoch, with its row of the history."""


def announce(reporter: Reporter, text: str) -> None:
    """Tell a reporter what will be trained; reporters written for version 0.1 have no `start`."""
    if callable(start := getattr(reporter, "start", None)):
        start(text)


def begin(reporter: Reporter, epochs: int) -> None:
    """Tell a reporter how many epochs follow; reporters written for version 0.1 have no `begin`."""
    if callable(found := getattr(reporter, "begin", None)):
        found(epochs)


class Silent:
    """A reporter that ignores everything."""

    def start(self, text: str) -> None:
        """Ignore the line."""

    def note(self, text: str) -> None:
        """Ignore the message."""

    def decoding(self, what: str, done: int, total: int) -> None:
        """Ignore the progress."""

    def begin(self, epochs: int) -> None:
        """Ignore the start."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """Ignore the step."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Ignore the epoch."""


class Notes(Silent):
    """A reporter that passes notes to a function and ignores the rest.

    Args:
        notify: receives each note, one line.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.notify = notify

    def note(self, text: str) -> None:
        """Pass the message to the function."""
        self.notify(text)


class ReportProgress(Callback):
    """A callback that passes notes, steps and epochs of the training on to a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def on_note(self, text: str) -> None:
        """Pass a note on."""
        self.reporter.note(text)

    def on_step(self, step: StepResult) -> None:
        """Report a step."""
        self.reporter.step(step.epoch, step.done, step.total)

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Report an epoch."""
        self.reporter.epoch(row)


class Announce(Callback):
    """A callback that tells a reporter, when the first epoch starts, what is trained.

    Args:
        reporter: the reporter.
        text: the line.
    """

    def __init__(self, reporter: Reporter, text: str) -> None:
        self.reporter, self.text = reporter, text

    def on_epoch_start(self, epoch: int) -> None:
        """Report the line, once."""
        if self.text:
            announce(self.reporter, self.text + (f"; resumes in epoch {epoch}" if epoch > 1 else ""))
        self.text = ""
