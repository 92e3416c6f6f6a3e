"""Weighted adaptive nearest neighbors (WANN): a vote of neighbors with reliable labels, without training."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.models.neighbors import NAME, Neighbors, nearest
from noisylabels.training.method import LossFunction, Method, ParameterGroup, Setup
from noisylabels.training.settings import Settings


def neighborhood_sizes(
    neighbor_labels: Tensor,
    labels: Tensor,
    smallest: int,
    num_classes: int,
    weights: Tensor | None = None,
) -> Tensor:
    """Return how many neighbors of each example it takes until most have its label, (n,) int64.

    Tried are `smallest`, and every second number from there on; M if it is none of them. Of equally frequent
    labels the first class counts.

    Args:
        neighbor_labels: (n, M) int64, the labels of its neighbors, nearest first, without itself.
        labels: (n,) int64.
        smallest: the fewest neighbors, 1 or more.
        num_classes: K.
        weights: (n, M), the weights of the neighbors; None for equal ones.

    >>> near = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]])
    >>> neighborhood_sizes(near, torch.tensor([0, 1, 2]), 1, 3)
    tensor([1, 3, 4])
    """
    most = neighbor_labels.shape[1]
    sizes = torch.full_like(labels, most)
    votes = torch.zeros(len(labels), num_classes, device=labels.device)
    one = votes.new_ones(len(labels))
    open_ = torch.ones_like(labels, dtype=torch.bool)
    for place in range(most - 1):
        each = one if weights is None else weights[:, place]
        votes.scatter_add_(1, neighbor_labels[:, place : place + 1], each[:, None])
        size = place + 1
        if size < smallest or (size - smallest) % 2:
            continue
        now = open_ & (votes.argmax(1) == labels)
        sizes[now], open_ = size, open_ & ~now
    return sizes


class NearestNeighbors(Method):
    """Predicts by the votes of the nearest neighbors, each weighed by the reliability of its label.

    The neighborhood of an example is the smallest one, from `smallest` to `largest` neighbors, whose most
    frequent label is its given label; the reliability of the label is ``1 / size``. A new example is
    classified by as many neighbors as its nearest one has in its neighborhood, by the sums of their
    reliabilities. Nothing is trained: the run has one epoch. Its metrics on the training set are those of
    votes without the example itself.

    Args:
        model: that of `nl.build_model("knn", ...)`, which a run with this method has by default.
        loss: cross entropy, ``ce``: it is reported, not minimized.
        smallest, largest: numbers of neighbors, at most all others.

    Source: Di Salvo et al. 2024, "An embedding is worth a thousand noisy labels". Columns are standardized
    and distances Euclidean, as in their code. Of equal votes they take the class whose first vote is
    nearest; here it is the first class. In their code the reliability is 1 / size too.
    """

    fitted: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    own_loss: ClassVar[str | None] = "ce"
    own_model: ClassVar[str | None] = NAME
    title: ClassVar[str] = "votes of nearest neighbors, by how reliable their labels are; no training"
    source: ClassVar[str] = "Di Salvo et al. 2024 (WANN)"
    domain: ClassVar = {"smallest": {"low": 1}, "largest": {"low": 1}}

    def __init__(
        self, model: nn.Module, loss: LossFunction, *, smallest: int = 11, largest: int = 51
    ) -> None:
        super().__init__([model], loss)
        if not isinstance(model, Neighbors):
            raise InputError(
                f"the method knn has a model of its own, and the model is a {type(model).__name__}; use "
                "nl.build_model('knn', ...)"
            )
        self.smallest, self.largest = self.checked(smallest=smallest, largest=largest)
        if self.smallest > self.largest:
            raise InputError(
                f"smallest is {self.smallest} and largest {self.largest}, expected no more neighbors "
                "at first than in the end"
            )
        self.model = model

    def prepare(self, setup: Setup) -> None:
        """Remember the examples, with the sizes of their neighborhoods."""
        points = torch.cat([batch.inputs.flatten(1).float() for batch in setup.evaluation_batches()])
        positions = setup.positions
        if self.weights is not None:  # those of weight 0 are not there
            there = self.weights.index_select(0, positions) > 0
            points, positions = points[there], positions[there]
        if len(positions) < 2:
            raise InputError(f"the method knn needs 2 examples or more to train on, and got {len(positions)}")
        self.positions, labels = positions, setup.labels.index_select(0, positions)
        most = min(self.largest, len(points) - 1)
        where = nearest(points, points, most, leave_out=torch.arange(len(points), device=points.device))
        weights = None if self.weights is None else self.weights.index_select(0, positions)
        sizes = neighborhood_sizes(
            labels[where],
            labels,
            min(self.smallest, most),
            setup.num_classes,
            None if weights is None else weights[where],
        )
        reliability = 1 / sizes.float()
        self.model.remember(points, labels, sizes, reliability if weights is None else reliability * weights)

    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        """Return nothing to train."""
        return []

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits of votes without the examples themselves."""
        own = torch.searchsorted(self.positions, batch.positions).clamp_max(len(self.positions) - 1)
        own = torch.where(self.positions[own] == batch.positions, own, -1)
        logits = self.model.vote(batch.inputs, leave_out=own)
        return self.mean_loss(logits, batch), logits
