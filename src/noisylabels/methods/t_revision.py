"""T-revision: a transition matrix is revised while the network is trained with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.forward import forward_logits
from noisylabels.methods.inputs import AUTO, check_classes
from noisylabels.noise.transition import check_transition
from noisylabels.training.method import PART, LossFunction, Method, ParameterGroup, Setup
from noisylabels.training.settings import Settings

FORWARD, REWEIGHT = "forward", "reweight"

_CODE = "Xia et al. 2019, main.py of their code"


def revised_transition(transition: Tensor, delta: Tensor) -> Tensor:
    """Return ``T + Delta`` as a transition matrix, (K, K): entries of at least 0, rows divided by their sums.

    Args:
        transition: (K, K), T[true, given], rows sum to 1.
        delta: (K, K).

    >>> revised_transition(torch.eye(2), torch.tensor([[0.0, 0.25], [-0.5, 0.0]]))
    tensor([[0.8000, 0.2000],
            [0.0000, 1.0000]])
    """
    raised = (transition + delta).clamp_min(0)
    return raised / raised.sum(1, keepdim=True).clamp_min(torch.finfo(raised.dtype).tiny)


def importance(logits: Tensor, transition: Tensor, target: Tensor) -> Tensor:
    """Return ``p_y / q_y`` with ``q = T' p``, (B,): how likely a label is right, in units of 1 / T_yy.

    Args:
        logits: (B, K); p is their softmax.
        transition: (K, K), T[true, given], rows sum to 1.
        target: (B,) int64, the given labels y.

    >>> importance(torch.zeros(1, 2), torch.tensor([[0.9, 0.1], [0.5, 0.5]]), torch.tensor([1]))
    tensor([1.6667])
    """
    log_ratio = logits.log_softmax(1) - forward_logits(logits, transition)
    return log_ratio.gather(1, target.unsqueeze(1)).squeeze(1).exp()


class TRevision(Method):
    """Minimizes `forward`'s loss, or an importance-weighted one, by T + Delta with Delta trained too.

    An estimated transition matrix is wrong somewhere, mostly where no example surely belongs to a class. The
    labels correct it: Delta, 0 at the start, descends the same loss as the network once the network has
    learned from T, at a small learning rate of its own. After each step entries of T + Delta below 0 are
    set to 0, and its rows are divided by their sums. An entry of T that is 0 can grow unless all
    others of its column but the diagonal are 0 too.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss; it needs a `reduction` with how="reweight".
        how: "forward", the loss of log q as logits, ``l(log q, y)`` with ``q = (T + Delta)' p``; or
            "reweight", ``p_y / q_y l(z, y)``, the loss of the true label on average.
        lr_delta: learning rate of Delta, by Adam without decay; it follows the run's schedule. With 0 the
            method is `forward`, or that of fixed importance weights.
        start: the share of the run after which Delta is trained. From then on the importance weights have a
            gradient, by which a network that has not learned yet can make them small: classes die out.
        transition: T, as in `forward`.

    Source: Xia et al. 2019, "Are anchor points really indispensable in label-noise learning?" They reweight;
    they train with T, return to the epoch that is best on noisy validation labels, and go on from there with
    Adam at 5e-7 for network and Delta. The rows of their T + Delta are not divided by their sums, and the
    slower of their two versions of the loss adds Delta once more for each example of a batch.
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    needs: ClassVar[Mapping[str, str]] = {"transition": "transition"}
    title: ClassVar[str] = "applies the loss by a transition matrix that is revised in training"
    source: ClassVar[str] = "Xia et al. 2019 (T-Revision)"
    domain: ClassVar = {
        "how": {"choices": (FORWARD, REWEIGHT)},
        "lr_delta": {"low": 0.0},
        "start": {"low": 0.0, "high": 1.0},
    }
    presets: ClassVar = {
        "xia2019": Preset("t_revision(how=reweight,lr_delta=5e-7,start=0.5,transition=anchor)", _CODE),
    }

    matrix: Tensor
    delta: nn.Parameter
    revising: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        how: str = FORWARD,
        lr_delta: float = 0.0001,
        start: float = 0.5,
        transition: np.ndarray | Tensor | str = AUTO,
    ) -> None:
        super().__init__([model], loss)
        self.how, self.lr_delta, self.start = self.checked(how=how, lr_delta=lr_delta, start=start)
        self.transition = check_transition(transition)

    def prepare(self, setup: Setup) -> None:
        """Place T and Delta on the device."""
        check_classes(self.transition, setup.num_classes)
        self.register_buffer("matrix", torch.from_numpy(self.transition).float().to(setup.device))
        self.register_buffer("revising", torch.zeros((), device=setup.device))
        self.delta = nn.Parameter(torch.zeros_like(self.matrix))
        self.first = self.start * setup.epochs

    def begin_epoch(self, epoch: int) -> None:
        """Train Delta from its first epoch on, by an optimizer that begins with it."""
        self.revising.fill_(epoch >= self.first)
        if epoch - 1 < self.first <= epoch:
            self.renew_optimizer([self.delta])

    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        """Return the network's parameters, and Delta with its own learning rate."""
        own = ParameterGroup([self.delta], "adamw", self.lr_delta, momentum=0.9, weight_decay=0.0)
        return [*super().parameter_groups(settings), own]

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the corrected loss and the logits."""
        with torch.no_grad():  # so that an entry at 0 has a gradient again
            self.delta.clamp_(min=-self.matrix)
        logits = self.logits(batch.inputs)
        revised = revised_transition(self.matrix, self.revising * self.delta)
        if self.how == FORWARD:
            return self.mean_loss(forward_logits(logits, revised), batch), logits
        weight = importance(logits, revised, batch.target)
        # the weights are constants while T is
        weight = weight.detach() + self.revising * (weight - weight.detach())
        return self.mean_of_losses(weight * self.loss_values(logits, batch.target), batch), logits

    def columns(self) -> dict[str, float | None]:
        """Return the total variation distance of the revised rows from those of T, in the mean."""
        moved = (revised_transition(self.matrix, self.delta.detach()) - self.matrix).abs().sum(1) / 2
        return {"revision": float(moved.mean())}
