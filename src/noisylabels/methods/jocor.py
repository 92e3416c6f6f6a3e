"""JoCoR: two networks minimize a joint loss, which also selects, and are drawn towards each other."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.coteaching import SmallLossPair, small_loss
from noisylabels.methods.inputs import AUTO
from noisylabels.training.method import LossFunction

_README = "Wei et al. 2020, README of their code"


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return ``KL(p1 || p2) + KL(p2 || p1) = sum_k (p1_k - p2_k) (log p1_k - log p2_k)``, (B,).

    Both have a gradient.

    Args:
        first, second: (B, K), logits; p1 and p2 are their softmax.

    >>> import torch
    >>> symmetric_divergence(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
    tensor([0.2311])
    """
    log_p, log_q = first.log_softmax(1), second.log_softmax(1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1)


class Jocor(SmallLossPair):
    """Minimizes ``(1 - lambda) (l(z1, y) + l(z2, y)) + lambda (KL(p1 || p2) + KL(p2 || p1))`` where small.

    Two networks rarely agree on a label that is wrong, so that examples on which they agree, with each other
    and with the label, are likely to be right. The joint loss of an example says so: the smallest of a batch
    are selected, and both networks are trained on them.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss, with a `reduction`.
        forget_rate: the share of a batch that is left out after the first epochs, as in `coteaching`.
        num_gradual: epochs over which the share rises from 0.
        lambda_: weight of the divergence; the losses have the rest. With SGD the learning rate of the losses
            falls with it.
        second: the second network, as in `coteaching`.

    Source: Wei et al. 2020, "Combating noisy labels by agreement: a joint training method with
    co-regularization". Their code takes half the rate for asymmetric noise, where half of the classes are
    clean: that is the noise rate of all labels, which is meant here. It trains at most 400 batches per epoch.
    """

    title: ClassVar[str] = "two networks minimize a joint loss with their divergence where it is small"
    source: ClassVar[str] = "Wei et al. 2020 (JoCoR)"
    domain: ClassVar = {
        **SmallLossPair.domain,
        "lambda_": {"low": 0.0, "high": 1.0, "open_high": True},
    }
    presets: ClassVar = {
        "mnist": Preset("jocor(lambda_=0.95)", "Wei et al. 2020, example.sh of their code", "symmetric 0.2"),
        "cifar10": Preset("jocor(lambda_=0.9)", _README, "symmetric 0.2 and 0.5, asymmetric 0.4"),
        "cifar10_sym80": Preset("jocor(lambda_=0.65)", _README, "symmetric 0.8"),
        "cifar100": Preset("jocor(lambda_=0.85)", _README),
    }

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        forget_rate: float | str = AUTO,
        num_gradual: int = 10,
        lambda_: float = 0.9,
        second: nn.Module | None = None,
    ) -> None:
        super().__init__(model, loss, forget_rate, num_gradual, second)
        (self.lambda_,) = self.checked(lambda_=lambda_)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean joint loss of the examples where it is smallest, and the first network's logits."""
        logits, target = self.both_logits(batch), batch.target
        first, second = (self.loss_values(each, target) for each in logits)
        divergence = symmetric_divergence(*logits)
        # class weights concern the losses, neither the divergence nor the selection
        joint = self._joint((first + second) * self.class_scale(target), divergence)
        plain = self.unweighted(first, logits[0], target) + self.unweighted(second, logits[1], target)
        order = small_loss(self._joint(plain, divergence), len(target))
        return self.mean_of_first(joint, order, batch), logits[0]

    def _joint(self, losses: Tensor, divergence: Tensor) -> Tensor:
        """Return the joint loss of each example, (B,)."""
        joint: Tensor = (1 - self.lambda_) * losses + self.lambda_ * divergence
        return joint
