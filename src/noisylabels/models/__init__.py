"""Models: the paper's 8-layer network, a small one for small images, a multi-layer perceptron."""

from __future__ import annotations

from noisylabels.models.catalog import MODELS, build_model

__all__ = ["MODELS", "build_model"]
