"""The curvature of a loss around the current weights: largest Hessian eigenvalue, and a slice.

Both are pure functions of a loss and its parameters, which are left as they were, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from noisylabels.training.dynamics.gradients import norm_of

ITERATIONS = 20
"""The most products with the Hessian in a power iteration."""

TOLERANCE = 0.01
"""Relative change of the estimate below which a power iteration ends."""

SLICE = 11
"""Points of a slice, from -1 to 1."""


def largest_eigenvalue(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    generator: torch.Generator,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> float:
    """Return the eigenvalue of the Hessian of a loss that is largest in absolute value, by power iteration.

    ``v <- H v / |H v|`` from a random v; the estimate is the Rayleigh quotient ``v' H v`` of unit v. Each
    product with H is the gradient of ``v' grad L``.

    Args:
        loss: returns the loss, (), of the parameters' current values, each time with a new graph.
        parameters: tensors that require a gradient.
        generator: on the CPU, for the first v.
        iterations, tolerance: when to stop.

    Raises:
        RuntimeError: an operation of the model has no second derivative.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> round(largest_eigenvalue(lambda: 3 * w[0] ** 2 + w[1] ** 2, [w], torch.Generator()), 2)
    6.0
    """
    first = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True)
    used = [(each, slope) for each, slope in zip(parameters, first, strict=True) if slope is not None]
    used = [(each, slope) for each, slope in used if slope.requires_grad]
    if not used:
        return 0.0
    weights, slopes = [each for each, _ in used], [slope for _, slope in used]
    vector = _unit([torch.randn(each.shape, generator=generator).to(each) for each in weights])
    estimate = 0.0
    for _ in range(iterations):
        product = torch.autograd.grad(slopes, weights, vector, retain_graph=True, allow_unused=True)
        pairs = zip(product, weights, strict=True)
        moved = [torch.zeros_like(each) if part is None else part for part, each in pairs]
        before, estimate = estimate, sum(float((a * b).sum()) for a, b in zip(vector, moved, strict=True))
        if norm_of(moved) == 0 or abs(estimate - before) <= tolerance * abs(estimate):
            break
        vector = _unit(moved)
    return estimate


def _unit(vector: Sequence[Tensor]) -> list[Tensor]:
    size = norm_of(vector)
    return [each / size for each in vector]


def loss_slice(
    losses: Callable[[], Sequence[float]],
    parameters: Sequence[Tensor],
    generator: torch.Generator,
    points: int = SLICE,
) -> list[tuple[float, tuple[float, ...]]]:
    """Return losses along a random line through the weights, as pairs (place, losses), places in [-1, 1].

    The direction is scaled per filter to the norm of the filter's weights, and is 0 for biases and the
    parameters of normalization, so that slices of networks of different scale compare.

    Args:
        losses: returns one or more losses of the parameters' current values.
        parameters: they are moved along the line and put back.
        generator: on the CPU, for the direction.
        points: number of places, 2 or more.

    Source: Li et al. 2018, "Visualizing the loss landscape of neural nets".

    >>> w = torch.tensor([[2.0]], requires_grad=True)
    >>> found = loss_slice(lambda: [float(w.detach() ** 2)], [w], torch.Generator(), points=3)
    >>> [place for place, _ in found], sorted(value for _, (value,) in found)
    ([-1.0, 0.0, 1.0], [0.0, 4.0, 16.0])
    """
    kept = [each.detach().clone() for each in parameters]
    lines = [_direction(each, generator) for each in kept]
    found = []
    try:
        for place in torch.linspace(-1, 1, points).tolist():
            with torch.no_grad():
                for each, center, line in zip(parameters, kept, lines, strict=True):
                    each.copy_(center + place * line)
            found.append((round(place, 6) + 0.0, tuple(losses())))  # no -0
    finally:
        with torch.no_grad():
            for each, center in zip(parameters, kept, strict=True):
                each.copy_(center)
    return found


def _direction(weights: Tensor, generator: torch.Generator) -> Tensor:
    if weights.ndim < 2:
        return torch.zeros_like(weights)
    line = torch.randn(weights.shape, generator=generator).to(weights)
    rows, sizes = (each.flatten(1).norm(dim=1) for each in (line, weights))
    factor = sizes / rows.clamp_min(torch.finfo(weights.dtype).tiny)
    scaled: Tensor = line * factor.reshape(-1, *[1] * (weights.ndim - 1))
    return scaled
