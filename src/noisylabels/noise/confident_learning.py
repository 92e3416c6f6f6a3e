"""The confident joint of given labels and out-of-fold probabilities, and its bootstrap samples.

A bootstrap sample changes the thresholds a little, and so the class of few examples. The probabilities are
read once for all samples; each sample then decides on these few examples and counts the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.rng import resample
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.checks import check_labels, check_labels_probs

_ERRORS = 6  # standard errors within which the thresholds of samples are expected
_FEW = 30  # examples: a sample lacks them all with a probability of e^-30
_ROUNDING = 1e-9


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
    return calibrated(C, np.bincount(check_labels(labels, len(C)), minlength=len(C)))


@dataclass(frozen=True, eq=False)
class JointSample:
    """The confident joint of one sample of the examples.

    Args:
        counts: (K, K) int64, C[true, given].
        sizes: (K,) int64, the examples per given label.
        chosen: (N,) int64, the positions in the sample, valid until the next sample is drawn; None for all.
    """

    counts: np.ndarray
    sizes: np.ndarray
    chosen: np.ndarray | None = None


def joint_samples(
    given: np.ndarray, probs: CheckedProbs, draws: int = 0, seed: int = 0, most: int | None = None
) -> Iterator[JointSample]:
    """Yield the confident joint of all examples, then those of bootstrap samples of as many examples.

    Args:
        given: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        draws: number of bootstrap samples, drawn from the streams ("bootstrap", draw) of the seed.
        seed: seed of the samples.
        most: the number of probabilities, 24 bytes each, that may be open, see `_Groups`; if there are more,
            because most predictions are alike, fewer samples or none are yielded.
    """
    n, K = probs.shape
    own = probs.at(given)
    sums = np.bincount(given, weights=own, minlength=K)
    sizes = np.bincount(given, minlength=K)
    threshold = _thresholds(sums, sizes)
    low, high, least = _bounds(given, own, sizes, threshold) if draws else (threshold, threshold, threshold)
    groups = _grouped(probs, given, low, high, most)
    if groups is None:
        draws, groups = 0, _grouped(probs, given, threshold, threshold, None)
        assert groups is not None
    yield JointSample(groups.counts(np.bincount(groups.group, minlength=groups.total), threshold), sizes)
    chosen, member, labels = np.empty((3, n), np.int64)  # written by each draw
    values = np.empty(n)
    for draw in range(draws):
        resample(n, seed, "bootstrap", draw, out=chosen)
        np.take(groups.group, chosen, out=member, mode="clip")
        np.take(groups.given, member, out=labels, mode="clip")  # from fewer places than from `given`: faster
        np.take(own, chosen, out=values, mode="clip")
        sums = np.bincount(labels, weights=values, minlength=K)
        weights = np.bincount(member, minlength=groups.total)
        sizes = groups.sizes(weights)
        threshold = _thresholds(sums, sizes)
        outside = (threshold < low) | (threshold > high)
        if outside.any():  # rare
            low, high = np.where(outside, least, low), np.where(outside, np.inf, high)
            groups = _grouped(probs, given, low, high, most)
            if groups is None:
                return
            weights = np.bincount(groups.group[chosen], minlength=groups.total)
        yield JointSample(groups.counts(weights, threshold), sizes, chosen)


@dataclass(frozen=True, eq=False)
class _Groups:
    """The examples in groups whose class is the same for all thresholds between two bounds.

    Args:
        group: (N,) int64, the number of each example's group, 0 to G - 1. The groups are sorted by given
            label; those of a label are: one for each true class, one for examples that reach no threshold,
            and one for each open example, whose class depends on the thresholds.
        given: (G,) the given label of each group.
        starts: (K,) the first group of each given label.
        opened, classes, codes, values: (M,) the probabilities on which the class of an open example depends:
            its group, the class, class * K + given label, and the probability, sorted by group, then by
            probability, largest first; the first that reaches the threshold of its class decides.
    """

    group: np.ndarray
    given: np.ndarray
    starts: np.ndarray
    opened: np.ndarray
    classes: np.ndarray
    codes: np.ndarray
    values: np.ndarray

    @property
    def total(self) -> int:
        """The number of groups G."""
        return len(self.given)

    def sizes(self, weights: np.ndarray) -> np.ndarray:
        """Return the examples per given label, (K,), of a sample with so many examples per group."""
        return np.add.reduceat(weights, self.starts)

    def counts(self, weights: np.ndarray, threshold: np.ndarray) -> np.ndarray:
        """Return the confident joint, (K, K), of a sample with so many examples per group."""
        K = len(self.starts)
        counts: np.ndarray = weights[np.arange(K)[:, None] + self.starts].reshape(-1)
        reached = np.flatnonzero(self.values >= threshold[self.classes])
        opened = self.opened[reached]
        first = np.ones(len(opened), bool)
        first[1:] = opened[1:] != opened[:-1]
        np.add.at(counts, self.codes[reached[first]], weights[opened[first]])
        return counts.reshape(K, K)


def _grouped(
    probs: CheckedProbs, given: np.ndarray, low: np.ndarray, high: np.ndarray, most: int | None
) -> _Groups | None:
    """Return the groups for thresholds in [low, high]; None if more than `most` probabilities are open."""
    K = len(low)
    group = np.full(len(given), K)  # the true class, or K
    parts, count = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))], 0
    for span, p in probs.blocks():
        possible = np.where(p >= low, p, -1.0)
        best = possible.argmax(axis=1)
        top = possible[np.arange(len(p)), best]
        certain = (top >= 0) & (top >= high[best])
        group[span][certain] = best[certain]
        rows = np.flatnonzero((top >= 0) & ~certain)
        if not len(rows):
            continue
        at, classes = np.nonzero(possible[rows] >= 0)
        values = possible[rows[at], classes]
        order = np.lexsort((classes, -values, at))
        at, classes, values = at[order], classes[order], values[order]
        # what follows a value that reaches its threshold in every sample decides nothing
        sure = (values >= high[classes]).astype(np.int64)
        passed: np.ndarray = np.cumsum(sure) - sure
        start = np.searchsorted(at, np.arange(len(rows)))
        kept = np.flatnonzero(passed == passed[start][at])
        parts.append((rows[at[kept]] + span.start, classes[kept], values[kept]))
        count += len(kept)
        if most is not None and count > most:
            return None
    rows, classes, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    places = np.flatnonzero(np.bincount(rows, minlength=len(given)))
    sizes = K + 1 + np.bincount(given[places], minlength=K)
    starts = np.cumsum(sizes) - sizes
    group += starts[given]
    places = places[np.argsort(given[places], kind="stable")]
    group[places] = np.delete(np.arange(sizes.sum()), (starts[:, None] + np.arange(K + 1)).reshape(-1))
    opened = group[rows]
    codes = classes * K + given[rows]
    order = np.argsort(opened, kind="stable")
    sorted_values = (each[order] for each in (opened, classes, codes, values))
    return _Groups(group, np.repeat(np.arange(K), sizes), starts, *sorted_values)


def _thresholds(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the mean probability of each label; infinity for one without an example."""
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)


def _bounds(
    given: np.ndarray, own: np.ndarray, sizes: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bounds that the thresholds of samples hardly ever leave, and their smallest possible values."""
    K, some = len(sizes), sizes > 0
    squares = np.bincount(given, weights=np.square(own), minlength=K) / np.maximum(sizes, 1)
    center = np.where(some, mean, 0.0)
    far = _ERRORS * np.sqrt(np.maximum(squares - center**2, 0) / np.maximum(sizes, 1)) + _ROUNDING
    least = np.full(K, np.inf)
    np.minimum.at(least, given, own)
    least -= _ROUNDING
    many = sizes > _FEW  # a sample may lack a label with few examples
    low = np.where(some, np.where(many, np.maximum(center - far, least), least), np.inf)
    return low, np.where(many, center + far, np.inf), least


def calibrated(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return calibrated joint distributions, (..., K, K), of counts and label counts, (..., K)."""
    seen = counts.sum(axis=-2, keepdims=True)
    columns = np.where(seen > 0, counts / np.maximum(seen, 1), np.eye(counts.shape[-1]))
    return np.asarray(columns * (sizes / sizes.sum(axis=-1, keepdims=True))[..., None, :])
