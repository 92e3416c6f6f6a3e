"""How the ranks of a run divide a step: each runs the networks on its rows, and has the outputs of all.

A step of a method sees the whole batch on every rank. Only its networks run on a part of the rows; their
outputs are exchanged, and everything behind them (loss, selections, state per example) is computed on every
rank from the same numbers. So the loss is that of the whole batch, whatever it is, and the gradients of the
ranks, each through its own rows, sum to the gradient. torch's DistributedDataParallel averages the gradients
of one network with one pass per step instead, which is exact only for means over equal parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from noisylabels.core.rng import derive_seed
from noisylabels.training.ranks import Ranks

BUCKET_NUMBERS = 25 * 2**18
"""Numbers of gradients that are summed at once, as in torch's DistributedDataParallel: 25 MiB in float32."""

Run = Callable[[Tensor], Tensor]
"""From inputs (rows, ...) to outputs (rows, D)."""


class Sharing:
    """Divides the passes of a step, or of another part of a run, between ranks.

    Args:
        ranks: of the run.
        rows: of the batch's B, those that its inputs hold on this rank; None for all of them.
        count: B; None between steps.
        seed: of what the networks draw, such as dropout; None in evaluation mode.
    """

    def __init__(
        self,
        ranks: Ranks,
        rows: tuple[int, int] | None = None,
        count: int | None = None,
        seed: int | None = None,
    ) -> None:
        self.ranks, self.rows, self.count, self.seed = ranks, rows, count, seed
        self.passes = 0

    def __call__(self, run: Run, inputs: Tensor) -> Tensor:
        """Return the outputs of `run` for the rows of all ranks, with a gradient through this rank's."""
        self.passes += 1
        B, rows = self.count, self.rows
        if B is not None and rows is not None and rows != (0, B):
            low, high = rows
            return self._exchanged(self._own(run, inputs), len(inputs) // (high - low), B)
        views = len(inputs) // B if B and len(inputs) % B == 0 else 1
        n = len(inputs) // views
        low, high = self.ranks.part(n)
        if is_small(n, self.ranks.size):
            # drawn alike: every rank uses its own outputs of all rows
            with self._draws(inputs.device, "common"):
                whole = run(inputs).unflatten(0, (views, n))
            parts = [whole[:, :low].detach(), whole[:, low:high], whole[:, high:].detach()]
            return torch.cat(parts, 1).flatten(0, 1)
        own = torch.cat([view[low:high] for view in inputs.chunk(views)]) if views > 1 else inputs[low:high]
        return self._exchanged(self._own(run, own), views, n)

    def _own(self, run: Run, inputs: Tensor) -> Tensor:
        """Return the outputs of `run` for this rank's rows."""
        with self._draws(inputs.device, self.ranks.rank):
            return run(inputs)

    def _exchanged(self, local: Tensor, views: int, n: int) -> Tensor:
        """Return the outputs (views n, D) of all ranks, given those of this rank's rows of each view."""
        ranks = self.ranks
        bounds = [ranks.part(n, rank) for rank in range(ranks.size)]
        own = local.unflatten(0, (views, -1))
        most = math.ceil(n / ranks.size)
        sent = own.detach()
        if sent.shape[1] < most:
            sent = nn.functional.pad(sent, (0, 0, 0, most - sent.shape[1]))
        pieces = [
            each[:, : high - low]
            for each, (low, high) in zip(ranks.gather(sent.contiguous()), bounds, strict=True)
        ]
        pieces[ranks.rank] = own
        return torch.cat(pieces, 1).flatten(0, 1)

    @contextmanager
    def _draws(self, device: torch.device, stream: int | str) -> Iterator[None]:
        """Let networks draw from a stream of their own, and leave that of the ranks as it is."""
        if self.seed is None:
            yield
            return
        generators = [torch.default_generator]
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            generators.append(torch.cuda.default_generators[index])
        states = [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(derive_seed(self.seed, "rank", stream, self.passes))
        try:
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def is_small(n: int, size: int) -> bool:
    """Return whether n rows are too few to be divided: batch normalization needs two rows per rank."""
    return n < 2 * size


def rows_of(n: int, part: tuple[int, int]) -> tuple[int, int]:
    """Return the rows of a batch of n that the inputs of a rank hold: its part, or all of a small batch.

    >>> rows_of(8, (1, 3)), rows_of(5, (1, 3))
    ((2, 5), (0, 5))
    """
    rank, size = part
    return (0, n) if is_small(n, size) else Ranks(rank, size).part(n)


class GradientSum:
    """Sums the gradients of networks over the ranks, in buckets, while the backward pass goes on.

    Every rank must have a gradient for the same parameters.

    Args:
        parameters: of the networks; others have the whole gradient on every rank.
        ranks: of the run.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
        self.ranks = ranks
        self.buckets: list[list[nn.Parameter]] = []
        size = 0
        for parameter in reversed(parameters):  # about the order in which gradients are computed
            full = size + parameter.numel() > BUCKET_NUMBERS
            if not self.buckets or full or parameter.dtype != self.buckets[-1][-1].dtype:
                self.buckets.append([])
                size = 0
            self.buckets[-1].append(parameter)
            size += parameter.numel()
        place = {id(parameter): k for k, bucket in enumerate(self.buckets) for parameter in bucket}
        self.hooks = [
            parameter.register_post_accumulate_grad_hook(lambda each: self._has(place[id(each)]))
            for parameter in parameters
        ]
        self._restart()

    def _restart(self) -> None:
        self.missing = [len(bucket) for bucket in self.buckets]
        self.begun = 0
        self.pending: list[tuple[Callable[[], object], list[Tensor], Tensor]] = []

    def _has(self, bucket: int) -> None:
        """Count a gradient, and begin to sum the buckets that are complete, on every rank in one order."""
        self.missing[bucket] -= 1
        while self.begun < len(self.buckets) and self.missing[self.begun] == 0:
            self._begin()

    def _begin(self) -> None:
        grads = [each.grad for each in self.buckets[self.begun] if each.grad is not None]
        self.begun += 1
        if grads:
            flat = torch.cat([grad.flatten() for grad in grads])
            self.pending.append((self.ranks.begin_sum(flat), grads, flat))

    def finish(self) -> None:
        """Replace the gradients of the backward pass that is over by their sums."""
        while self.begun < len(self.buckets):  # those of parameters without a gradient
            self._begin()
        for wait, grads, flat in self.pending:
            wait()
            sums = flat.split([grad.numel() for grad in grads])
            torch._foreach_copy_(grads, [s.view(g.shape) for s, g in zip(sums, grads, strict=True)])
        self._restart()

    def release(self) -> None:
        """Leave the parameters as they were."""
        for hook in self.hooks:
            hook.remove()
