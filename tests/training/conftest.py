"""Fixtures of the training tests: tiny image sets and models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from noisylabels.data.images import ImageSet, image_set

Sets = Callable[..., tuple[ImageSet, ImageSet]]
Model = Callable[..., nn.Module]


@pytest.fixture
def sets() -> Sets:
    """Images whose brightness follows their class, with some noise: there is something to learn."""

    def make(
        n: int = 40, m: int = 20, K: int = 3, channels: int = 1, size: int = 4, seed: int = 0
    ) -> tuple[ImageSet, ImageSet]:
        draw = torch.Generator().manual_seed(seed)

        def part(count: int) -> ImageSet:
            labels = torch.arange(count) % K
            level = (labels.float() + 0.5) * 255 / K
            noise = 40 * torch.randn(count, channels, size, size, generator=draw)
            pixels = (level.view(-1, 1, 1, 1) + noise).clamp(0, 255).to(torch.uint8)
            return image_set(pixels, labels, [f"class {k}" for k in range(K)], name="tiny")

        return part(n), part(m)

    return make


@pytest.fixture
def model() -> Model:
    """A convolution with batch normalization, or without, and dropout on demand; always the same."""

    def make(
        K: int = 3, channels: int = 1, size: int = 4, dropout: float = 0.0, norm: bool = True, seed: int = 0
    ) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(channels, 6, 3, padding=1),
                nn.BatchNorm2d(6) if norm else nn.Identity(),
                nn.ReLU(),
                nn.Flatten(),
                nn.Dropout(dropout),
                nn.Linear(6 * size * size, K),
            )

    return make
