"""Texts, as an estimator is given them: encoded as features by a frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.encoders.catalog import auto_for_texts, find_encoder
from noisylabels.encoders.embedding import encode
from noisylabels.encoders.encoder import IMAGES, FrozenEncoder
from noisylabels.encoders.names import AUTO, NONE


class TextFeatures:
    """The features of texts; a pickle holds what the encoder was fitted to, and not its weights.

    Args:
        encoder: an encoder of texts, fitted if it must be.
    """

    def __init__(self, encoder: FrozenEncoder) -> None:
        self.encoder = encoder

    @classmethod
    def fit(cls, texts: Sequence[str], features: str, device: str) -> TextFeatures | None:
        """Return the features of training texts; None if `features` is "none".

        Raises:
            InputError: an unknown encoder, one that is not installed, or one of images.
        """
        if features == NONE:
            return None
        name = auto_for_texts()[0] if features == AUTO else features
        encoder = find_encoder(name, device=device)
        if encoder.of == IMAGES:
            raise InputError(f"features is {features!r}, which encodes images, expected one of texts")
        return cls(encoder.fitted(texts))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return the features of N texts, float64 (N, D)."""
        return encode(texts, self.encoder).numpy().astype(np.float64)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds."""
        return {"identity": dict(self.encoder.identity), "fitted": dict(self.encoder.state())}

    def __setstate__(self, saved: Mapping[str, Any]) -> None:
        """Find the encoder again.

        Raises:
            InputError: it is not installed, or has other weights by now.
        """
        identity, fitted = saved["identity"], saved["fitted"]
        found = find_encoder(identity["name"], precision=identity.get("precision", "auto"))
        self.encoder = found.with_state(fitted) if fitted else found
        if self.encoder.identity != identity:
            raise InputError(f"the encoder {identity['name']!r} has changed since training; train again")
