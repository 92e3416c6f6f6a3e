"""Encoders from timm, by their names there: ``timm:resnet50``, with the preprocessing of their weights."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from noisylabels.core.checks import InputError, one_line
from noisylabels.encoders.hub import check_network
from noisylabels.encoders.image_network import ImageNetwork
from noisylabels.encoders.preprocessing import INTERPOLATIONS, Preprocessing
from noisylabels.encoders.weights_digest import weights_digest
from noisylabels.models.backbones import check_timm

CROP_MODES = ("center", "squash")


def timm_encoder(
    name: str, backbone: str, *, size: int | None, device: torch.device, precision: str
) -> ImageNetwork:
    """Return a pretrained network of timm without its classifier.

    Args:
        name: the encoder's name in messages and records, such as "timm:resnet50@160".
        backbone: the name in timm, such as "resnet50.a1_in1k".
        size: side of its input; by default the one that timm records for its weights.
        device, precision: see `ImageNetwork`.

    Raises:
        InputError: timm is not installed or cannot be imported, has no such model or no pretrained weights
            for it, cannot be reached for a download, or needs a preprocessing that is not supported.
    """
    timm = check_timm(f"timm:{backbone},pretrained", "encoder")
    options: dict[str, Any] = {}
    try:
        if size is not None and getattr(timm.get_pretrained_cfg(backbone), "fixed_input_size", False):
            options["img_size"] = size
        check_network(name, getattr(timm.get_pretrained_cfg(backbone), "hf_hub_id", None))
        network: nn.Module = timm.create_model(backbone, pretrained=True, num_classes=0, **options)
        config = importlib.import_module("timm.data").resolve_model_data_config(network)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise
        raise InputError(f"timm cannot build the encoder {name!r}: {one_line(error)}") from error
    preprocessing = timm_preprocessing(config, size, name)
    return ImageNetwork(
        name,
        network,
        preprocessing,
        {"weights": weights_digest(network)},
        dimension=_dimension(network, preprocessing.size, name),
        device=device,
        precision=precision,
    )


def timm_preprocessing(config: Mapping[str, Any], size: int | None, name: str) -> Preprocessing:
    """Return the preprocessing of timm's evaluation for a data config.

    Args:
        config: of `timm.data.resolve_model_data_config`: input_size (C, H, W), interpolation, mean, std,
            crop_pct, crop_mode.
        size: side of the input in place of the config's.
        name: the encoder's, for errors.

    Raises:
        InputError: inputs that are not square or have other than three channels; an unknown interpolation or
            crop.
    """
    channels, height, width = config["input_size"]
    mode = config.get("crop_mode") or "center"
    wrong = None
    if channels != 3 or height != width:
        wrong = f"inputs of {channels} channels and {height}x{width} pixels"
    elif config["interpolation"] not in INTERPOLATIONS:
        wrong = f"{config['interpolation']} interpolation"
    elif mode not in CROP_MODES:
        wrong = f"the crop mode {mode}"
    if wrong is not None:
        raise InputError(f"the encoder {name!r} needs {wrong}, which is not supported; use another one")
    side = size or height
    return Preprocessing(
        side,
        tuple(float(value) for value in config["mean"]),
        tuple(float(value) for value in config["std"]),
        config["interpolation"],
        resized=math.floor(side / (config.get("crop_pct") or 0.875)),
        squash=mode == "squash",
        pil=True,
    )


def _dimension(network: nn.Module, size: int, name: str) -> int:
    """Return the number of features of a network, tried out on one image."""
    with torch.inference_mode():
        try:
            found = network.eval()(torch.zeros(1, 3, size, size))
        except Exception as error:
            raise InputError(
                f"the encoder {name!r} does not take {size}x{size} images: {one_line(error)}"
            ) from error
    if not isinstance(found, torch.Tensor) or found.ndim != 2:
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise InputError(f"the encoder {name!r} returned {shape} for an image, expected features (1, D)")
    return int(found.shape[1])
