"""Sums of measurements between two ends of an epoch, by measure, part and key."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One number of a recording, see `recording.COLUMNS`."""

    epoch: int
    measure: str
    part: str
    key: str
    value: float


class Sums:
    """Weighted means of numbers that arrive one by one, such as those of an epoch's measured steps.

    >>> sums = Sums()
    >>> sums.add("norm", "all", "", 2.0)
    >>> sums.add("norm", "all", "", 4.0)
    >>> [entry.value for entry in sums.entries(epoch=1)]
    [3.0]
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], list[float]] = {}

    def add(self, measure: str, part: str, key: str, value: float, weight: float = 1.0) -> None:
        """Add a number; one that is not finite, as after an overflow in float16, is left out."""
        if math.isfinite(value) and weight > 0:
            pair = self._found.setdefault((measure, part, key), [0.0, 0.0])
            pair[0] += weight * value
            pair[1] += weight

    def mean(self, measure: str, part: str = "all", key: str = "") -> float | None:
        """Return a mean, or None if nothing was added."""
        pair = self._found.get((measure, part, key))
        return None if pair is None else pair[0] / pair[1]

    def entries(self, epoch: int) -> Iterator[Entry]:
        """Yield all means, in the order of their first number."""
        for (measure, part, key), (total, weight) in self._found.items():
            yield Entry(epoch, measure, part, key, total / weight)

    def clear(self) -> None:
        """Forget all numbers."""
        self._found.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as one text, which a checkpoint writes faster than thousands of numbers."""
        return {"sums": json.dumps([[*key, *pair] for key, pair in self._found.items()])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._found = {
            (measure, part, key): [float(total), float(weight)]
            for measure, part, key, total, weight in json.loads(state["sums"])
        }
