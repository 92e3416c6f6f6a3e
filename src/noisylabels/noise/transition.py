"""Transition matrices: T[true, given], the probability that an example of class `true` is labeled `given`.

Every model is a function from a class to its row of T, (K,) float64 (`Rows`). Sampling uses one row at a
time, so labels of 20,000 classes can be corrupted without a matrix of 3 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from noisylabels.core.checks import InputError, check_between
from noisylabels.noise.checks import check_num_classes, check_pairs, check_real

Rows = Callable[[int], np.ndarray]
"""Class -> its row of a transition matrix, (K,) float64."""

TOLERANCE = 1e-5
"""Tolerance for the sum of a row: float32 matrices of thousands of classes pass, mistakes do not."""


def symmetric(num_classes: int, rate: float) -> np.ndarray:
    """Return the matrix of symmetric noise: labels flip with one probability, uniformly to the other classes.

    T[i, i] = 1 - η and T[i, j] = η / (K - 1) for j ≠ i

    Args:
        num_classes: K, 2 or more.
        rate: η in [0, 1], the noise rate, because a flip always goes to another class.

    Returns:
        (K, K) float64.

    Raises:
        InputError: fewer than two classes, or a rate outside [0, 1].

    Source: the paper, section 3.1; Ghosh et al., "Robust loss functions under label noise", 2017.

    >>> symmetric(3, 0.5).tolist()
    [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    """
    return matrix(num_classes, symmetric_rows(num_classes, rate))


def uniform(num_classes: int, rate: float) -> np.ndarray:
    """Return the matrix of uniform noise: a share of the labels is redrawn from all classes.

    T[i, j] = (1 - η) [i = j] + η / K, which is symmetric noise of the rate η (K - 1) / K

    Args:
        num_classes: K, 2 or more.
        rate: η in [0, 1], the share of labels that are redrawn, of which 1 in K stays correct.

    Returns:
        (K, K) float64.

    Raises:
        InputError: fewer than two classes, or a rate outside [0, 1].

    Source: Li et al., "DivideMix", 2020, dataloader_cifar.py. Their code redraws exactly int(η N)
    examples; here each example is redrawn with probability η.

    >>> uniform(2, 0.5).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    return matrix(num_classes, uniform_rows(num_classes, rate))


def asymmetric(num_classes: int, rate: float, pairs: Mapping[int, int]) -> np.ndarray:
    """Return the matrix of asymmetric noise: some classes flip to one other class each; the rest do not flip.

    T[i, i] = 1 - η and T[i, pairs[i]] = η for i in pairs, T[i, i] = 1 for the others

    Args:
        num_classes: K, 2 or more.
        rate: η in [0, 1].
        pairs: true class -> given class.

    Returns:
        (K, K) float64.

    Raises:
        InputError: fewer than two classes, a rate outside [0, 1], or pairs that are not two different
            classes each.

    Source: the paper, section 3.1; Patrini et al., "Making deep neural networks robust to label
    noise", 2017, section 4.

    >>> asymmetric(3, 0.25, {0: 2}).tolist()
    [[0.75, 0.0, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    return matrix(num_classes, asymmetric_rows(num_classes, rate, pairs))


def sequential(num_classes: int, rate: float, pairs: Mapping[int, int]) -> np.ndarray:
    """Return the matrix of asymmetric noise whose pairs are applied one after the other.

    T = S_1 S_2 ... S_m, where S_k is the asymmetric matrix of the k-th pair alone

    Pairs in both directions (cat -> dog, then dog -> cat) flip some labels back: with η = 0.4, 24 % of the
    cats are labeled dog at the end, and 40 % of the dogs cat.

    Args:
        num_classes: K, 2 or more.
        rate: η in [0, 1].
        pairs: true class -> given class, in the order in which they are applied.

    Returns:
        (K, K) float64.

    Raises:
        InputError: as for `asymmetric`.

    Source: the code of Ma et al., "Normalized loss functions", 2020 (dataset.py, cifar10Nosiy); their text
    describes the matrix of `asymmetric`.

    >>> sequential(2, 0.5, {0: 1, 1: 0}).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    return matrix(num_classes, chain(num_classes, sequential_steps(num_classes, rate, pairs)))


def pairflip(num_classes: int, rate: float) -> np.ndarray:
    """Return the matrix of pair-flip noise: labels flip to the next class, and from the last to the first.

    T[i, i] = 1 - η and T[i, (i + 1) mod K] = η

    Args:
        num_classes: K, 2 or more.
        rate: η in [0, 1]; above 0.5 most labels of every class are noisy.

    Returns:
        (K, K) float64.

    Raises:
        InputError: fewer than two classes, or a rate outside [0, 1].

    Source: Han et al., "Co-teaching", 2018, section 4 and utils.py.

    >>> pairflip(3, 0.25).tolist()
    [[0.75, 0.25, 0.0], [0.0, 0.75, 0.25], [0.25, 0.0, 0.75]]
    """
    return matrix(num_classes, pairflip_rows(num_classes, rate))


def check_transition(transition: object) -> np.ndarray:
    """Return a transition matrix as float64; raise an `InputError` if it is none.

    Args:
        transition: (K, K) finite numbers of 0 or more, T[true, given]; rows sum to 1 within 1e-5.

    Returns:
        (K, K) float64.

    Raises:
        InputError: it is not square, an entry is negative or not finite, or a row does not sum to 1; the
            message names the first such row. For a matrix whose columns sum to 1, T[given, true] as in some
            other libraries, it suggests the transpose.

    >>> check_transition([[0.9, 0.1], [0.3, 0.6]])
    Traceback (most recent call last):
    ...
    noisylabels.core.checks.InputError: row 1 of the transition matrix sums to 0.9, expected 1
    """
    check_real(transition, "the transition matrix is", "(K, K)")
    if hasattr(transition, "detach"):  # a torch tensor, recognized without importing torch
        transition = transition.detach().cpu()
    try:
        T = np.asarray(transition, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("the transition matrix is not an array of numbers, expected shape (K, K)") from None
    if T.ndim != 2 or T.shape[0] != T.shape[1] or not T.size:
        raise InputError(f"the transition matrix has shape {T.shape}, expected (K, K)")
    bad = ~(np.isfinite(T) & (T >= 0))
    if bad.any():
        i, j = (int(index) for index in np.argwhere(bad)[0])
        raise InputError(
            f"row {i} of the transition matrix has {T[i, j].item()!r} at column {j}, "
            "expected a number in [0, 1]"
        )
    off = abs(T.sum(axis=1) - 1) > TOLERANCE
    if off.any():
        i = int(off.argmax())
        columns_do = bool((abs(T.sum(axis=0) - 1) <= TOLERANCE).all())
        hint = "; its columns do: transpose it to T[true, given]" if columns_do else ""
        if not columns_do and T[i].max() > 1:
            hint = "; if these are counts, divide each row by its sum"
        raise InputError(f"row {i} of the transition matrix sums to {T[i].sum():g}, expected 1{hint}")
    return T


def matrix(num_classes: int, rows: Rows) -> np.ndarray:
    """Return all rows, (K, K) float64."""
    return np.stack([rows(i) for i in range(num_classes)])


def chain(num_classes: int, steps: Sequence[Rows]) -> Rows:
    """Return the rows of the matrix product of `steps`, the identity without steps."""

    def row(i: int) -> np.ndarray:
        reached = _one_hot(num_classes, i)
        for step in steps:
            reached = sum(
                (reached[j] * step(j) for j in np.flatnonzero(reached).tolist()), np.zeros(num_classes)
            )
        return reached

    return row


def symmetric_rows(num_classes: int, rate: float) -> Rows:
    """Return the rows of `symmetric`."""
    check_num_classes(num_classes, least=2)
    check_between(rate, "rate", 0, 1)

    def row(i: int) -> np.ndarray:
        values = np.full(num_classes, rate / (num_classes - 1))
        values[i] = 1 - rate
        return values

    return row


def uniform_rows(num_classes: int, rate: float) -> Rows:
    """Return the rows of `uniform`."""
    check_num_classes(num_classes, least=2)
    check_between(rate, "rate", 0, 1)
    return symmetric_rows(num_classes, rate * (num_classes - 1) / num_classes)


def asymmetric_rows(
    num_classes: int, rate: float, pairs: Mapping[int, int] | Iterable[tuple[int, int]]
) -> Rows:
    """Return the rows of `asymmetric`."""
    check_num_classes(num_classes, least=2)
    check_between(rate, "rate", 0, 1)
    target = dict(check_pairs(pairs, num_classes))

    def row(i: int) -> np.ndarray:
        values = _one_hot(num_classes, i)
        if i in target:
            values[i], values[target[i]] = 1 - rate, rate
        return values

    return row


def pairflip_rows(num_classes: int, rate: float) -> Rows:
    """Return the rows of `pairflip`."""
    check_num_classes(num_classes, least=2)
    return asymmetric_rows(num_classes, rate, [(i, (i + 1) % num_classes) for i in range(num_classes)])


def sequential_steps(
    num_classes: int, rate: float, pairs: Mapping[int, int] | Iterable[tuple[int, int]]
) -> tuple[Rows, ...]:
    """Return the rows of each S_k of `sequential`."""
    return tuple(asymmetric_rows(num_classes, rate, [pair]) for pair in check_pairs(pairs, num_classes))


def _one_hot(num_classes: int, i: int) -> np.ndarray:
    values = np.zeros(num_classes)
    values[i] = 1.0
    return values
