"""Trackers: TensorBoard, MLflow and Weights & Biases get the history of a run, each epoch once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from noisylabels.core.checks import InputError, check_choice, one_line
from noisylabels.core.locks import exclusive_lock
from noisylabels.experiment.folder import RunResult
from noisylabels.experiment.reporter import Reporter, Silent
from noisylabels.experiment.trackers.mlflow import MLflow
from noisylabels.experiment.trackers.tensorboard import TensorBoard
from noisylabels.experiment.trackers.tracker import Tracker
from noisylabels.experiment.trackers.wandb import WandB

__all__ = ["TRACKERS", "Tracker", "catch_up", "check_trackers", "open_trackers"]

TRACKERS: dict[str, type[Tracker]] = {tracker.name: tracker for tracker in (TensorBoard, MLflow, WandB)}
"""What ``--track`` takes -> the tracker."""


def check_trackers(names: Sequence[str]) -> list[type[Tracker]]:
    """Return the trackers of these names, ready to be used.

    Raises:
        InputError: there is no such tracker, its package is not installed, or it is not logged in.
    """
    trackers = []
    for name in dict.fromkeys((names,) if isinstance(names, str) else names):
        tracker = TRACKERS[check_choice(name, TRACKERS, "tracker")]
        try:
            tracker.check()
        except ImportError as error:
            raise InputError(
                f"the tracker {name} is not installed ({error}): pip install 'noisylabels[track]'"
            ) from None
        except (AttributeError, OSError, RuntimeError, TypeError) as error:  # its parts do not fit
            raise InputError(
                f"the tracker {name} is installed but cannot be imported: {one_line(error)}"
            ) from error
        trackers.append(tracker)
    return trackers


def open_trackers(names: Sequence[str], out: Path, notify: Callable[[str], None]) -> list[Tracker]:
    """Return a tracker per name for the run in `out`.

    Args:
        names: keys of `TRACKERS`.
        out: the folder of the run.
        notify: called with messages for the user.

    Raises:
        InputError: there is no such tracker, its package is not installed, or it is not logged in.
    """
    return [tracker(out, notify) for tracker in check_trackers(names)]


def catch_up(result: RunResult, names: Sequence[str], reporter: Reporter | None = None) -> None:
    """Bring trackers up to date with the folder of a finished run; what they hold already stays.

    Args:
        result: of the run.
        names: tensorboard, mlflow, wandb.
        reporter: receives a note on where each copy is.

    Raises:
        InputError: there is no such tracker, its package is not installed, it is not logged in, or the folder
            cannot be written.
        Busy: another process is at work in the folder.
    """
    trackers = open_trackers(names, result.path, (reporter or Silent()).note)
    if trackers:
        try:
            with exclusive_lock(result.path / ".lock"):  # two at once would make two runs in MLflow
                for tracker in trackers:
                    tracker.end(result)
                    tracker.close()
        except OSError as error:
            raise InputError(f"the run's folder {result.path} cannot be written: {error.strerror}") from None
