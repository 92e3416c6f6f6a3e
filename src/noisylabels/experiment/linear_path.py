"""Multinomial linear models by L-BFGS along a path of penalties, for all folds of a cross-validation at once.

A wide table, such as the features of an encoder, needs a strong penalty, and how strong depends on the noise.
The rows are rotated to their principal components, in which the penalty and the curvature of the loss are
nearly diagonal, so that L-BFGS, scaled by both, needs about ten products of matrices per penalty. Each
penalty starts from the solution of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noisylabels.experiment.bagging import LabeledRows, per_row
from noisylabels.experiment.model_selection import TINY, calibrate

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from noisylabels.losses.modules import Loss
    from noisylabels.models.bagged import BaggedNetwork

PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Penalties that are tried, for columns of variance 1, from strong to weak."""

PATIENCE = 2
"""Penalties without a better result after which weaker ones are not tried."""

COMPONENTS = 1e-6
"""Principal components whose variance is a smaller share of the largest one's are left out."""

LEARNED = 0.98
"""Share of the cost of a constant prediction that a penalty must beat before weaker ones may be left out."""

MOST_COMPONENTS = 256
"""Most principal components, those of the largest variance: the penalty leaves little of the others."""

OVERSAMPLING, POWERS = 32, 3
"""Further vectors, and products, with which the largest components of many columns are found."""

ITERATIONS, TOLERANCE = 30, 1e-4
"""Most iterations of L-BFGS per penalty, and the change of the objective at which it stops."""


@dataclass(frozen=True)
class LinearPath:
    """The best linear models of a path.

    Args:
        network: one linear model per member.
        penalty: their penalty.
        costs: penalty -> cost of the given labels of held-out rows, for each penalty that was tried.
        probs: (N, K), out-of-fold probabilities.
        times: (N,), how many members held out each row.
    """

    network: BaggedNetwork
    penalty: float
    costs: dict[float, float]
    probs: np.ndarray
    times: np.ndarray


def linear_path(
    data: LabeledRows,
    loss: Loss,
    penalties: Sequence[float] = PENALTIES,
    cost: Callable[[np.ndarray, np.ndarray], float] | None = None,
) -> LinearPath:
    r"""Return the linear models of the penalty under which held-out given labels cost least.

    For each member, on the rows that it does not hold out, it minimizes

    .. math:: \sum_i w_i L(W x_i + b, y_i) / \sum_i w_i + \lambda/2 \, \|W\|^2 .

    Without held-out rows, the first penalty is used. With a loss other than cross entropy, which may have
    poor local minima, such as a constant prediction, each penalty starts from the solution of cross entropy.

    Args:
        data: the rows and what each member holds out.
        loss: a loss of single rows.
        penalties: from strong to weak.
        cost: of held-out probabilities (M, K) and given labels (M,); by default the mean negative
            log-likelihood of the labels, with their weights, at the best temperature.

    >>> import numpy as np
    >>> from noisylabels.losses.expression import loss
    >>> rows = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    >>> held = [np.arange(20), np.arange(20, 40)]
    >>> data = LabeledRows(rows, (rows[:, 0] > 0).astype(np.int64), np.ones(40), 2, held)
    >>> path = linear_path(data, loss("ce"))
    >>> round(float((path.probs.argmax(1) == data.labels).mean()), 1)
    1.0
    """
    from noisylabels.losses.expression import loss as parse_loss

    problem = _Problem(data)
    best: LinearPath | None = None
    costs: dict[float, float] = {}
    since = 0
    start = problem.weight, problem.bias
    constant = _constant_cost(data)
    for penalty in penalties:
        if loss.expression != "ce":
            problem.weight, problem.bias = start
            problem.minimize(per_row(parse_loss("ce")), penalty)
            start = problem.weight, problem.bias
        problem.minimize(per_row(loss), penalty)
        probs, times = data.out_of_fold(problem.probs())
        seen = times > 0
        since += 1
        costs[penalty] = float("-inf")
        if seen.any():
            costs[penalty] = (
                calibrate(probs[seen], data.labels[seen], data.weights[seen])[1]
                if cost is None
                else cost(probs[seen], data.labels[seen])
            )
        if best is None or costs[penalty] < best.costs[best.penalty]:
            best, since = LinearPath(problem.network(), penalty, costs, probs, times), 0
        learned = costs[best.penalty] < LEARNED * constant
        if not seen.any() or (since >= PATIENCE and learned):
            break
    assert best is not None
    return best


def _constant_cost(data: LabeledRows) -> float:
    """Return the cost of predicting the shares of the given labels."""
    import numpy as np

    shares = np.bincount(data.labels, weights=data.weights) / data.weights.sum()
    return float(-np.sum(shares * np.log(np.maximum(shares, TINY))))


class _Problem:
    """The minimization, with its current solution, in the space of principal components."""

    def __init__(self, data: LabeledRows) -> None:
        import torch

        self.labels = torch.from_numpy(data.labels)
        self.members, self.classes = len(data.held), data.num_classes
        weights = torch.from_numpy(data.weights)
        self.shares = weights.repeat(self.members, 1)
        for member, held in enumerate(data.held):
            self.shares[member, torch.from_numpy(held)] = 0
        self.shares = (self.shares / self.shares.sum(1, keepdim=True)).float()
        rows = torch.from_numpy(data.rows)
        self.axes, self.variances = principal_axes(rows, weights)
        self.rows = rows @ self.axes
        self.weight = torch.zeros(self.rows.shape[1], self.members * self.classes)
        self.bias = torch.zeros(self.members * self.classes)

    def minimize(self, loss: Loss, penalty: float) -> None:
        """Move from the current solution to that of a loss (one value per row) and a penalty."""
        import torch

        curvature = 1 / self.classes  # about that of cross entropy
        scale = (curvature * self.variances + penalty).rsqrt()[:, None]
        scaled, bias = (self.weight / scale).requires_grad_(), (self.bias * curvature**0.5).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [scaled, bias],
            max_iter=ITERATIONS,
            tolerance_grad=TOLERANCE,
            tolerance_change=TOLERANCE,
            line_search_fn="strong_wolfe",
        )
        target = self.labels[:, None].expand(-1, self.members).flatten()
        shares = self.shares.T

        def objective() -> Tensor:
            optimizer.zero_grad()
            weight = scaled * scale
            logits = torch.addmm(bias / curvature**0.5, self.rows, weight)
            values = loss(logits.view(-1, self.classes), target).view(-1, self.members)
            value: Tensor = (values * shares).sum() + penalty / 2 * weight.square().sum()
            value.backward()
            return value

        optimizer.step(objective)
        self.weight, self.bias = (scaled * scale).detach(), (bias / curvature**0.5).detach()

    def probs(self) -> np.ndarray:
        """Return the probabilities (M, N, K) float64 of every row by every member."""
        import torch

        logits = torch.addmm(self.bias, self.rows, self.weight).view(-1, self.members, self.classes)
        found: np.ndarray = logits.softmax(2).double().transpose(0, 1).numpy()
        return found

    def network(self) -> BaggedNetwork:
        """Return the current solution as models of the rows."""
        import torch

        from noisylabels.models.bagged import BaggedNetwork

        weight = (self.axes @ self.weight).view(-1, self.members, self.classes).transpose(0, 1)
        sizes = (weight.shape[1], self.classes)
        network = BaggedNetwork(self.members, sizes, 0.0, torch.Generator())
        network.weights[0].data = weight.contiguous()
        network.biases[0].data = self.bias.view(self.members, 1, self.classes)
        return network.finished()


def principal_axes(rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return principal axes (D, R) float32 of rows with mean 0, and the variances along them, (R,).

    Of many columns, the `MOST_COMPONENTS` largest, nearly: see `_largest`.
    """
    import torch

    root = rows * (weights / weights.sum()).float().sqrt()[:, None]
    wide = rows.shape[1] > len(rows)  # then by the smaller matrix, of products between rows
    products = root @ root.T if wide else root.T @ root
    if len(products) > 2 * MOST_COMPONENTS:
        variances, axes = _largest(products, MOST_COMPONENTS)
    else:
        variances, axes = torch.linalg.eigh(products.double())
    if wide:
        axes = root.T @ axes.float() / variances.clamp_min(1e-30).sqrt().float()
    order = variances.argsort(descending=True, stable=True)[:MOST_COMPONENTS]
    order = order[variances[order] > COMPONENTS * variances[order[:1]]]
    return axes[:, order].float().contiguous(), variances[order].float()


def _largest(products: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues (count,) of a symmetric matrix, nearly, and their vectors.

    Subspace iteration, several times faster than all eigenvectors. Where it has not converged, its vectors
    still span nearly the same space and are orthonormal, which is all that the linear models need.

    Source: Halko et al. 2011, "Finding structure with randomness", algorithm 4.4.
    """
    import torch

    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(len(products), count + OVERSAMPLING, generator=draw)
    for _ in range(POWERS):
        vectors = torch.linalg.qr(products @ vectors)[0]
    variances, turn = torch.linalg.eigh((vectors.T @ products @ vectors).double())
    return variances[-count:], vectors @ turn[:, -count:].float()
