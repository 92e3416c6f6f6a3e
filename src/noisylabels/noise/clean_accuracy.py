"""The accuracy on true labels of a model that was tested on labels of which some are wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisylabels.core.wilson import wilson
from noisylabels.noise.checks import check_labels_probs
from noisylabels.noise.noise_model import POWERS, NoiseModels
from noisylabels.noise.noise_rate import LEVEL, NoiseRate, evidence, noise_rate

FEWEST, PER_CLASS = 100, 10
"""Test examples, in all and per class, below which nothing is estimated."""

SAMPLING, DIFFERENCE, RATE = 1.25, 0.5, 0.35
"""Weights of the parts of the interval, chosen on samples of photographs other than those of
`benchmarks/bench_clean_accuracy.py`, which measures the coverage."""

_FLATTER = (0.05, 0.1, 0.15, 0.2)  # powers for networks that have memorized their labels: very overconfident
_SHARPER = (4.0, 5.0, 6.0, 8.0)  # and for robust losses, strong penalties and short training


@dataclass(frozen=True)
class CleanAccuracy:
    """An estimated accuracy on true labels.

    Args:
        estimate: in [0, 1].
        low, high: the interval, of level `LEVEL`.
        agreement: the share of the given labels that are predicted.
        rate: the noise rate of the given labels.
    """

    estimate: float
    low: float
    high: float
    agreement: float
    rate: NoiseRate

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain values, for JSON."""
        return {
            "accuracy": self.estimate,
            "interval": [self.low, self.high],
            "level": LEVEL,
            "noise_rate": self.rate.estimate,
            "noise_rate_interval": [self.rate.low, self.rate.high],
        }

    def __str__(self) -> str:
        return f"about {100 * self.estimate:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f})"


def too_few(n: int, num_classes: int) -> str | None:
    """Return why nothing can be estimated from n test examples, or None if it can be.

    >>> too_few(99, 2)
    '99 test examples of 2 classes, and the estimate needs 100'
    >>> too_few(100, 10)
    """
    needed = max(FEWEST, PER_CLASS * num_classes)
    if n >= needed:
        return None
    return f"{n:,} test examples of {num_classes} classes, and the estimate needs {needed:,}"


def clean_accuracy(labels: object, probs: object) -> CleanAccuracy:
    """Estimate the accuracy on true labels from test labels of which an unknown share is wrong.

    The estimate is the expected share of predictions that are the true class, given the label, under a noise
    model with one noise rate. Its interval combines, as the root of a weighted sum of squares, the sampling
    error of the agreement A with the given labels (Wilson), the distance from the simpler estimate
    A / (1 - rate), and that estimate's distances to its values at the ends of the noise rate's interval.
    Where errors of the model agree with wrong labels (the model confuses the classes that the annotators
    confuse) no formula can tell, hence the coverage was measured (docs/measured-clean-accuracy.md).

    Args:
        labels: (N,) integers in [0, K), the given labels of the test examples.
        probs: (N, K), of a model that was not trained on them; rows sum to 1.

    Raises:
        InputError: labels or probabilities out of range, or of different lengths.

    >>> p = np.repeat([[0.99, 0.01], [0.01, 0.99]], 100, axis=0)
    >>> y = np.repeat([0, 1], 100)
    >>> y[:20] = 1
    >>> found = clean_accuracy(y, p)
    >>> found.agreement, found.low < 1.0 <= found.high
    (0.9, True)
    """
    checked, given = check_labels_probs(labels, probs)
    models = NoiseModels(given, checked, (*_FLATTER, *POWERS, *_SHARPER))
    rate = noise_rate(evidence(given, checked, None, models))
    n, agreed = len(given), int((checked.likeliest == given).sum())
    A = agreed / n

    def right(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the probability that the predicted class is the true one, (M,)."""
        return np.asarray(models.overall.posterior(p, y)[np.arange(len(y)), p.argmax(axis=1)])

    estimate = float(checked.per_row(right, given).mean())
    simple, at_low, at_high = (
        min(1.0, A / max(1 - each, 1e-9)) for each in (rate.estimate, rate.low, rate.high)
    )
    ends = wilson(agreed, n)
    sampling = SAMPLING * (ends[1] - ends[0]) / 2 * max(1.0, estimate / max(A, 1e-9))
    both = sampling**2 + (DIFFERENCE * (simple - estimate)) ** 2
    down, up = (math.sqrt(both + (RATE * (end - simple)) ** 2) for end in (at_low, at_high))
    return CleanAccuracy(estimate, max(0.0, estimate - down), min(1.0, estimate + up), A, rate)
