"""Nearest neighbors as a model: it remembers examples, and weighted votes of the nearest are its logits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

NAME = "knn"
"""Its name among the models."""

LEAST = 1e-3
"""Share of a vote that each class has, so that none is impossible."""

_BLOCK = 1 << 24  # distances held at once


def nearest(points: Tensor, queries: Tensor, count: int, leave_out: Tensor | None = None) -> Tensor:
    """Return the nearest points of each query by Euclidean distance, nearest first, (Q, count) int64.

    Args:
        points: (n, D) float32.
        queries: (Q, D) float32.
        count: neighbors per query; at most n, or n - 1 if one is left out.
        leave_out: (Q,) int64, a point that is no neighbor of its query, such as itself, -1 for none; None
            for no query.

    >>> points = torch.tensor([[0.0], [1.0], [5.0]])
    >>> nearest(points, points, 1, leave_out=torch.arange(3)).flatten().tolist()
    [1, 0, 1]
    """
    found = []
    squares = points.square().sum(1)
    rows = max(1, _BLOCK // max(1, len(points)))
    for start in range(0, len(queries), rows):
        # |q - x|^2 without |q|^2, which is the same for all points
        distance = torch.addmm(squares, queries[start : start + rows], points.T, alpha=-2)
        if leave_out is not None:
            own = leave_out[start : start + rows, None]
            at = own.clamp_min(0)
            distance.scatter_(1, at, torch.where(own < 0, distance.gather(1, at), torch.inf))
        found.append(distance.topk(count, largest=False).indices)
    return torch.cat(found) if found else torch.zeros(0, count, dtype=torch.int64, device=points.device)


def weighted_votes(labels: Tensor, weights: Tensor, sizes: Tensor, num_classes: int) -> Tensor:
    """Return the sum of the weights of each class among the first neighbors of each query, (Q, K).

    Args:
        labels: (Q, M) int64, the labels of the neighbors, nearest first.
        weights: (Q, M), their weights.
        sizes: (Q,) int64, the number of neighbors that vote, 1 to M.
        num_classes: K.

    >>> labels, weights = torch.tensor([[1, 0, 1]]), torch.tensor([[0.5, 1.0, 2.0]])
    >>> weighted_votes(labels, weights, torch.tensor([2]), 2).tolist()
    [[1.0, 0.5]]
    """
    voting = torch.arange(labels.shape[1], device=labels.device) < sizes[:, None]
    votes = torch.zeros(len(labels), num_classes, dtype=weights.dtype, device=weights.device)
    return votes.scatter_add(1, labels, torch.where(voting, weights, 0.0))


class Neighbors(nn.Module):
    """Classifies by the weighted votes of as many nearest neighbors as the nearest one asks for.

    It has no parameters to train: a method fits it, by `remember`. Its logits are the logarithms of the
    shares of the votes.

    Args:
        columns: D, numbers per example; images count as rows of their pixels.
        num_classes: K.
    """

    points: Tensor
    labels: Tensor
    sizes: Tensor
    reliability: Tensor

    def __init__(self, columns: int, num_classes: int) -> None:
        super().__init__()
        self.columns, self.num_classes = columns, num_classes
        self.register_buffer("points", torch.zeros(0, columns))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("sizes", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("reliability", torch.zeros(0))

    def remember(self, points: Tensor, labels: Tensor, sizes: Tensor, reliability: Tensor) -> None:
        """Replace the examples: points (n, D), labels, neighborhood sizes and weights of votes, each (n,)."""
        self.points, self.labels, self.sizes, self.reliability = points, labels, sizes, reliability

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, D) or (B, C, H, W); of equal classes without examples."""
        return self.vote(inputs)

    def vote(self, inputs: Tensor, leave_out: Tensor | None = None) -> Tensor:
        """Return logits (B, K), without the vote of one remembered example per input, see `nearest`."""
        queries = inputs.flatten(1)
        if not len(self.points):
            return queries.new_zeros(len(queries), self.num_classes).float()
        with torch.autocast(queries.device.type, enabled=False):  # distances need all digits
            most = min(int(self.sizes.max()), len(self.points) - (leave_out is not None))
            where = nearest(self.points, queries.float(), most, leave_out)
            votes = weighted_votes(
                self.labels[where],
                self.reliability[where],
                self.sizes[where[:, 0]].clamp_max(most),
                self.num_classes,
            )
            shares = votes / votes.sum(1, keepdim=True).clamp_min(torch.finfo(votes.dtype).tiny)
            return ((shares + LEAST) / (1 + self.num_classes * LEAST)).log()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Take over any number of examples."""
        for name in ("points", "labels", "sizes", "reliability"):
            saved, own = state_dict.get(prefix + name), getattr(self, name)
            if isinstance(saved, Tensor) and saved.shape[1:] == own.shape[1:]:
                setattr(self, name, own.new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def neighbors(
    channels: int, image_size: tuple[int, int], num_classes: int, *, widths: tuple[int, ...] = ()
) -> nn.Module:
    """Return `Neighbors` of images or, with channels and height 1, of rows."""
    return Neighbors(channels * math.prod(image_size), num_classes)
