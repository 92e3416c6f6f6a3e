"""What a loss is like, found by computing it: the range of its values, and how much noise its optimum bears.

Everything here sees the **costs** of a prediction, what an example would pay under each label. Losses are
linear in their label, so the costs are the gradient by the label's weights: one pass for all labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisylabels.losses.evaluation import Part, Target, evaluate

FAR = 1e30
"""A logit so low that even heavy tails (nce, the tempered softmax) are at their limit there."""

MANY = 1000
"""Up to so many classes the predictions between the corners are searched too."""

_EACH = Target(None, "none", None, 0.0)


def values_at(parts: Sequence[Part], logits: Tensor) -> Tensor:
    """Return the values of examples of label 0: (P, K) to (P,)."""
    return evaluate(parts, logits, torch.zeros(len(logits), dtype=torch.int64), _EACH)


def costs_at(parts: Sequence[Part], logits: Tensor) -> Tensor:
    """Return what each prediction would pay under each label: (P, K) to (P, K)."""
    with torch.enable_grad():
        label = torch.zeros_like(logits).requires_grad_()
        (costs,) = torch.autograd.grad(evaluate(parts, logits, label, _EACH).sum(), label)
    return costs


# The range


def bounds(parts: Sequence[Part], num_classes: int) -> tuple[float, float]:
    """Return the sum of the parts' least and greatest values; see `Loss.bounds`."""
    k = num_classes
    corners = torch.zeros((4, k), dtype=torch.float64)
    corners[0, 1:] = -FAR  # label certain
    corners[1, [0, *range(2, k)]] = -FAR  # one other class certain
    corners[2, 0] = -FAR  # the others alike; the last: all alike
    centred = corners - corners.mean(1, keepdim=True)
    pair = torch.zeros((1, k), dtype=torch.float64)
    pair[0, :2] = torch.tensor([-FAR, FAR])
    ends = torch.cat([corners, centred, pair])
    low = high = 0.0
    for part in parts:
        values = values_at([part], ends)
        smallest, largest = float(values.min()), float(values.max())
        if k <= MANY:  # a loss need not take its extremes at the ends: label smoothing does not
            smallest = min(smallest, _least_between(part, k, 1))
            largest = max(largest, -_least_between(part, k, -1))
        low, high = low + smallest, high + largest
    low = 0.0 if abs(low) < 1e-12 else low  # rounding
    return low if low > -1e20 else -math.inf, high if high < 1e20 else math.inf


def _least_between(part: Part, num_classes: int, sign: int) -> float:
    """Return the least of sign * value over the label's logit, the others alike: a grid, then a finer one."""
    start, end, best = -50.0, 50.0, math.inf
    for _ in range(3):
        logit = torch.linspace(start, end, 401, dtype=torch.float64)
        rows = torch.zeros((401, num_classes), dtype=torch.float64)
        rows[:, 0] = logit
        values = (sign * values_at([part], rows)).tolist()
        at = values.index(min(values))
        best = min(best, values[at])
        start, end = float(logit[max(at - 1, 0)]), float(logit[min(at + 1, 400)])
    return best


# The noise that the optimum bears


def dominance(parts: Sequence[Part], num_classes: int, *, even: bool) -> float | None:
    """Return how many times the true label must outweigh every other one; see `Loss.dominance`.

    With `even`, all other labels weigh the same. The true label is 0, and ``D_k = L(p, k) - L(e_0, k)`` is
    what a prediction p costs more than the certain one under label k. Weights of c and of w_k in [0, 1]
    keep e_0 the best if ``c D_0 + sum_k w_k D_k >= 0`` for every p, and the worst w_k are 1 where D_k < 0.
    """
    logits = _predictions(num_classes)
    certain = torch.zeros((3, num_classes), dtype=torch.float64)
    certain[0, 1:] = -math.sqrt(FAR)
    certain[0, 1] = -FAR
    certain[1, 1:] = -FAR
    certain[2] = certain[1] - certain[1].mean()  # LogitClip sees the norm
    costs = costs_at(parts, torch.cat([certain, logits]))
    best, costs = costs[0], costs[3:]
    costs = costs[costs.isfinite().all(1)]  # infinite ones are no prediction's worst
    if bool(best.isnan().any()) or not len(costs):
        return None  # a function of yours that has no limit at the ends
    if float(best.abs().max()) > 1e9:
        return math.inf  # certainty costs too much under any other label, as with cross entropy
    excess = costs[:, 0] - best[0]
    # the rounding is in proportion to it
    size = costs[:, 0].abs().clamp_min(float(best.abs().max())) * max(1.0, num_classes / 100)
    if bool((excess < -1e-9 * size).any()) or bool(values_at(parts, certain[2:]) < best[0] - 1e-9 * size[0]):
        return math.inf  # the best prediction lies within: any weight of another label moves it
    # A normalized unbounded loss has no one value at e_0: the label whose p falls fastest pays `share`, the
    # others nothing, and the optimum may choose which. Room under labels that pay more takes it up.
    share = best[1] - best[2] if num_classes > 2 else torch.zeros(())
    room = costs[:, 1:] - best[-1]
    if even:
        gain = share - room.sum(1)
    else:
        gain = (-room).clamp_min(0).sum(1) + (share - room.clamp_min(0).sum(1)).clamp_min(0)
    # Where the excess vanishes the ratio is a limit: look at the largest down to each decade of the excess,
    # the last one well above the rounding.
    found = []
    for decade in range(1, 8):
        seen = excess >= size * 10.0**-decade
        found.append(max(1.0, float((gain[seen] / excess[seen]).max())) if bool(seen.any()) else 1.0)
    late, early = found[-1] - found[-3], found[-3] - found[-5]
    grows_on = late > 1e-4 * found[-1] and late > 0.5 * early  # a limit that exists would be near
    if grows_on or found[-1] > 1e9:
        return math.inf
    return found[-1] if found[-1] > 1 + 1e-6 else 1.0  # rounding


def _predictions(num_classes: int) -> Tensor:
    """Return log-probabilities all over the simplex, and many near certainty of class 0: (P, K)."""
    k = num_classes
    generator = torch.Generator().manual_seed(0)
    many = k > MANY
    powers = [
        -torch.logspace(1.1, 2.4, 10 if many else 30, dtype=torch.float64),  # for heavy tails
        torch.linspace(-12.5, -0.5, 26 if many else 51, dtype=torch.float64),
    ]
    # 1 - p of class 0
    left = torch.cat([10 ** torch.cat(powers), torch.linspace(0.35, 1, 14, dtype=torch.float64)])
    counts = sorted({1, k - 1} if many else {1, 2, 3, (k - 1) // 2, k - 2, k - 1})
    # shares of the other classes in what is left
    rows = torch.tensor(
        [[1 / count] * count + [0.0] * (k - 1 - count) for count in counts if 1 <= count < k],
        dtype=torch.float64,
    )
    if not many:  # rows of all kinds, from nearly even to nearly one class
        concentration = torch.tensor([0.3, 1.0, 3.0, 10.0], dtype=torch.float64)
        powers_of = concentration.repeat_interleave(2).unsqueeze(1)
        draws = torch.rand((8, k - 1), generator=generator, dtype=torch.float64).log().neg() ** powers_of
        rows = torch.cat([rows, draws / draws.sum(1, keepdim=True)])
    others = torch.log(left[:, None, None] * rows).flatten(0, 1)
    first = torch.log1p(-left).repeat_interleave(len(rows)).unsqueeze(1)
    points = [torch.cat([first, others], 1).clamp_min(-FAR)]
    if not many:
        # rates of falling as different as can be: what normalized losses see
        falls = -(10.0 ** (32 * torch.rand((200, k), generator=generator, dtype=torch.float64) - 2))
        points.append(falls - falls.amax(1, keepdim=True))
        falls[:, 0] = 0.0
        points.append(falls)
    return torch.cat(points)
