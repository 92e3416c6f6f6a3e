"""Texts and images, as an estimator is given them: encoded as features by a frozen encoder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.encoders.catalog import (
    auto_for_images,
    auto_for_texts,
    canonical_features,
    find_encoder,
    parse_features,
    row_of,
)
from noisylabels.encoders.embedding import encode
from noisylabels.encoders.encoder import IMAGES, TEXTS, FrozenEncoder
from noisylabels.encoders.names import AUTO, NONE
from noisylabels.encoders.suitability import NUMBERS, check_content


def refuse_numbers(features: str) -> None:
    """Raise an `InputError` if an encoder was asked for, and X has neither images nor texts.

    >>> refuse_numbers("auto")
    """
    if (asked := canonical_features(features)) not in (AUTO, NONE):
        check_content(features, row_of(parse_features(asked).name).of, NUMBERS, "X")


class Embedded:
    """The features of texts or images; a pickle holds what the encoder was fitted to, and not its weights.

    Args:
        encoder: the encoder, fitted if it must be.
        shape: (C, H, W) of the images; () for texts.
    """

    def __init__(self, encoder: FrozenEncoder, shape: tuple[int, ...] = ()) -> None:
        self.encoder, self.shape = encoder, shape

    @classmethod
    def of_images(cls, images: np.ndarray, features: str, device: str) -> Embedded | None:
        """Return the features of images, uint8 (N, C, H, W); None if `features` is "none" or chooses that.

        Raises:
            InputError: an unknown encoder, one that is not installed, or one of texts.
        """
        channels, *size = images.shape[1:]
        if channels not in (1, 3) and features not in (AUTO, NONE):
            raise InputError(f"images have {channels} channels, expected 1 or 3 for {features}")
        name, line = auto_for_images(channels, min(size)) if features == AUTO else (features, "")
        if line:
            warnings.warn(line, UserWarning, stacklevel=5)
        if name == NONE:
            return None
        check_content(name, row_of(parse_features(name).name).of, IMAGES, "X")  # before it is built
        encoder = find_encoder(name, image_side=min(size), device=device)
        check_content(features, encoder.of, IMAGES, "X")
        return cls(encoder, images.shape[1:])

    @classmethod
    def of_texts(cls, texts: Sequence[str], features: str, device: str) -> Embedded | None:
        """Return the features of training texts; None if `features` is "none".

        Raises:
            InputError: an unknown encoder, one that is not installed, or one of images.
        """
        if features == NONE:
            return None
        name = auto_for_texts()[0] if features == AUTO else features
        check_content(name, row_of(parse_features(name).name).of, TEXTS, "X")
        encoder = find_encoder(name, device=device)
        check_content(features, encoder.of, TEXTS, "X")
        # each text once and sorted, so that neither order nor repetition changes what is fitted
        return cls(encoder.fitted(sorted(set(texts))))

    def __call__(self, inputs: Sequence[str] | np.ndarray) -> np.ndarray:
        """Return the features of N texts or images, float64 (N, D)."""
        content = torch.from_numpy(inputs) if isinstance(inputs, np.ndarray) else inputs
        return encode(content, self.encoder).numpy().astype(np.float64)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds."""
        fitted = dict(self.encoder.state())
        return {"identity": dict(self.encoder.identity), "fitted": fitted, "shape": self.shape}

    def __setstate__(self, saved: Mapping[str, Any]) -> None:
        """Find the encoder again.

        Raises:
            InputError: it is not installed, or has other weights by now.
        """
        identity, fitted = saved["identity"], saved["fitted"]
        self.shape = saved["shape"]
        side = min(self.shape[1:], default=None)
        found = find_encoder(identity["name"], image_side=side, precision=identity.get("precision", "auto"))
        self.encoder = found.with_state(fitted) if fitted else found
        if self.encoder.identity != identity:
            raise InputError(f"the encoder {identity['name']!r} has changed since training; train again")
