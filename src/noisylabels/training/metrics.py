"""What is measured, as pure functions of predicted, given and true labels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from noisylabels.data.loader import Batches
from noisylabels.training.running_metrics import zero_sum

DEAD_RECALL = 0.01
"""A class whose test recall is at or below this is dead: the model hardly ever predicts it."""


def label_metrics(predicted: Tensor, given: Tensor, true: Tensor | None) -> dict[str, float | None]:
    """Compare predictions of the training set with its given and its true labels, all (N,) int64.

    Args:
        predicted: classes.
        given: the labels trained on.
        true: the true ones, -1 for an image that is of no class; None if they are unknown.

    Returns:
        given_accuracy: share predicted as the label given.
        true_accuracy: share predicted as the true label, of those that have one; None if that is unknown.
        memorized: among wrongly labeled examples, the share predicted as the wrong label given;
            None if there are none or it is unknown. Every label of an image of no class is wrong.
        recovered: among the wrongly labeled that have a true class, the share predicted as it.
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
    """Return each class's recall, the share of its examples that are predicted as it; None without any."""
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    hits = torch.bincount(labels[predicted == labels], minlength=num_classes).tolist()
    return [hit / count if count else None for hit, count in zip(hits, counts, strict=True)]


def dead_classes(recalls: list[float | None]) -> list[int]:
    """Return the classes whose recall is at or below `DEAD_RECALL`."""
    return [k for k, value in enumerate(recalls) if value is not None and value <= DEAD_RECALL]


class Evaluation(NamedTuple):
    """What a model says of a set."""

    predicted: Tensor  # int64 (N,), on the CPU, in the order of the batches, as the labels
    labels: Tensor
    loss: float  # the mean an example
    finite: bool  # all logits

    @property
    def accuracy(self) -> float:
        """The share predicted as labeled."""
        return float((self.predicted == self.labels).double().mean())


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Tensor],
    batches: Batches,
    loss: Callable[[Tensor, Tensor], Tensor],
    autocast: AbstractContextManager[object],
) -> Evaluation:
    """Evaluate a model on a set.

    Args:
        predict: from inputs to logits (B, K), its networks in evaluation mode.
        batches: of the set.
        loss: from float32 logits and target to the mean of a batch.
        autocast: the context that `predict` runs in.
    """
    predicted, labels, finite = [], [], []
    total = zero_sum(batches.device)
    for batch in batches:
        with autocast:
            logits = predict(batch.inputs)
        total += loss(logits.float(), batch.target).to(total.dtype) * len(batch.target)
        predicted.append(logits.argmax(1))
        labels.append(batch.target)
        finite.append(logits.isfinite().all())
    every = torch.cat(labels).cpu()
    return Evaluation(
        torch.cat(predicted).cpu(), every, float(total) / len(every), bool(torch.stack(finite).all())
    )
