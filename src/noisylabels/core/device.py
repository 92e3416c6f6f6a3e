"""Choice of the compute device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError

if TYPE_CHECKING:
    import torch


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
