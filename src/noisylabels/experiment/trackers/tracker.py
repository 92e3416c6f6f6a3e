"""The base class of trackers: callbacks that bring a copy of a run's history up to date."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from noisylabels.experiment.folder import RunResult
from noisylabels.experiment.snapshot import RunSnapshot, read_snapshot
from noisylabels.training.callbacks import Callback
from noisylabels.training.history import History


class Tracker(Callback, abc.ABC):
    """Copies the history of a run to another place, each epoch once.

    The run's folder is the source: after every checkpoint, and when the run ends, a tracker reads the folder
    and adds what its copy lacks. A run that was killed, resumed, copied, or finished long ago therefore ends
    with every epoch once. A tracker that fails (a full disk, a server that is gone) does not end the run: it
    notifies the user once and is retried when the run ends.

    Args:
        out: the folder of the run.
        notify: called with messages for the user.
    """

    name: ClassVar[str]
    """What ``--track`` calls it."""

    def __init__(self, out: Path, notify: Callable[[str], None]) -> None:
        self.out = out
        self.notify = notify
        self.class_names: Sequence[str] = ()
        self.where = ""  # how to look at the copy, in one line; `add` may set it
        self._opened = False
        self._failed = False
        self._notified: set[str] = set()

    @staticmethod
    @abc.abstractmethod
    def check() -> None:
        """Import the tracker's package and check its settings.

        Raises:
            ImportError: the package is not installed.
            InputError: a setting is wrong.
        """

    @abc.abstractmethod
    def open(self, snapshot: RunSnapshot) -> None:
        """Find out what the copy already holds; called before the first `add`, and again after a failure."""

    @abc.abstractmethod
    def add(self, snapshot: RunSnapshot) -> None:
        """Add what the copy lacks."""

    def close(self) -> None:
        """Release what is open, whatever became of the run; called once, last."""

    def on_saved(self, history: History) -> None:
        """Add the epochs that the checkpoint covers; a resumed run trains later ones again."""
        self.follow("running")

    def end(self, result: RunResult) -> None:
        """Add the last epochs and the result of a run that is done or has failed."""
        self.class_names = result.class_names
        self.follow(result.status, result)

    def follow(self, status: str, result: RunResult | None = None) -> None:
        """Bring the copy up to date with the run's folder.

        Args:
            status: running, stopped, done or failed.
            result: of a run that is done or has failed.
        """
        if self._failed and status == "running":
            return
        try:
            snapshot = read_snapshot(self.out, self.class_names, status, result)
            if not self._opened:
                self.open(snapshot)
                self._opened = True
            self.add(snapshot)
            self._notify_once(f"tracked: {self.where}")
        except Exception as error:  # whatever it is, the run matters more
            self._opened = False
            if not self._failed:
                lines = f"{type(error).__name__}: {error}".splitlines()
                cause = without_password(lines[0])[:200]
                self.notify(f"{self.name} cannot follow ({cause}); the same command, later, lets it catch up")
            self._failed = True

    def _notify_once(self, text: str) -> None:
        if text not in self._notified:
            self._notified.add(text)
            self.notify(text)


def without_password(text: str) -> str:
    """Return a URI, or a text that contains one, without its user and password.

    >>> without_password("https://me:secret@example.org/mlflow")
    'https://example.org/mlflow'
    """
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


def project_of(out: Path) -> str:
    """Return the name under which the runs beside `out` belong together: that of their study, if any."""
    folder = study_of(out)
    return "noisylabels" if folder is None else folder.name


def study_of(out: Path) -> Path | None:
    """Return the folder of the study whose run `out` is; None for a run of no study."""
    return out.parent.resolve() if (out.parent / "study.json").exists() else None
