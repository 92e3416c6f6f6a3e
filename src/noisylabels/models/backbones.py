"""Any model of timm, by its name there: ``timm:resnet50``, ``timm:resnet50,pretrained``."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from torch import nn

from noisylabels.core.checks import InputError, one_line


def split_timm(spec: str) -> tuple[str, bool]:
    """Return the name in timm, and whether its pretrained weights are wanted."""
    name, comma, option = spec.removeprefix("timm:").partition(",")
    if not name or (comma and option != "pretrained"):
        raise InputError(f"the model {spec!r} cannot be read; expected timm:NAME or timm:NAME,pretrained")
    return name, bool(comma)


def check_timm(spec: str) -> Any:
    """Return the module timm if it is installed and has the model.

    Raises:
        InputError: timm is not installed or cannot be imported; it has no such model, or no weights for it.
    """
    name, pretrained = split_timm(spec)
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        if error.name == "timm":
            raise InputError(
                f"the model {spec!r} needs timm, which is not installed: pip install 'noisylabels[models]'"
            ) from None
        raise InputError(f"timm is installed but cannot be imported: {one_line(error)}") from error
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"; did you mean 'timm:{near[0]}'?" if near else "; timm.list_models() has the names"
        raise InputError(f"timm has no model {name!r}{hint}")
    if pretrained and not timm.is_model_pretrained(name):
        # timm itself would only warn, and start from random weights
        raise InputError(f"timm has no pretrained weights for {name!r}; leave out ',pretrained'")
    return timm


def build_timm(
    spec: str, *, channels: int, image_size: tuple[int, int], num_classes: int, width: float
) -> nn.Module:
    """Return a model of timm with its first layer for `channels` and its last for `num_classes`.

    Pretrained weights come from the Hugging Face Hub, or from its cache on this machine; timm sums or
    repeats the first layer's over the channels where there are not three.

    Raises:
        InputError: as `check_timm`; a width other than 1; whatever timm raises, such as a download
            that fails.
    """
    timm = check_timm(spec)
    name, pretrained = split_timm(spec)
    if width != 1.0:
        raise InputError(
            f"--width is {width:g}, but the sizes of timm's models are in their names; leave it out"
        )
    options: dict[str, Any] = {"in_chans": channels, "num_classes": num_classes}
    try:
        # transformers and the like are made for one size; the others take any and know no img_size
        if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False):
            options["img_size"] = image_size
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise
        what = f"{image_size[0]}x{image_size[1]} images with {channels} channels"
        raise InputError(f"timm cannot make {spec!r} for {what}: {one_line(error)}") from error
    return model
