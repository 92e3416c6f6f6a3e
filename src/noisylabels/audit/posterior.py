"""The probability of each class given an example and its given label, calibrated on noisy labels alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.checks import check_labels_probs
from noisylabels.noise.noise_model import fit_noise_model, sample, sharpened

DISCOUNT = 0.25
"""Share of the models' own errors by which the expected number of wrong labels may be too high: on clean
labels the fit takes an eighth of them or more for noise."""

DISCOUNT_SIMPLE = 0.05
"""The same where all other labels of a class are equally likely: then few confusions are taken for noise."""


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
    some = sample(n, K)
    fitted = fit_noise_model(checked.take(some), given[some], simplest)
    power, T, discount = fitted.power, fitted.transition, DISCOUNT_SIMPLE if fitted.simpler else DISCOUNT
    wrong = 1 - checked.per_row(lambda q, of: _weighted(q, of, power, T)[np.arange(len(of)), of], given)
    expected = float(wrong.mean())
    errors = max(0.0, float((checked.likeliest != given).mean()) - expected)
    doubt = max(0.0, 1 - discount * errors / expected) if expected > 0 else 0.0
    return LabelPosterior(given, checked, power, T, np.clip(wrong, 0.0, 1.0), doubt)


def _weighted(p: np.ndarray, given: np.ndarray, power: float, T: np.ndarray) -> np.ndarray:
    q = sharpened(p, power) * T.T[given]
    return np.asarray(q / q.sum(axis=1, keepdims=True))
