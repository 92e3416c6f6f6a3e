"""Layers that the models share: convolutions, residual stages, the classifier head, and initial weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, to be followed by batch normalization; stride 1 keeps the size."""
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)


class ConvBlock(nn.Sequential):
    """A 3x3 convolution (with bias), batch normalization and ReLU; the image size does not change.

    Batch normalization subtracts the mean of the batch and with it the bias, whose gradient is zero. On a
    GPU, in training, the bias is therefore not added to the output but only to the running mean: on an H200
    adding it and summing its gradient took a sixth of `cnn8`'s step.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, C, H, W) for (B, channels_in, H, W)."""
        if images.is_cuda and self.bias_is_idle():
            return self.without_bias(images)
        out: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return out

    def bias_is_idle(self) -> bool:
        """Return whether the normalization subtracts the batch's own mean, which a frozen one does not."""
        normalize = self[1]
        return (
            type(normalize) is nn.BatchNorm2d
            and normalize.training
            and normalize.track_running_stats
            and normalize.momentum is not None
        )

    def without_bias(self, images: Tensor) -> Tensor:
        """Return the same as `forward` up to rounding if the bias is idle; update the running statistics.

        The bias's gradient is zero, not None, so that weight decay and gradient hooks still apply to it.
        """
        convolution, normalize, activate = self
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(normalize, nn.BatchNorm2d)
        bias, mean = convolution.bias, normalize.running_mean
        assert bias is not None
        assert mean is not None
        assert normalize.momentum is not None
        assert normalize.num_batches_tracked is not None
        out = functional.batch_norm(
            convolution._conv_forward(images, convolution.weight, None),
            mean,
            normalize.running_var,
            normalize.weight,
            torch.add(normalize.bias, bias, alpha=0),
            training=True,
            momentum=normalize.momentum,
            eps=normalize.eps,
        )
        # `data`, because autograd saved this buffer; the backward pass uses the batch's own mean and is not
        # affected
        mean.data.add_(bias.data, alpha=normalize.momentum)
        normalize.num_batches_tracked.add_(1)
        activated: Tensor = activate(out)
        return activated


def stages(
    block: Callable[[int, int, int], nn.Module],
    channels: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    expansion: int = 1,
) -> list[nn.Module]:
    """Return stages of residual blocks; each stage but the first halves the image.

    Args:
        block: builds a block from its input channels, width and stride.
        channels: input channels of the first block.
        widths: width of the blocks of each stage.
        blocks: number of blocks of each stage.
        expansion: output channels of a block as a multiple of its width.
    """
    made: list[nn.Module] = []
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        layers = []
        for i in range(count):
            layers.append(block(channels, width, 2 if stage and not i else 1))
            channels = width * expansion
        made.append(nn.Sequential(*layers))
    return made


def pooled_head(channels: int, num_classes: int) -> list[nn.Module]:
    """Return the mean over an image of any size, and a linear layer to the classes."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]


def reset_weights(model: nn.Module) -> None:
    """Initialize the weights as Ma 2020 does: convolutions Kaiming uniform, linear layers Xavier uniform."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
