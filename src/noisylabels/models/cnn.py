"""Convolutional networks: the paper's eight layers, and a small one for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from noisylabels.models.layers import conv_block, reset_weights


def _cnn(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    widths: Sequence[int],
    depth: int,
) -> nn.Sequential:
    """Return stages of `depth` convolution blocks, each ended by a 2x2 max-pool, and two linear layers."""
    *stages, hidden = widths
    layers: list[nn.Module] = []
    height, width = image_size
    for channels_out in stages:
        for _ in range(depth):
            layers.append(conv_block(channels, channels_out))
            channels = channels_out
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
    head = [
        nn.Flatten(),
        nn.Linear(channels * height * width, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    ]
    model = nn.Sequential(*layers, *head)
    reset_weights(model)
    return model


def cnn8(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    widths: Sequence[int] = (64, 128, 196, 256),
) -> nn.Module:
    """Return the paper's 8-layer network (its appendix A.1; `SCEModel` of Ma 2020's code).

    Six 3x3 convolutions in three pairs of equal width, each with bias, batch normalization and
    ReLU, a max-pool after each pair, then a linear layer with batch normalization and ReLU, and one
    to the classes. For (3, 32, 32) the first linear layer takes
    196 * 4 * 4 = 3136 numbers, as theirs; other image sizes of 8 or more work alike.

    Args:
        channels: of the images, 1 or 3.
        image_size: (height, width), each 8 or more.
        num_classes: K.
        widths: channels of the three pairs, then units of the first linear layer.
    """
    return _cnn(channels, image_size, num_classes, widths, depth=2)


def small_cnn(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    widths: Sequence[int] = (32, 64, 128),
) -> nn.Module:
    """Return the 4-layer network of Ma 2020's code for MNIST, for images of 4x4 or more.

    One 3x3 convolution and max-pool for each of `widths` but the last, then linear layers as in
    `cnn8`.
    """
    return _cnn(channels, image_size, num_classes, widths, depth=1)
