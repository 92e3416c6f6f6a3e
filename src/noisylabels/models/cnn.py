"""Plain convolutional networks: the paper's 8-layer CNN, Co-teaching's 9-layer CNN, and small networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from noisylabels.models.layers import ConvBlock, pooled_head, reset_weights


def _cnn(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    widths: Sequence[int],
    depth: int,
) -> nn.Sequential:
    """Return stages of `depth` convolution blocks and a 2x2 max-pool each, then two linear layers."""
    *stages, hidden = widths
    layers: list[nn.Module] = []
    height, width = image_size
    for channels_out in stages:
        for _ in range(depth):
            layers.append(ConvBlock(channels, channels_out))
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
    to the classes. For (3, 32, 32) the first linear layer has 196 * 4 * 4 = 3136 inputs, as in the paper;
    other image sizes of 8 or more work too.

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


def cnn9(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    widths: Sequence[int] = (128, 128, 128, 256, 256, 256, 512, 256, 128),
) -> nn.Module:
    """Return the 9-layer CNN of Co-teaching (Han et al. 2018, Table 2), for images of 28x28 or more.

    Nine 3x3 convolutions, each with bias, batch normalization and LeakyReLU of slope 0.01; after the
    third and the sixth a 2x2 max-pool and dropout of a quarter of the channels; the last three without
    padding; the mean over the image and a linear layer. JoCoR, Co-teaching+ and others use it too.

    Args:
        channels: of the images, 1 or 3.
        image_size: (height, width), each 28 or more: the last convolutions reduce a quarter of it by 6.
        num_classes: K.
        widths: channels of the nine convolutions.

    Source: github.com/bhanML/Co-teaching, `model.py`; initial weights are PyTorch's defaults, as there.
    Dropout is on in training and off in evaluation. Their code relies on the default of `F.dropout2d`, which
    was off in the PyTorch of that time and is on today, in evaluation too.
    """
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        layers += [
            nn.Conv2d(channels, width, kernel_size=3, padding=1 if i < 6 else 0),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.01),
        ]
        if i in (2, 5):
            layers += [nn.MaxPool2d(2), nn.Dropout2d(0.25)]
        channels = width
    return nn.Sequential(*layers, *pooled_head(channels, num_classes))


def lenet(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    widths: Sequence[int] = (6, 16, 120, 84),
) -> nn.Module:
    """Return LeNet-5 as label-noise studies use it on MNIST, for images of 12x12 or more.

    Two 5x5 convolutions (the first with padding 2), each with ReLU and a 2x2 max-pool, and three linear
    layers. For (1, 28, 28) the first linear layer has 16 * 5 * 5 = 400 inputs.

    Args:
        channels: of the images, 1 or 3.
        image_size: (height, width), each 12 or more.
        num_classes: K.
        widths: channels of the two convolutions, then units of the two hidden layers.

    Source: LeCun et al. 1998 (there tanh, average pooling and sparse connections), as in
    github.com/xiaoboxia/T-Revision, `Lenet.py`; initial weights are PyTorch's defaults, as there.
    """
    one, two, three, four = widths
    height, width = ((side // 2 - 4) // 2 for side in image_size)
    return nn.Sequential(
        nn.Conv2d(channels, one, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(one, two, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(two * height * width, three),
        nn.ReLU(),
        nn.Linear(three, four),
        nn.ReLU(),
        nn.Linear(four, num_classes),
    )
