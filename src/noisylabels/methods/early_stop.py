"""Progressive early stopping (PES): later layers are trained for fewer epochs, then examples are selected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.coteaching import resets_of
from noisylabels.training.method import PART, LossFunction, Method, Setup

Layer = list[tuple[str, nn.Module]]
"""Modules of a network with their names: one with a matrix of weights, and those after it without."""

_CODE = "Bai et al. 2021, PES_cs.py of their code"


def layers_of(network: nn.Module) -> list[Layer]:
    """Return the modules with parameters of their own by layer, in the order of registration.

    A layer begins with a module that has a matrix of weights; normalizations belong to the layer before.

    >>> network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    >>> [[name for name, _ in layer] for layer in layers_of(network)]
    [['0', '1'], ['3']]
    """
    layers: list[Layer] = []
    for name, module in network.named_modules():
        shapes = [each.ndim for each in module.parameters(recurse=False)]
        if shapes and (max(shapes) > 1 or not layers):
            layers.append([])
        if shapes:
            layers[-1].append((name, module))
    return layers


def num_later(num_layers: int, share: float) -> int:
    """Return how many of the layers are later ones: a share, rounded up, at least 2, but not all.

    >>> [num_later(count, 0.25) for count in (1, 2, 4, 21)]
    [1, 1, 2, 6]
    """
    return max(1, min(num_layers - 1, max(2, math.ceil(share * num_layers - 1e-9))))


@contextmanager
def others_fixed(network: nn.Module, layers: Sequence[Layer]) -> Iterator[None]:
    """Let no parameter of a network but those of some layers have a gradient in passes made meanwhile."""
    free = {id(own) for layer in layers for _, each in layer for own in each.parameters(recurse=False)}
    fixed = [each for each in network.parameters() if each.requires_grad and id(each) not in free]
    try:
        for parameter in fixed:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in fixed:
            parameter.requires_grad_(True)


def class_factors(counts: Tensor) -> Tensor:
    """Return what gives each class an equal say, (K,): the mean count of classes with examples by the count.

    Args:
        counts: (K,), examples per class; a class without any has the factor 0.

    >>> class_factors(torch.tensor([2.0, 6.0, 0.0]))
    tensor([2.0000, 0.6667, 0.0000])
    """
    there = counts > 0
    mean = counts.sum() / there.sum().clamp_min(1)
    return torch.where(there, mean / torch.where(there, counts, 1.0), 0.0)


def mean_by(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean ``sum_i w_i v_i / sum_i w_i``, (): 0 if all weights are 0.

    >>> mean_by(torch.tensor([1.0, 4.0, torch.inf]), torch.tensor([2.0, 1.0, 0.0]))
    tensor(2.)
    """
    # not 0 times a value, which may be infinite
    return torch.where(weights > 0, weights * values, 0.0).sum() / weights.sum().clamp_min(1e-12)


class EarlyStop(Method):
    """Trains the whole network for T1 epochs, later layers anew for T2 and T3, then on confident examples.

    The later layers of a network memorize wrong labels before the others do. After T1 epochs the later
    layers are initialized anew and trained for T2 epochs while the others stay as they are; after those
    the last layer alone, for T3 epochs. In every epoch that remains, the whole network is trained on the
    examples whose given label it predicts at the start of the epoch, with an equal say for each class.

    Args:
        model: from inputs to logits (B, K); the order in which its layers are registered is taken for theirs.
        loss: any loss, with a `reduction`.
        T1: epochs of the whole network, before it memorizes.
        T2: epochs of the later layers.
        T3: epochs of the last layer.
        later: share of the layers that are the later ones.

    Source: Bai et al. 2021, "Understanding and improving early stopping for learning with noisy labels".
    Their later layers are the last of four stages of a ResNet, 6 of the 21 layers of a ResNet-18. They train
    them by Adam at 1e-4; here the run's optimizer and learning rate apply. Their code does not hand the
    layers that were initialized anew to the optimizer of the epochs after T3, so that these stay as they are;
    here the whole network is trained, as the paper says. They predict from two augmentations; here from none.
    """

    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    title: ClassVar[str] = "trains later layers for fewer epochs, then on confident examples"
    source: ClassVar[str] = "Bai et al. 2021 (PES)"
    domain: ClassVar = {
        "T1": {"low": 0},
        "T2": {"low": 0},
        "T3": {"low": 0},
        "later": {"low": 0.0, "high": 1.0},
    }
    presets: ClassVar = {
        "cifar10": Preset("early_stop(T1=25,T2=7,T3=5)", _CODE),
        "cifar100": Preset("early_stop(T1=30,T2=7,T3=5)", _CODE),
    }

    confident: Tensor
    factors: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        T1: int = 25,
        T2: int = 7,
        T3: int = 5,
        later: float = 0.25,
    ) -> None:
        super().__init__([model], loss)
        self.T1, self.T2, self.T3, self.later = self.checked(T1=T1, T2=T2, T3=T3, later=later)

    def prepare(self, setup: Setup) -> None:
        """Divide the network, and create the selection, (N,), and the factors of classes, (K,)."""
        self.check_loss_values()  # not only once examples are selected
        self.setup = setup
        layers = layers_of(self.networks[0])
        later = layers[-num_later(len(layers), self.later) :]
        advice = "give that module one, which sets its parameters as at the start"
        resets_of([each for layer in later for each in layer], advice)
        self._parts = (later, layers[-1:])
        self.register_buffer(
            "confident", torch.ones(setup.num_examples, dtype=torch.bool, device=setup.device)
        )
        self.register_buffer("factors", torch.ones(setup.num_classes, device=setup.device))

    def trained_in(self, epoch: int) -> Sequence[Layer] | None:
        """Return the layers that are trained in an epoch, None for the whole network."""
        later, last = self._parts
        if self.T1 <= epoch < self.T1 + self.T2:
            return later
        return last if self.T1 + self.T2 <= epoch < self.T1 + self.T2 + self.T3 else None

    def begin_epoch(self, epoch: int) -> None:
        """Initialize layers anew where their epochs begin, or select the confident examples."""
        if epoch in (self.T1, self.T1 + self.T2, self.T1 + self.T2 + self.T3):
            self.renew_optimizer(self.networks.parameters())  # the authors create one for each phase
        layers = self.trained_in(epoch)
        if layers is not None and epoch in (self.T1, self.T1 + self.T2):
            for reset in resets_of([each for layer in layers for each in layer], ""):
                reset()
        if epoch >= self.T1 + self.T2 + self.T3:
            self.select()

    def new_modules(self, epoch: int) -> Iterable[nn.Module]:
        """Return the layers that have been initialized anew by an epoch."""
        later, last = self._parts
        new = [*later] if self.T2 and epoch >= self.T1 else []
        new += last if self.T3 and epoch >= self.T1 + self.T2 else []
        return [module for layer in new for _, module in layer]

    @torch.no_grad()
    def select(self) -> None:
        """Select the examples whose given label the network predicts, and count them by class."""
        at, labels = self.setup.positions, self.setup.labels
        for batch in self.setup.evaluation_batches():
            predicted = self.logits(batch.inputs).argmax(1)
            self.confident.index_copy_(0, batch.positions, predicted == batch.target)
        each = self.confident.float() if self.weights is None else self.confident * self.weights
        counts = torch.zeros_like(self.factors).index_add_(0, labels[at], each[at])
        self.factors.copy_(class_factors(counts))

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of the confident examples, all of them at first, and the logits."""
        layers = self.trained_in(batch.epoch)
        # within the pass alone, so that nothing but the epoch decides what is trained
        with nullcontext() if layers is None else others_fixed(self.networks[0], layers):
            logits = self.logits(batch.inputs)
        if batch.epoch < self.T1 + self.T2 + self.T3:
            return self.mean_loss(logits, batch), logits
        return self._of_confident(logits, batch), logits

    def _of_confident(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss of a batch's confident examples, with an equal say for each class, ()."""
        weights = torch.ones_like(logits[:, 0])
        if self.weights is not None:
            weights = self.weights.index_select(0, batch.positions)
        if (counted := self.counted(batch.target)) is not None:
            weights = weights * counted
        each = weights * self.factors.index_select(0, batch.target)
        selected = self.confident.index_select(0, batch.positions)
        value = mean_by(self.loss_values(logits, batch.target), torch.where(selected, each, 0.0))
        return value * weights.mean() * self.loss_scale(batch.target)

    def columns(self) -> dict[str, float | None]:
        """Return the share of the examples that is selected."""
        return {"confident": float(self.confident[self.setup.positions].double().mean())}
