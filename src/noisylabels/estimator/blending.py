"""Several candidates' predictions of held-out examples put together: weights of a mixture, a temperature."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

_TINY = 1e-12


def mixture_weights(found: np.ndarray, weights: np.ndarray, steps: int = 200) -> np.ndarray:
    r"""Return the shares of M candidates whose mixture gives the labels the highest likelihood.

    The maximum of :math:`\sum_i w_i \log \sum_m \pi_m p_{mi}` over shares :math:`\pi`, a concave problem, by
    expectation-maximisation from even shares. The labels may be partly wrong: noise that is blind to the
    features scales all candidates' likelihoods alike.

    Args:
        found: (M, N), the probability that each candidate gave the label of each example, which it had not seen.
        weights: (N,), of the examples.
        steps: of the algorithm.

    Source: stacking, Wolpert 1992; as a mixture, Smyth and Wolpert 1999.

    >>> mixture_weights(np.array([[0.9, 0.9], [0.1, 0.1]]), np.ones(2)).round(3).tolist()
    [1.0, 0.0]
    """
    shares = np.full(len(found), 1 / len(found))
    found = np.maximum(found, _TINY)
    for _ in range(steps):
        parts = shares[:, None] * found
        shares = (parts / parts.sum(0)) @ weights
        shares /= shares.sum()
    return shares


def tempered(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (N, K) of the logits divided by `temperature`.

    >>> tempered(np.array([[0.8, 0.2]]), 1e9).round(3).tolist()
    [[0.5, 0.5]]
    """
    logits = np.log(np.maximum(probs, _TINY)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def best_temperature(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Return the temperature under which the labels of held-out examples are likeliest, from 1/20 to 20.

    Source: Guo et al. 2017, "On calibration of modern neural networks".
    """
    at = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        given = tempered(probs, np.exp(log_temperature))[at, labels]
        return float(-(weights * np.log(np.maximum(given, _TINY))).sum())

    edge = float(np.log(20))
    return float(np.exp(minimize_scalar(cost, bounds=(-edge, edge), method="bounded").x))
