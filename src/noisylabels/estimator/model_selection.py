"""Which candidate to keep, and how sure its predictions are: by examples held out, with the labels given."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

TINY = 1e-12
"""Probabilities are taken to be no less, so that their logarithm is finite."""


def tempered(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities (N, K) of the logits divided by `temperature`: more even above 1.

    >>> tempered(np.array([[0.8, 0.2]]), 1e9).round(3).tolist()
    [[0.5, 0.5]]
    """
    logits = np.log(np.maximum(probs, TINY)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    normal: np.ndarray = powers / powers.sum(1, keepdims=True)
    return normal


def calibrate(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    r"""Return the temperature under which the labels are likeliest, and minus their mean log-likelihood then.

    The minimum over T, from 1/20 to 20, of :math:`-\sum_i w_i \log p_T(y_i | x_i) / \sum_i w_i`.

    Args:
        probs: (N, K), of examples that the model has not trained on.
        labels: int64, (N,), as given, right or wrong.
        weights: (N,), of the examples.

    Source: Guo et al. 2017, "On calibration of modern neural networks".

    >>> temperature, cost = calibrate(np.array([[0.9, 0.1]] * 4), np.array([0, 0, 0, 1]), np.ones(4))
    >>> round(float(tempered(np.array([[0.9, 0.1]]), temperature)[0, 0]), 3)  # as often as it is right
    0.75
    """
    at = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        given = tempered(probs, float(np.exp(log_temperature)))[at, labels]
        return float(-np.average(np.log(np.maximum(given, TINY)), weights=weights))

    edge = float(np.log(20))
    found = minimize_scalar(cost, bounds=(-edge, edge), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)), float(found.fun)
