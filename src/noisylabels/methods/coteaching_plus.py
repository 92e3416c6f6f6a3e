"""Co-teaching+: two networks select for each other, among the examples on which they disagree."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.coteaching import SmallLossPair
from noisylabels.methods.inputs import AUTO
from noisylabels.training.method import LossFunction, Setup

_CODE = "Yu et al. 2019, main.py of their code"


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Return whether two networks predict different classes for each example, (B,) bool.

    Args:
        first, second: (B, K), logits.

    >>> disagreement(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 1.0]]))
    tensor([False,  True])
    """
    return first.argmax(1) != second.argmax(1)


class CoTeachingPlus(SmallLossPair):
    """Trains two networks as `coteaching` does, on those examples of a batch where their predictions differ.

    Under co-teaching two networks become alike, and select like one. Where they still disagree, their
    selections differ too. A batch in which they agree on every example has gradients of 0: its examples teach
    nothing, while momentum and weight decay move the networks as after any other batch.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss, with a `reduction`: it selects and is minimized.
        forget_rate: the share of the disagreeing examples that is left out, as in `coteaching`.
        num_gradual: epochs over which the share rises from 0.
        warmup: epochs of `coteaching` at the start, which select among all examples.
        second: the second network, as in `coteaching`.

    Source: Yu et al. 2019, "How does disagreement help generalization against label corruption?" Their code
    takes the cross entropy of probabilities in place of logits after the warm-up, divides the mean over the
    kept examples by their number once more, leaves the example at position 0 out of the disagreeing ones, and
    trains on all examples of an early batch without disagreement; the paper has none of these, nor do we.
    """

    title: ClassVar[str] = "two networks select for each other among examples on which they disagree"
    source: ClassVar[str] = "Yu et al. 2019 (Co-teaching+)"
    domain: ClassVar = {**SmallLossPair.domain, "warmup": {"low": 0}}
    presets: ClassVar = {
        "mnist": Preset("coteaching_plus(warmup=0)", _CODE),
        "cifar10": Preset("coteaching_plus(warmup=20)", _CODE),
        "cifar100": Preset("coteaching_plus(warmup=5)", _CODE),
        "tiny_imagenet": Preset("coteaching_plus(warmup=100)", _CODE),
    }

    selecting: Tensor
    differing: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        forget_rate: float | str = AUTO,
        num_gradual: int = 10,
        warmup: int = 20,
        second: nn.Module | None = None,
    ) -> None:
        super().__init__(model, loss, forget_rate, num_gradual, second)
        (self.warmup,) = self.checked(warmup=warmup)

    def prepare(self, setup: Setup) -> None:
        """Add the second network, and counts of the epoch's examples: those that differ, and all."""
        super().prepare(setup)
        self.register_buffer("selecting", torch.zeros((), dtype=torch.bool, device=setup.device))
        self.register_buffer("differing", torch.zeros(2, device=setup.device))

    def begin_epoch(self, epoch: int) -> None:
        """Set the share that is left out, and select among disagreeing examples once the warm-up is over."""
        super().begin_epoch(epoch)
        self.selecting.fill_(epoch >= self.warmup)
        self.differing.zero_()

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum of both networks' losses on what the other selects, and the first one's logits."""
        logits = self.both_logits(batch)
        differs = disagreement(*logits)
        self.differing += torch.stack([differs.sum(), torch.full_like(differs.sum(), len(batch.target))])
        return self.mean_of_exchanged(logits, batch, among=differs | ~self.selecting), logits[0]

    def columns(self) -> dict[str, float | None]:
        """Return the share that was left out, and that of the examples on which the networks disagreed."""
        differing, count = self.differing.tolist()
        return {**super().columns(), "disagreement": differing / max(1.0, count)}
