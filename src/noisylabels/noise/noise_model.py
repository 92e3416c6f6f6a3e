"""A model of how noisy labels follow from out-of-fold probabilities: their power and a transition matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from noisylabels.core.rng import uniforms

POWERS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Powers of the probabilities that are tried. Models that learn from noisy labels are underconfident about
the true class, so a power above 1 usually fits best."""

PRIOR = 1.0
"""Pseudo-examples per true class, spread evenly over the given labels."""

REJECTED = 1.0
"""Standard deviations above its mean from which the likelihood ratio rejects the simpler noise model."""

_ROUNDS = 30
_ROUNDS = 30
_ROWS, _VALUES = 20_000, 400_000  # rows, and probabilities, that are fitted
_LEAST = 1e-9
_Tied = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class NoiseModel:
    """How given labels follow from probabilities: P(y | x) = Σ_k softmax(power log p(x))_k T[k, y].

    Args:
        power: the exponent that makes the probabilities those of the true class.
        transition: (K, K) float64, T[true, given], rows sum to 1.
        simpler: whether all other labels of a class are equally likely.
    """

    power: float
    transition: np.ndarray
    simpler: bool


def sample(n: int, num_classes: int) -> np.ndarray:
    """Return the positions of the examples by which a noise model of n examples is fitted."""
    most = min(_ROWS, max(1, _VALUES // num_classes))
    return np.arange(n) if n <= most else np.argsort(uniforms(n, 0, "posterior"))[:most]


def fit_noise_model(
    probs: np.ndarray, labels: np.ndarray, simplest: bool, powers: Sequence[float] = POWERS
) -> NoiseModel:
    """Return the noise model under which given labels are most likely.

    Expectation maximization fits T for each power.

    Args:
        probs: (N, K), out of fold.
        labels: (N,) int64 in [0, K).
        simplest: fit one noise rate, one per class, and a rate per pair of classes, and keep the first that a
            likelihood ratio test against the next does not reject (`REJECTED`). Otherwise the rates per pair
            are kept.
        powers: powers of the probabilities that are tried.

    Source: see `audit.posterior.label_posterior`.

    >>> p = np.repeat([[0.7, 0.3], [0.3, 0.7]], 50, axis=0)
    >>> fit_noise_model(p, np.repeat([0, 1], 50), simplest=True).power
    3.0
    """
    n, K = probs.shape
    found, kept = _best(probs, labels, _per_pair, powers), False
    for simpler, free in ((_per_class, K * (K - 2)), (_overall, K - 1)) if simplest else ():
        other = _best(probs, labels, simpler, powers)
        if free > 0 and 2 * n * (other[0] - found[0]) > free + REJECTED * (2 * free) ** 0.5:
            break
        found, kept = other, True
    return NoiseModel(*found[1:], kept)


def _best(
    p: np.ndarray, given: np.ndarray, tied: _Tied, powers: Sequence[float]
) -> tuple[float, float, np.ndarray]:
    """Return the least cost of all powers, that power, and the transition matrix."""
    fits = [_fit(p, given, power, tied) for power in powers]
    best = int(np.argmin([cost for cost, _ in fits]))
    return fits[best][0], powers[best], fits[best][1]


def _fit(p: np.ndarray, given: np.ndarray, power: float, tied: _Tied) -> tuple[float, np.ndarray]:
    """Return the negative log likelihood of the labels per example, and the transition matrix."""
    K = p.shape[1]
    order = np.argsort(given, kind="stable")
    y = given[order]
    present, starts = np.unique(y, return_index=True)
    tempered = sharpened(p[order], power)
    T = 0.8 * np.eye(K) + 0.2 / K
    for _ in range(_ROUNDS):
        joint = tempered * T.T[y]
        joint /= joint.sum(axis=1, keepdims=True)
        counts = np.full((K, K), PRIOR / K)
        counts[:, present] += np.add.reduceat(joint, starts, axis=0).T
        T = tied(counts)
    return -float(np.log((tempered * T.T[y]).sum(axis=1)).mean()), T


def _per_pair(counts: np.ndarray) -> np.ndarray:
    """Return the transition matrix of expected counts (true class, given label)."""
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _per_class(counts: np.ndarray) -> np.ndarray:
    """Return the same where the other labels of a class are equally likely."""
    return _uniform(1 - np.diag(counts) / counts.sum(axis=1))


def _overall(counts: np.ndarray) -> np.ndarray:
    """Return the same where all classes have one noise rate too."""
    return _uniform(np.full(len(counts), 1 - counts.trace() / counts.sum()))


def _uniform(rates: np.ndarray) -> np.ndarray:
    """Return the transition matrix of symmetric noise with a rate per class, (K,)."""
    K = len(rates)
    return np.asarray(np.where(np.eye(K, dtype=bool), 1 - rates[:, None], rates[:, None] / max(1, K - 1)))


def sharpened(p: np.ndarray, power: float) -> np.ndarray:
    """Return probabilities (N, K) raised to a power, with rows of sum 1 again."""
    log_p = power * np.log(p + _LEAST)
    q = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return np.asarray(q / q.sum(axis=1, keepdims=True))
