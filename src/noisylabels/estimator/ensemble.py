"""One network of the ensemble: trained on its part of the examples, by the library's one loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.data.augment import normalize
from noisylabels.data.features import FeatureSet
from noisylabels.data.images import ImageSet
from noisylabels.data.loader import evaluation_batch_size
from noisylabels.estimator.inputs import Examples
from noisylabels.methods.fit import fit
from noisylabels.training.callbacks import Callback, Stop
from noisylabels.training.history import History


@dataclass(frozen=True)
class Member:
    """A trained network and how what it sees is standardized."""

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def probs(self, rows: np.ndarray) -> np.ndarray:
        """Return class probabilities, (N, K) float64, of standardized rows (N, D) or images (N, C, H, W)."""
        return class_probs(self.network, rows, self.mean, self.std)


def class_probs(
    network: nn.Module, rows: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]
) -> np.ndarray:
    """Return a network's class probabilities, (N, K) float64.

    They are computed in float64: float32's differ in the last digits with the number of rows at a time.
    """
    network.eval()
    first = next(network.parameters())
    parts = []
    with torch.inference_mode():
        for batch in torch.from_numpy(rows).split(evaluation_batch_size(torch.from_numpy(rows[:1]))):
            seen = normalize(batch.to(first.device), mean, std, dtype=first.dtype)
            parts.append(network(seen).double().softmax(1).cpu())
    return torch.cat(parts).numpy()


class BestEpoch(Callback):
    """Keep the weights of the epoch that did best on held-out examples, and stop early.

    The measure is the mean probability of the given label: the accuracy, if every prediction were certain,
    but smoother. It is 1 less half the mean absolute error, a symmetric loss, whose ranking of models uniform
    label noise does not change (Ghosh 2017).

    Args:
        network: that is trained.
        held: the examples held out.
        mean, std: as the loop standardizes.
        patience: epochs without a better one after which training stops.
    """

    def __init__(
        self,
        network: nn.Module,
        held: Examples,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        patience: int,
    ) -> None:
        self.network, self.held, self.mean, self.std = network, held, mean, std
        self.patience = patience
        self.found = -np.inf
        self.since = 0
        self.state: dict[str, Tensor] = {}

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Measure, add the measures to the row, and keep the weights if they are the best so far."""
        probs = class_probs(self.network, self.held.rows, self.mean, self.std)
        given = probs[np.arange(len(self.held)), self.held.labels]
        now = float(np.average(given, weights=self.held.weights))
        right = probs.argmax(1) == self.held.labels
        row["validation_probability"] = now
        row["validation_accuracy"] = float(np.average(right, weights=self.held.weights))
        self.since += 1
        if now > self.found:
            self.found, self.since = now, 0
            self.state = copy.deepcopy(self.network.state_dict())

    def should_stop(self, history: History) -> Stop | None:
        """Stop after `patience` epochs without an improvement."""
        return Stop.FINISH if self.since >= self.patience else None


def train_member(
    network: nn.Module,
    make: Callable[[Examples], FeatureSet | ImageSet],
    part: Examples,
    held: Examples | None,
    loss: Callable[[Tensor, Tensor], Tensor],
    patience: int | None,
    settings: dict[str, Any],
) -> tuple[Member, list[dict[str, Any]]]:
    """Train a network and return it, in evaluation mode, with its history.

    Args:
        network: from rows (B, D) or images to logits (B, K); trained in place.
        make: makes a set of examples.
        part: what to train on.
        held: what to choose the epoch on.
        loss: as `fit` takes it.
        patience: see `BestEpoch`; None: the last epoch is kept.
        settings: of the loop.
    """
    seen = make(part)
    mean, std = seen.mean_std()
    weights = None
    if np.ptp(part.weights):
        weights = torch.from_numpy(part.weights / part.weights.mean())
    best = None
    if patience is not None and held is not None:
        best = BestEpoch(network, held, mean, std, patience)
    callbacks = [best] if best is not None else []
    history = fit(network, seen, None, loss, weights=weights, callbacks=callbacks, **settings)
    if best is not None:
        network.load_state_dict(best.state)
    # on the CPU a pickle from a GPU is read where there is none
    network = network.to("cpu", torch.float64 if isinstance(seen, FeatureSet) else torch.float32)
    return Member(network.eval(), mean, std), history.rows
