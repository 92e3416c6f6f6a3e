"""The interface of training methods: a `Method` defines a step and owns the state that it needs."""

from __future__ import annotations

import copy
import functools
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError, check_between, check_choice
from noisylabels.core.parameters import check_parameter, defaults_of
from noisylabels.data.loader import Batch, Batches
from noisylabels.losses.modules import Loss
from noisylabels.models.output_check import first_logits
from noisylabels.training.fine_tuning import Body, is_new
from noisylabels.training.settings import OPTIMIZERS, Settings
from noisylabels.training.sharing import Run

if TYPE_CHECKING:
    from noisylabels.losses.presets import Preset

LossFunction = Callable[[Any, Tensor], Tensor]
"""From logits (B, K) and target (B,) to a scalar, or to (B,) where its reduction is "none"; a loss that
compares views takes a tuple of logits too."""


PART, WHOLE = "part", "whole"
"""Values of `Method.rank_inputs`."""


@dataclass(frozen=True)
class Setup:
    """The facts about a run that a method is given before the first step.

    Args:
        num_examples: N, the size of the training set.
        num_classes: K.
        labels: int64, (N,): the given labels, on the device.
        positions: int64, (n,): positions of the examples that are trained on, ascending, on the device.
        epochs: epochs of the whole run.
        steps: steps per epoch.
        seed: the run's seed; `core.rng.derive_seed` derives a stream of its own for each purpose.
        device: the device of networks, batches and labels.
        evaluation_batches: returns batches of the examples trained on, unaugmented, in the order of
            `positions`.
    """

    num_examples: int
    num_classes: int
    labels: Tensor
    positions: Tensor
    epochs: int
    steps: int
    seed: int
    device: torch.device
    evaluation_batches: Callable[[], Batches]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share optimizer settings.

    Args:
        parameters: at least one.
        optimizer, lr, momentum, weight_decay: None for the run's settings.
        scheduled: whether `lr` follows the run's schedule; otherwise it is constant.
    """

    parameters: Sequence[nn.Parameter]
    optimizer: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    scheduled: bool = True

    def __post_init__(self) -> None:
        if not self.parameters:
            raise InputError("a parameter group has no parameters; leave it out")
        if self.optimizer is not None:
            check_choice(self.optimizer, OPTIMIZERS, "optimizer of a parameter group")
        for name in ("lr", "momentum", "weight_decay"):
            if (value := getattr(self, name)) is not None:
                check_between(value, f"{name} of a parameter group", low=0.0)


class Method(nn.Module, ABC):
    """A training method: its networks, its loss, its state, and what one step computes.

    The loop provides the rest for every method: batches, mixed precision, gradient scaling, clipping,
    optimizers, averages of the weights, CUDA graphs, history, checkpoints and resuming. Checkpoints contain
    the buffers and parameters of the method and its loss, and the result of ``get_extra_state``.

    Args:
        networks: from inputs (B, C, H, W) or (B, D) to logits (B, K); the first one is the user's model.
        loss: from logits and target to a scalar. A module may have buffers, and parameters, which are
            trained.
    """

    views: int | Sequence[str] = 1
    """number of augmented views of each example in a batch, or the kind of each: "plain" as the run augments,
    "weak" (for features: a little noise), "strong" (random operations and cutout, or more noise)"""
    capturable: ClassVar[bool] = False
    """whether `step` runs the same operations every time, so that a CUDA graph can replay it: state
    changes in place, and no Python number, such as `batch.epoch`, decides what a step computes"""
    weighted: ClassVar[bool] = False
    """whether `step` weighs examples, with `mean_loss` and `mean`; others refuse weights"""
    compares_views: ClassVar[bool] = False
    """whether `step` gives a loss that compares views, such as `gjs`, the logits of two"""
    own_loss: ClassVar[str | None] = None
    """the expression of the only loss that the method is defined for; None for any loss"""
    own_model: ClassVar[str | None] = None
    """the name of the only model that the method is defined for; None for any model"""
    fitted: ClassVar[bool] = False
    """whether `prepare` fits the model and nothing is trained: the run has one epoch, whatever the setting,
    whose steps only predict"""
    rank_inputs: ClassVar[str | None] = None
    """how a run on several processes, each with the whole step but a part of the work of the networks, gives
    the inputs of a batch. "part": `step` only passes them to `logits`, and has those of this process's rows;
    "whole": it does more with them, such as mixing, and has all of them; None: one process alone can train.
    In both cases `logits` returns those of all B examples, and the loss depends on the parameters of networks
    through `logits` and `divided` only."""
    needs: ClassVar[Mapping[str, str]] = {}
    """inputs by the name of the argument that takes them, each of a kind of `methods.inputs.KINDS`, such as
    "transition": a run estimates them from its noisy data, a call of `fit` has to give them"""
    if_diverged: ClassVar[str] = ""
    """advice for a run whose loss or logits stop being finite; empty if the method does not cause that"""
    title: ClassVar[str] = ""
    """what the method does, in a few words"""
    source: ClassVar[str] = ""
    domain: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """limits of parameters, as keyword arguments of `check_between`"""
    presets: ClassVar[Mapping[str, Preset]] = {}
    """parameters from the literature, by data set"""

    loss: LossFunction

    def __init__(self, networks: Iterable[nn.Module], loss: LossFunction) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.loss = loss
        self.expression: str | None = None  # with its parameters, if it was made from an expression
        self.lr = 0.0  # the run's learning rate at the current step: the loop sets it
        self.weights: Tensor | None = None  # (N,), on the device: the loop sets it
        self._per_example: tuple[Any, ...] = ()  # a tuple hides it from state_dict: its state is `loss`'s
        self.autocast: Callable[[], AbstractContextManager[Any]] = nullcontext  # the loop sets it
        self.sharing: Callable[[Run, Tensor], Tensor] | None = None  # of several processes: the loop sets it
        self.optimizers: Sequence[torch.optim.Optimizer] = ()  # of a run: the loop sets it
        self.num_classes: int | None = None
        self.epochs: int | None = None  # of the whole run: the loop sets it
        self._checked: set[int] = set()

    # Defined by a method ------------------------------------------------------------------------

    @abstractmethod
    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss to minimize, (), and the logits (B, K) that the run's metrics are computed from.

        It runs outside autocast, so that losses compute in float32; `logits` runs a network under autocast.

        Args:
            batch: inputs (B, ...), target (B,) int64, and positions in the training set (B,) int64.
        """

    def prepare(self, setup: Setup) -> None:
        """Create per-example buffers, such as targets (N, K); called once, before a checkpoint is loaded.

        Args:
            setup: size, classes and device of the training set.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for `epoch`, from 0; not called again when a run resumes within the epoch."""

    def new_modules(self, epoch: int) -> Iterable[nn.Module]:
        """Return the modules that the method has initialized anew by `epoch`.

        Where batch normalization keeps the statistics of pretrained weights, that of these modules learns its
        own.
        """
        return [module for module in self.modules() if is_new(module)]

    def other_networks(self) -> Sequence[nn.Module]:
        """Return networks that the method keeps beside those it trains, such as their averages."""
        return ()

    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        """Return the parameters to train: the networks', and the loss's at `loss_lr` without weight decay.

        With `body_lr`, all layers but the last have a learning rate of their own.

        Args:
            settings: those of the run.

        Raises:
            InputError: no parameter of the networks requires a gradient.
        """
        networks = trainable(self.networks)
        if not networks:
            raise InputError(
                "the model has no parameters that require a gradient, expected at least one to train"
            )
        groups = [ParameterGroup(networks)]
        if settings.body_lr != 1.0:
            assert self.num_classes is not None
            body = Body(self.networks, self.num_classes).parameters
            slow = set(map(id, body))
            head = [parameter for parameter in networks if id(parameter) not in slow]
            groups = [ParameterGroup(body, lr=settings.lr * settings.body_lr)] if body else []
            groups += [ParameterGroup(head)] if head else []
        if isinstance(self.loss, nn.Module) and (own := trainable([self.loss])):
            groups.append(ParameterGroup(own, lr=settings.loss_lr, weight_decay=0.0))
        return groups

    def predict(self, networks: Sequence[nn.Module], inputs: Tensor) -> Tensor:
        """Return logits (B, K) for evaluation; `networks` are the trained ones or their averages.

        Args:
            networks: as many as the method trains.
            inputs: (B, ...), normalized as in training.
        """
        logits: Tensor = networks[0](inputs)
        return logits

    def evaluation_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss, (), that is reported for held-out examples.

        Args:
            logits: (B, K) float32.
            target: (B,) int64.
        """
        return self.loss(logits, target)

    def evaluation_sums(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the sum of a batch's losses and that of its `loss_counts`, () each.

        Their ratio over all batches is the loss of a set. None if that is the mean over the examples: for a
        loss without class weights and ignored class, and for an `evaluation_loss` of the method's own.

        Args:
            logits: (B, K) float32.
            target: (B,) int64.
        """
        counts = self._mean_counts(target)
        if counts is None or type(self).evaluation_loss is not Method.evaluation_loss:
            return None
        return self.loss_values(logits, target).sum(), counts.sum()

    def columns(self) -> dict[str, float | None]:
        """Return columns to add to the history at the end of an epoch."""
        return {}

    def identity(self) -> dict[str, str]:
        """Return what a checkpoint must match: the method's name and its parameters, by setting."""
        return {"method": self.expression or type(self).__name__.lower()}

    # Used by a method ----------------------------------------------------------------------------

    def checked(self, **parameters: Any) -> list[Any]:
        """Return parameters of the class in the types of their defaults, after checking them by `domain`.

        Raises:
            InputError: a value of another type or outside its range.
        """
        # what a run finds in place of a word, such as a noise rate, is a number
        defaults = {**defaults_of(type(self)), **dict.fromkeys(self.needs, 0.0)}
        return [
            check_parameter(
                value, defaults[name], f"{name} of {type(self).__name__}", self.domain.get(name, {})
            )
            for name, value in parameters.items()
        ]

    def logits(self, inputs: Tensor, network: int = 0) -> Tensor:
        """Return a network's logits (B, K) in float32, computed in the precision of the run.

        Args:
            inputs: (B, ...).
            network: number of the network, from 0.
        """
        return self.divided(functools.partial(self.undivided, network=network), inputs)

    def divided(self, run: Run, inputs: Tensor) -> Tensor:
        """Return `run(inputs)`, (B, D); the processes of a run compute a part of the rows each."""
        return run(inputs) if self.sharing is None else self.sharing(run, inputs)

    def undivided(self, inputs: Tensor, network: int = 0) -> Tensor:
        """Return a network's logits in float32 for inputs as they are, in this process alone."""
        model = self.networks[network]
        with self.autocast():
            if self.num_classes is None or network in self._checked:
                logits: Tensor = model(inputs)
            else:
                logits = first_logits(model, inputs, self.num_classes)
                self._checked.add(network)
        return logits.float()

    def renew_optimizer(self, parameters: Iterable[nn.Parameter]) -> None:
        """Set what the optimizers keep of some parameters to 0, in place, as if no step had been taken.

        A parameter whose gradient is 0 for a while is no new one to Adam: it counts its steps, so that the
        first gradients after that move it further than its learning rate.

        Args:
            parameters: of the method.
        """
        for parameter in parameters:
            for optimizer in self.optimizers:
                for value in optimizer.state.get(parameter, {}).values():
                    if isinstance(value, Tensor):
                        value.zero_()

    def set_progress(self, progress: float) -> None:
        """Update a loss whose weights follow a schedule; the loop calls it before each step.

        Args:
            progress: steps done divided by all steps of the run, from 0 to 1.
        """
        if (follow := getattr(self.loss, "set_progress", None)) is not None:
            follow(progress, self.epochs)

    def loss_columns(self) -> dict[str, float | None]:
        """Return the current weights of a loss whose weights vary, as columns of the history."""
        read = getattr(self.loss, "current_weights", dict)
        # trackers allow few signs in names
        return {f"weight_{re.sub(r'[^a-z0-9]+', '_', name).strip('_')}": w for name, w in read().items()}

    def loss_values(self, logits: Tensor | tuple[Tensor, ...], target: Tensor, learns: bool = True) -> Tensor:
        """Return the loss of each example, (B,): 0 for an ignored target.

        Args:
            logits: (B, K), or a tuple with those of each view.
            target: (B,) int64, or (B, K), class probabilities.
            learns: whether a loss with state may learn from these logits; False if they are no example's.

        Raises:
            InputError: a loss without a `reduction` that can be set to "none".
        """
        if not self._per_example:
            self.check_loss_values()
            per_example: Any = copy.copy(self.loss)  # it shares parameters and buffers
            per_example.reduction = "none"
            self._per_example = (per_example,)
        if isinstance(self.loss, nn.Module):  # a copy does not follow `train` and `eval`
            self._per_example[0].training = self.loss.training and learns
        values: Tensor = self._per_example[0](logits, target)
        return values

    def check_loss_values(self) -> None:
        """Raise an `InputError` unless the loss has a `reduction` that can be set to "none"."""
        if not hasattr(self.loss, "reduction"):
            raise InputError(
                f"the method {self.identity()['method']} needs a loss per example, and this loss has no "
                "reduction to set to 'none'; use one of nl.loss or a module such as nn.CrossEntropyLoss()"
            )

    def loss_counts(self, target: Tensor) -> Tensor | None:
        """Return what each example adds to the number that the mean loss is divided by; None for 1 each.

        With class weights c that is ``c_(y_i)``, and 0 for an ignored class, (B,).

        Args:
            target: (B,) int64, the given labels of the batch.
        """
        if not isinstance(self.loss, (Loss, nn.CrossEntropyLoss, nn.NLLLoss)):
            return None
        counts = None if self.loss.weight is None else self.loss.weight.index_select(0, target)
        ignored = self.loss.ignore_index
        if ignored is not None and ignored >= 0:
            counts = torch.ones_like(target, dtype=torch.float32) if counts is None else counts
            counts = counts.masked_fill(target == ignored, 0.0)
        return counts

    def counted(self, target: Tensor) -> Tensor | None:
        """Return whether the mean loss counts each label, (B,) bool; None if it counts all.

        It does not count an ignored class, nor one of weight 0.

        Args:
            target: (B,) int64, the given labels of the batch.
        """
        counts = self.loss_counts(target)
        return None if counts is None else counts > 0

    def class_scale(self, target: Tensor) -> Tensor | float:
        """Return the factor by which the mean of a batch's counted `loss_values` is the loss.

        It is 1 divided by the mean class weight of the counted labels, and 0 without any.

        Args:
            target: (B,) int64, the given labels of the batch.
        """
        counts = self.loss_counts(target)
        if counts is None:
            return 1.0
        return (counts > 0).sum() / counts.sum().clamp_min(torch.finfo(counts.dtype).tiny)

    def loss_scale(self, target: Tensor) -> Tensor | float:
        """Return the factor by which the mean of a batch's `loss_values` is the loss.

        A loss with class weights c divides by their sum, ``sum_i c_(y_i)``, and one that ignores a class by
        the number of other examples; the mean of values divides by B. The factor is B divided by that sum.

        Args:
            target: (B,) int64, the given labels of the batch.
        """
        counts = self.loss_counts(target)
        if counts is None:
            return 1.0
        total = counts.sum()
        return len(target) / torch.where(total > 0, total, 1.0)  # without a label that counts, values are 0

    def _mean_counts(self, target: Tensor) -> Tensor | None:
        """Return `loss_counts` of a loss that is a mean; None for 1 each, and for other reductions."""
        return self.loss_counts(target) if getattr(self.loss, "reduction", None) == "mean" else None

    def mean_loss(self, logits: Tensor | tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Return the loss of a batch, (): with weights the mean of weight times loss.

        It is 0 for a batch without a label that counts, where the loss itself divides 0 by 0.

        `logits` are (B, K), or a tuple with those of each view, for a loss that compares views.
        """
        if self.weights is None and self._mean_counts(batch.target) is None:
            return self.loss(logits, batch.target)
        return self.mean_of_losses(self.loss_values(logits, batch.target), batch)

    def mean_of_losses(self, values: Tensor, batch: Batch) -> Tensor:
        """Return the mean of a batch's losses (B,), reduced as the loss does, with weights if given.

        Args:
            values: (B,), the loss of each example.
            batch: the batch that they belong to.
        """
        return self.mean(values, batch) * self.loss_scale(batch.target)

    def mean(self, values: Tensor, batch: Batch) -> Tensor:
        """Return the mean of a batch's values (B,), each multiplied by its example's weight if given."""
        if self.weights is None:
            return values.mean()
        return (values * self.weights.index_select(0, batch.positions)).mean()

    def use_weights(self, weights: Tensor, num_examples: int, positions: Tensor, device: torch.device) -> str:
        """Weigh the examples of the training set, and return a digest of the weights.

        Args:
            weights: (N,), 0 or more.
            num_examples: N, the size of the training set.
            positions: (n,) int64, those of the examples trained on.
            device: of the run.

        Raises:
            InputError: weights of another shape, negative, not finite, or all 0; a method that cannot weigh
                examples; a loss without a reduction.
        """
        if not self.weighted:
            raise InputError(
                f"weights are given, and the method {self.identity()['method']} does not use them; "
                "leave out weights or method"
            )
        if not hasattr(self.loss, "reduction"):
            raise InputError(
                "weights need a loss per example, and this loss has no reduction to set to 'none'; "
                "use one of nl.loss or a module such as nn.CrossEntropyLoss()"
            )
        expected = "expected one finite number of 0 or more per example"
        try:
            given: Any = np.array(weights) if hasattr(weights, "to_numpy") else weights
            weights = torch.as_tensor(given, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            shown = repr(weights) if len(repr(weights)) <= 80 else f"a {type(weights).__name__}"
            raise InputError(f"weights are {shown}, {expected}") from None
        if weights.shape != (num_examples,):
            raise InputError(
                f"weights have shape {tuple(weights.shape)} for {num_examples} examples, {expected}"
            )
        if len(bad := ((weights < 0) | ~weights.isfinite()).nonzero()):
            first = int(bad[0])
            raise InputError(f"the weight of example {first} is {float(weights[first]):g}, {expected}")
        if not (weights[positions.cpu()] > 0).any():
            raise InputError(
                "the weights of all examples trained on are 0, so that nothing would be learned; expected "
                "one or more above 0"
            )
        self.weights = weights.to(device)
        return hashlib.sha256(weights.cpu().numpy().tobytes()).hexdigest()

    def check_logits(self, num_classes: int) -> None:
        """Check the shape of each network's first logits against `num_classes`."""
        self.num_classes = num_classes


def trainable(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters of modules that require a gradient, each once."""
    every = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    return list(dict.fromkeys(every))
