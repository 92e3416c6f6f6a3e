"""Arrays that may be larger than memory: beyond a size they are mapped from a deleted file of the cache."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisylabels.core.files import cache_root, make_folder

IN_MEMORY_BYTES = 1 << 30
"""Larger arrays are mapped from a file."""


def large_array(shape: Sequence[int], dtype: Any, most_bytes: int | None = None) -> np.ndarray:
    """Return an array without content: memory, or a deleted file for more than 1 GiB of it.

    A large array then needs disk space in place of memory, which its pages leave when others need it.

    Args:
        shape: its shape.
        dtype: its type.
        most_bytes: the size of the largest array that is held in memory; `IN_MEMORY_BYTES` by default.

    >>> large_array((2, 3), np.float32).shape
    (2, 3)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    most = IN_MEMORY_BYTES if most_bytes is None else most_bytes
    if size > most and hasattr(os, "posix_fallocate"):
        with (
            contextlib.suppress(OSError),  # no space: memory may still do
            tempfile.TemporaryFile(dir=make_folder(cache_root())) as file,
        ):
            # a hole in the file would end the process where the disk is full
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "w+", shape=tuple(shape))
    return np.empty(tuple(shape), dtype)
