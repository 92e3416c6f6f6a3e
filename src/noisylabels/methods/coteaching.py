"""Co-teaching: two networks select the examples that the other one is trained on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.methods.inputs import AUTO
from noisylabels.training.method import LossFunction, Method, Setup


def small_loss(values: Tensor, keep: int) -> Tensor:
    """Return the positions of the `keep` smallest values, in ascending order of the values, (keep,) int64.

    >>> small_loss(torch.tensor([3.0, 1.0, 2.0]), 2)
    tensor([1, 2])
    """
    return values.detach().argsort(stable=True)[:keep]


def forget_rate_at(epoch: int, rate: float, num_gradual: int) -> float:
    """Return the share of a batch that is left out in `epoch` (from 0).

    It rises linearly from 0 in the first epoch to `rate` in epoch `num_gradual` (from 1), and stays there.

    >>> [round(forget_rate_at(epoch, 0.4, 5), 2) for epoch in (0, 2, 4, 9)]
    [0.0, 0.2, 0.4, 0.4]
    """
    if num_gradual < 1:
        return rate
    return rate * min(1.0, epoch / max(1, num_gradual - 1))


def number_kept(batch_size: int, forget_rate: float) -> int:
    """Return how many examples of a batch are kept: (1 - rate) B rounded down, and at least 1.

    >>> number_kept(128, 0.4), number_kept(10, 0.9), number_kept(1, 0.5)
    (76, 1, 1)
    """
    return max(1, int((1 - forget_rate) * batch_size + 1e-9))


class CoTeaching(Method):
    """Trains two networks, each on the examples of a batch with the smallest losses of the other.

    A network's smallest losses are mostly those of correct labels, as long as it has not memorized the
    others. Two networks make different errors, so that those of the selection do not add up. The first one,
    which is the given model, is evaluated and saved.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss, with a `reduction`: it selects and is minimized.
        forget_rate: the share of a batch that is left out after the first epochs: the noise rate, a number in
            [0, 1). The words of `methods.inputs.KINDS` stand for a rate that a run estimates.
        num_gradual: epochs over which the share rises from 0.
        second: the second network, from the same inputs to logits; by default a copy of the model whose
            layers are initialized anew.

    Source: Han et al. 2018, "Co-teaching: robust training of deep neural networks with extremely noisy
    labels". Their code divides the mean over the kept examples by their number once more. Its Adam is
    indifferent to that; SGD is not, so the mean is minimized here. Their code starts with epoch 1 of the
    schedule; here no epoch is left out.
    """

    weighted: ClassVar[bool] = True
    needs: ClassVar[Mapping[str, str]] = {"forget_rate": "noise_rate", "second": "network"}
    title: ClassVar[str] = "two networks select examples of small loss for each other"
    source: ClassVar[str] = "Han et al. 2018"
    domain: ClassVar = {
        "forget_rate": {"low": 0.0, "high": 1.0, "open_high": True},
        "num_gradual": {"low": 0},
    }

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        forget_rate: float | str = AUTO,
        num_gradual: int = 10,
        second: nn.Module | None = None,
    ) -> None:
        super().__init__([model], loss)
        if isinstance(forget_rate, str):
            raise InputError(f"forget_rate is {forget_rate!r}, expected a number in [0, 1)")
        self.forget_rate, self.num_gradual = forget_rate, num_gradual
        self._second = (second,)  # a tuple hides it from the modules until `prepare` adds it
        self.now = 0.0

    def prepare(self, setup: Setup) -> None:
        """Add the second network."""
        (second,) = self._second
        self.networks.append(initialized_anew(self.networks[0]) if second is None else second)

    def begin_epoch(self, epoch: int) -> None:
        """Set the share that is left out."""
        self.now = forget_rate_at(epoch, self.forget_rate, self.num_gradual)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum of both networks' losses on what the other selects, and the first one's logits."""
        first, second = self.logits(batch.inputs), self.logits(batch.inputs, network=1)
        keep = number_kept(len(batch.target), forget_rate_at(batch.epoch, self.forget_rate, self.num_gradual))
        costs, others = self.loss_values(first, batch.target), self.loss_values(second, batch.target)
        value = self._on(first, small_loss(others, keep), batch) + self._on(
            second, small_loss(costs, keep), batch
        )
        return value, first

    def _on(self, logits: Tensor, kept: Tensor, batch: Batch) -> Tensor:
        """Return the loss of part of a batch."""
        if len(kept) == len(batch.target):
            return self.mean_loss(logits, batch)
        part = batch._replace(
            target=batch.target.index_select(0, kept), positions=batch.positions.index_select(0, kept)
        )
        return self.mean_loss(logits.index_select(0, kept), part)

    def columns(self) -> dict[str, float | None]:
        """Return the share of a batch that was left out."""
        return {"forget_rate": self.now}

    def get_extra_state(self) -> float:
        """Return the current share, for a run that resumes within an epoch."""
        return self.now

    def set_extra_state(self, state: float) -> None:
        """Restore the current share."""
        self.now = state


def initialized_anew(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose layers are initialized anew, by their own `reset_parameters`.

    Raises:
        InputError: a module has parameters and no such function.
    """
    other = copy.deepcopy(network)
    for name, module in other.named_modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        elif any(True for _ in module.parameters(recurse=False)):
            raise InputError(
                f"the layer {name or type(module).__name__!r} of the model cannot be initialized anew: it has "
                "parameters and no reset_parameters; give a second network: "
                "nl.method('coteaching', second=...)"
            )
    return other
