"""Fingerprints of examples whose ids are only positions, which show that the data are in another order."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from noisylabels.data.features import Examples

_POSITION = re.compile(r"[^/:]+:[0-9]+")  # row:7, train:7
_MOST_BYTES = 4096  # of an example that are hashed, evenly spaced


@dataclass(frozen=True)
class Fingerprints:
    """A byte per example that depends on its features or pixels, not on its label.

    Args:
        shape: of an example; those of another shape cannot be compared.
        values: N bytes.
    """

    shape: tuple[int, ...]
    values: bytes

    def differing(self, other: Fingerprints, at: np.ndarray) -> int | None:
        """Return the first example of `other` that is not the one at its row `at` here; None for none."""
        mine, theirs = (np.frombuffer(each.values, np.uint8) for each in (self, other))
        differ = np.flatnonzero(mine[at] != theirs)
        return int(differ[0]) if len(differ) else None

    def as_json(self) -> dict[str, Any]:
        """Return them as an object of JSON."""
        return {"shape": list(self.shape), "values": base64.b64encode(self.values).decode()}


def from_json(value: dict[str, Any]) -> Fingerprints:
    """Return what `as_json` wrote; a ValueError if its values are not Base64."""
    return Fingerprints(tuple(value["shape"]), base64.b64decode(value["values"], validate=True))


def numbered(ids: Sequence[str]) -> bool:
    """Return whether ids are rows that the reader has counted.

    >>> numbered(["row:0", "row:1"]), numbered(["a.png"])
    (True, False)
    """
    return all(map(_POSITION.fullmatch, ids))


def only_positions(ids: Sequence[str]) -> bool:
    """Return whether ids say nothing but where an example lies.

    >>> only_positions(["row:0", "row:1"]), only_positions(["a.png"])
    (True, False)
    """
    return numbered(ids) or len(set(ids)) < len(ids)


def fingerprints(examples: Examples) -> Fingerprints | None:
    """Return the fingerprints of a set; None if its ids identify the examples, or it has no features."""
    import torch

    shape = tuple(examples.inputs.shape[1:])
    if 0 in shape or not only_positions(examples.ids):
        return None
    if not isinstance(examples.inputs, torch.Tensor):  # in shards, whose keys are ids
        return None
    flat = examples.inputs.reshape(len(examples), -1)
    step = max(1, flat.shape[1] * flat.element_size() // _MOST_BYTES)
    made = bytearray()
    for start in range(0, len(flat), 1024):
        for row in np.ascontiguousarray(flat[start : start + 1024, ::step].numpy()):
            made += hashlib.blake2b(row.tobytes(), digest_size=1).digest()
    return Fingerprints(shape, bytes(made))
