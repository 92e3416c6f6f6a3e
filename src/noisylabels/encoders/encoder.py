"""The interface of a frozen encoder: examples in, one row of features per example out."""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

IMAGES, TEXTS = "images", "texts"
EITHER = "images or texts"
"""What a family of encoders takes, of which each takes one of them."""


def key_of(identity: Mapping[str, Any]) -> str:
    """Return a hash of an encoder's identity, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class FrozenEncoder(abc.ABC):
    """A function from examples to features that no training changes.

    Args:
        name: its name, by which `find_encoder` finds it again.
        of: what it encodes, `IMAGES` or `TEXTS`.
        about: all that determines the features besides the examples, as JSON: the digest of the weights, the
            preprocessing, the precision. Features of encoders with different `about` never mix.
        dimension: the number of features D.
        batch_size: examples per call of `encode`.
    """

    def __init__(
        self, name: str, of: str, about: Mapping[str, Any], dimension: int, batch_size: int = 32
    ) -> None:
        self.name, self.of, self.dimension, self.batch_size = name, of, dimension, batch_size
        self.identity: dict[str, Any] = {"name": name, "of": of, "dimension": dimension, **about}

    @property
    def key(self) -> str:
        """A hash of the identity, 16 hexadecimal digits."""
        return key_of(self.identity)

    @abc.abstractmethod
    def encode(self, batch: Tensor | Sequence[str]) -> Tensor:
        """Return the features of a batch, float32 (B, D) on the CPU.

        Args:
            batch: images, uint8 (B, C, H, W) with C 1 or 3, of any size; or B texts.
        """

    def fitted(self, examples: Sequence[str]) -> FrozenEncoder:
        """Return the encoder fitted to training texts, without their labels; itself if it needs no fit."""
        return self

    def state(self) -> dict[str, Tensor]:
        """Return what `fitted` has learned, to be stored with a trained model; nothing by default."""
        return {}

    def with_state(self, state: Mapping[str, Tensor]) -> FrozenEncoder:
        """Return the encoder that `fitted` returned, from its `state`; itself if it needs no fit."""
        return self
