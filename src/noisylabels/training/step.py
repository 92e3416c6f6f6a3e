"""One step of training: forward, backward, penalties, clipping, update, average."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from noisylabels.core.checks import InputError
from noisylabels.models.output_check import first_logits
from noisylabels.training.optim import HOW, build_optimizer
from noisylabels.training.settings import Settings


class Step:
    """The model, its optimizer and all that belongs to an update; its state can be saved and loaded.

    Args:
        model, loss, settings, device: as `loop.fit` takes them.
        num_classes: what the first logits are held against; None: nothing.
        capturable: keep all that changes from step to step in tensors on the device, the learning rate too,
            so that `update` can be recorded (`capture.py`).
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        settings: Settings,
        device: torch.device,
        num_classes: int | None = None,
        *,
        capturable: bool = False,
    ) -> None:
        self.model = model
        self.unseen = num_classes  # None once the first logits have been seen
        self.loss = loss
        self.weights: Tensor | None = None  # (B,), of the next examples; the loss is not reduced then
        self.clip = settings.clip
        self.l1 = settings.l1
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise InputError("the model has no parameters that require a gradient: there is nothing to train")
        self.optimizer = build_optimizer(self.parameters, settings, device, capturable=capturable)
        self.lr = settings.lr
        self.lr_there = torch.tensor(settings.lr, device=device) if capturable else None
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(settings.precision)
        self.autocast = torch.autocast(device.type, dtype=half, enabled=half is not None)
        self.scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
        self.ema = Average(model, settings.ema) if settings.ema else None

    @property
    def evaluated(self) -> nn.Module:
        """The model to evaluate and keep: the averaged one if there is one."""
        return self.ema.model if self.ema is not None else self.model

    def __call__(self, images: Tensor, target: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """Update the weights once; return the loss () and the logits (B, K), both detached."""
        self.set_lr(lr)
        return self.update(images, target)

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next update."""
        if self.lr_there is not None and lr != self.lr:
            self.lr_there.fill_(lr)
        self.lr = lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr if self.lr_there is None else self.lr_there

    def update(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Update the weights at the learning rate set; return loss and logits."""
        with self.autocast:
            if self.unseen is None:
                logits = self.model(images)
            else:
                logits, self.unseen = first_logits(self.model, images, self.unseen), None
        value = self.loss(logits.float(), target)  # outside autocast: losses want float32 or better
        if self.weights is not None:
            value = (value * self.weights).mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()
        if self.l1 or self.clip:
            self.scaler.unscale_(self.optimizer)
        if self.l1:  # the gradient of l1 * sum |w|
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach().sign(), alpha=self.l1)
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update()
        return value.detach(), logits.detach()

    def renew_scaler(self, state: dict[str, Any]) -> None:
        """Put a gradient scaler in the place of one that was left in the middle of a step."""
        self.scaler = torch.amp.GradScaler(self.scaler._device, enabled=self.scaler.is_enabled())
        self.scaler.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, but for the random state."""
        optimizer = self.optimizer.state_dict()
        for group in optimizer["param_groups"]:
            group["lr"] = self.lr
        return {
            "model": self.model.state_dict(),
            "optimizer": optimizer,
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        # the state may be of another device, where the same update is carried out in another way
        ours = [{name: group[name] for name in HOW if name in group} for group in self.optimizer.param_groups]
        groups = [old | new for old, new in zip(state["optimizer"]["param_groups"], ours, strict=True)]
        self.optimizer.load_state_dict(state["optimizer"] | {"param_groups": groups})
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])


class Average:
    """The exponential moving average of a model's weights and buffers, as a model of its own.

    ``average <- decay * average + (1 - decay) * model`` after every step; the first step's weights are
    its start. torch's ``AveragedModel`` computes the same, but copies a counter to the GPU, and so
    waits for it, in every step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model)
        self.decay = decay
        self.started = False
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        self.numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    def update(self) -> None:
        """Take in the model's present weights."""
        average, model = ([pair[side] for pair in self.numbers] for side in (0, 1))
        get_ema_multi_avg_fn(self.decay if self.started else 0.0)(average, model, None)
        for counter, latest in self.counters:  # batch normalization's
            counter.copy_(latest)
        self.started = True

    def state_dict(self) -> dict[str, Any]:
        """Return weights, buffers, and whether there was a step."""
        return {"model": self.model.state_dict(), "started": self.started}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.started = state["started"]


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in chain(model.parameters(), model.buffers())]
