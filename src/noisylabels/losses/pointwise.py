"""Per-label functions phi that act entry by entry: from log-probabilities to costs, one line each.

Every function takes ``l = log p``, a tensor of any shape with entries in (-inf, 0], and returns a tensor of
the same shape: entry k is the cost of the example if its label is k. Parameters keep the letters of their
papers. The forms (`forms.py`) turn a phi into losses; its row in `entries.py` documents it. Functions that
need the whole vector of probabilities are in `vectorwise.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import threshold

FAR = 1e4
"""-log p beyond which p is 0 in any type. A bound there changes nothing but 0 times infinity, NaN, at classes
that are masked by a logit of -inf."""


def above_far(l: Tensor) -> Tensor:
    """Return log p, and -FAR below that, without a slope there."""
    return threshold(l, -FAR, -FAR)  # faster than clamp_min, whose backward pass makes a mask


def p_log_p(l: Tensor) -> Tensor:
    """Return ``p log p``, 0 at p = 0."""
    l = above_far(l)
    return l.exp() * l


def one_minus_exp(x: Tensor) -> Tensor:
    """Return ``1 - e^x``, exact in value near x = 0 and in slope far from it.

    expm1 alone does not suffice: its backward pass recovers e^x as (e^x - 1) + 1, which loses all digits of
    e^x below 1e-7, while that of exp keeps the relative precision that gradients need.
    """
    return torch.where(x > -1, -torch.expm1(x), 1 - x.exp())


def ce(l: Tensor) -> Tensor:
    """Cross entropy, ``-log p``."""
    return -l


def fl(l: Tensor, gamma: float = 0.5, detach: float = 0.0) -> Tensor:
    """Focal loss, ``-(1-p)^gamma log p``; detach=1 takes the modulator out of the graph."""
    # For gamma < 1 the slope of (1-p)^gamma is infinite at p = 1, and infinity times log p = 0 is NaN.
    # The clamp keeps the power's slope finite (and passes no gradient below it), so that the product has its
    # limit, 0. expm1 keeps 1 - p exact where it is small. Nor does a masked class pass a gradient, 0 times
    # log p = -inf.
    inside = above_far(l.detach() if detach else l)
    one_minus_p = (-torch.expm1(inside)).clamp_min(torch.finfo(l.dtype).tiny)
    return -(one_minus_p**gamma) * l


def mae(l: Tensor) -> Tensor:
    """Mean absolute error, ``2 (1-p)``, which is ``|onehot - p|_1``."""
    return 2 * (1 - l.exp())


def rce(l: Tensor, A: float = -4.0) -> Tensor:
    """Reverse cross entropy, ``-A (1-p)``: ``-Σ_k p_k log q_k`` with log 0 read as A."""
    return -A * (1 - l.exp())


def gce(l: Tensor, q: float = 0.7) -> Tensor:
    """Generalized cross entropy, ``(1-p^q)/q``."""
    return one_minus_exp(q * l) / q


def taylor_ce(l: Tensor, t: float = 2.0) -> Tensor:
    """Taylor cross entropy, ``Σ_(i=1..t) (1-p)^i/i``."""
    u = 1 - l.exp()
    total = u / int(t)  # Horner's method, from the highest power
    for i in range(int(t) - 1, 0, -1):
        total = u * (total + 1 / i)
    return total


def phuber_ce(l: Tensor, tau: float = 2.0) -> Tensor:
    """Partially Huberised cross entropy, ``-log p if p > 1/tau else log tau + 1 - tau p``."""
    return torch.where(l > -math.log(tau), -l, -tau * l.exp() + math.log(tau) + 1)


def agce(l: Tensor, a: float = 0.6, q: float = 0.6) -> Tensor:
    """Asymmetric generalized cross entropy, ``((a+1)^q - (a+p)^q)/q``."""
    # (a+1)^q [1 - ((a+p)/(a+1))^q]: exact near p = 1, and near 0 if a is tiny
    at_one: float = (a + 1) ** q
    near_one = torch.log1p(-one_minus_exp(l.clamp_min(-1)) / (a + 1))
    log_ratio = torch.where(l > -1, near_one, (a + l.exp()).log() - math.log1p(a))
    return at_one / q * one_minus_exp(q * log_ratio)


def aul(l: Tensor, a: float = 5.5, q: float = 3.0) -> Tensor:
    """Asymmetric unhinged loss, ``((a-p)^q - (a-1)^q)/q``."""
    at_one: float = (a - 1) ** q
    return at_one / q * torch.expm1(q * torch.log1p(one_minus_exp(l) / (a - 1)))


def ael(l: Tensor, a: float = 2.5) -> Tensor:
    """Asymmetric exponential loss, ``exp(-p/a)``."""
    return (-l.exp() / a).exp()


def js(l: Tensor, w: float = 0.5) -> Tensor:
    """Jensen-Shannon divergence,
    ``(1-p) + [(1-w) p log p - m log m]/Z,  m = w + (1-w) p, Z = -(1-w) log(1-w)``.

    Of label and prediction, weights (w, 1 - w), over Z; all classes but the label's cancel.
    """
    p, rest, Z = l.exp(), one_minus_exp(l), -(1 - w) * math.log1p(-w)
    m = w + (1 - w) * p
    # Z is as small as w. Where p > w, m log m = m log p + m log(m/p), so that (1-w) p log p cancels.
    above = l.clamp_min(math.log(w))
    likely = w * above + (w + (1 - w) * above.exp()) * torch.log1p(w * torch.expm1(-above))
    log_m = torch.log1p(-(1 - w) * rest) if w > 0.5 else m.log()
    return rest - torch.where(l > math.log(w), likely, m * log_m - (1 - w) * p * above_far(l)) / Z


def poly1(l: Tensor, epsilon: float = 2.0) -> Tensor:
    """Poly-1 cross entropy, ``-log p + epsilon (1-p)``."""
    return -l + epsilon * one_minus_exp(l)
