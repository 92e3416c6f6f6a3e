"""The identity of a loss: what a checkpoint, or an audit's folds, must agree on with a later call."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from noisylabels.training.method import LossFunction


def loss_name(loss: LossFunction) -> str:
    """Return the expression of a loss, the representation of a module, or the name of a function."""
    if isinstance(loss, nn.Module):
        return repr(loss)
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def loss_identity(loss: LossFunction) -> str:
    """Return the name of a loss with a digest of a module's tensors, such as class weights."""
    state = loss.state_dict() if isinstance(loss, nn.Module) else {}
    return f"{loss_name(loss)} {_digest(list(state.values()))}" if state else loss_name(loss)


def state_digests(loss: LossFunction) -> dict[str, str]:
    """Return a digest of each tensor in a loss's state, by name."""
    if not isinstance(loss, nn.Module):
        return {}
    return {name: _digest([tensor]) for name, tensor in loss.state_dict().items() if torch.is_tensor(tensor)}


def _digest(tensors: Sequence[Tensor]) -> str:
    numbers = hashlib.sha256()
    for tensor in tensors:
        numbers.update(tensor.detach().cpu().contiguous().view(-1).double().numpy().tobytes())
    return numbers.hexdigest()[:8]
