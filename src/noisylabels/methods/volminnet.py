"""VolMinNet: network and transition matrix are trained together, the matrix towards the smallest volume."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.forward import forward_logits
from noisylabels.training.method import PART, LossFunction, Method, ParameterGroup, Setup
from noisylabels.training.settings import Settings

_CODE = "Li et al. 2021, main.py of their code"


def dominant_transition(weights: Tensor) -> Tensor:
    """Return a transition matrix whose diagonal is the largest of each row, (K, K).

    ``T_ij = s_ij / sum_k s_ik`` with 1 on the diagonal of s and ``sigmoid(w_ij)`` elsewhere.

    Args:
        weights: (K, K), w; its diagonal has no effect.

    >>> dominant_transition(torch.zeros(2, 2))
    tensor([[0.6667, 0.3333],
            [0.3333, 0.6667]])
    """
    diagonal = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
    raised = diagonal + (1 - diagonal) * weights.sigmoid()
    return raised / raised.sum(1, keepdim=True)


def log_volume(transition: Tensor) -> Tensor:
    """Return ``log |det T|``, (): 0 for a permutation, less the more a matrix mixes classes.

    >>> log_volume(torch.eye(3))
    tensor(0.)
    """
    found: Tensor = torch.linalg.slogdet(transition).logabsdet
    return found


class VolMinNet(Method):
    """Minimizes ``l(log q, y) + lambda log |det T|`` with ``q = T' p`` over the network and T.

    Of all matrices that explain the given labels with some network, the true one has the smallest volume if
    the probabilities of the true labels are scattered enough; no example has to belong to its class for
    certain. So T needs no estimate: it starts with equal entries beside the diagonal and is trained.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss; it is given log q as logits.
        lambda_: weight of the volume.
        lr_transition: learning rate of T, by Adam without decay; it follows the run's schedule.
        initial: T starts with ``sigmoid(-initial)`` beside a diagonal of 1, rows divided by their sums.

    Source: Li et al. 2021, "Provably end-to-end label-noise learning without anchor points". Their T of
    CIFAR-10 is trained by SGD with momentum, the others by Adam. They report the epoch that is best on noisy
    validation labels.
    """

    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    title: ClassVar[str] = "trains the transition matrix too, towards the smallest volume"
    source: ClassVar[str] = "Li et al. 2021 (VolMinNet)"
    domain: ClassVar = {"lambda_": {"low": 0.0}, "lr_transition": {"low": 0.0}, "initial": {"low": 0.0}}
    presets: ClassVar = {
        "cifar10": Preset("volminnet(initial=2)", _CODE),
        "cifar100": Preset("volminnet(initial=4.5)", _CODE),
    }

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        lambda_: float = 1e-4,
        lr_transition: float = 0.01,
        initial: float = 2.0,
    ) -> None:
        super().__init__([model], loss)
        self.lambda_, self.lr_transition = self.checked(lambda_=lambda_, lr_transition=lr_transition)
        (self.initial,) = self.checked(initial=initial)

    def prepare(self, setup: Setup) -> None:
        """Create the parameters of T."""
        K = setup.num_classes
        self.weights_of_t = nn.Parameter(torch.full((K, K), -self.initial, device=setup.device))

    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        """Return the network's parameters, and those of T with their own learning rate."""
        lr, weights = self.lr_transition, [self.weights_of_t]
        own = ParameterGroup(weights, "adamw", lr, momentum=0.9, weight_decay=0.0)
        return [*super().parameter_groups(settings), own]

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the corrected loss with the volume, and the logits."""
        logits = self.logits(batch.inputs)
        transition = dominant_transition(self.weights_of_t)
        value = self.mean_loss(forward_logits(logits, transition), batch)
        return value + self.lambda_ * log_volume(transition), logits

    def columns(self) -> dict[str, float | None]:
        """Return the mean of the diagonal of T: the share of right labels, with equally frequent classes."""
        transition = dominant_transition(self.weights_of_t.detach())
        return {"transition_diagonal": float(transition.diagonal().mean())}
