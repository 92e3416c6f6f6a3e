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


PRIOR = 10.0
"""Examples that count for equal shares in `pool_shares`."""


def pool_shares(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    r"""Return the shares of several classifiers in the mixture that best predicts held-out given labels.

    Expectation-maximization for :math:`\max_s \sum_i w_i \log \sum_c s_c p_c(y_i | x_i)`, a concave problem,
    with ten examples' worth of equal shares, so that few examples decide little.

    Args:
        probs: (C, N, K), probabilities of held-out examples by each classifier.
        labels: int64, (N,), the given labels.
        weights: (N,), weights of the examples.

    Returns:
        (C,), 0 or more, of sum 1.

    Source: Wolpert 1992, "Stacked generalization", with the log-likelihood of a mixture as its criterion.

    >>> good, bad = [[0.9, 0.1]] * 50, [[0.1, 0.9]] * 50
    >>> pool_shares(np.array([good, bad]), np.zeros(50, int), np.ones(50)).round(2).tolist()
    [0.91, 0.09]
    """
    given = np.maximum(probs[:, np.arange(len(labels)), labels], TINY)
    shares = np.full(len(probs), 1 / len(probs))
    for _ in range(200):
        parts = shares[:, None] * given
        total = (parts / parts.sum(0)) @ weights + PRIOR / len(probs)
        new = total / total.sum()
        done = np.abs(new - shares).max() < 1e-5
        shares = new
        if done:
            break
    return shares


def likely_right(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return which given labels out-of-fold probabilities do not contradict, bool (N,).

    A label is contradicted if a class is more probable than it, and more probable than that class is on
    average where it is given.

    Args:
        probs: (N, K), out-of-fold probabilities.
        labels: int64, (N,), the given labels.
        weights: (N,), weights of the examples.

    Source: Northcutt et al. 2021, "Confident learning" (pruning by the confident joint).

    >>> probs = np.array([[0.9, 0.1], [0.95, 0.05], [0.1, 0.9]])
    >>> likely_right(probs, np.array([0, 1, 1]), np.ones(3)).tolist()
    [True, False, True]
    """
    own = np.eye(probs.shape[1])[labels] * weights[:, None]
    typical = (own * probs).sum(0) / np.maximum(own.sum(0), TINY)
    rival = np.where(own > 0, 0.0, probs) >= np.maximum(typical, TINY)
    better = probs > probs[np.arange(len(labels)), labels][:, None]
    wrong: np.ndarray = (rival & better).any(1)
    return ~wrong
