"""Select and calibrate a candidate on held-out examples with their given labels."""

from __future__ import annotations

import numpy as np

TINY = 1e-12
"""Smallest probability, so that logarithms are finite."""


def tempered(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities (N, K) after dividing the logits by `temperature`: flatter above 1.

    >>> tempered(np.array([[0.8, 0.2]]), 1e9).round(3).tolist()
    [[0.5, 0.5]]
    """
    logits = np.log(np.maximum(probs, TINY)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    normal: np.ndarray = powers / powers.sum(1, keepdims=True)
    return normal


def calibrate(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    r"""Return the temperature that maximizes the likelihood of the labels, and the negative log-likelihood.

    The minimum over T, from 1/20 to 20, of :math:`-\sum_i w_i \log p_T(y_i | x_i) / \sum_i w_i`.

    Args:
        probs: (N, K), probabilities of held-out examples.
        labels: int64, (N,), the given labels.
        weights: (N,), weights of the examples.

    Source: Guo et al. 2017, "On calibration of modern neural networks".

    >>> temperature, cost = calibrate(np.array([[0.9, 0.1]] * 4), np.array([0, 0, 0, 1]), np.ones(4))
    >>> round(float(tempered(np.array([[0.9, 0.1]]), temperature)[0, 0]), 3)  # matches the accuracy
    0.75
    """
    from scipy.optimize import minimize_scalar

    at = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        given = tempered(probs, float(np.exp(log_temperature)))[at, labels]
        return float(-np.average(np.log(np.maximum(given, TINY)), weights=weights))

    edge = float(np.log(20))
    found = minimize_scalar(cost, bounds=(-edge, edge), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)), float(found.fun)
