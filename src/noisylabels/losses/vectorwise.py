"""Per-label functions that need the whole vector of probabilities.

Like those of `pointwise.py` they map log-probabilities to costs, entry k being the cost of the example if its
label is k, but they need all classes: ``l`` is (N, K, d1, ...), classes on axis 1. `gjs` takes V views of
each example, (V, N, K, d1, ...), and returns (N, K, d1, ...); `unhinged` takes the logits z.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisylabels.losses.pointwise import above_far, gce, js, one_minus_exp, p_log_p
from noisylabels.losses.tempered import log_tempered_softmax


def boot_soft(l: Tensor, beta: float = 0.95) -> Tensor:
    """Soft bootstrapping, ``-beta log p_y - (1-beta) Σ_k p_k log p_k``."""
    return -beta * l - (1 - beta) * p_log_p(l).sum(1, keepdim=True)


def boot_hard(l: Tensor, beta: float = 0.8) -> Tensor:
    """Hard bootstrapping, ``-beta log p_y - (1-beta) log max_k p_k``."""
    return -beta * l - (1 - beta) * l.amax(1, keepdim=True)


def amse(l: Tensor, a: float = 30.0) -> Tensor:
    """Asymmetric mean squared error, ``(1/K) Σ_k (p_k - a [k=y])^2``."""
    p = l.exp()
    return ((p * p).sum(1, keepdim=True) - 2 * a * p + a * a) / l.shape[1]


def bi_tempered(l: Tensor, t1: float = 0.8, t2: float = 1.2) -> Tensor:
    """Bi-tempered logistic loss,
    ``(1 - p_y^(1-t1))/(1-t1) - (1 - Σ_k p_k^(2-t1))/(2-t1),  p the tempered softmax of t2``.

    A tempered logarithm (t1) of a tempered softmax (t2).
    """
    tempered = log_tempered_softmax(l, t2)  # logits and log-probabilities give the same
    rest = (((2 - t1) * tempered).exp().sum(1, keepdim=True) - 1) / (2 - t1)
    return rest - tempered if t1 == 1 else rest + gce(tempered, 1 - t1)


def gjs(l: Tensor, w: float = 0.5) -> Tensor:
    """Generalized Jensen-Shannon divergence,
    ``[H(m) - Σ_v u H(p_v)]/Z,  m = w e_y + u Σ_v p_v, u = (1-w)/V, Z = -(1-w) log(1-w)``.

    Of the label and V views, H the entropy; V = 1 gives `js`.
    """
    # The divergence of the label from the mean of the views, plus that of the views from their mean. Z is as
    # small as w, so the second part is a sum of terms d e^d - e^d + 1 >= 0, which are 0 where views agree.
    l = above_far(l)  # masked classes have a finite difference
    top = l.detach().amax(0)
    mean = top + (l - top).exp().mean(0).log()
    d = l - mean
    apart = mean.exp() * (d * d.exp() - torch.expm1(d)).mean(0)
    Z = -(1 - w) * math.log1p(-w)
    return js(mean, w) + apart.sum(1, keepdim=True) * ((1 - w) / Z)


def mse(l: Tensor) -> Tensor:
    """Mean squared error, ``Σ_k (p_k - [k=y])^2``, the Brier score."""
    p = l.exp()
    others = (p * p).sum(1, keepdim=True) - p * p
    return one_minus_exp(l) ** 2 + others


def tgce(l: Tensor, q: float = 0.7, k: float = 0.5) -> Tensor:
    """Truncated generalized cross entropy, ``(1 - max(p_y, k)^q)/q``."""
    return gce(l.clamp_min(math.log(k)), q)


def blurry(l: Tensor, gamma: float = 0.5, detach: float = 0.0) -> Tensor:
    """Blurry loss, ``-p_y^gamma log p_y``; detach=1 takes the weight p_y^gamma out of the graph."""
    # Entry by entry, but all costs are 0 where the prediction is certain, right or wrong: a normalized form
    # would be 0/0 there. The clamp keeps 0 times infinity away from classes whose logit is -inf.
    l = l.clamp_min(torch.finfo(l.dtype).min)
    return -(gamma * (l.detach() if detach else l)).exp() * l


def piecewise_zero(l: Tensor, c: float = 0.05) -> Tensor:
    """Piecewise-zero loss, ``-log p_y if p_y >= c else 0``."""
    return torch.where(l >= math.log(c), -l, 0)  # like `blurry`, without a normalized form


def unhinged(z: Tensor) -> Tensor:
    """Multi-class unhinged loss, ``(1/K) Σ_k z_k - z_y``, linear in the logits z."""
    # The same of log-probabilities, but their softmax would only add rounding, and a pass back through it.
    return z.mean(1, keepdim=True) - z


def sgce(l: Tensor, q: float = 0.7) -> Tensor:
    """Symmetrized generalized cross entropy, ``[(1/K) Σ_k p_k^q - p_y^q]/q``."""
    costs = gce(l, q)
    return costs - costs.mean(1, keepdim=True)


def nl(l: Tensor) -> Tensor:
    """Negative learning, ``-1/(K-1) Σ_(k≠y) log(1-p_k)``: not that label, for any other at random."""
    first = torch.zeros_like(l, dtype=torch.bool).scatter(1, l.argmax(1, keepdim=True), True)
    # 1 - p of the largest is the sum of all others, which is exact where p is 1
    others = l.masked_fill(first, -math.inf)
    alone = (others == -math.inf).all(1, keepdim=True)  # all other classes are masked
    largest = others.masked_fill(alone, 0).logsumexp(1, keepdim=True).masked_fill(alone, -math.inf)
    rest = torch.log1p(-l.exp().masked_fill(first, 0))
    return (rest - rest.sum(1, keepdim=True) - largest.masked_fill(first, 0)) / (l.shape[1] - 1)


def ldr_kl(l: Tensor, lam: float = 1.0, c: float = 0.1) -> Tensor:
    """Label-distributionally robust loss, ``lam log (1/K) Σ_k exp((log p_k - log p_y + c [k≠y])/lam)``."""
    s = torch.log_softmax(l / lam, 1)
    return lam * (torch.log1p(s.exp() * math.expm1(-c / lam)) - s - math.log(l.shape[1])) + c


def conf_penalty(l: Tensor, beta: float = 0.1) -> Tensor:
    """Confidence penalty, ``-log p_y + beta Σ_k p_k log p_k``: cross entropy less the entropy."""
    return beta * p_log_p(l).sum(1, keepdim=True) - l


def nrce_ma2020(l: Tensor, A: float = math.log(1e-4)) -> Tensor:
    """Normalized reverse cross entropy as coded by Ma 2020, ``-A (1-p_y) (K-1)/4``."""
    return -A * (1 - l.exp()) * ((l.shape[1] - 1) / 4)
