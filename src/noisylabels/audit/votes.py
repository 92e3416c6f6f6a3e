"""Out-of-fold probabilities of two judges that need no training loop: a ridge classifier and neighbor votes.

On the features of a frozen encoder both are strong, and they err on other examples than a network does. What
is left out is the label of the judged example:

- Votes: exactly. No number that judges an example depends on its label.
- Ridge: its predictions exactly, for a given penalty and scale. These two are shared: the labels of all
  examples (of 5,000, if there are more) choose them, the judged one included. It is one of N terms of a mean
  log-likelihood, so its weight in them is of the order 1 / N.

Where equal examples are named (`copies`), those of a group are left out together: a copy knows the label of
the judged example if both were labeled together.

All features are shared, those of the judged example included: they center, scale and rotate the rows and set
the unit of the penalty. No label enters there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, check_whole
from noisylabels.core.large_arrays import large_array
from noisylabels.core.rng import uniforms
from noisylabels.noise.checks import check_labels, numbers

NEIGHBORS = 30
"""Neighbors that vote on an example."""

COMPONENTS, POWER = 200, -0.25
"""Principal components that neighbors are compared by, and the power of its variance that scales each one: a
compromise between cosine similarity (0) and whitening (-0.5)."""

CANDIDATES = 50_000
"""Most examples that may be neighbors: a sample of a larger set, since the time grows with both."""

STRENGTHS = tuple(10.0 ** (k / 2) for k in range(-3, 6))
"""Ridge penalties that are tried, as multiples of the mean eigenvalue of the features' Gram matrix."""

_TRIED = 5_000  # examples by whose labels the penalty is chosen
_BLOCK = 1 << 24  # similarities held at once
_ROWS = 1 << 14  # probabilities of so many examples are computed at once
_LEAST = 1e-3  # vote of each class, so that none is impossible
_SHRINK = 1e-4  # penalty of the offsets of the classes


def neighbor_votes(
    features: object,
    labels: object,
    num_classes: int,
    count: int = NEIGHBORS,
    *,
    copies: np.ndarray | None = None,
    dtype: Any = np.float64,
) -> np.ndarray:
    """Return the share of each class among the labels of an example's nearest neighbors.

    Similarity is the cosine of the first 200 principal components, each scaled by the power -1/4 of its
    variance. No example votes for itself, so no row depends on the label of its own example; mean and
    principal components are those of all features.

    Args:
        features: (N, D) finite numbers, N >= 2.
        labels: (N,) integers in [0, K).
        num_classes: K.
        count: neighbors that vote; all others where there are fewer.
        copies: (N,) the first example that equals each one, see `first_equals`; none votes on another.
        dtype: type of the result, which is computed as float64, some rows at a time.

    Returns:
        (N, K), rows sum to 1, in a `large_array`; no class has a share of exactly 0.

    Raises:
        InputError: labels out of range, or features of another shape.

    >>> points = [[0.0, 1.0], [0.1, 1.0], [0.2, 1.1], [1.0, 0.0], [1.0, 0.1], [1.1, 0.2]]
    >>> neighbor_votes(points, [0, 0, 1, 1, 1, 1], 2, count=2).round(1)[2].tolist()
    [1.0, 0.0]
    """
    X, given = checked_features(features, labels, num_classes)
    check_whole(count, "number of neighbors", 1)
    n = len(X)
    points = _compressed(X)
    voters = np.arange(n)
    if n > CANDIDATES:
        voters = np.sort(np.argsort(uniforms(n, 0, "voters"))[:CANDIDATES])
    place = np.full(n, -1)  # of each example among the voters
    place[voters] = np.arange(len(voters))
    others, of_voter = points[voters].T.copy(), given[voters]
    groups = {} if copies is None else _groups(copies)
    largest = max((int((place[group] >= 0).sum()) for group in groups.values()), default=1)
    count = min(count, len(voters) - max(1, largest))
    votes = large_array((n, num_classes), dtype)
    for rows in np.array_split(np.arange(n), 1 + n * len(voters) // _BLOCK):
        near = points[rows] @ others
        own = np.flatnonzero(place[rows] >= 0)
        near[own, place[rows[own]]] = -np.inf
        if copies is not None:
            for at in np.flatnonzero(np.isin(copies[rows], list(groups))):
                others_equal = place[groups[copies[rows[at]]]]
                near[at, others_equal[others_equal >= 0]] = -np.inf
        chosen = of_voter[np.argpartition(near, -count, axis=1)[:, -count:]]
        codes = chosen + np.arange(len(rows))[:, None] * num_classes
        counts = np.bincount(codes.ravel(), minlength=len(rows) * num_classes).reshape(len(rows), -1)
        shares = counts / count + _LEAST
        votes[rows] = shares / shares.sum(axis=1, keepdims=True)
    return votes


def ridge_probs(
    features: object,
    labels: object,
    num_classes: int,
    *,
    copies: np.ndarray | None = None,
    dtype: Any = np.float64,
) -> np.ndarray:
    """Return the probabilities of a ridge classifier for each example, fitted without its label.

    The classifier regresses the one-hot labels on rows that are centered and scaled to length 1, with an
    intercept that is not penalized. Its leave-one-out predictions have a closed form, s = (ŝ - h y) / (1 - h)
    with the leverage h, which equals a fit without the row up to rounding (float32, about 1e-5). Of m equal
    rows all are left out, s = (ŝ - h Σ y) / (1 - m h) with the sum over the m. They become
    probabilities by softmax(a s + b); a and b are fitted to the given labels, as is the penalty, the one with
    the highest likelihood of the labels that were left out. No clean label is needed.

    Left out of the prediction s of an example: its row and its label. Shared by all examples: the center and
    the length of the rows, which depend on features alone; and the penalty, a and b, on which each label has
    an influence of the order 1 / N. (The penalty is one of a few values: a label can move it by a step only
    where two of them are about equally likely.)

    Args:
        features: (N, D) finite numbers, N >= 2.
        labels: (N,) integers in [0, K).
        num_classes: K.
        copies: (N,) the first example that equals each one, see `first_equals`; they are left out together.
        dtype: type of the result, which is computed as float64, some rows at a time.

    Returns:
        (N, K), rows sum to 1, in a `large_array`.

    Raises:
        InputError: labels out of range, or features of another shape.

    Source: the leave-one-out residuals of a linear smoother, Hastie, Tibshirani, Friedman, "The Elements of
    Statistical Learning", section 7.10; the leverage of the intercept is 1 / N.

    >>> points = [[0.0, 1.0], [0.1, 1.0], [0.2, 1.1], [1.0, 0.0], [1.0, 0.1], [1.1, 0.2]]
    >>> ridge_probs(points, [0, 0, 0, 1, 1, 1], 2).argmax(axis=1).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    X, given = checked_features(features, labels, num_classes)
    n, center = len(X), X.mean(axis=0)
    smoother = _Smoother(_by_rows(lambda rows: _unit(X[rows] - center), X.shape), given, num_classes, copies)
    some = np.arange(n) if n <= _TRIED else np.argsort(uniforms(n, 0, "penalty"))[:_TRIED]
    best, fitted = np.inf, None
    for strength in STRENGTHS:
        predicted = smoother.left_out(strength, some)
        scale = fit_scale(predicted, given[some])
        cost = -_log_softmax(predicted, *scale)[np.arange(len(some)), given[some]].mean()
        if cost < best:
            best, fitted = float(cost), (strength, scale)
    assert fitted is not None  # every cost is finite
    strength, scale = fitted
    made = large_array((n, num_classes), dtype)
    for start in range(0, n, _ROWS):
        rows = np.arange(start, min(n, start + _ROWS))
        made[rows] = np.exp(_log_softmax(smoother.left_out(strength, rows), *scale))
    return made


def fit_scale(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return a > 0 and b, (K,), so that softmax(a scores + b) has the highest likelihood of the labels.

    Args:
        scores: (N, K) numbers.
        labels: (N,) int64 in [0, K).
    """
    from scipy.optimize import minimize

    n, K = scores.shape
    scores = scores.astype(np.float64)
    rows = np.arange(n)

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        scale, offsets = np.exp(values[0]), values[1:]
        log_p = _log_softmax(scores, scale, offsets)
        off = np.exp(log_p)
        off[rows, labels] -= 1
        gradient = np.concatenate(
            [[scale * (off * scores).sum() / n], off.mean(axis=0) + 2 * _SHRINK * offsets]
        )
        return -log_p[rows, labels].mean() + _SHRINK * (offsets**2).sum(), gradient

    spread = float(scores.std()) or 1.0
    start = np.concatenate([[np.log(1 / spread)], np.zeros(K)])
    bounds = [(start[0] - 10, start[0] + 5), *K * [(-20, 20)]]  # labels that are all predicted have no best a
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(np.exp(found[0])), np.asarray(found[1:])


class _Smoother:
    """Ridge regressions of the same features and targets, decomposed once for all penalties.

    The intercept is not penalized. The rows are centered here, or the closed form would not be exact.

    Args:
        points: (N, D) floats; they are centered in place.
        labels: (N,) int64 in [0, K), whose one-hot codes are the targets.
        num_classes: K.
        copies: (N,) the first row that equals each one; None without equal rows.
    """

    def __init__(
        self, points: np.ndarray, labels: np.ndarray, num_classes: int, copies: np.ndarray | None = None
    ) -> None:
        self.groups = {} if copies is None else _groups(copies)
        self.copies = copies
        n, dimensions = points.shape
        points -= points.mean(axis=0)
        if n > dimensions:
            values, vectors = np.linalg.eigh(points.T @ points)
            kept = values > 1e-6 * values[-1]
            values, vectors = values[kept], vectors[:, kept]
            roots = np.sqrt(values)
            shape = (n, len(values))
            self.left = _by_rows(lambda rows: (points[rows] @ vectors) / roots, shape, points.dtype)
        else:
            values, vectors = np.linalg.eigh(points @ points.T)
            kept = values > 1e-6 * values[-1]
            values, self.left = values[kept], vectors[:, kept]
        self.values = values
        self.unit = float(values.sum()) / min(n, dimensions) if len(values) else 1.0
        self.labels = labels
        kind = self.left.dtype
        self.mean = np.bincount(labels, minlength=num_classes).astype(kind) / kind.type(n)
        self.along = np.zeros((self.left.shape[1], num_classes), kind)
        for start in range(0, n, _ROWS):
            rows = slice(start, start + _ROWS)
            self.along += self.left[rows].T @ (self._targets(labels[rows]) - self.mean)

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        made = np.zeros((len(labels), len(self.mean)), self.mean.dtype)
        made[np.arange(len(labels)), labels] = 1
        return made

    def left_out(self, strength: float, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the predictions for some rows (all by default), each fitted without its row, (M, K)."""
        left = self.left if rows is None else self.left[rows]
        targets = self._targets(self.labels if rows is None else self.labels[rows])
        counts = np.ones((len(targets), 1), targets.dtype)
        if self.copies is not None:
            firsts = self.copies if rows is None else self.copies[rows]
            for at in np.flatnonzero(np.isin(firsts, list(self.groups))):
                group = self.groups[firsts[at]]
                targets[at], counts[at] = self._targets(self.labels[group]).sum(axis=0), len(group)
        shrunk = self.values / (self.values + strength * self.unit)
        fitted = left @ (shrunk[:, None] * self.along) + self.mean
        leverage = (np.square(left) @ shrunk + 1 / len(self.labels))[:, None]
        leverage = np.minimum(leverage, (1 - 1e-4) / counts)
        return np.asarray((fitted - leverage * targets) / (1 - counts * leverage))


def _groups(copies: np.ndarray) -> dict[int, np.ndarray]:
    """Return the positions of the equal examples of each group, by its first."""
    order = np.argsort(copies, kind="stable")
    firsts, starts, counts = np.unique(copies[order], return_index=True, return_counts=True)
    found = zip(firsts.tolist(), starts.tolist(), counts.tolist(), strict=True)
    return {first: order[start : start + count] for first, start, count in found if count > 1}


def checked_features(features: object, labels: object, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return checked features (N, D) as float32 and labels (N,) as int64."""
    X = numbers(features, "features", "(N, D)", np.float32)
    given = check_labels(labels, num_classes)
    if X.ndim != 2 or len(X) != len(given) or len(X) < 2:
        raise InputError(
            f"features have shape {X.shape} for {len(given)} labels, expected (N, D) with one row per label, "
            "2 or more"
        )
    return X, given


def _unit(rows: np.ndarray) -> np.ndarray:
    """Return the rows scaled to length 1; a row of zeros stays."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _compressed(X: np.ndarray) -> np.ndarray:
    """Return the scaled principal components of the rows, at most `COMPONENTS`, as rows of length 1."""
    n, center = len(X), X.mean(axis=0)
    gram = np.zeros((X.shape[1], X.shape[1]), X.dtype)
    for start in range(0, n, _ROWS):
        centered = X[start : start + _ROWS] - center
        gram += centered.T @ centered
    values, vectors = np.linalg.eigh(gram / n)
    first = slice(max(0, len(values) - COMPONENTS), None)
    values, vectors = values[first], vectors[:, first]
    kept = values > 1e-9 * values[-1]
    axes, scale = vectors[:, kept], values[kept] ** POWER
    return _by_rows(lambda rows: _unit((X[rows] - center) @ axes * scale), (n, len(scale)))


def _by_rows(
    part: Callable[[slice], np.ndarray], shape: tuple[int, ...], dtype: Any = np.float32
) -> np.ndarray:
    """Return a `large_array` that is computed some rows at a time."""
    made = large_array(shape, dtype)
    for start in range(0, shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        made[rows] = part(rows)
    return made


def _log_softmax(scores: np.ndarray, scale: float, offsets: np.ndarray) -> np.ndarray:
    z = scale * scores + offsets
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))
