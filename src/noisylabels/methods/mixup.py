"""Mixup: train on mixtures of pairs of examples, with mixtures of their losses."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Beta

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.training.method import WHOLE, LossFunction, Method, Setup


def mix(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Return the mixture of each example with its partner, ``share x_i + (1 - share) x_partner(i)``.

    Args:
        values: (B, ...), of any floating type, which the result has too.
        partner: (B,) int64, positions in the batch.
        share: (), in [0, 1].

    >>> mix(torch.tensor([[0.0], [4.0]]), torch.tensor([1, 0]), torch.tensor(0.75))
    tensor([[1.],
            [3.]])
    """
    share = share.to(values.dtype)
    return share * values + (1 - share) * values.index_select(0, partner)


class Mixer:
    """Draws partners and shares on a device, from torch's default generator.

    The run seeds that generator and its checkpoint keeps it.

    Args:
        alpha: both parameters of the Beta distribution of b; the share is the larger of b and 1 - b. With 0
            nothing is mixed.
        device: of the draws, which wait for nothing.
    """

    def __init__(self, alpha: float, device: torch.device) -> None:
        self.device = device
        both = torch.full((), alpha, device=device)
        self.distribution = Beta(both, both, validate_args=False) if alpha else None

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Return a partner for each of `count` examples, (count,) int64, and the share of the example, ()."""
        # not `randperm`, which a GPU leaves to the CPU for few examples
        return torch.rand(count, device=self.device).argsort(), self.share()

    def share(self) -> Tensor:
        """Return the share of an example in its mixture, ()."""
        if self.distribution is None:
            return torch.ones((), device=self.device)
        share = self.distribution.sample()
        return torch.maximum(share, 1 - share)


class Mixup(Method):
    """Minimizes ``s l(z, y) + (1 - s) l(z, y')`` at the mixture ``s x + (1 - s) x'`` of two examples.

    The partner of each example is drawn by a random order of the batch. The share s is the same for the whole
    batch: the larger of b and 1 - b, with b from a Beta distribution. An example's mixture is thus the one
    that consists of it for the most part, and its prediction counts for it in the metrics. A wrong label is
    harder to memorize, because its example appears with another partner each time.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss.
        alpha: both parameters of the Beta distribution: 0 for no mixing, 1 for a uniform distribution; larger
            ones, which concentrate at equal shares, memorize less.

    Source: Zhang et al. 2018, "mixup: beyond empirical risk minimization". Their share is b itself. The
    mixtures of a batch have the same distribution: if s is replaced by 1 - s, each pair is mixed as its
    partners would be in the reverse order, which is as likely. The losses are mixed, as in their code, not
    the targets, which is the same for losses that are linear in the target, such as cross entropy.
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = WHOLE
    title: ClassVar[str] = "trains on mixtures of pairs of examples"
    source: ClassVar[str] = "Zhang et al. 2018"
    domain: ClassVar = {"alpha": {"low": 0.0}}
    presets: ClassVar = {
        "cifar10": Preset("mixup(alpha=1)", "Zhang et al. 2018, their code", "clean labels"),
    }

    def __init__(self, model: nn.Module, loss: LossFunction, *, alpha: float = 1.0) -> None:
        super().__init__([model], loss)
        (self.alpha,) = self.checked(alpha=alpha)

    def prepare(self, setup: Setup) -> None:
        """Place the distribution on the device, where it is drawn from without waiting."""
        self.mixer = Mixer(self.alpha, setup.device)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mixed loss, and the logits of the mixtures."""
        partner, share = self.mixer.draw(len(batch.target))
        logits = self.logits(mix(batch.inputs, partner, share))
        other = batch._replace(
            target=batch.target.index_select(0, partner),
            positions=batch.positions.index_select(0, partner),
        )
        return share * self.mean_loss(logits, batch) + (1 - share) * self.mean_loss(logits, other), logits
