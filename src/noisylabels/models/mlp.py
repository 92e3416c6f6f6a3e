"""Multi-layer perceptrons for flattened images or rows of features, and multinomial logistic regression."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from noisylabels.models.layers import reset_weights

OF_TABLES = "mlp:64,64"
"""The default model for a table without its recipe; wider ones memorize noisy labels sooner."""

TABLE_MODELS = ("linear", "mlp", "mlp@dropout")
"""The models of the catalog that take a table."""

DROPOUT = 0.25
"""Dropout rate of the hidden units of `dropout_mlp`."""


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


def dropout_mlp(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    widths: Sequence[int] = (64, 64),
    dropout: float = DROPOUT,
) -> nn.Module:
    """Return linear layers of `widths` units, each with ReLU and dropout, and one to K.

    Without hidden layers it is multinomial logistic regression. It has no batch normalization, whose
    statistics are poor for the small batches of small tables.
    """
    sizes = [channels * math.prod(image_size), *widths]
    layers: list[nn.Module] = [nn.Flatten()]
    for size_in, size_out in itertools.pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))
