"""Shards of small images for tests: their samples, and the pixels that each must have."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import torch
from PIL import Image

SIDE = 12


def picture(number: int, form: str = "png", size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """Return an image file whose pixels identify a number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def write_shard(path, members) -> None:
    """Write (name, content) pairs into a .tar file."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def samples(numbers, label=lambda number: ("cls", str(number % 2))):
    """Return the members of samples: an image, and a label."""
    for number in numbers:
        ending, text = label(number)
        yield f"{number:04d}.png", picture(number)
        yield f"{number:04d}.{ending}", text.encode()


def pixels_of(number: int) -> torch.Tensor:
    decoded = np.asarray(Image.open(io.BytesIO(picture(number))))
    return torch.from_numpy(decoded.transpose(2, 0, 1).copy())
