"""Sparse over-parameterization (SOP): parameters per example explain the wrong labels."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.losses.presets import Preset
from noisylabels.methods.inputs import check_no_ignored
from noisylabels.training.method import PART, LossFunction, Method, ParameterGroup, Setup
from noisylabels.training.settings import Settings

SMALLEST = 1e-4
"""Corrected probabilities are clamped to at least this."""

INITIAL_STD = 1e-8
"""Standard deviation of the parameters at the start."""

_CODE = "Liu et al. 2022, README of their code"


class Corrected(NamedTuple):
    """Corrected probabilities q (B, K), and what was added for the label and subtracted for the others."""

    probs: Tensor
    added: Tensor
    subtracted: Tensor


def sop_probs(logits: Tensor, onehot: Tensor, u: Tensor, v: Tensor) -> Corrected:
    """Return the probabilities of the given labels, ``q ~ p + U - V``, with U = u^2 y and V = v^2 (1 - y).

    U and V are clamped to [0, 1]; q is clamped, divided by its sum, and clamped again. No gradient flows
    from q to v.

    Args:
        logits: (B, K); p is their softmax.
        onehot: (B, K), the given labels y.
        u: (B, 1).
        v: (B, K).
    """
    added = (u.square() * onehot).clamp(0, 1)
    subtracted = (v.square() * (1 - onehot)).clamp(0, 1)
    probs = (logits.softmax(1) + added - subtracted.detach()).clamp_min(SMALLEST)
    probs = functional.normalize(probs, p=1, dim=1, eps=SMALLEST).clamp(SMALLEST, 1)
    return Corrected(probs, added, subtracted)


def sop_terms(logits: Tensor, onehot: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two terms of each example: cross entropy and squared error, each (B,).

    The first, ``-log q_y``, trains the network and u; the second, ``|e + U - V - y|^2`` with e the predicted
    class (without a gradient), trains u and v.

    Args:
        logits, onehot, u, v: as for `sop_probs`.

    >>> label = torch.tensor([[1.0, 0.0]])
    >>> sop_terms(torch.zeros(1, 2), label, torch.zeros(1, 1), torch.zeros(1, 2))
    (tensor([0.6931]), tensor([0.]))
    """
    return _terms(sop_probs(logits, onehot, u, v), logits, onehot)


def _terms(found: Corrected, logits: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
    predicted = torch.zeros_like(onehot).scatter(1, logits.detach().argmax(1, keepdim=True), 1.0)
    error = (predicted + found.added - found.subtracted - onehot).square().sum(1)
    return -(onehot * found.probs.log()).sum(1), error


def balance(probs: Tensor) -> Tensor:
    """Return ``-(1/K) sum_k log mean_n q_nk``, (), least for equal means over the batch.

    >>> balance(torch.full((3, 2), 0.5))
    tensor(0.6931)
    """
    return -probs.mean(0).clamp(SMALLEST, 1).log().mean()


def consistency(logits: Tensor, others: Tensor) -> Tensor:
    """Return the divergence of each example's second view from the first, ``KL(p1 || p2)``, (B,).

    The first view's probabilities are without a gradient.

    >>> consistency(torch.zeros(1, 2), torch.zeros(1, 2))
    tensor([0.])
    """
    log_p = logits.detach().log_softmax(1)
    return (log_p.exp() * (log_p - others.log_softmax(1))).sum(1)


def check_cross_entropy(loss: object) -> None:
    """Raise an `InputError` unless a loss is plain cross entropy, which `sop` computes itself."""
    same = loss is functional.cross_entropy or isinstance(loss, nn.CrossEntropyLoss)
    same = same or getattr(loss, "expression", None) == "ce"
    smoothing: Any = getattr(loss, "label_smoothing", None)
    if not same or smoothing or getattr(loss, "weight", None) is not None:
        raise InputError(
            f"the method 'sop' has a loss of its own, and the loss is {loss!r}; use nl.loss('ce'), without "
            "class weights and label smoothing"
        )


class Sop(Method):
    """Minimizes the cross entropy of ``p + u^2 y - v^2 (1 - y)``, with u and v trained per example.

    A wrong label is explained by u and v of its example, which start at 0 and have learning rates of their
    own, so that the network need not memorize it. A squared error trains v. With both ratios above 0 the
    method is SOP+.

    Args:
        model: from inputs to logits (B, K).
        loss: cross entropy, ``ce``: the method has no other.
        lr_u, lr_v: constant learning rates of u, (N, 1), and v, (N, K), by SGD without momentum and decay.
        ratio_consistency: weight of the divergence between two augmented views of an example; above 0 a
            batch has both, and a step costs twice as much.
        ratio_balance: weight of a term that is least if all classes are predicted equally often.

    Source: Liu et al. 2022, "Robust training under label noise by over-parameterization".
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    own_loss: ClassVar[str | None] = "ce"
    title: ClassVar[str] = "explains wrong labels by parameters per example"
    source: ClassVar[str] = "Liu et al. 2022 (SOP)"
    domain: ClassVar = {
        "lr_u": {"low": 0.0},
        "lr_v": {"low": 0.0},
        "ratio_consistency": {"low": 0.0},
        "ratio_balance": {"low": 0.0},
    }
    presets: ClassVar = {
        "cifar100": Preset("sop(lr_u=1,lr_v=10,ratio_consistency=0.9,ratio_balance=0.1)", _CODE, "symmetric"),
        "cifar100_asym": Preset(
            "sop(lr_u=0.1,lr_v=100,ratio_consistency=0.9,ratio_balance=0.1)", _CODE, "asymmetric"
        ),
    }

    u: nn.Parameter
    v: nn.Parameter

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        lr_u: float = 10.0,
        lr_v: float = 10.0,
        ratio_consistency: float = 0.0,
        ratio_balance: float = 0.0,
    ) -> None:
        super().__init__([model], loss)
        check_cross_entropy(loss)
        check_no_ignored(loss, "sop")
        self.lr_u, self.lr_v = self.checked(lr_u=lr_u, lr_v=lr_v)
        self.ratio_consistency, self.ratio_balance = self.checked(
            ratio_consistency=ratio_consistency, ratio_balance=ratio_balance
        )
        self.views = 2 if self.ratio_consistency else 1

    def prepare(self, setup: Setup) -> None:
        """Create u and v."""
        for name, width in (("u", 1), ("v", setup.num_classes)):
            start = torch.normal(0.0, INITIAL_STD, (setup.num_examples, width))
            setattr(self, name, nn.Parameter(start.to(setup.device)))

    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        """Return the network's parameters, and u and v with their own learning rates."""
        own = [
            ParameterGroup([each], "sgd", lr, momentum=0.0, weight_decay=0.0, scheduled=False)
            for each, lr in ((self.u, self.lr_u), (self.v, self.lr_v))
        ]
        return [*super().parameter_groups(settings), *own]

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum of all terms, and the logits of the first view."""
        if self.ratio_consistency:
            # one pass, as in the authors' code: batch normalization sees both views
            logits, others = self.logits(torch.cat(batch.views)).chunk(2)
        else:
            logits = others = self.logits(batch.inputs)
        u, v = self.u.index_select(0, batch.positions), self.v.index_select(0, batch.positions)
        onehot = torch.zeros_like(logits).scatter(1, batch.target.unsqueeze(1), 1.0)
        found = sop_probs(logits, onehot, u, v)
        cross_entropy, error = _terms(found, logits, onehot)
        value = self.mean(cross_entropy + error, batch)
        if self.ratio_balance:
            value = value + self.ratio_balance * balance(found.probs)
        if self.ratio_consistency:
            value = value + self.ratio_consistency * self.mean(consistency(logits, others), batch)
        return value, logits
