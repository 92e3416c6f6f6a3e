"""Train one network of the ensemble on its part of the examples, with the library's training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.core.device import first_tensor
from noisylabels.data.augment import normalize
from noisylabels.data.features import FeatureSet
from noisylabels.data.images import ImageSet
from noisylabels.data.loader import evaluation_batch_size
from noisylabels.estimator.inputs import Examples
from noisylabels.methods.catalog import MakeMethod
from noisylabels.methods.fit import fit
from noisylabels.training.callbacks import Callback, Stop
from noisylabels.training.history import History
from noisylabels.training.ranks import alone


@dataclass(frozen=True)
class Member:
    """A trained network with the mean and standard deviation that standardize its input."""

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

    They are computed in float64, because float32 results vary in the last digits with the batch size.
    """
    network.eval()
    first = first_tensor(network)
    parts = []
    with torch.inference_mode():
        for batch in torch.from_numpy(rows).split(evaluation_batch_size(torch.from_numpy(rows[:1]))):
            seen = normalize(batch.to(first.device), mean, std, dtype=first.dtype)
            parts.append(network(seen).double().softmax(1).cpu())
    return torch.cat(parts).numpy()


class BestEpoch(Callback):
    """Keep the weights of the epoch that is best on held-out examples, and stop early.

    The metric is the mean probability of the given label, a smoother version of the accuracy. It equals 1
    minus half the mean absolute error, a symmetric loss, so that uniform label noise does not change how it
    ranks models (Ghosh 2017).

    Args:
        network: the network in training.
        held: the held-out examples.
        mean, std: mean and standard deviation with which the loop standardizes its input.
        patience: epochs without an improvement after which training stops.
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
        """Evaluate, add the metrics to the row, and keep the weights if they are the best so far."""
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
        """Return `Stop.FINISH` after `patience` epochs without an improvement."""
        return Stop.FINISH if self.since >= self.patience else None


def train_member(
    network: nn.Module,
    make: Callable[[Examples], FeatureSet | ImageSet],
    part: Examples,
    held: Examples | None,
    loss: Callable[[Tensor, Tensor], Tensor],
    patience: int | None,
    settings: dict[str, Any],
    method: MakeMethod,
) -> tuple[Member, list[dict[str, Any]]]:
    """Train a network and return it, in evaluation mode, with its history.

    Args:
        network: maps rows (B, D) or images to logits (B, K); trained in place.
        make: converts examples to a data set.
        part: examples to train on.
        held: held-out examples, on which the epoch is selected.
        loss: a loss, as for `fit`.
        patience: see `BestEpoch`; None keeps the last epoch.
        settings: settings of the loop.
        method: the training method.
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
    with alone():
        history = fit(
            network, seen, None, loss, method=method, weights=weights, callbacks=callbacks, **settings
        )
    if best is not None:
        network.load_state_dict(best.state)
    # on the CPU, so that a pickled estimator loads on a machine without a GPU
    network = network.to("cpu", torch.float64 if isinstance(seen, FeatureSet) else torch.float32)
    return Member(network.eval(), mean, std), history.rows
