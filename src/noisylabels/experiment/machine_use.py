"""Record how busy the machine was during a run, so that times are compared only where nothing else ran."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisylabels.core.files import write_json
from noisylabels.core.schema import checked
from noisylabels.experiment.documents import MachineUse
from noisylabels.experiment.folder import read_environment
from noisylabels.training.callbacks import Callback

JOBS = "NOISYLABELS_JOBS"
"""Environment variable in which a study tells its worker processes how many of them run at once."""

SLACK = 0.5
"""Load beyond a run's own that counts as none: about what the system itself takes."""


def load() -> float | None:
    """Return the mean number of processes that ran or waited in the last minute; None where it is unknown."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return None


class RecordMachineUse(Callback):
    """Keep the highest load at the ends of epochs in environment.json, with the number of runs at once.

    Args:
        out: the run's folder.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / "environment.json"
        self.jobs = int(os.environ.get(JOBS, "1"))
        self.highest: float | None = None

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Look at the load."""
        now = load()
        if now is not None:
            self.highest = now if self.highest is None else max(now, self.highest)

    def state_dict(self) -> dict[str, Any]:
        """Return what was found, for a checkpoint."""
        return {"jobs": self.jobs, "load": self.highest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what the run found before it was stopped."""
        checked(state, MachineUse, "the machine's use in the checkpoint")
        self.jobs, self.highest = max(self.jobs, state["jobs"]), state["load"]

    def write(self) -> None:
        """Write what was found into environment.json."""
        about = read_environment(self.path.parent)
        write_json(self.path, about | {"use": self.state_dict()})


def had_machine_alone(environment: Mapping[str, Any]) -> bool:
    """Return whether a run is known to have had the machine to itself, from its environment.json.

    No other run of its study ran at the same time, and the load never exceeded its own threads (on a GPU: the
    number of cores) by more than half a process. Runs of older versions have no record: it is unknown.

    >>> had_machine_alone({"threads": 1, "use": {"jobs": 1, "load": 1.2}})
    True
    >>> had_machine_alone({"threads": 1, "use": {"jobs": 2, "load": 2.0}}), had_machine_alone({"threads": 1})
    (False, False)
    """
    use = environment.get("use") or {}
    if use.get("jobs") != 1 or use.get("load") is None:
        return False
    own = environment.get("cores") if environment.get("gpu") else environment.get("threads")
    return own is not None and bool(use["load"] <= own * environment.get("processes", 1) + SLACK)
