"""A loss as a curve over the label's probability, as `noisylabels loss` prints and draws it."""

from __future__ import annotations

import torch

from noisylabels.core.checks import check_whole
from noisylabels.losses.modules import Loss

END = 1e-4
"""The distance of the first and the last p of a curve from 0 and 1, where some losses are infinite."""


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
        respect to the label's logit z_y, negative where a step of gradient descent raises p.

    Raises:
        InputError: fewer than 2 classes or points.

    >>> from noisylabels import loss
    >>> drawn = curve(loss("ce"), num_classes=4, points=3)
    >>> drawn["p"][1], round(drawn["value"][1], 4), round(drawn["gradient"][1], 4)  # -log p and p - 1
    (0.5, 0.6931, -0.5)
    """
    check_whole(num_classes, "num_classes", 2)
    check_whole(points, "points", 2)
    p = torch.linspace(0.0, 1.0, points, dtype=torch.float64).clamp(END, 1 - END)
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
    return {"p": p.tolist(), "value": values.tolist(), "gradient": gradient[:, 0].tolist()}
