"""The probability of each class given an example and its given label, calibrated on noisy labels alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from noisylabels.core.rng import uniforms
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.checks import check_labels_probs

POWERS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Powers of the probabilities that are tried. Models that learn from noisy labels are underconfident about
the true class, so a power above 1 usually fits best."""

PRIOR = 1.0
"""Pseudo-examples per true class, spread evenly over the given labels."""

DISCOUNT = 0.25
"""Share of the models' own errors by which the expected number of wrong labels may be too high: on clean
labels the fit takes an eighth of them or more for noise."""

DISCOUNT_SIMPLE = 0.05
"""The same where all other labels of a class are equally likely: then few confusions are taken for noise."""

REJECTED = 1.0
"""Standard deviations above its mean from which the likelihood ratio rejects the simpler noise model."""

_ROUNDS = 30
_ROWS, _VALUES = 20_000, 400_000  # rows, and probabilities, by which transition matrix and power are fitted
_LEAST = 1e-9
_Tied = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class LabelPosterior:
    """The posterior of the true class, q_i(k) ∝ p_i(k)^power T[k, y_i].

    Args:
        labels: (N,) int64, the given labels.
        probs: (N, K), out of fold.
        power: the exponent of the probabilities, which calibrates them.
        transition: (K, K) float64, T[true, given], rows sum to 1.
        wrong: (N,) float64, the probability that the given label is wrong, 1 - q_i(y_i).
        doubt: in [0, 1]: factor by which the odds of another class are reduced before a suggestion counts as
            better than the given label. It is below 1 where most disagreement is the models' own error.
    """

    labels: np.ndarray
    probs: CheckedProbs
    power: float
    transition: np.ndarray
    wrong: np.ndarray
    doubt: float

    def rows(self, chosen: np.ndarray) -> np.ndarray:
        """Return the posterior of some examples, (M, K) float64."""
        return _weighted(self.probs.take(chosen), self.labels[chosen], self.power, self.transition)

    def whole(self) -> np.ndarray:
        """Return the posterior of all examples, (N, K) float64."""
        made = np.empty(self.probs.shape)
        for rows, p in self.probs.blocks():
            made[rows] = _weighted(p, self.labels[rows], self.power, self.transition)
        return made

    def of(self, classes: np.ndarray) -> np.ndarray:
        """Return the probability that the true class is the one in `classes`, (N,) float64."""
        made = np.empty(len(self.labels))
        for rows, p in self.probs.blocks():
            q = _weighted(p, self.labels[rows], self.power, self.transition)
            made[rows] = q[np.arange(len(q)), classes[rows]]
        return made

    def worthwhile(self, suggested: np.ndarray) -> np.ndarray:
        """Return whether a suggestion is more probably right than the given label, bool (N,).

        The comparison is cautious: it multiplies the probability of the suggestion by `doubt`.
        """
        better = self.doubt * self.of(suggested) > 1 - self.wrong
        return np.asarray(better & (suggested != self.labels))


def label_posterior(labels: object, probs: object, simplest: bool = False) -> LabelPosterior:
    """Estimate the probability that each given label is wrong, and that each other class is the true one.

    The model of the given label is P(y | x) = Σ_k softmax(power log p(x))_k T[k, y]. Expectation maximization
    fits the transition matrix T; the power is the one of `POWERS` with the highest likelihood of the given
    labels. The probabilities must be out of fold, or the likelihood would count labels that a model has
    memorized. The posterior follows from Bayes' rule.

    Noise that depends on the class alone fits this model. Human annotators err on the images that models find
    hard too, so on heavy human noise the expected number of wrong labels is too low.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), out of fold, rows sum to 1.
        simplest: fit one noise rate, one per class, and a rate per pair of classes, and keep the first that a
            likelihood ratio test against the next does not reject (`REJECTED`). A free matrix takes pairs of
            similar classes, which models confuse, for noise. Otherwise the rates per pair are kept.

    Returns:
        The posterior.

    Raises:
        InputError: labels or probabilities out of range, or of different lengths.

    Source: the noise model is that of Sukhbaatar et al., "Training convolutional networks with noisy labels",
    2015, fitted after training as in Dawid and Skene, 1979, with one annotator. The test is that of Wilks,
    1938, with the normal approximation of its chi-squared distribution.

    >>> p = np.repeat([[0.9, 0.1], [0.1, 0.9]], 50, axis=0)
    >>> y = np.repeat([0, 1], 50)
    >>> y[0] = 1
    >>> found = label_posterior(y, p)
    >>> bool(found.wrong[0] > 0.2 > 0.05 > found.wrong[1])
    True
    """
    checked, given = check_labels_probs(labels, probs)
    n, K = checked.shape
    most = min(_ROWS, max(1, _VALUES // K))
    some = np.arange(n) if n <= most else np.argsort(uniforms(n, 0, "posterior"))[:most]
    power, T, discount = _fit_noise(checked.take(some), given[some], simplest)
    wrong = 1 - checked.per_row(lambda q, of: _weighted(q, of, power, T)[np.arange(len(of)), of], given)
    expected = float(wrong.mean())
    errors = max(0.0, float((checked.likeliest != given).mean()) - expected)
    doubt = max(0.0, 1 - discount * errors / expected) if expected > 0 else 0.0
    return LabelPosterior(given, checked, power, T, np.clip(wrong, 0.0, 1.0), doubt)


def _fit_noise(p: np.ndarray, given: np.ndarray, simplest: bool) -> tuple[float, np.ndarray, float]:
    """Return power and transition matrix of the noise model that is kept, and its `DISCOUNT`."""
    n, K = p.shape
    found, discount = _best(p, given, _per_pair), DISCOUNT
    if not simplest:
        return *found[1:], discount
    for simpler, free in ((_per_class, K * (K - 2)), (_overall, K - 1)):
        other = _best(p, given, simpler)
        if free > 0 and 2 * n * (other[0] - found[0]) > free + REJECTED * (2 * free) ** 0.5:
            break
        found, discount = other, DISCOUNT_SIMPLE
    return *found[1:], discount


def _best(p: np.ndarray, given: np.ndarray, tied: _Tied) -> tuple[float, float, np.ndarray]:
    """Return the least cost of all powers, that power, and the transition matrix."""
    fits = [_fit(p, given, power, tied) for power in POWERS]
    best = int(np.argmin([cost for cost, _ in fits]))
    return fits[best][0], POWERS[best], fits[best][1]


def _fit(p: np.ndarray, given: np.ndarray, power: float, tied: _Tied) -> tuple[float, np.ndarray]:
    """Return the negative log likelihood of the labels per example, and the transition matrix."""
    K = p.shape[1]
    order = np.argsort(given, kind="stable")
    y = given[order]
    present, starts = np.unique(y, return_index=True)
    tempered = _tempered(p[order], power)
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


def _tempered(p: np.ndarray, power: float) -> np.ndarray:
    log_p = power * np.log(p + _LEAST)
    q = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return np.asarray(q / q.sum(axis=1, keepdims=True))


def _weighted(p: np.ndarray, given: np.ndarray, power: float, T: np.ndarray) -> np.ndarray:
    q = _tempered(p, power) * T.T[given]
    return np.asarray(q / q.sum(axis=1, keepdims=True))
