"""The inputs of methods that are estimated: their kinds, and the words that say how to obtain them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.noise.estimate import METHODS as ESTIMATORS
from noisylabels.noise.matrix_files import SUFFIXES

AUTO, ORACLE = "auto", "oracle"


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Args:
        title: what it is, for messages.
        sources: the words that a parameter accepts in its place; empty if there is nothing to choose.
        files: suffixes of the files that it can be read from.
    """

    title: str
    sources: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def check(self, source: str, what: str) -> None:
        """Raise an `InputError` unless a text is a source, or the name of a file that can be read."""
        if source in self.sources or Path(source).suffix.lower() in self.files:
            return
        near = did_you_mean(source, self.sources)
        raise InputError(f"{what} is {source!r}, expected {' or '.join(self._expected)}{near}")

    @property
    def _expected(self) -> list[str]:
        files = [f"a file ({', '.join(self.files)})"] if self.files else []
        return [f"{self.title}, as one of {', '.join(self.sources)}", *files]


KINDS: Mapping[str, Kind] = {
    "transition": Kind("a transition matrix", (AUTO, ORACLE, *ESTIMATORS), SUFFIXES),
    "noise_rate": Kind("a noise rate", (AUTO, ORACLE, *ESTIMATORS)),
    "label_quality": Kind("an audit of the labels", (AUTO, ORACLE)),
    "network": Kind("a second network"),
}
"""auto: estimated from the noisy data, see `experiment.method_inputs`; oracle: that of the added noise, which
no real data set has; the others are methods of `estimate_transition`."""


def check_classes(transition: np.ndarray, num_classes: int) -> None:
    """Raise an `InputError` unless a transition matrix has the classes of the data."""
    if len(transition) != num_classes:
        raise InputError(
            f"the transition matrix has {len(transition)} classes, and the data have {num_classes}; "
            "expected the same"
        )


def files_of(needs: Mapping[str, tuple[str, str | None]]) -> list[str]:
    """Return the files among the sources of inputs, see `MethodSpec.needs`."""
    return [source for kind, source in needs.values() if source and source not in KINDS[kind].sources]


def check_no_ignored(loss: object, name: str) -> None:
    """Raise an `InputError` if a loss ignores a class, for a method that needs a loss under every label."""
    index = getattr(loss, "ignore_index", None)
    if isinstance(index, int) and index >= 0:
        raise InputError(
            f"ignore_index is {index}, and the method {name} needs a loss under every label; "
            "leave out ignore_index and those examples"
        )
