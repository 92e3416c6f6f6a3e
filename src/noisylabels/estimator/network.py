"""The networks of the ensemble, and how each kind is trained by default."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.core.rng import derive_seed
from noisylabels.models.catalog import canonical_model


@dataclass(frozen=True)
class Recipe:
    """A kind of network and its defaults.

    Args:
        name: of the model.
        widths: of the hidden layers of a network of tables; None for a model of images.
        loss: an expression.
        lr, weight_decay: of AdamW under a one-cycle schedule.
        steps: about how many to take in all.
    """

    name: str
    widths: tuple[int, ...] | None
    loss: str
    lr: float
    weight_decay: float
    steps: int

    def batch_size(self, count: int) -> int:
        """Return the batch size for `count` examples: a tenth of them, from 16 to 128."""
        return min(128, max(16, count // 10))

    def epochs(self, count: int, batch_size: int) -> int:
        """Return how many epochs make the steps, from 8 to 200."""
        return min(200, max(8, math.ceil(self.steps / math.ceil(count / batch_size))))


LINEAR = Recipe("linear", (), "ce", 1e-2, 1.0, 200)
MLP = Recipe("mlp", (64, 64), "gce(q=0.7)", 3e-3, 1e-2, 600)


def recipes(model: str, image_shape: tuple[int, ...]) -> list[Recipe]:
    """Return the candidates that `model` stands for.

    Raises:
        InputError: an unknown model, or one of images for a table.
    """
    if image_shape:
        if model in ("auto", "linear"):
            model = "small-cnn" if min(image_shape[1:]) < 16 else "cnn8"
        return [Recipe(canonical_model(model), None, "nce+mae", 3e-3, 1e-2, 1500)]
    if model == "auto":
        return [LINEAR, MLP]
    if model == "linear":
        return [LINEAR]
    if model == "mlp":
        return [MLP]
    if model.startswith("mlp:"):
        name = canonical_model(model)
        widths = tuple(int(width) for width in name.removeprefix("mlp:").split(","))
        return [Recipe(name, widths, MLP.loss, MLP.lr, MLP.weight_decay, MLP.steps)]
    raise InputError(
        f"the model {model!r} is not one of tables, expected auto, linear, mlp or such as mlp:64,32"
    )


def table_network(
    columns: int, num_classes: int, widths: Sequence[int], dropout: float, seed: int
) -> nn.Module:
    """Return linear layers of `widths` units, each with ReLU and dropout, and one to K; its weights by `seed`.

    Without widths it is multinomial logistic regression. It has no batch normalization, whose statistics are
    poor in the small batches of small tables.

    Args:
        columns: D.
        num_classes: K.
        widths: of the hidden layers.
        dropout: the share of hidden units that are left out in a step.
        seed: of the ensemble's member; the global random state stays as it was.

    >>> table_network(4, 3, (8,), 0.25, seed=0)(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """
    layers: list[nn.Module] = []
    sizes = [columns, *widths]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "weights"))
        for size_in, size_out in itertools.pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU(), nn.Dropout(dropout)]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))
