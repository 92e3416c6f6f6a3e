"""Standard training: one network minimizes the loss on the given labels."""

from __future__ import annotations

import copy
import hashlib
from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.training.method import LossFunction, Method, Setup


class Standard(Method):
    """Minimizes the mean loss of a batch, ``mean_i w_i l(z_i, y_i)``, with weights w_i = 1 unless given.

    Args:
        model: from inputs to logits (B, K).
        loss: from logits and target to a scalar mean.
        weights: (N,), 0 or more, one per training example. The loss must have a `reduction`, like those of
            `noisylabels.loss` and torch's modules.

    Raises:
        InputError: weights that are negative or not finite, or a loss without a reduction to set.
    """

    capturable: ClassVar[bool] = True

    def __init__(self, model: nn.Module, loss: LossFunction, weights: Tensor | None = None) -> None:
        super().__init__([model], loss)
        self.weights = None if weights is None else _checked_weights(weights, loss)
        per_example = loss
        if weights is not None:
            per_example = copy.copy(loss)
            per_example.reduction = "none"  # type: ignore[attr-defined]
        self._per_example = (per_example,)  # a tuple hides it from state_dict: its state is that of `loss`

    def prepare(self, setup: Setup) -> None:
        """Move the weights to the device, after checking that their number is that of the examples."""
        if self.weights is None:
            return
        if len(self.weights) != setup.num_examples:
            raise InputError(
                f"weights have shape {tuple(self.weights.shape)} for {setup.num_examples} examples, "
                "expected one finite number of 0 or more per example"
            )
        self.weights = self.weights.to(setup.device)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits."""
        logits = self.logits(batch.inputs)
        (loss,) = self._per_example
        value = loss(logits, batch.target)
        if self.weights is not None:
            value = (value * self.weights.index_select(0, batch.positions)).mean()
        return value, logits

    def identity(self) -> dict[str, str]:
        """Return the method's name, and a digest of the weights if they are given."""
        if self.weights is None:
            return super().identity()
        digest = hashlib.sha256(self.weights.cpu().numpy().tobytes()).hexdigest()
        return super().identity() | {"weights": digest}


def _checked_weights(weights: Tensor, loss: LossFunction) -> Tensor:
    """Return the weights as (N,) float32, checked."""
    if not hasattr(loss, "reduction"):
        raise InputError(
            "weights need a loss per example, and this loss has no reduction to set to 'none'; "
            "use one of nl.loss or a module such as nn.CrossEntropyLoss()"
        )
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if weights.ndim != 1 or not bool(((weights >= 0) & weights.isfinite()).all()):
        raise InputError(
            f"weights have shape {tuple(weights.shape)}, expected one finite number of 0 or more per example"
        )
    return weights
