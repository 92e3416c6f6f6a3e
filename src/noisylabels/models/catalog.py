"""The catalog of models, one row per model, and `build_model`, which builds any model by name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from noisylabels.core.checks import InputError, check_between
from noisylabels.core.registry import Registry
from noisylabels.core.rng import global_stream
from noisylabels.models.backbones import build_timm, check_timm, split_timm
from noisylabels.models.cnn import cnn8, cnn9, lenet, small_cnn
from noisylabels.models.efficientnet_lite import (
    INSTALL,
    MEAN,
    STD,
    WIDTHS,
    EfficientNetLite0,
    lite0_classifier,
    packaged_weights,
)
from noisylabels.models.efficientnet_lite import NAME as LITE0
from noisylabels.models.efficientnet_lite import load_pretrained as load_lite0
from noisylabels.models.mlp import dropout_mlp, mlp
from noisylabels.models.neighbors import NAME as KNN
from noisylabels.models.neighbors import neighbors
from noisylabels.models.normalization import set_normalization
from noisylabels.models.output_check import try_out
from noisylabels.models.preact import preact_resnet18, wide_resnet
from noisylabels.models.resnet import cifar_resnet, imagenet_resnet50
from noisylabels.models.user_model import build_user_model, canonical_user_model, check_user_model


@dataclass(frozen=True)
class ModelRow:
    """A model of the catalog, with the facts by which users choose one."""

    name: str
    build: Callable[..., nn.Module]  # (channels, image_size, num_classes, *, widths)
    title: str
    widths: tuple[int, ...]  # of all layers but the last, which has one unit per class
    smallest: int  # the smallest height and width of its images
    source: str


STAGES = (64, 128, 256, 512)

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
                "cnn9",
                cnn9,
                "Co-teaching's 9-layer CNN, with dropout",
                (128, 128, 128, 256, 256, 256, 512, 256, 128),
                28,
                "Han et al. 2018, table 2",
            ),
            ModelRow(
                "small-cnn",
                small_cnn,
                "a 4-layer CNN for small images such as 8x8 digits",
                (32, 64, 128),
                4,
                "Ma et al. 2020, code for MNIST",
            ),
            ModelRow(
                "lenet",
                lenet,
                "LeNet-5 with ReLU, for MNIST",
                (6, 16, 120, 84),
                12,
                "LeCun et al. 1998; Xia et al. 2019, code",
            ),
            ModelRow(
                "mlp",
                mlp,
                "a multi-layer perceptron; mlp:512,512 has those hidden layers",
                (256, 128),
                1,
                "textbook",
            ),
            ModelRow(
                "mlp@dropout",
                dropout_mlp,
                "a multi-layer perceptron with dropout, without batch normalization, for tables",
                (64, 64),
                1,
                "textbook",
            ),
            ModelRow(
                "linear",
                dropout_mlp,
                "multinomial logistic regression, for tables",
                (),
                1,
                "textbook",
            ),
            ModelRow(
                "resnet18",
                partial(cifar_resnet, blocks=(2, 2, 2, 2)),
                "ResNet-18 for CIFAR (3x3 stem, no max-pool)",
                STAGES,
                8,
                "He et al. 2016; kuangliu/pytorch-cifar",
            ),
            ModelRow(
                "resnet34",
                partial(cifar_resnet, blocks=(3, 4, 6, 3)),
                "ResNet-34 for CIFAR (3x3 stem, no max-pool)",
                STAGES,
                8,
                "He et al. 2016; Ma et al. 2020 on CIFAR-100",
            ),
            ModelRow(
                "resnet50",
                imagenet_resnet50,
                "ImageNet's ResNet-50, for large images",
                STAGES,
                64,
                "He et al. 2016; torchvision",
            ),
            ModelRow(
                "preact-resnet18",
                preact_resnet18,
                "pre-activation ResNet-18 for CIFAR",
                STAGES,
                8,
                "He et al. 2016b; kuangliu/pytorch-cifar",
            ),
            ModelRow(
                "preact-resnet18@dividemix",
                partial(preact_resnet18, dividemix=True),
                "PreAct ResNet-18 as in the code of DivideMix and ELR+",
                STAGES,
                8,
                "Li et al. 2020, code",
            ),
            ModelRow(
                LITE0,
                lite0_classifier,
                f"EfficientNet-Lite0, for photographs; {LITE0},pretrained has ImageNet weights",
                WIDTHS,
                16,
                "Tan and Le 2019; TensorFlow's Lite variant",
            ),
            *(
                ModelRow(
                    f"wrn{depth}-{k}",
                    partial(wide_resnet, depth=depth),
                    f"Wide ResNet-{depth}-{k} for CIFAR, without dropout",
                    (16, 16 * k, 32 * k, 64 * k),
                    4,
                    "Zagoruyko and Komodakis 2016",
                )
                for depth, k in ((16, 8), (28, 10), (40, 2))
            ),
        )
    },
)
"""Networks by name, each with title, smallest image and source."""


FITTED: Registry[ModelRow] = Registry(
    "model",
    {
        KNN: ModelRow(
            KNN,
            neighbors,
            "nearest neighbors, fitted by the method knn",
            (),
            1,
            "Di Salvo et al. 2024",
        )
    },
)
"""Models that a method fits, each the `own_model` of one; they have no parameters to train."""


def is_user_model(name: str) -> bool:
    """Return whether a model's name is that of a user-defined function, ``module:function``."""
    return ":" in name and not name.startswith("timm:") and _sizes(name) is None


def canonical_model(name: str) -> str:
    """Return the canonical spelling of a model's name, without importing anything.

    "auto" is returned as it is, because its meaning depends on the data.

    Raises:
        InputError: an unknown name, or a spec that cannot be parsed.
    """
    if name == "auto":
        return name
    if name.startswith("timm:"):
        backbone, pretrained = split_timm(name)
        return f"timm:{backbone},pretrained" if pretrained else f"timm:{backbone}"
    if is_user_model(name):
        return canonical_user_model(name)
    backbone, pretrained = _split(name)
    _row(backbone)
    return f"{backbone},pretrained" if pretrained else backbone


def check_model(name: str) -> None:
    """Raise the `InputError` that `build_model` would raise because of `name` alone.

    It imports timm or the user's module, so that a run with a wrong model fails before its data are read.
    """
    if name.startswith("timm:"):
        check_timm(name)
    elif is_user_model(name):
        check_user_model(name)
    elif name != "auto":
        backbone, pretrained = _split(name)
        _row(backbone)
        if pretrained and packaged_weights() is None:
            raise InputError(f"the model {name!r} needs its weights: {INSTALL} (17 MB)")


def untrained(name: str) -> str:
    """Return the name of the same model without pretrained weights, into which trained ones are loaded."""
    return f"timm:{split_timm(name)[0]}" if name.startswith("timm:") else _split(name)[0]


MOST_UNITS = 2**24
"""Most units of a layer; two such layers side by side would have a petabyte of weights."""


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

    A model from outside the catalog is tried on two images, so that an unsuitable one fails here.

    Args:
        name: a name from `noisylabels list models`; ``mlp:512,256``; ``efficientnet-lite0,pretrained``;
            ``timm:NAME`` or ``timm:NAME,pretrained``; ``module:function`` or ``file.py:function``, which is
            called with those of the arguments below that its signature names.
        channels, image_size, num_classes: of the images and labels; image_size is (height, width).
        width: factor for the width of every layer but the last, rounded, at least 1 unit.
        seed: of the run; the global random state of the CPU does not change.

    Raises:
        InputError: an unknown name, an image too small for the model, a width of 0 or less, timm not
            installed, or any fault of a user-defined function.

    >>> model = build_model("small-cnn", channels=1, image_size=(8, 8), num_classes=10)
    >>> sum(weight.numel() for weight in model.parameters())
    53450
    """
    check_between(width, "width", low=0.0, open_low=True)
    with global_stream(seed, "weights"):
        if not name.startswith("timm:") and not is_user_model(name):
            backbone, pretrained = _split(name)
            row = _row(backbone)
            if pretrained and width != 1.0:
                raise InputError(
                    f"--width is {width:g}, and the pretrained weights of {backbone} have their sizes; leave "
                    "out --width"
                )
            if min(image_size) < row.smallest:
                raise InputError(
                    f"images of {image_size[0]}x{image_size[1]} are too small for the model {name!r}, "
                    f"which needs {row.smallest}x{row.smallest} or more; change --model or --image-size"
                )
            widths = tuple(max(1, round(min(w * width, 2.0 * MOST_UNITS))) for w in row.widths)
            if max(widths, default=0) > MOST_UNITS:
                raise InputError(
                    f"--width is {width:g}, which gives the model {name!r} layers of more than "
                    f"{MOST_UNITS:,} units; give a smaller one"
                )
            built = row.build(channels, image_size, num_classes, widths=widths)
            if pretrained:
                assert isinstance(built, EfficientNetLite0)
                load_lite0(built, name)
                set_normalization(built, MEAN, STD, channels)
            return built
        if is_user_model(name):
            model = build_user_model(
                name,
                channels=channels,
                image_size=image_size,
                num_classes=num_classes,
                width=width,
                seed=seed,
            )
        else:
            model = build_timm(
                name, channels=channels, image_size=image_size, num_classes=num_classes, width=width
            )
        try_out(
            model,
            f"the model {name!r}",
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
    return model


def parameter_count(name: str, channels: int = 3, side: int = 32, num_classes: int = 10) -> int:
    """Return the number of parameters of a model of the catalog, without allocating them."""
    row = _row(name)
    with torch.device("meta"):
        size = max(side, row.smallest)
        model = row.build(channels, (size, size), num_classes, widths=row.widths)
    return sum(parameter.numel() for parameter in model.parameters())


def _sizes(name: str) -> tuple[int, ...] | None:
    """Return the hidden layers of ``mlp:512,256``; None for any other name."""
    found = re.fullmatch(r"mlp:([1-9][0-9]{0,5}(?:,[1-9][0-9]{0,5})*)", name)
    return tuple(map(int, found[1].split(","))) if found else None


def _split(name: str) -> tuple[str, bool]:
    """Return a name of the catalog and whether pretrained weights are requested."""
    backbone = name.removesuffix(",pretrained")
    if backbone != name and backbone != LITE0:
        raise InputError(f"there are no pretrained weights for {backbone!r}, only for {LITE0} and timm:NAME")
    return backbone, backbone != name


def _row(name: str) -> ModelRow:
    sizes = _sizes(name)
    if name in FITTED:
        return FITTED[name]
    return MODELS[name] if sizes is None else dataclasses.replace(MODELS["mlp"], name=name, widths=sizes)
