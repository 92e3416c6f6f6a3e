"""Sample noisy labels: pure functions of labels, rows of a transition matrix and random numbers.

Everything is float64 arithmetic on numbers from `core.rng.uniforms`, so that a seed gives the same
labels on every platform and under every release of NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from noisylabels.core.rng import uniforms
from noisylabels.noise.checks import check_labels
from noisylabels.noise.transition import Rows, check_transition

# Added before rounding a count down: 1 - (1 - 0.1) is 0.09999999999999998, and 5000 times that must still
# count as 500. Far above the error of a product with a billion, far below one example.
_ROUNDING = 1e-6


def sample(labels: object, transition: object, *, seed: int = 0) -> np.ndarray:
    """Return noisy labels drawn under a transition matrix, each example independently of the others.

    P(given = j | true = i) = T[i, j]

    Args:
        labels: (N,) integers in [0, K): list, NumPy array or torch tensor.
        transition: (K, K), T[true, given], rows sum to 1.
        seed: 0 or more; the same seed and labels give the same draw everywhere.

    Returns:
        (N,) int64.

    Raises:
        InputError: labels out of range, or no transition matrix.

    Source: Patrini et al., "Making deep neural networks robust to label noise", 2017, section 2.
    Published implementations draw from one generator example by example, so a label depends on how many came
    before it; here example i has its own two random numbers.

    >>> sample([0, 0, 1, 1], [[0, 1], [0, 1]])
    array([1, 1, 1, 1])
    """
    T = check_transition(transition)
    true = check_labels(labels, len(T))
    return flip(true, rows_of(T), *(uniforms(len(true), seed, "noise", word) for word in ("flip", "class")))


def rows_of(transition: np.ndarray) -> Rows:
    """Return the rows of a checked matrix, each normalized to sum to 1 to the last bit.

    Otherwise a row with a sum of only nearly 1 could flip with no class to flip to.
    """
    return lambda i: transition[i] / np.cumsum(transition[i])[-1]


def flip(
    labels: np.ndarray, rows: Rows, u_flip: np.ndarray, u_class: np.ndarray, *, exact: bool = False
) -> np.ndarray:
    """Return flipped labels, given two numbers in [0, 1) per example: whether it flips, and to which class.

    With two separate numbers, the examples flipped at a low rate are a subset of those flipped at a higher
    one and flip to the same classes, so that comparisons across rates are paired. Example i depends only on
    its own numbers, not on the other labels.

    With `exact`, whether an example flips depends on its rank in its class instead: of n examples, the
    floor(n (1 - T[i, i])) with the smallest numbers flip. That is nested too.

    Args:
        labels: (N,) int64.
        rows: class -> its row of T, (K,) float64.
        u_flip: (N,) float64 in [0, 1).
        u_class: (N,) float64 in [0, 1).
        exact: flip an exact count of each class instead of each example with a probability.

    Returns:
        (N,) int64.
    """
    given = labels.copy()
    for label, members in by_class(labels):
        row = rows(label).copy()
        leave = 1 - row[label]
        if exact:
            count = share(leave, len(members))
            flipped = members[np.argsort(u_flip[members], kind="stable")[:count]]
        else:
            flipped = members[u_flip[members] < leave]
        if flipped.size:
            row[label] = 0
            given[flipped] = _inverse_cdf(row, u_class[flipped])
    return given


def flip_each(labels: np.ndarray, rows: np.ndarray, u_flip: np.ndarray, u_class: np.ndarray) -> np.ndarray:
    """Return flipped labels as `flip` does, each example under its own row.

    Args:
        labels: (N,) int64.
        rows: (N, K) float64, each sums to 1.
        u_flip, u_class: (N,) float64 in [0, 1).

    Returns:
        (N,) int64.
    """
    everyone = np.arange(len(labels))
    flipped = np.flatnonzero(u_flip < 1 - rows[everyone, labels])
    weights = rows[flipped]  # a copy
    weights[np.arange(len(flipped)), labels[flipped]] = 0
    cdf = np.cumsum(weights, axis=1)
    somewhere = cdf[:, -1] > 0  # a row that is 1 except for rounding has no class to flip to
    flipped, cdf = flipped[somewhere], cdf[somewhere]
    cdf /= cdf[:, -1:]
    given = labels.copy()
    given[flipped] = (cdf <= u_class[flipped, None]).sum(axis=1)  # as in _inverse_cdf
    return given


def share(rate: float, n: int) -> int:
    """Return floor(rate n), corrected for products that rounding leaves just below an integer."""
    return int(rate * n + _ROUNDING)


def by_class(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each class that occurs and the ascending indices of its examples, in O(N log N), not O(K N)."""
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    yield from zip(classes.tolist(), np.split(order, starts[1:]), strict=True)


def _inverse_cdf(weights: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return the class of each u in [0, 1) by the inverse CDF of the weights, never one of weight 0."""
    cdf = np.cumsum(weights)  # adds from left to right on every machine, unlike np.sum
    cdf /= cdf[-1]  # ends in 1 exactly, and u < 1: no class beyond the last one with a weight
    return np.searchsorted(cdf, u, side="right")
