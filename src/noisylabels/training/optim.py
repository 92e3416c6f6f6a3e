"""Optimizers by name, and the learning rate as a pure function of the time in a run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from noisylabels.training.settings import Settings

IMPLEMENTATION = ("foreach", "fused", "capturable")
"""Keys of an optimizer's groups that select an implementation and do not change what it computes."""


STATE = {"SGD": {"momentum_buffer"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"}}
"""What an optimizer keeps per parameter once it has taken a step."""


def check_restored(optimizer: torch.optim.Optimizer, before: list[dict[str, Any]]) -> None:
    """Raise a ValueError if a restored optimizer could not take a step.

    The state of a parameter must have its tensors, of its shape, and the settings of the groups the types
    that they had `before`.
    """
    for parameter, state in optimizer.state.items():
        if state and state.keys() != STATE[type(optimizer).__name__]:
            raise ValueError(f"the state of a parameter has {', '.join(map(str, state))}")
        for name, value in state.items():
            shape = () if name == "step" else parameter.shape
            if value is not None and (not isinstance(value, Tensor) or value.shape != shape):
                raise ValueError(f"{name} of a parameter of the shape {tuple(parameter.shape)}")
    for group, old in zip(optimizer.param_groups, before, strict=True):
        for name, value in old.items():
            if name not in ("params", "lr") and type(group.get(name)) is not type(value):
                raise ValueError(f"{name} of a group of parameters is {group.get(name)!r}")


def build_optimizer(
    groups: Iterable[nn.Parameter] | list[dict[str, Any]],
    settings: Settings,
    device: torch.device | None = None,
    *,
    name: str | None = None,
    capturable: bool = False,
    rows: bool = False,
) -> torch.optim.Optimizer:
    """Return an optimizer with the settings' learning rate, momentum and weight decay.

    On a GPU it is one fused kernel, which reads the gradient scaler's check for infinities on the device;
    otherwise the host waits for it in every step. On a CPU, fused kernels round differently; they save a
    thousandth (SGD) or a hundredth (AdamW) of a step of the paper's network, which therefore goes without,
    and a tenth of a step of a network on rows of features.

    Args:
        groups: parameters, or torch's parameter groups, whose lr, momentum and weight_decay take precedence.
        settings: name, learning rate, momentum and weight decay.
        device: the device of the parameters.
        name: "sgd" or "adamw"; None for that of the settings.
        capturable: allow an update to be recorded and replayed, with a tensor as its learning rate.
        rows: whether the inputs are rows of features.
    """
    kind = "cpu" if device is None else device.type
    fused: bool | None = True if capturable or kind == "cuda" or (rows and kind == "cpu") else None
    common = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": fused}
    given: Any = [dict(group) if isinstance(group, dict) else group for group in groups]
    if (name or settings.optimizer) == "adamw":
        for group in given:
            if isinstance(group, dict) and (first := group.pop("momentum", None)) is not None:
                group["betas"] = (first, 0.999)
        return torch.optim.AdamW(
            given,
            betas=(settings.momentum, 0.999),
            capturable=capturable,
            **common,  # type: ignore[arg-type]
        )
    optimizer = torch.optim.SGD(given, momentum=settings.momentum, **common)  # type: ignore[arg-type]
    if fused:
        # a first step whose scaled gradients overflow would leave these buffers uninitialized
        for group in optimizer.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def learning_rate(settings: Settings, epoch: int, fraction: float) -> float:
    """Return the learning rate at `fraction` in [0, 1) of the way through `epoch` (from 0).

    A pure function, so that a resumed run needs no scheduler state. Cosine changes once per epoch, like
    ``CosineAnnealingLR(T_max=epochs)`` in the reference code, ``lr (1 + cos(pi epoch/epochs))/2``; warm-up
    and one-cycle change every step. One-cycle rises linearly from lr/25 over the first 30 %
    and falls by a cosine to lr/10,000 (after Smith & Topin 2018; PyTorch's ``OneCycleLR`` also rises by
    a cosine, and by default falls to lr/250,000).
    """
    now = (epoch + fraction) / settings.epochs
    if settings.schedule == "cosine":
        factor = (1 + math.cos(math.pi * epoch / settings.epochs)) / 2
    elif settings.schedule == "step":
        factor = 0.1 ** sum(now >= milestone for milestone in (0.5, 0.75))
    elif settings.schedule == "onecycle":
        start, end, peak = 1 / 25, 1e-4, 0.3
        if now < peak:
            factor = start + (1 - start) * now / peak
        else:
            factor = end + (1 - end) * (1 + math.cos(math.pi * (now - peak) / (1 - peak))) / 2
    else:
        factor = 1.0
    if epoch + fraction < settings.warmup_epochs:
        factor *= (epoch + fraction) / settings.warmup_epochs
    return settings.lr * factor
