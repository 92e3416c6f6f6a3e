"""Who is told how a run goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from noisylabels.training.callbacks import Callback, StepResult


class Reporter(Protocol):
    """Somebody who is told how a run goes; the command line draws it."""

    def note(self, text: str) -> None:
        """Something that the user should know, once."""

    def decoding(self, what: str, done: int, total: int) -> None:
        """`done` of `total` images are decoded, or files checked, or bytes downloaded, as `what` says."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """`done` of `total` steps of `epoch` are done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch has ended."""


class Silent:
    """A reporter that keeps to itself."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def decoding(self, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """Say nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Say nothing."""


class Notes(Silent):
    """A reporter that hands notes to a function, and keeps the rest to itself."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.notify = notify

    def note(self, text: str) -> None:
        """Hand it on."""
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
