"""Early-learning regularization (ELR): predictions of the early epochs become targets."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.training.method import PART, LossFunction, Method, Setup

SMALLEST = 1e-4
"""Probabilities are clamped to at least this, and to at most 1 minus this."""

_CODE = "Liu et al. 2020, configurations of their code"
_PLUS = "Liu et al. 2020, configurations of their code, of ELR+ there"


def elr_targets(targets: Tensor, logits: Tensor, beta: float) -> Tensor:
    """Return the moving averages of the probabilities, ``t <- beta t + (1 - beta) p / sum_k p_k``.

    Args:
        targets: (B, K), the averages so far, 0 at the start.
        logits: (B, K); p is their softmax, clamped.
        beta: in [0, 1), the share of the former average.

    Returns:
        (B, K), without a gradient.

    >>> elr_targets(torch.zeros(1, 2), torch.zeros(1, 2), beta=0.7)
    tensor([[0.1500, 0.1500]])
    """
    p = _clamped(logits.detach())
    return beta * targets + (1 - beta) * (p / p.sum(1, keepdim=True))


def elr_regularizer(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the regularizer of each example, ``log(1 - <t, p>)``, (B,), 0 or less.

    Args:
        logits: (B, K); p is their softmax, clamped. The gradient flows through p alone.
        targets: (B, K), the averages t, rows of 0 or more that sum to at most 1.

    >>> elr_regularizer(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    tensor([-0.6931])
    """
    return torch.log(1 - (targets.detach() * _clamped(logits)).sum(1))


def _clamped(logits: Tensor) -> Tensor:
    return logits.softmax(1).clamp(SMALLEST, 1 - SMALLEST)


class EarlyLearning(Method):
    """Minimizes ``l(z, y) + lambda mean log(1 - <t, p>)`` with averages t of an example's predictions.

    Networks learn from correct labels before they memorize wrong ones. The second term keeps each
    prediction close to those of the earlier epochs, and so lessens the gradient of examples whose given label
    disagrees with them. A batch updates the averages before it uses them.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss.
        lambda_: weight of the regularizer.
        beta: share of the former average in the new one.

    Source: Liu et al. 2020, "Early-learning regularization prevents memorization of noisy labels".
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    title: ClassVar[str] = "keeps predictions close to those of the earlier epochs"
    source: ClassVar[str] = "Liu et al. 2020 (ELR)"
    domain: ClassVar = {
        "lambda_": {"low": 0.0},
        "beta": {"low": 0.0, "high": 1.0, "open_high": True},
    }
    presets: ClassVar = {
        "cifar10": Preset("elr(lambda_=3,beta=0.7)", _CODE, "symmetric noise"),
        "cifar10_asym": Preset("elr(lambda_=1,beta=0.9)", _CODE, "asymmetric noise"),
        "cifar100": Preset("elr(lambda_=7,beta=0.9)", _CODE),
        "clothing1m": Preset("elr(lambda_=3,beta=0.7)", _PLUS),
        "webvision": Preset("elr(lambda_=3,beta=0.7)", _PLUS),
    }

    targets: Tensor

    def __init__(
        self, model: nn.Module, loss: LossFunction, *, lambda_: float = 3.0, beta: float = 0.7
    ) -> None:
        super().__init__([model], loss)
        self.lambda_, self.beta = self.checked(lambda_=lambda_, beta=beta)

    def prepare(self, setup: Setup) -> None:
        """Create the averages, (N, K), 0 at the start."""
        shape = (setup.num_examples, setup.num_classes)
        self.register_buffer("targets", torch.zeros(shape, device=setup.device))

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss with the regularizer, after updating the averages, and the logits."""
        logits = self.logits(batch.inputs)
        new = elr_targets(self.targets.index_select(0, batch.positions), logits, self.beta)
        self.targets.index_copy_(0, batch.positions, new)
        value = self.mean_loss(logits, batch)
        return value + self.lambda_ * self.mean(elr_regularizer(logits, new), batch), logits
