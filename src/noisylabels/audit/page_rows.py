"""Rows of tables for the audit page and for the review: cells as they are written, and class means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.class_means import ClassMeans

if TYPE_CHECKING:
    from noisylabels.audit.result import Audit
    from noisylabels.data.cells import Cell
    from noisylabels.data.features import Examples

VALUES = 12
"""Most columns of numbers, and most other columns, shown of a row on the audit page."""
LONGEST = 10_000
"""Most characters shown of a cell on the audit page; the review shows more."""


class PageRows:
    """The rows of an audited table as the audit page shows them.

    Args:
        audit: the audit.
        examples: the audited set; images and features of an encoder have no rows.
    """

    def __init__(self, audit: Audit, examples: Examples | None) -> None:
        self._audit = audit
        self._cells = getattr(examples, "cells", None)
        self.numbers: list[str] = []
        """Names of the columns of numbers, of which class means are shown."""
        self._features: list[int] = []
        if examples is not None and examples.inputs.ndim == 2 and examples.inputs.shape[1]:
            self._table = np.asarray(examples.inputs)
            self._means = ClassMeans(self._table, audit.given)
            encoder = getattr(examples, "encoder", None)
            self._offsets = np.zeros(self._table.shape[1]) if encoder is None else encoder.offsets
            if encoder is not None:
                first = 0
                for column in encoder.columns:
                    if column.kind == "number":
                        self.numbers.append(column.name)
                        self._features.append(first)
                    first += len(column.features)
            elif self._cells is None and getattr(examples, "embedding", None) is None:
                self._features = list(range(self._table.shape[1]))
                self.numbers = [f"x{c}" for c in self._features]
        self._place = {feature: k for k, feature in enumerate(self._features)}

    def row(self, position: int, means: bool = True) -> dict[str, Any]:
        """Return a row for the page; empty without a table.

        Args:
            position: position of the example.
            means: whether columns of numbers appear with their class means, apart from the other cells.

        Returns:
            "cells" and "more", see `row_of`; "values": lists of the place in `numbers`, the cell as it is
            written, the means of the given and of the suggested class, and the closer one: -1 given, 1
            suggested, 0 neither.
        """
        cells = [] if self._cells is None else self._cells.row(position)
        if not means or not self._features:
            return row_of(cells, VALUES, LONGEST) if cells else {}
        written = {cell.column: cell.content for cell in cells}
        labels = (self._audit.given[position], self._audit.suggested[position])
        values = []
        for c, value, given, suggested in self._means.beside(position, labels, VALUES, self._features):
            k = self._place[c]
            nearer = np.sign(abs(value - given) - abs(value - suggested))
            content = written.get(self.numbers[k], f"{value + self._offsets[c]:.4g}")[:LONGEST]
            both = (_short(mean, self._offsets[c]) for mean in (given, suggested))
            values.append([k, content, *both, int(np.nan_to_num(nearer))])
        numbers = set(self.numbers)
        made = row_of([cell for cell in cells if cell.column not in numbers], VALUES, LONGEST)
        made["more"] += len(self.numbers) - len(values)
        return made | {"values": values}


def row_of(cells: Sequence[Cell], most: int, longest: int) -> dict[str, Any]:
    """Return a table's row for a page.

    Returns:
        "cells": lists of column, content (cut beyond `longest` characters, which its end says), and whether
        the column holds free text; "more": the number of columns beyond `most`.
    """
    made = [
        [
            cell.column,
            cell.content
            if len(cell.content) <= longest
            else f"{cell.content[:longest]} … ({len(cell.content):,} characters in all)",
            cell.free,
        ]
        for cell in cells[:most]
    ]
    return {"cells": made, "more": max(0, len(cells) - most)}


def _short(value: float, offset: float) -> float | None:
    # rounded before the offset is added, which may be far greater than the differences
    return float(f"{value:.4g}") + offset if np.isfinite(value) else None
