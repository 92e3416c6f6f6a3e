"""A mixture of two normal distributions, and how likely labels are clean by their losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ROUNDS, LEAST_VARIANCE = 10, 1e-3
"""Iterations of expectation maximization, and what is added to each variance.

The code of DivideMix takes at most as many iterations, and adds half as much, 5e-4.
"""


class Parts(NamedTuple):
    """The two normal distributions of a mixture, each entry (2,): that of the lower mean first."""

    mean: Tensor
    variance: Tensor
    share: Tensor

    def posterior(self, x: Tensor) -> Tensor:
        """Return the probability of each part for values (M,), (2, M)."""
        log_density = -(x - self.mean[:, None]).square() / (2 * self.variance[:, None])
        return (log_density + (self.share / self.variance.sqrt()).log()[:, None]).softmax(0)


def fit_two_parts(values: Tensor) -> Parts:
    """Fit a mixture of two normal distributions by expectation maximization, starting from two halves.

    Args:
        values: (M,), two or more.

    >>> found = fit_two_parts(torch.tensor([0.0, 0.2, 5.0, 5.2]))
    >>> found.mean
    tensor([0.1000, 5.1000], dtype=torch.float64)
    """
    x = values.detach().double() if values.device.type != "mps" else values.detach()
    x = x.sort().values
    upper = (torch.arange(len(x), device=x.device) >= _largest_gap(x)).to(x)
    weight = torch.stack([1 - upper, upper])
    parts = _maximized(x, weight)
    for _ in range(ROUNDS):
        parts = _maximized(x, parts.posterior(x))
    order = parts.mean.argsort()
    return Parts(*(each[order] for each in parts))


def _largest_gap(x: Tensor) -> Tensor:
    """Return where to divide sorted values into two parts of least squared deviation: two-means, exactly."""
    count = torch.arange(1, len(x), device=x.device, dtype=x.dtype)
    left = x.cumsum(0)[:-1]
    between = (left / count - (x.sum() - left) / (len(x) - count)).square() * count * (len(x) - count)
    return between.argmax() + 1


def _maximized(x: Tensor, weight: Tensor) -> Parts:
    total = weight.sum(1) + 10 * torch.finfo(x.dtype).eps
    mean = (weight * x).sum(1) / total
    variance = (weight * (x - mean[:, None]).square()).sum(1) / total + LEAST_VARIANCE
    return Parts(mean, variance, total / len(x))


def clean_probability(losses: Tensor) -> Tensor:
    """Return the probability of each loss to be of the part with the lower mean, (N,) float64.

    The losses are scaled to [0, 1], and a mixture of two normal distributions is fitted. The probability of
    a loss below the lower mean is that at the mean: the wider part has more density on both sides.

    Args:
        losses: (N,), two or more.

    Returns:
        All 1 for losses that are equal.

    >>> clean_probability(torch.tensor([0.0, 0.1, 0.2, 4.0, 4.1])).round().tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0]

    Source: Li et al. 2020, "DivideMix: learning with noisy labels as semi-supervised learning", whose code
    fits scikit-learn's mixture from a random start; `fit_two_parts` starts from two-means.
    """
    x = losses.detach().double() if losses.device.type != "mps" else losses.detach()
    width = x.max() - x.min()
    if not width > 0:
        return torch.ones_like(x)
    x = (x - x.min()) / width
    parts = fit_two_parts(x)
    return parts.posterior(x.clamp_min(parts.mean[0]))[0]


def noise_rate_of(losses: Tensor) -> float:
    """Return the expected share of wrong labels by their losses: the mean of ``1 - clean_probability``.

    >>> noise_rate_of(torch.tensor([0.0, 0.1, 0.2, 4.0])).__round__(3)
    0.25
    """
    return float((1 - clean_probability(losses)).mean())
