"""How likely labels are clean by their losses: a mixture of two normal distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylabels.methods.ogc import fit_two_parts


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
    x = x.clamp_min(parts.mean[0])
    log_density = -(x - parts.mean[:, None]).square() / (2 * parts.variance[:, None])
    log_density = log_density + (parts.share / parts.variance.sqrt()).log()[:, None]
    return log_density.softmax(0)[0]


def noise_rate_of(losses: Tensor) -> float:
    """Return the expected share of wrong labels by their losses: the mean of ``1 - clean_probability``.

    >>> noise_rate_of(torch.tensor([0.0, 0.1, 0.2, 4.0])).__round__(3)
    0.25
    """
    return float((1 - clean_probability(losses)).mean())
