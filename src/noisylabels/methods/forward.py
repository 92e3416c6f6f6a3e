"""Forward correction: the loss compares the given label with the probabilities of given labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.methods.inputs import AUTO, check_classes
from noisylabels.noise.transition import check_transition
from noisylabels.training.method import PART, LossFunction, Method, Setup


def forward_logits(logits: Tensor, transition: Tensor) -> Tensor:
    """Return the log-probabilities of the given labels, ``log q_j`` with ``q_j = sum_i p_i T_ij``.

    Computed as ``log(p_j T_jj + sum_{i != j} p_i T_ij)`` with the first part in logarithms, so that it is
    exact for the identity, and keeps a gradient where q_j is too small for a float.

    Args:
        logits: (B, K); p is their softmax.
        transition: (K, K), T[true, given], rows sum to 1.

    >>> forward_logits(torch.zeros(1, 2), torch.tensor([[0.9, 0.1], [0.5, 0.5]])).exp()
    tensor([[0.7000, 0.3000]])
    """
    log_p = logits.log_softmax(1)
    own = transition.diagonal()
    rest = log_p.exp() @ (transition - torch.diag(own))
    there = rest > 0
    log_rest = torch.where(there, rest, 1.0).log().masked_fill(~there, -torch.inf)
    return torch.logaddexp(log_p + own.clamp_min(torch.finfo(own.dtype).tiny).log(), log_rest)


class Forward(Method):
    """Minimizes ``l(log q, y)`` with ``q = T' p``, the probabilities of the given labels.

    The network learns the probabilities of the true labels, because T, the transition matrix from true to
    given labels, explains the noise. For a T that is right, the minimizer of a proper loss is that on clean
    labels. Predictions are p.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss; it is given log q as logits.
        transition: (K, K), T[true, given], rows sum to 1; the words of `methods.inputs.KINDS` stand for a
            matrix that a run estimates, and a file of one can be named.

    Source: Patrini et al. 2017, "Making deep neural networks robust to label noise: a loss correction
    approach".
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    needs: ClassVar[Mapping[str, str]] = {"transition": "transition"}
    title: ClassVar[str] = "applies the loss to the probabilities of the given labels, by a transition matrix"
    source: ClassVar[str] = "Patrini et al. 2017"

    matrix: Tensor

    def __init__(
        self, model: nn.Module, loss: LossFunction, *, transition: np.ndarray | Tensor | str = AUTO
    ) -> None:
        super().__init__([model], loss)
        self.transition = check_transition(transition)

    def prepare(self, setup: Setup) -> None:
        """Place the matrix on the device."""
        check_classes(self.transition, setup.num_classes)
        self.register_buffer("matrix", torch.from_numpy(self.transition).float().to(setup.device))

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of the corrected logits, and the logits themselves."""
        logits = self.logits(batch.inputs)
        return self.mean_loss(forward_logits(logits, self.matrix), batch), logits
