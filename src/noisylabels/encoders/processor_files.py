"""The preprocessing of an image model of transformers, from its preprocessor_config.json.

What its own image processor does is done here on whole batches, on the device, by `Preprocessing`. On one
image the two are compared whenever a model is loaded: what differs is refused, never approximated.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisylabels.core.checks import InputError, one_line
from noisylabels.encoders.import_hub import import_transformers, quiet
from noisylabels.encoders.preprocessing import Preprocessing

FILTERS = {2: "bilinear", 3: "bicubic"}
"""The interpolations of PIL, by their numbers."""

MOST_LEVELS = 2.5
"""How far a pixel may differ, in steps of 1/255: PIL rounds after each side, in an order that depends on the
sizes.
"""

SQUASHED_FROM = 384
"""From this size on, ConvNeXt's processor squashes images instead of cropping them."""


def preprocessing_of(folder: Path, size: int | None, name: str) -> Preprocessing:
    """Return the preprocessing of the image model in a folder.

    Args:
        folder: of transformers, with preprocessor_config.json.
        size: side of the input in place of the recorded one; the crop keeps its share.
        name: the encoder's, for errors.

    Raises:
        InputError: the folder has no image processor, or one that does something else.
    """
    processor = _processor(folder, name)
    values = processor.to_dict()
    try:
        found = _of_values(values)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the preprocessing of the encoder {name!r} is not supported: {one_line(error)}"
        ) from None
    _check_same(processor, found, name)
    if size is None or size == found.size:
        return found
    resized = None if found.resized is None else round(found.resized * size / found.size)
    return Preprocessing(size, found.mean, found.std, found.interpolation, resized, found.squash, found.pil)


def _processor(folder: Path, name: str) -> Any:
    """Return the image processor of transformers, the one that works with PIL alone."""
    transformers = import_transformers(name)
    try:
        with quiet(transformers):
            auto = importlib.import_module("transformers.models.auto.image_processing_auto")
            return auto.AutoImageProcessor.from_pretrained(
                str(folder), backend="pil", local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise InputError(
            f"the encoder {name!r} has no image processor that can be read: {one_line(error)}"
        ) from None


def _of_values(values: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that the settings of an image processor describe.

    Raises:
        KeyError, TypeError, ValueError: they describe none that is supported.
    """
    if not values.get("do_resize", True):
        raise ValueError("it does not resize images")
    if (filter_ := FILTERS.get(int(values.get("resample", 2)))) is None:
        raise ValueError(f"it resizes with PIL's filter {values['resample']}, expected one of 2 and 3")
    size, crop, squash = dict(values["size"]), None, False
    if edge := size.get("shortest_edge"):
        side = int(edge)
    else:
        side, squash = _square(size), True
    if values.get("do_center_crop"):
        crop = _square(dict(values["crop_size"]))
    elif (share := values.get("crop_pct")) and not squash:  # ConvNeXt's
        crop, side, squash = side, int(side / share) if side < SQUASHED_FROM else side, side >= SQUASHED_FROM
    normalized = values.get("do_normalize", True)
    scale = 255 * float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 255.0
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if normalized:
        mean, std = (tuple(map(float, values[key])) for key in ("image_mean", "image_std"))
    made = crop or side
    if made > side:
        raise ValueError(f"it cuts {made} pixels out of {side}")
    return Preprocessing(
        made,
        tuple(value / scale for value in mean),
        tuple(value / scale for value in std),
        filter_,
        resized=None if side == made else side,
        squash=squash,
        pil=True,
    )


def _square(size: Mapping[str, Any]) -> int:
    if int(size["height"]) != int(size["width"]):
        raise ValueError(f"its images are {size['height']}x{size['width']}, expected a square")
    return int(size["height"])


def _check_same(processor: Any, found: Preprocessing, name: str) -> None:
    """Raise an `InputError` unless transformers' own processor gives the same for one image."""
    # smooth, of other proportions than the input, with an edge whose overshoot stays in 0..255
    down, across = np.mgrid[0:60, 0:90]
    image = np.stack([down * 4, across * 2.8, 60 + (down + across > 70) * 130.0], -1).astype(np.uint8)
    try:
        theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"][0], dtype=np.float64)
    except Exception as error:
        raise InputError(f"the image processor of the encoder {name!r} failed: {one_line(error)}") from None
    ours = found(torch.from_numpy(image).permute(2, 0, 1)[None])[0].double().numpy()
    step = np.array(found.std)[:, None, None] * 255
    if theirs.shape != ours.shape or float((np.abs(theirs - ours) * step).max()) > MOST_LEVELS:
        kind = type(processor).__name__.removesuffix("Pil")
        raise InputError(
            f"the encoder {name!r} preprocesses images by {kind}, which is not supported; use another model, "
            "or your own function, FILE.py:FUNCTION"
        )
