"""The noise rate of given labels, with an interval whose coverage was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.confident_learning import calibrated, confident_joint
from noisylabels.noise.noise_model import NoiseModels

GIVEN, NETWORK, JUDGES = "given", "blended", "posterior"
"""What probabilities come from: from anywhere, without those during training; from networks in a
cross-validation; from several judges of a frozen encoder's features. (The words are in saved audits.)"""

LEVEL = 0.95
"""Level of the interval."""

LEAST = 0.004
"""Least spread."""


@dataclass(frozen=True)
class Evidence:
    """What the noise rate is estimated from; each is itself an estimate that fails on some kind of noise.

    Args:
        overall: expected share of wrong labels under one noise rate for all classes. Too low on noise between
            similar classes and on human noise.
        per_pair: the same under one rate for each pair of classes. Too high where models confuse classes.
        joint: by the calibrated confident joint. Too high by errors of the models.
        sure: share of labels that the models do not predict, among the half of the examples of which they are
            most confident. Without hard examples, where models err.
        resisted: share of labels that models do not predict although they were trained on them; None without
            training. Too low by memorized labels.
        spread: 1 / √N.
    """

    overall: float
    per_pair: float
    joint: float
    sure: float
    resisted: float | None
    spread: float


def evidence(
    labels: np.ndarray, probs: CheckedProbs, seen: np.ndarray | CheckedProbs | None, models: NoiseModels
) -> Evidence:
    """Return the evidence of given labels and probabilities.

    Args:
        labels: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        seen: (N, K), of models trained on the example; None without training.
        models: noise models of these labels.
    """
    n = len(labels)
    differs = probs.likeliest != labels
    sure = np.argsort(-probs.at(probs.likeliest), kind="stable")[: max(1, n // 2)]
    joint = calibrated(confident_joint(labels, probs), np.bincount(labels, minlength=probs.shape[1]))
    inside = None
    if seen is not None:
        checked = seen if isinstance(seen, CheckedProbs) else CheckedProbs(seen, "seen")
        inside = float((checked.likeliest != labels).mean())
    return Evidence(
        overall=float(models.overall.wrong(probs, labels).mean()),
        per_pair=float(models.per_pair.wrong(probs, labels).mean()),
        joint=float(np.clip(1 - joint.trace(), 0, 1)),
        sure=float(differs[sure].mean()),
        resisted=inside,
        spread=n**-0.5,
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

    Args:
        base, overall, per_pair, joint, sure, resisted: of the estimate, the weighted sum of the evidence.
        floor, confusion, hardness, sampling: of the spread, floor + confusion max(0, per_pair - overall) +
            hardness max(0, sure - overall) + sampling / √N.
        reach: spreads from the estimate to the ends of the interval.
    """

    base: float
    overall: float
    per_pair: float
    joint: float
    sure: float
    resisted: float
    floor: float
    confusion: float
    hardness: float
    sampling: float
    reach: float


FITS = {
    JUDGES: Fit(-0.0014, 0.031, 0.692, -0.534, 0.576, 0.374, 0.0, 0.0093, 0.1981, 0.4659, 2.58),
    NETWORK: Fit(-0.0001, 0.843, -0.259, -0.18, 0.429, 0.197, 0.0062, 0.3325, 0.0, 0.1359, 3.13),
    GIVEN: Fit(0.0003, 0.929, -0.261, -0.252, 0.602, 0.0, 0.0145, 0.3306, 0.0, 0.0, 2.91),
}
"""The weights for each source of probabilities."""


def noise_rate(found: Evidence, source: str = GIVEN) -> NoiseRate:
    """Return the noise rate with its interval.

    Each kind of evidence fails on some kind of noise, and bootstrap samples say nothing of that: intervals
    from them are a point wide and miss. Weights and spread are therefore fitted to sets whose noise is
    known: photographs, texts, tables and synthetic classes; symmetric, asymmetric, instance-dependent and
    human noise (docs/measured-noise-rates.md). On data unlike all of these the interval may miss more often.

    Args:
        found: the evidence.
        source: what the probabilities come from: `GIVEN`, `NETWORK` or `JUDGES`.

    >>> found = Evidence(0.2, 0.2, 0.2, 0.2, 0.2, 0.02)
    >>> round(noise_rate(found, NETWORK).estimate, 1)
    0.2
    """
    fit = FITS[GIVEN if found.resisted is None else source]
    estimate = (
        fit.base
        + fit.overall * found.overall
        + fit.per_pair * found.per_pair
        + fit.joint * found.joint
        + fit.sure * found.sure
        + fit.resisted * (found.resisted or 0.0)
    )
    spread = (
        fit.floor
        + fit.confusion * max(0.0, found.per_pair - found.overall)
        + fit.hardness * max(0.0, found.sure - found.overall)
        + fit.sampling * found.spread
    )
    reach = fit.reach * max(spread, LEAST)
    low, middle, high = np.clip([estimate - reach, estimate, estimate + reach], 0, 1).tolist()
    return NoiseRate(middle, low, high)
