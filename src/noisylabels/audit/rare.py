"""Classes with too few examples: models cannot learn them, and their labels say nothing about the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEWEST = 5
"""Examples of a class from which its labels are judged: each of four folds leaves three or more to learn."""

TOO_RARE = "too few examples of its class to judge it"
"""The reason of such an example."""


def rare_rows(labels: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Return which labels are of a class with fewer than `FEWEST` examples, bool (N,); None if none or all.

    >>> rare_rows(np.array([0] * 5 + [1]), 2).tolist()
    [False, False, False, False, False, True]
    """
    rare = np.bincount(labels, minlength=num_classes)[labels] < FEWEST
    return None if not rare.any() or rare.all() else np.asarray(rare)


def rare_note(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """Return the line that names these classes.

    >>> rare_note(np.array([0] * 5 + [1]), ["cat", "lynx"])
    "'lynx' (1 example): too few to judge their labels, which are left as they are; 5 per class are needed"
    """
    counts = np.bincount(labels, minlength=len(class_names))
    rare = [(name, n) for name, n in zip(class_names, counts.tolist(), strict=True) if 0 < n < FEWEST]
    named = ", ".join(f"{name!r} ({n} example{'s' if n > 1 else ''})" for name, n in rare[:5])
    more = f" and {len(rare) - 5} more class{'es' if len(rare) > 6 else ''}" if len(rare) > 5 else ""
    return (
        f"{named}{more}: too few to judge their labels, which are left as they are; {FEWEST} per class are "
        "needed"
    )
