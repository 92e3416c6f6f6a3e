"""Agreement: train on the examples whose given label is the class that the network has come to predict."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.training.method import PART, LossFunction, Method, Setup


def next_trend(trend: Tensor, logits: Tensor, beta: float) -> Tensor:
    """Return the moving averages of the probabilities, ``t <- beta t + (1 - beta) p``.

    Args:
        trend: (B, K), the averages so far, 0 at the start.
        logits: (B, K); p is their softmax.
        beta: in [0, 1), the share of the former average.

    Returns:
        (B, K), without a gradient. Rows of examples seen n times sum to ``1 - beta^n``.

    >>> next_trend(torch.zeros(1, 2), torch.zeros(1, 2), beta=0.9)
    tensor([[0.0500, 0.0500]])
    """
    return beta * trend + (1 - beta) * logits.detach().softmax(1)


def agrees(trend: Tensor, target: Tensor) -> Tensor:
    """Return whether the given label of each example is the class of its largest average, (B,) bool.

    Of equal averages, the first class is the largest.

    >>> agrees(torch.tensor([[0.2, 0.7], [0.2, 0.7]]), torch.tensor([1, 0]))
    tensor([ True, False])
    """
    return trend.argmax(1) == target


def learned_classes(trend: Tensor, labels: Tensor) -> Tensor:
    """Return which classes the trends have learned, (K,) bool: those by which enough labels are confirmed.

    A class is learned if at least ``1 / (2 K)`` of its labels agree with the trend, half of what chance would
    give. A class without labels counts as learned. Averages that are all 0, of examples that were not seen
    yet, agree with no label.

    Args:
        trend: (N, K), the averages.
        labels: (N,) int64, the given labels.

    >>> trend = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    >>> learned_classes(trend, torch.tensor([0, 0, 1]))
    tensor([ True, False])
    """
    K = trend.shape[1]
    zeros = torch.zeros(K, device=trend.device)
    count = zeros.index_add(0, labels, torch.ones_like(labels, dtype=zeros.dtype))
    agreeing = agrees(trend, labels) & (trend != 0).any(1)
    confirmed = zeros.index_add(0, labels, agreeing.to(zeros.dtype))
    return confirmed * 2 * K >= count


def mean_of_selected(values: Tensor, selected: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean of the selected values, (): 0 if none is selected.

    With weights, the mean of weight times value, relative to the mean weight of all.

    Args:
        values: (B,).
        selected: (B,) bool.
        weights: (B,), 0 or more; None for equal ones.

    >>> mean_of_selected(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    tensor(2.)
    """
    each = torch.ones_like(values) if weights is None else weights
    kept = torch.where(selected, each, 0.0)
    share = kept.sum() / each.sum().clamp_min(1e-12)
    # not kept * values: 0 times an infinite loss is not 0
    return torch.where(selected, each * values, 0.0).sum() / (share * len(values)).clamp_min(1e-6)


class Agreement(Method):
    """Minimizes the mean loss of the examples whose given label agrees with the trend of their predictions.

    The trend is the moving average of an example's probabilities over the epochs. A network that has
    learned from correct labels, and memorized few others, predicts the true class of most examples, and
    an average over epochs varies less than the last prediction. How many examples are selected follows
    from the data: no noise rate is needed. An example that was left out is selected again once the trend
    agrees. A class that is not predicted would lose all of its examples, and never be learned: all labels
    of a class are selected in an epoch that begins while hardly any of them agrees, see
    `learned_classes`.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss, with a `reduction`.
        beta: share of the former average in the new one.
        warmup: epochs in which all examples are selected: before the network has learned something, its
            predictions select at random.

    Source: the filter of Nguyen et al. 2020, "SELF: learning to filter noisy labels with self-ensembling".
    They filter after each of a few whole trainings, and train on what is left out without labels, by a mean
    teacher; here every step filters, and nothing is learned from what is left out.
    The rule for classes that are not learned is ours.
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    title: ClassVar[str] = "trains on examples whose label agrees with the trend of their predictions"
    source: ClassVar[str] = "after Nguyen et al. 2020 (SELF)"
    domain: ClassVar = {
        "beta": {"low": 0.0, "high": 1.0, "open_high": True},
        "warmup": {"low": 0},
    }

    trend: Tensor
    selected: Tensor
    selecting: Tensor
    learned: Tensor

    def __init__(self, model: nn.Module, loss: LossFunction, *, beta: float = 0.9, warmup: int = 5) -> None:
        super().__init__([model], loss)
        self.beta, self.warmup = self.checked(beta=beta, warmup=warmup)

    def prepare(self, setup: Setup) -> None:
        """Create the averages, (N, K), and which examples were selected last, (N,)."""
        n, device = setup.num_examples, setup.device
        self.positions = setup.positions
        self.labels = setup.labels.index_select(0, setup.positions)
        self.register_buffer("trend", torch.zeros(n, setup.num_classes, device=device))
        self.register_buffer("selected", torch.ones(n, dtype=torch.bool, device=device))
        self.register_buffer("selecting", torch.zeros((), dtype=torch.bool, device=device))
        self.register_buffer("learned", torch.ones(setup.num_classes, dtype=torch.bool, device=device))

    def begin_epoch(self, epoch: int) -> None:
        """Select from the end of the warm-up on, among the classes that are learned."""
        self.selecting.fill_(epoch >= self.warmup)
        self.learned.copy_(learned_classes(self.trend.index_select(0, self.positions), self.labels))

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of the selected examples, after updating the averages, and the logits."""
        logits = self.logits(batch.inputs)
        trend = next_trend(self.trend.index_select(0, batch.positions), logits, self.beta)
        self.trend.index_copy_(0, batch.positions, trend)
        learned = self.learned.index_select(0, batch.target) & self.selecting
        selected = agrees(trend, batch.target) | ~learned
        self.selected.index_copy_(0, batch.positions, selected)
        weights = None if self.weights is None else self.weights.index_select(0, batch.positions)
        if (counted := self.counted(batch.target)) is not None:
            weights = counted.float() if weights is None else weights * counted
        value = mean_of_selected(self.loss_values(logits, batch.target), selected, weights)
        return value * self.loss_scale(batch.target), logits

    def columns(self) -> dict[str, float | None]:
        """Return the share of the examples that was selected."""
        return {"selected": float(self.selected.index_select(0, self.positions).double().mean())}
