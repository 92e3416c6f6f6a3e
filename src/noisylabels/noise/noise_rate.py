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
            half of the examples of which they are most confident. The first is nearly free of the models'
            errors; how fast the share grows tells how many are left.
        overall: expected share of wrong labels if all classes have one noise rate. Too low on noise between
            similar classes and on human noise.
        per_pair: the same with a rate for each pair of classes. Too high where models confuse classes.
        resisted: share of labels that models do not predict although they were trained on them; None without
            training. Too low by memorized labels.
        n: the number of labels.
    """

    easiest: float
    easier: float
    overall: float
    per_pair: float
    resisted: float | None
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
    n, differs = len(labels), probs.likeliest != labels
    order = np.argsort(-probs.at(probs.likeliest), kind="stable")
    return Evidence(
        easiest=float(differs[order[: max(1, n // 4)]].mean()),
        easier=float(differs[order[: max(1, n // 2)]].mean()),
        overall=float(models.overall.wrong(probs, labels).mean()),
        per_pair=float(models.per_pair.wrong(probs, labels).mean()),
        resisted=None if seen is None else float((seen.likeliest != labels).mean()),
        n=n,
    )


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
        floor, confusion, hardness: of the spread, floor + confusion max(0, per_pair - overall) + hardness
            max(0, easier - overall).
        reach: spreads from the estimate to the ends of the interval.
    """

    easiest: float
    easier: float
    per_pair: float
    resisted: float
    floor: float
    confusion: float
    hardness: float
    reach: float

    def weigh(self, found: Evidence) -> tuple[float, float]:
        """Return the weighted mean of the evidence, and how far the interval reaches."""
        resisted = found.overall if found.resisted is None else found.resisted
        estimate = (
            found.overall
            + self.easiest * (found.easiest - found.overall)
            + self.easier * (found.easier - found.overall)
            + self.per_pair * (found.per_pair - found.overall)
            + self.resisted * (resisted - found.overall)
        )
        reach = self.reach * (
            self.floor
            + self.confusion * max(0.0, found.per_pair - found.overall)
            + self.hardness * max(0.0, found.easier - found.overall)
        )
        return estimate, reach


FITS = {
    JUDGES: Fit(0.2042, 0.0798, 0.91, 0.1482, 0.0072, 0.0, 0.2765, 2.8334),
    NETWORK: Fit(0.4004, 0.0207, 0.1691, -0.0914, 0.021, 0.2804, 0.0, 2.6463),
    GIVEN: Fit(0.2499, 0.2571, 0.1188, 0.0, 0.0194, 0.2894, 0.0323, 2.3304),
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

    >>> found = Evidence(easiest=0.2, easier=0.22, overall=0.2, per_pair=0.21, resisted=0.2, n=2500)
    >>> round(noise_rate(found, JUDGES).estimate, 1)
    0.2
    """
    fit = FITS[GIVEN if found.resisted is None else source]
    total, reach = fit.weigh(found)
    middle = min(1.0, max(0.0, total))  # first, or the interval of a sum far below 0 would be 0 to 0
    # the examples that are most sure are a sample of all; this matters only below some hundred labels
    reach = float(np.hypot(reach, (middle * (1 - middle) / found.n) ** 0.5 + 1 / found.n))
    return NoiseRate(middle, max(0.0, middle - reach), min(1.0, middle + reach))
