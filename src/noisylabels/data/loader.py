"""Batches of a set in random order, augmented and normalized on the device.

All random numbers of an epoch are drawn on the CPU when the epoch starts and moved to the device once. So
batches need no transfer or synchronization between them, a CPU and a GPU use the same batches, and a run
resumes from any batch of any epoch without saved generator state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from noisylabels.core.checks import InputError
from noisylabels.core.rng import generator
from noisylabels.data.augment import Augment, Augmentation, Draws, normalize
from noisylabels.data.pixel_source import Pixels, Span, Window, gather_ahead, is_resident
from noisylabels.data.views import check_fits, kinds_of, view_augment

_BLOCK_NUMBERS = 1 << 23  # numbers that a GPU prepares at once: about twenty batches of 128 images of 32x32
_BLOCK_ROWS = 2048  # features standardized at once
_AHEAD_BYTES = 1 << 30  # sets of at least this size: smaller ones stay in the system's cache


class Batch(NamedTuple):
    """The examples of one training step, on the device."""

    inputs: torch.Tensor  # (B, C, H, W) or (B, D), normalized: the first view; see `standardized`
    target: torch.Tensor  # int64, (B,): the given labels
    positions: torch.Tensor  # int64, (B,): positions in the set
    epoch: int = 0  # from 0
    more_views: tuple[torch.Tensor, ...] = ()  # other augmentations of the same examples
    # of a run on several processes: which rows, begin and end, the views hold here; None for all B
    rows: tuple[int, int] | None = None

    @property
    def views(self) -> tuple[torch.Tensor, ...]:
        """All augmented views of the examples."""
        return (self.inputs, *self.more_views)


class Timed:
    """An iterator over batches that measures the time spent waiting for them.

    For batches that a GPU prepares this is the time to launch the work, since nothing waits for the device.

    Args:
        batches: the iterator to wrap.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        began = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self._seconds += time.perf_counter() - began

    def take(self) -> float:
        """Return the seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class Batches:
    """The batches of a set, or of a part of it, for each epoch.

    The images are moved to the device once. If they would take more than half of a GPU's free memory
    they stay on the host, and each batch is copied through pinned memory while the GPU computes.

    Args:
        images: uint8, (N, C, H, W), or features, float32 (N, D); may be memory-mapped. A source of images
            decodes each batch ahead of its use, and cuts out resized crops while it decodes.
        labels: int64, (N,).
        batch_size: examples per batch, 1 or more.
        device: the device of the batches.
        mean: C numbers in [0, 1], see `ImageSet.mean_std`; D of any size for features; None for features
            that `standardized` returned.
        std: C numbers above 0, or D; None without a mean.
        augment: the augmentation, of images or of features; None for none.
        shuffle: use a new order in each epoch instead of that of the positions.
        seed: the seed of the streams ("order", epoch), ("augment", epoch), ("augment", epoch, k) for view
            k > 0, and those of strong views and of features.
        positions: int64, (n,): the examples of the part, without repetition; None for all N. A batch's
            `positions` and the augmentation of an example always refer to its position in the set.
        views: the number of augmented views of each example in a batch, or their kinds, see `data.views`;
            each has its own random stream.
        channels_last: return images in the memory layout that convolutions prefer on recent hardware.
        drop_last: leave out an incomplete last batch. Otherwise it is kept, except that when shuffling (in
            training) a last batch of a single example is merged into the previous one, because batch
            normalization cannot train on a single example.

    Raises:
        InputError: lengths or channels differ, the batch size is below 1, the part is empty, no batch would
            remain, or the augmentation does not fit the images.

    >>> pixels = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    >>> batches = Batches(pixels, torch.arange(5), batch_size=2, device="cpu", mean=[0.0], std=[1.0],
    ...                   augment=None, shuffle=True, seed=0)
    >>> [len(batch.target) for batch in batches.epoch(0)]
    [2, 3]
    """

    def __init__(
        self,
        images: Pixels,
        labels: torch.Tensor,
        *,
        batch_size: int,
        device: torch.device | str,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        augment: Augmentation | None,
        shuffle: bool,
        seed: int,
        positions: torch.Tensor | None = None,
        views: int | Sequence[str] = 1,
        channels_last: bool = False,
        drop_last: bool = False,
    ) -> None:
        n = len(images)
        if n == 0 or labels.shape != (n,):
            raise InputError(
                f"{n} images and labels of shape {tuple(labels.shape)}, expected one label per image"
            )
        if batch_size < 1:
            raise InputError(f"the batch size is {batch_size}, expected 1 or more")
        positions = torch.arange(n) if positions is None else positions
        if len(positions) == 0:
            raise InputError(f"the part of the {n} images is empty, expected 1 position or more")
        if drop_last and len(positions) < batch_size:
            raise InputError(
                f"{len(positions)} examples do not fill a batch of {batch_size}, which drop_last leaves out; "
                "lower the batch size"
            )
        _check_scale(images, mean, std)
        self.device = torch.device(device)
        self.batch_size = batch_size
        check_fits(augment, images.shape[1:])
        self.resident = is_resident(images, self.device)
        # a second `Batches` of the same images uses these, so that none is moved twice
        self.inputs: Pixels = images
        if isinstance(images, torch.Tensor) and self.resident:
            self.inputs = images.to(self.device)
        # inputs that may not be in memory are gathered in advance
        self._from_disk = not self.resident or (self.device.type == "cpu" and images.nbytes >= _AHEAD_BYTES)
        self._positions = positions
        self._labels = labels.to(self.device)
        self._scale = None if mean is None or std is None else _scale(mean, std, self.device)
        self._augments = [view_augment(kind, augment, images.shape[1:]) or None for kind in kinds_of(views)]
        self.plain_views = self._augments.count(None)  # equal ones
        self._shuffle = shuffle
        self._seed = seed
        last = channels_last and images.ndim == 4
        self._layout = torch.channels_last if last else torch.contiguous_format
        self._together = _together(self.resident, self.device, batch_size * math.prod(images.shape[1:]))
        self._ends = _batch_ends(len(positions), batch_size, drop_last=drop_last, merge_single=shuffle)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def num_examples(self) -> int:
        """The examples of an epoch."""
        return self._ends[-1]

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over epoch 0, for evaluation, which neither shuffles nor augments."""
        return self.epoch(0)

    def epoch(
        self,
        epoch: int,
        start: int = 0,
        stop: int | None = None,
        rows: Callable[[int], tuple[int, int]] | None = None,
    ) -> Iterator[Batch]:
        """Return the batches of an epoch.

        Args:
            epoch: 0 or more; it determines the order and the augmentation.
            start: the first batch to return; a run stopped after k batches resumes with start=k and gets
                exactly the batches that it would have had.
            stop: the batch before which to end; None for the end of the epoch.
            rows: from the size of a batch to the rows, begin and end, whose views are made; None for all.
                Targets and positions are those of the whole batch.

        Returns:
            An iterator over `stop - start` batches.

        Raises:
            InputError: `start` is not in 0..len(self).
        """
        if not 0 <= start <= len(self):
            raise InputError(
                f"start is batch {start}, expected 0 to {len(self)}: the epoch has {len(self)} batches"
            )
        return self._walk(epoch, start, stop, rows)

    def _walk(
        self, epoch: int, start: int, stop: int | None, rows: Callable[[int], tuple[int, int]] | None
    ) -> Iterator[Batch]:
        order = self._positions
        if self._shuffle:
            order = self._shuffled(order, generator(self._seed, "order", epoch))
        drawn = [
            None if augment is None else augment.draw(len(self.inputs), self._seed, epoch, k)
            for k, augment in enumerate(self._augments)
        ]
        spans = list(zip([0, *self._ends[:-1]], self._ends, strict=True))[start:stop]
        held = [rows(end - begin) if rows else (0, end - begin) for begin, end in spans]
        own = [(begin + low, begin + high) for (begin, _), (low, high) in zip(spans, held, strict=True)]
        gathered = self._gathered(order, own, drawn)
        draws = [None if draw is None else draw.to(self.device) for draw in drawn]
        here = order.to(self.device)
        for i in range(0, len(spans), self._together):
            block, parts = spans[i : i + self._together], held[i : i + self._together]
            first, last = block[0][0], block[-1][1]
            index = here[first:last]
            own_index = torch.cat([here[a:b] for a, b in own[i : i + self._together]]) if rows else index
            if gathered is None:
                shown = [self.inputs.index_select(0, own_index)] * len(draws)
            else:
                shown = [pixels.to(self.device, non_blocking=True) for pixels in next(gathered)]
            views = [
                self._prepare(pixels, own_index, augment, draw)
                for pixels, augment, draw in zip(shown, self._augments, draws, strict=True)
            ]
            target = self._labels.index_select(0, index)
            at = 0
            for (begin, end), (low, high) in zip(block, parts, strict=True):
                part = slice(begin - first, end - first)
                one, *others = (view[at : at + high - low] for view in views)
                at += high - low
                yield Batch(
                    one, target[part], index[part], epoch, tuple(others), (low, high) if rows else None
                )

    def _shuffled(self, positions: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
        if isinstance(self.inputs, torch.Tensor):
            return positions[torch.randperm(len(positions), generator=stream)]
        return self.inputs.shuffled(positions, stream)

    def _gathered(
        self, order: torch.Tensor, spans: Sequence[Span], drawn: list[Any]
    ) -> Iterator[list[torch.Tensor]] | None:
        """Return an iterator over the pixels of each view of each batch; None for inputs on the device.

        A source of images cuts out resized crops itself, whose draws are then removed from `drawn`.
        """
        pin = self.device.type != "cpu"
        if not isinstance(self.inputs, torch.Tensor):
            windows = [
                Window(draw.window, augment.resized_crop)
                if isinstance(augment, Augment) and draw.window is not None
                else None
                for augment, draw in zip(self._augments, drawn, strict=True)
            ]
            drawn[:] = [draw._replace(window=None) if isinstance(draw, Draws) else draw for draw in drawn]
            batches = self.inputs.read(order, spans, windows)
            return ([each.pin_memory() for each in batch] for batch in batches) if pin else batches
        if not self._from_disk:
            return None
        views = len(self._augments)
        return ([pixels] * views for pixels in gather_ahead(self.inputs, order, spans, pin))

    def _prepare(
        self,
        pixels: torch.Tensor,
        index: torch.Tensor,
        augment: Augmentation | None,
        draws: Any,  # those of the augmentation; None without
    ) -> torch.Tensor:
        rows = pixels.ndim == 2  # features are standardized first, images last
        if augment is not None and not rows:
            pixels = augment.apply(pixels, draws.at(index))
        if self._scale is not None:
            pixels = normalize(pixels, *self._scale).contiguous(memory_format=self._layout)
        if augment is not None and rows:
            pixels = augment.apply(pixels, draws.at(index))
        return pixels


def standardized(
    features: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor | None:
    """Return features standardized once for all epochs, on the device, instead of batch by batch.

    Args:
        features: float32, (N, D).
        mean: D numbers.
        std: D numbers above 0.
        device: the device of the batches.
        dtype: that of the network's first layer. Under autocast the layer would round each batch to it, so
            its results are the same.

    Returns:
        (N, D) of `dtype`; None for features that are too large to be kept a second time, and that `Batches`
        standardizes batch by batch.

    >>> standardized(torch.tensor([[1.0], [5.0]]), [3.0], [2.0], torch.device("cpu"))
    tensor([[-1.],
            [ 1.]])
    """
    if features.nbytes >= _AHEAD_BYTES or not is_resident(features, device):
        return None
    scale = _scale(mean, std, device)
    kept = torch.empty(features.shape, dtype=dtype, device=device)
    for rows, place in zip(features.split(_BLOCK_ROWS), kept.split(_BLOCK_ROWS), strict=True):
        place.copy_(normalize(rows.to(device), *scale))
    return kept


def _scale(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = (torch.tensor(each, dtype=torch.float32, device=device) for each in (mean, std))
    return first, second


def _check_scale(images: Pixels, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    if mean is None or std is None:
        if mean is not std or images.ndim != 2:
            raise InputError("mean or std is missing, expected both; only standardized features need none")
    elif not len(mean) == len(std) == images.shape[1]:
        raise InputError(
            f"mean has {len(mean)} and std {len(std)} values, expected one for each of {images.shape[1]} "
            "channels"
        )


def evaluation_batch_size(images: Pixels) -> int:
    """Return the batch size for prediction on images (N, C, H, W) or features (N, D).

    It is 500 for images up to 32x32 and smaller for larger images, so that a batch stays at half a million
    pixels: 10 at 224x224. For features it is half a million numbers, at most 8,192 rows.
    """
    if images.ndim == 2:
        return max(1, min(8192, 2**19 // images.shape[1]))
    return max(1, min(500, 2**19 // (images.shape[2] * images.shape[3])))


def _together(resident: bool, device: torch.device, numbers: int) -> int:
    """Return how many batches of `numbers` numbers each are prepared at once.

    On a GPU a kernel launch costs more than the work on a small batch; images on the host are gathered batch
    by batch.
    """
    return max(1, _BLOCK_NUMBERS // max(1, numbers)) if resident and device.type == "cuda" else 1


def _batch_ends(n: int, batch_size: int, *, drop_last: bool, merge_single: bool) -> list[int]:
    """Return the end of each batch in the order of examples."""
    ends = list(range(batch_size, n + 1, batch_size))
    rest = n - (ends[-1] if ends else 0)
    if rest and not drop_last:
        if rest == 1 and merge_single and ends:
            ends[-1] = n
        else:
            ends.append(n)
    return ends
