"""Noise estimation by nearest neighbors, which are assumed to share their true class; no training."""

from __future__ import annotations

import numpy as np

from noisylabels.core.checks import InputError

ROUNDS = 300
"""Most rounds of expectation maximization."""

_BLOCK_BYTES = 1 << 26  # of distances in memory at once
_LEAST = 1e-12


def nearest(features: np.ndarray, count: int) -> np.ndarray:
    """Return the nearest neighbors of each example, by Euclidean distance, nearest first.

    Args:
        features: (N, D), compared unscaled: standardize the columns first.
        count: the number of neighbors, less than N.

    Returns:
        (N, count) int64.

    Raises:
        InputError: N is not larger than `count`.

    >>> nearest(np.array([[0.0], [1.0], [5.0]]), 1).tolist()
    [[1], [0], [1]]
    """
    n = len(features)
    if not 1 <= count < n:
        raise InputError(
            f"there are {n} examples, expected more than {count} for {count} neighbors each; add examples"
        )
    points = np.asarray(features, dtype=np.float32)
    squares = (points * points).sum(axis=1)
    found = np.empty((n, count), dtype=np.int64)
    step = max(1, _BLOCK_BYTES // (4 * n))
    for start in range(0, n, step):
        part = points[start : start + step]
        distance = (
            squares - 2 * part @ points.T
        )  # without the example's own square, which does not change the order
        distance[np.arange(len(part)), np.arange(start, start + len(part))] = np.inf
        near = np.argpartition(distance, count - 1, axis=1)[:, :count]
        order = np.take_along_axis(distance, near, axis=1).argsort(axis=1, kind="stable")
        found[start : start + step] = np.take_along_axis(near, order, axis=1)
    return found


def counted(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct groups of labels, regardless of order within, and how often each occurs.

    Args:
        groups: (N, m) int64, the labels of an example and of its m - 1 neighbors.

    Returns:
        (U, m) int64, each row sorted, and (U,) float64.
    """
    rows, counts = np.unique(np.sort(groups, axis=1), axis=0, return_counts=True)
    return rows, counts.astype(np.float64)


def first_guess(given: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the start of the fit: half of the labels correct, the others distributed like all labels."""
    prior = (np.bincount(given, minlength=num_classes) + 1.0) / (len(given) + num_classes)
    return 0.5 * np.eye(num_classes) + 0.5 * prior, prior


def fitted(
    rows: np.ndarray, weights: np.ndarray, transition: np.ndarray, prior: np.ndarray, rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Return transition matrix and class frequencies fitted to groups of labels by expectation maximization.

    P(y_1, ..., y_m) = Σ_k π_k T[k, y_1] ... T[k, y_m]

    The likelihood does not change under permutations of the true classes; they are numbered to maximize the
    share of correct labels, Σ_k π_k T[k, k].

    Args:
        rows: (U, m) int64, distinct groups.
        weights: (U,) float64, how often each occurs.
        transition, prior: (K, K) and (K,), the start.
        rounds: the largest number of rounds.

    Returns:
        Transition (K, K), T[true, given], and prior (K,), float64.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array

    K, (u, m) = len(prior), rows.shape
    at = (np.repeat(np.arange(u), m), rows.ravel())
    votes = coo_array((np.ones(u * m), at), shape=(u, K)).tocsr()  # how often a label is in a group
    back = votes.T.tocsr()
    total, last = weights.sum(), -np.inf
    for _ in range(rounds):
        log = votes @ np.log(np.maximum(transition, _LEAST)).T + np.log(np.maximum(prior, _LEAST))
        top = log.max(axis=1, keepdims=True)
        share = np.exp(log - top)
        sums = share.sum(axis=1, keepdims=True)
        likelihood = float(weights @ (np.log(sums) + top)[:, 0]) / total
        share *= weights[:, None] / sums
        counts = (back @ share).T  # (true, given)
        reached = counts.sum(axis=1, keepdims=True)
        transition = np.where(reached > _LEAST, counts / np.maximum(reached, _LEAST), transition)
        prior = share.sum(axis=0) / total
        if likelihood - last < 1e-7:
            break
        last = likelihood
    true, given = linear_sum_assignment(-prior[:, None] * transition)
    order = true[given.argsort()]
    return transition[order], prior[order]


def posterior(groups: np.ndarray, transition: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the probability of each true class, given the labels of an example and its neighbors.

    Args:
        groups: (N, m) int64.
        transition, prior: (K, K) and (K,).

    Returns:
        (N, K) float64.
    """
    log = np.log(np.maximum(transition, _LEAST)).T
    score = np.log(np.maximum(prior, _LEAST)) + sum(log[groups[:, j]] for j in range(groups.shape[1]))
    score = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(score / score.sum(axis=1, keepdims=True))
