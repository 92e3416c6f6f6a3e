"""Properties of a loss, found numerically: the range of its values, and its optimum under noisy labels.

Both are computed from the **costs** of a prediction, the loss under each label. Losses are linear in their
label, so that the costs are the gradient with respect to the label's weights: one pass for all labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from noisylabels.losses.evaluation import Part, TargetOptions, evaluate

FAR = 1e30
"""A logit so low that even losses with heavy tails (nce, the tempered softmax) have reached their limit."""

MANY = 1000
"""The most classes for which predictions between the corners are searched too."""

_EACH = TargetOptions(None, "none", None, 0.0)


def values_at(parts: Sequence[Part], logits: Tensor) -> Tensor:
    """Return the values of examples of label 0: (P, K) to (P,)."""
    return evaluate(parts, logits, torch.zeros(len(logits), dtype=torch.int64), _EACH)


def costs_at(parts: Sequence[Part], logits: Tensor) -> Tensor:
    """Return the costs of each prediction under each label: (P, K) to (P, K)."""
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
    corners[2, 0] = -FAR  # the others equal; the last row: all equal
    centered = corners - corners.mean(1, keepdim=True)
    pair = torch.zeros((1, k), dtype=torch.float64)
    pair[0, :2] = torch.tensor([-FAR, FAR])
    ends = torch.cat([corners, centered, pair])
    low = high = 0.0
    for part in parts:
        values = values_at([part], ends)
        smallest, largest = float(values.min()), float(values.max())
        if k <= MANY:  # the extremes need not be at the corners: see label smoothing
            smallest = min(smallest, _least_between(part, k, 1))
            largest = max(largest, -_least_between(part, k, -1))
        low, high = low + smallest, high + largest
    low = 0.0 if abs(low) < 1e-12 else low  # rounding
    return low if low > -1e20 else -math.inf, high if high < 1e20 else math.inf


def _least_between(part: Part, num_classes: int, sign: int) -> float:
    """Return the least ``sign * value`` over the logits of the label and of one rival, the others equal.

    The search uses a grid, then finer ones around the best point: over the label's logit alone, then over
    both; and, if the logits are transformed before the softmax, so that adding a constant to all of them
    matters, over that of the others too.
    """
    best = math.inf
    grids = [(1, 401, 5), (3, 13, 9) if part.logit_maps else (2, 21, 7)]
    for free, many, rounds in grids:
        free = min(free, num_classes)
        starts, ends = [-50.0] * free, [50.0] * free
        for _ in range(rounds):
            axes = [
                torch.linspace(start, end, many, dtype=torch.float64)
                for start, end in zip(starts, ends, strict=True)
            ]
            points = torch.cartesian_prod(*axes).reshape(-1, free)
            rows = torch.zeros((len(points), num_classes), dtype=torch.float64)
            rows[:, : min(free, 2)] = points[:, :2]
            if free > 2:
                rows[:, 2:] = points[:, 2:]
            values = sign * values_at([part], rows)
            at = int(values.argmin())
            best = min(best, float(values[at]))
            step = [float(axis[1] - axis[0]) for axis in axes]
            starts = [float(x) - width for x, width in zip(points[at], step, strict=True)]
            ends = [float(x) + width for x, width in zip(points[at], step, strict=True)]
    return best


# The optimum under noisy labels


class Optimum(NamedTuple):
    """The result of the search for the best prediction."""

    dominance: float | None  # see `Loss.dominance`
    even: float | None  # the same if all other labels have equal weights
    unique: bool  # no prediction with another largest class is as good


def optimum(parts: Sequence[Part], num_classes: int) -> Optimum:
    """Return by what factor the true label must outweigh every other label; see `Loss.dominance`.

    The true label is 0, and ``D_k = L(p, k) - L(e_0, k)`` is the excess cost of a prediction p over the
    certain one under label k. With weights c and w_k in [0, 1], e_0 is the best if ``c D_0 + sum_k w_k D_k >=
    0`` for every p, and the worst w_k are 1 where D_k < 0.
    """
    k = num_classes
    certain = torch.zeros((3, k), dtype=torch.float64)
    certain[0, 1:] = -math.sqrt(FAR)
    certain[0, 1] = -FAR
    certain[1, 1:] = -FAR
    certain[2] = certain[1] - certain[1].mean()  # LogitClip depends on the norm
    logits = torch.cat([_predictions(k), _to_the_end_of_the_support(parts, k)])
    costs = costs_at(parts, torch.cat([certain, logits]))
    best, costs = costs[0], costs[3:]
    finite = costs.isfinite().all(1)  # infinite costs are never the worst case
    costs, logits = costs[finite], logits[finite]
    if bool(best.isnan().any()) or not len(costs):
        return Optimum(None, None, True)  # a user-defined function without a limit there
    if float(best[0]) < -1e9:
        return Optimum(None, None, True)  # unbounded below: no prediction is the best
    excess = costs[:, 0] - best[0]
    least = torch.minimum(best[0], costs[:, 0].min())
    wrong = costs[logits[:, 0] < logits.amax(1), 0]
    all_alike = values_at(parts, torch.zeros((1, k), dtype=torch.float64))
    unique = bool(wrong.min() - least > 1e-6 * (all_alike - least).abs())
    if float(best.abs().max()) > 1e9:
        # certainty is unboundedly costly under any other label, as for cross entropy
        return Optimum(math.inf, math.inf, unique)
    size = costs[:, 0].abs().clamp_min(float(best.abs().max()))
    slack = 1e-9 * max(1.0, k / 100) * size
    if bool((excess < -slack).any()) or bool(values_at(parts, certain[2:]) < best[0] - slack[0]):
        return Optimum(math.inf, math.inf, unique)  # the best is not certain: any other label moves it
    # A normalized unbounded loss has no single value at e_0: the label whose p falls fastest costs `share`,
    # the others nothing, and the optimum may choose which. Labels that cost more than that absorb it.
    share = best[1] - best[2] if k > 2 else torch.zeros(())
    room = costs[:, 1:] - best[-1]
    worst = (-room).clamp_min(0).sum(1) + (share - room.clamp_min(0).sum(1)).clamp_min(0)
    rounding = 4e-16 * k
    return Optimum(
        _largest_ratio(worst, excess, size, rounding),
        _largest_ratio(share - room.sum(1), excess, size, rounding),
        unique,
    )


def _largest_ratio(gain: Tensor, excess: Tensor, size: Tensor, rounding: float) -> float:
    """Return the largest ``gain / excess``, 1 or more, as the excess vanishes; inf if it is unbounded.

    Both are sums of numbers of magnitude `size`, so that each is off by up to ``rounding * size``. That is
    subtracted from the one and added to the other, so that the result is a lower bound.
    """
    ratio = (gain - rounding * size) / (excess + rounding * size)
    found = []  # the largest ratio down to each decade of the excess, the last well above rounding
    for decade in range(1, 1 + int(-math.log10(1e3 * rounding))):
        seen = excess >= size * 10.0**-decade
        found.append(max(1.0, float(ratio[seen].max())) if bool(seen.any()) else 1.0)
    # A finite limit is close by now, and two decades add less than half of what the two before them did; a
    # power or a logarithm of the excess keeps growing.
    late, early = math.log(found[-1] / found[-3]), math.log(found[-3] / found[-5])
    if (late > 1e-4 and late > 0.5 * early) or found[-1] > 1e9:
        return math.inf
    return found[-1] if found[-1] > 1 + 1e-6 else 1.0  # rounding


def _predictions(num_classes: int) -> Tensor:
    """Return log-probabilities (P, K) all over the simplex, many of them nearly certain of class 0."""
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
    # shares of the other classes in the rest
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
    wrong = torch.full((1, k), -FAR, dtype=torch.float64)
    wrong[0, :2] = torch.tensor([-5.0, 0.0])  # certain of class 1, class 0 far ahead of the rest
    points.append(wrong)
    if not many:
        # logits of very different size, which matters to normalized losses
        falls = -(10.0 ** (32 * torch.rand((200, k), generator=generator, dtype=torch.float64) - 2))
        points.append(falls - falls.amax(1, keepdim=True))
        falls[:, 0] = 0.0
        points.append(falls)
    return torch.cat(points)


def _to_the_end_of_the_support(parts: Sequence[Part], num_classes: int) -> Tensor:
    """Return predictions by the lead of class 0: evenly spaced, and dense where it becomes certain.

    A tempered softmax with t < 1 gives the other classes probability 0 from a finite lead on.
    """
    k = num_classes
    rows = []
    for rivals in {1, k - 1}:  # the other classes are excluded, or none exist

        def led(leads: Tensor, rivals: int = rivals) -> Tensor:
            row = torch.zeros((len(leads), k), dtype=torch.float64)
            row[:, 1 + rivals :] = -FAR
            row[:, 0] = leads
            return row

        leads = torch.linspace(0, 50, 501 if k <= MANY else 51, dtype=torch.float64)
        rows.append(led(leads))
        start, end = 0.0, 50.0
        for _ in range(6):
            within = torch.linspace(start, end, 101, dtype=torch.float64)
            values = values_at(parts, led(within))
            first = int((values - values[-1] <= 1e-15 * values[-1].abs()).nonzero()[0])
            start, end = float(within[max(first - 1, 0)]), float(within[first])
        rows.append(led(end - 10 ** torch.linspace(-9, 0.3, 94, dtype=torch.float64)))
    return torch.cat(rows)
