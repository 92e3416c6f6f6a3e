"""The confident joint of given labels and out-of-fold probabilities, and its bootstrap samples.

A bootstrap sample changes the thresholds a little, and so the class of few examples. All samples together read
the probabilities once: they are needed only where some sample decides otherwise than another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.rng import uniforms
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.checks import check_labels, check_labels_probs


def confident_joint(labels: object, probs: object) -> np.ndarray:
    """Return the number of examples that appear to be of class i and are labeled j.

    C[i, j] = #{x of label j : i = argmax p_l(x) over the l with p_l(x) >= t_l},  t_l = mean p_l(x) of label l

    An example that reaches no threshold is not counted. `calibrated_joint` turns the counts into a joint
    distribution.

    Args:
        labels: (N,) integers in [0, K): the given labels.
        probs: (N, K), out of fold, rows sum to 1.

    Returns:
        (K, K) int64, C[true, given].

    Raises:
        InputError: labels or probabilities out of range, or of different lengths.

    Source: Northcutt, Jiang, Chuang, "Confident learning", 2021, equations 1 and 2. The rows of
    their matrix, and of cleanlab's, are given labels and the columns true ones.

    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.9, 0.1], [0.2, 0.8]]
    >>> confident_joint([0, 0, 1, 1, 1], probs).tolist()
    [[1, 1], [0, 2]]
    """
    p, given = check_labels_probs(labels, probs)
    return next(joint_samples(given, p)).counts


def calibrated_joint(counts: object, labels: object) -> np.ndarray:
    """Return the joint distribution of true and given labels, scaled to the label frequencies of the data.

    Q[i, j] = (C[i, j] / Σ_k C[k, j]) N_j / N, where N_j examples have the label j

    Args:
        counts: (K, K), C[true, given], from `confident_joint`.
        labels: (N,) integers in [0, K).

    Returns:
        (K, K) float64, Q[true, given], sums to 1. A label without a counted example counts as correct.

    Raises:
        InputError: counts are not (K, K), or labels out of range.

    Source: Northcutt et al. 2021, equation 3.

    >>> calibrated_joint([[1, 1], [0, 2]], [0, 0, 1, 1, 1]).round(2).tolist()
    [[0.4, 0.2], [0.0, 0.4]]
    """
    C = np.asarray(counts, dtype=np.float64)
    if C.ndim != 2 or C.shape[0] != C.shape[1] or not (C >= 0).all():
        raise InputError(f"counts have shape {C.shape}, expected (K, K) numbers of 0 or more")
    return _calibrated(C, np.bincount(check_labels(labels, len(C)), minlength=len(C)))


@dataclass(frozen=True, eq=False)
class JointSample:
    """The confident joint of one sample of the examples.

    Args:
        counts: (K, K) int64, C[true, given].
        sizes: (K,) int64, the examples per given label.
        weights: (N,) uint8, how often each example is in the sample.
    """

    counts: np.ndarray
    sizes: np.ndarray
    weights: np.ndarray

    @property
    def joint(self) -> np.ndarray:
        """The calibrated joint distribution, (K, K): `calibrated_joint`."""
        return _calibrated(self.counts, self.sizes)


def joint_samples(
    given: np.ndarray, probs: CheckedProbs, draws: int = 0, seed: int = 0, most: int | None = None
) -> Iterator[JointSample]:
    """Yield the confident joint of all examples, then those of bootstrap samples of as many examples.

    Args:
        given: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        draws: number of bootstrap samples, drawn from the streams ("bootstrap", draw) of the seed.
        seed: seed of the samples.
        most: the number of values, about 16 bytes each, that may depend on the sample; if there are more,
            because most predictions are alike, the bootstrap samples are left out.
    """
    n, K = probs.shape
    own = probs.at(given)
    weights = np.ones((1 + draws, n), np.uint8)  # a weight beyond 255 is as good as impossible
    thresholds = np.empty((1 + draws, K))
    sizes = np.empty((1 + draws, K), np.int64)
    sizes[0], thresholds[0] = _thresholds(given, own, K)
    for draw in range(draws):
        chosen = (uniforms(n, seed, "bootstrap", draw) * n).astype(np.int64)
        weights[1 + draw] = np.bincount(chosen, minlength=n)
        sizes[1 + draw], thresholds[1 + draw] = _thresholds(given[chosen], own[chosen], K)
    found = _assigned(probs, thresholds.min(axis=0), thresholds.max(axis=0), most)
    if found is None:
        found = _assigned(probs, thresholds[0], thresholds[0], None)
        draws = 0
    assert found is not None
    settled = np.where(found.settled >= 0, found.settled * K + given, K * K)
    labels = given[found.rows]
    for w, size, threshold in zip(*(each[: 1 + draws] for each in (weights, sizes, thresholds)), strict=True):
        counts = np.bincount(settled, weights=w, minlength=K * K + 1)[:-1]
        reached = np.flatnonzero(found.values >= threshold[found.classes])
        rows = found.rows[reached]
        first = reached[np.append(True, rows[1:] != rows[:-1])[: len(rows)]]  # of each row: its largest value
        code = found.classes[first] * K + labels[first]
        counts += np.bincount(code, weights=w[found.rows[first]], minlength=K * K)
        yield JointSample(counts.reshape(K, K).astype(np.int64), size, w)


@dataclass(frozen=True, eq=False)
class _Assigned:
    """The classes of examples for all thresholds between two bounds.

    Args:
        settled: (N,) the class that an example has whatever the thresholds; -1 if it has none, or if it
            depends on the thresholds.
        rows, classes, values: (M,) the probabilities on which the class of an example depends, sorted by row,
            then by value, largest first: its class is the first whose threshold is reached.
    """

    settled: np.ndarray
    rows: np.ndarray
    classes: np.ndarray
    values: np.ndarray


def _assigned(probs: CheckedProbs, low: np.ndarray, high: np.ndarray, most: int | None) -> _Assigned | None:
    """Return the classes of all examples for thresholds in [low, high]; None if more than `most` are open."""
    settled = np.full(len(probs), -1, np.int64)
    parts, count = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))], 0
    for span, p in probs.blocks():
        possible = np.where(p >= low, p, -1.0)
        best = possible.argmax(axis=1)
        top = possible[np.arange(len(p)), best]
        certain = (top >= 0) & (top >= high[best])
        settled[span][certain] = best[certain]
        open_rows = np.flatnonzero((top >= 0) & ~certain)
        if not len(open_rows):
            continue
        at, classes = np.nonzero(possible[open_rows] >= 0)
        values = possible[open_rows[at], classes]
        order = np.lexsort((classes, -values, at))
        at, classes, values = at[order], classes[order], values[order]
        # what follows a value that reaches its threshold in every sample decides nothing
        passed = np.cumsum(values >= high[classes]) - (values >= high[classes])
        start = np.flatnonzero(np.append(True, at[1:] != at[:-1]))
        kept = passed == np.repeat(passed[start], np.diff(np.append(start, len(at))))
        parts.append((open_rows[at[kept]] + span.start, classes[kept], values[kept]))
        count += int(kept.sum())
        if most is not None and count > most:
            return None
    rows, classes, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    return _Assigned(settled, rows, classes, values)


def _thresholds(given: np.ndarray, own: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the examples per label, and the mean probability of the label; infinity without an example."""
    sizes = np.bincount(given, minlength=K)
    sums = np.bincount(given, weights=own, minlength=K)
    return sizes, np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)


def _calibrated(C: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    seen = C.sum(axis=0)
    columns = np.where(seen > 0, C / np.where(seen > 0, seen, 1), np.eye(len(C)))
    return np.asarray(columns * (sizes / sizes.sum()))
