"""A loss as a curve over the label's probability, as `noisylabels loss` prints and draws it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisylabels.core.checks import InputError, check_whole
from noisylabels.losses.modules import Loss

END = 1e-4
"""The distance of the first and the last p of a curve from 0 and 1, where some losses are infinite."""


MOST_IN_BATCH = 200
"""The most classes for a loss that depends on the whole batch, which then has every label at every p."""


def curve(loss: Loss, num_classes: int = 10, points: int = 201) -> dict[str, list[float]]:
    """Return the value and the gradient of `loss` for one example over the label's probability p.

    The other classes share 1 - p evenly. Class weights and reduction are ignored. For a loss that depends on
    the whole batch, all labels are equally frequent in it.

    Args:
        loss: any loss.
        num_classes: K, 2 or more.
        points: the number of values of p, evenly spaced from 0 to 1 (the ends 1e-4 inside), 2 or more.

    Returns:
        Lists of `points` floats, computed in float64: "p"; "value"; "gradient", the derivative with
        respect to the label's logit z_y, negative where a step of gradient descent raises p; "weight",
        w(p) = gradient / (p - 1), the gradient relative to that of cross entropy.

    Raises:
        InputError: fewer than 2 classes or points; more than `MOST_IN_BATCH` classes for a loss that depends
            on the whole batch.

    >>> from noisylabels import loss
    >>> drawn = curve(loss("ce"), num_classes=4, points=3)
    >>> drawn["p"][1], round(drawn["value"][1], 4), round(drawn["gradient"][1], 4)  # -log p and p - 1
    (0.5, 0.6931, -0.5)
    >>> [round(weight, 3) for weight in curve(loss("mae"), points=3)["weight"]]  # 2 p
    [0.0, 1.0, 2.0]
    """
    check_whole(num_classes, "num_classes", 2)
    check_whole(points, "points", 2)
    if "the whole batch" in loss.needs and num_classes > MOST_IN_BATCH:
        raise InputError(
            f"the loss {loss.expression!r} depends on the whole batch, and its curve takes {num_classes:,} "
            f"classes, expected at most {MOST_IN_BATCH}"
        )
    p = torch.linspace(0.0, 1.0, points, dtype=torch.float64).clamp(END, 1 - END)
    value, gradient = _at(loss, p, num_classes)
    found = {"p": p, "value": value, "gradient": gradient, "weight": gradient / (p - 1)}
    return {name: numbers.tolist() for name, numbers in found.items()}


def _at(loss: Loss, p: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the value of a loss at each p and its derivative with respect to the label's logit."""
    points = len(p)
    others = ((1 - p) / (num_classes - 1)).log()
    logits = others.unsqueeze(1).repeat(1, num_classes)
    logits[:, 0] = p.log()
    logits.requires_grad_()
    labels = num_classes if "the whole batch" in loss.needs else 1
    target = torch.arange(labels).repeat_interleave(points)
    with torch.enable_grad():
        # in a batch with all labels equally frequent, the examples of the first label
        values = Loss(loss.terms, reduction="none")(logits.repeat(labels, 1), target)[:points]
        (gradient,) = torch.autograd.grad(values.sum(), logits)
    return values.detach(), gradient[:, 0]


NEAR, NEARER = 1e-4, 1e-5
"""Distances of p from 0 and 1: a slope that still changes between them is taken to grow or vanish there."""

CHANGE = 1.02
"""The factor by which a slope changes at least between these two distances if it grows or vanishes."""

MOST = 1e6
"""A greater variation ratio is that of a slope that is 0 but for rounding."""


def variation_ratio(loss: Loss, num_classes: int = 10) -> float | None:
    """Return by what factor the slope of a loss varies over the label's probability p.

    ``v = max_p |dL/dp| / min_p |dL/dp|`` over p in [0, 1], while the other classes share 1 - p evenly. For a
    plain loss, which depends on p only, this is the ratio of Wang et al.: a smaller one means more
    robustness, and 1 is that of the mean absolute error. It is inf for a slope that is unbounded or vanishes,
    as that of cross entropy, 1/p; and None for a loss that depends on the whole batch.

    Source: Wang et al. 2025, "Variation-bounded loss for noise-tolerant learning", arXiv 2511.12143 (the
    definition, after its abstract and summaries).

    >>> from noisylabels import loss
    >>> variation_ratio(loss("mae")), variation_ratio(loss("ce"))
    (1.0, inf)
    """
    check_whole(num_classes, "num_classes", 2)
    if "the whole batch" in loss.needs:
        return None
    inner = torch.linspace(0.0, 1.0, 2001, dtype=torch.float64)[1:-1]
    ends = torch.tensor([NEAR, NEARER], dtype=torch.float64)
    p = torch.cat([ends, inner, 1 - ends])
    slope = (_at(loss, p, num_classes)[1] / (p * (1 - p))).abs()
    if not bool(slope.isfinite().all()):
        return math.inf
    for near, nearer in ((slope[0], slope[1]), (slope[-2], slope[-1])):
        low, high = float(torch.minimum(near, nearer)), float(torch.maximum(near, nearer))
        if low <= 0 or high / low > CHANGE:
            return math.inf
    low, high = float(slope.min()), float(slope.max())
    if low <= 0 or high / low > MOST:
        return math.inf
    return 1.0 if high / low < 1 + 1e-6 else high / low  # rounding
