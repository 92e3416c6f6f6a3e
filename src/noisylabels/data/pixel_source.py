"""Sources of pixels: a tensor, in memory or mapped from a file, or images that are decoded when needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeAlias

import torch

from noisylabels.core.checks import InputError

_AHEAD = 8  # batches gathered in advance
_AHEAD_THREADS = 4  # a disk serves several requests at once
MOST_DECODED_BYTES = 2 << 30  # as much as the cache holds in memory without an image size

Span = tuple[int, int]
"""Where a batch begins and ends in the order of an epoch."""


class Window(NamedTuple):
    """The resized crops of a view in one epoch, see `resized_crop`."""

    draws: torch.Tensor  # float32, (N, 4)
    least: float  # the least share of the area


class PixelSource(Protocol):
    """Images that need not be in memory, in place of a uint8 tensor (N, C, H, W).

    `ImageSet`, `Batches`, encoders and pages take one where they take a tensor of images.
    """

    @property
    def shape(self) -> torch.Size:
        """The shape of all images once they are decoded, (N, C, H, W)."""

    @property
    def ndim(self) -> int:
        """Return 4, as for a tensor of images."""

    @property
    def dtype(self) -> torch.dtype:
        """Return torch.uint8."""

    @property
    def nbytes(self) -> int:
        """The size of all images once they are decoded."""

    def __len__(self) -> int:
        """Return the number of images N."""

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return one image, uint8 (C, H, W)."""

    def index_select(self, dim: int, index: torch.Tensor) -> torch.Tensor:
        """Return the images at `index`, int64 (B,), as uint8 (B, C, H, W); `dim` is 0."""

    def take(self, index: torch.Tensor) -> PixelSource:
        """Return the source of the images at `index`, int64 (n,), in its order."""

    def followed_by(self, other: PixelSource) -> PixelSource:
        """Return the source of these images and then those of another of the same kind and origin."""

    def content(self) -> bytes:
        """Return a digest of what identifies the images and their order."""

    def shuffled(self, positions: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
        """Return `positions`, int64 (n,), in a random order in which the images can be read."""

    def read(
        self, order: torch.Tensor, spans: Sequence[Span], windows: Sequence[Window | None]
    ) -> Iterator[list[torch.Tensor]]:
        """Yield the batches of an epoch, prepared ahead of their use, one tensor (B, C, H, W) per view.

        Args:
            order: positions, int64, those of the whole epoch.
            spans: the part of the order that each batch has.
            windows: the resized crops of each view; None for a view without.
        """


Pixels: TypeAlias = torch.Tensor | PixelSource
"""Images, uint8 (N, C, H, W): a tensor or a source of them."""


def is_resident(images: Pixels, device: torch.device) -> bool:
    """Return whether a set is kept on the device: a tensor that takes at most half of a GPU's free memory."""
    if not isinstance(images, torch.Tensor):
        return False
    if device.type != "cuda" or images.device.type == "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free // 2


def fits_memory(images: Pixels) -> bool:
    """Return whether `in_memory` returns the images as a tensor; it refuses a source of more than 2 GiB."""
    return isinstance(images, torch.Tensor) or images.nbytes <= MOST_DECODED_BYTES


def in_memory(images: Pixels, what: str) -> torch.Tensor:
    """Return all images as a tensor, decoding those of a source.

    Args:
        images: the images.
        what: what needs them in memory, for the error.

    Raises:
        InputError: decoded images of a source would take more than 2 GiB.
    """
    if isinstance(images, torch.Tensor):
        return images
    if not fits_memory(images):
        raise InputError(
            f"{what} needs all {len(images):,} images in memory, {images.nbytes / 2**30:.1f} GiB decoded, "
            f"expected at most {MOST_DECODED_BYTES >> 30}; use a smaller part or a smaller --image-size "
            "(image_size=), or unpack the shards into class folders, which are cached on disk"
        )
    return images.index_select(0, torch.arange(len(images)))


def pieces(images: Pixels, size: int) -> Iterator[torch.Tensor]:
    """Yield images or rows in order, `size` at a time; those of a source are decoded ahead."""
    if isinstance(images, torch.Tensor):
        yield from images.split(size)
        return
    spans = [(begin, min(begin + size, len(images))) for begin in range(0, len(images), size)]
    for views in images.read(torch.arange(len(images)), spans, [None]):
        yield views[0]


def gather_ahead(
    images: torch.Tensor, order: torch.Tensor, spans: Sequence[Span], pin: bool
) -> Iterator[torch.Tensor]:
    """Yield the rows of the batches, gathered by threads while earlier batches are in use.

    Args:
        images: (N, ...), memory-mapped or on the host.
        order, spans: see `PixelSource.read`.
        pin: into pinned memory, for a GPU.
    """

    def gather(begin: int, end: int) -> torch.Tensor:
        pixels = images.index_select(0, order[begin:end])
        return pixels.pin_memory() if pin else pixels

    pool = ThreadPoolExecutor(_AHEAD_THREADS)
    try:
        waiting = deque(pool.submit(gather, *span) for span in spans[:_AHEAD])
        for span in [*spans[_AHEAD:], *[None] * len(waiting)]:
            pixels = waiting.popleft().result()
            if span is not None:
                waiting.append(pool.submit(gather, *span))
            yield pixels
    finally:  # an epoch that ends early waits only for the batches being gathered
        pool.shutdown(cancel_futures=True)
