"""Compare pairs of images after the best crop: a part of one, mirrored or not, may be the other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SIDE = 32
"""Side in pixels of the gray thumbnails that are compared."""

PARTS = (32, 31, 30, 29, 28, 27, 26)
"""Sides of the part of one thumbnail that the other may show: down to two thirds of the area."""

_PAIRS = 128  # compared at once: some 30 megabytes of windows


def best_correlations(images: Tensor, pairs: np.ndarray) -> np.ndarray:
    """Return the highest correlation of the pixels of each pair over all crops of either, mirrored or not.

    A correlation ignores brightness and contrast. Uniform parts have correlation 0.

    Args:
        images: uint8 (N, C, H, W).
        pairs: (P, 2) positions.

    Returns:
        (P,) float32 in [-1, 1].

    >>> ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1)[None]
    >>> best_correlations(torch.stack([ramp, ramp.flip(2)]), np.array([[0, 1]])).round(3).tolist()
    [1.0]
    """
    made = np.zeros(len(pairs), np.float32)
    for start in range(0, len(pairs), _PAIRS):
        block = pairs[start : start + _PAIRS]
        left, right = (_gray(images[torch.from_numpy(block[:, k])]) for k in (0, 1))
        found = torch.zeros(len(block))
        for whole, part in ((left, right), (right, left)):
            for shown in (part, part.flip(2)):
                for side in PARTS:
                    found = torch.maximum(found, _correlation(whole, shown, side))
        made[start : start + _PAIRS] = found.numpy()
    return made


def _gray(images: Tensor) -> Tensor:
    """Return gray thumbnails, float32 (N, SIDE, SIDE)."""
    gray = images.float().mean(1, keepdim=True)
    if gray.shape[2:] == (SIDE, SIDE):
        return gray[:, 0]
    return torch.nn.functional.interpolate(gray, (SIDE, SIDE), mode="bilinear", antialias=True)[:, 0]


def _correlation(whole: Tensor, part: Tensor, side: int) -> Tensor:
    """Return the highest correlation of `part`, resized, with a window of `whole` of that side, (N,)."""
    small = part[:, None]
    if side < SIDE:
        small = torch.nn.functional.interpolate(small, (side, side), mode="bilinear", antialias=True)
    wanted = _unit(small.flatten(1))
    windows = whole.unfold(1, side, 1).unfold(2, side, 1).flatten(3).flatten(1, 2)  # (N, places, side²)
    return torch.einsum("npd,nd->np", _unit(windows), wanted).amax(1)


def _unit(rows: Tensor) -> Tensor:
    """Return rows of mean 0 and norm 1; zeros for uniform ones."""
    centered = rows - rows.mean(-1, keepdim=True)
    length = centered.norm(dim=-1, keepdim=True)
    return torch.where(length > rows.shape[-1] ** 0.5, centered / length.clamp(min=1e-6), torch.zeros(()))
