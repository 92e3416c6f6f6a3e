"""What an audit concludes from probabilities: the noise rate, and how likely each label is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noisylabels.audit.posterior import LabelPosterior, calibrated, judged, log_odds
from noisylabels.core.wilson import wilson
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.checked_rate import checked_rate
from noisylabels.noise.checks import check_labels_probs
from noisylabels.noise.noise_model import NoiseModels
from noisylabels.noise.noise_rate import NETWORK, NoiseRate, evidence, noise_rate


@dataclass(frozen=True, eq=False)
class Assessment:
    """The conclusions.

    Args:
        rate: the noise rate of the labels that count.
        agreement: the share of these labels that are the most probable class out of fold.
        posterior: of the true class of every example.
        counted: the number of labels that count.
        network: the share of these labels that the network alone predicts, if there are several judges.
        contradicted: whether the rate is that of the judges' probabilities because that of the network
            contradicts them.
    """

    rate: NoiseRate
    agreement: float
    posterior: LabelPosterior
    counted: int
    network: float | None = None
    contradicted: bool = False

    @property
    def network_accuracy(self) -> float | None:
        """The accuracy of the network alone on right labels, out of fold; None without several judges.

        The rate is read off from the network, and comes out too high if the network is weak. At least the
        labels that the judges predict are therefore taken for right ones.
        """
        if self.network is None:
            return None
        return min(1.0, self.network / max(1 - self.rate.estimate, self.agreement, 1e-9))

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """The accuracy of the models on right labels, out of fold, with the ends of its interval.

        Noise lowers the agreement with the given labels, so it is divided by the share of right labels. The
        interval covers the error of the noise rate and that of the sample.
        """
        rates = (self.rate.estimate, self.rate.low, self.rate.high)
        middle, low, high = (self.agreement / max(1 - rate, 1e-9) for rate in rates)
        # the error of the sample and that of the rate are taken as independent
        sample = wilson(round(self.agreement * self.counted), self.counted)
        below, above = ((end - self.agreement) / max(1 - self.rate.estimate, 1e-9) for end in sample)
        low, high = middle - math.hypot(middle - low, below), middle + math.hypot(high - middle, above)
        return min(1.0, middle), max(0.0, min(1.0, low)), min(1.0, high)


def assess(
    labels: object,
    probs: object,
    seen: np.ndarray | CheckedProbs | None,
    rule: str,
    known: np.ndarray | None = None,
    before: np.ndarray | None = None,
    rate: NoiseRate | None = None,
    network: object | None = None,
) -> Assessment:
    """Estimate the noise rate, and the probability that each label is wrong.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), out of fold, rows sum to 1.
        seen: (N, K), of models trained on the example; None without training.
        rule: one of `posterior.RULES`.
        known: (N,) bool, labels that do not count for the noise rate, such as those checked by hand.
        before: (N,) int64, the labels of known examples before they were checked, -1 where that is unknown.
            They narrow the interval of the rate of the others, see `checked_rate`.
        rate: the noise rate, if it has been estimated.
        network: (N, K), out of fold, of the network alone, if `probs` are of several judges. The noise rate
            is estimated from them: from those of the judges, rates of human noise came out too low. But where
            the judges predict more labels than could be right by the whole interval of that rate, the network
            has not learned what the judges have, and the rate is estimated from those of the judges.

    Raises:
        InputError: labels or probabilities out of range, or of different lengths.

    >>> p = np.repeat([[0.9, 0.1], [0.1, 0.9]], 50, axis=0)
    >>> y = np.repeat([0, 1], 50)
    >>> y[0] = 1
    >>> found = assess(y, p, None, "blended")
    >>> int(found.posterior.wrong.argmax()), found.rate.low < 0.01 < found.rate.high
    (0, True)
    """
    checked, given = check_labels_probs(labels, probs)
    inside = None if seen is None else check_labels_probs(labels, seen)[0]
    if known is None or known.all() or not known.any():
        known = None
    was, first = np.zeros(len(given), bool), given
    if known is not None and before is not None:
        was = known & (before >= 0)
        first = np.where(was, before, given)
    rest = slice(None) if known is None else np.flatnonzero(~known)
    counted = rest if not was.any() else np.flatnonzero(~known | was)  # type: ignore[operator]
    of, others = checked.part(counted), None if inside is None else inside.part(counted)
    models = NoiseModels(first[counted], of)
    agreement = float((checked.likeliest[rest] == given[rest]).mean())
    alone = None if network is None else check_labels_probs(labels, network)[0]
    contradicted = False

    def accuracy(rate: NoiseRate) -> float:
        return min(1.0, agreement / max(1 - rate.estimate, 1e-9))

    if rate is None:
        if alone is not None:
            of_network = alone.part(counted)
            found = evidence(first[counted], of_network, others, NoiseModels(first[counted], of_network))
            rate = noise_rate(found, NETWORK)
            contradicted = float((of.likeliest == first[counted]).mean()) > 1 - rate.low
        if rate is None or contradicted:
            rate = noise_rate(evidence(first[counted], of, others, models), rule)
        if was.any():
            # out of fold alone: models that were trained on a corrected label know it
            odds = log_odds(first, *judged(first, checked, None, rule, models, accuracy(rate)))
            rate = checked_rate(rate, odds[rest], odds[was], first[was] != given[was])
    made, power = judged(given, checked, inside, rule, models, accuracy(rate))
    posterior = calibrated(given, made, rate.estimate, power, known)
    learned = None if alone is None else float((alone.likeliest[rest] == given[rest]).mean())
    return Assessment(rate, agreement, posterior, len(given[rest]), learned, contradicted)
