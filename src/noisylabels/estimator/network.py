"""The networks of the ensemble and their default training settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.core.rng import derive_seed
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.losses.modules import Loss
from noisylabels.models.catalog import canonical_model


@dataclass(frozen=True)
class Recipe:
    """A kind of network and its default training settings.

    Args:
        name: name of the model.
        widths: widths of the hidden layers, for tables; None for an image model.
        loss: an expression.
        lr, weight_decay: settings of AdamW with a one-cycle schedule.
        steps: approximate number of training steps.
    """

    name: str
    widths: tuple[int, ...] | None
    loss: str
    lr: float
    weight_decay: float
    steps: int

    def batch_size(self, count: int) -> int:
        """Return the batch size for `count` examples."""
        return min(256, max(32, count // 8))

    def epochs(self, count: int, batch_size: int) -> int:
        """Return the number of epochs that make about `steps` steps, from 8 to 150."""
        return min(150, max(8, math.ceil(self.steps / math.ceil(count / batch_size))))


LINEAR = Recipe("linear", (), "ce", 2e-2, 1.0, 100)
MLP = Recipe("mlp", (64, 64), "gce(q=0.7)", 5e-3, 1e-2, 300)
IMAGES = Recipe("small-cnn", None, "nce+mae", 3e-3, 1e-2, 1500)


def recipes(model: str, image_shape: tuple[int, ...], loss: str | Loss) -> list[Recipe]:
    """Return the candidates for the given `model` and `loss`.

    Args:
        model: "auto", "linear", "mlp", or such as "mlp:64,32"; for images a name in the model catalog.
        image_shape: (C, H, W), or () for a table.
        loss: "auto", an expression, or a loss.

    Raises:
        InputError: an unknown model or loss, or an image model for a table.
    """
    if image_shape:
        if model == "auto":
            model = "small-cnn" if min(image_shape[1:]) < 16 else "cnn8"
        found = [replace(IMAGES, name=canonical_model(model))]
    elif model == "auto":
        found = [LINEAR, MLP]
    elif model in ("linear", "mlp"):
        found = [LINEAR if model == "linear" else MLP]
    elif model.startswith("mlp:"):
        name = canonical_model(model)
        widths = tuple(int(width) for width in name.removeprefix("mlp:").split(","))
        found = [replace(MLP, name=name, widths=widths)]
    else:
        raise InputError(
            f"the model is {model!r}, expected auto, linear, mlp or such as mlp:64,32 for tables"
        )
    if loss != "auto":
        read = loss if isinstance(loss, Loss) else parse_loss(loss)
        if "two views" in read.needs:
            raise InputError(
                f"the loss {read.expression!r} compares two views of an example, but the estimator has one; "
                "use another loss, such as js"
            )
        found = [replace(recipe, loss=read.expression) for recipe in found]
    return found


def table_network(
    columns: int, num_classes: int, widths: Sequence[int], dropout: float, seed: int
) -> nn.Module:
    """Return a multilayer perceptron: linear layers with ReLU and dropout, and a final one to K logits.

    Without hidden layers it is multinomial logistic regression. It has no batch normalization, whose
    statistics are poor for the small batches of small tables.

    Args:
        columns: D.
        num_classes: K.
        widths: widths of the hidden layers.
        dropout: dropout rate of the hidden units.
        seed: seed of the weights; the global random state is left unchanged.

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
