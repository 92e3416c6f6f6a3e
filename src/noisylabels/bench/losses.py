"""Benchmark of a loss, forward and backward, against ``F.cross_entropy``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  its usual name

from noisylabels.bench.timing import Ratio, compare
from noisylabels.losses.expression import loss

SHAPES = ((128, 10), (4096, 10), (512, 1000), (256, 50_000))
"""N and K: a batch of CIFAR-10, a large one, ImageNet, a language model's vocabulary."""


def loss_ratio(
    which: str | Callable[[Tensor, Tensor], Tensor],
    shape: tuple[int, int],
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    rounds: int = 11,
) -> Ratio:
    """Return the time of a loss (value and gradient) relative to that of ``F.cross_entropy``.

    Args:
        which: the loss, as an expression or a function of logits and target.
        shape: N and K of the logits, which are drawn from a normal distribution.
        device, dtype: of the logits.
        rounds: see `bench.timing.compare`.
    """
    where = torch.device(device)
    logits, target = draw(shape, where, dtype)
    ours, theirs = (
        partial(step, function, logits, target)
        for function in (loss(which) if isinstance(which, str) else which, F.cross_entropy)
    )
    return compare(ours, theirs, rounds=rounds, device=where)


def draw(
    shape: tuple[int, int], device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Return logits (N, K) that require a gradient, and labels (N,), the same every time."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).to(device=device, dtype=dtype)
    target = torch.randint(shape[1], shape[:1], generator=generator).to(device)
    return logits.requires_grad_(), target


def step(function: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> None:
    """Compute a loss and its gradient."""
    logits.grad = None
    function(logits, target).backward()
