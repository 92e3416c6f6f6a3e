"""The history of a run: one row an epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.files import write_text

RENAMED = {"memorised": "memorized", "corrected": "recovered"}
"""Old name of a column -> its name today: histories, results, exports and checkpoints are read under both."""


def current_names(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a history with every column under its name of today.

    >>> current_names({"epoch": 1, "memorised": 0.25, "corrected": 0.5})
    {'epoch': 1, 'memorized': 0.25, 'recovered': 0.5}
    """
    return {RENAMED.get(name, name): value for name, value in row.items()}


@dataclass
class History:
    """Rows of a run, one an epoch, in order.

    A row has: epoch (from 1), lr (at the epoch's start), train_loss (mean over the epoch's
    steps), given_accuracy, true_accuracy, memorized and recovered (of the predictions made while
    training, so on augmented images and with weights as they were at that step; see
    `metrics.label_metrics`), test_loss, test_accuracy, recall (a list, class by class),
    dead_classes (numbers), train_seconds, data_seconds (of these, waited for the next batch; rows of
    older versions lack it), eval_seconds. Accuracies are in [0, 1]. Without a test set its measures are None.
    A run with a validation split has validation_loss and validation_accuracy as well, of the examples held
    out, on their given labels; the measures of the training set are of the others then.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def final(self) -> dict[str, Any]:
        """The last row."""
        if not self.rows:
            raise InputError("the history is empty: no epoch has ended yet")
        return self.rows[-1]

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The row of the epoch chosen on the validation split, see `chosen_epoch`; None without a split."""
        return chosen_epoch(self.rows)

    def waited(self) -> tuple[float, float]:
        """Return the seconds that training waited for data, and the share of its time that this is.

        >>> History([{"train_seconds": 4.0, "data_seconds": 1.0}, {"train_seconds": 9.0}]).waited()
        (1.0, 0.25)
        """
        rows = [row for row in self.rows if row.get("data_seconds") is not None]
        seconds = sum(row["data_seconds"] for row in rows)
        return seconds, seconds / (sum(row["train_seconds"] for row in rows) or 1.0)

    def column(self, name: str) -> list[Any]:
        """Return one value an epoch, such as ``history.column("test_accuracy")``."""
        if self.rows:
            check_choice(name, self.rows[0], "column of the history")
        return [row[name] for row in self.rows]

    def write(self, path: Path) -> None:
        """Write one JSON line an epoch, atomically."""
        lines = [json.dumps(row, allow_nan=False) for row in self.rows]
        write_text(path, "\n".join(lines) + "\n" if lines else "")

    @classmethod
    def read(cls, path: Path) -> History:
        """Read what `write` wrote."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = json.loads(f"[{','.join(lines)}]")  # at once: a study has many of them
            return cls([current_names(row) for row in rows])
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{path} is no history of a run ({error})") from None


def chosen_epoch(rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the row with the best validation_accuracy, the earliest among equals; None if no row has one.

    >>> rows = [{"epoch": 1, "validation_accuracy": 0.5}, {"epoch": 2, "validation_accuracy": 0.5}]
    >>> chosen_epoch(rows)["epoch"]
    1
    """
    # an exported study has a null where another of its runs has a validation split
    measured = [row for row in rows if row.get("validation_accuracy") is not None]
    return max(measured, key=lambda row: row["validation_accuracy"], default=None)
