"""Train the networks of an ensemble on a table, all in one loop, and predict the rows that each held out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noisylabels.core.checks import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from noisylabels.losses.modules import Loss
    from noisylabels.models.bagged import BaggedNetwork

BATCH = 4096
"""Rows that are predicted at once."""


@dataclass(frozen=True)
class LabeledRows:
    """Standardized rows of a table with their given labels.

    Args:
        rows: float32, (N, D).
        labels: int64, (N,).
        weights: float64, (N,), above 0.
        num_classes: K.
        held: of each member of an ensemble, the positions of the rows that it does not train on, all equally
            many.
    """

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    num_classes: int
    held: Sequence[np.ndarray]

    def rest(self) -> np.ndarray:
        """Return the positions that each member trains on, int64, (M, n)."""
        import numpy as np

        every = np.arange(len(self.rows))
        return np.stack([np.delete(every, held) for held in self.held])

    def out_of_fold(self, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean probabilities (N, K) of each row over the members that held it out.

        Args:
            probs: (M, N, K), the probabilities of every row by every member.

        Returns:
            The means, 0 for a row that no member held out, and the number of members that did, (N,).
        """
        import numpy as np

        total, times = np.zeros(probs.shape[1:]), np.zeros(len(self.rows))
        for member, held in zip(probs, self.held, strict=True):
            total[held] += member[held]
            times[held] += 1
        return total / np.maximum(times, 1)[:, None], times


def per_row(loss: Loss) -> Loss:
    """Return a loss that returns one value per row."""
    each = copy.copy(loss)
    each.reduction = "none"
    return each


def bagged_probs(network: BaggedNetwork, rows: np.ndarray) -> np.ndarray:
    """Return the probabilities (M, N, K) float64 of each member for rows (N, D)."""
    import numpy as np
    import torch

    dtype = network.weights[0].dtype
    with torch.inference_mode():
        parts = [
            network(torch.from_numpy(part).to(dtype)).double().softmax(2).numpy()
            for part in np.array_split(rows, max(1, -(-len(rows) // BATCH)))
        ]
    return np.concatenate(parts, axis=1)


def train_bagged(
    data: LabeledRows,
    widths: Sequence[int],
    dropout: float,
    loss: Loss,
    settings: dict[str, Any],
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[BaggedNetwork, list[list[float]]]:
    """Train one perceptron per member on the rows that it does not hold out.

    The optimizer works on each weight alone, so that the result is that of M separate trainings, in the time
    of little more than one.

    Args:
        data: the rows and what each member holds out.
        widths: widths of the hidden layers.
        dropout: dropout rate of the hidden units.
        loss: a loss of single rows.
        settings: fields of `Settings`: epochs, batch_size, optimizer, lr, weight_decay, schedule.
        seed: of weights, order and dropout.
        stop: called after every step; `Interrupted` is raised once it returns true.

    Returns:
        The networks, and for each epoch the mean loss of each member.

    Raises:
        InputError: the loss stopped being finite.
    """
    import torch

    from noisylabels.core.interrupt import Interrupted
    from noisylabels.models.bagged import BaggedNetwork
    from noisylabels.training.optim import build_optimizer, learning_rate
    from noisylabels.training.settings import Settings

    draw = torch.Generator().manual_seed(seed)
    chosen = Settings(**settings)
    rest = torch.from_numpy(data.rest())
    members, count = rest.shape
    sizes = (data.rows.shape[1], *widths, data.num_classes)
    network = BaggedNetwork(members, sizes, dropout, draw)
    optimizer = build_optimizer(list(network.parameters()), chosen, torch.device("cpu"), rows=True)
    rows, labels, weights = torch.from_numpy(data.rows), torch.from_numpy(data.labels), _weights(data, rest)
    each, history = per_row(loss), []
    batches = -(-count // chosen.batch_size)
    for epoch in range(chosen.epochs):
        order = torch.stack([part[torch.randperm(count, generator=draw)] for part in rest])
        total = torch.zeros(members)
        for step, at in enumerate(order.split(chosen.batch_size, dim=1)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(chosen, epoch, step / batches)
            logits = network(rows[at]).flatten(0, 1)
            values = each(logits, labels[at].flatten()).view(at.shape) * weights.gather(1, at)
            optimizer.zero_grad()
            values.mean(1).sum().backward()
            optimizer.step()
            if stop():
                raise Interrupted(epoch, step, "while candidates were compared")
            total += values.detach().sum(1) / count
        if not bool(total.isfinite().all()):
            raise InputError(
                f"training diverged in epoch {epoch + 1}: the loss is not finite; use a lower lr"
            )
        history.append(total.tolist())
    return network.finished(), history


def _weights(data: LabeledRows, rest: Tensor) -> Tensor:
    """Return the weights (M, N) float32, of mean 1 over the rows that each member trains on."""
    import torch

    weights = torch.from_numpy(data.weights)
    means = weights[rest].mean(1, keepdim=True)
    return (weights / means).float()
