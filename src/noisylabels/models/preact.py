"""Residual networks with pre-activation: PreAct ResNet-18 and Wide ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from noisylabels.models.layers import conv, pooled_head, stages


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each after batch normalization and ReLU, beside a shortcut.

    ``a = relu(bn(x)); conv(relu(bn(conv(a)))) + shortcut``, where the shortcut is ``x``, or a 1x1
    convolution of ``a`` where shapes differ. With `activated` the shortcut is ``a`` instead of ``x``.
    """

    def __init__(self, channels: int, width: int, stride: int, *, activated: bool = False) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.body = nn.Sequential(
            conv(channels, width, 3, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            conv(width, width, 3),
        )
        same = stride == 1 and channels == width
        self.projection = None if same else conv(channels, width, 1, stride)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H / stride, W / stride) for (B, channels, H, W)."""
        active: Tensor = self.before(x)
        shortcut = active if self.activated else x
        if self.projection is not None:
            shortcut = self.projection(active)
        out: Tensor = self.body(active) + shortcut
        return out


def preact_resnet18(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    dividemix: bool = False,
) -> nn.Module:
    """Return the "PreAct ResNet-18" for CIFAR, for any image of 8x8 or more.

    A 3x3 stem, four stages of two blocks, the mean over the image. As in the code that the field uses, the
    last sum goes to the classifier directly; He et al. end with batch normalization and ReLU.

    Args:
        channels: of the images, 1 or 3.
        image_size: (height, width), each 8 or more.
        num_classes: K.
        widths: channels of each stage; the stem has those of the first.
        dividemix: build the variant of DivideMix's code (`PreResNet.py`, also used by ELR+ and others): batch
            normalization and ReLU after the stem too, and shortcuts that start after a block's first ReLU
            even where they are the identity.

    Source: He et al. 2016, *Identity Mappings*, as in github.com/kuangliu/pytorch-cifar; Li et al. 2020.
    Initial weights are PyTorch's defaults, as in both.
    """
    stem: list[nn.Module] = [conv(channels, widths[0], 3)]
    if dividemix:
        stem += [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
    return nn.Sequential(
        *stem,
        *stages(partial(PreActBlock, activated=dividemix), widths[0], widths, (2, 2, 2, 2)),
        *pooled_head(widths[-1], num_classes),
    )


def wide_resnet(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    depth: int,
    widths: Sequence[int],
) -> nn.Module:
    """Return a Wide ResNet, "WRN-depth-k", without dropout, for any image of 4x4 or more.

    A 3x3 stem of 16 channels, three stages of (depth - 4) / 6 blocks with 16 k, 32 k and 64 k channels,
    batch normalization and ReLU, the mean over the image.

    Args:
        channels: of the images, 1 or 3.
        image_size: (height, width), each 4 or more.
        num_classes: K.
        depth: 6 n + 4.
        widths: channels of the stem and of the three stages.

    Source: Zagoruyko and Komodakis 2016; initial weights of convolutions as in their Lua code (normal,
    variance 2 / fan out), the classifier's bias 0. Their batch normalization starts with gains uniform in
    [0, 1], the default of Torch 7; here they start at 1, as everywhere since.
    """
    stem, *rest = widths
    model = nn.Sequential(
        conv(channels, stem, 3),
        *stages(PreActBlock, stem, rest, [(depth - 4) // 6] * 3),
        nn.BatchNorm2d(widths[-1]),
        nn.ReLU(inplace=True),
        *pooled_head(widths[-1], num_classes),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # fan out ignores the stride, as their n = kW * kH * nOutputPlane does
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    return model
