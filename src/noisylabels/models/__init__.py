"""Models: convolutional and residual networks of the label-noise literature, timm's, the user's own."""

from __future__ import annotations

from noisylabels.models.catalog import MODELS, build_model

__all__ = ["MODELS", "build_model"]
