"""Images that stay encoded, in shards or files, and are decoded by threads ahead of their use.

An epoch's order and crops are known when it begins, so threads decode the next batches while a step runs.
Memory holds those batches alone. Pillow releases Python's lock while it decodes and resizes, so for
photographs threads do the work of processes without further copies of the program, and end with the run.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.data.decode import usable_cores
from noisylabels.data.image_decoding import failure_reason, read_crop, read_pixels
from noisylabels.data.pixel_range import FULL, White
from noisylabels.data.pixel_source import PixelSource, Span, Window
from noisylabels.data.resized_crop import Crop

_TASK = 16  # images that a thread decodes at a time: a batch is ready early, and few tasks wait
_AHEAD_BATCHES = 2  # that wait for the step, besides the one in work
_AHEAD_IMAGES = 64  # per thread, where batches are small


class EncodedStore(Protocol):
    """Encoded images by number, such as the members of shards."""

    def __len__(self) -> int:
        """Return the number of images."""

    def encoded(self, number: int) -> bytes:
        """Return the bytes of an image file; called by several threads."""

    def where(self, number: int) -> str:
        """Return what an error calls an image, such as "train-000.tar, 0017.jpg"."""

    def content(self) -> bytes:
        """Return a digest of what identifies the images."""


class EncodedImages:
    """A source of images that are decoded at each use; see `PixelSource`.

    Args:
        store: the encoded images.
        rows: int64, (N,): the number in the store of each image.
        size: channels, height and width of every image once it is decoded: resized to cover it, the center
            kept, see `read_pixels`.
        white: the values that become 255 in images of more than 8 bits.
    """

    def __init__(
        self, store: EncodedStore, rows: np.ndarray, size: tuple[int, int, int], white: White = FULL
    ) -> None:
        self._store, self._rows, self._size, self._white = store, rows, size, white

    @property
    def shape(self) -> torch.Size:
        """See `PixelSource`."""
        return torch.Size((len(self), *self._size))

    @property
    def ndim(self) -> int:
        """See `PixelSource`."""
        return 4

    @property
    def dtype(self) -> torch.dtype:
        """See `PixelSource`."""
        return torch.uint8

    @property
    def nbytes(self) -> int:
        """See `PixelSource`."""
        return self.shape.numel()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.index_select(0, torch.tensor([range(len(self))[index]]))[0]

    def index_select(self, dim: int, index: torch.Tensor) -> torch.Tensor:
        """See `PixelSource`."""
        if not len(index):
            return torch.empty((0, *self._size), dtype=torch.uint8)
        return next(self.read(index, [(0, len(index))], [None]))[0]

    def take(self, index: torch.Tensor) -> EncodedImages:
        """See `PixelSource`."""
        return EncodedImages(self._store, self._rows[index.numpy()], self._size, self._white)

    def followed_by(self, other: PixelSource) -> EncodedImages:
        """See `PixelSource`."""
        if not isinstance(other, EncodedImages) or other._store is not self._store:
            raise InputError("encoded images of two origins cannot be joined; load them together")
        return EncodedImages(self._store, np.concatenate([self._rows, other._rows]), self._size, self._white)

    def content(self) -> bytes:
        """See `PixelSource`."""
        return hashlib.sha256(self._store.content() + self._rows.astype("<i8").tobytes()).digest()

    def shuffled(self, positions: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
        """See `PixelSource`; any order can be read, and it is that of images in memory."""
        return positions[torch.randperm(len(positions), generator=stream)]

    def read(
        self, order: torch.Tensor, spans: Sequence[Span], windows: Sequence[Window | None]
    ) -> Iterator[list[torch.Tensor]]:
        """See `PixelSource`.

        Raises:
            InputError: an image cannot be decoded; it names the shard and the member.
        """
        workers = usable_cores()
        size = max((end - begin for begin, end in spans), default=1)
        ahead = _AHEAD_BATCHES + workers * _AHEAD_IMAGES // size
        waiting: deque[tuple[list[torch.Tensor], list[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        try:
            for begin, end in spans:
                waiting.append(self._begin(pool, order[begin:end], windows))
                if len(waiting) > ahead:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        finally:  # an epoch that ends early waits only for the images in work
            pool.shutdown(cancel_futures=True)

    def _begin(
        self, pool: ThreadPoolExecutor, index: torch.Tensor, windows: Sequence[Window | None]
    ) -> tuple[list[torch.Tensor], list[Future[None]]]:
        """Give the images of a batch to the threads; return where they write them, and their tasks."""
        views = [torch.empty((len(index), *self._size), dtype=torch.uint8) for _ in windows]
        arrays = [view.numpy() for view in views]
        draws = [None if each is None else _crops(each, index) for each in windows]
        numbers: list[int] = self._rows[index.numpy()].tolist()

        def decode(begin: int) -> None:
            for place in range(begin, min(begin + _TASK, len(numbers))):
                encoded = self._store.encoded(numbers[place])
                crops = [None if draw is None else Crop(*draw[place]) for draw in draws]
                try:
                    for array, pixels in zip(arrays, self._views(encoded, crops), strict=True):
                        array[place] = pixels
                except Exception as error:  # decoders can raise anything for a damaged file
                    raise InputError(
                        f"{self._store.where(numbers[place])}: the image cannot be read "
                        f"({failure_reason(error, encoded)}); repair or remove it, or leave out such images "
                        "with --bad-images skip (bad_images='skip')"
                    ) from None

        return views, [pool.submit(decode, begin) for begin in range(0, len(numbers), _TASK)]

    def _views(self, encoded: bytes, crops: Sequence[Crop | None]) -> Iterator[np.ndarray]:
        """Yield an image for each view; equal ones are decoded once."""
        channels, *size = self._size
        whole = None
        for crop in crops:
            if crop is not None:
                yield read_crop(encoded, channels, (size[0], size[1]), crop, self._white)
            else:
                if whole is None:
                    whole = read_pixels(encoded, channels, (size[0], size[1]), self._white)
                yield whole


def _crops(window: Window, index: torch.Tensor) -> list[list[float]]:
    """Return the arguments of a `Crop` for each image of a batch."""
    rows: list[list[float]] = window.draws.index_select(0, index).tolist()
    return [[*row, window.least] for row in rows]


def _finished(views: list[torch.Tensor], tasks: list[Future[None]]) -> list[torch.Tensor]:
    for task in tasks:
        task.result()
    return views
