"""Rows without text and without another column: models have nothing to judge their labels by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from noisylabels.audit.duplicates import Group
from noisylabels.audit.issues import Issues
from noisylabels.data.text_columns import without_text

if TYPE_CHECKING:
    from noisylabels.data.features import Examples

NO_TEXT = "no text"
"""The reason of such a row."""


def blank_rows(examples: Examples | None) -> np.ndarray | None:
    """Return which rows have neither text nor another column, bool (N,); None if all or none has
    content.

    Args:
        examples: the audited set, embedded or not, without the column that marks trusted labels.
    """
    texts = getattr(examples, "texts", None)
    if examples is None or texts is None:
        return None
    columns = examples.inputs.shape[1]
    if getattr(examples, "embedding", None) is not None:
        encoder = getattr(examples, "encoder", None)
        columns = 0 if encoder is None else len(encoder.features)
    blank = without_text(texts)
    return None if columns or not blank.any() or blank.all() else blank


def either(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    """Return the union of two masks, (N,), either of which may be missing."""
    if one is None or other is None:
        return other if one is None else one
    both: np.ndarray = one | other
    return both


def with_content(groups: Sequence[Group], blank: np.ndarray) -> list[Group]:
    """Return groups of near-duplicates, such as of one id, without the rows that are not judged.

    >>> with_content([Group((0, 1, 2), True), Group((3, 4), True)], np.array([0, 1, 0, 1, 0], bool))
    [Group(members=(0, 2), exact=True)]
    """
    made = [replace(group, members=tuple(i for i in group.members if not blank[i])) for group in groups]
    return [group for group in made if len(group.members) > 1]


def left_alone(found: Issues, blank: np.ndarray, rate: float) -> Issues:
    """Return the findings with rows that are not judged as likely wrong as any label, not as models say.

    Args:
        found: findings in which these rows are neither flagged nor have another suggestion.
        blank: (N,) bool.
        rate: the estimated noise rate.
    """
    score, right = np.where(blank, 1 - rate, found.score), np.where(blank, 1 - rate, found.right)
    return replace(found, score=score, right=right)


def with_reasons(why: Sequence[str], rows: np.ndarray, trusted: np.ndarray | None, reason: str) -> list[str]:
    """Return the reasons with those of rows that are not judged replaced."""
    made = list(why)
    for i in np.flatnonzero(rows).tolist():
        checked = trusted is not None and bool(trusted[i])
        made[i] = f"checked by hand; {reason}" if checked else reason
    return made
