"""Backward correction: the losses under all labels, weighed by the inverse of the transition matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.losses.modules import Loss
from noisylabels.methods.inputs import AUTO, check_classes, check_no_ignored
from noisylabels.noise.transition import check_transition
from noisylabels.training.method import PART, LossFunction, Method, Setup

LARGEST_CONDITION = 1000.0
"""The condition number from which a matrix is refused: its inverse amplifies its own errors too much."""


def backward_weights(transition: np.ndarray) -> np.ndarray:
    """Return the weight of the loss under label j for the given label y, ``(T^-1)_yj``, (K, K) float64.

    Rows sum to 1, and entries may be negative.

    Args:
        transition: (K, K) float64, T[true, given], rows sum to 1.

    Raises:
        InputError: a matrix that cannot be inverted well.

    >>> backward_weights(np.array([[0.9, 0.1], [0.1, 0.9]])).round(3).tolist()
    [[1.125, -0.125], [-0.125, 1.125]]
    """
    condition = float(np.linalg.cond(transition))
    if not condition < LARGEST_CONDITION:
        raise InputError(
            f"the transition matrix has the condition number {condition:.3g}, expected less than "
            f"{LARGEST_CONDITION:g} for backward correction, which inverts it; use forward"
        )
    return np.linalg.inv(transition)


class Backward(Method):
    """Minimizes ``sum_j (T^-1)_yj l(z, j)``, whose mean over the noise is the loss of the true label.

    The value may be negative, and unbounded below for an unbounded loss: a network that can memorize makes
    it fall without end. Forward correction has no such fault.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss.
        transition: as in `forward`.

    Source: Patrini et al. 2017, "Making deep neural networks robust to label noise: a loss correction
    approach"; Natarajan et al. 2013 for two classes.
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    needs: ClassVar[Mapping[str, str]] = {"transition": "transition"}
    if_diverged: ClassVar[str] = (
        "the loss of backward has no lower bound: use forward, or a bounded loss such as gce"
    )
    title: ClassVar[str] = "weighs the losses under all labels by the inverse of a transition matrix"
    source: ClassVar[str] = "Patrini et al. 2017; Natarajan et al. 2013"

    inverse: Tensor

    def __init__(
        self, model: nn.Module, loss: LossFunction, *, transition: np.ndarray | Tensor | str = AUTO
    ) -> None:
        super().__init__([model], loss)
        check_no_ignored(loss, "backward")
        self.transition = check_transition(transition)
        self.by_label = backward_weights(self.transition)

    def prepare(self, setup: Setup) -> None:
        """Place the inverse on the device."""
        check_classes(self.transition, setup.num_classes)
        self.register_buffer("inverse", torch.from_numpy(self.by_label).float().to(setup.device))

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the corrected loss and the logits."""
        logits = self.logits(batch.inputs)
        weights = self.inverse.index_select(0, batch.target)
        return self.mean_of_losses(self._corrected(logits, weights), batch), logits

    def _corrected(self, logits: Tensor, weights: Tensor) -> Tensor:
        """Return the mean of each example's losses under all labels with these weights, (B,)."""
        if isinstance(self.loss, Loss):  # linear in its target, negative weights included
            return self.loss_values(logits, weights)
        values = [
            self.loss_values(logits, torch.full_like(weights[:, 0], label, dtype=torch.int64))
            for label in range(weights.shape[1])
        ]
        return (weights * torch.stack(values, 1)).sum(1)
