"""Models by name: a row each, and the one function that builds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from noisylabels.core.checks import InputError, check_between
from noisylabels.core.registry import Registry
from noisylabels.core.rng import derive_seed
from noisylabels.models.cnn import cnn8, small_cnn
from noisylabels.models.mlp import mlp


@dataclass(frozen=True)
class ModelRow:
    """A model and what a user needs to know to choose it."""

    name: str
    build: Callable[..., nn.Module]  # (channels, image_size, num_classes, *, widths)
    title: str
    widths: tuple[int, ...]  # of all layers but the last, whose width is the number of classes
    smallest: int  # the smallest height and width of image that it takes
    source: str


MODELS: Registry[ModelRow] = Registry(
    "model",
    {
        row.name: row
        for row in (
            ModelRow(
                "cnn8",
                cnn8,
                "the paper's 8-layer CNN, for images around 32x32",
                (64, 128, 196, 256),
                8,
                "the paper, appendix A.1; Ma et al. 2020",
            ),
            ModelRow(
                "small-cnn",
                small_cnn,
                "a 4-layer CNN for small images such as 8x8 digits",
                (32, 64, 128),
                4,
                "Ma et al. 2020, code for MNIST",
            ),
            ModelRow("mlp", mlp, "a multi-layer perceptron", (256, 128), 1, "textbook"),
        )
    },
)


def build_model(
    name: str,
    *,
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    width: float = 1.0,
    seed: int = 0,
) -> nn.Module:
    """Return the model called `name`, its weights drawn from the stream "weights" of `seed`.

    Args:
        name: of the catalog, `noisylabels list models`.
        channels, image_size, num_classes: what the images and labels are.
        width: factor of the width of every layer but the last, rounded, at least 1 unit.
        seed: of the run; the global random state is left as it was.

    Raises:
        InputError: an unknown name, an image too small for the model, a width of 0 or less.
    """
    row = MODELS[name]
    check_between(width, "width", low=0.0, open_low=True)
    if min(image_size) < row.smallest:
        raise InputError(
            f"images of {image_size[0]}x{image_size[1]} are too small for the model {name!r}, "
            f"which takes {row.smallest}x{row.smallest} or more; take another --model or --image-size"
        )
    widths = tuple(max(1, round(w * width)) for w in row.widths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return row.build(channels, image_size, num_classes, widths=widths)
