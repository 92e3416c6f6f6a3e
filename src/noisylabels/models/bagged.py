"""Several multi-layer perceptrons of one shape as one module, so that one matrix product serves them all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class BaggedNetwork(nn.Module):
    """M perceptrons with ReLU and dropout between linear layers; without hidden layers, M linear models.

    Its networks share no weights: the gradient of the sum of their losses is that of each loss.

    Args:
        members: M.
        sizes: D, the widths of the hidden layers, K.
        dropout: dropout rate of the hidden units.
        draw: draws the weights, as ``nn.Linear`` does, and the units that are dropped.

    >>> network = BaggedNetwork(5, (4, 8, 3), 0.25, torch.Generator().manual_seed(0))
    >>> network(torch.zeros(2, 4)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, members: int, sizes: Sequence[int], dropout: float, draw: torch.Generator) -> None:
        super().__init__()
        self.dropout = dropout
        self._draw: torch.Generator | None = draw
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for size_in, size_out in itertools.pairwise(sizes):
            bound = max(size_in, 1) ** -0.5
            for shape, into in (((size_in, size_out), self.weights), ((1, size_out), self.biases)):
                uniform = torch.rand(members, *shape, generator=draw)
                into.append(nn.Parameter((2 * uniform - 1) * bound))

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits (M, B, K) of rows (B, D), the same for all networks, or (M, B, D)."""
        hidden = rows.expand(len(self.weights[0]), -1, -1) if rows.ndim == 2 else rows
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = hidden.relu()
                if self.training and self.dropout:
                    kept = _kept(hidden.shape, self.dropout, self._draw).to(hidden.dtype)
                    hidden = hidden * kept.div_(1 - self.dropout)
        return hidden

    def finished(self) -> BaggedNetwork:
        """Return itself in float64 and evaluation mode, without the generator, which a pickle cannot hold."""
        self._draw = None
        return self.double().eval().requires_grad_(False)


def _kept(shape: Sequence[int], dropout: float, draw: torch.Generator | None) -> Tensor:
    """Return which units are kept, bool.

    If the rate is a multiple of 1/256, each unit takes a byte of a random integer, which is faster than a
    random number per unit: those took a third of the time of a step.
    """
    if not (256 * dropout).is_integer():
        return torch.rand(*shape, generator=draw) >= dropout
    count = math.prod(shape)
    words = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None, generator=draw)
    return (words.view(torch.uint8)[:count] >= int(256 * dropout)).view(*shape)
