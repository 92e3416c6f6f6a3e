"""The networks of the ensemble and their default training settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.core.rng import global_stream
from noisylabels.estimator.candidates import FOREST
from noisylabels.experiment.table_candidates import LINEAR, MLP, WIDE, WIDE_STEPS, Recipe
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.losses.modules import Loss
from noisylabels.models.catalog import canonical_model
from noisylabels.models.mlp import dropout_mlp

FORESTS = Recipe(FOREST, None, "none", 0.0, 0.0, 0)
IMAGES = Recipe("small-cnn", None, "nce+mae", 3e-3, 1e-2, 1500)


def recipes(model: str, image_shape: tuple[int, ...], loss: str | Loss, columns: int) -> list[Recipe]:
    """Return the candidates for the given `model` and `loss`.

    Args:
        model: "auto", "linear", "mlp", "forest", or such as "mlp:64,32"; for images a name in the
            model catalog.
        image_shape: (C, H, W), or () for a table.
        loss: "auto", an expression, or a loss.
        columns: the number of columns of a table.

    Raises:
        InputError: an unknown model or loss, or an image model for a table.
    """
    if image_shape:
        if model == "auto":
            model = "small-cnn" if min(image_shape[1:]) < 16 else "cnn8"
        found = [replace(IMAGES, name=canonical_model(model))]
    elif model == "auto" and columns > WIDE:
        found = [LINEAR, replace(MLP, steps=WIDE_STEPS)]
    elif model == "auto" and loss == "auto":
        found = [LINEAR, MLP, replace(MLP, loss="ce"), FORESTS]
    elif model == "auto":
        found = [LINEAR, MLP]
    elif model == FOREST:
        if loss != "auto":
            raise InputError("a forest has no loss; leave out loss, or use another model")
        found = [FORESTS]
    elif model in ("linear", "mlp"):
        found = [LINEAR if model == "linear" else MLP]
    elif model.startswith("mlp:"):
        name = canonical_model(model)
        widths = tuple(int(width) for width in name.removeprefix("mlp:").split(","))
        found = [replace(MLP, name=name, widths=widths)]
    else:
        raise InputError(
            f"the model is {model!r}, expected auto, linear, mlp, forest or such as mlp:64,32 for tables"
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
    """Return the network of a table, see `dropout_mlp`.

    Args:
        columns: D.
        num_classes: K.
        widths: widths of the hidden layers.
        dropout: dropout rate of the hidden units.
        seed: seed of the weights; the global random state is left unchanged.

    >>> import torch
    >>> table_network(4, 3, (8,), 0.25, seed=0)(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """
    with global_stream(seed, "weights"):
        return dropout_mlp(1, (1, columns), num_classes, widths=widths, dropout=dropout)
