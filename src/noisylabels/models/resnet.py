"""Residual networks of He et al. for small images (CIFAR) and large ones (ImageNet)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from noisylabels.models.layers import conv, pooled_head, reset_weights, stages


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: ``relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))``."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, width, 3, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            conv(width, width, 3),
            nn.BatchNorm2d(width),
        )
        self.shortcut = _shortcut(channels, width, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H / stride, W / stride) for (B, channels, H, W)."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; four times as wide outside as inside.

    The stride is in the 3x3 convolution, as in torchvision (ResNet "v1.5"); He et al. 2015 have it in
    the first 1x1, which skips three quarters of its input.
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * self.expansion
        self.body = nn.Sequential(
            conv(channels, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            conv(width, width, 3, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            conv(width, out, 1),
            nn.BatchNorm2d(out),
        )
        self.shortcut = _shortcut(channels, out, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 * width, H / stride, W / stride) for (B, channels, H, W)."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


def _shortcut(channels: int, out: int, stride: int) -> nn.Module:
    """Return the identity, or a 1x1 convolution with batch normalization where shapes differ."""
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(conv(channels, out, 1, stride), nn.BatchNorm2d(out))


def cifar_resnet(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    blocks: Sequence[int],
    widths: Sequence[int] = (64, 128, 256, 512),
) -> nn.Module:
    """Return the residual network that the label-noise literature uses on CIFAR: "ResNet-18", "ResNet-34".

    ImageNet's network with a 3x3 stem of stride 1 and without max-pool, so that 32x32 reaches the last
    stage as 4x4; then the mean over the image, for any image of 8x8 or more. This is not the narrow
    ResNet-20/32/.../110 of He et al.'s own CIFAR section.

    Args:
        channels: of the images, 1 or 3.
        image_size: (height, width), each 8 or more.
        num_classes: K.
        blocks: blocks of each of the four stages: (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34.
        widths: channels of each stage; the stem has those of the first.

    Source: He et al. 2016 as in github.com/kuangliu/pytorch-cifar. Initial weights as in Ma et al. 2020's
    code (Kaiming and Xavier uniform); kuangliu leaves PyTorch's defaults.
    """
    model = nn.Sequential(
        conv(channels, widths[0], 3),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
        *stages(BasicBlock, widths[0], widths, blocks),
        *pooled_head(widths[-1], num_classes),
    )
    reset_weights(model)
    return model


def imagenet_resnet50(
    channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
) -> nn.Module:
    """Return ImageNet's ResNet-50, for large images (WebVision, Clothing1M): 7x7 stem and max-pool.

    The last stage works at a 32nd of the image size. The weights are random; for pretrained ones use
    `timm:resnet50,pretrained`.

    Args:
        channels: of the images, 1 or 3.
        image_size: (height, width), each 64 or more; for smaller images use the networks for CIFAR.
        num_classes: K.
        widths: inner channels of the bottlenecks of each stage; the stem has those of the first.

    Source: He et al. 2016. Layers and initial weights as in torchvision (Kaiming normal, fan out).
    """
    model = nn.Sequential(
        nn.Conv2d(channels, widths[0], kernel_size=7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        *stages(Bottleneck, widths[0], widths, (3, 4, 6, 3), Bottleneck.expansion),
        *pooled_head(widths[-1] * Bottleneck.expansion, num_classes),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model
