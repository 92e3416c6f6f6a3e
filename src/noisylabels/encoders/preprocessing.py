"""Preprocessing of images for an encoder: size, interpolation, normalization."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

INTERPOLATIONS = ("bicubic", "bilinear")


@dataclass(frozen=True)
class Preprocessing:
    """How images become the input of an encoder.

    Args:
        size: side of the square input in pixels.
        mean, std: per channel, of pixels in [0, 1].
        interpolation: "bicubic" or "bilinear"; antialiased where it shrinks.
        resized: the side in pixels to which images are resized before the center square of `size` is cut out;
            None for `size`.
        squash: resize both sides to it, which changes the aspect ratio, instead of the shorter one.
        pil: resize as PIL does for most sizes: width first, rounded to whole levels, then height; its bicubic
            filter has a = -0.5 where it enlarges too, not PyTorch's -0.75.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resized: int | None = None
    squash: bool = False
    pil: bool = False

    def identity(self) -> dict[str, Any]:
        """Return the preprocessing as JSON, without what is at its default and was added later."""
        added = {"resized", "squash", "pil"}
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in values.items()
            if name not in added or value != default
        }

    def __call__(self, images: Tensor) -> Tensor:
        """Return the input for images: float32 (B, 3, size, size).

        The shorter side is resized and the center square kept; gray images become three equal channels.

        Args:
            images: uint8, (B, C, H, W), C 1 or 3.
        """
        x = images.float()
        tall, wide = self.resized_shape(*x.shape[2:])
        for shape in [(x.shape[2], wide), (tall, wide)] if self.pil else [(tall, wide)]:
            if shape != tuple(x.shape[2:]):
                shrinks = shape[0] < x.shape[2] or shape[1] < x.shape[3]
                x = F.interpolate(x, shape, mode=self.interpolation, antialias=shrinks or self.pil)
                x = ((x + 0.5).floor() if self.pil else x).clamp(0, 255)
        top, left = ((side - self.size) // 2 for side in x.shape[2:])
        x = x[:, :, top : top + self.size, left : left + self.size]
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        mean, std = (torch.tensor(v, device=x.device).view(1, -1, 1, 1) * 255 for v in (self.mean, self.std))
        return (x - mean) / std

    def resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to which images of a size are resized.

        >>> Preprocessing(224, (0.5,) * 3, (0.5,) * 3, resized=256).resized_shape(100, 151)
        (256, 386)
        """
        side = self.resized or self.size
        if self.squash:
            return side, side
        shorter = min(height, width)
        # rounded down, as torchvision and transformers do
        return side * height // shorter, side * width // shorter
