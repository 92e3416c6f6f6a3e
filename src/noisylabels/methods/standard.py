"""Standard training: one network minimizes the loss on the given labels."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.training.method import LossFunction, Method


class Standard(Method):
    """Minimizes the mean loss of a batch, ``mean_i w_i l(z_i, y_i)``, with weights w_i = 1 unless given.

    Args:
        model: from inputs to logits (B, K).
        loss: from logits and target to a scalar mean.
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    title: ClassVar[str] = "minimizes the loss on the given labels"

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__([model], loss)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits."""
        logits = self.logits(batch.inputs)
        return self.mean_loss(logits, batch), logits
