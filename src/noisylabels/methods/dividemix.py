"""DivideMix: two networks divide the examples for each other, and learn from some of them without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.coteaching import check_second, initialized_anew
from noisylabels.methods.inputs import AUTO, check_no_ignored
from noisylabels.methods.mixture import clean_probability
from noisylabels.methods.mixup import Mixer, mix
from noisylabels.training.method import WHOLE, LossFunction, Method, Setup

NO_UNLABELED, FULL_UNLABELED = 0.2, 0.5
"""Noise rates up to which the unlabeled part has no weight, and from which on it has its full one: the
authors set lambda_u to 0 at 20 % of symmetric noise on CIFAR-10, and to 25 at 50 %."""

LEARNED = 0.8
"""A warm-up ends once networks predict this share of the labels that are clean by the noise rate, beyond
those that are predicted by chance."""

_CODE = "Li et al. 2020, appendix and README of their code"


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """Return probabilities with their largest entries raised, ``p_k^(1/T) / sum_j p_j^(1/T)``, (B, K).

    >>> sharpen(torch.tensor([[0.25, 0.75]]), 0.5)
    tensor([[0.1000, 0.9000]])
    """
    raised = probs.pow(1 / temperature)
    return raised / raised.sum(1, keepdim=True)


def co_refine(onehot: Tensor, probs: Tensor, clean: Tensor, temperature: float) -> Tensor:
    """Return the targets of labeled examples, ``sharpen(w y + (1 - w) p)``, (B, K).

    Args:
        onehot: (B, K), the given labels y.
        probs: (B, K), the network's probabilities p, averaged over views.
        clean: (B,), the probability w that a label is clean, by the other network.
        temperature: T above 0; below 1 it sharpens.

    >>> co_refine(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]), torch.tensor([0.5]), 1.0)
    tensor([[0.7500, 0.2500]])
    """
    w = clean.unsqueeze(1).to(probs.dtype)
    return sharpen(w * onehot + (1 - w) * probs, temperature)


def co_guess(probs: Sequence[Tensor], temperature: float) -> Tensor:
    """Return the targets of unlabeled examples, the sharpened mean of predictions, (B, K).

    Args:
        probs: probabilities, each (B, K): of every network for every view.
        temperature: T above 0.

    >>> co_guess([torch.tensor([[0.2, 0.8]]), torch.tensor([[0.3, 0.7]])], 0.5)
    tensor([[0.1000, 0.9000]])
    """
    return sharpen(torch.stack([*probs]).mean(0), temperature)


def mixmatch(inputs: Tensor, targets: Tensor, partner: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return mixtures of inputs and the same mixtures of their targets, ``s a + (1 - s) a_partner``.

    Args:
        inputs: (M, ...).
        targets: (M, K).
        partner: (M,) int64, positions.
        share: (), in [1/2, 1], so that an example makes up most of its own mixture.

    >>> mixmatch(torch.eye(2), torch.eye(2), torch.tensor([1, 0]), torch.tensor(0.75))[1]
    tensor([[0.7500, 0.2500],
            [0.2500, 0.7500]])
    """
    return mix(inputs, partner, share), mix(targets, partner, share)


def prior_penalty(logits: Tensor) -> Tensor:
    """Return the divergence of the mean prediction from a uniform one, ``sum_k (1/K) log((1/K) / p_k)``, ().

    >>> prior_penalty(torch.tensor([[0.0, 1.0]]))
    tensor(0.1201)
    """
    mean = logits.softmax(1).mean(0).clamp_min(torch.finfo(logits.dtype).tiny)
    return -(mean * len(mean)).log().mean()


def unlabeled_share(rate: float) -> float:
    """Return the share of lambda_u that is used at a noise rate, from 0 to 1.

    >>> [round(unlabeled_share(rate), 2) for rate in (0.1, 0.35, 0.8)]
    [0.0, 0.5, 1.0]
    """
    return min(1.0, max(0.0, (rate - NO_UNLABELED) / (FULL_UNLABELED - NO_UNLABELED)))


def has_learned(predicted: float, rate: float, chance: float) -> bool:
    """Return whether a network predicts enough of the given labels for its losses to tell these apart.

    A share of ``1 - rate`` can be right, and a network that predicts one class for all is right about a share
    ``c``. In between, ``c + 0.8 (1 - rate - c)`` is enough: what networks learn later are wrong labels as
    well. Labels of which no more than that are right cannot tell when.

    Args:
        predicted: share of the examples whose given label is predicted.
        rate: the noise rate.
        chance: share of the most frequent label.

    >>> has_learned(0.40, 0.5, 0.1), has_learned(0.43, 0.5, 0.1), has_learned(0.55, 0.4, 0.5)
    (False, True, False)
    """
    beyond = 1 - rate - chance
    return beyond > 0 and predicted >= chance + LEARNED * beyond


def longest_warmup(epochs: int) -> int:
    """Return the most epochs of a warm-up in a run: a tenth, and 10 of a short one.

    At the authors' 300 epochs that is 30, their warm-up on CIFAR-100; they take 10 on CIFAR-10.

    >>> longest_warmup(60), longest_warmup(300)
    (10, 30)
    """
    return max(10, epochs // 10)


class DivideMix(Method):
    """Trains two networks on labels that the other one believes, and on guesses for all other examples.

    After a warm-up on all labels, a mixture of two normal distributions is fitted to each network's losses
    before every epoch. It divides the examples for the *other* network: those that are likely clean keep a
    label, refined by predictions; for the rest both networks guess one. Mixtures of both parts are trained
    on, by the loss on the labeled part and by squared errors on the unlabeled one.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss with values per example and soft targets: of the warm-up and the labeled part.
        rate: the noise rate, a number in [0, 1), by which lambda_u is scaled, see `unlabeled_share`; or a
            word of `methods.inputs.KINDS`. From 0.5 on lambda_u is used as it is.
        lambda_u: weight of the unlabeled part.
        warmup: epochs of warm-up; "auto" ends it as soon as each network predicts as many of the given labels
            as `has_learned` asks for, after one epoch or more, and `longest_warmup` epochs at most (ours).
        ramp: epochs after the warm-up over which lambda_u rises from 0.
        threshold: probability of being clean above which an example is labeled.
        temperature: below 1 targets are sharpened.
        alpha: both parameters of the Beta distribution of mixtures.
        confidence_penalty: whether the warm-up penalizes confident predictions, as the authors do under
            asymmetric noise.
        second: the second network; by default a copy of the model whose layers are initialized anew.

    Source: Li et al. 2020, "DivideMix: learning with noisy labels as semi-supervised learning".
    """

    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = WHOLE
    needs: ClassVar[Mapping[str, str]] = {"rate": "noise_rate", "second": "network"}
    title: ClassVar[str] = "two networks divide the examples, and learn from some without labels"
    source: ClassVar[str] = "Li et al. 2020 (DivideMix)"
    domain: ClassVar = {
        "rate": {"low": 0.0, "high": 1.0, "open_high": True},
        "lambda_u": {"low": 0.0},
        "warmup": {"low": 0, "whole": True, "choices": (AUTO,)},
        "ramp": {"low": 0},
        "threshold": {"low": 0.0, "high": 1.0, "open_high": True},
        "temperature": {"low": 0.0, "open_low": True},
        "alpha": {"low": 0.0},
    }
    presets: ClassVar = {
        "cifar10_20": Preset("dividemix(lambda_u=0,rate=0.2,warmup=10)", _CODE, "20 % symmetric noise"),
        "cifar10_50": Preset("dividemix(rate=0.5,warmup=10)", _CODE, "50 or 80 % symmetric noise"),
        "cifar10_asym": Preset(
            "dividemix(lambda_u=0,rate=0.4,warmup=10,confidence_penalty=True)", _CODE, "40 % asymmetric noise"
        ),
        "cifar100_20": Preset("dividemix(rate=0.5,warmup=30)", _CODE, "20 % symmetric noise"),
        "cifar100_50": Preset(
            "dividemix(lambda_u=150,rate=0.5,warmup=30)", _CODE, "50 % or more symmetric noise"
        ),
    }
    views = ("weak", "weak")

    clean: Tensor
    mixed_steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        rate: float | str = AUTO,
        lambda_u: float = 25.0,
        warmup: int | str = AUTO,
        ramp: int = 16,
        threshold: float = 0.5,
        temperature: float = 0.5,
        alpha: float = 4.0,
        confidence_penalty: bool = False,
        second: nn.Module | None = None,
    ) -> None:
        super().__init__([model], loss)
        check_no_ignored(loss, "dividemix")
        self.rate, self.lambda_u = self.checked(rate=rate, lambda_u=lambda_u)
        self.warmup, self.ramp = self.checked(warmup=warmup, ramp=ramp)
        self.threshold, self.temperature = self.checked(threshold=threshold, temperature=temperature)
        self.alpha, self.confidence_penalty = self.checked(alpha=alpha, confidence_penalty=confidence_penalty)
        check_second(second, model)
        self._second = (second,)  # a tuple hides it from the modules until `prepare` adds it
        self.mixing = False  # whether the warm-up has ended

    def prepare(self, setup: Setup) -> None:
        """Add the second network, and the probabilities of being clean, (2, N), by each network."""
        self.check_loss_values()
        (second,) = self._second
        self.networks.append(initialized_anew(self.networks[0]) if second is None else second)
        self.setup = setup
        self.mixer = Mixer(self.alpha, setup.device)
        clean = torch.ones(2, setup.num_examples, device=setup.device)
        self.register_buffer("clean", clean)
        self.register_buffer("mixed_steps", torch.zeros((), device=setup.device))

    def begin_epoch(self, epoch: int) -> None:
        """Divide the examples, unless the warm-up goes on."""
        ends_itself = self.warmup == AUTO
        most = longest_warmup(self.setup.epochs) if ends_itself else int(self.warmup)
        if epoch < (1 if ends_itself else most):
            return
        positions, labels, losses, predicted = self._evaluated()
        if not self.mixing and epoch < most:
            chance = float(labels.bincount().max()) / len(labels)
            if not all(has_learned(share, self.rate, chance) for share in predicted):
                return
        self.mixing = True
        self.clean.zero_()
        for network, each in enumerate(losses):
            self.clean[network, positions] = clean_probability(each).to(self.clean.dtype)

    @torch.no_grad()
    def _evaluated(self) -> tuple[Tensor, Tensor, list[Tensor], list[float]]:
        """Return what the networks make of the examples that have weight.

        Returns:
            Their positions and labels, (M,), their cross entropies by each network, (M,), and the share of
            the labels that each network predicts.
        """
        losses: list[list[Tensor]] = [[], []]
        right: list[list[Tensor]] = [[], []]
        for batch in self.setup.evaluation_batches():
            for network in (0, 1):
                logits = self.logits(batch.inputs, network=network)
                losses[network].append(functional.cross_entropy(logits, batch.target, reduction="none"))
                right[network].append(logits.argmax(1) == batch.target)
        positions = self.setup.positions
        kept = torch.ones_like(positions, dtype=torch.bool)
        if self.weights is not None:
            kept = self.weights.index_select(0, positions) > 0
        positions = positions[kept]
        shares = [float(torch.cat(each)[kept].double().mean()) for each in right]
        return positions, self.setup.labels[positions], [torch.cat(each)[kept] for each in losses], shares

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum of both networks' losses, and the first one's logits."""
        if not self.mixing:
            parts = [self._warm(batch, network) for network in (0, 1)]
        else:
            with torch.no_grad():
                inputs = torch.cat(batch.views)
                probs = [self.logits(inputs, network).softmax(1).chunk(2) for network in (0, 1)]
            parts = [self._semi_supervised(batch, inputs, probs, network) for network in (0, 1)]
            self.mixed_steps.add_(1)
        return parts[0][0] + parts[1][0], parts[0][1]

    def _warm(self, batch: Batch, network: int) -> tuple[Tensor, Tensor]:
        logits = self.logits(batch.inputs, network)
        value = self.mean_loss(logits, batch)
        if self.confidence_penalty:
            log_p = logits.log_softmax(1)
            value = value + self.mean((log_p.exp() * log_p).sum(1), batch)
        return value, logits

    def _semi_supervised(
        self, batch: Batch, inputs: Tensor, probs: Sequence[Sequence[Tensor]], network: int
    ) -> tuple[Tensor, Tensor]:
        """Return a network's loss on mixtures, and its logits of the mixtures of the first view.

        Args:
            batch: the batch.
            inputs: (2B, ...), both views.
            probs: for each network and each view, (B, K).
            network: 0 or 1.
        """
        clean = self.clean[1 - network].index_select(0, batch.positions)
        labeled = clean > self.threshold
        own = probs[network]
        onehot = functional.one_hot(batch.target, own[0].shape[1]).to(own[0].dtype)
        refined = co_refine(onehot, (own[0] + own[1]) / 2, clean, self.temperature)
        guessed = co_guess([*probs[0], *probs[1]], self.temperature)
        targets = torch.where(labeled.unsqueeze(1), refined, guessed).repeat(2, 1)
        partner, share = self.mixer.draw(len(inputs))
        mixed, target = mixmatch(inputs, targets, partner, share)
        first, second = self.logits(mixed, network).chunk(2)
        logits = torch.cat([first, second])  # the loss depends on the part that is returned
        weight = torch.ones_like(clean)
        if self.weights is not None:
            weight = self.weights.index_select(0, batch.positions)
        weight = mix(weight.repeat(2), partner, share)
        labeled = labeled.repeat(2)
        supervised = self._supervised(logits, target, labeled, weight)
        errors = (logits.softmax(1) - target).square().mean(1)
        unsupervised = (errors * weight * ~labeled).sum() / (~labeled).sum().clamp_min(1)
        value = supervised + self._lambda() * unsupervised + prior_penalty(logits)
        return value, first

    def _supervised(self, logits: Tensor, target: Tensor, labeled: Tensor, weight: Tensor) -> Tensor:
        """Return the mean loss of the labeled rows, (), as the loss reduces it with class weights."""
        values = self.loss_values(logits, target) * weight * labeled
        class_weights = getattr(self.loss, "weight", None)
        counts = labeled.to(values.dtype)
        if isinstance(class_weights, Tensor):
            counts = counts * (target @ class_weights.to(target.dtype))
        return values.sum() / counts.sum().clamp_min(1e-6)

    def _lambda(self) -> Tensor:
        """Return the present weight of the unlabeled part, ()."""
        rise = max(1, self.ramp * self.setup.steps)
        share: Tensor = torch.ones_like(self.mixed_steps)
        if self.ramp:
            share = (self.mixed_steps / rise).clamp_max(1.0)
        weight: Tensor = share * (self.lambda_u * unlabeled_share(self.rate))
        return weight

    def get_extra_state(self) -> bool:
        """Return whether the warm-up has ended."""
        return self.mixing

    def set_extra_state(self, state: bool) -> None:
        """Restore whether the warm-up has ended."""
        self.mixing = state

    def columns(self) -> dict[str, float | None]:
        """Return the labeled share, the noise rate by the mixtures, and lambda_u; None in the warm-up."""
        if not self.mixed_steps:
            return dict.fromkeys(("labeled", "mixture_noise_rate", "lambda_u"))
        clean = self.clean[:, self.setup.positions]
        return {
            "labeled": float((clean > self.threshold).double().mean()),
            "mixture_noise_rate": float(1 - clean.double().mean()),
            "lambda_u": float(self._lambda()),
        }
