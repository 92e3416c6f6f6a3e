"""Standard training: one network minimizes the loss on the given labels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.training.method import PART, LossFunction, Method


class Standard(Method):
    """Minimizes the mean loss of a batch, ``mean_i w_i l(z_i, y_i)``, with weights w_i = 1 unless given.

    A loss that compares two views of an example, such as `gjs`, is given both, and a step costs twice as
    much; held-out examples have one, for which `gjs` is `js`.

    Args:
        model: from inputs to logits (B, K).
        loss: from logits and target to a scalar mean.
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    compares_views: ClassVar[bool] = True
    title: ClassVar[str] = "minimizes the loss on the given labels"

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__([model], loss)
        if "two views" in getattr(loss, "needs", ()):
            self.views = ("weak", "weak")

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits, of the first view if there are two."""
        if batch.more_views:
            # one pass, in which batch normalization sees both views
            views = self.logits(torch.cat(batch.views)).chunk(len(batch.views))
            return self.mean_loss(views, batch), views[0]
        logits = self.logits(batch.inputs)
        return self.mean_loss(logits, batch), logits
