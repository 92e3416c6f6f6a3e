"""Augmentation: random crops, flips and strong operations, drawn on the CPU and applied on the device.

How an example is augmented in an epoch depends only on the seed, the epoch and the example's position in its
set: not on the batch size, the order, the device, or where a run was resumed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.rng import generator
from noisylabels.data.feature_noise import FeatureNoise
from noisylabels.data.resized_crop import draw_windows, resized
from noisylabels.data.strong import StrongDraws, apply_strong, draw_strong

MAX_CROP = 1024  # more padding than any image needs; a typo must not fill the memory
MAX_RANDOM = 16  # more operations than leave anything to recognize


class Draws(NamedTuple):
    """The augmentation of each of n examples in one epoch."""

    flip: torch.Tensor  # bool, (n,): mirrored left to right
    shift: torch.Tensor  # int64, (n, 2): first row and column of the window in the padded image
    strong: StrongDraws | None = None  # without strong operations
    window: torch.Tensor | None = None  # float32, (n, 4): of a resized crop; None without, or once it is done

    def at(self, index: torch.Tensor) -> Draws:
        """Return the draws of the examples at `index`, (B,)."""
        strong = None if self.strong is None else self.strong.at(index)
        window = None if self.window is None else self.window.index_select(0, index)
        return Draws(self.flip.index_select(0, index), self.shift.index_select(0, index), strong, window)

    def to(self, device: torch.device) -> Draws:
        """Return the draws on `device`."""
        strong = None if self.strong is None else self.strong.to(device)
        window = None if self.window is None else self.window.to(device)
        return Draws(self.flip.to(device), self.shift.to(device), strong, window)


@dataclass(frozen=True)
class Augment:
    """Random crop after padding with `crop` black pixels on each side, then a flip with probability 1/2.

    The order and the padding are those of Ma et al. (2020), who crop and flip before normalizing, so
    the border is black, not gray.

    Args:
        crop: pixels of padding on each side, 0 for no crop.
        flip: whether images are mirrored.
        rand: random operations per image after that, see `data.strong`.
        cutout: side of the square that is cut out at last, in pixels.
        resized_crop: the least share of the image's area in a window that is cut out first and resized, in
            (0, 1), see `data.resized_crop`; 0 for none.
    """

    crop: int = 0
    flip: bool = False
    rand: int = 0
    cutout: int = 0
    resized_crop: float = 0.0

    def __bool__(self) -> bool:
        return self.flip or self.crop > 0 or self.resized_crop > 0 or self._is_strong

    @property
    def _is_strong(self) -> bool:
        return self.rand > 0 or self.cutout > 0

    def __str__(self) -> str:
        parts = [f"{RESIZED_CROP}:{self.resized_crop:g}"] if self.resized_crop else []
        parts += [f"crop:{self.crop}"] if self.crop else []
        parts += ["flip"] if self.flip else []
        parts += [f"{name}:{value}" for name in ("rand", "cutout") if (value := getattr(self, name))]
        return "+".join(parts) or "none"

    def draw(self, n: int, seed: int, epoch: int, view: int = 0) -> Draws:
        """Draw the augmentation of each of the n examples of a set in `epoch`, on the CPU.

        Args:
            n: the number of examples in the set.
            seed: the run's seed; the draws come from its stream ("augment", epoch), those of strong
                operations from another.
            epoch: 0 or more.
            view: 0 or more; view k > 0 draws from the stream ("augment", epoch, k).

        Returns:
            `Draws` indexed by the example's position in the set. Flips are always drawn, and first, so
            that the same images are mirrored with and without the crop.
        """
        stream = generator(seed, "augment", epoch, *([view] if view else []))
        flip = torch.rand(n, generator=stream) < 0.5
        shift = torch.randint(0, 2 * self.crop + 1, (n, 2), generator=stream)
        strong = draw_strong(n, self.rand, seed, epoch, view) if self._is_strong else None
        window = draw_windows(n, seed, epoch, view) if self.resized_crop else None
        return Draws(flip if self.flip else torch.zeros_like(flip), shift, strong, window)

    def apply(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Cut out a window, crop and flip a batch, then apply strong operations.

        Args:
            images: any dtype, (B, C, H, W); uint8 for strong operations.
            draws: the draws of these B examples, on the same device.

        Returns:
            The same dtype and shape; without a loop over examples or a synchronization.
        """
        if draws.window is not None:
            images = resized(images, draws.window, self.resized_crop)
        if self.flip or self.crop:
            images = self._cropped(images, draws)
        return images if draws.strong is None else apply_strong(images, draws.strong, self.cutout)

    def _cropped(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        B, C, H, W = images.shape
        pad = self.crop
        padded = functional.pad(images, (pad, pad, pad, pad)) if pad else images
        rows = torch.arange(H, device=images.device) + draws.shift[:, :1]
        columns = torch.arange(W, device=images.device) + draws.shift[:, 1:]
        columns = torch.where(draws.flip[:, None], columns.flip(1), columns)
        # one gather on the flattened image is 5 times as fast on a CPU as indexing with 4 broadcast tensors
        window = rows[:, :, None] * (W + 2 * pad) + columns[:, None, :]
        window = window.view(B, 1, H * W).expand(B, C, H * W)
        return padded.reshape(B, C, -1).gather(2, window).view(B, C, H, W)


Augmentation = Augment | FeatureNoise
"""Random changes of images, or of rows of features; false if it changes nothing."""

RESIZED_CROP = "resized-crop"

NUMBERS = {
    "crop": ("a padding from 1 to {most} pixels", "crop:4", MAX_CROP),
    "rand": ("a number of operations from 1 to {most}", "rand:2", MAX_RANDOM),
    "cutout": ("a side from 1 to {most} pixels", "cutout:16", MAX_CROP),
}
"""Parts with a whole number: what it is, an example, and the largest one."""

_DECIMAL = re.compile(r"(\d+\.?\d*|\.\d+)(e-?\d+)?", re.ASCII)

SHARES = {"noise": (0.0, 100.0), "dropout": (0.0, 1.0)}
"""Parts of the augmentation of features, each with a number between these."""

KNOWN = (
    "none",
    "flip",
    "crop:4",
    "crop:4+flip",
    "resized-crop:0.08+flip",
    "rand:2",
    "cutout:16",
    "noise:0.1",
    "dropout:0.1",
)


def parse_augment(spec: str) -> Augmentation:
    """Parse an augmentation.

    Args:
        spec: "none", or parts joined with "+". Of images: "flip", "crop:P" (P pixels of padding), "rand:N" (N
            random operations), "cutout:S" (a square of side S). Of features: "noise:S" (S standard
            deviations), "dropout:P" (a share P of the columns).

    Returns:
        The augmentation; its `str` gives the text again.

    Raises:
        InputError: a part is unknown or repeated, its number is out of range, or parts for images and for
            features are mixed.

    >>> parse_augment("crop:4+flip")
    Augment(crop=4, flip=True, rand=0, cutout=0, resized_crop=0.0)
    >>> str(parse_augment("none")), str(parse_augment("dropout:0.1 + noise:0.2"))
    ('none', 'noise:0.2+dropout:0.1')
    """
    parts = [part.strip() for part in spec.lower().split("+")]
    found: dict[str, int | float | bool] = {}
    for part in parts:
        name, colon, value = part.partition(":")
        if parts.count(part) > 1 or name.replace("-", "_") in found:
            raise InputError(f"augmentation {spec!r} names {name!r} twice")
        if name in NUMBERS:
            found[name] = _whole(spec, name, value)
        elif name in SHARES:
            found[name] = _share(spec, name, value, SHARES[name])
        elif name == RESIZED_CROP:
            found["resized_crop"] = _share(spec, name, value, (0.0, 1.0), "0.08")
        elif part == "flip":
            found[name] = True
        elif part != "none" or len(parts) > 1:
            hint = "" if name != "none" or colon else "; 'none' stands alone"
            raise InputError(f"unknown augmentation {part!r} in {spec!r}{hint or did_you_mean(part, KNOWN)}")
    of_features = {name: float(value) for name, value in found.items() if name in SHARES}
    if of_features and len(of_features) < len(found):
        raise InputError(
            f"augmentation {spec!r} has parts for images and for features, expected one kind; noise and "
            "dropout are for features"
        )
    return FeatureNoise(**of_features) if of_features else Augment(**found)  # type: ignore[arg-type]


def _whole(spec: str, name: str, value: str) -> int:
    what, example, most = NUMBERS[name]
    # Python refuses to read a number of thousands of digits
    if not (value.isascii() and value.isdigit() and len(value) < 99 and 1 <= int(value) <= most):
        needed = what.format(most=most)
        raise InputError(f"augmentation {spec!r}: {name} needs {needed}, as in {example!r}")
    return int(value)


def _share(spec: str, name: str, value: str, between: tuple[float, float], example: str = "0.1") -> float:
    low, high = between
    number = float(value) if _DECIMAL.fullmatch(value) else -1.0
    if not low < number < high:
        raise InputError(
            f"augmentation {spec!r}: {name} needs a number above {low:g} and below {high:g}, as in "
            f"'{name}:{example}'"
        )
    return number


def normalize(
    images: torch.Tensor,
    mean: Sequence[float] | torch.Tensor,
    std: Sequence[float] | torch.Tensor,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Scale uint8 images to [0, 1] and standardize each channel: (x / 255 - mean) / std.

    Rows of features, float32 (B, C), are standardized column by column: (x - mean) / std.

    Args:
        images: uint8, (B, C, H, W), or float32, (B, C).
        mean: C numbers in [0, 1].
        std: C numbers above 0. Tensors on the images' device save a copy per call.
        dtype: of the result; the arithmetic itself is done in float32.

    Returns:
        The same shape of `dtype`.

    >>> normalize(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), [0.5], [0.25]).item()
    2.0
    """
    center = torch.as_tensor(mean, dtype=torch.float32, device=images.device)
    spread = torch.as_tensor(std, dtype=torch.float32, device=images.device)
    if images.is_floating_point():
        return ((images - center) / spread).to(dtype)
    center, spread = center.view(1, -1, 1, 1), spread.view(1, -1, 1, 1)
    return images.float().div_(255).sub_(center).div_(spread).to(dtype)
