"""Wrappers around any loss: transforms of its logits, and transforms of its label.

A transform of the logits maps (N, K, d1, ...) to the same shape. A transform of the label maps the weights of
the classes, (N, K, d1, ...): losses are linear in the label, so that a transformed label means the same sum
of costs with other weights. Their rows are in `entries.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def eps_softmax(z: Tensor, m: float = 1e3, floor: float = 1e-8) -> Tensor:
    """Epsilon-softmax, ``log max(p', floor)`` with ``p' = (p + m onehot(argmax p)) / (1 + m)``."""
    l = torch.log_softmax(z, 1)
    top = torch.zeros_like(l).scatter(1, l.argmax(1, keepdim=True), 1.0)
    # log((p + m) / (1 + m)) at the top, without a difference of two logarithms
    relaxed = torch.where(top > 0, torch.log1p((l.exp() - 1) * top / (1 + m)), l - math.log1p(m))
    return relaxed.clamp_min(math.log(floor)) if floor else relaxed


def logit_clip(z: Tensor, tau: float = 1.0) -> Tensor:
    """LogitClip, ``z min(1, tau / |z|_2)``: the norm of the logits is at most tau."""
    norm: Tensor = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    return z * (tau / norm.clamp_min(tau))


def logit_norm(z: Tensor, tau: float = 0.04) -> Tensor:
    """LogitNorm, ``z / (tau |z|_2)``: the norm of the logits is 1/tau."""
    norm: Tensor = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    return z / (tau * norm.clamp_min(1e-3))


def temper(z: Tensor, T: float = 2.0) -> Tensor:
    """Temperature, ``z / T``."""
    return z / T


def ls(q: Tensor, r: float = 0.1) -> Tensor:
    """Label smoothing, ``(1 - r) q + r / K``; negative for r < 0."""
    return (1 - r) * q + r / q.shape[1]


def peer(q: Tensor, alpha: float = 1.0) -> Tensor:
    """Peer loss, ``q - alpha pi``, pi the share of each label in the batch."""
    share = q.transpose(0, 1).flatten(1).sum(1)
    return q - alpha * (share / share.sum()).view(1, -1, *[1] * (q.ndim - 2))
