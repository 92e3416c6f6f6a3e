"""A snapshot of a run's folder, for trackers that copy it elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylabels.core.config import build, to_dict
from noisylabels.experiment.auto_loss import AUTO
from noisylabels.experiment.config import NOT_IDENTITY, RunConfig, canonical_id
from noisylabels.experiment.folder import RunResult, chosen_before, read_config
from noisylabels.training.history import History

MOST_RECALLS = 100
"""Most classes for which the recall of each is tracked: thousands of curves would hide the others."""


@dataclass(frozen=True)
class RunSnapshot:
    """The state of a run, read from its folder.

    Args:
        out: the folder.
        settings: the configuration without the settings of where and how the run executes.
        began: the start of the run, in seconds since 1970.
        epochs: per epoch its number, its end in seconds since 1970 as if the run had never paused, and its
            values by name.
        status: running, stopped, done or failed.
        result: the result as JSON; empty while the run is unfinished.
    """

    out: Path
    settings: dict[str, Any]
    began: float
    epochs: list[tuple[int, float, dict[str, float]]]
    status: str
    result: str

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return canonical_id(build(RunConfig, self.settings))

    @property
    def ended(self) -> bool:
        """Return whether the run is done or failed."""
        return self.status in ("done", "failed")

    @property
    def last(self) -> float:
        """The end of its last epoch, in seconds since 1970."""
        return self.epochs[-1][1] if self.epochs else self.began


def read_snapshot(
    out: Path, class_names: Sequence[str], status: str, result: RunResult | None = None
) -> RunSnapshot:
    """Return the snapshot of the run in `out`."""
    path = out / "history.jsonl"
    rows = History.read(path).rows if path.exists() else []
    began = at = (out / "config.json").stat().st_mtime
    epochs = []
    for row in rows:
        at += row["train_seconds"] + row["eval_seconds"]
        epochs.append((row["epoch"], at, numbers(row, class_names)))
    what = ""
    if result is not None:
        final = epochs[-1][2] if epochs else {}
        about = {"status": result.status, "message": result.message, "noise": result.noise, "final": final}
        what = json.dumps(about, indent=1)
    config = to_dict(RunConfig()) | read_config(out)  # newer settings were at their defaults
    settings = {name: value for name, value in config.items() if name not in NOT_IDENTITY}
    if config["loss"] == AUTO and (chosen := chosen_before(out)) is not None:
        settings["loss"] = chosen["loss"]
    return RunSnapshot(out, settings, began, epochs, status, what)


def numbers(row: dict[str, Any], class_names: Sequence[str]) -> dict[str, float]:
    """Return the numbers in a row of the history by name: the count of dead classes, one recall per class.

    >>> numbers({"epoch": 1, "memorized": None, "recall": [1.0, 0.5], "dead_classes": []}, ["cat", "dog"])
    {'recall/0_cat': 1.0, 'recall/1_dog': 0.5, 'dead_classes': 0.0}
    """
    found: dict[str, float] = {}
    for name, value in row.items():
        if name == "dead_classes":
            found[name] = float(len(value))
        elif name == "recall":
            if len(value) <= MOST_RECALLS:
                width = len(str(len(value) - 1))
                for k, (share, label) in enumerate(zip(value, class_names, strict=True)):
                    # MLflow allows only these characters; the number keeps names distinct
                    word = re.sub(r"[^\w.-]", "_", label)[:100]
                    found[f"recall/{k:0{width}}_{word}"] = share
        elif name != "epoch" and value is not None:
            found[name] = float(value)
    return found
