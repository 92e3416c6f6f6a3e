"""Out-of-fold probabilities of a logistic regression on the features of a frozen encoder."""

from __future__ import annotations

import numpy as np

from noisylabels.audit.votes import checked_features

FOLDS = 10
"""Folds: more than those of the network, since a fold costs little and each fit then lacks fewer examples."""

PENALTIES = (3.0, 1.7, 1.0, 0.55, 0.3, 0.17, 0.1, 0.055, 0.03, 0.017, 0.01, 0.0055, 0.003, 0.0017, 0.001)
"""Penalties that are tried, for columns of variance 1, from strong to weak."""

MOST = 1 << 26
"""Most probabilities, of all folds, examples and classes: all folds are fitted at once."""


def fits(n: int, num_classes: int) -> bool:
    """Return whether a logistic regression of n examples is worth its time and memory.

    >>> fits(50_000, 100), fits(1_200_000, 1000)
    (True, False)
    """
    return FOLDS * n * num_classes <= MOST


def logistic_probs(
    features: object, labels: object, num_classes: int, seed: int = 0, copies: np.ndarray | None = None
) -> np.ndarray:
    """Return the probabilities of a logistic regression for each example, fitted without its fold.

    The columns are standardized. The penalty is the one of `PENALTIES` under which the given labels that were
    left out are most likely, at the best temperature (`experiment.linear_path`).

    Args:
        features: (N, D) finite numbers, N >= 3.
        labels: (N,) integers in [0, K).
        num_classes: K.
        seed: seed of the folds.
        copies: (N,) the first example that equals each one, see `first_equals`: they are in one fold.

    Returns:
        (N, K) float64, rows sum to 1.

    Raises:
        InputError: labels out of range, features of another shape, or fewer than 3 examples.

    >>> points = [[0.0, 1.0], [0.1, 1.0], [0.2, 1.1], [1.0, 0.0], [1.0, 0.1], [1.1, 0.2]]
    >>> logistic_probs(points, [0, 0, 0, 1, 1, 1], 2).argmax(axis=1).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    from noisylabels.experiment.bagging import LabeledRows
    from noisylabels.experiment.folds import assign_folds
    from noisylabels.experiment.linear_path import linear_path
    from noisylabels.losses.expression import loss

    X, given = checked_features(features, labels, num_classes)
    folds = min(FOLDS, len(X))
    fold = assign_folds(given, folds, seed, copies)
    held = [np.flatnonzero(fold == k) for k in range(folds)]
    X = X - X.mean(axis=0)
    spread = X.std(axis=0)
    X /= np.where(spread > 0, spread, 1)
    data = LabeledRows(X, given, np.ones(len(X)), num_classes, held)
    return linear_path(data, loss("ce"), PENALTIES).probs
