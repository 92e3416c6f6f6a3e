"""Co-teaching: two networks select the examples that the other one is trained on."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.methods.inputs import AUTO
from noisylabels.training.fine_tuning import mark_new
from noisylabels.training.method import PART, LossFunction, Method, Setup


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


def mean_of_kept(values: Tensor, order: Tensor, forget_rate: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean of those values that come first in an order, ().

    The first (1 - rate) B examples, rounded down and at least 1, are kept; with weights, those that make up
    this share of the total weight, whose mean is that of weight times value, relative to the mean weight.

    Args:
        values: (B,).
        order: (B,) int64, positions of values.
        forget_rate: (), on the device, so that it may change between the replays of a CUDA graph.
        weights: (B,), 0 or more; None for equal ones.

    >>> values, order = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1, 2, 0])
    >>> mean_of_kept(values, order, torch.tensor(0.3)), mean_of_kept(values, order, torch.tensor(0.9))
    (tensor(1.5000), tensor(1.))
    """
    ordered = values.index_select(0, order)
    each = torch.ones_like(ordered) if weights is None else weights.index_select(0, order)
    so_far, total = each.cumsum(0), each.sum().clamp_min(1e-12)
    first = torch.where(so_far > 0, so_far, torch.inf).min()
    inside = so_far <= torch.maximum((1 - forget_rate + 1e-6) * total, first)
    kept = torch.where(inside, each, 0.0)
    share = kept.sum() / total
    return torch.where(inside, each * ordered, 0.0).sum() / (share * len(values)).clamp_min(1e-6)


def mean_of_kept_among(
    values: Tensor, order: Tensor, among: Tensor, forget_rate: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Return `mean_of_kept` of a part of a batch, (): 0 for an empty part.

    Args:
        values: (B,).
        order: (B,) int64, positions of values.
        among: (B,) bool, the part.
        forget_rate: (), the share of the part that is left out.
        weights: (B,), 0 or more; None for equal ones.

    >>> values, order = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1, 2, 0])
    >>> mean_of_kept_among(values, order, torch.tensor([True, False, True]), torch.tensor(0.5))
    tensor(2.)
    """
    inside = among.to(values.dtype)
    each = inside if weights is None else inside * weights
    # not 0 times a loss, which may be infinite
    mean = mean_of_kept(torch.where(among, values, 0.0), order, forget_rate, each)
    return mean * (len(values) / inside.sum().clamp_min(1))


class SmallLossPair(Method, ABC):
    """Two networks that are trained on the examples of small loss; methods derive from it.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss, with a `reduction`.
        forget_rate, num_gradual, second: as for `CoTeaching`.
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    needs: ClassVar[Mapping[str, str]] = {"forget_rate": "noise_rate", "second": "network"}
    domain: ClassVar = {
        "forget_rate": {"low": 0.0, "high": 1.0, "open_high": True},
        "num_gradual": {"low": 0},
    }

    forgotten: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        forget_rate: float | str,
        num_gradual: int,
        second: nn.Module | None,
    ) -> None:
        super().__init__([model], loss)
        self.forget_rate, self.num_gradual = self.checked(forget_rate=forget_rate, num_gradual=num_gradual)
        check_second(second, model)
        self._second = (second,)  # a tuple hides it from the modules until `prepare` adds it

    def prepare(self, setup: Setup) -> None:
        """Add the second network, and the current share that is left out."""
        (second,) = self._second
        self.networks.append(initialized_anew(self.networks[0]) if second is None else second)
        self.register_buffer("forgotten", torch.zeros((), device=setup.device))

    def begin_epoch(self, epoch: int) -> None:
        """Set the share that is left out."""
        self.forgotten.fill_(forget_rate_at(epoch, self.forget_rate, self.num_gradual))

    def both_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits of both networks, (B, K) each."""
        return self.logits(batch.inputs), self.logits(batch.inputs, network=1)

    def unweighted(self, values: Tensor, logits: Tensor, target: Tensor) -> Tensor:
        """Return the losses without class weights, (B,), by which examples are selected.

        By weighted ones the labels of a class of large weight would be left out, right or wrong.

        Args:
            values: (B,), the losses.
            logits: (B, K), which they were computed from.
            target: (B,) int64.
        """
        if self.loss_counts(target) is None or getattr(self.loss, "weight", None) is None:
            return values
        plain: Any = copy.copy(self.loss)
        plain.reduction = "none"
        plain._buffers = {**plain._buffers, "weight": None}  # the copy shares its dictionaries
        plain.training = False  # a loss with state has learned from these logits
        with torch.no_grad():
            found: Tensor = plain(logits, target)
        return found

    def mean_of_first(
        self, values: Tensor, order: Tensor, batch: Batch, among: Tensor | None = None
    ) -> Tensor:
        """Return the mean of a batch's values that come first in an order, without the share left out, ().

        Labels that the loss does not count are left out beforehand, as are those outside `among`, (B,) bool.
        """
        weights = None if self.weights is None else self.weights.index_select(0, batch.positions)
        counted = self.counted(batch.target)
        if counted is not None:
            among = counted if among is None else among & counted
        if among is None:
            return mean_of_kept(values, order, self.forgotten, weights)
        return mean_of_kept_among(values, order, among, self.forgotten, weights)

    def mean_of_exchanged(
        self, logits: tuple[Tensor, Tensor], batch: Batch, among: Tensor | None = None
    ) -> Tensor:
        """Return the sum of both networks' mean losses on what the other one selects, ()."""
        first, second = (self.loss_values(each, batch.target) for each in logits)
        chosen, others = (
            small_loss(self.unweighted(*each, batch.target), len(batch.target))
            for each in ((first, logits[0]), (second, logits[1]))
        )
        value = self.mean_of_first(first, others, batch, among) + self.mean_of_first(
            second, chosen, batch, among
        )
        return value * self.class_scale(batch.target)

    def columns(self) -> dict[str, float | None]:
        """Return the share of a batch that was left out."""
        return {"forget_rate": float(self.forgotten)}


class CoTeaching(SmallLossPair):
    """Trains two networks, each on the examples of a batch with the smallest losses of the other.

    A network's smallest losses are mostly those of correct labels, as long as it has not memorized the
    others. Two networks make different errors, so that those of the selection do not add up. The first one,
    which is the given model, is evaluated and saved.

    Class weights inside the loss concern what is minimized, not the selection. Labels that the loss ignores
    are left out before the share.

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

    title: ClassVar[str] = "two networks select examples of small loss for each other"
    source: ClassVar[str] = "Han et al. 2018"

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        forget_rate: float | str = AUTO,
        num_gradual: int = 10,
        second: nn.Module | None = None,
    ) -> None:
        super().__init__(model, loss, forget_rate, num_gradual, second)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum of both networks' losses on what the other selects, and the first one's logits."""
        logits = self.both_logits(batch)
        return self.mean_of_exchanged(logits, batch), logits[0]


def check_second(second: object, model: nn.Module) -> None:
    """Raise an `InputError` unless a second network is None, or a module with parameters of its own."""
    if second is None:
        return
    if not isinstance(second, nn.Module):
        raise InputError(
            f"second is {second!r}, expected a network (nn.Module), or None for a copy of the model"
        )
    first = set(map(id, model.parameters()))
    if any(id(parameter) in first for parameter in second.parameters()):
        raise InputError(
            "second shares parameters with the model, expected a network of its own: build it anew, or leave "
            "it out for a copy that is initialized anew"
        )


def initialized_anew(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose layers are initialized anew, by their own `reset_parameters`.

    Raises:
        InputError: as for `resets_of`.
    """
    advice = "give a second network: nl.method('coteaching', second=...)"
    resets_of(network.named_modules(), advice)  # of what is refused, some cannot be copied either
    other = copy.deepcopy(network)
    for reset in resets_of(other.named_modules(), advice):
        reset()
    mark_new(other)
    return other


def resets_of(modules: Iterable[tuple[str, nn.Module]], advice: str) -> list[Callable[[], object]]:
    """Return the functions `reset_parameters` of those modules, with their names, that have one.

    Raises:
        InputError: a module has parameters of its own and no such function, or a weight that hooks compute,
            such as those of `nn.utils.spectral_norm`, which the function would not reach; the message ends in
            `advice`.
    """
    found = []
    for name, module in modules:
        reset = getattr(module, "reset_parameters", None)
        own = {key for key, _ in module.named_parameters(recurse=False)}
        why = "" if callable(reset) or not own else "it has parameters and no reset_parameters"
        for key in vars(module):  # of the hooks of weight_norm, spectral_norm and pruning
            if hidden := own & {f"{key}_g", f"{key}_orig"}:
                why = f"its {key} is computed from {hidden.pop()}, which its reset_parameters does not reach"
        if why:
            raise InputError(
                f"the layer {name or type(module).__name__!r} of the model cannot be initialized anew: "
                f"{why}; {advice}"
            )
        if callable(reset):
            found.append(reset)
    return found
