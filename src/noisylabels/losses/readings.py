"""The three readings of a per-label function at the given label, and their weighted sum.

``l`` is the (N, K, d1, ...) tensor of log-probabilities, classes on axis 1; ``target`` holds int64
labels of shape (N, d1, ...). A reading returns one value an example (and position): (N, d1, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Phi = Callable[[Tensor], Tensor]
Read = Callable[[Tensor, Tensor], Tensor]  # from (l, target) to the values

P_MIN = 1e-7
"""The probability at which the negative reading takes its bound (Ye 2023, as in the authors' code)."""


def at_label(values: Tensor, target: Tensor) -> Tensor:
    """Return ``values[n, target[n]]``: (N, K, d1, ...) and (N, d1, ...) to (N, d1, ...)."""
    return values.gather(1, target.unsqueeze(1)).squeeze(1)


def select(phi: Phi, l: Tensor, target: Tensor) -> Tensor:
    """The plain loss: ``phi(l)[y]``."""
    return phi(at_label(l, target))  # phi is pointwise, so one entry an example is enough


def normalize(phi: Phi, l: Tensor, target: Tensor) -> Tensor:
    """The normalized loss: ``phi(l)[y] / sum_k phi(l)[k]`` (Ma 2020; the paper's Eq. 1)."""
    values = phi(l)
    return at_label(values, target) / values.sum(1)


def negative(phi: Phi, l: Tensor, target: Tensor) -> Tensor:
    """The normalized negative loss: ``1 - (B - phi(l)[y]) / sum_k (B - phi(l)[k])`` (Ye 2023).

    B is phi at p_min = 1e-7, and p is clamped to [p_min, 1].
    """
    floor = math.log(P_MIN)
    bound = phi(torch.full((), floor, dtype=l.dtype, device=l.device))
    gains = bound - phi(l.clamp_min(floor))
    return 1 - at_label(gains, target) / gains.sum(1)


@dataclass(frozen=True)
class Reading:
    """A way to turn a per-label function into a loss."""

    name: str
    prefix: str  # of the loss's name: "n" makes nce of ce
    title: str  # "normalized {}" with the name of the per-label function
    equation: str  # with {y} for phi at the label and {k} for phi at label k
    apply: Callable[[Phi, Tensor, Tensor], Tensor]

    def __reduce__(self) -> str:
        return self.name.upper()  # the name of the constant below: a copy or a pickle is the same object


SELECT = Reading("select", "", "{}", "{y}", select)
NORMALIZE = Reading("normalize", "n", "normalized {}", "[{y}] / Σ_k [{k}]", normalize)
NEGATIVE = Reading(
    "negative", "nn", "normalized negative {}", "1 - [B - ({y})] / Σ_k [B - ({k})],  B at p = 1e-7", negative
)
READINGS = {reading.name: reading for reading in (SELECT, NORMALIZE, NEGATIVE)}


def weighted_sum(parts: Sequence[tuple[float, Read]], logits: Tensor, target: Tensor) -> Tensor:
    """Return ``sum_i w_i reading_i(phi_i)`` an example, from one log-softmax: (N, d1, ...).

    Each part is a weight and a reading with its per-label function bound.

    Half precisions are computed, and returned, in float32: a sum over K log-probabilities, or
    1 - p near 1, has no meaning in 8 or 11 bits.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    l = torch.log_softmax(logits, dim=1)
    terms = [weight * read(l, target) for weight, read in parts]
    return sum(terms[1:], start=terms[0])


def reduce(values: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Weigh each value by its label's class weight and reduce, as ``nn.CrossEntropyLoss`` does.

    "mean" divides by the sum of the weights that were used, "sum" and "none" do not divide.
    """
    if weight is None:
        return values.mean() if reduction == "mean" else values.sum() if reduction == "sum" else values
    weights = weight.to(values.dtype)[target]
    weighted = values * weights
    if reduction == "mean":
        return weighted.sum() / weights.sum()
    return weighted.sum() if reduction == "sum" else weighted
