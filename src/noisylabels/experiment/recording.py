"""What a run records besides its history: the expression of `record`, and the files in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from noisylabels.core.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from noisylabels.training.dynamics import Dynamics

NONE, DYNAMICS = "none", "dynamics"


def check_record(record: str) -> None:
    """Raise an `InputError` unless `record` is none or an expression of a recording.

    >>> check_record("dynamics(stride=5)")
    >>> check_record("dynamic")
    Traceback (most recent call last):
    noisylabels.core.checks.InputError: unknown recording 'dynamic'; did you mean 'dynamics'?
    """
    recorders(record)


def recorders(record: str) -> list[Dynamics]:
    """Return the callbacks that record what an expression names; none for "none".

    Raises:
        InputError: an unknown name or parameter, or a value out of range.
    """
    from noisylabels.methods.expression import parameters_of
    from noisylabels.training.dynamics import STRIDE, Dynamics

    def dynamics(_run: object, _folder: object, stride: int = STRIDE, sharpness_epochs: int = 0) -> Dynamics:
        return Dynamics(stride, sharpness_epochs)

    if record == NONE:
        return []
    rows = Registry("recording", {NONE: None, DYNAMICS: dynamics})
    name, values = parameters_of(record, rows, "recording")
    return [] if name == NONE else [dynamics(None, None, **values)]  # type: ignore[arg-type]


def missing_recording(record: str, out: Path) -> bool:
    """Return whether a finished run lacks the file that `record` asks for."""
    from noisylabels.training.dynamics import FILE

    return bool(recorders(record)) and not (out / FILE).exists()


def write_recordings(recorded: Sequence[Dynamics], out: Path) -> None:
    """Write what was recorded into a run's folder."""
    for each in recorded:
        each.write(out)
