"""What the models share: convolutions, the end of a network, the initial weights of the reference code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, for batch normalization to follow; stride 1 keeps the size."""
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)


class ConvBlock(nn.Sequential):
    """A 3x3 convolution (with bias), batch normalization and ReLU; the size stays.

    Batch normalization takes the mean of the batch off, and a bias with it, whose gradient is zero. On a GPU,
    in training, the bias is therefore left out of the sum and added to the running mean alone: on an H200
    adding it and summing its gradient up took a sixth of `cnn8`'s step.
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
        """Return whether the normalization takes off the batch's own mean: not a frozen one, say."""
        normalize = self[1]
        return (
            type(normalize) is nn.BatchNorm2d
            and normalize.training
            and normalize.track_running_stats
            and normalize.momentum is not None
        )

    def without_bias(self, images: Tensor) -> Tensor:
        """Return what `forward` does where the bias is idle, up to rounding; the running statistics too.

        The bias's gradient is zero, not None: weight decay and all that waits for gradients find it.
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
        # `data`, because the backward pass has a claim on the buffer that this does not touch: it uses the
        # batch's own mean
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
        block: makes a block of its channels, its width and its stride.
        channels: that the first block gets.
        widths: of the blocks of each stage.
        blocks: how many each stage has.
        expansion: how many times its width a block gives.
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
    """Return the mean over the image, whatever its size, and a linear layer to the classes."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]


def reset_weights(model: nn.Module) -> None:
    """Draw the weights anew as Ma 2020 does: Kaiming-uniform convolutions, Xavier-uniform linears."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
