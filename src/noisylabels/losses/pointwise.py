"""The per-label functions phi: one line each, from log-probability to what that label would cost.

Every function here takes ``l = log p``, a tensor of any shape with entries in (-inf, 0], and returns
a tensor of the same shape: entry k is what the example would pay if its label were k. Parameters
keep the letters of their papers. The readings (`readings.py`) turn a phi into losses; the catalog
(`catalog.py`) says what else is known of it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ce(l: Tensor) -> Tensor:
    """Cross entropy, ``-log p``."""
    return -l


def fl(l: Tensor, gamma: float = 0.5) -> Tensor:
    """Focal loss, ``-(1 - p)^gamma log p``."""
    # For gamma < 1 the slope of (1-p)^gamma is infinite at p = 1, and infinity times log p = 0 is NaN.
    # The clamp keeps the power's slope finite (and passes no gradient below it), so that the product
    # takes its limit, 0. expm1 keeps 1 - p exact where it is small.
    one_minus_p = (-torch.expm1(l)).clamp_min(torch.finfo(l.dtype).tiny)
    return -(one_minus_p**gamma) * l


def mae(l: Tensor) -> Tensor:
    """Mean absolute error, ``|onehot - p|_1 = 2 (1 - p)``."""
    # Not expm1: its backward recovers p as (p - 1) + 1 and so loses all of a p below 1e-7, while the
    # backward of exp keeps the relative precision of p, which is what the gradient is made of.
    return 2 * (1 - l.exp())


def rce(l: Tensor, A: float = -4.0) -> Tensor:
    """Reverse cross entropy, ``-sum_k p_k log q_k = -A (1 - p)`` with ``log 0`` read as ``A``."""
    return -A * (1 - l.exp())
