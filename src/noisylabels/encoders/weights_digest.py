"""The digest of a network's weights, a part of an encoder's identity."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import torch
from torch import nn


def weights_digest(network: nn.Module, without: Collection[str] = ()) -> str:
    """Return the sha256 (hexadecimal) of the weights and buffers of a network, by name and in order.

    Args:
        network: the network.
        without: names of weights to leave out, such as those that were drawn at random and are not used.

    >>> weights_digest(nn.Identity())[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        if name in without:
            continue
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()
