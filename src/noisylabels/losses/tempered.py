"""The tempered softmax of Amid et al. 2019, solved to machine precision, with its exact gradient."""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 6
"""Newton steps. Each at least squares the error, starting from the bound below; the tests check the rest."""


def log_tempered_softmax(z: Tensor, t: float) -> Tensor:
    r"""Return the logarithm of the tempered softmax over axis 1.

    ``p_k = exp_t(z_k - lambda)``, ``exp_t(x) = [1 + (1 - t) x]_+ ^ (1 / (1 - t))``, and lambda such that
    the p_k sum to 1. t = 1 is the softmax; above it the tails are heavy, below it p_k can be 0.

    Args:
        z: (N, K, d1, ...) logits or log-probabilities, which give the same result.
        t: the temperature, greater than 0.

    Returns:
        (N, K, d1, ...), with the logarithm of the smallest normal number in place of log 0.

    Source: Amid et al. 2019, "Robust bi-tempered logistic loss based on Bregman divergences", Eq. 5 and
    appendix A. Their code does a fixed number of steps of a fixed-point iteration (t > 1) or of a
    bisection (t < 1), and uses a separate formula for the gradient. Here Newton's method solves
    ``(sum_k p_k)^(1-t) = 1``, which is nearly linear in lambda: it is concave for t > 1 and convex for t < 1,
    so that the steps from ``lambda = max z`` approach the root from one side. One more step gives autograd
    the first two derivatives of the implicit function: Chebyshev's, whose terms of higher order are 0.
    """
    if t == 1:
        return torch.log_softmax(z, 1)
    z = z - z.detach().amax(1, keepdim=True)  # this only shifts lambda
    with torch.no_grad():
        shift = torch.zeros_like(z[:, :1])
        for _ in range(ITERATIONS):
            u = _base(z, shift, t)
            p = (u.log() / (1 - t)).exp()
            total = p.sum(1, keepdim=True)
            slope = (p / u).sum(1, keepdim=True)  # -d total / d lambda
            # the root of total^(1-t) = 1 along its tangent
            shift = shift + (total**t - total) / ((t - 1) * slope)
    u = _base(z, shift, t)
    p = (u.log() / (1 - t)).exp()
    error, slope = p.sum(1, keepdim=True) - 1, (p / u).sum(1, keepdim=True)
    constant = slope.detach()
    # t * sum(p / u^2) is the second derivative of the total
    curvature = (t * (p / u / u).detach().sum(1, keepdim=True) / (2 * constant)).clamp_max(1e30)
    nothing = (error - error.detach()) / constant  # 0: it adds to derivatives only, and no rounding errors
    shift = shift + error / constant + nothing * (1 - slope / constant) + curvature * nothing.square()
    return _base(z, shift, t).log() / (1 - t)


def _base(z: Tensor, shift: Tensor, t: float) -> Tensor:
    """Return ``1 + (1 - t) (z - lambda)``, kept above 0."""
    return (1 + (1 - t) * (z - shift)).clamp_min(torch.finfo(z.dtype).tiny)
