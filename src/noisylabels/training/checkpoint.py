"""Checkpoints: written whole or not at all, read without unpickling objects."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from noisylabels.core.checks import InputError
from noisylabels.core.files import replacing

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, with the random state of PyTorch, atomically."""
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        random["cuda"] = torch.cuda.get_rng_state()
    with replacing(path) as temporary:
        torch.save({"format": FORMAT, "random": random, **state}, temporary)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Read a checkpoint and restore the random state; None if there is none.

    ``weights_only``: a checkpoint from elsewhere cannot run code.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise InputError(
                f"{path} has format {state['format']}, expected {FORMAT}; remove it to start over"
            )
        random = state["random"]
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], device)
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile):
        raise InputError(
            f"{path} is damaged or no checkpoint of this program; remove it to start over"
        ) from None
    return state
