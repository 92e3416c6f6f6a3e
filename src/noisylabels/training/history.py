"""The history of a run: one row an epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.files import write_text


@dataclass
class History:
    """Rows of a run, one an epoch, in order.

    A row has: epoch (from 1), lr (at the epoch's start), train_loss (mean over the epoch's
    steps), given_accuracy, true_accuracy, memorised and corrected (of the predictions made while
    training, so on augmented images and with weights as they were at that step; see
    `metrics.label_metrics`), test_loss, test_accuracy, recall (a list, class by class),
    dead_classes (numbers), train_seconds, eval_seconds. Accuracies are in [0, 1].
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
            return cls([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is no history of a run ({error})") from None
