"""Models from timm, by their names there: ``timm:resnet50``, ``timm:resnet50,pretrained``."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from torch import nn

from noisylabels.core.checks import InputError, one_line
from noisylabels.core.optional import import_optional
from noisylabels.models.normalization import set_normalization


def split_timm(spec: str) -> tuple[str, bool]:
    """Return the name in timm, and True if pretrained weights are requested."""
    name, comma, option = spec.removeprefix("timm:").partition(",")
    if not name or (comma and option != "pretrained"):
        raise InputError(f"the model {spec!r} cannot be parsed; expected timm:NAME or timm:NAME,pretrained")
    return name, bool(comma)


def check_timm(spec: str, what: str = "model") -> Any:
    """Return the module timm, after checking that it has the model.

    Args:
        spec: ``timm:NAME`` or ``timm:NAME,pretrained``.
        what: "model" or "encoder", for errors.

    Raises:
        InputError: timm is not installed or cannot be imported; it has no such model, or no pretrained
            weights for it.
    """
    name, pretrained = split_timm(spec)
    asked = f"the {what} {_asked(spec, what)!r}"
    timm = import_optional(
        "timm", f"{asked} needs timm, which is not installed: pip install 'noisylabels[models]'"
    )
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"; did you mean 'timm:{near[0]}'?" if near else "; timm.list_models() lists the names"
        raise InputError(f"timm has no model {name!r}{hint}")
    if pretrained and not timm.is_model_pretrained(name):
        # timm itself would only warn and use random weights
        advice = "leave out ',pretrained'" if what == "model" else "use another one"
        raise InputError(f"timm has no pretrained weights for {name!r}; {advice}")
    return timm


def _asked(spec: str, what: str) -> str:
    """Return the name as the user wrote it: an encoder is pretrained without saying so."""
    return spec if what == "model" else spec.removesuffix(",pretrained")


def build_timm(
    spec: str, *, channels: int, image_size: tuple[int, int], num_classes: int, width: float
) -> nn.Module:
    """Return a model of timm with its first layer for `channels` and its last for `num_classes`.

    Pretrained weights come from the Hugging Face Hub or its cache on this machine; for other than three
    channels timm sums or repeats those of the first layer. Images are then normalized as these weights
    expect.

    Raises:
        InputError: as `check_timm`; a width other than 1; any error of timm, such as a failed download.
    """
    timm = check_timm(spec)
    name, pretrained = split_timm(spec)
    if width != 1.0:
        raise InputError(
            f"--width is {width:g}, but the names of timm's models give their sizes; leave out --width"
        )
    options: dict[str, Any] = {"in_chans": channels, "num_classes": num_classes}
    try:
        # transformers and similar models have a fixed image size; the others take any and have no img_size
        if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False):
            options["img_size"] = image_size
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
        if pretrained:
            found = importlib.import_module("timm.data").resolve_model_data_config(model)
            set_normalization(model, found["mean"], found["std"], channels)
    except Exception as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise
        what = f"{image_size[0]}x{image_size[1]} images with {channels} channels"
        raise InputError(f"timm cannot build {spec!r} for {what}: {one_line(error)}") from error
    return model
