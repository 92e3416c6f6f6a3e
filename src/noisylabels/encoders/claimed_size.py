"""Compare the size that the configuration of a model claims with its weights, before memory is taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from noisylabels.core.checks import InputError
from noisylabels.core.files import read_json
from noisylabels.core.opening import check_regular

_LAYERS = ("layer", "depth", "block", "stage")
"""Words in the names of settings that count layers; each layer has at least one tensor."""

_SMALL = 2**20
"""Sizes up to this are not doubted: they take little memory, and some, such as 131,072 positions, none."""


def check_claims(folder: Path, name: str, transformers: Any) -> None:
    """Raise an `InputError` if a model's configuration claims more than its weights can hold.

    A file of a few bytes can claim a network of petabytes. The numbers of the configuration are compared with
    the weights' first, because building the network takes time for every layer; then its tensors, which are
    built without memory.

    Args:
        folder: holds config.json and weights in safetensors.
        name: the encoder's, for errors.
        transformers: the module.
    """
    tensors, numbers = _held(folder)
    for key, value in _integers(read_json(folder / "config.json")):
        counts = any(word in key.lower() for word in _LAYERS)
        if value > max(numbers, _SMALL) or (counts and value > max(tensors, 1)):
            held = f"{tensors:,} tensors" if counts else f"{numbers:,} numbers"
            raise _too_large(name, f"{key} of {min(value, 10**18):,}", held)
    config = transformers.AutoConfig.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )
    with torch.device("meta"):
        network = transformers.AutoModel.from_config(config, trust_remote_code=False)
    claimed = sum(value.numel() for value in network.state_dict().values())
    if claimed > 2 * max(numbers, _SMALL):  # a classifier without its pooler, say, has a little less
        raise _too_large(name, f"{claimed:,} weights", f"{numbers:,}")


def _too_large(name: str, claimed: str, held: str) -> InputError:
    return InputError(
        f"the encoder {name!r} claims {claimed} in its config.json, but its files hold {held}; "
        "get its files again"
    )


def _held(folder: Path) -> tuple[int, int]:
    """Return the number of tensors, and of numbers, in the weights, from the headers of their files."""
    from safetensors import safe_open

    tensors = numbers = 0
    for path in sorted(folder.glob("*.safetensors")):
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118  not a mapping
        tensors += len(shapes)
        numbers += sum(int(torch.Size(shape).numel()) for shape in shapes)
    return tensors, numbers


def _integers(tree: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Yield the integers of a configuration with the names of their settings; counts in a list are added."""
    if isinstance(tree, bool):
        return
    if isinstance(tree, int):
        yield key, tree
    elif isinstance(tree, dict):
        for name, value in tree.items():
            yield from _integers(value, str(name))
    elif isinstance(tree, list):
        whole = [value for value in tree if isinstance(value, int) and not isinstance(value, bool)]
        if whole and any(word in key.lower() for word in _LAYERS):
            yield key, sum(whole)
            return
        for value in tree:
            yield from _integers(value, key)
