"""Strong augmentation of images: random operations on geometry and color, and cutout.

An example draws some operations, each with a strength. A batch applies all of them at once, on its device:
what moves pixels is one affine map per example, and each operation on colors is computed for the batch and
kept where it was drawn, so that nothing is indexed by a mask.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from noisylabels.core.rng import generator

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
COLORS = ("brightness", "contrast", "color", "sharpness", "posterize", "solarize", "autocontrast")
OPERATIONS = ("identity", *GEOMETRIC, *COLORS)
"""Those of RandAugment as FixMatch uses them, without equalize."""

MAX_DEGREES, MAX_SHEAR, MAX_SHIFT, MAX_FACTOR, MAX_BITS = 30.0, 0.3, 0.3, 0.9, 4
"""Strengths at level 1: degrees, pixels per pixel, shares of a side, changes of a factor, bits removed."""

GRAY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness that people see."""


class StrongDraws(NamedTuple):
    """The operations of each of n examples in one epoch."""

    operation: Tensor  # int64, (n, R): positions in OPERATIONS
    level: Tensor  # float32, (n, R), in [-1, 1): strength and direction
    center: Tensor  # float32, (n, 2), in [0, 1): row and column of the center of the cutout

    def at(self, index: Tensor) -> StrongDraws:
        """Return the draws of the examples at `index`, (B,)."""
        return StrongDraws(*(each.index_select(0, index) for each in self))

    def to(self, device: torch.device) -> StrongDraws:
        """Return the draws on `device`."""
        return StrongDraws(*(each.to(device) for each in self))


def draw_strong(n: int, rand: int, seed: int, epoch: int, view: int) -> StrongDraws:
    """Draw `rand` operations and a center for each of n examples, from the stream ("strong", epoch, view)."""
    stream = generator(seed, "strong", epoch, view)
    return StrongDraws(
        torch.randint(0, len(OPERATIONS), (n, rand), generator=stream),
        2 * torch.rand(n, rand, generator=stream) - 1,
        torch.rand(n, 2, generator=stream),
    )


def apply_strong(images: Tensor, draws: StrongDraws, cutout: int) -> Tensor:
    """Apply the operations that a batch drew, then cut out a square.

    Args:
        images: uint8, (B, C, H, W).
        draws: of these B examples, on the same device.
        cutout: side of the square in pixels, 0 for none. Its center is anywhere in the image, so that a part
            of it may lie outside; it is filled with the mean color of the image.

    Returns:
        uint8, (B, C, H, W).
    """
    x = images.float()
    if draws.operation.shape[1]:
        x = _moved(x, draws).round()  # a pixel that stays where it was keeps its value
        for operation, level in zip(draws.operation.T, draws.level.T, strict=True):
            x = recolored(x, operation, level)
    if cutout:
        x = _cut(x, draws.center, cutout)
    return x.round().clamp(0, 255).to(torch.uint8)


def affine(operation: Tensor, level: Tensor, height: int, width: int) -> Tensor:
    """Return the maps from pixels of the result to pixels of the image, around the center, (B, 3, 3).

    Args:
        operation: int64, (B,); the identity for operations that move no pixels.
        level: (B,), in [-1, 1].
        height, width: of the images.

    >>> affine(torch.tensor([OPERATIONS.index("translate_x")]), torch.tensor([0.5]), 10, 20)[0, 0]
    tensor([1., 0., 3.])
    """

    def drawn(name: str, value: Tensor) -> Tensor:
        return torch.where(operation == OPERATIONS.index(name), value, 0.0)

    angle = drawn("rotate", level * math.radians(MAX_DEGREES))
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = (
        (cos, drawn("shear_x", level * MAX_SHEAR) - sin, drawn("translate_x", level * MAX_SHIFT * width)),
        (drawn("shear_y", level * MAX_SHEAR) + sin, cos, drawn("translate_y", level * MAX_SHIFT * height)),
        (zero, zero, torch.ones_like(zero)),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _moved(x: Tensor, draws: StrongDraws) -> Tensor:
    """Return images through the product of their affine maps; what comes from outside is black."""
    _, _, H, W = x.shape
    maps = [affine(o, l, H, W) for o, l in zip(draws.operation.T, draws.level.T, strict=True)]
    whole = maps[0]
    for each in maps[1:]:
        whole = whole @ each
    rows = torch.arange(H, device=x.device) - (H - 1) / 2
    columns = torch.arange(W, device=x.device) - (W - 1) / 2
    at = torch.stack([columns.expand(H, W), rows[:, None].expand(H, W), torch.ones(H, W, device=x.device)])
    found = (whole[:, :2] @ at.view(1, 3, H * W)).view(-1, 2, H, W).permute(0, 2, 3, 1)
    scale = torch.tensor([2 / W, 2 / H], device=x.device)
    return functional.grid_sample(x, found * scale, mode="bilinear", align_corners=False)


def recolored(x: Tensor, operation: Tensor, level: Tensor) -> Tensor:
    """Return images after one operation on colors each; unchanged for operations that move pixels.

    Args:
        x: float32, (B, C, H, W), in [0, 255].
        operation: int64, (B,).
        level: (B,), in [-1, 1].
    """
    level = level.view(-1, 1, 1, 1)
    factor, size = 1 + MAX_FACTOR * level, level.abs()
    gray = _gray(x)
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    step = torch.exp2((MAX_BITS * size).round())
    found = {
        "brightness": factor * x,
        "contrast": torch.lerp(gray.mean((2, 3), keepdim=True).expand_as(x), x, factor),
        "color": torch.lerp(gray.expand_as(x), x, factor),
        "sharpness": torch.lerp(_blurred(x), x, factor),
        "posterize": (x / step).floor() * step,
        "solarize": torch.where(x >= 256 * (1 - size), 255 - x, x),
        "autocontrast": (x - low) * (255 / (high - low).clamp_min(1.0)),
    }
    for name, value in found.items():
        x = torch.where((operation == OPERATIONS.index(name)).view(-1, 1, 1, 1), value, x)
    return x.clamp(0, 255)


def _gray(x: Tensor) -> Tensor:
    if x.shape[1] != len(GRAY):
        return x.mean(1, keepdim=True)
    return (x * torch.tensor(GRAY, device=x.device).view(1, -1, 1, 1)).sum(1, keepdim=True)


def _blurred(x: Tensor) -> Tensor:
    """Return images smoothed as by Pillow's SMOOTH filter: 5 of 13 parts of the pixel, 1 of each neighbor."""
    around = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (9 * around + 4 * x) / 13


def _cut(x: Tensor, center: Tensor, side: int) -> Tensor:
    _, _, H, W = x.shape
    first = (center * torch.tensor([H, W], device=x.device)).floor() - side // 2
    rows, columns = torch.arange(H, device=x.device), torch.arange(W, device=x.device)
    inside_rows = (rows >= first[:, :1]) & (rows < first[:, :1] + side)
    inside_columns = (columns >= first[:, 1:]) & (columns < first[:, 1:] + side)
    inside = (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]
    return torch.where(inside, x.mean((2, 3), keepdim=True), x)
