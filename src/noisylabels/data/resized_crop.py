"""Random resized crops: a window of random area, shape and place, resized to the size of the set.

As in Szegedy et al. (2015) and torchvision's `RandomResizedCrop`, with one difference: torchvision draws up
to ten times until a window fits into the image, here the sides of the first are cut to those of the image.
So four numbers per example decide, whatever the image's size, which is known only when it is decoded.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch.nn import functional

from noisylabels.core.rng import generator

RATIO = 4 / 3
"""The most that a window's width exceeds its height, or its height its width."""


class Crop(NamedTuple):
    """The window of one image of any size: four draws in [0, 1), and the least share of the area."""

    area: float
    ratio: float
    row: float
    column: float
    least: float

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return the left, upper, right and lower edge in an image of a size; see `boxes`.

        >>> Crop(1.0, 0.5, 0.0, 0.0, 0.08).box(10, 20)
        (0.0, 0.0, 14.142135623730951, 10.0)
        """
        area = (self.least + (1 - self.least) * self.area) * height * width
        ratio = math.exp((2 * self.ratio - 1) * math.log(RATIO))
        wide = min(max(math.sqrt(area * ratio), 1.0), float(width))
        high = min(max(math.sqrt(area / ratio), 1.0), float(height))
        left, upper = self.column * (width - wide), self.row * (height - high)
        return left, upper, left + wide, upper + high


def draw_windows(n: int, seed: int, epoch: int, view: int) -> torch.Tensor:
    """Draw the windows of n examples: area, ratio, row and column, float32 (n, 4) in [0, 1).

    They come from the stream ("window", epoch), or ("window", epoch, view) for a view k > 0, so that flips
    and shifts are the same with and without them.
    """
    stream = generator(seed, "window", epoch, *([view] if view else []))
    return torch.rand((n, 4), generator=stream)


def boxes(windows: torch.Tensor, least: float, height: int, width: int) -> torch.Tensor:
    """Return the windows in an image of a size: left, upper, right and lower edge, float64 (n, 4).

    Args:
        windows: of `draw_windows`, (n, 4).
        least: the least share of the image's area, in (0, 1]; shares are uniform between it and 1.
        height, width: of the image.

    >>> boxes(torch.tensor([[1.0, 0.5, 0.0, 0.0]]), 0.08, 10, 10).tolist()
    [[0.0, 0.0, 10.0, 10.0]]
    """
    area, ratio, row, column = windows.double().unbind(1)
    area = (least + (1 - least) * area) * (height * width)
    ratio = torch.exp((2 * ratio - 1) * math.log(RATIO))
    wide = (area * ratio).sqrt().clamp(1, width)
    high = (area / ratio).sqrt().clamp(1, height)
    left, upper = column * (width - wide), row * (height - high)
    return torch.stack([left, upper, left + wide, upper + high], dim=1)


def resized(images: torch.Tensor, windows: torch.Tensor, least: float) -> torch.Tensor:
    """Return the windows of a batch at its own size, bilinear.

    Args:
        images: uint8, (B, C, H, W).
        windows: float32, (B, 4), on the same device.
        least: see `boxes`.

    Returns:
        uint8, (B, C, H, W).
    """
    height, width = images.shape[2:]
    left, upper, right, lower = boxes(windows, least, height, width).float().unbind(1)
    zero = torch.zeros_like(left)
    across = torch.stack([(right - left) / width, zero, (left + right) / width - 1], dim=1)
    down = torch.stack([zero, (lower - upper) / height, (upper + lower) / height - 1], dim=1)
    grid = functional.affine_grid(torch.stack([across, down], dim=1), list(images.shape), align_corners=False)
    found = functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return found.round_().to(images.dtype)
