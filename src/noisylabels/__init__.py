"""noisylabels: train classifiers on data whose labels are partly wrong.

>>> import noisylabels as nl
>>> criterion = nl.loss("nce + mae")  # in place of nn.CrossEntropyLoss()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from noisylabels import losses as losses
    from noisylabels.core.checks import InputError as InputError
    from noisylabels.losses.expression import loss as loss
    from noisylabels.losses.modules import Loss as Loss

# Loaded on first use, so that `noisylabels --help` does not wait for torch.
_PUBLIC = {
    "InputError": "noisylabels.core.checks",
    "Loss": "noisylabels.losses.modules",
    "loss": "noisylabels.losses.expression",
}
_ROOMS = ("losses",)

__all__ = ["InputError", "Loss", "__version__", "loss", "losses"]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"noisylabels.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'noisylabels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
