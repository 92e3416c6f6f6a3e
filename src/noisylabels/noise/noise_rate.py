"""The noise rate of given labels, with an interval whose coverage was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.noise_model import NoiseModels

GIVEN, NETWORK, JUDGES = "given", "blended", "posterior"
"""What probabilities come from: from anywhere, without those during training; from networks in a
cross-validation; from several judges of a frozen encoder's features. (The words are in saved audits.)"""

LEVEL = 0.95
"""Level of the interval."""


@dataclass(frozen=True)
class Evidence:
    """What the noise rate is estimated from.

    Models err on hard examples, where annotators err too, so that errors of the two cannot be told apart
    there. Among the examples of which the models are most confident they hardly err.

    Args:
        easiest, easier: share of labels that the models do not predict out of fold, among the quarter and the
            half of the examples of each predicted class of which they are most confident, see `surest`.
        overall: expected share of wrong labels if all classes have one noise rate. Too low on noise between
            similar classes and on human noise.
        per_pair: the same with a rate for each pair of classes. Too high where models confuse classes.
        resisted: share of labels that models do not predict although they were trained on them; None without
            training. Too low by memorized labels.
        accuracy: of the models on right labels, as far as one noise rate explains what they do not predict.
        n: the number of labels.
    """

    easiest: float
    easier: float
    overall: float
    per_pair: float
    resisted: float | None
    accuracy: float
    n: int


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
    overall = float(models.overall.wrong(probs, labels).mean())
    return Evidence(
        easiest=surest(differs, predicted, confidence, 0.25),
        easier=surest(differs, predicted, confidence, 0.5),
        overall=overall,
        per_pair=float(models.per_pair.wrong(probs, labels).mean()),
        resisted=None if seen is None else float((seen.likeliest != labels).mean()),
        accuracy=min(1.0, float(1 - differs.mean()) / max(1 - overall, 1e-9)),
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


@dataclass(frozen=True)
class Fit:
    """Weights of the evidence, fitted to sets with known noise by `benchmarks/bench_rates.py --fit`.

    The estimate is a weighted mean of the evidence, so that evidence which agrees is believed.

    Args:
        easiest, easier, per_pair, resisted: weights; that of `overall` is what they lack to 1.
        trust: power of the models' accuracy by which the last two weights are multiplied: weak models take
            their own errors for noise.
        floor, confusion, hardness: of the spread, floor + confusion max(0, per_pair - overall) + hardness
            max(0, easier - overall).
        reach: spreads from the estimate to the ends of the interval.
    """

    easiest: float
    easier: float
    per_pair: float
    resisted: float
    trust: float
    floor: float
    confusion: float
    hardness: float
    reach: float

    def weigh(self, found: Evidence) -> tuple[float, float]:
        """Return the weighted mean of the evidence, and how far the interval reaches."""
        resisted, trust = found.resisted, found.accuracy**self.trust
        estimate = (
            found.overall
            + self.easiest * (found.easiest - found.overall)
            + self.easier * (found.easier - found.overall)
            + self.per_pair * trust * (found.per_pair - found.overall)
            + self.resisted * trust * (0.0 if resisted is None else resisted - found.overall)
        )
        reach = self.reach * (
            self.floor
            + self.confusion * max(0.0, found.per_pair - found.overall)
            + self.hardness * max(0.0, found.easier - found.overall)
        )
        return estimate, reach


FITS = {
    JUDGES: Fit(0.429, 0.1592, 0.5401, 0.3328, 0.0, 0.0088, 0.0, 0.1743, 3.3869),
    NETWORK: Fit(0.439, -0.1627, 1.3092, 0.1966, 4.0, 0.014, 0.3302, 0.0, 2.6117),
    GIVEN: Fit(0.403, -0.0438, 1.3333, 0.0, 4.0, 0.0162, 0.353, 0.0, 2.4936),
}
"""The weights for each source of probabilities."""


def noise_rate(found: Evidence, source: str = GIVEN) -> NoiseRate:
    """Return the noise rate with its interval.

    No single estimator is right on all kinds of noise, and bootstrap samples say nothing of that: intervals
    from them are a point wide and miss. Weights and spread are therefore fitted to sets whose noise is known:
    photographs, texts, tables, synthetic classes; symmetric, asymmetric, instance-dependent and human noise,
    human noise with the most weight (docs/measured-noise-rates.md). On data unlike these the interval may
    miss more often.

    Args:
        found: the evidence.
        source: what the probabilities come from: `GIVEN`, `NETWORK` or `JUDGES`.

    >>> found = Evidence(0.2, 0.22, overall=0.2, per_pair=0.21, resisted=0.2, accuracy=0.9, n=2500)
    >>> round(noise_rate(found, JUDGES).estimate, 1)
    0.2
    """
    fit = FITS[GIVEN if found.resisted is None else source]
    total, reach = fit.weigh(found)
    middle = min(1.0, max(0.0, total))  # first, or the interval of a sum far below 0 would be 0 to 0
    # the examples that are most sure are a sample of all; this matters only below some hundred labels
    reach = float(np.hypot(reach, (middle * (1 - middle) / found.n) ** 0.5 + 1 / found.n))
    return NoiseRate(middle, max(0.0, middle - reach), min(1.0, middle + reach))
