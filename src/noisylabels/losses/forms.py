"""Hard and soft labels, and the three forms of a per-label function.

A per-label function returns **costs**, (N, K, d1, ...) with classes on axis 1: the cost of each example (and
position) under each label. A **label** picks from them: a hard label the entry of its class, a soft label the
mean under its weights, so that every loss is linear in the label. A **form** defines what is picked: the cost
itself (plain), its share of the sum over the labels (normalized), or the negative of that share (negative).
Each returns one value per example (and position): (N, d1, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Phi = Callable[[Tensor], Tensor]

P_MIN = 1e-7
"""The probability that defines the bound of the negative form (Ye 2023, as in the authors' code)."""


@dataclass(frozen=True)
class Hard:
    """Labels as class indices: int64 (N, d1, ...)."""

    target: Tensor
    soft = False

    def pick(self, values: Tensor) -> Tensor:
        """Return ``values[n, target[n]]``: (N, K, d1, ...) to (N, d1, ...)."""
        return values.gather(1, self.target.unsqueeze(1)).squeeze(1)

    @property
    def total(self) -> float:
        """The value at this label if all costs are 1."""
        return 1.0


@dataclass(frozen=True)
class Soft:
    """Labels as a weight per class: (N, K, d1, ...), probabilities times class weights."""

    weights: Tensor
    soft = True

    def pick(self, values: Tensor) -> Tensor:
        """Return ``sum_k weights[n, k] values[n, k]``: (N, K, d1, ...) to (N, d1, ...)."""
        # a class masked by -inf has an infinite cost, which no example of weight 0 pays
        return (self.weights * values.masked_fill((self.weights == 0) & values.isinf(), 0)).sum(1)

    @property
    def total(self) -> Tensor:
        """The value at this label if all costs are 1."""
        return self.weights.sum(1)


Label = Hard | Soft


def select(phi: Phi, l: Tensor, label: Label) -> Tensor:
    """Return the plain loss, ``phi(l)[y]``."""
    return label.pick(phi(l))


def normalize(phi: Phi, l: Tensor, label: Label) -> Tensor:
    """Return the normalized loss, ``phi(l)[y] / sum_k phi(l)[k]`` (Ma 2020; the paper's Eq. 1)."""
    costs = phi(l)
    return label.pick(costs) / costs.sum(1)


def negative(phi: Phi, l: Tensor, label: Label) -> Tensor:
    """Return the normalized negative loss, ``1 - (B - phi(l)[y]) / sum_k (B - phi(l)[k])`` (Ye 2023).

    B is phi at p_min = 1e-7, and p is clamped to [p_min, 1].
    """
    floor = math.log(P_MIN)
    wide = wider(l)
    bound = phi(torch.full((), floor, dtype=wide, device=l.device))
    gains = (bound - phi(l.clamp_min(floor).to(wide))).to(l.dtype)
    return label.total - label.pick(gains) / gains.sum(1)


def wider(l: Tensor) -> torch.dtype:
    """Return the type for gains, float64: most gains are small differences of two large costs.

    In float32 the rounding errors of these differences add up over the classes, and depend on the CPU. MPS
    has no float64.
    """
    return l.dtype if l.device.type == "mps" else torch.float64


@dataclass(frozen=True)
class Form:
    """A way to turn a per-label function into a loss."""

    name: str
    prefix: str  # of the loss's name: "n" makes nce of ce
    title: str  # "normalized {}" with the name of the per-label function
    equation: str  # with {y} for phi at the label and {k} for phi at label k
    apply: Callable[[Phi, Tensor, Label], Tensor]

    def __reduce__(self) -> str:
        return self.name.upper()  # the name of the constant below: a copy or a pickle is the same object


SELECT = Form("select", "", "{}", "{y}", select)
NORMALIZE = Form("normalize", "n", "normalized {}", "[{y}] / Σ_k [{k}]", normalize)
NEGATIVE = Form(
    "negative", "nn", "normalized negative {}", "1 - [B - ({y})] / Σ_k [B - ({k})],  B at p = 1e-7", negative
)
FORMS = {form.name: form for form in (SELECT, NORMALIZE, NEGATIVE)}
