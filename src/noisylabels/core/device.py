"""Choice of the compute device."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn


def pick_device(name: str) -> torch.device:
    """Return the device `name`; "auto" is a GPU if one is available."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"the device {name!r} is not usable here; try --device cpu or auto") from None
    return device


def first_tensor(model: nn.Module) -> torch.Tensor:
    """Return the first parameter of a model, or its first buffer: device and type are those of the model.

    >>> from torch import nn
    >>> first_tensor(nn.Linear(2, 3)).shape
    torch.Size([3, 2])
    """
    return next(itertools.chain(model.parameters(), model.buffers()))
