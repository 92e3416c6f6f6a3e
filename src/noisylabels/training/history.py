"""The history of a run: one row per epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.files import read_content, write_text
from noisylabels.core.json_text import parse_json
from noisylabels.core.schema import Count, checked

RENAMED = {"memorised": "memorized", "corrected": "recovered"}
"""Former name of a column -> its current name; histories, results, exports and checkpoints may use either."""


class _Measured(TypedDict, extra_items=float | None):  # type: ignore[call-arg]  # unknown to mypy
    epoch: Count
    test_accuracy: float | None
    train_seconds: float
    eval_seconds: float


class Row(_Measured, total=False):
    """A row of a history, see `History`: columns of methods, callbacks and old versions hold numbers."""

    lr: float
    train_loss: float
    recall: list[float | None] | None
    dead_classes: list[Count] | None


def current_names(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a history with every column under its current name.

    >>> current_names({"epoch": 1, "memorised": 0.25, "corrected": 0.5})
    {'epoch': 1, 'memorized': 0.25, 'recovered': 0.5}
    """
    return {RENAMED.get(name, name): value for name, value in row.items()}


@dataclass
class History:
    """The history of a run: one row per epoch, in order.

    A row has: epoch (from 1), lr (at the start of the epoch), train_loss (mean over the epoch's steps);
    given_accuracy, true_accuracy, memorized and recovered (of the predictions made during training, so on
    augmented images and with the weights of each step; see `metrics.label_metrics`); test_loss,
    test_accuracy, recall (a list, one per class) and dead_classes (class numbers), None without a test set;
    train_seconds, data_seconds (the part of them spent waiting for batches; older versions lack it) and
    eval_seconds. Accuracies are in [0, 1]. With a validation split, validation_loss and validation_accuracy
    measure the held-out examples on their given labels, and the training measures cover the other examples.
    Methods and callbacks may add columns.

    Args:
        rows: the rows.
        kept: the row of the epoch whose weights ``keep_epoch="best"`` kept; None for the last epoch, and in a
            history that was read from a file.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def final(self) -> dict[str, Any]:
        """The last row."""
        if not self.rows:
            raise InputError("the history is empty, expected at least one finished epoch")
        return self.rows[-1]

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The row of the epoch chosen on the validation split, see `chosen_epoch`; None without a split."""
        return chosen_epoch(self.rows)

    def waited(self) -> tuple[float, float]:
        """Return the seconds that training waited for data, and their share of the training time.

        >>> History([{"train_seconds": 4.0, "data_seconds": 1.0}, {"train_seconds": 9.0}]).waited()
        (1.0, 0.25)
        """
        rows = [row for row in self.rows if row.get("data_seconds") is not None]
        seconds = sum(row["data_seconds"] for row in rows)
        return seconds, seconds / (sum(row["train_seconds"] for row in rows) or 1.0)

    def column(self, name: str) -> list[Any]:
        """Return one value per epoch, such as ``history.column("test_accuracy")``.

        Args:
            name: of the column; epochs without it have None.

        Raises:
            InputError: no epoch has such a column; the message suggests the nearest.
        """
        if self.rows:
            every = dict.fromkeys(column for row in self.rows for column in row)
            check_choice(name, every, "column of the history")
        return [row.get(name) for row in self.rows]

    def write(self, path: Path) -> None:
        """Write one JSON line per epoch, atomically.

        Args:
            path: of the file, history.jsonl in a run's folder.
        """
        lines = [json.dumps(row, allow_nan=False) for row in self.rows]
        write_text(path, "\n".join(lines) + "\n" if lines else "")

    @classmethod
    def read(cls, path: Path) -> History:
        """Return the history that `write` wrote.

        Args:
            path: of the file, history.jsonl in a run's folder.

        Raises:
            InputError: the file is missing, or a line is no row of a history.
        """
        # one array, because studies read thousands of histories
        rows = parse_json(b"[" + b",".join(read_content(path).splitlines()) + b"]", path)
        return cls([current_names(row) for row in checked(rows, list[Row], path)])


def chosen_epoch(rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the row with the best validation_accuracy, the earliest among equals; None if no row has one.

    >>> rows = [{"epoch": 1, "validation_accuracy": 0.5}, {"epoch": 2, "validation_accuracy": 0.5}]
    >>> chosen_epoch(rows)["epoch"]
    1
    """
    # exports have null for runs without a validation split
    measured = [row for row in rows if row.get("validation_accuracy") is not None]
    return max(measured, key=lambda row: row["validation_accuracy"], default=None)


def best_epoch(rows: Iterable[dict[str, Any]], held: int) -> dict[str, Any] | None:
    """Return the latest row whose validation_accuracy is within one standard error of the highest.

    An epoch does not win by chance on a few noisy labels, and an earlier one is returned only if later ones
    are clearly worse. None if no row has a validation_accuracy.

    Args:
        rows: the rows of a history.
        held: number of validation examples.

    Source: the one-standard-error rule of Breiman et al. 1984, "Classification and regression trees".

    >>> rows = [{"epoch": k + 1, "validation_accuracy": v} for k, v in enumerate([0.5, 0.8, 0.75, 0.6])]
    >>> best_epoch(rows, 50)["epoch"], best_epoch(rows, 50_000)["epoch"]
    (3, 2)
    """
    measured = [row for row in rows if row.get("validation_accuracy") is not None]
    highest = max((row["validation_accuracy"] for row in measured), default=0.0)
    enough = highest - math.sqrt(highest * (1 - highest) / held)
    return next((row for row in reversed(measured) if row["validation_accuracy"] >= enough), None)
