"""Models of label noise that are fitted to given labels and out-of-fold probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from noisylabels.core.rng import uniforms
from noisylabels.noise.checked_probs import CheckedProbs

POWERS = (0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Powers of the probabilities that are tried. Models that learn from noisy labels are underconfident about
the true class, so a power above 1 fits them best; a single network is overconfident."""

PRIOR = 1.0
"""Pseudo-examples per true class, spread evenly over the given labels."""

REJECTED = 1.0
"""Standard deviations above its mean from which the likelihood ratio rejects the simpler noise model."""

_ROUNDS = 30
_ROWS, _VALUES = 20_000, 400_000  # rows, and probabilities, by which a model is fitted
_LEAST = 1e-9
_Tied = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """A model of the given label, P(y | x) = Σ_k softmax(power log p(x))_k T[k, y].

    Args:
        cost: the negative log likelihood of the given labels, per example.
        expected_cost: the same expected for other examples, by Akaike's criterion: the cost, which a model of
            more parameters lowers by fitting chance, plus the number of parameters per example.
        power: the exponent of the probabilities, which calibrates them.
        transition: (K, K) float64, T[true, given], rows sum to 1.
    """

    cost: float
    expected_cost: float
    power: float
    transition: np.ndarray

    def posterior(self, p: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Return P(true class | x, y), (M, K) float64, by Bayes' rule.

        Args:
            p: (M, K), out of fold.
            given: (M,) int64.
        """
        q: np.ndarray = _tempered(p, self.power) * self.transition.T[given]
        return np.asarray(q / q.sum(axis=1, keepdims=True))

    def wrong(self, probs: CheckedProbs, given: np.ndarray) -> np.ndarray:
        """Return the probability that each given label is wrong, (N,) float64."""
        right = probs.per_row(lambda p, y: self.posterior(p, y)[np.arange(len(y)), y], given)
        return np.asarray(np.clip(1 - right, 0.0, 1.0))

    def whole(self, probs: CheckedProbs, given: np.ndarray) -> np.ndarray:
        """Return `posterior` of all examples, (N, K) float64."""
        made = np.empty(probs.shape)
        for rows, p in probs.blocks():
            made[rows] = self.posterior(p, given[rows])
        return made


class NoiseModels:
    """Noise models of one data set, each fitted when it is first used.

    Expectation maximization fits the transition matrix; the power is the one of `POWERS` with the highest
    likelihood of the given labels. The probabilities must be out of fold, or the likelihood would count
    labels that a model has memorized. Noise that depends on the class alone fits these models. Human
    annotators err on the images that models find hard too, so on human noise the expected number of wrong
    labels is too low.

    Args:
        given: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        powers: powers of the probabilities that are tried, ascending.

    Source: the noise model is that of Sukhbaatar et al., "Training convolutional networks with noisy labels",
    2015, fitted after training as in Dawid and Skene, 1979, with one annotator.

    >>> p = np.repeat([[0.9, 0.1], [0.1, 0.9]], 50, axis=0)
    >>> y = np.repeat([0, 1], 50)
    >>> y[0] = 1
    >>> found = NoiseModels(y, CheckedProbs(p, "probs")).overall
    >>> found.transition.diagonal().round(1).tolist()
    [1.0, 1.0]
    """

    def __init__(self, given: np.ndarray, probs: CheckedProbs, powers: Sequence[float] = POWERS) -> None:
        self._powers = powers
        n, K = probs.shape
        most = min(_ROWS, max(1, _VALUES // K))
        some = np.arange(n) if n <= most else np.argsort(uniforms(n, 0, "posterior"))[:most]
        order = some[np.argsort(given[some], kind="stable")]
        self._given, self._p = given[order], probs.take(order)

    @cached_property
    def per_pair(self) -> NoiseModel:
        """The model with a noise rate for each pair of classes."""
        K = self._p.shape[1]
        return self._best(_per_pair, K * (K - 1))

    @cached_property
    def per_class(self) -> NoiseModel:
        """The model with a noise rate for each class; the other labels of a class are equally likely."""
        return self._best(_per_class, self._p.shape[1])

    @cached_property
    def overall(self) -> NoiseModel:
        """The model with one noise rate."""
        return self._best(_overall, 1)

    @property
    def simplest(self) -> NoiseModel:
        """The simplest of the three that a likelihood ratio test against the next does not reject.

        A rate for each pair takes pairs of similar classes, which models confuse, for noise. The test is that
        of Wilks, 1938, with the normal approximation of its chi-squared distribution, see `REJECTED`.
        """
        n, K = self._p.shape
        found = self.per_pair
        for simpler, free in (("per_class", K * (K - 2)), ("overall", K - 1)):
            other: NoiseModel = getattr(self, simpler)
            if free > 0 and 2 * n * (other.cost - found.cost) > free + REJECTED * (2 * free) ** 0.5:
                break
            found = other
        return found

    @property
    def most_predictive(self) -> NoiseModel:
        """The one of the three with the lowest `expected_cost`, by which sets of probabilities compare.

        Source: Akaike, 1974, "A new look at the statistical model identification".
        """
        return min((self.overall, self.per_class, self.per_pair), key=lambda each: each.expected_cost)

    def _best(self, tied: _Tied, rates: int) -> NoiseModel:
        """Return the fit of the best power: the likelihood has one maximum, which is walked to."""
        fits: dict[int, NoiseModel] = {}

        def fit(place: int) -> NoiseModel:
            if place not in fits:
                fits[place] = self._fit(self._powers[place], tied, rates)
            return fits[place]

        place = len(self._powers) // 2
        for step in (1, -1):
            while 0 <= place + step < len(self._powers) and fit(place + step).cost < fit(place).cost:
                place += step
        return fit(place)

    def _fit(self, power: float, tied: _Tied, rates: int) -> NoiseModel:
        y, K = self._given, self._p.shape[1]
        present, starts = np.unique(y, return_index=True)
        tempered = _tempered(self._p, power)
        T = 0.8 * np.eye(K) + 0.2 / K
        for _ in range(_ROUNDS):
            joint = tempered * T.T[y]
            joint /= joint.sum(axis=1, keepdims=True)
            counts = np.full((K, K), PRIOR / K)
            counts[:, present] += np.add.reduceat(joint, starts, axis=0).T
            T = tied(counts)
        cost = -float(np.log((tempered * T.T[y]).sum(axis=1)).mean())
        return NoiseModel(cost, cost + (rates + 1) / len(y), power, T)


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


def _tempered(p: np.ndarray, power: float) -> np.ndarray:
    log_p = power * np.log(p + _LEAST)
    q = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return np.asarray(q / q.sum(axis=1, keepdims=True))
