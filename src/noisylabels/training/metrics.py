"""Metrics as pure functions of predicted, given and true labels, and the evaluation of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from noisylabels.data.loader import Batches
from noisylabels.training.ranks import Ranks
from noisylabels.training.running_metrics import zero_sum

DEAD_RECALL = 0.01
"""A class with a test recall of at most this is dead: the model hardly ever predicts it."""


def label_metrics(predicted: Tensor, given: Tensor, true: Tensor | None) -> dict[str, float | None]:
    """Return measures of training-set predictions against given and true labels, all (N,) int64.

    Args:
        predicted: classes.
        given: the labels trained on.
        true: the true labels, -1 for an image of no class; None if unknown.

    Returns:
        given_accuracy: the share predicted as the given label.
        true_accuracy: the share predicted as the true label, among examples that have one; None if unknown.
        memorized: the share of noisy labels predicted as given; None without noisy labels or if unknown.
            Every label of an image of no class is noisy.
        recovered: the share of noisy labels predicted as the true class, among examples that have one.
    """
    result: dict[str, float | None] = {
        "given_accuracy": float((predicted == given).double().mean()),
        "true_accuracy": None,
        "memorized": None,
        "recovered": None,
    }
    if true is not None:
        right, flipped, known = predicted == true, given != true, true >= 0
        result["true_accuracy"] = _share(right[known])
        result["memorized"] = _share((predicted == given)[flipped])
        result["recovered"] = _share(right[flipped & known])
    return result


def _share(which: Tensor) -> float | None:
    return float(which.double().mean()) if len(which) else None


def recall(predicted: Tensor, labels: Tensor, num_classes: int) -> list[float | None]:
    """Return the recall of each class, the share of its examples predicted as it; None without examples."""
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    hits = torch.bincount(labels[predicted == labels], minlength=num_classes).tolist()
    return [hit / count if count else None for hit, count in zip(hits, counts, strict=True)]


def dead_classes(recalls: list[float | None]) -> list[int]:
    """Return the classes whose recall is at or below `DEAD_RECALL`."""
    return [k for k, value in enumerate(recalls) if value is not None and value <= DEAD_RECALL]


class Evaluation(NamedTuple):
    """The predictions of a model for a set, and their mean loss."""

    predicted: Tensor  # int64 (N,), on the CPU, in the order of the batches, as the labels
    labels: Tensor
    loss: float  # mean, with the class weights of the loss
    finite: bool  # whether all logits are finite

    @property
    def accuracy(self) -> float:
        """The share predicted as the given label."""
        return float((self.predicted == self.labels).double().mean())


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Tensor],
    batches: Batches,
    loss: Callable[[Tensor, Tensor], Tensor],
    autocast: Callable[[], AbstractContextManager[object]],
    ranks: Ranks | None = None,
    sums: Callable[[Tensor, Tensor], tuple[Tensor, Tensor] | None] | None = None,
) -> Evaluation:
    """Return the predictions and the loss of a model on a set.

    Args:
        predict: from inputs to logits (B, K), its networks in evaluation mode.
        batches: of the set.
        loss: from float32 logits and target to the mean of a batch.
        autocast: the context that `predict` runs in.
        ranks: the processes that evaluate a part of the batches each; by default this one, all.
        sums: from the same to the sum of a batch's losses and the number that its mean divides by, or None to
            take `loss`. With class weights or an ignored class the loss of a set would otherwise depend on
            its batches.
    """
    ranks = ranks or Ranks()
    none = torch.zeros(0, dtype=torch.int64, device=batches.device)
    predicted, labels = [none], [none]
    total, count, infinite = (zero_sum(batches.device) for _ in range(3))
    for batch in batches.epoch(0, *ranks.part(len(batches))):
        with autocast():
            logits = predict(batch.inputs)
        found = None if sums is None else sums(logits.float(), batch.target)
        if found is None:
            total += loss(logits.float(), batch.target).to(total.dtype) * len(batch.target)
            count += len(batch.target)
        else:
            total += found[0].to(total.dtype)
            count += found[1].to(total.dtype)
        predicted.append(logits.argmax(1))
        labels.append(batch.target)
        infinite += ~logits.isfinite().all()
    for each in (total, count, infinite):
        ranks.sum(each)
    every, chosen = (ranks.concatenate(torch.cat(each)).cpu() for each in (labels, predicted))
    mean = float(total) / (float(count) or math.nan)  # of a set whose labels are all ignored there is none
    return Evaluation(chosen, every, mean, not float(infinite))
