"""Convolutional and residual networks of the label-noise literature, timm's models, and user-defined ones."""

from __future__ import annotations

from noisylabels.models.catalog import MODELS, build_model

__all__ = ["MODELS", "build_model"]
