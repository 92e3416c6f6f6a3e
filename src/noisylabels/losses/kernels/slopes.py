"""The per-label functions of `pointwise.py` with their slopes, for the fast path (`fused.py`).

Each takes ``x = -log p`` (0 or more), ``p`` and the parameters, and returns the cost and its derivative with
respect to x, ``d phi / d x = -d phi / d log p``: in x both are positive for nearly all functions, so that no
pass over the classes is spent on signs. A slope may be a number. Arguments are not changed, except by
`fl_share`. Tests compare all of them with `pointwise.py` and autograd.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisylabels.losses import pointwise
from noisylabels.losses.pointwise import FAR


def _zero_if_masked(slope: Tensor) -> Tensor:
    """Return a slope in place with 0 for NaN: 0 times infinity at a class masked by a logit of -inf.

    Its cost makes the sum infinite, by which the slope is divided. A row with a logit NaN is NaN elsewhere.
    """
    return slope.nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)


def ce(x: Tensor, p: Tensor) -> tuple[Tensor, float]:
    """Cross entropy."""
    return x, 1.0


def fl(x: Tensor, p: Tensor, gamma: float = 0.5, detach: float = 0.0) -> tuple[Tensor, Tensor]:
    """Focal loss, slope ``(1-p)^gamma + gamma (1-p)^(gamma-1) p x``."""
    # 1 - p needs no expm1 here: where it is small, p is the largest probability, 1 over the sum of the
    # exponentials, and 1 - p is as exact as that sum. Where p is 1, x and its product are exactly 0.
    rest = torch.rsub(p, 1).clamp_min_(torch.finfo(p.dtype).tiny)
    power = rest**gamma
    cost = power * x
    if detach:
        return cost, power
    return cost, _zero_if_masked(power.addcdiv_(cost * p, rest, value=gamma))


def fl_share(
    x: Tensor, e: Tensor, s: Tensor, room: list[Tensor] | None, gamma: float = 0.5, detach: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Focal loss for p = e/s; cost and slope are multiplied by s^gamma, which cancels in a share of a sum.

    It needs fewer passes than `fl`: it overwrites x, and works in the two tensors of `room` if given.
    """
    rest, power = (None, None) if room is None else room
    # s - e is s (1 - p); s is increased by its own rounding error, so that the difference is never 0
    rest = torch.sub(torch.add(s, s, alpha=torch.finfo(s.dtype).eps), e, out=rest)
    power = torch.pow(rest, gamma, out=power)
    cost = x.mul_(power)
    if detach:
        return cost, power
    return cost, _zero_if_masked(power.addcmul_(cost, torch.div(e, rest, out=rest), value=gamma))


def mae(x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error, slope ``2 p``."""
    return 2 - (slope := p + p), slope


def rce(x: Tensor, p: Tensor, A: float = -4.0) -> tuple[Tensor, Tensor]:
    """Reverse cross entropy, slope ``-A p``."""
    return -A - (slope := p * -A), slope


def gce(x: Tensor, p: Tensor, q: float = 0.7) -> tuple[Tensor, Tensor]:
    """Generalized cross entropy, slope ``p^q``."""
    return pointwise.gce(-x, q), torch.exp(-q * x)


def taylor_ce(x: Tensor, p: Tensor, t: float = 2.0) -> tuple[Tensor, Tensor]:
    """Taylor cross entropy, slope ``p Σ_(i<t) (1-p)^i``."""
    u = 1 - p
    total = torch.ones_like(u)
    for _ in range(int(t) - 1):
        total = total * u + 1
    return pointwise.taylor_ce(-x, t), total * p


def phuber_ce(x: Tensor, p: Tensor, tau: float = 2.0) -> tuple[Tensor, Tensor]:
    """Partially Huberised cross entropy, slope ``1 if p > 1/tau else tau p``."""
    return pointwise.phuber_ce(-x, tau), torch.where(x < math.log(tau), 1.0, tau * p)


def agce(x: Tensor, p: Tensor, a: float = 0.6, q: float = 0.6) -> tuple[Tensor, Tensor]:
    """Asymmetric generalized cross entropy, slope ``(a+p)^(q-1) p``."""
    return pointwise.agce(-x, a, q), (a + p) ** (q - 1) * p


def aul(x: Tensor, p: Tensor, a: float = 5.5, q: float = 3.0) -> tuple[Tensor, Tensor]:
    """Asymmetric unhinged loss, slope ``(a-p)^(q-1) p``."""
    return pointwise.aul(-x, a, q), (a - p) ** (q - 1) * p


def ael(x: Tensor, p: Tensor, a: float = 2.5) -> tuple[Tensor, Tensor]:
    """Asymmetric exponential loss, slope ``exp(-p/a) p/a``."""
    cost = (p / -a).exp()
    return cost, cost * p / a


def js(x: Tensor, p: Tensor, w: float = 0.5) -> tuple[Tensor, Tensor]:
    """Jensen-Shannon divergence, slope ``p (1 - log(m/p)/log(1-w)),  m = w + (1-w) p``."""
    # m/p = 1 + w (e^x - 1), which overflows for large x; there 1 - w is negligible beside w e^x
    far = 60.0
    log_ratio = torch.where(
        x < far, torch.log1p(w * torch.expm1(x.clamp_max(far))), x.clamp_max(FAR) + math.log(w)
    )
    return pointwise.js(-x, w), p * (1 - log_ratio / math.log1p(-w))


def poly1(x: Tensor, p: Tensor, epsilon: float = 2.0) -> tuple[Tensor, Tensor]:
    """Poly-1 cross entropy, slope ``1 + epsilon p``."""
    return pointwise.poly1(-x, epsilon), 1 + epsilon * p
