"""Decoding of one image of any mode and size to a uint8 array of a given shape.

Every mode that Pillow reads has a defined result. Gray of any depth (1, 8 or 16 bit, or a palette of grays)
is gray; everything else is RGB. Alpha is composited on white, gray of more than 8 bits and floats are scaled
to 8 bits (`pixel_range`), the EXIF orientation is applied, and of an animation or a file of several pages the
first is used. Images are resized to cover the target size and cropped to its center.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from noisylabels.core.opening import check_regular
from noisylabels.data.image_formats import openers
from noisylabels.data.pixel_range import FULL, NONE, Peaks, White, peaks_of, to_bytes, white_of

if TYPE_CHECKING:
    from PIL import Image

    from noisylabels.data.resized_crop import Crop

Encoded = bytes | Path  # the bytes of an image file, or its path

_GRAY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_ORIENTATION = 0x0112
# Without one of these keys Pillow finds no orientation in files of these formats, and searching is slow.
_METADATA = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_PLAIN = frozenset({"JPEG", "PNG"})


class Header(NamedTuple):
    """The facts about an image that are known before its pixels are decoded."""

    width: int  # after the EXIF orientation
    height: int
    gray: bool
    pages: int = 1  # of a TIFF file
    peaks: Peaks = NONE  # of pixels with more than 8 bits, which are decoded for it


def read_header(encoded: Encoded) -> Header:
    """Return an image's size and whether it is gray, without decoding its pixels."""
    with _open(encoded) as image:
        return header_of(image)


def header_of(image: Image.Image) -> Header:
    """Return the size of an open image and whether it is gray."""
    pages = int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 1
    width, height = image.size
    if _is_sideways(image):
        if image.format == "TIFF":  # Pillow swaps the sides now or later, depending on its version
            image.load()
            width, height = image.size
        else:
            width, height = height, width
    gray = image.mode in _GRAY_MODES or _has_gray_palette(image)
    return Header(width, height, gray, pages, _peaks(image))


def _peaks(image: Image.Image) -> Peaks:
    if _is_deep(image):
        return peaks_of(np.asarray(image))
    if any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ())):  # RGB;16B
        return Peaks(high=int(np.asarray(image.convert("RGB")).max(initial=0)), colors=1)
    return NONE


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def read_pixels(encoded: Encoded, channels: int, size: tuple[int, int], white: White = FULL) -> np.ndarray:
    """Decode one image.

    Args:
        encoded: the bytes of an image file, or its path.
        channels: 1 for gray, 3 for RGB.
        size: height and width of the result.
        white: the values that become 255 in images of more than 8 bits.

    Returns:
        uint8, (channels, height, width).

    Raises:
        Exception: of any type that a Pillow decoder raises for a damaged file.
    """
    with _open(encoded) as image:
        return _load(image, channels, size, white)


def read_crop(
    encoded: Encoded, channels: int, size: tuple[int, int], crop: Crop, white: White = FULL
) -> np.ndarray:
    """Decode a window of one image at a size; see `read_pixels`.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the window has enough pixels all the same.
    """
    from PIL.Image import Resampling

    height, width = size
    with _open(encoded) as image:
        if image.format == "JPEG":
            left, upper, right, lower = crop.box(image.height, image.width)
            across, down = width / (right - left), height / (lower - upper)
            image.draft(None, (math.ceil(image.width * across), math.ceil(image.height * down)))
        image.load()
        flat = _flatten(_upright(image), channels, white)
    box = crop.box(flat.height, flat.width)
    made = flat.resize((width, height), Resampling.BILINEAR, box, reducing_gap=2.0)
    return np.frombuffer(made.tobytes(), np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def read_both(
    content: bytes, channels: int, size: tuple[int, int], white: White = FULL, suffix: str = ""
) -> tuple[Header, np.ndarray | Exception]:
    """Read the header of an image and decode it in one pass; see `read_header` and `read_pixels`.

    Args:
        content: the bytes of an image file.
        channels, size, white: as in `read_pixels`.
        suffix: the ending of the file's name.

    Returns:
        The header, and the pixels or the exception: a damaged file may have an intact header.
    """
    with _open(content, suffix) as image:
        header = header_of(image)
        try:
            return header, _load(image, channels, size, white)
        except Exception as error:  # decoders can raise anything for a damaged file
            return header, error


def _load(image: Image.Image, channels: int, size: tuple[int, int], white: White) -> np.ndarray:
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, much faster. At twice the target, resizing
    # looks the same as from the full image. Other formats ignore this.
    side = 2 * max(size)
    if image.format == "JPEG" and min(image.size) >= 2 * side:
        image.draft(None, (side, side))
    image.load()
    return pixels_of(image, channels, size, white)


def pixels_of(image: Image.Image, channels: int, size: tuple[int, int], white: White = FULL) -> np.ndarray:
    """Return the pixels of an open image, see `read_pixels`."""
    height, width = size
    flat = _flatten(_upright(image), channels, white)
    if flat.size != (width, height):
        from PIL import ImageOps
        from PIL.Image import Resampling

        flat = ImageOps.fit(flat, (width, height), method=Resampling.BICUBIC)
    array = np.frombuffer(flat.tobytes(), dtype=np.uint8)  # faster than through the array interface
    return array.reshape(height, width, channels).transpose(2, 0, 1)  # a view, which the caller copies


def whole(encoded: Encoded, side: int) -> Image.Image:
    """Return an uncropped image for display: upright, mode L or RGB, no side longer than `side`.

    Raises:
        Exception: of any type that a Pillow decoder raises for a damaged file.
    """
    from PIL.Image import Resampling

    with _open(encoded) as image:
        gray = image.mode in _GRAY_MODES
        white = white_of(_peaks(image)) if _is_deep(image) else FULL
        if image.format == "JPEG":
            image.draft(None, (side, side))  # good enough for display
        image.load()
        flat = _flatten(_upright(image), 1 if gray else 3, white)
        flat = flat.copy() if flat is image else flat  # thumbnail() changes it in place
    flat.thumbnail((side, side), Resampling.LANCZOS)
    return flat


def resize_arrays(images: np.ndarray, side: int) -> np.ndarray:
    """Resize uint8 images (n, C, H, W) to (n, C, side, side) as `read_pixels` does."""
    from PIL import Image, ImageOps

    n, C, H, W = images.shape
    if side == H == W:
        return images
    resized = np.empty((n, C, side, side), dtype=np.uint8)
    for i, pixels in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)).squeeze())
        fitted = ImageOps.fit(picture, (side, side), method=Image.Resampling.BICUBIC)
        resized[i] = np.asarray(fitted).reshape(side, side, C).transpose(2, 0, 1)
    return resized


def _open(encoded: Encoded, suffix: str = "") -> Image.Image:
    from PIL import Image

    if isinstance(encoded, Path):
        check_regular(encoded)
        return Image.open(encoded, formats=openers(encoded.suffix))
    return Image.open(io.BytesIO(encoded), formats=openers(suffix))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the transposition that makes the image upright, or None."""
    if image.format in _PLAIN and not any(name in image.info for name in _METADATA):
        return None
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata can raise anything; the pixels may be intact
        return None
    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation or 1)


def _upright(image: Image.Image) -> Image.Image:
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _is_sideways(image: Image.Image) -> bool:
    if image.format == "PNG" and "exif" not in image.info:
        return False  # getexif() would decode the whole image to search behind its pixels
    if image.format in _PLAIN and not any(name in image.info for name in _METADATA):
        return False
    from PIL.Image import Transpose

    return _turn(image) in (
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )


def _has_gray_palette(image: Image.Image) -> bool:
    if image.mode != "P":
        return False
    colors = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)  # this decodes the pixels
    return bool((colors == colors[:, :1]).all())


def _flatten(image: Image.Image, channels: int, white: White) -> Image.Image:
    """Return the image in mode L or RGB."""
    wanted = "L" if channels == 1 else "RGB"
    if image.mode == wanted and "transparency" not in image.info:
        return image
    from PIL import Image

    if _is_deep(image):
        image = Image.fromarray(to_bytes(np.asarray(image), white))
    elif image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert(wanted)


def failure_reason(error: Exception, encoded: Encoded) -> str:
    """Return in a few words why `read_header` or `read_pixels` failed."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        size = encoded.stat().st_size if isinstance(encoded, Path) else len(encoded)
        return "not an image" if size else "0 bytes"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which the id already names
    return " ".join(str(error).split()) or type(error).__name__
