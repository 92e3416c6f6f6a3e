"""Arrays of images of any usual order of axes and type as uint8 (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.data.pixel_range import Peaks, White, peaks_of, to_bytes, white_of_all

_CHUNK_BYTES = 1 << 24
_REAL, _DEEP = 255, 65535  # the largest values that have a defined range


def channels_first(images: np.ndarray, where: str) -> np.ndarray:
    """Return images in any of the usual orders of axes as a view (N, C, H, W).

    Args:
        images: bool, integers or floats, (N, H, W), (N, H, W, C) or (N, C, H, W).
        where: what an error calls the array.

    Raises:
        InputError: the array holds no numbers or is empty, the number of channels is not 1 or 3, or the
            order is ambiguous.

    >>> channels_first(np.zeros((2, 8, 9, 3), np.uint8), "x").shape
    (2, 3, 8, 9)
    """
    if images.dtype.kind not in "biuf":
        raise InputError(f"{where}: images are {images.dtype}, expected numbers, such as uint8 0 to 255")
    shape = images.shape
    if images.size == 0:
        raise InputError(f"{where} is empty: its shape is {shape}")
    if len(shape) == 3:
        return images[:, None]
    first, last = (len(shape) == 4 and shape[axis] in (1, 3) for axis in (1, -1))
    if first and last:
        raise InputError(
            f"{where} has the shape {shape}: both the second and the last axis could be the channels; "
            "save gray images as (N, H, W), or images of other sizes"
        )
    if not (first or last):
        raise InputError(
            f"{where} has the shape {shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3"
        )
    return images if first else images.transpose(0, 3, 1, 2)


def range_of(images: np.ndarray, where: str) -> Peaks:
    """Return the largest values of images of any type; those of uint8 and bool are not looked at.

    Raises:
        InputError: values are negative, not finite or too large to have a defined range.
    """
    found = Peaks()
    if images.dtype == np.uint8 or images.dtype.kind == "b":
        return found
    most = _REAL if images.dtype.kind == "f" else _DEEP
    for piece in _pieces(images):
        low, high = piece.min(), piece.max()
        if images.dtype.kind == "f" and np.isnan(low):
            count = sum(int(np.isnan(each).sum()) for each in _pieces(images))
            raise InputError(
                f"{where} has {count:,} of {images.size:,} values that are NaN, expected numbers; replace "
                "them, or leave out the images"
            )
        if not (low >= 0 and high <= most):
            expected = "0 to 1 or 0 to 255" if most == _REAL else "0 to 255 or 0 to 65535"
            raise InputError(
                f"{where} holds {images.dtype} values from {low:g} to {high:g}, expected {expected}; scale "
                "the images, or leave out what normalizes them: training normalizes by itself"
            )
        found = found.joined(peaks_of(piece))
    return found


def as_bytes(images: np.ndarray, where: str) -> tuple[np.ndarray, list[str], White | None]:
    """Return images as uint8 (N, C, H, W), notes on the scaling, and `White.of` the images.

    See `channels_first` and `range_of`.

    >>> pixels, notes, white = as_bytes(np.array([[[0.0, 1.0]]]), "x")
    >>> pixels.tolist(), notes, white
    ([[[[0, 255]]]], ['images of floats are read as 0 to 1, which becomes 255'], White(deep=0, real=1.0))
    """
    view = channels_first(images, where)
    peaks = range_of(view, where)
    white: White = white_of_all(peaks)
    if view.dtype == np.uint8:
        return np.ascontiguousarray(view), [], None
    scaled = np.empty(view.shape, dtype=np.uint8)
    step = _step(view)
    for start in range(0, len(view), step):
        scaled[start : start + step] = to_bytes(view[start : start + step], white)
    return scaled, peaks.notes(), white.of(peaks)


def _pieces(images: np.ndarray) -> Iterator[np.ndarray]:
    step = _step(images)
    for start in range(0, len(images), step):
        yield images[start : start + step]


def _step(images: np.ndarray) -> int:
    return max(1, _CHUNK_BYTES // max(1, int(images[0].nbytes)))
