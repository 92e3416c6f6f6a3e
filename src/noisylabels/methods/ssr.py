"""SSR: relabel confident examples, and select those whose label their nearest neighbors share."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.mixup import Mixer, mix
from noisylabels.training.fine_tuning import last_layer
from noisylabels.training.method import WHOLE, LossFunction, Method, ParameterGroup, Setup
from noisylabels.training.settings import Settings

AT_ONCE = 1 << 26
"""Similarities that are computed at once: 0.25 GiB."""

_CODE = "Feng et al. 2022, README of their code"


def relabel(labels: Tensor, probs: Tensor, theta_r: float) -> Tensor:
    """Return labels with those of confident predictions replaced by the predicted class, (N,) int64.

    Args:
        labels: (N,) int64, the given labels.
        probs: (N, K), predictions.
        theta_r: probability above which a prediction replaces the label; at 1 none does.

    >>> relabel(torch.tensor([0, 0]), torch.tensor([[0.05, 0.95], [0.4, 0.6]]), 0.9)
    tensor([1, 0])
    """
    top, predicted = probs.max(1)
    return torch.where(top > theta_r, predicted, labels)


def neighbor_votes(features: Tensor, labels: Tensor, num_classes: int, k: int) -> Tensor:
    """Return the share of each class among the k nearest neighbors, by its frequency, rows that sum to 1.

    An example is a neighbor of itself. Counts are divided by the frequencies of the classes, so that a rare
    class is not outvoted.

    Args:
        features: (N, D); the cosine is the similarity.
        labels: (N,) int64.
        num_classes: K.
        k: neighbors, 1 to N.

    >>> neighbor_votes(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), torch.tensor([0, 0, 1]), 2, 2)[0]
    tensor([1., 0.])
    """
    unit = functional.normalize(features, dim=1)
    frequency = torch.bincount(labels, minlength=num_classes) / len(labels)
    votes = []
    for rows in unit.split(max(1, AT_ONCE // len(unit))):
        near = labels[(rows @ unit.T).topk(k, dim=1).indices]
        counts = torch.zeros(len(rows), num_classes, device=unit.device)
        votes.append(counts.scatter_add(1, near, torch.ones_like(near, dtype=counts.dtype)))
    share = torch.cat(votes) / frequency.clamp_min(1e-10)
    return share / share.sum(1, keepdim=True)


def consistent(votes: Tensor, labels: Tensor, theta_s: float) -> Tensor:
    """Return whether the vote for an example's label is at least theta_s of the largest vote, (N,) bool.

    >>> consistent(torch.tensor([[0.6, 0.4], [0.4, 0.6]]), torch.tensor([0, 0]), 1.0)
    tensor([ True, False])
    """
    own = votes.gather(1, labels.unsqueeze(1)).squeeze(1)
    return own / votes.amax(1) >= theta_s


def balanced_weights(labels: Tensor, selected: Tensor, num_classes: int) -> Tensor:
    """Return weights of the selected examples whose sum is the same for each class, (N,): 0 for the others.

    Their mean over the selected examples is 1.

    >>> balanced_weights(torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, True, False]), 2)
    tensor([0.7500, 0.7500, 1.5000, 0.0000])
    """
    counts = torch.bincount(labels, weights=selected.float(), minlength=num_classes)
    each = selected.sum() / (counts.clamp_min(1) * (counts > 0).sum().clamp_min(1))
    return torch.where(selected, each[labels], 0.0)


def partners_among(selected: Tensor, order: Tensor) -> Tensor:
    """Return a partner for each of M examples, (M,) int64: a selected one for those that are selected.

    Args:
        selected: (M,) bool.
        order: (M,), random numbers.

    >>> partners_among(torch.tensor([True, False, True]), torch.tensor([0.9, 0.1, 0.3]))
    tensor([2, 1, 0])
    """
    places = torch.where(selected, order, order + 2).argsort()  # the selected ones first, in random order
    rank = (selected.cumsum(0) - 1).clamp_min(0)
    own = torch.arange(len(selected), device=selected.device)
    return torch.where(selected, places.index_select(0, rank), own)


def neighbors_at_most(k: int, n: int, num_classes: int) -> int:
    """Return how many neighbors vote: at most half of the mean number of examples per class, at least 1.

    >>> neighbors_at_most(200, 50_000, 10), neighbors_at_most(200, 1437, 10)
    (200, 71)
    """
    return max(1, min(k, n // (2 * num_classes)))


def _width(layer: nn.Module) -> int:
    """Return the number of inputs of a last layer."""
    return int(getattr(layer, "in_features", 0) or getattr(layer, "in_channels", 0))


def _head(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))


class Ssr(Method):
    """Trains on mixtures of selected examples, and makes the features of two views agree on all examples.

    Before every epoch, confident predictions replace labels, starting from the given ones each time. The
    k nearest neighbors in the network's features then vote; an example whose label wins the vote is
    selected. A step minimizes the loss on mixtures of the selected examples of the batch, all classes with
    the same weight, and the distance between features of two views of every example.

    Args:
        model: from inputs to logits (B, K), with a last layer, see `fine_tuning.last_layer`.
        loss: any loss with values per example.
        theta_r: confidence above which a prediction replaces the label.
        theta_s: share of the largest vote that selects an example.
        k: neighbors that vote, of small sets fewer, see `neighbors_at_most`.
        lambda_fc: weight of the agreement of features, 0 for none.
        alpha: both parameters of the Beta distribution of mixtures.

    Source: Feng et al. 2022, "SSR: an efficient and robust framework for learning with unknown label noise".
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = WHOLE
    title: ClassVar[str] = "relabels by confidence, and selects by nearest neighbors"
    source: ClassVar[str] = "Feng et al. 2022 (SSR)"
    domain: ClassVar = {
        "theta_r": {"low": 0.0, "high": 1.0},
        "theta_s": {"low": 0.0, "high": 1.0},
        "k": {"low": 1},
        "lambda_fc": {"low": 0.0},
        "alpha": {"low": 0.0},
    }
    presets: ClassVar = {
        "cifar10": Preset("ssr(theta_r=0.9)", _CODE),
        "cifar100": Preset("ssr(theta_r=0.8)", _CODE, "50 % or more symmetric noise"),
    }

    labels: Tensor
    sampled: Tensor
    HIDDEN: ClassVar[tuple[int, int]] = (256, 128)
    """Widths of the two layers of each head on the features."""

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        theta_r: float = 0.9,
        theta_s: float = 1.0,
        k: int = 200,
        lambda_fc: float = 1.0,
        alpha: float = 4.0,
    ) -> None:
        super().__init__([model], loss)
        self.theta_r, self.theta_s, self.k = self.checked(theta_r=theta_r, theta_s=theta_s, k=k)
        self.lambda_fc, self.alpha = self.checked(lambda_fc=lambda_fc, alpha=alpha)
        self.views = ("weak", "strong", "strong") if self.lambda_fc else ("strong", "strong")

    def prepare(self, setup: Setup) -> None:
        """Create the labels and weights of the examples, (N,) each, and the heads of the features."""
        self.check_loss_values()
        self.setup = setup
        self.mixer = Mixer(self.alpha, setup.device)
        self.register_buffer("labels", setup.labels.clone())
        self.register_buffer("sampled", torch.ones(setup.num_examples, device=setup.device))
        last = last_layer(self.networks[0], setup.num_classes, "the method ssr needs")
        # a hook would be copied with the network into averages, and a tuple hides the layer from the modules
        self._last = (last,)
        if self.lambda_fc:
            width = _width(last)
            self.project = _head(width, *self.HIDDEN)
            self.predict_other = _head(self.HIDDEN[1], *self.HIDDEN)

    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        """Return the network's parameters, and those of the heads."""
        groups = super().parameter_groups(settings)
        if self.lambda_fc:
            heads = [*self.project.parameters(), *self.predict_other.parameters()]
            groups.append(ParameterGroup(heads))
        return groups

    def features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs of the last layer, (B, D), and the logits, (B, K), both float32."""
        K = self.setup.num_classes
        both = self.divided(self._features_and_logits, inputs)
        return both[:, :-K], both[:, -K:]

    def _features_and_logits(self, inputs: Tensor) -> Tensor:
        """Return both, (B, D + K), in this process."""
        found: list[Tensor] = []
        hook = self._last[0].register_forward_pre_hook(lambda module, given: found.append(given[0]))
        try:
            logits = self.undivided(inputs)
        finally:
            hook.remove()
        return torch.cat([found[0].flatten(1).float(), logits], 1)

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Relabel and select."""
        parts = [self.features(batch.inputs) for batch in self.setup.evaluation_batches()]
        features, logits = (torch.cat(each) for each in zip(*parts, strict=True))
        at, K = self.setup.positions, self.setup.num_classes
        labels = relabel(self.setup.labels.index_select(0, at), logits.softmax(1), self.theta_r)
        counts = torch.ones_like(at, dtype=torch.bool)
        if self.weights is not None:  # labels without weight neither vote nor train
            counts = self.weights.index_select(0, at) > 0
        selected = torch.zeros_like(counts)
        k = neighbors_at_most(self.k, int(counts.sum()), K)
        votes = neighbor_votes(features[counts], labels[counts], K, k)
        selected[counts] = consistent(votes, labels[counts], self.theta_s)
        self.labels.index_copy_(0, at, labels)
        self.sampled.zero_().index_copy_(0, at, balanced_weights(labels, selected, K))

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss on mixtures of the selected examples with that of the features, and the logits."""
        two = batch.views[-2:]
        label = self.labels.index_select(0, batch.positions)
        weight = self.sampled.index_select(0, batch.positions)
        if self.weights is not None:
            weight = weight * self.weights.index_select(0, batch.positions)
        selected = (weight > 0).repeat(2)
        share = self.mixer.share()
        partner = partners_among(selected, torch.rand(len(selected), device=selected.device))
        first, second = self.logits(mix(torch.cat(two), partner, share)).chunk(2)
        logits = torch.cat([first, second])  # the loss depends on the part that is returned
        labels, weights = label.repeat(2), weight.repeat(2)
        own = self.loss_values(logits, labels) * weights
        others = self.loss_values(logits, labels.index_select(0, partner), learns=False)
        other = others * weights.index_select(0, partner)
        each = share * own + (1 - share) * other
        counts = self.loss_counts(labels)
        counts = torch.ones_like(each) if counts is None else mix(counts, partner, share)
        divisor = torch.where(selected, counts, 0.0).sum().clamp_min(1e-6)
        value = torch.where(selected, each, 0.0).sum() / divisor
        if self.lambda_fc and len(label) > 1:  # batch normalization needs two
            value = value + self.lambda_fc * self._disagreement(batch)
        return value, first

    def _disagreement(self, batch: Batch) -> Tensor:
        """Return the mean negative cosine of one view's features and what the other view predicts, ()."""
        with torch.no_grad():
            known = self.project(self.features(batch.views[0])[0])
        guess = self.predict_other(self.project(self.features(batch.views[1])[0]))
        return -self.mean(functional.cosine_similarity(guess, known, dim=1), batch)

    def columns(self) -> dict[str, float | None]:
        """Return the share of examples that are selected, and of those whose label was replaced."""
        at = self.setup.positions
        changed = self.labels.index_select(0, at) != self.setup.labels.index_select(0, at)
        return {
            "selected": float((self.sampled.index_select(0, at) > 0).double().mean()),
            "relabeled": float(changed.double().mean()),
        }
