"""A multi-layer perceptron on flattened images, or on rows of features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from noisylabels.models.layers import reset_weights


def mlp(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    widths: Sequence[int] = (256, 128),
) -> nn.Module:
    """Return linear layers of `widths` units, each with batch normalization and ReLU, and one to K."""
    sizes = [channels * math.prod(image_size), *widths]
    layers: list[nn.Module] = [nn.Flatten()]
    for size_in, size_out in itertools.pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), nn.BatchNorm1d(size_out), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))
    reset_weights(model)
    return model


def widths_for(n: int, columns: int) -> tuple[int, int]:
    """Return sensible widths of two hidden layers for a table of n rows of D `columns`.

    >>> widths_for(150, 4), widths_for(20_000, 50)
    ((64, 64), (128, 128))
    """
    return (64, 64) if n < 5_000 else (128, 128)
