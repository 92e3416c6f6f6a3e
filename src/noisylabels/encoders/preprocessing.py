"""Preprocessing of images for an encoder: size, interpolation, normalization."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """How images become the input of an encoder.

    Args:
        size: side of the square input in pixels.
        mean, std: per channel, of pixels in [0, 1].
        interpolation: "bicubic" or "bilinear"; antialiased where it shrinks.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"

    def identity(self) -> dict[str, Any]:
        """Return the preprocessing as JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def __call__(self, images: Tensor) -> Tensor:
        """Return the input for images: float32 (B, 3, size, size).

        The shorter side is resized to `size` and the center square kept; gray images become three equal
        channels.

        Args:
            images: uint8, (B, C, H, W), C 1 or 3.
        """
        x = images.float()
        height, width = x.shape[2:]
        if min(height, width) != self.size:
            scale = self.size / min(height, width)
            tall, wide = (max(self.size, round(side * scale)) for side in (height, width))
            x = F.interpolate(x, (tall, wide), mode=self.interpolation, antialias=scale < 1)
            x = x.clamp(0, 255)
        top, left = ((side - self.size) // 2 for side in x.shape[2:])
        x = x[:, :, top : top + self.size, left : left + self.size]
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        mean, std = (torch.tensor(v, device=x.device).view(1, -1, 1, 1) * 255 for v in (self.mean, self.std))
        return (x - mean) / std
