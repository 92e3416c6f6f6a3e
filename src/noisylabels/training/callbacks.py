"""Callbacks: objects that follow a training run, add columns to its history, and may end it."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from noisylabels.training.history import History

if TYPE_CHECKING:
    from torch import Tensor

    from noisylabels.data.loader import Batch, Batches
    from noisylabels.training.method import Method


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


@dataclass(frozen=True)
class RunStart:
    """The facts about a run that a callback is given before the first step. Tensors are on the device.

    Args:
        method: the method, on the device, with its networks and its loss.
        given: int64, (N,): the given labels of the whole training set.
        true: int64, (N,): the true labels, -1 for an image of no class; None if they are unknown.
        positions: int64, (n,): positions of the examples that are trained on, ascending.
        num_classes: K.
        epochs, steps: of the run, and steps per epoch.
        seed: the run's seed.
        batches: returns unaugmented batches of the examples at some positions, in this order.
        note: shows the user a message.
    """

    method: Method
    given: Tensor
    true: Tensor | None
    positions: Tensor
    num_classes: int
    epochs: int
    steps: int
    seed: int
    batches: Callable[[Tensor], Batches]
    note: Callable[[str], None]


class Probe(ABC):
    """Measures one update from the inside, where its graph and its gradients are.

    A probe must leave the update as it is: it draws no random numbers and changes no gradient.
    """

    @abstractmethod
    def before_backward(self, value: Tensor, logits: Tensor, batch: Batch, scale: float) -> None:
        """Look at the loss () and the logits (B, K) of a step, whose graph must be retained.

        The backward pass multiplies the loss by `scale`, which is 1 except in float16.
        """

    @abstractmethod
    def after_backward(self, scale: float) -> None:
        """Look at the gradients in ``parameter.grad``: those of the loss times `scale`, before clipping."""

    @abstractmethod
    def after_update(self) -> None:
        """Look at the updated weights."""


class Callback:
    """Follows a training run. Every hook does nothing unless a subclass overrides it."""

    def on_start(self, start: RunStart) -> None:
        """Handle the start of a run, before its first step and before saved state is restored."""

    def probe(self, step: int) -> Probe | None:
        """Return a probe of the next step, the `step`-th of the run (from 0), or None.

        A step with a probe is not replayed from a CUDA graph; the others are.
        """
        return None

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
        """Handle a message that the user should see once.

        Args:
            text: one line.
        """

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
        """Restore what `state_dict` returned.

        Args:
            state: the content, from a checkpoint.
        """


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
