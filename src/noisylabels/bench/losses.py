"""A loss, forward and backward, against ``F.cross_entropy``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  its usual name

from noisylabels.bench.timing import Ratio, compare
from noisylabels.losses.expression import loss

SHAPES = ((128, 10), (4096, 10), (512, 1000), (256, 50_000))
"""N and K: a batch of CIFAR-10, many of them, ImageNet, a language model's vocabulary."""


def loss_ratio(
    expression: str,
    shape: tuple[int, int],
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    rounds: int = 11,
) -> Ratio:
    """Return the time of a loss, its value and its gradient, against that of ``F.cross_entropy``.

    Args:
        expression: of the loss.
        shape: N and K of the logits, which are drawn from a normal distribution.
        device, dtype: of the logits.
        rounds: see `bench.timing.compare`.
    """
    where = torch.device(device)
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=draw).to(device=where, dtype=dtype).requires_grad_()
    target = torch.randint(shape[1], (shape[0],), generator=draw).to(where)

    def both(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        def one() -> None:
            logits.grad = None
            function(logits, target).backward()

        return one

    return compare(both(loss(expression)), both(F.cross_entropy), rounds=rounds, device=where)
