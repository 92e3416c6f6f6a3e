"""The range of pixel values beyond 8 bits, decided once for all images of a set, and their scaling to 8 bits.

Cameras and scanners write 10, 12 or 14 bits into files of 16, and libraries write floats from 0 to 1. The
largest value of the set decides which of these it is; a range per image would change how bright one image is
beside another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from noisylabels.core.checks import InputError

DEPTHS = (1, 8, 10, 12, 14, 16)
_SURELY_TO_255 = 128  # floats that end between 1 and this, such as at 16, have some other range
_HIGH = 63  # an upper byte that never exceeds this belongs to values of at most 14 bits


class Peaks(NamedTuple):
    """The largest values of a set's pixels, by how they are stored; 0 where there are none."""

    deep: int = 0  # of gray integers with more than 8 bits
    real: float = 0.0  # of floats
    high: int = 0  # upper byte of the channels of color images with 16 bits, of which Pillow reads no more
    colors: int = 0  # the number of these images

    def joined(self, other: Peaks) -> Peaks:
        """Return the peaks of both sets together.

        >>> Peaks(deep=900).joined(Peaks(deep=4000)).deep
        4000
        """
        return Peaks(
            max(self.deep, other.deep),
            max(self.real, other.real),
            max(self.high, other.high),
            self.colors + other.colors,
        )

    def notes(self, white: White | None = None) -> list[str]:
        """Return lines on how the values are scaled, unless they use the whole range of their type.

        Args:
            white: the values that become 255; by default those of `white_of`.
        """
        white, notes = white or white_of(self), []
        if self.deep and white.deep < 65535:
            bits = white.deep.bit_length()
            notes.append(
                f"images of more than 8 bits, whose largest value is {self.deep:,}, are read as images of "
                f"{bits} bit{'' if bits == 1 else 's'}: {white.deep:,} becomes 255"
            )
        if self.real:
            notes.append(f"images of floats are read as 0 to {white.real:g}, which becomes 255")
        if self.colors and self.high <= _HIGH:
            bits = 8 + self.high.bit_length()
            notes.append(
                f"{self.colors:,} color images of 16 bits per channel hold at most {bits} bits, and only "
                f"their upper 8 bits are read: their values end at {self.high} of 255; save them as 8 bits"
            )
        return notes


NONE = Peaks()
"""Those of images of 8 bits, one object for all."""


class White(NamedTuple):
    """The values that become 255."""

    deep: int = 65535
    real: float = 1.0

    def of(self, peaks: Peaks) -> White | None:
        """Return what images to come must be read with: 0 for values that none of these images has.

        None if all of them have 8 bits.

        >>> White(deep=4095).of(Peaks(deep=4000)), White().of(Peaks())
        (White(deep=4095, real=0.0), None)
        """
        found = White(self.deep if peaks.deep else 0, self.real if peaks.real else 0.0)
        return found if any(found) else None


FULL = White()
"""The whole range of 16 bits, and floats from 0 to 1."""


def white_of(peaks: Peaks) -> White:
    """Return the values that become 255 in a set with these largest values.

    Integers are taken to have the fewest bits of `DEPTHS` that hold them; floats end at 1 or 255.

    >>> white_of(Peaks(deep=4000, real=0.97)), white_of(Peaks(deep=65000, real=254.0))
    (White(deep=4095, real=1.0), White(deep=65535, real=255.0))
    """
    deep = next((2**bits - 1 for bits in DEPTHS if peaks.deep < 2**bits), 65535) if peaks.deep else 65535
    return White(deep, 255.0 if peaks.real > 1 else 1.0)


def white_of_all(peaks: Peaks, trained: White | None = None) -> White:
    """Return the values that become 255, as `white_of`, when the peaks are those of the whole set.

    Args:
        peaks: the largest values of the set.
        trained: `White.of` the images that a model was trained on, which decide before those of the set.

    Raises:
        InputError: floats end at a value from which 0 to 1 and 0 to 255 cannot be told apart.
    """
    if trained is not None:
        own = white_of_all(peaks._replace(real=0.0) if trained.real else peaks)
        return White(trained.deep or own.deep, trained.real or own.real)
    if 1 < peaks.real < _SURELY_TO_255:
        raise InputError(
            f"the images are floats from 0 to {peaks.real:g}, expected 0 to 1 or 0 to 255; scale them, or "
            "save them as uint8: (255 * x / x.max()).round().astype(numpy.uint8)"
        )
    return white_of(peaks)


def peaks_of(values: np.ndarray) -> Peaks:
    """Return the peaks of pixels of any type; those of bool and uint8 are none."""
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        return Peaks(real=float(finite.max(initial=0)))
    if values.dtype.kind == "b" or values.dtype == np.uint8:
        return Peaks()
    return Peaks(deep=int(values.max(initial=0)))


def to_bytes(values: np.ndarray, white: White) -> np.ndarray:
    """Return pixels as uint8: 0 stays 0, and the white of their type becomes 255.

    Raises:
        ValueError: a value is negative, not finite, or beyond white.

    >>> to_bytes(np.array([0.0, 0.5, 1.0]), White()).tolist()
    [0, 128, 255]
    >>> to_bytes(np.array([0, 4095]), White(deep=4095)).tolist()
    [0, 255]
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        if not (values.min(initial=0) >= 0 and values.max(initial=0) <= white.real):  # NaN fails too
            raise ValueError(f"floating-point pixels beyond {_range_of(values, white.real, 255.0)}")
        scaled: np.ndarray = np.floor(values.astype(np.float64) * (255 / white.real) + 0.5).astype(np.uint8)
        return scaled
    if values.min(initial=0) < 0 or values.max(initial=0) > white.deep:
        raise ValueError(f"integer pixels beyond {_range_of(values, white.deep, 65535)}")
    wide = values.astype(np.int64)
    return np.asarray((wide * 255 + white.deep // 2) // white.deep).astype(np.uint8)


def _range_of(values: np.ndarray, white: float, most: float) -> str:
    """Return the range that values leave, for an error."""
    fit = values.min(initial=0) >= 0 and values.max(initial=0) <= most
    return f"0..{white:g}" + (", the range of the training images" if fit else " have no defined range")
