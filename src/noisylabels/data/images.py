"""ImageSet: labeled images in memory, the common form of all image data sets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from noisylabels.core.checks import InputError, Unlabeled
from noisylabels.core.large_arrays import large_array
from noisylabels.core.positions import Positions, check_positions, own
from noisylabels.data.image_arrays import as_bytes
from noisylabels.data.pixel_range import White
from noisylabels.data.pixel_source import Pixels, in_memory

_IN_MEMORY_BYTES = 1 << 30
SAMPLED = 1024  # images of a source whose pixels stand for all in its statistics
_CHUNK_BYTES = 1 << 24  # memory-mapped sets are processed in pieces of about this size


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, checked once on construction.

    Args:
        images: uint8, (N, C, H, W) with C 1 (gray) or 3 (RGB); may be memory-mapped, or a source of images
            that are decoded when they are needed, see `pixel_source`.
        labels: int64, (N,), 0 <= label < K.
        class_names: the K names; K is at least 2. A class may have no example in this set.
        ids: N names that identify the examples for the user, such as "train/cat/001.jpg" or "train:17".
        name: the name of the set: "digits", "cifar10", or the folder's name.
        digest: sha256 (hexadecimal) of shape, pixels, labels and class names; `image_set` computes it.
        notes: lines that a user should read: images left out or resized, empty classes.
        arranged: how noise changed which images the set has, `NoisyLabels.arrangement`; "" for not at all.
        positions: where the examples lie in their source; None for a set that is its own source.
        white: the values that became 255 in images of more than 8 bits, `White.of`; None if there are none.

    Raises:
        InputError: a tensor has another type, shape or length, or a label is outside 0..K-1.
    """

    images: Pixels
    labels: torch.Tensor
    class_names: tuple[str, ...]
    ids: Sequence[str]
    name: str
    digest: str
    notes: tuple[str, ...] = ()
    arranged: str = ""
    positions: Positions | None = None
    white: White | None = None

    def __post_init__(self) -> None:
        _check_images(self.images)
        check_set_labels(len(self.images), self.labels, self.class_names, self.ids, "images")
        check_positions(len(self.images), self.positions)

    @property
    def inputs(self) -> Pixels:
        """The inputs of a model: the images, (N, C, H, W)."""
        return self.images

    @property
    def rows(self) -> np.ndarray | None:
        """The position of each example in its source, int64 (N,); None without a single order.

        It is the row of the file from 0, without its heading, or the place among the sorted relative paths.
        """
        return np.arange(len(self)) if self.positions is None else self.positions.rows

    @property
    def source_rows(self) -> int | None:
        """How many examples the source has in all, unreadable ones included; None without `rows`."""
        return len(self) if self.positions is None else self.positions.total

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.images)

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of each channel over all pixels, in units of [0, 1].

        They are computed from an integer histogram with exact integer sums, so they are identical on every
        platform and with any number of threads; for a source of images, from 1,024 of them that lie evenly in
        its order. A constant channel has the deviation 1, so that normalizing
        it gives zeros instead of NaN.

        Returns:
            C means and C (population) standard deviations.

        >>> one = image_set(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1), [0, 1], ("a", "b"))
        >>> one.mean_std()
        ((0.5,), (0.5,))
        """
        means, deviations = [], []
        for histogram in _histograms(_some(self.images)):
            n = sum(histogram)
            first = sum(value * count for value, count in enumerate(histogram))
            second = sum(value * value * count for value, count in enumerate(histogram))
            variance = n * second - first * first  # of the values times n, an exact integer
            means.append(first / (255 * n))
            deviations.append(math.sqrt(variance / (255 * n) ** 2) if variance else 1.0)
        return tuple(means), tuple(deviations)


def image_set(
    images: Pixels | np.ndarray,
    labels: torch.Tensor | np.ndarray | Sequence[int],
    class_names: Sequence[str],
    ids: Sequence[str] | None = None,
    name: str = "images",
    notes: Sequence[str] = (),
    positions: Positions | None = None,
    white: White | None = None,
) -> ImageSet:
    """Return an `ImageSet` of tensors or arrays with its digest.

    Args:
        images: uint8, (N, C, H, W), C 1 or 3; or a source of images. A NumPy array may also be (N, H, W) or
            (N, H, W, C), and hold bool, wider integers or floats, which are scaled to uint8 with a note.
        labels: N integers in 0..K-1.
        class_names: the K names.
        ids: N names of the examples; by default "0", "1", ...
        name: the name of the set.
        notes: lines that the user should read.
        positions: where the examples lie in their source; None for a set that is its own source.
        white: see `ImageSet`; for an array that is scaled, it is found.

    Returns:
        The set.

    Raises:
        InputError: as for `ImageSet`.

    >>> pair = image_set(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 1], ("cat", "dog"))
    >>> len(pair), pair.num_classes, list(pair.ids)
    (2, 2, ['0', '1'])
    """
    if isinstance(images, np.ndarray):
        pixels, scaled, found = as_bytes(images, "the array of images")
        white = found or white
        # torch warns of memory that must not be written, such as a file's
        images = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        notes = (*notes, *scaled)
    made = ImageSet(
        images=images,
        labels=class_numbers(labels),
        class_names=tuple(class_names),
        ids=[str(i) for i in range(len(images))] if ids is None else ids,
        name=name,
        digest="",
        notes=tuple(notes),
        positions=positions,
        white=white,
    )
    return changed(made)  # checked before hashing: the digest of an invalid array has no use


def changed(one: ImageSet, **fields: Any) -> ImageSet:
    """Return a set with other pixels, labels, names or ids, and its digest; not as arranged by noise."""
    made = dataclasses.replace(one, **fields, arranged="")
    return dataclasses.replace(made, digest=content_digest(made.images, made.labels, made.class_names))


def class_numbers(labels: Any) -> torch.Tensor:
    """Return class numbers as a tensor, or raise an `InputError` for text and other objects.

    >>> class_numbers([0, 1])
    tensor([0, 1])
    """
    try:
        return torch.as_tensor(np.array(labels) if hasattr(labels, "to_numpy") else labels)
    except (TypeError, ValueError, RuntimeError):
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise InputError(
            f"labels are {kind} without a class number for each example, expected a torch.int64 tensor of "
            "class numbers; nl.load((X, labels)) reads names of classes too"
        ) from None


def room_for(shape: Sequence[int]) -> torch.Tensor:
    """Return room for images, uint8 of the given shape, see `large_array`."""
    return torch.from_numpy(large_array(shape, np.uint8, _IN_MEMORY_BYTES))


def subset(images: ImageSet, index: Sequence[int] | np.ndarray) -> ImageSet:
    """Return the examples of a set at the positions `index`, in that order; classes may become empty.

    >>> pair = image_set(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 1], ("cat", "dog"))
    >>> list(subset(pair, [1]).ids)
    ['1']
    """
    at = torch.as_tensor(index, dtype=torch.int64)
    return changed(
        images,
        images=_taken(images.images, at),
        labels=images.labels.index_select(0, at),
        ids=[images.ids[i] for i in at.tolist()],
        positions=(images.positions or own(len(images))).take(at.numpy()),
    )


def _taken(images: Pixels, at: torch.Tensor) -> Pixels:
    if not isinstance(images, torch.Tensor):
        return images.take(at)
    return torch.index_select(images, 0, at, out=room_for((len(at), *images.shape[1:])))


def replaced(images: ImageSet, places: np.ndarray, foreign: ImageSet) -> ImageSet:
    """Return a set with images of another: at i, image `places[i]` of `foreign`, or for -1 its own.

    Labels stay unchanged; the id of a foreign image is "SET:ID", with the name of its set.
    """
    at = torch.as_tensor(places, dtype=torch.int64)
    here = (at >= 0).nonzero().squeeze(1)
    pixels = in_memory(images.images, "noise that replaces images").clone()
    pixels[here] = foreign.images.index_select(0, at[here])
    ids = [
        own if place < 0 else f"{foreign.name}:{foreign.ids[place]}"
        for own, place in zip(images.ids, at.tolist(), strict=True)
    ]
    return changed(images, images=pixels, ids=ids)


def like(images: ImageSet, other: ImageSet) -> ImageSet:
    """Return a set with the channels of another: gray repeated, or color as its luma (ITU-R BT.601).

    Raises:
        InputError: the images have different sizes.
    """
    size, wanted = tuple(images.images.shape[2:]), tuple(other.images.shape[2:])
    if size != wanted:
        raise InputError(
            f"the images of {images.name} are {size[0]}x{size[1]}, those of {other.name} are "
            f"{wanted[0]}x{wanted[1]}; load both with the same image_size"
        )
    channels = other.images.shape[1]
    if images.images.shape[1] == channels:
        return images
    pixels = in_memory(images.images, "a change of colors")
    if channels == 3:
        pixels = pixels.expand(-1, 3, -1, -1).contiguous()
    else:
        luma = torch.tensor([299, 587, 114], dtype=torch.int32).view(3, 1, 1)
        pixels = torch.cat(
            [((piece * luma).sum(1, keepdim=True) // 1000).to(torch.uint8) for piece in _pieces(pixels)]
        )
    return changed(images, images=pixels)


def content_digest(images: Pixels, labels: torch.Tensor, class_names: Sequence[str]) -> str:
    """Return the sha256 of an image set's content: shape, class names, labels, pixels.

    For a source of images, its `content` stands for the pixels.
    """
    if not isinstance(images, torch.Tensor):
        return digest_of(tuple(images.shape), labels.numpy(), class_names, [images.content()])
    pieces = (np.ascontiguousarray(piece.numpy()).data for piece in _pieces(images))
    return digest_of(tuple(images.shape), labels.numpy(), class_names, pieces)


def digest_of(
    shape: Sequence[int],
    labels: np.ndarray,
    class_names: Sequence[str],
    pixels: Iterable[bytes | memoryview],
) -> str:
    """Return the `content_digest` of images of the `shape` (N, C, H, W) from pieces of their pixels."""
    head = json.dumps({"shape": list(shape), "classes": list(class_names)})
    digest = hashlib.sha256(head.encode())
    digest.update(labels.astype("<i8").tobytes())
    for piece in pixels:
        digest.update(piece)
    return digest.hexdigest()


def _pieces(images: torch.Tensor) -> Iterator[torch.Tensor]:
    step = max(1, _CHUNK_BYTES // images[0].numel())
    for start in range(0, len(images), step):
        yield images[start : start + step]


def _some(images: Pixels) -> torch.Tensor:
    if isinstance(images, torch.Tensor):
        return images
    at = np.unique(np.linspace(0, len(images) - 1, SAMPLED, dtype=np.int64))
    return images.index_select(0, torch.from_numpy(at))


def _histograms(images: torch.Tensor) -> list[list[int]]:
    """Return the counts of the values of each channel: C lists of 256."""
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for piece in _pieces(images):
        for c in range(channels):
            counts[c] += torch.bincount(piece[:, c].reshape(-1), minlength=256).cpu()
    rows: list[list[int]] = counts.tolist()  # Python integers: the sums above must not overflow
    return rows


def check_class_names(class_names: Sequence[str]) -> None:
    """Raise an `InputError` unless there are two or more names, all different."""
    if len(class_names) < 2:
        found = f"a single class, {class_names[0]!r}" if class_names else "no class"
        raise Unlabeled(f"there is {found}; a classifier needs at least 2")
    if twice := [name for name, count in Counter(class_names).items() if count > 1]:
        raise InputError(f"the class name {twice[0]!r} occurs twice; give each class its own name")


def _check_images(images: Pixels) -> None:
    if isinstance(images, torch.Tensor):
        _check_pixels(images)
    elif not hasattr(images, "index_select"):
        raise InputError(
            f"images are a {type(images).__name__}, expected a torch.Tensor of uint8 (N, C, H, W)"
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(
            f"images have the shape {tuple(images.shape)}, expected (N, C, H, W) with 1 or 3 channels"
        )
    if math.prod(images.shape) == 0:
        raise InputError(f"the image set is empty: its shape is {tuple(images.shape)}; add an image")


def _check_pixels(images: torch.Tensor) -> None:
    if images.dtype != torch.uint8:
        found = str(images.dtype).removeprefix("torch.")
        if images.is_floating_point() and bool(images.isnan().any()):
            found += " and hold NaN"
        raise InputError(
            f"images are {found}, expected uint8 values 0..255; "
            "scale them and convert with .round().clamp(0, 255).to(torch.uint8)"
        )


def check_set_labels(
    n: int, labels: torch.Tensor, class_names: tuple[str, ...], ids: Sequence[str], what: str
) -> None:
    """Raise an `InputError` unless labels, names and ids match `n` examples, which an error calls `what`."""
    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.int64:
        found = str(labels.dtype) if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise InputError(f"labels are {found}, expected a torch.int64 tensor of class numbers")
    if labels.shape != (n,):
        raise InputError(
            f"labels have the shape {tuple(labels.shape)}, expected ({n},): one for each of the {what}"
        )
    if len(ids) != n:
        raise InputError(f"there are {len(ids)} ids for {n} {what}, expected one for each")
    check_class_names(class_names)
    K = len(class_names)
    wrong = (labels < 0) | (labels >= K)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0, 0])
        raise InputError(
            f"the label of {ids[first]!r} is {int(labels[first])}, expected 0 to {K - 1} for {K} classes "
            f"({int(wrong.sum())} such labels in all)"
        )
