"""What the models share: convolutions, the end of a network, the initial weights of the reference code."""

from __future__ import annotations

from torch import nn


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, for batch normalization to follow; stride 1 keeps the size."""
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)


def conv_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return a 3x3 convolution (with bias), batch normalization and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def pooled_head(channels: int, num_classes: int) -> list[nn.Module]:
    """Return the mean over the image, whatever its size, and a linear layer to the classes."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]


def reset_weights(model: nn.Module) -> None:
    """Draw the weights anew as Ma 2020 does: Kaiming-uniform convolutions, Xavier-uniform linears."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
