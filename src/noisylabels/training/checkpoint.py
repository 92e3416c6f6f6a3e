"""Checkpoints: written atomically, read without unpickling objects."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated, Any

import torch
from typing_extensions import TypedDict

from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.files import atomic_replace
from noisylabels.core.opening import may_pass, open_file
from noisylabels.core.rng import GLOBAL_STREAM
from noisylabels.core.schema import Count, Instance, checked
from noisylabels.training.history import Row

FORMAT = 3
READABLE = (2, FORMAT)

_Tensors = dict[str, Annotated[torch.Tensor, Instance(torch.Tensor)]]


class _Group(TypedDict):
    params: list[Count]
    lr: float


class _Optimizer(TypedDict):
    state: dict[int, dict[str, Any]]
    param_groups: list[_Group]


class _Average(TypedDict):
    model: _Tensors
    started: bool


class _Update(TypedDict):
    method: dict[str, Any]  # tensors, and what a user's module adds
    optimizers: list[_Optimizer]
    scaler: dict[str, Any]
    averages: list[_Average]


class _State(TypedDict):
    made_for: dict[str, Any]
    rows: list[Row]
    epoch: Count
    done: Count
    seconds: float
    update: _Update
    running_metrics: _Tensors
    random: _Tensors


class State(_State, total=False):
    """Content of a checkpoint; earlier versions lack the optional keys."""

    loss_constants: dict[str, str]
    constants: dict[str, str]
    data_seconds: float
    callbacks: dict[str, dict[str, Any]]
    best_weights: list[_Tensors]


def save_checkpoint(path: Path, state: dict[str, Any], device: torch.device) -> None:
    """Write tensors and plain values to `path`, with the random state of PyTorch, atomically."""
    _check_plain(state, "the checkpoint")
    random = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(device)
    with atomic_replace(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save({"format": FORMAT, "random": random, **state}, file)
        except RuntimeError as error:  # its message names a line of torch, not the full disk
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _check_plain(value: Any, where: str) -> None:
    """Raise an `InputError` if a value could not be read back with ``weights_only``."""
    if isinstance(value, dict):
        for key, each in value.items():
            _check_plain(each, f"{where}, {key!r}")
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            _check_plain(each, f"{where}, {place}")
    elif not (value is None or type(value) in (bool, int, float, str, bytes) or torch.is_tensor(value)):
        raise InputError(
            f"{where} is a {type(value).__name__}, which a checkpoint cannot hold; keep tensors, "
            "numbers, text, and lists or dictionaries of them"
        )


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Return a checkpoint and restore its random state; None if the file does not exist.

    It is read with ``weights_only``, so that a checkpoint from elsewhere cannot run code.

    Raises:
        CorruptedFile: it is damaged, or has another format.
        OSError: it cannot be read for another reason, such as a network drive that is away.
    """
    if not path.exists():
        return None
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            if (part := archive.testzip()) is not None:  # torch does not verify checksums
                raise ValueError(f"{part} does not match its checksum")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state["format"]
    except Exception as error:  # unpickling a damaged file can raise almost anything
        if isinstance(error, OSError) and may_pass(error):
            raise
        raise CorruptedFile(
            f"{path} is damaged or not a noisylabels checkpoint; remove it to start over"
        ) from None
    if type(found) is not int or found not in READABLE:
        shown = " ".join(repr(found).split())[:40]
        raise CorruptedFile(f"{path} has format {shown}, expected {FORMAT}; remove it to start over")
    state = state if found == FORMAT else _from_format_2(state, path)
    checked(state, State, path, "remove it to start over", CorruptedFile)
    try:
        with GLOBAL_STREAM:
            torch.set_rng_state(state["random"]["cpu"])
            if "cuda" in state["random"] and device.type == "cuda":
                torch.cuda.set_rng_state(state["random"]["cuda"], device)
    except (KeyError, TypeError, RuntimeError):
        raise CorruptedFile(f"{path} has no random state; remove it to start over") from None
    return state


def check_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise a ValueError unless tensors have the names and shapes of those expected."""
    shapes, wanted = ({name: tuple(each.shape) for name, each in some.items()} for some in (found, expected))
    if shapes != wanted:
        raise ValueError("tensors of other names or shapes")


def _from_format_2(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a checkpoint of version 0.1, with one network and one optimizer, in the current format."""
    try:
        step = state.pop("step")
        averages = [step["ema"]] if step["ema"] is not None else []
        network = {f"networks.0.{name}": value for name, value in step["model"].items()}
        state["update"] = {
            "method": network,
            "optimizers": [step["optimizer"]],
            "scaler": step["scaler"],
            "averages": averages,
        }
        state["running_metrics"] = state.pop("tally")
    except (KeyError, TypeError, AttributeError):
        raise CorruptedFile(
            f"{path} is damaged or not a noisylabels checkpoint; remove it to start over"
        ) from None
    return state
