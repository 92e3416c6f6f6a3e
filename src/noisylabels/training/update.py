"""One update: the method's step, backward, penalties, clipping, optimizers, averages of the weights."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from noisylabels.core.checks import InputError
from noisylabels.core.rng import derive_seed
from noisylabels.data.loader import Batch
from noisylabels.training.callbacks import Probe
from noisylabels.training.method import Method, ParameterGroup, trainable
from noisylabels.training.optim import IMPLEMENTATION, build_optimizer, check_restored
from noisylabels.training.ranks import Ranks
from noisylabels.training.settings import Settings
from noisylabels.training.sharing import GradientSum, Sharing


class Updater:
    """A method with its optimizers and everything else that an update depends on, saved and loaded as one.

    Args:
        method: the method to train; its networks are on the device.
        settings, device: of the run.
        capturable: keep everything that changes between steps in tensors on the device, including the
            learning rates, so that `update` can be recorded (`capture.py`).
        rows: whether the inputs are rows of features; see `build_optimizer`.
        ranks: the processes that share the run; by default this one alone.
    """

    def __init__(
        self,
        method: Method,
        settings: Settings,
        device: torch.device,
        *,
        capturable: bool = False,
        rows: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.method = method
        self.ranks = ranks or Ranks()
        self.seed, self.place = settings.seed, 0  # the number of the next update: the loop sets it
        self.clip = settings.clip
        self.l1 = settings.l1
        self.parameters = [trainable([network]) for network in method.networks]
        self.base_lr = self.lr = method.lr = settings.lr
        self._lr_is_set = True  # whether the tensors that a recording reads hold it
        groups = method.parameter_groups(settings)
        _check_complete(method, groups)
        self.optimizers = [
            build_optimizer(found, settings, device, name=name, capturable=capturable, rows=rows)
            for name, found in _by_optimizer(groups, settings).items()
        ]
        method.optimizers = self.optimizers
        self._checked = False
        self.probes: list[Probe] = []  # of the next update: the loop sets them
        if capturable:
            for group in self._groups():
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
        half = settings.dtype if settings.dtype != torch.float32 else None
        # a new context for each use: one that is entered twice would leave autocast on
        self.autocast = method.autocast = functools.partial(
            torch.autocast, device.type, dtype=half, enabled=half is not None
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
        self.averages = (
            [Average(network, settings.ema) for network in method.networks] if settings.ema else []
        )
        divided = self.ranks.several and not method.fitted
        self.gradients = GradientSum(trainable(method.networks), self.ranks) if divided else None

    @property
    def evaluated(self) -> list[nn.Module]:
        """The networks to evaluate and keep: the averaged ones if averaging is on."""
        return [average.model for average in self.averages] or list(self.method.networks)

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def _lr_of(self, group: dict[str, Any]) -> float:
        """Return a group's learning rate at the run's current one."""
        if group["own_lr"] is None:
            return self.lr
        return float(group["own_lr"] * (self.lr / self.base_lr if group["scheduled"] else 1.0))

    def __call__(self, batch: Batch, lr: float) -> tuple[Tensor, Tensor]:
        """Update the weights once; return the loss () and the logits (B, K), both detached."""
        self.set_lr(lr)
        return self.update(batch)

    def set_lr(self, lr: float) -> None:
        """Set the run's learning rate for the next update."""
        changed, self.lr, self._lr_is_set = lr != self.lr or not self._lr_is_set, lr, True
        if changed:
            self.method.lr = lr
        for group in self._groups():
            if not isinstance(group["lr"], Tensor):
                group["lr"] = self._lr_of(group)
            elif changed:
                group["lr"].fill_(self._lr_of(group))

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Update the weights at the current learning rate; return loss and logits."""
        taken = self._step(batch)
        if not self._checked:
            _check_step(taken, batch, self.method)
            self._checked = True
        value, logits = taken
        if self.method.fitted:
            return value.detach(), logits.detach()
        for group in self._groups():  # as `zero_grad` does, without its tenth of a millisecond
            for parameter in group["params"]:
                parameter.grad = None
        scale = self.scaler.get_scale() if self.probes else 1.0
        for probe in self.probes:
            probe.before_backward(value, logits, batch, scale)
        self.scaler.scale(value).backward()
        if self.gradients is not None:
            self.gradients.finish()
        for probe in self.probes:
            probe.after_backward(scale)
        # a gradient scaler refuses an optimizer none of whose parameters had a gradient in this step
        used = [optimizer for optimizer in self.optimizers if _has_gradient(optimizer)]
        if self.l1 or self.clip:
            for optimizer in used:
                self.scaler.unscale_(optimizer)
        for parameters in self.parameters:
            if self.l1:  # the gradient of l1 * sum |w|
                for parameter in parameters:
                    if parameter.grad is not None:
                        parameter.grad.add_(parameter.detach().sign(), alpha=self.l1)
            if self.clip:
                nn.utils.clip_grad_norm_(parameters, self.clip)
        for optimizer in used:
            self.scaler.step(optimizer)
        self.scaler.update()
        for probe in self.probes:
            probe.after_update()
        for average in self.averages:
            average.update()
        return value.detach(), logits.detach()

    def _step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what the method's step returns, which several processes divide between them."""
        if self.gradients is None:
            return self.method.step(batch)
        seed = derive_seed(self.seed, "model", self.place)
        self.method.sharing = Sharing(self.ranks, batch.rows, len(batch.target), seed)
        try:
            return self.method.step(batch)
        finally:
            self.method.sharing = None

    def release(self) -> None:
        """Leave the networks' parameters as they were."""
        if self.gradients is not None:
            self.gradients.release()

    def renew_scaler(self, state: dict[str, Any]) -> None:
        """Replace a gradient scaler that was left in the middle of a step, restoring `state`."""
        self.scaler = torch.amp.GradScaler(self.scaler._device, enabled=self.scaler.is_enabled())
        self.scaler.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next update depends on, except the random state."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        for state in optimizers:
            for group in state["param_groups"]:
                group["lr"] = self._lr_of(group)  # not a tensor of this device
        return {
            "method": self.method.state_dict(),
            "optimizers": optimizers,
            "scaler": self.scaler.state_dict(),
            "averages": [average.state_dict() for average in self.averages],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        current = self.method.state_dict()
        # checkpoints of version 0.1 lack the loss; its constants are those that it was created with
        constants = {name: value for name, value in current.items() if name.startswith("loss.")}
        self.method.load_state_dict(constants | state["method"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            # the state may come from another device, with another implementation of the same update
            kept = (*IMPLEMENTATION, "own_lr", "scheduled")
            ours = [{name: group[name] for name in kept if name in group} for group in optimizer.param_groups]
            groups = [old | new for old, new in zip(saved["param_groups"], ours, strict=True)]
            before = [dict(group) for group in optimizer.param_groups]
            optimizer.load_state_dict(saved | {"param_groups": groups})
            check_restored(optimizer, before)
            for group, old in zip(optimizer.param_groups, before, strict=True):
                if isinstance(old["lr"], Tensor):
                    group["lr"] = old["lr"]
        self._lr_is_set = False
        self.scaler.load_state_dict(state["scaler"])
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.load_state_dict(saved)


def _has_gradient(optimizer: torch.optim.Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])


def _check_complete(method: Method, groups: list[ParameterGroup]) -> None:
    """Raise an `InputError` if a parameter of the method or its loss would never be trained."""
    given = Counter(id(parameter) for group in groups for parameter in group.parameters)
    for name, parameter in method.named_parameters():
        if given[id(parameter)] > 1:
            raise InputError(
                f"the parameter {name!r} of the method {type(method).__name__} is in {given[id(parameter)]} "
                "parameter groups, expected one"
            )
        if parameter.requires_grad and id(parameter) not in given:
            raise InputError(
                f"the parameter {name!r} of the method {type(method).__name__} is in no parameter group "
                "and would never be trained; return it from parameter_groups, or call requires_grad_(False)"
            )


def _check_step(taken: tuple[Tensor, Tensor], batch: Batch, method: Method) -> None:
    """Raise an `InputError` unless a step returned a scalar loss and one row of logits per example."""
    who = type(method).__name__
    if not isinstance(taken, tuple) or len(taken) != 2:
        raise InputError(
            f"the step of {who} returns a {type(taken).__name__}, expected the loss and the logits"
        )
    value, logits = taken
    if not isinstance(value, Tensor) or value.ndim != 0:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"the step of {who} returns the loss {shape}, expected a scalar tensor, ()")
    if not value.requires_grad and not method.fitted:
        raise InputError(f"the loss that the step of {who} returns has no gradient; do not detach it")
    K = method.num_classes
    if (
        not isinstance(logits, Tensor)
        or logits.ndim != 2
        or len(logits) != len(batch.target)
        or (K is not None and logits.shape[1] != K)
    ):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"the step of {who} returns logits {shape}, expected ({len(batch.target)}, {K or 'K'})"
        )


def _by_optimizer(groups: list[ParameterGroup], settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return torch's parameter groups by the name of their optimizer, in order of appearance."""
    found: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        entry = {"params": list(group.parameters), "own_lr": group.lr, "scheduled": group.scheduled}
        for name in ("lr", "momentum", "weight_decay"):
            value = getattr(group, name)
            entry[name] = getattr(settings, name) if value is None else value
        found.setdefault(group.optimizer or settings.optimizer, []).append(entry)
    return found


class Average:
    """The exponential moving average of a network's weights and buffers, as a separate network.

    ``average <- decay * average + (1 - decay) * model`` after every step, starting from the weights after the
    first step. torch's ``AveragedModel`` computes the same, but copies a counter to the GPU in every step,
    which waits for the device.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model)
        self.decay = decay
        self.started = False
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        self.numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    def update(self) -> None:
        """Update the average with the model's current weights."""
        average, model = ([pair[side] for pair in self.numbers] for side in (0, 1))
        get_ema_multi_avg_fn(self.decay if self.started else 0.0)(average, model, None)
        for counter, latest in self.counters:  # batch normalization's
            counter.copy_(latest)
        self.started = True

    def state_dict(self) -> dict[str, Any]:
        """Return weights, buffers, and whether the average has started."""
        return {"model": self.model.state_dict(), "started": self.started}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.started = state["started"]


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in chain(model.parameters(), model.buffers())]
