"""Decoding: encoded images of any mode and size become uint8 arrays of one shape.

Every mode that Pillow reads has a defined answer. Grey of any depth (1, 8 or 16 bit) is grey; everything
else is RGB. Alpha is composited on white, 16-bit grey is scaled to 8 bit, the EXIF orientation is applied,
an animation gives its first frame. Images are resized so that the target is covered, and cropped to its
centre.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from noisylabels.core.checks import InputError

if TYPE_CHECKING:
    from PIL import Image

Encoded = bytes | Path  # an image file's bytes, or where they are
Progress = Callable[[str, int, int], None]  # (what, done, total)
Result = TypeVar("Result")

DEFAULT_SIZE = 64  # the side to which images of several sizes are brought when the user names none
MAX_UNASKED_BYTES = 8 << 30  # photographs straight from a camera are not kept at full size unasked
NAMED = 3  # how many bad images a message names

# Only formats whose decoders are meant for untrusted files: Pillow would also start Ghostscript for EPS.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_ORIENTATION = 0x0112
_BLOCK = 32  # images a task: a task a small image would spend its time on queueing


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded."""

    width: int  # after the EXIF orientation
    height: int
    grey: bool


def read_header(encoded: Encoded) -> Header:
    """Return an image's size and whether it is grey, without decoding its pixels."""
    with _open(encoded) as image:
        width, height = image.size
        if _is_sideways(image):
            if image.format == "TIFF":  # Pillow has swapped the sides or will, depending on its version
                image.load()
                width, height = image.size
            else:
                width, height = height, width
        return Header(width, height, image.mode in _GREY_MODES)


def read_pixels(encoded: Encoded, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Decode one image.

    Args:
        encoded: the bytes of an image file, or its path.
        channels: 1 for grey, 3 for RGB.
        size: height and width of the result.

    Returns:
        uint8, (channels, height, width).

    Raises:
        Exception: of any type that a Pillow decoder raises for a damaged file.
    """
    from PIL import ImageOps
    from PIL.Image import Resampling

    height, width = size
    with _open(encoded) as image:
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, much faster; twice the target is enough
        # for a resize that cannot be told from one of the full image. Other formats ignore this.
        image.draft(None, (2 * max(size), 2 * max(size)))
        image.load()
        flat = _flatten(_upright(image), channels)
    if flat.size != (width, height):
        flat = ImageOps.fit(flat, (width, height), method=Resampling.BICUBIC)
    array = np.asarray(flat, dtype=np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def resize_arrays(images: np.ndarray, side: int) -> np.ndarray:
    """Bring uint8 images (n, C, H, W) to (n, C, side, side) as `read_pixels` does."""
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


@dataclass
class Decoding:
    """The images of a set, decoded in order and given piece by piece.

    Args:
        images: the encoded images; walked through once for each pass.
        ids: their names.
        shape: channels, height and width of every result.
        bad_images: "fail" or "skip".
        progress: called with ("decoding", done, total).
        bad: reason by position for images that cannot be read; filled while decoding.
    """

    images: Collection[Encoded]
    ids: Sequence[str]
    shape: tuple[int, int, int]
    bad_images: str
    progress: Progress | None = None
    bad: dict[int, str] = field(default_factory=dict)

    def pieces(self) -> Iterator[np.ndarray]:
        """Decode everything, in order; call it once.

        Returns:
            An iterator over uint8 arrays (n, C, H, W). Bad images are left out.

        Raises:
            InputError: at the end, when there are bad images and they are not to be skipped, or no other.
        """
        channels, *size = self.shape

        def work(encoded: Encoded) -> np.ndarray:
            return read_pixels(encoded, channels, (size[0], size[1]))

        done = 0
        for results in _in_parallel(work, self.images, "decoding", self.progress):
            good = []
            for position, result in enumerate(results, start=done):
                if isinstance(result, str):
                    self.bad[position] = result
                else:
                    good.append(result)
            done += len(results)
            if good:
                yield np.stack(good)
        self._judge()

    def note(self) -> str:
        """Name the images that were left out; empty when there are none."""
        if not self.bad:
            return ""
        return f"left out {len(self.bad)} of {len(self.ids)} images that cannot be read: {self._named()}"

    def _judge(self) -> None:
        if self.bad and len(self.bad) == len(self.ids):
            raise InputError(f"none of the {len(self.ids)} images can be read: {self._named()}")
        if self.bad and self.bad_images == "fail":
            raise InputError(
                f"{len(self.bad)} of {len(self.ids)} images cannot be read: {self._named()}; "
                "repair or remove them, or leave them out with bad_images='skip'"
            )

    def _named(self) -> str:
        first = [f"{self.ids[i]} ({reason})" for i, reason in sorted(self.bad.items())[:NAMED]]
        more = len(self.bad) - len(first)
        return ", ".join(first) + (f" and {more} more" if more else "")


def survey(
    images: Collection[Encoded],
    image_size: int | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[int, int, int], str]:
    """Choose the shape of a set from the headers of its images.

    Args:
        images: the encoded images.
        image_size: side of the square that the user wants, or None to keep a common size.
        progress: called with ("reading sizes", done, total).

    Returns:
        Channels, height and width (1 channel when every readable image is grey), and a note on resizing
        or "".

    Raises:
        InputError: images of one size would take too much room at that size, and no size was asked for.
    """
    sizes: set[tuple[int, int]] = set()
    grey = True
    for results in _in_parallel(read_header, images, "reading sizes", progress):
        headers = [result for result in results if isinstance(result, Header)]
        sizes.update((header.width, header.height) for header in headers)
        grey = grey and all(header.grey for header in headers)
    channels = 1 if grey else 3
    if image_size is None and len(sizes) <= 1:
        width, height = next(iter(sizes), (1, 1))  # no size at all: nothing is readable, decoding will say so
        room = len(images) * channels * height * width
        if room > MAX_UNASKED_BYTES:
            raise InputError(
                f"{len(images)} images of {width}x{height} pixels would take {room / 2**30:.0f} GiB decoded; "
                "choose a smaller image_size (or this one, to confirm)"
            )
        return (channels, height, width), ""
    side = image_size or DEFAULT_SIZE
    shape = (channels, side, side)
    if sizes <= {(side, side)}:
        return shape, ""
    low, high = min(sizes, key=lambda wh: wh[0] * wh[1]), max(sizes, key=lambda wh: wh[0] * wh[1])
    found = f"{low[0]}x{low[1]}"
    if len(sizes) > 1:
        found = f"{len(sizes)} sizes from {found} to {high[0]}x{high[1]}"
    asked = "" if image_size else "; image_size sets another size"
    return shape, (f"images of {found} resized: shorter side to {side} pixels, then the centre square{asked}")


def _open(encoded: Encoded) -> Image.Image:
    from PIL import Image

    source = encoded if isinstance(encoded, Path) else io.BytesIO(encoded)
    return Image.open(source, formats=_FORMATS)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what makes the image upright, or None."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata, raised as anything; the pixels may be whole all the same
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
    from PIL.Image import Transpose

    if image.format == "PNG" and "exif" not in image.info:
        return False  # getexif() would decode the whole image to look behind its pixels
    return _turn(image) in (
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )


def _flatten(image: Image.Image, channels: int) -> Image.Image:
    """Return the image in mode L or RGB."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = Image.fromarray(_eight_bit(np.asarray(image)))
    elif image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def _eight_bit(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise ValueError("32-bit grey pixels beyond 0..65535 have no defined range")
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _reason(error: Exception, encoded: Encoded) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        size = encoded.stat().st_size if isinstance(encoded, Path) else len(encoded)
        return "not an image" if size else "0 bytes"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which the id gives
    return str(error) or type(error).__name__


def _in_parallel(
    work: Callable[[Encoded], Result],
    images: Collection[Encoded],
    what: str,
    progress: Progress | None,
) -> Iterator[list[Result | str]]:
    """Give the results of `work` in order, some hundred at a time; a failure is given as its reason."""

    def run(block: list[Encoded]) -> list[Result | str]:
        results: list[Result | str] = []
        for encoded in block:
            try:
                results.append(work(encoded))
            except Exception as error:  # decoders raise anything for a damaged file
                results.append(_reason(error, encoded))
        return results

    workers = usable_cores()
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        for window in _blocks(images, 4 * workers * _BLOCK):
            blocks = [window[i : i + _BLOCK] for i in range(0, len(window), _BLOCK)]
            with warnings.catch_warnings():  # around the threads, not in them: the filters are global
                warnings.simplefilter("ignore")
                results = [result for part in pool.map(run, blocks) for result in part]
            done += len(results)
            yield results
            if progress:
                progress(what, done, len(images))


def usable_cores() -> int:
    """Return how many threads are worth starting: the cores this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)


def _blocks(images: Collection[Encoded], size: int) -> Iterator[list[Encoded]]:
    block: list[Encoded] = []
    for encoded in images:
        block.append(encoded)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
