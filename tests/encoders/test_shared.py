"""Features that processes share: the same values for all, and none from a damaged file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noisylabels.core import sums
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set
from noisylabels.encoders.encoder import FrozenEncoder
from noisylabels.encoders.shared import share, shared


class Nothing(FrozenEncoder):
    """An encoder that is never asked."""

    def encode(self, batch: Any) -> Any:
        raise AssertionError("features are stored")


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Nothing, torch.Tensor, Path]:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path))
    monkeypatch.setattr(sums, "PIECE_BYTES", 1000)
    encoder = Nothing("nothing", "images", {"weights": "w"}, 30)
    pixels = torch.zeros(40, 3, 4, 4, dtype=torch.uint8)
    images = image_set(pixels, [0, 1] * 20, ("cat", "dog"))
    rows = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    part = dataclasses.replace(
        feature_set(rows, [0, 1] * 20, ("cat", "dog")), images=images, embedding=encoder.identity
    )
    share(part)
    [path] = (tmp_path / "embeddings" / "sets").glob("*.npy")
    return images, encoder, rows, path


def test_they_are_those_that_were_shared(stored):
    images, encoder, rows, _ = stored
    assert torch.equal(shared(images, encoder), rows)


def test_a_single_changed_bit_is_found(stored):
    images, encoder, rows, path = stored
    sound, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(20):
        content = bytearray(sound)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert shared(images, encoder) is None
    path.write_bytes(sound)
    assert torch.equal(shared(images, encoder), rows)
    path.with_suffix(".json").unlink()  # of an earlier version
    assert shared(images, encoder) is None
