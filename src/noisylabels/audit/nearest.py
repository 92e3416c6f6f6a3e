"""Nearest neighbors of all examples in feature space, without a matrix of size N x N in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEIGHBORS = 10
"""Neighbors per example."""

DIRECTIONS, CANDIDATES = 64, 2
"""With more features, `CANDIDATES` times as many neighbors are searched in so many principal components, and
the nearest of these are found in all features."""

_ROWS, _GROUP = 1024, 32
_VALUES = 1 << 24  # features of candidates that are compared at once: 64 megabytes
_FITTED = 20_000  # examples that the principal components are computed from
_SMALL = 1_000  # examples that are compared in all features at once


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest neighbors of N examples, nearest first.

    Args:
        positions: (N, k) int64.
        distances: (N, k) float32, 1 minus the cosine of the centered features, in [0, 2].
    """

    positions: np.ndarray
    distances: np.ndarray


def find_nearest(features: np.ndarray, k: int = NEIGHBORS) -> Nearest:
    """Return the k nearest other examples of each example; fewer if there are not so many.

    Features are centered and compared by cosine. 50,000 examples of 1,280 features take some seconds on two
    cores, and most of their nearest neighbors are exact, see `DIRECTIONS`.

    Args:
        features: (N, D), N at least 2.
        k: number of neighbors.

    >>> found = find_nearest(np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]]), 1)
    >>> found.positions[:, 0].tolist()
    [1, 0, 3, 2]
    """
    centered = torch.as_tensor(np.asarray(features, dtype=np.float32))
    centered = centered - centered.mean(0)
    n, k = len(centered), min(k, len(centered) - 1)
    whole = torch.nn.functional.normalize(centered, dim=1)
    reduced = _reduced(centered)
    wanted = k if reduced is None else min(CANDIDATES * k, n - 1)
    points = whole if reduced is None else reduced
    positions, distances = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    for start in range(0, n, _ROWS):
        block = slice(start, min(start + _ROWS, n))
        alike = points[block] @ points.T
        own = torch.arange(len(alike))
        alike[own, own + start] = -torch.inf
        values, where = _largest(alike, wanted)
        if reduced is not None:
            values, where = _ranked(whole, block, where, k)
        positions[block], distances[block] = where.numpy(), (1 - values).numpy()
    return Nearest(positions, np.clip(distances, 0, 2))


def _reduced(centered: Tensor) -> Tensor | None:
    """Return features in their principal components, of norm 1, (N, `DIRECTIONS`); None for a small set."""
    if centered.shape[1] <= DIRECTIONS or len(centered) <= _SMALL:
        return None
    some = centered[:: -(-len(centered) // _FITTED)].double()
    # double precision: with fewer rows than columns most eigenvalues are 0, on which single precision fails
    directions = torch.from_numpy(np.linalg.eigh((some.T @ some).numpy())[1]).float()
    return torch.nn.functional.normalize(centered @ directions[:, -DIRECTIONS:], dim=1)


def _ranked(points: Tensor, block: slice, where: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return cosine and position of the k nearest of the candidates `where` of a block of rows."""
    step = max(1, _VALUES // (where.shape[1] * points.shape[1]))
    parts = [
        torch.einsum("rcd,rd->rc", points[some], rows)
        for some, rows in zip(where.split(step), points[block].split(step), strict=True)
    ]
    found, at = torch.cat(parts).topk(k)
    return found, where.gather(1, at)


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest values of each row, descending, and their columns.

    The k largest lie in the k groups of columns with the largest maxima, which are found several times
    faster than by sorting the row.
    """
    rows, columns = values.shape
    groups = columns // _GROUP
    if groups <= 4 * k:
        top = values.topk(k)
        return top.values, top.indices
    whole = groups * _GROUP
    grouped = values[:, :whole].view(rows, groups, _GROUP)
    best = grouped.amax(2).topk(k).indices
    inner = (best[:, :, None] * _GROUP + torch.arange(_GROUP)).flatten(1)
    rest = torch.arange(whole, columns).expand(rows, -1)
    places = torch.cat([inner, rest], dim=1)
    found, at = values.gather(1, places).topk(k)
    return found, places.gather(1, at)
