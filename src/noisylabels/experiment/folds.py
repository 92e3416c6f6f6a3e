"""Folds of a cross-validation, stratified by class."""

from __future__ import annotations

import numpy as np

from noisylabels.core.checks import InputError, check_whole
from noisylabels.core.rng import uniforms


def assign_folds(labels: np.ndarray, folds: int, seed: int, copies: np.ndarray | None = None) -> np.ndarray:
    """Assign shuffled examples to folds round-robin, class by class, without restarting at a class.

    Fold sizes therefore differ by at most one example, overall and per class, and a class with fewer examples
    than folds is in as many folds as it has examples.

    Equal examples are in one fold, or a model would have learned a held-out example and its label from the
    copy; of each group of them only the first is assigned, by its own label.

    Args:
        labels: (N,) int64.
        folds: 2 or more.
        seed: seed of the stream "folds".
        copies: (N,) the first example that equals each one, see `first_equals`; None without equal examples.

    Returns:
        (N,) int64, the fold of each example.

    Raises:
        InputError: fewer examples than folds.

    >>> assign_folds(np.array([0, 0, 1, 1, 1]), 2, seed=0).tolist().count(0)
    3
    """
    check_whole(folds, "folds", 2)
    n = len(labels)
    if n < max(folds, 3):
        raise InputError(
            f"got {n} examples for {folds} folds, expected {max(folds, 3)} or more; use fewer folds"
        )
    if copies is not None:
        kept = np.flatnonzero(copies == np.arange(n))
        if len(kept) >= max(folds, 3):
            fold = np.empty(n, dtype=np.int64)
            fold[kept] = assign_folds(labels[kept], folds, seed)
            return np.asarray(fold[copies])
    order = np.lexsort((uniforms(n, seed, "folds"), labels))
    fold = np.empty(n, dtype=np.int64)
    fold[order] = np.arange(n) % folds
    return fold
