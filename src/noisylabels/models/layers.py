"""What the models share: the convolution block and the initial weights of the reference code."""

from __future__ import annotations

from torch import nn


def conv_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return a 3x3 convolution (with bias), batch normalization and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def reset_weights(model: nn.Module) -> None:
    """Draw the weights anew as Ma 2020 does: Kaiming-uniform convolutions, Xavier-uniform linears."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
