"""Callbacks: objects that follow a training run, add columns to its history, and may end it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from noisylabels.training.history import History

if TYPE_CHECKING:
    from torch import Tensor


class Stop(enum.Enum):
    """The ways in which a callback ends a run."""

    PAUSE = "pause"
    """now: a checkpoint is written and `Interrupted` is raised; the same call resumes the run"""
    FINISH = "finish"
    """after the current epoch, for early stopping: the run is done"""


class StepResult(NamedTuple):
    """One training step. Its tensors are on the device and valid until the next step."""

    epoch: int  # from 1
    done: int  # steps of this epoch, including this one
    total: int  # steps per epoch
    positions: Tensor  # int64, (B,): the examples' positions in the training set
    logits: Tensor  # (B, K), detached
    target: Tensor  # int64, (B,): the given labels
    loss: Tensor  # (), detached


class Callback:
    """Follows a training run. Every hook does nothing unless a subclass overrides it."""

    def on_epoch_start(self, epoch: int) -> None:
        """Handle the start of `epoch` (from 1); a resumed run calls it again for the epoch it resumes."""

    def on_step(self, step: StepResult) -> None:
        """Handle a finished step. Reading a tensor's value here makes the host wait for the device."""

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Handle the end of an epoch. `row` is its row of the history, to which columns may be added.

        The networks are in evaluation mode. An added value is a finite number or None.
        """

    def on_saved(self, history: History) -> None:
        """Handle a written checkpoint: no epoch in `history` will be trained again."""

    def on_note(self, text: str) -> None:
        """Handle a message that the user should see once."""

    def should_stop(self, history: History) -> Stop | None:
        """Return how to end the run, or None to continue; asked after every step and every epoch.

        `Stop.PAUSE` takes effect after a step, `Stop.FINISH` after an epoch. The answer should depend only on
        `history` or saved state, so that a resumed run gets the same.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values to keep in the checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class PauseWhen(Callback):
    """Pauses the run once `condition` returns True.

    Args:
        condition: asked after every step.
    """

    def __init__(self, condition: Callable[[], bool]) -> None:
        self.condition = condition

    def should_stop(self, history: History) -> Stop | None:
        """Return `Stop.PAUSE` once the condition holds."""
        return Stop.PAUSE if self.condition() else None
