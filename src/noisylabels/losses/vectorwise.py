"""The per-label functions that look at all probabilities at once.

As those of `pointwise.py` they take log-probabilities and give costs, entry k what the example would pay
if its label were k, but they need the whole vector: ``l`` is (N, K, d1, ...), classes on axis 1. `gjs`
takes V views of each example, (V, N, K, d1, ...), and gives (N, K, d1, ...) all the same.
"""

from __future__ import annotations

import math

from torch import Tensor

from noisylabels.losses.pointwise import gce
from noisylabels.losses.tempered import log_tempered_softmax


def boot_soft(l: Tensor, beta: float = 0.95) -> Tensor:
    """Soft bootstrapping, ``-beta log p_y - (1-beta) Σ_k p_k log p_k``."""
    return -beta * l - (1 - beta) * (l.exp() * l).sum(1, keepdim=True)


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
    tempered = log_tempered_softmax(l, t2)  # softmax and log-probabilities differ by a constant: no matter
    rest = (((2 - t1) * tempered).exp().sum(1, keepdim=True) - 1) / (2 - t1)
    return rest - tempered if t1 == 1 else rest + gce(tempered, 1 - t1)


def gjs(l: Tensor, w: float = 0.5) -> Tensor:
    """Generalized Jensen-Shannon divergence,
    ``[H(m) - Σ_v u H(p_v)]/Z,  m = w e_y + u Σ_v p_v, u = (1-w)/V, Z = -(1-w) log(1-w)``.

    Of the label and V views, H the entropy; V = 1 gives `js`.
    """
    u, Z = (1 - w) / l.shape[0], -(1 - w) * math.log1p(-w)
    log_m = l.logsumexp(0) + math.log(u)  # of the predictions' part; in logarithms, for m may underflow
    m = log_m.exp()
    m_log_m = m * log_m
    # H(m without the label) less the entropies of the views, class by class: the two sums would cancel
    spread = (u * (l.exp() * l).sum(0) - m_log_m).sum(1, keepdim=True)
    return (spread + m_log_m - (w + m) * (w + m).log()) / Z


def nrce_ma2020(l: Tensor, A: float = math.log(1e-4)) -> Tensor:
    """Normalized reverse cross entropy as coded by Ma 2020, ``-A (1-p_y) (K-1)/4``."""
    return -A * (1 - l.exp()) * ((l.shape[1] - 1) / 4)
