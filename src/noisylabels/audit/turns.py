"""Mirror and rotate images so that all mirrored and rotated copies of one look the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Turns:
    """How each of N images is mirrored and transposed, in this order.

    Args:
        left_right, up_down, transposed: (N,) bool.
    """

    left_right: np.ndarray
    up_down: np.ndarray
    transposed: np.ndarray

    @classmethod
    def of(cls, thumbnails: np.ndarray, square: bool) -> Turns:
        """Return the turns after which the left and the upper half are the brighter ones.

        In square images the difference between left and right is then also the greater one. An image and its
        mirrored or rotated copy become equal, unless two halves are equally bright.

        Args:
            thumbnails: gray, (N, H, H).
            square: whether the images may be transposed.

        >>> shown = np.array([[[3.0, 1.0], [1.0, 0.0]], [[1.0, 3.0], [0.0, 1.0]]])
        >>> Turns.of(shown, square=True).left_right.tolist()
        [False, True]
        """
        half = thumbnails.shape[1] // 2
        across = thumbnails[:, :, :half].sum((1, 2)) - thumbnails[:, :, -half:].sum((1, 2))
        down = thumbnails[:, :half].sum((1, 2)) - thumbnails[:, -half:].sum((1, 2))
        swapped = np.abs(down) > np.abs(across) if square else np.zeros(len(across), bool)
        return cls(across < 0, down < 0, swapped)

    def apply(self, images: Tensor) -> Tensor:
        """Return the images turned, (N, C, H, W); of a square shape if any is transposed."""
        turned = images
        for which, dims in ((self.left_right, (3,)), (self.up_down, (2,))):
            turned = torch.where(_column(which), turned.flip(dims), turned)
        if self.transposed.any():
            turned = torch.where(_column(self.transposed), turned.transpose(2, 3), turned)
        return turned

    def differ(self, pairs: np.ndarray) -> np.ndarray:
        """Return whether both images of each pair (P, 2) are turned differently, (P,) bool."""
        codes = self.left_right + 2 * self.up_down + 4 * self.transposed
        different: np.ndarray = codes[pairs[:, 0]] != codes[pairs[:, 1]]
        return different

    def some(self, places: np.ndarray) -> Turns:
        """Return the turns of some images."""
        return Turns(self.left_right[places], self.up_down[places], self.transposed[places])

    def take(self, pairs: np.ndarray) -> tuple[Turns, Turns]:
        """Return the turns of the first and of the second image of each pair, (P, 2)."""
        return self.some(pairs[:, 0]), self.some(pairs[:, 1])


def _column(which: np.ndarray) -> Tensor:
    return torch.from_numpy(which)[:, None, None, None]
