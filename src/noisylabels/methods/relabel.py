"""Relabel: audit the labels first, then drop, relabel or reweigh examples, and train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.methods.inputs import AUTO
from noisylabels.training.method import PART, LossFunction, Method, Setup

DROP, RELABEL, REWEIGH = "drop", "relabel", "reweigh"


def likely_wrong(quality: Tensor, suggested: Tensor, given: Tensor) -> Tensor:
    """Return which labels are likely wrong, (N,) bool, by the rule of `noisylabels audit`.

    A label is, if its probability of being right is below 1/2 and another class is more probable.

    Args:
        quality: (N,), the probability that the given label is right.
        suggested: (N,) int64, the most probable class; -1 for an example that belongs to no class.
        given: (N,) int64.

    >>> quality, suggested = torch.tensor([0.2, 0.4, 0.9]), torch.tensor([1, 0, 1])
    >>> likely_wrong(quality, suggested, torch.tensor([0, 0, 0]))
    tensor([ True, False, False])
    """
    return (quality < 0.5) & (suggested != given)


def revised(quality: Tensor, suggested: Tensor, given: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Return the labels to train on, (N,) int64, and the weights of the examples, (N,).

    Args:
        quality, suggested, given: as for `likely_wrong`.
        how: "drop" gives likely wrong labels the weight 0; "relabel" replaces them by the suggested ones;
            "reweigh" weighs every example by the probability that its label is right. Examples without a
            class are dropped in any case.

    >>> quality, suggested = torch.tensor([0.2, 0.9]), torch.tensor([1, 1])
    >>> revised(quality, suggested, torch.tensor([0, 0]), "relabel")
    (tensor([1, 0]), tensor([1., 1.]))
    >>> revised(quality, suggested, torch.tensor([0, 0]), "drop")[1]
    tensor([0., 1.])
    """
    wrong = likely_wrong(quality, suggested, given)
    weights = quality if how == REWEIGH else torch.ones_like(quality)
    gone = wrong & (suggested < 0) if how == RELABEL else wrong & ((suggested < 0) | (how == DROP))
    labels = torch.where(wrong & ~gone, suggested, given) if how == RELABEL else given
    return labels, weights.masked_fill(gone, 0.0)


class Relabel(Method):
    """Minimizes the loss on labels that an audit has revised: weight times loss, by revised labels.

    The audit compares each given label with the probabilities of models that were not trained on it. The
    weights are scaled to the mean 1 over the examples trained on.

    Args:
        model: from inputs to logits (B, K).
        loss: any loss; it needs a `reduction` unless labels are replaced.
        how: "drop", "relabel" or "reweigh", see `revised`.
        audit: (N, 2): the probability that the given label is right, and the suggested class, such as
            ``np.column_stack([audit.score, audit.suggested])`` of an `nl.Audit`. The words of
            `methods.inputs.KINDS` stand for one that a run makes.

    Source: Northcutt et al. 2021, "Confident learning", who drop examples and reweigh classes; the rule and
    the probabilities are those of `noisylabels audit`.
    """

    capturable: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    rank_inputs: ClassVar[str | None] = PART
    needs: ClassVar[Mapping[str, str]] = {"audit": "label_quality"}
    title: ClassVar[str] = "audits the labels, then drops, relabels or reweighs examples"
    source: ClassVar[str] = "after Northcutt et al. 2021"
    domain: ClassVar = {"how": {"choices": (DROP, RELABEL, REWEIGH)}}

    labels: Tensor
    emphasis: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        *,
        how: str = DROP,
        audit: np.ndarray | Tensor | str = AUTO,
    ) -> None:
        super().__init__([model], loss)
        (self.how,) = self.checked(how=how)
        self.audit = _checked(audit)

    def prepare(self, setup: Setup) -> None:
        """Place revised labels and weights on the device."""
        quality, suggested = self._of(setup)
        labels, weights = revised(quality, suggested, setup.labels, self.how)
        own = torch.ones_like(weights) if self.weights is None else self.weights
        here = own.index_select(0, setup.positions)
        total = (here * weights.index_select(0, setup.positions)).sum()
        if not total > 0:
            raise InputError(
                f"the audit leaves no example to train on with how={self.how}; use how=relabel, or train "
                "without this method"
            )
        wrong = likely_wrong(quality, suggested, setup.labels)
        self.share = float(wrong.index_select(0, setup.positions).double().mean())
        self.register_buffer("labels", labels)
        self.register_buffer("emphasis", weights * (here.sum() / total))

    def _of(self, setup: Setup) -> tuple[Tensor, Tensor]:
        """Return quality and suggested class of the run's examples, after checking them."""
        if len(self.audit) != setup.num_examples:
            raise InputError(
                f"the audit has {len(self.audit)} examples, expected {setup.num_examples}, those of the "
                "training set, in its order"
            )
        if self.audit[:, 1].max() >= setup.num_classes:
            raise InputError(
                f"the audit suggests class {self.audit[:, 1].max():g}, and the data have "
                f"{setup.num_classes} classes; expected the same"
            )
        values = torch.from_numpy(self.audit)
        quality, suggested = values[:, 0].float(), values[:, 1].long()
        return quality.to(setup.device), suggested.to(setup.device)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss on revised labels, and the logits."""
        logits = self.logits(batch.inputs)
        target = self.labels.index_select(0, batch.positions)
        if self.how == RELABEL and not hasattr(self.loss, "reduction"):
            return self.mean_loss(logits, batch._replace(target=target)), logits
        values = self.loss_values(logits, target) * self.emphasis.index_select(0, batch.positions)
        return self.mean_of_losses(values, batch._replace(target=target)), logits

    def columns(self) -> dict[str, float | None]:
        """Return the share of the labels that are likely wrong."""
        return {"likely_wrong": self.share}


def _checked(audit: np.ndarray | Tensor | str) -> np.ndarray:
    """Return an audit as (N, 2) float64, after checking it."""
    try:
        found = np.asarray(audit.cpu() if isinstance(audit, Tensor) else audit, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    good = found.ndim == 2 and found.shape[1] == 2 and len(found) > 0
    if not good:
        shown = repr(audit)[:60] if found.size == 0 else f"of shape {found.shape}"
        raise InputError(
            f"the audit is {shown}, expected (N, 2) numbers: the probability that each given label is right, "
            "and the suggested class"
        )
    inside = (found[:, 0] >= 0) & (found[:, 0] <= 1) & (found[:, 1] >= -1) & (found[:, 1] % 1 == 0)
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise InputError(
            f"row {row} of the audit is {found[row].tolist()}, expected a probability and a class number"
        )
    return np.ascontiguousarray(found)
