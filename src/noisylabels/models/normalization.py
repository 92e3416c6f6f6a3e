"""The normalization of inputs that pretrained weights expect, kept by the model itself.

A model with the attribute `input_normalization`, a pair of means and of standard deviations with one number
per channel of pixels in [0, 1], gets images normalized by them; any other by the statistics of its training
set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from noisylabels.core.checks import InputError

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and standard deviations, one per channel."""


def set_normalization(model: nn.Module, mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    """Keep with a model the normalization of its pretrained weights.

    Args:
        model: the model.
        mean, std: one number per channel of the weights' own images.
        channels: of the images; other than as many as `mean` has get the averages of the numbers.
    """
    if channels != len(mean):
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    model.input_normalization = (tuple(mean), tuple(std))  # type: ignore[assignment]


def normalization_of(model: nn.Module, channels: int) -> Normalization | None:
    """Return the normalization that a model asks for; None if it takes that of its training set.

    Raises:
        InputError: its attribute `input_normalization` is no pair of `channels` finite numbers each, or a
            standard deviation is not above 0.
    """
    found: Any = getattr(model, "input_normalization", None)
    if found is None:
        return None
    try:
        mean, std = (tuple(float(value) for value in values) for values in found)
        fits = len(mean) == len(std) == channels and all(map(math.isfinite, mean + std)) and min(std) > 0
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(
            f"the model's input_normalization is {found!r}, expected a pair of means and of standard "
            f"deviations above 0, {channels} numbers each, for pixels in [0, 1]"
        )
    return mean, std
