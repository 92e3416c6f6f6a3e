"""The noise rate of given labels, with an interval whose coverage was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.known_sets import known_sets
from noisylabels.noise.noise_model import NoiseModels

GIVEN, NETWORK, JUDGES = "given", "blended", "posterior"
"""What probabilities come from: from anywhere, without those during training; from networks in a
cross-validation; from several judges of a frozen encoder's features. (The words are in saved audits.)"""

LEVEL = 0.95
"""Level of the interval."""

MOST_CLASSES = 100
"""Sets of more classes are taken to be as those of so many."""


@dataclass(frozen=True)
class Evidence:
    """What the noise rate is estimated from.

    Models err on hard examples, where annotators err too, so that errors of the two cannot be told apart
    there. Among the examples of which the models are most confident they hardly err.

    Args:
        easiest, easier, everywhere: share of labels that the models do not predict out of fold, among the
            quarter and the half of the examples of each predicted class of which they are most confident,
            see `surest`, and among all examples.
        overall: expected share of wrong labels if all classes have one noise rate. Too low on noise between
            similar classes and on human noise.
        per_pair: the same with a rate for each pair of classes. Too high where models confuse classes.
        resisted: share of labels that models do not predict although they were trained on them; None without
            training. Too low by memorized labels.
        classes: the number of classes that have labels, at least 2.
        n: the number of labels.
    """

    easiest: float
    easier: float
    everywhere: float
    overall: float
    per_pair: float
    resisted: float | None
    classes: int
    n: int

    @property
    def coordinates(self) -> np.ndarray:
        """Return what makes two sets similar: `overall`, what others exceed it by, and log K, (D,)."""
        made = [
            self.overall,
            self.easiest - self.overall,
            self.easier - self.easiest,
            self.everywhere - self.easier,
            self.per_pair - self.overall,
            min(1.0, float(np.log(self.classes) / np.log(MOST_CLASSES))),
        ]
        return np.array(made if self.resisted is None else [*made, self.resisted - self.overall])

    @property
    def scatter(self) -> float:
        """Return how far noise rates of sets with this evidence scatter, one standard deviation."""
        confusion = max(0.0, self.per_pair - self.overall)
        return float(0.01 + 0.15 * (confusion + max(0.0, self.easiest - self.overall)) + 0.2 * self.n**-0.5)

    @property
    def accuracy(self) -> float:
        """Return that of the models on right labels, as far as one noise rate explains what they miss."""
        return min(1.0, (1 - self.everywhere) / max(1 - self.overall, 1e-9))

    def reach(self, distance: float, spread: np.ndarray) -> float:
        """Return how far the interval reaches from the estimate.

        Args:
            distance: from the sets whose noise is known.
            spread: (5,) what counts how much: the distance; what the models confuse; the number of labels;
                how much less often the models predict labels of which they are less confident; and, as a
                factor, how weak they are.
        """
        return float(self.doubts(distance) @ spread[:-1] * (1 + spread[-1] * self.weakness))

    def doubts(self, distance: float) -> np.ndarray:
        """Return the first four of these, (4,)."""
        confusion, hardness = self.per_pair - self.overall, self.everywhere - self.easiest
        return np.array([distance, max(0.0, confusion), self.n**-0.5, max(0.0, hardness)])

    @property
    def weakness(self) -> float:
        """Return by how much models that are right on fewer than two thirds of the examples fall short."""
        return max(0.0, 2 / 3 - self.accuracy)


def evidence(
    labels: np.ndarray, probs: CheckedProbs, seen: CheckedProbs | None, models: NoiseModels
) -> Evidence:
    """Return the evidence of given labels and probabilities.

    Args:
        labels: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        seen: (N, K), of models trained on the example; None without training.
        models: noise models of these labels.
    """
    predicted = probs.likeliest
    differs, confidence = predicted != labels, probs.at(predicted)
    return Evidence(
        easiest=surest(differs, predicted, confidence, 0.25),
        easier=surest(differs, predicted, confidence, 0.5),
        everywhere=float(differs.mean()),
        overall=float(models.overall.wrong(probs, labels).mean()),
        per_pair=float(models.per_pair.wrong(probs, labels).mean()),
        resisted=None if seen is None else float((seen.likeliest != labels).mean()),
        classes=max(2, len(np.unique(labels))),
        n=len(labels),
    )


def surest(differs: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, share: float) -> float:
    """Return the mean of the most confident examples of each predicted class.

    Over all classes the most confident examples would be those of classes without noise. Examples that are
    equally confident, as with rounded probabilities, count alike, so that their order does not matter.

    Args:
        differs: (N,) bool, whether the label is not the predicted class.
        predicted: (N,) int64, the predicted classes.
        confidence: (N,) in [0, 1], the probability of the predicted class.
        share: of the examples of a predicted class, rounded up.

    >>> surest(np.array([0, 1, 1, 0], bool), np.array([0, 0, 1, 1]), np.array([0.9, 0.8, 0.7, 0.7]), 0.5)
    0.25
    """
    rounded, total, count = confidence.round(6), 0.0, 0
    for k in np.unique(predicted):
        some = np.flatnonzero(predicted == k)
        wanted = int(np.ceil(len(some) * share))
        cut = np.partition(rounded[some], len(some) - wanted)[len(some) - wanted]
        above, equal = some[rounded[some] > cut], some[rounded[some] == cut]
        total += float(differs[above].sum() + differs[equal].mean() * (wanted - len(above)))
        count += wanted
    return total / count


@dataclass(frozen=True)
class NoiseRate:
    """An estimated noise rate.

    Args:
        estimate: in [0, 1].
        low, high: the interval, of level `LEVEL`.
    """

    estimate: float
    low: float
    high: float


def noise_rate(found: Evidence, source: str = GIVEN) -> NoiseRate:
    """Return the noise rate with its interval.

    No single estimator is right on all kinds of noise, and bootstrap samples say nothing of that: intervals
    from them are a point wide and miss. The rate is therefore read off from sets whose noise is known, by
    Gaussian process regression: the more similar the evidence of such a set, the more it counts. The interval
    is wider the less similar they are, the more classes the models confuse, and the harder the examples are.
    The sets are photographs, texts, tables, synthetic classes and published probabilities, with symmetric,
    asymmetric, instance-dependent and human noise, human noise with the most weight; on other sets of these
    kinds the coverage was measured (docs/measured-noise-rates.md). On data unlike them the interval may miss
    more often.

    Args:
        found: the evidence.
        source: what the probabilities come from: `GIVEN`, `NETWORK` or `JUDGES`.

    Source: ours; Gaussian processes as in Rasmussen and Williams, 2006, equations 2.25 and 2.26.

    >>> found = Evidence(0.2, 0.21, 0.24, overall=0.2, per_pair=0.21, resisted=0.2, classes=10, n=2500)
    >>> round(noise_rate(found, JUDGES).estimate, 1)
    0.2
    """
    sets = known_sets(GIVEN if found.resisted is None else source)
    above, distance = sets.predict(found.coordinates)
    middle, reach = min(1.0, found.overall + above), found.reach(distance, sets.spread)
    estimate = min(1.0, _above_zero(middle, reach / 3))
    return NoiseRate(estimate, max(0.0, middle - reach), min(1.0, max(estimate, max(0.0, middle) + reach)))


def _above_zero(middle: float, deviation: float) -> float:
    """Return the mean of a normal distribution that is cut off below 0.

    Few sets are free of errors, and of none of them the regression says so: it may fall below 0.
    """
    from scipy.special import log_ndtr

    z = middle / deviation
    ratio = np.exp(-0.5 * z * z - log_ndtr(z)) / (2 * np.pi) ** 0.5
    return float(max(0.0, middle + deviation * ratio))
