"""`Selector`: choose the examples of a batch that a training loop of one's own learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from noisylabels.core.checks import InputError, check_whole
from noisylabels.core.registry import Registry
from noisylabels.methods.agreement import agrees, learned_classes, next_trend
from noisylabels.methods.coteaching import forget_rate_at, small_loss
from noisylabels.methods.expression import parameters_of
from noisylabels.methods.inputs import AUTO
from noisylabels.methods.mixture import noise_rate_of


class Rule(ABC):
    """A rule that selects examples; its tensors are created in the first call, on the device of the batch.

    Args:
        num_examples: N.
        device: of losses or logits.
    """

    needs_logits: ClassVar[bool] = False
    """whether it needs logits and target; others take losses too"""
    domain: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, num_examples: int, device: torch.device) -> None:
        self.num_examples = num_examples
        self.seen = 0  # values so far
        self.given_epoch: int | None = None

    @property
    def epoch(self) -> int:
        """The current epoch, from 0: as given, or each has as many values as there are examples."""
        return self.seen // self.num_examples if self.given_epoch is None else self.given_epoch

    @abstractmethod
    def select(self, positions: Tensor, values: Tensor, target: Tensor | None) -> Tensor:
        """Return the weights of a batch's examples, 0 or 1, (B,) float32."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the state, which `load` changes in place."""


class SmallLoss(Rule):
    """Selects the smallest losses of each batch, all but a share that rises to the noise rate.

    Args:
        num_examples: N.
        device: of the state.
        rate: the share that is left out in the end, in [0, 1); "auto" estimates it at the start of each epoch
            from the last loss of each example, see `mixture.noise_rate_of`.
        num_gradual: epochs over which the share rises from 0.
    """

    domain: ClassVar = {
        "rate": {"low": 0.0, "high": 1.0, "open_high": True, "choices": (AUTO,)},
        "num_gradual": {"low": 0},
    }

    def __init__(
        self, num_examples: int, device: torch.device, *, rate: float | str = AUTO, num_gradual: int = 10
    ) -> None:
        super().__init__(num_examples, device)
        self.rate, self.num_gradual = rate, num_gradual
        self.losses = torch.full((num_examples,), torch.nan, device=device)
        # of the current epoch; a tensor, so that it is saved
        self.estimate = torch.zeros((), dtype=torch.float64)
        self.estimated_in = torch.zeros((), dtype=torch.int64)

    @property
    def current_rate(self) -> float:
        """The noise rate, given or estimated."""
        if not isinstance(self.rate, str):
            return self.rate
        if self.epoch > self.estimated_in:
            known = self.losses[self.losses.isfinite()]
            self.estimate.fill_(min(noise_rate_of(known), 0.99) if len(known) > 1 else 0.0)
            self.estimated_in.fill_(self.epoch)
        return float(self.estimate)

    def select(self, positions: Tensor, values: Tensor, target: Tensor | None) -> Tensor:
        """Return 1 for the smallest losses."""
        if target is not None:
            values = functional.cross_entropy(values, target, reduction="none")
        share = forget_rate_at(self.epoch, self.current_rate, self.num_gradual)
        self.losses.index_copy_(0, positions, values.to(self.losses))
        keep = max(1, int((1 - share) * len(values) + 1e-6))
        weights = torch.zeros(len(values), device=values.device)
        return weights.index_fill(0, small_loss(values, keep), 1.0)

    def tensors(self) -> dict[str, Tensor]:
        """Return the last losses and the estimate."""
        return {"losses": self.losses, "estimate": self.estimate, "estimated_in": self.estimated_in}


class Agreeing(Rule):
    """Selects the examples whose given label agrees with the trend of their predictions.

    Args:
        num_examples: N.
        device: of the state.
        beta, warmup: as for `agreement.Agreement`.
    """

    needs_logits: ClassVar[bool] = True
    domain: ClassVar = {
        "beta": {"low": 0.0, "high": 1.0, "open_high": True},
        "warmup": {"low": 0},
    }

    def __init__(
        self, num_examples: int, device: torch.device, *, beta: float = 0.9, warmup: int = 5
    ) -> None:
        super().__init__(num_examples, device)
        self.beta, self.warmup = beta, warmup
        self.trend = torch.zeros(num_examples, 0, device=device)  # until the number of classes is known
        self.labels = torch.full((num_examples,), -1, device=device)  # as they were last handed in
        self.learned = torch.zeros(0, dtype=torch.bool, device=device)  # of the current epoch
        self.learned_in = torch.zeros((), dtype=torch.int64)

    def select(self, positions: Tensor, values: Tensor, target: Tensor | None) -> Tensor:
        """Return 1 where label and trend agree."""
        assert target is not None
        if not self.trend.shape[1]:
            self.trend = self.trend.new_zeros(self.num_examples, values.shape[1])
            self.learned = self.learned.new_zeros(values.shape[1])  # nothing before the second epoch
        if self.trend.shape[1] != values.shape[1]:
            raise InputError(
                f"the logits have {values.shape[1]} classes, expected {self.trend.shape[1]} as before"
            )
        if self.epoch > self.learned_in:
            known = self.labels >= 0
            self.learned = learned_classes(self.trend[known], self.labels[known])
            self.learned_in.fill_(self.epoch)
        trend = next_trend(self.trend.index_select(0, positions), values.float(), self.beta)
        self.labels.index_copy_(0, positions, target)
        self.trend.index_copy_(0, positions, trend)
        if self.epoch < self.warmup:
            return torch.ones(len(values), device=values.device)
        return (agrees(trend, target) | ~self.learned.index_select(0, target)).float()

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages."""
        names = ("trend", "labels", "learned", "learned_in")
        return {name: getattr(self, name) for name in names}


SELECTORS: Registry[type[Rule]] = Registry("selector", {"small_loss": SmallLoss, "agreement": Agreeing})
"""The rules by name."""


class Selector:
    """Selects the examples of a batch that are likely labeled correctly, in a training loop of one's own.

    Call it with each training batch, once, and minimize the mean loss of the selected examples,
    ``(weights * losses).sum() / weights.sum().clamp_min(1)``. It changes no global state. What it
    remembers of each example follows the example's position in the training set, so that batches may come
    in any order.

    Args:
        expression: ``"small_loss(rate=auto,num_gradual=10)"`` selects the smallest losses of a batch, all but
            the noise rate, which is a number or estimated from the losses; ``"agreement(beta=0.9,warmup=5)"``
            selects the examples whose label agrees with the moving average of their predictions.
        num_examples: N, the size of the training set. As many examples count as an epoch, unless `set_epoch`
            is called.

    Raises:
        InputError: an unknown rule or parameter, a value outside its range.

    >>> selector = Selector("small_loss(rate=0.5,num_gradual=0)", num_examples=4)
    >>> selector(torch.tensor([3, 1]), torch.tensor([0.2, 2.3]))
    tensor([1., 0.])
    """

    def __init__(self, expression: str, *, num_examples: int) -> None:
        check_whole(num_examples, "num_examples", 1)
        name, values = parameters_of(expression, SELECTORS, "selector")
        inside = ",".join(f"{key}={value}" for key, value in values.items())
        self.expression = f"{name}({inside})"
        self.num_examples = num_examples
        self._row, self._parameters = SELECTORS[name], values
        self._rule: Rule | None = None

    def __call__(self, positions: Tensor, values: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the weights of a batch's examples, 1 for those selected and 0 for the others, (B,).

        Args:
            positions: (B,) int64, in the training set.
            values: (B,), the losses, without class weights, by which those of some classes would be larger;
                or (B, K), the logits, together with the target.
            target: (B,) int64, the given labels.

        Raises:
            InputError: another shape or type; a position outside the training set; logits without a target; a
                selector that needs logits and gets losses.
        """
        values = values.detach()
        positions, target = self._checked(positions, values, target)
        rule = self._made(values.device)
        weights = rule.select(positions, values, target)
        rule.seen += len(values)
        return weights

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the batches that follow, in place of counting examples.

        Call it at the start of each epoch where a selector does not see every example once per epoch: in one
        of several processes, or with a loader that drops the last batch or draws with replacement.

        Args:
            epoch: from 0.

        Raises:
            InputError: the epoch is no integer of 0 or more.
        """
        epoch = epoch.item() if hasattr(epoch, "item") else epoch  # a number of NumPy or PyTorch
        check_whole(epoch, "the epoch", 0)
        (self._rule or self._made(torch.device("cpu"))).given_epoch = epoch

    @property
    def rate(self) -> float | None:
        """The noise rate that "small_loss" selects by; None for other rules, and before the first call."""
        return self._rule.current_rate if isinstance(self._rule, SmallLoss) and self._rule.seen else None

    def state_dict(self) -> dict[str, Any]:
        """Return the expression, the number of values so far, the epoch if set, and the state per example."""
        rule = self._rule or self._made(torch.device("cpu"))
        return {"expression": self.expression, "seen": rule.seen, "epoch": rule.given_epoch, **rule.tensors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, on the device that its tensors are on.

        Raises:
            InputError: the state is that of another selector, or of another number of examples.
        """
        if (was := state.get("expression")) != self.expression:
            raise InputError(f"the state is that of the selector {was!r}, expected {self.expression!r}")
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        per_example = [tensors[name] for name in ("losses", "trend", "labels") if name in tensors]
        if any(len(value) != self.num_examples for value in per_example):
            raise InputError(
                f"the state is that of {len(per_example[0])} examples, expected {self.num_examples}"
            )
        self._rule = self._row(self.num_examples, per_example[0].device, **self._parameters)
        self._rule.seen = state["seen"]
        self._rule.given_epoch = state.get("epoch")  # states of before have none
        for name, value in tensors.items():
            setattr(self._rule, name, value.clone())

    def _made(self, device: torch.device) -> Rule:
        if self._rule is None:
            self._rule = self._row(self.num_examples, device, **self._parameters)
        for name, value in self._rule.tensors().items():
            if value.ndim and value.device != device:  # restored from a file, for example
                setattr(self._rule, name, value.to(device))
        return self._rule

    def _checked(
        self, positions: Tensor, values: Tensor, target: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return positions and target on the device of the values, after checking all three."""
        if values.ndim not in (1, 2):
            raise InputError(
                f"the values have shape {tuple(values.shape)}, expected losses (B,) or logits (B, K)"
            )
        count, name = len(values), self.expression.partition("(")[0]
        if values.ndim == 1 and self._row.needs_logits:
            raise InputError(f"the selector {name} needs logits (B, K) and the target, and got losses (B,)")
        if (values.ndim == 2) != (target is not None):
            raise InputError(
                "got logits without a target; hand in the given labels too"
                if target is None
                else "got losses and a target; hand in losses alone, or logits and the target"
            )
        for what, each in (("positions", positions), ("target", target)):
            if each is None:
                continue
            if each.shape != (count,) or each.dtype != torch.int64:
                raise InputError(
                    f"{what} has shape {tuple(each.shape)} and type {each.dtype}, expected ({count},) int64"
                )
        if positions.device.type == "cpu" and count:  # elsewhere reading them would wait for the device
            low, high = int(positions.min()), int(positions.max())
            if low < 0 or high >= self.num_examples:
                raise InputError(
                    f"positions reach from {low} to {high}, expected 0 to {self.num_examples - 1}"
                )
        if target is not None and target.device.type == "cpu" and count:
            low, high = int(target.min()), int(target.max())
            if low < 0 or high >= values.shape[1]:
                raise InputError(
                    f"the target reaches from {low} to {high}, expected 0 to {values.shape[1] - 1}; "
                    "leave out examples whose label is ignored"
                )
        return positions.to(values.device), None if target is None else target.to(values.device)
