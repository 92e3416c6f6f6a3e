"""Optimized gradient clipping (OGC): a mixture of losses sets how far an example may pull the network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.losses.modules import Loss
from noisylabels.methods.mixture import fit_two_parts
from noisylabels.training.method import PART, LossFunction, Method, Setup

P_MIN = 1e-7
"""Probabilities are clamped to at least this, and to at most 1 minus this."""

LOWEST, HIGHEST = -math.log(1 - P_MIN), -math.log(P_MIN)
"""Range of the cross entropies of clamped probabilities."""

GRID = 1000
"""Points at which the densities of the mixture are evaluated."""

HALVINGS = 10
"""Steps of the search for the threshold: it is exact to a thousandth in probability."""


def gradient_ratio(tau: Tensor, slopes: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
    """Return how much larger the mean gradient clipped at tau is among noisy examples than among clean ones.

    Args:
        tau: (), the threshold.
        slopes: (M,), the size of the loss's derivative by the probability of the label, on a grid.
        clean, noisy: (M,), the densities of the two parts on the grid, up to factors.

    >>> one = torch.ones(2)
    >>> gradient_ratio(torch.tensor(9.0), torch.tensor([1.0, 3.0]), one, torch.tensor([0.0, 1.0]))
    tensor(1.5000)
    """
    clipped = torch.minimum(slopes, tau)
    return (clipped * noisy).sum() / (clipped * clean).sum() * (clean.sum() / noisy.sum())


def threshold(
    slope_at: Callable[[Tensor], Tensor], slopes: Tensor, clean: Tensor, noisy: Tensor, most: float
) -> Tensor:
    """Return the probability of the label, (), at whose slope `gradient_ratio` is `most`, by halving.

    Args:
        slope_at: from probabilities (M,) of the label to slopes (M,).
        slopes, clean, noisy: as for `gradient_ratio`.
        most: the ratio to reach.

    Returns:
        0 if the ratio is below `most` without clipping.
    """
    low = torch.full((), P_MIN, dtype=slopes.dtype, device=slopes.device)
    high = 1 - low
    at_low = gradient_ratio(slope_at(low[None])[0], slopes, clean, noisy)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = gradient_ratio(slope_at(middle[None])[0], slopes, clean, noisy) < most
        low, high = torch.where(below, low, middle), torch.where(below, middle, high)
    return torch.where(at_low < most, 0.0, high)


def appended(queue: Tensor, values: Tensor, counts: Tensor | None = None) -> Tensor:
    """Return the last values of a queue to which values are appended, without waiting for the device.

    Args:
        queue: (M,), the oldest first.
        values: (B,).
        counts: (B,) bool, which of the values are appended; None for all.

    >>> appended(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0]), torch.tensor([True, False]))
    tensor([2., 3., 4.])
    """
    every = torch.cat([queue, values])
    if counts is not None:  # the others first, the order of the rest unchanged
        every = every[torch.cat([torch.ones_like(queue, dtype=torch.bool), counts]).argsort(stable=True)]
    return every[len(values) :]


class Ogc(Method):
    """Minimizes a loss whose gradient by the probability of the label is clipped at tau.

    A mixture of two normal distributions, fitted to the cross entropies of the last examples, stands for
    clean and noisy ones. tau is such that the mean clipped gradient of the noisy part is ``1 + lr epsilon``
    times that of the clean part: the clipping is loose while the learning rate is high. It is the slope at
    one probability for all classes, so that a loss with class weights has a threshold per class, in
    proportion to its weight. Examples of weight 0 are not remembered.

    The gradient of an example is multiplied by ``min(1, tau / g)``, where g is the size of the loss's
    derivative by the probability of the label while the other probabilities keep their proportions,
    ``|dl/dz_y| / (p_y (1 - p_y))``. This is |l'(p_y)| for a loss of p_y alone, and defined for every loss.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss, with a `reduction`.
        epsilon: how much larger the gradient of the noisy part may be.
        time_frame: steps between updates of tau.
        queue_size: cross entropies to which the mixture is fitted; before so many were seen, nothing is
            clipped.

    Source: Ye et al. 2025, "Optimized gradient clipping for noisy label learning". Their code fits the
    mixture by scikit-learn from a random start; here two-means, which is exact in one dimension, is the
    start, so that a run can be repeated. The value of a clipped example is its loss times the factor above;
    theirs is a straight line in p_y with the same gradient.
    """

    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    title: ClassVar[str] = "clips the gradients of losses that look noisy"
    source: ClassVar[str] = "Ye et al. 2025 (OGC)"
    domain: ClassVar = {
        "epsilon": {"low": 0.0},
        "time_frame": {"low": 1},
        "queue_size": {"low": 2},
    }

    queue: Tensor
    tau: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        epsilon: float = 20.0,
        time_frame: int = 32,
        queue_size: int = 4096,
    ) -> None:
        super().__init__([model], loss)
        self.epsilon, self.time_frame, self.queue_size = self.checked(
            epsilon=epsilon, time_frame=time_frame, queue_size=queue_size
        )
        self.steps = 0

    def prepare(self, setup: Setup) -> None:
        """Create the queue, empty, and the thresholds, (K,)."""
        self.num_labels = setup.num_classes
        self.register_buffer("queue", torch.full((self.queue_size,), torch.nan, device=setup.device))
        self.register_buffer("tau", torch.full((self.num_labels,), torch.inf, device=setup.device))

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss whose gradient is clipped, and the logits."""
        logits = self.logits(batch.inputs)
        at = logits if logits.requires_grad else logits.requires_grad_()
        values = self.loss_values(at, batch.target)
        (slopes,) = torch.autograd.grad(values.sum(), at, retain_graph=True)
        with torch.no_grad():
            label = batch.target.unsqueeze(1)
            p = logits.softmax(1).gather(1, label).squeeze(1).clamp(P_MIN, 1 - P_MIN)
            self._remember(-p.log(), batch)
            size = slopes.gather(1, label).squeeze(1).abs() / (p * (1 - p))
            tau = self.tau.index_select(0, batch.target)
            factor = (tau / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_max(1.0)
        return self.mean_of_losses(factor * values, batch), logits

    def _remember(self, costs: Tensor, batch: Batch) -> None:
        """Append cross entropies to the queue, and update the thresholds when they are due."""
        counts = None if self.weights is None else self.weights.index_select(0, batch.positions) > 0
        self.queue.copy_(appended(self.queue, costs, counts))
        self.steps += 1
        if self.steps % self.time_frame == 0:
            full = self.queue[0].isfinite()
            self.tau.copy_(torch.where(full, self._thresholds(), torch.inf))

    def _thresholds(self) -> Tensor:
        """Return tau for each class, (K,), by the queue."""
        parts = fit_two_parts(self.queue)
        grid = torch.linspace(LOWEST, HIGHEST, GRID, dtype=parts.mean.dtype, device=self.queue.device)
        clean, noisy = torch.exp(-(grid - parts.mean[:, None]).square() / (2 * parts.variance[:, None]))
        every = torch.arange(self.num_labels, device=grid.device)
        # the first class that has a slope: a loss may ignore a class, or weigh it by 0
        label = (self.slope_at(grid.new_full(every.shape, 0.5), every) > 0).int().argmax()
        slope_at = partial(self.slope_at, label=label)
        p = threshold(slope_at, slope_at((-grid).exp()), clean, noisy, 1 + self.lr * self.epsilon)
        tau = self.slope_at(p.clamp(P_MIN, 1 - P_MIN).expand(every.shape), every)
        return torch.where(p > 0, tau, torch.inf)

    @torch.enable_grad()
    def slope_at(self, p: Tensor, label: Tensor) -> Tensor:
        """Return the loss's slope by the probability of the label, |dl/dp|, with all others equal, (M,).

        Args:
            p: (M,), probabilities of the label.
            label: (M,) int64, or () for all of them.
        """
        label = label.expand(len(p))
        own = torch.log(p) - torch.log1p(-p) + math.log(self.num_labels - 1)
        logits = torch.zeros(len(p), self.num_labels, dtype=p.dtype, device=p.device)
        logits = logits.scatter(1, label[:, None], own[:, None]).requires_grad_()
        (found,) = torch.autograd.grad(self._values_on_grid(logits, label).sum(), logits)
        return found.gather(1, label[:, None]).squeeze(1).abs() / (p * (1 - p))

    def _values_on_grid(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the loss of each row, (M,), in the type of the logits, which is a wide one."""
        tensors = () if isinstance(self.loss, Loss) else _tensors(self.loss)  # Loss computes in any type
        if all(tensor.dtype == logits.dtype for tensor in tensors if tensor.is_floating_point()):
            return self.loss_values(logits, label, learns=False)
        wide: Any = copy.deepcopy(self.loss).to(logits.dtype)  # type: ignore[attr-defined]
        wide.reduction, wide.training = "none", False
        found: Tensor = wide(logits, label)
        return found

    def columns(self) -> dict[str, float | None]:
        """Return the mean threshold of the classes; None while nothing is clipped."""
        tau = float(self.tau.mean())
        return {"clip_threshold": tau if math.isfinite(tau) else None}

    def get_extra_state(self) -> int:
        """Return the number of steps."""
        return self.steps

    def set_extra_state(self, state: int) -> None:
        """Restore the number of steps."""
        self.steps = state


def _tensors(loss: object) -> Iterator[Tensor]:
    """Return the parameters and buffers of a loss that is a module, and nothing for others."""
    return chain(loss.parameters(), loss.buffers()) if isinstance(loss, nn.Module) else iter(())
