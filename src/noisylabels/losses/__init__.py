"""Loss functions: per-label functions, their plain, normalized and negative forms, and weighted sums.

``noisylabels.losses.nce(logits, target)`` is the function, ``noisylabels.loss("nce")`` the module.
Every loss of the catalog whose name is an identifier is a function here, built in or registered.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from noisylabels.losses.catalog import LOSSES, PER_LABEL, WRAPPERS, register, unregister
from noisylabels.losses.entries import PAPER
from noisylabels.losses.expression import loss
from noisylabels.losses.from_function import negative, normalize, select
from noisylabels.losses.functional import function
from noisylabels.losses.kernels import kernel_name
from noisylabels.losses.linear import LinearLoss, linear_loss
from noisylabels.losses.modules import Loss
from noisylabels.losses.noise_weight import weight_for_noise
from noisylabels.losses.presets import PRESETS

__all__ = [
    "LOSSES",
    "PAPER",
    "PER_LABEL",
    "PRESETS",
    "WRAPPERS",
    "LinearLoss",
    "Loss",
    "function",
    "kernel_name",
    "linear_loss",
    "loss",
    "negative",
    "normalize",
    "register",
    "select",
    "unregister",
    "weight_for_noise",
]


def __getattr__(name: str) -> Callable[..., Tensor]:
    if name in LOSSES and name.isidentifier():
        return function(name)
    raise AttributeError(f"module {__name__!r} has no loss or attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(name for name in LOSSES if name.isidentifier())])
