"""Fixtures of the data tests: a separate cache, and generated image files."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NOISYLABELS_CACHE", str(folder))
    monkeypatch.delenv("NOISYLABELS_DATA", raising=False)
    return folder


@pytest.fixture
def pixels() -> Callable[..., np.ndarray]:
    """Random pixels (H, W, 3), or (H, W) for gray; the same for the same arguments."""

    def make(seed: int, height: int = 12, width: int = 12, gray: bool = False) -> np.ndarray:
        shape = (height, width) if gray else (height, width, 3)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def encode() -> Callable[..., bytes]:
    def make(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def tree(tmp_path, pixels, encode) -> Callable[..., Path]:
    """Write a folder of images: one file per name, with different pixels."""

    def make(*names: str, root: str = "photos", **shape: object) -> Path:
        folder = tmp_path / root
        folder.mkdir(exist_ok=True)
        for name in names:
            path = folder / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = zlib.crc32(name.encode())
            kind = {".jpg": "JPEG", ".png": "PNG"}[path.suffix.lower()]
            path.write_bytes(encode(pixels(seed, **shape), kind))
        return folder

    return make
