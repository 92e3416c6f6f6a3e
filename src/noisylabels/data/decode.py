"""Decoding of many images by threads, in order, with a record of those that cannot be read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from noisylabels.core.checks import InputError, check_choice
from noisylabels.data.file_sources import PassedOver, images_below
from noisylabels.data.image_decoding import Encoded, Header, failure_reason, read_header, read_pixels
from noisylabels.data.image_formats import some_suffixes
from noisylabels.data.pixel_range import FULL, Peaks, White, white_of_all

Progress = Callable[[str, int, int], None]  # (what, done, total)


class AtMost(NamedTuple):
    """The largest side of images in pixels; smaller ones of one size keep it."""

    pixels: int


Size = int | AtMost | None
"""The side of square images; or None to keep a common size, and to use `DEFAULT_SIZE` for several sizes."""
Result = TypeVar("Result")

DEFAULT_SIZE = 64  # images of several sizes are resized to this side if the user names none
MAX_UNASKED_BYTES = 2 << 30  # a larger set, such as camera photographs, needs an explicit image size
NAMED = 3  # the number of bad images that a message names

_BLOCK = 32  # images per task: with one small image per task, queueing would take most of the time


@dataclass
class Decoding:
    """The images of a set, decoded in order and given piece by piece.

    Args:
        images: the encoded images; iterated over once per pass.
        ids: their names.
        shape: channels, height and width of every result.
        bad_images: "fail" or "skip".
        progress: called with ("decoding", done, total).
        white: the values that become 255 in images of more than 8 bits.
        bad: reason by position for images that cannot be read; filled while decoding.
    """

    images: Collection[Encoded]
    ids: Sequence[str]
    shape: tuple[int, int, int]
    bad_images: str
    progress: Progress | None = None
    white: White = FULL
    bad: dict[int, str] = field(default_factory=dict)

    def pieces(self) -> Iterator[np.ndarray]:
        """Decode all images in order; call it once.

        Returns:
            An iterator over uint8 arrays (n, C, H, W). Bad images are left out.

        Raises:
            InputError: at the end, if images are bad and may not be skipped, or if all are.
        """
        channels, height, width = self.shape

        def work(encoded: Encoded) -> np.ndarray:
            return read_pixels(encoded, channels, (height, width), self.white)

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
        judge(self.bad, self.ids, self.bad_images)

    def note(self) -> str:
        """Return a note that names the images left out, or "" if there are none."""
        return left_out(self.bad, self.ids) if self.bad else ""


def judge(bad: Mapping[int, str], ids: Sequence[str], bad_images: str) -> None:
    """Raise an `InputError` if images cannot be read and may not be skipped, or if none can be read."""
    if bad and len(bad) == len(ids):
        raise InputError(f"none of the {len(ids)} images can be read: {_named(bad, ids)}")
    if bad and bad_images == "fail":
        raise InputError(
            f"{len(bad)} of {len(ids)} images cannot be read: {_named(bad, ids)}; "
            "repair or remove them, or leave them out with --bad-images skip (bad_images='skip')"
        )


def left_out(bad: Mapping[int, str], ids: Sequence[str]) -> str:
    """Return a note that names the images left out."""
    return f"left out {len(bad)} of {len(ids)} images that cannot be read: {_named(bad, ids)}"


def _named(bad: Mapping[int, str], ids: Sequence[str]) -> str:
    first = [f"{ids[i]} ({reason})" for i, reason in sorted(bad.items())[:NAMED]]
    more = len(bad) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


class Survey(NamedTuple):
    """What the headers of a set's images decide."""

    shape: tuple[int, int, int]  # channels (1 if every readable image is gray), height and width
    notes: list[str]  # on resizing, the range of values, and pages that are not read
    white: White
    kept: White | None  # see `White.of`


def survey(
    images: Collection[Encoded],
    image_size: Size = None,
    progress: Progress | None = None,
    trained: White | None = None,
) -> Survey:
    """Choose the shape and the range of values of a set from the headers of its images.

    Args:
        images: the encoded images.
        image_size: side of the square images, the largest side, or None to keep a common size.
        progress: called with ("reading sizes", done, total).
        trained: see `white_of_all`.

    Raises:
        InputError: images of one size would take too much memory at that size, and `image_size` is None.
    """
    sizes: set[tuple[int, int]] = set()
    gray, peaks, paged = True, Peaks(), 0
    for results in _in_parallel(read_header, images, "reading sizes", progress):
        headers = [result for result in results if isinstance(result, Header)]
        sizes.update((header.width, header.height) for header in headers)
        gray = gray and all(header.gray for header in headers)
        paged += sum(header.pages > 1 for header in headers)
        for header in headers:
            peaks = peaks.joined(header.peaks)
    shape, resized = choose_shape(len(images), sizes, gray, image_size)
    white = white_of_all(peaks, trained)
    return Survey(shape, pixel_notes(resized, peaks, paged, white), white, white.of(peaks))


def pixel_notes(resized: str, peaks: Peaks, paged: int, white: White | None = None) -> list[str]:
    """Return lines on resizing, on the range of values, and on the number of files with several pages."""
    pages = (
        f"{paged:,} TIFF {'file has' if paged == 1 else 'files have'} several pages; only the first is read"
    )
    return [*([resized] if resized else []), *peaks.notes(white), *([pages] if paged else [])]


def choose_shape(
    n: int, sizes: Set[tuple[int, int]], gray: bool, image_size: Size
) -> tuple[tuple[int, int, int], str]:
    """Choose the shape of a set of n images from their widths and heights; see `survey`."""
    channels = 1 if gray else 3
    shorter = max((min(size) for size in sizes), default=1)
    most = image_size.pixels if isinstance(image_size, AtMost) else None
    if len(sizes) <= 1 and (image_size is None or (most is not None and shorter <= most)):
        width, height = next(iter(sizes), (1, 1))  # no sizes: no image is readable, as decoding reports
        room = n * channels * height * width
        if most is None and room > MAX_UNASKED_BYTES and width * height > DEFAULT_SIZE**2:
            raise InputError(
                f"{n} images of {width}x{height} pixels would take {room / 2**30:.0f} GiB decoded; "
                "choose an image_size, such as 224"
            )
        return (channels, height, width), ""
    if most is not None:  # the size of the largest, so that little detail is lost
        side = min(most, max(DEFAULT_SIZE, shorter))
    else:
        side = image_size if isinstance(image_size, int) else DEFAULT_SIZE
    shape = (channels, side, side)
    if sizes <= {(side, side)}:
        return shape, ""
    low, high = min(sizes, key=lambda wh: wh[0] * wh[1]), max(sizes, key=lambda wh: wh[0] * wh[1])
    found = f"{low[0]}x{low[1]}"
    if len(sizes) > 1:
        found = f"{len(sizes)} sizes from {found} to {high[0]}x{high[1]}"
    asked = "" if isinstance(image_size, int) else "; image_size sets another size"
    return shape, f"images of {found} resized: shorter side to {side} pixels, then the center square{asked}"


def read_images(
    paths: Sequence[str | Path] | str | Path,
    *,
    channels: int,
    image_size: tuple[int, int],
    bad_images: str = "fail",
    progress: Progress | None = None,
    notes: list[str] | None = None,
    trained: White | None = None,
) -> tuple[torch.Tensor, list[str]]:
    """Read image files in the shape that a model expects.

    Args:
        paths: image files, and folders of images at any depth; or one of either.
        channels: 1 for gray, 3 for RGB.
        image_size: height and width; images are resized to cover it and cropped to the center.
        bad_images: "fail", or "skip" to leave out unreadable images.
        progress: called with ("decoding", done, total).
        notes: receives lines on images left out and on the range of values.
        trained: `ImageSet.white` of the set that a model was trained on, so that an image is scaled as
            there, whatever other files are read with it.

    Returns:
        uint8 (N, channels, H, W), and the paths of the N images that were read.

    Raises:
        InputError: a file or folder does not exist, there are no images, or an image cannot be read.
    """
    check_choice(bad_images, ("fail", "skip"), "treatment of bad images")
    given = [Path(path).expanduser() for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if missing := [path for path in given if not path.exists()]:
        more = f", nor {len(missing) - 1} others" if len(missing) > 1 else ""
        raise InputError(f"there is no file or folder {missing[0]}{more}")
    passed = PassedOver()
    files = [file for path in given for file in (images_below(path, passed) if path.is_dir() else [path])]
    if not files:
        places = ", ".join(str(path) for path in given[:NAMED]) or "an empty list"
        raise InputError(f"no images found in {places}; expected files such as {some_suffixes()}")
    ids = [str(file) for file in files]
    found = survey(files, image_size[0], None, trained)
    decoding = Decoding(files, ids, (channels, *image_size), bad_images, progress, found.white)
    images = np.concatenate(list(decoding.pieces()))
    if notes is not None:
        notes += [*passed.notes(), *found.notes, *([decoding.note()] if decoding.bad else [])]
    return torch.from_numpy(images), [name for i, name in enumerate(ids) if i not in decoding.bad]


def usable_cores() -> int:
    """Return how many threads are worth starting: the cores this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)


def _in_parallel(
    work: Callable[[Encoded], Result],
    images: Collection[Encoded],
    what: str,
    progress: Progress | None,
) -> Iterator[list[Result | str]]:
    """Yield the results of `work` in order, some hundred at a time; a failure yields its reason as text."""

    def run(block: list[Encoded]) -> list[Result | str]:
        results: list[Result | str] = []
        for encoded in block:
            try:
                results.append(work(encoded))
            except Exception as error:  # decoders can raise anything for a damaged file
                results.append(failure_reason(error, encoded))
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


def _blocks(images: Collection[Encoded], size: int) -> Iterator[list[Encoded]]:
    block: list[Encoded] = []
    for encoded in images:
        block.append(encoded)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
