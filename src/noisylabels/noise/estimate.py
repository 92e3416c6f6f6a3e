"""Estimate the transition matrix and the noise rate from given labels, without clean labels.

Three methods use out-of-fold probabilities (of a model that was not trained on these examples); one uses
features and needs no training. Each returns an `Estimate`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, check_between, check_choice, check_whole
from noisylabels.core.deprecated import current_name
from noisylabels.core.labels import number_labels
from noisylabels.core.probabilities import match_probs
from noisylabels.core.rng import resample, uniforms
from noisylabels.noise.checks import check_labels, check_labels_probs, check_num_classes, numbers
from noisylabels.noise.confident_learning import JointSample, calibrated, joint_samples
from noisylabels.noise.neighbors import counted, first_guess, fitted, nearest, posterior

METHODS = ("confident_joint", "anchor", "dual_t", "neighbors")

PERCENTILE = 97.0
"""Percentile of a class's probabilities above which examples are ignored as anchor points, as outliers."""

TRUSTED = 0.9
"""The lowest trust at which to believe an estimate by neighbors (docs/measured-noise-estimates.md): digits
with noise rates up to 40 % are above it, pixels of photographs below."""

FURTHER = 10
"""Further neighbors, not used by the fit, whose labels measure its trust."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """An estimate of the label noise of a data set.

    Args:
        method: one of `METHODS`.
        transition: (K, K) float64, T[true, given], rows sum to 1.
        prior: (K,) float64, the frequencies of the true classes, which sum to 1.
        n: the number of labels it was estimated from.
        interval: the level of the intervals, such as 0.95; None without them.
        rate_interval: lower and upper end for the rate; the bootstrap's quantiles, centered on the estimate.
            They cover sampling error only, not the bias of the method.
        transition_interval: (2, K, K), lower and upper ends for the matrix.
        trust: for neighbors: how often the labels of ten further neighbors, not used by the fit, predict an
            example's label, relative to how often they should if the model held. If it is well below 1
            (below `TRUSTED`), neighbors in these features often belong to other classes, and the estimated
            rate is too high. (Classes that overlap look like noisy labels too, and trust may stay high.)
    """

    method: str
    transition: np.ndarray
    prior: np.ndarray
    n: int
    interval: float | None = None
    rate_interval: tuple[float, float] | None = None
    transition_interval: np.ndarray | None = None
    trust: float | None = None

    @property
    def trusted(self) -> bool:
        """Return whether trust is unknown or at least `TRUSTED`."""
        return self.trust is None or self.trust >= TRUSTED

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return len(self.prior)

    @property
    def rate(self) -> float:
        """The noise rate, 1 - Σ_k π_k T[k, k]."""
        return min(1.0, max(0.0, 1 - float(self.prior @ self.transition.diagonal())))

    @property
    def joint(self) -> np.ndarray:
        """The joint distribution, (K, K), Q[true, given] = π_true T[true, given]."""
        return np.asarray(self.prior[:, None] * self.transition)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain lists and numbers, for JSON."""
        ends = self.transition_interval
        return {
            "method": self.method,
            "n": self.n,
            "rate": self.rate,
            "rate_interval": None if self.rate_interval is None else list(self.rate_interval),
            "interval": self.interval,
            "prior": self.prior.tolist(),
            "transition": self.transition.tolist(),
            "transition_interval": None if ends is None else ends.tolist(),
            "trust": self.trust,
        }

    def __str__(self) -> str:
        ends = self.rate_interval
        # plainly, because the bias of each method can be several times as large
        between = f" ({100 * ends[0]:.0f} to {100 * ends[1]:.0f}, sampling error only)" if ends else ""
        return f"about {100 * self.rate:.0f} % of the labels look wrong{between}"


def estimate_transition(
    labels: object,
    probs: object = None,
    features: object = None,
    *,
    method: str | None = None,
    num_classes: int | None = None,
    class_names: Sequence[object] | None = None,
    percentile: float = PERCENTILE,
    neighbors: int = 2,
    interval: float | None = None,
    bootstrap: int = 200,
    seed: int = 0,
) -> Estimate:
    """Estimate the transition matrix, the class frequencies and the noise rate.

    | method | T | source |
    |---|---|---|
    | `confident_joint` | rows of the calibrated confident joint | Northcutt et al. 2021 |
    | `anchor` | T[i, :] = p(x_i), x_i the most confident example of i below a percentile | Liu and Tao 2016 |
    | `dual_t` | T = A B, A by anchors, B[l, j] the share of label j among predictions l | Yao et al. 2020 |
    | `neighbors` | P(a, b, c) = Σ π_k T[k, a] T[k, b] T[k, c], labels of neighbors | Zhu et al. 2021 |

    Args:
        labels: the N given labels: class numbers, or labels of any kind, see `core.labels.read_labels`; the
            classes are sorted.
        probs: (N, K) probabilities, rows sum to 1, for all methods except neighbors. They must be out of
            fold, because a model that has memorized its labels agrees with them. The columns of a frame are
            matched with the classes by name, see `core.probabilities.match_probs`.
        features: (N, D) numbers, for neighbors, which compares them unscaled by Euclidean distance.
        method: one of `METHODS`; by default confident_joint if `probs` is given, else neighbors.
        num_classes: K; by default the columns of `probs`, or the number of different labels.
        class_names: K names in the order of the class numbers, for labels that do not have all classes.
        percentile: for anchor and dual_t; 100 uses the most confident example itself.
        neighbors: the number of neighbors per example, 2 or more.
        interval: the level of intervals, such as 0.95; None for none. They cover sampling error, not the
            bias of the method.
        bootstrap: the number of bootstrap samples: of examples, drawn with replacement; for neighbors of
            labels, drawn from the fitted model, because examples share neighbors.
        seed: of the bootstrap.

    Returns:
        The estimate.

    Raises:
        InputError: the input that the method needs is missing or malformed, or an argument is out of range.

    Where we differ: for `anchor` the class frequencies solve Σ_k π_k T[k, j] = the frequency of label j, by
    maximum likelihood; Patrini's and Xia's code sets the column of a class to zero while it searches for an
    anchor, which changes rows found later, and is not copied. `neighbors` (HOC in the source) is fitted by
    maximum likelihood with expectation maximization over all examples, where Zhu et al. match moments up to
    the third order by gradient descent over samples.

    >>> import noisylabels as nl
    >>> train, _ = nl.load("digits")
    >>> given = nl.corrupt(train.labels, "symmetric:0.3", seed=1).given
    >>> print(estimate_transition(given, features=train.images.flatten(1)))
    about 30 % of the labels look wrong
    """
    if method is None:
        method = "confident_joint" if probs is not None else "neighbors"
    method = check_choice(current_name("estimate_transition(method=...)", method), METHODS, "method")
    check_between(percentile, "percentile", 0, 100, open_low=True)
    check_whole(neighbors, "neighbors", 2)
    if interval is not None:
        check_between(interval, "interval", 0, 1, open_low=True, open_high=True)
        check_whole(bootstrap, "bootstrap", 2)
    if method == "neighbors":
        found_labels = number_labels(labels, num_classes, class_names)
        num_classes = found_labels.num_classes if num_classes is None else num_classes
        given, around = _around(found_labels.codes, features, max(2, num_classes), neighbors + FURTHER)
        fits = _by_neighbors(given, around, neighbors + 1, max(2, num_classes), seed)
    else:
        if probs is None:
            raise InputError(
                f"the method {method} needs probs, (N, K) probabilities; or use method neighbors"
            )
        found_labels, probs = match_probs(labels, probs, class_names)
        checked, given = check_labels_probs(found_labels.codes, probs)
        if num_classes is not None and num_classes != checked.shape[1]:
            raise InputError(f"num_classes is {num_classes}, but probs have {checked.shape[1]} columns")
        if method == "confident_joint":
            draws = 0 if interval is None else bootstrap
            fits = map(_of_joint, joint_samples(given, checked, draws, seed))
        else:
            fits = _by_anchors(given, np.asarray(checked), percentile, method == "dual_t", seed)
    T, prior = next(fits)
    plain = Estimate(method, T, prior, len(given))
    if method == "neighbors":
        plain = replace(plain, trust=_trust(given, around[:, neighbors + 1 :], T, prior))
    if interval is None:
        return plain
    samples = [Estimate(method, *found, len(given)) for found in itertools.islice(fits, bootstrap)]
    ends = [(1 - interval) / 2, (1 + interval) / 2]
    rates = np.array([each.rate for each in samples])
    low, high = np.clip(np.quantile(rates, ends) + plain.rate - rates.mean(), 0, 1).tolist()
    matrices = np.quantile(np.stack([each.transition for each in samples]), ends, axis=0)
    return replace(plain, interval=interval, rate_interval=(low, high), transition_interval=matrices)


Found = tuple[np.ndarray, np.ndarray]
"""Transition matrix (K, K) and class frequencies (K,)."""


def _around(
    labels: object, features: object, num_classes: int | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, (N,), and the positions of each example and its neighbors, (N, at most 1 + count)."""
    if features is None:
        raise InputError("the method neighbors needs features, (N, D) numbers; or pass probs")
    given = check_labels(labels, num_classes)
    points = numbers(features, "features", "(N, D)", np.float32)
    if points.ndim < 2 or len(points) != len(given):
        raise InputError(f"features have shape {points.shape}, expected ({len(given)}, D): one row per label")
    points = points.reshape(len(points), -1)
    if not np.isfinite(points).all():
        raise InputError(
            "features contain NaN or infinity, expected finite numbers; impute them, or remove these examples"
        )
    least = count - FURTHER
    near = nearest(points - points.mean(axis=0), max(least, min(count, len(given) - 1)))
    return given, np.concatenate([np.arange(len(given))[:, None], near], axis=1)


def _by_neighbors(
    given: np.ndarray, around: np.ndarray, size: int, num_classes: int | None, seed: int
) -> Iterator[Found]:
    """Yield the fitted model, then, without end, models fitted to labels drawn from it."""
    K = check_num_classes(max(2, int(given.max()) + 1) if num_classes is None else num_classes, least=2)
    T, prior = fitted(*counted(given[around[:, :size]]), *first_guess(given, K))
    yield T, prior
    # from all neighbors: fewer would give true classes that change from one neighbor to the next
    true = posterior(given[around], T, prior).argmax(axis=1)
    for draw in itertools.count():
        u = uniforms(len(given), seed, "bootstrap", draw)
        drawn = (u[:, None] >= np.cumsum(T, axis=1)[true]).sum(axis=1).clip(max=K - 1)
        yield fitted(*counted(drawn[around[:, :size]]), T, prior)


def _trust(given: np.ndarray, further: np.ndarray, T: np.ndarray, prior: np.ndarray) -> float | None:
    """Return how often labels are predicted from those of further neighbors, relative to the expectation."""
    if not further.size:
        return None
    expected = posterior(given[further], T, prior) @ T
    right = float((expected.argmax(axis=1) == given).mean())
    return right / float(expected.max(axis=1).mean())


def _of_joint(sample: JointSample) -> Found:
    """Return T and prior of the calibrated confident joint; a class without counts keeps its labels."""
    Q = calibrated(sample.counts, sample.sizes)
    prior = Q.sum(axis=1)
    T = np.where(prior[:, None] > 0, Q / np.where(prior > 0, prior, 1)[:, None], np.eye(len(Q)))
    return T, prior


def _by_anchors(
    given: np.ndarray, p: np.ndarray, percentile: float, dual: bool, seed: int
) -> Iterator[Found]:
    """Yield T and prior by anchors or dual-T, then, without end, those of bootstrap samples."""
    estimate = _dual_t if dual else _anchor
    yield estimate(given, p, percentile)
    for draw in itertools.count():
        chosen = resample(len(given), seed, "bootstrap", draw)
        yield estimate(given[chosen], p[chosen], percentile)


def _anchor(given: np.ndarray, p: np.ndarray, percentile: float) -> Found:
    T = _anchors(p, percentile)
    return T, _prior(T, given)


def _dual_t(given: np.ndarray, p: np.ndarray, percentile: float) -> Found:
    """Return T = A B and the prior; a class that is never predicted has the row of the identity in B."""
    K = p.shape[1]
    B = np.zeros((K, K))
    np.add.at(B, (p.argmax(axis=1), given), 1.0)
    seen = B.sum(axis=1, keepdims=True)
    B = np.where(seen > 0, B / np.maximum(seen, 1), np.eye(K))
    T = _anchors(p, percentile) @ B
    return T, _prior(T, given)


def _anchors(p: np.ndarray, percentile: float) -> np.ndarray:
    """Return the probabilities of an anchor point of each class, (K, K), rows sum to 1."""
    T = np.empty((p.shape[1], p.shape[1]))
    for k, column in enumerate(p.T):
        if percentile < 100:
            column = np.where(column < np.percentile(column, percentile, method="higher"), column, -1.0)
        T[k] = p[column.argmax()]
    return T


def _prior(T: np.ndarray, given: np.ndarray, rounds: int = 1000) -> np.ndarray:
    """Return the class frequencies of maximum likelihood, (K,)."""
    share = np.bincount(given, minlength=len(T)) / len(given)
    prior = share.copy()
    for _ in range(rounds):
        before = prior
        prior = prior * (T @ (share / np.maximum(prior @ T, 1e-300)))
        prior /= prior.sum()
        if abs(prior - before).max() < 1e-9:
            break
    return prior
