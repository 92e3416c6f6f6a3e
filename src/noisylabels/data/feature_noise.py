"""Augmentation of features: noise, and dropout of columns.

The numbers of an example are a hash of the seed, the epoch, the view, its position and the column, computed
on the device of the batch. So nothing is drawn for the whole set in advance, which for 50,000 rows of 1,280
columns would take a quarter of a gigabyte per epoch and view, and a CPU and a GPU use the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from noisylabels.core.literals import written
from noisylabels.core.rng import derive_seed

_LOW, _HALF = 0xFFFFFFFF, 0x7FFFFFFF  # 32 and 31 bits


class FeatureDraws(NamedTuple):
    """What the numbers of the examples are a hash of."""

    keys: tuple[int, ...]
    positions: Tensor  # int64, (B,): places in the set

    def at(self, index: Tensor) -> FeatureDraws:
        """Return the draws of the examples at `index`, (B,)."""
        return FeatureDraws(self.keys, index)

    def to(self, device: torch.device) -> FeatureDraws:
        """Return the draws on `device`."""
        return FeatureDraws(self.keys, self.positions.to(device))


def uniforms_at(key: int, index: Tensor, columns: int) -> Tensor:
    """Return numbers in (0, 1) that depend on a key, a row and a column alone, float32, (B, columns).

    >>> one = uniforms_at(5, torch.tensor([3, 8]), 4)
    >>> torch.equal(one[1:], uniforms_at(5, torch.tensor([8]), 6)[:, :4])
    True
    """
    rows = _mixed(_mixed(_mixed(index) ^ (key & _HALF)) ^ ((key >> 31) & _HALF))
    cells = _mixed(rows[:, None] + torch.arange(columns, device=index.device) * 0x1E3779B1)
    return ((cells >> 9).float() + 0.5) / 2**23


def _mixed(x: Tensor) -> Tensor:
    """Return the 32-bit hash `lowbias32` (Wellons 2018) of the low 32 bits of integers."""
    x = x & _LOW
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _LOW
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _LOW  # the product wraps around, which leaves its low bits
    return x ^ (x >> 16)


@dataclass(frozen=True)
class FeatureNoise:
    """Adds normal noise to standardized features, and replaces columns by their mean, 0.

    Args:
        noise: standard deviation of the noise, in standard deviations of the column.
        dropout: probability that a column of an example is replaced. The others are not scaled up, because a
            network meets the features as they are in evaluation.
    """

    noise: float = 0.0
    dropout: float = 0.0

    def __bool__(self) -> bool:
        return self.noise > 0 or self.dropout > 0

    def __str__(self) -> str:
        both = {"noise": self.noise, "dropout": self.dropout}
        parts = [f"{name}:{written(value)}" for name, value in both.items() if value]
        return "+".join(parts) or "none"

    def draw(self, n: int, seed: int, epoch: int, view: int = 0) -> FeatureDraws:
        """Return the keys of n examples, of the streams ("features", epoch, view, number)."""
        keys = tuple(derive_seed(seed, "features", epoch, view, number) for number in range(3))
        return FeatureDraws(keys, torch.arange(n))

    def apply(self, rows: Tensor, draws: FeatureDraws) -> Tensor:
        """Return standardized features (B, D) with noise and without some columns, in their own type."""
        first, second, third = draws.keys
        D = rows.shape[1]
        if self.noise:
            radius = (-2 * uniforms_at(first, draws.positions, D).log()).sqrt()
            angle = uniforms_at(second, draws.positions, D) * (2 * math.pi)
            rows = rows + (self.noise * radius * angle.cos()).to(rows.dtype)
        if self.dropout:
            rows = rows.masked_fill(uniforms_at(third, draws.positions, D) < self.dropout, 0.0)
        return rows
