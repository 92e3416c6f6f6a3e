"""ELR+: early-learning regularization with two networks, averaged weights and mixup."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.coteaching import check_second, initialized_anew
from noisylabels.methods.elr import elr_regularizer
from noisylabels.methods.mixup import Mixer, mix
from noisylabels.training.method import WHOLE, LossFunction, Method, Setup

_CODE = "Liu et al. 2020, configurations of their code"


def averaged_targets(targets: Tensor, logits: Tensor, beta: float) -> Tensor:
    """Return the moving averages of the probabilities, ``t <- beta t + (1 - beta) p``, without a gradient.

    Args:
        targets: (B, K), the averages so far, 0 at the start.
        logits: (B, K), of the other network's average; p is their softmax.
        beta: in [0, 1), the share of the former average.

    >>> averaged_targets(torch.zeros(1, 2), torch.zeros(1, 2), beta=0.7)
    tensor([[0.1500, 0.1500]])
    """
    return beta * targets + (1 - beta) * logits.detach().softmax(1)


def sigmoid_ramp(done: Tensor, length: float) -> Tensor:
    """Return ``exp(-5 (1 - d)^2)`` with d the share of a length that is done, at most 1; 1 for a length of 0.

    >>> sigmoid_ramp(torch.tensor([0.0, 5.0, 10.0, 20.0]), 10)
    tensor([0.0067, 0.2865, 1.0000, 1.0000])
    """
    if length <= 0:
        return torch.ones_like(done)
    return torch.exp(-5 * (1 - (done / length).clamp_max(1.0)).square())


class EarlyLearningPlus(Method):
    """Minimizes ``l + lambda mean log(1 - <t, p>)`` on mixtures, with targets t from the other network.

    Two networks are trained on the same batches, each on mixtures of its own. A moving average of a network's
    weights predicts the examples as they are, without mixing; the moving average of these predictions is the
    target of the *other* network. So the errors of a network do not confirm themselves.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss.
        lambda_: weight of the regularizer.
        beta: share of the former average in the new target.
        alpha: both parameters of the Beta distribution of mixtures, 0 for none.
        decay: of the averages of the weights, at the end of its rise.
        decay_ramp: share of the run's steps over which the decay rises, by `sigmoid_ramp`; 0 for none.
        lambda_ramp: share of the run's steps over which lambda rises.
        second: the second network; by default a copy of the model whose layers are initialized anew.

    Source: Liu et al. 2020, "Early-learning regularization prevents memorization of noisy labels".
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = WHOLE
    needs: ClassVar[Mapping[str, str]] = {"second": "network"}
    title: ClassVar[str] = "two networks keep to each other's early predictions, on mixtures"
    source: ClassVar[str] = "Liu et al. 2020 (ELR+)"
    domain: ClassVar = {
        "lambda_": {"low": 0.0},
        "beta": {"low": 0.0, "high": 1.0, "open_high": True},
        "alpha": {"low": 0.0},
        "decay": {"low": 0.0, "high": 1.0, "open_high": True},
        "decay_ramp": {"low": 0.0, "high": 1.0},
        "lambda_ramp": {"low": 0.0, "high": 1.0},
    }
    presets: ClassVar = {
        "cifar10": Preset("elr_plus(lambda_=3,beta=0.7)", _CODE, "symmetric noise"),
        "cifar10_asym": Preset("elr_plus(lambda_=1,beta=0.9)", _CODE, "asymmetric noise"),
        "cifar100": Preset(
            "elr_plus(lambda_=7,beta=0.9,lambda_ramp=0.4)", _CODE, "40,000 steps of 97,750 are 0.4"
        ),
        "clothing1m": Preset("elr_plus(lambda_=3,beta=0.7,decay=0.9999,decay_ramp=0)", _CODE),
        "webvision": Preset("elr_plus(lambda_=3,beta=0.7,alpha=1.5,decay_ramp=0)", _CODE),
    }

    targets: Tensor
    steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        lambda_: float = 3.0,
        beta: float = 0.7,
        alpha: float = 1.0,
        decay: float = 0.997,
        decay_ramp: float = 0.5,
        lambda_ramp: float = 0.0,
        second: nn.Module | None = None,
    ) -> None:
        super().__init__([model], loss)
        self.lambda_, self.beta, self.alpha = self.checked(lambda_=lambda_, beta=beta, alpha=alpha)
        self.decay, self.decay_ramp = self.checked(decay=decay, decay_ramp=decay_ramp)
        (self.lambda_ramp,) = self.checked(lambda_ramp=lambda_ramp)
        check_second(second, model)
        self._second = (second,)  # a tuple hides it from the modules until `prepare` adds it

    def prepare(self, setup: Setup) -> None:
        """Add the second network, both averages, and the targets of both networks, (2, N, K), 0 at first."""
        (second,) = self._second
        self.networks.append(initialized_anew(self.networks[0]) if second is None else second)
        self.averages = nn.ModuleList(map(copy.deepcopy, self.networks)).requires_grad_(False)
        shape = (2, setup.num_examples, setup.num_classes)
        self.register_buffer("targets", torch.zeros(shape, device=setup.device))
        self.register_buffer("steps", torch.zeros((), device=setup.device))
        self.total = setup.steps * setup.epochs
        self.mixer = Mixer(self.alpha, setup.device)

    def other_networks(self) -> Sequence[nn.Module]:
        """Return both averages."""
        return [*self.averages]

    @torch.no_grad()
    def update_averages(self) -> None:
        """Update the averages by the weights after the previous step, ``a <- d a + (1 - d) w``."""
        decay = sigmoid_ramp(self.steps + 1, self.decay_ramp * self.total) * self.decay
        if not self.decay_ramp:  # a true average at first
            decay = torch.minimum(decay, 1 - 1 / (self.steps + 1))
        for average, network in zip(self.averages, self.networks, strict=True):
            for kept, latest in zip(average.parameters(), network.parameters(), strict=True):
                kept.lerp_(latest, 1 - decay)
        self.steps.add_(1)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum of both networks' losses, and the first one's logits."""
        self.update_averages()
        values, every = [], []
        for network in (0, 1):
            value, logits = self._loss(batch, network)
            values.append(value)
            every.append(logits)
        return values[0] + values[1], every[0]

    def _loss(self, batch: Batch, network: int) -> tuple[Tensor, Tensor]:
        """Return a network's loss, and its logits of the mixtures."""
        partner, share = self.mixer.draw(len(batch.target))
        with torch.no_grad(), self.autocast():
            known = self.divided(self.averages[1 - network], batch.inputs)
        kept = self.targets[network]
        new = averaged_targets(kept.index_select(0, batch.positions), known.float(), self.beta)
        kept.index_copy_(0, batch.positions, new)
        logits = self.logits(mix(batch.inputs, partner, share), network)
        positions = batch.positions.index_select(0, partner)
        other = batch._replace(target=batch.target.index_select(0, partner), positions=positions)
        value = share * self.mean_loss(logits, batch) + (1 - share) * self.mean_loss(logits, other)
        regularizer = elr_regularizer(logits, mix(new, partner, share))
        if self.weights is not None:
            regularizer = regularizer * mix(self.weights.index_select(0, batch.positions), partner, share)
        rise = sigmoid_ramp(self.steps, self.lambda_ramp * self.total)
        return value + self.lambda_ * rise * regularizer.mean(), logits
