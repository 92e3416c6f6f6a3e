"""Linear models along a path of penalties, and networks that are trained in one loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

import noisylabels as nl
from noisylabels.data.features import feature_set
from noisylabels.experiment import load_config
from noisylabels.experiment.bagging import LabeledRows, bagged_probs, train_bagged
from noisylabels.experiment.linear_path import linear_path, principal_axes
from noisylabels.experiment.model_selection import likely_right, pool_shares
from noisylabels.experiment.table_recipe import choose_for_table
from noisylabels.losses.expression import loss


def table(n: int, columns: int, classes: int = 3, seed: int = 0, members: int = 3) -> LabeledRows:
    """Return noisy rows with integer weights, and equal folds."""
    X, y = make_classification(
        n, columns, n_informative=5, n_redundant=1, n_classes=classes, random_state=seed
    )
    X = (X - X.mean(0)) / X.std(0)
    given = nl.corrupt(y, "symmetric:0.2", num_classes=classes, seed=seed).given
    weights = np.random.default_rng(seed).integers(1, 4, n).astype(np.float64)
    size = n // members
    held = [np.arange(size) + k * size for k in range(members)]
    return LabeledRows(X.astype(np.float32), given, weights, classes, held)


@pytest.mark.parametrize(("n", "columns"), [(120, 8), (60, 90)])
@pytest.mark.parametrize("penalty", [1.0, 0.03])
def test_each_model_is_the_one_of_scikit_learn(n, columns, penalty, monkeypatch):
    """C counts the sum of losses: its inverse is the penalty times the sum of the weights.

    By default L-BFGS stops early, at a difference that no choice between penalties depends on.
    """
    monkeypatch.setattr("noisylabels.experiment.linear_path.TOLERANCE", 1e-9)
    monkeypatch.setattr("noisylabels.experiment.linear_path.ITERATIONS", 1000)
    data = table(n, columns)
    path = linear_path(data, loss("ce"), [penalty])
    probs = bagged_probs(path.network, data.rows)
    for member, rest in enumerate(data.rest()):
        model = LogisticRegression(C=1 / (penalty * data.weights[rest].sum()), tol=1e-8, max_iter=2000)
        model.fit(data.rows[rest], data.labels[rest], sample_weight=data.weights[rest])
        np.testing.assert_allclose(probs[member], model.predict_proba(data.rows), atol=2e-3)
    held = np.concatenate(data.held)
    expected = np.concatenate([probs[member][rows] for member, rows in enumerate(data.held)])
    np.testing.assert_allclose(path.probs[held], expected, atol=1e-4)


@pytest.mark.parametrize("expression", ["gce(q=0.7)", "nce+mae", "mae", "sce"])
def test_robust_losses_have_their_own_path(expression):
    data = table(300, 8)
    path = linear_path(data, loss(expression))
    assert (path.probs.argmax(1) == data.labels).mean() > 0.5
    assert path.costs[path.penalty] == min(path.costs.values())


def test_axes_of_many_columns_span_what_the_largest_eigenvectors_span():
    draw = torch.Generator().manual_seed(1)
    few = torch.randn(900, 40, generator=draw) @ torch.randn(40, 700, generator=draw)
    rows = few + 0.1 * torch.randn(900, 700, generator=draw)
    rows -= rows.mean(0)
    axes, variances = principal_axes(rows, torch.ones(900, dtype=torch.float64))
    exact = torch.linalg.eigvalsh(rows.T.double() @ rows.double() / 900).flip(0)
    assert axes.shape == (700, 256)
    torch.testing.assert_close(variances[:40].double(), exact[:40], rtol=1e-3, atol=0)
    torch.testing.assert_close(axes.T @ axes, torch.eye(256), rtol=0, atol=1e-3)


def test_networks_of_one_loop_do_not_depend_on_each_other():
    """Without dropout, and with all rows in a batch, each equals a training of its own."""
    data = table(90, 6)
    settings = {"epochs": 5, "batch_size": 90, "optimizer": "adamw", "lr": 0.01, "schedule": "onecycle"}
    together, history = train_bagged(data, (5,), 0.0, loss("ce"), settings, seed=0)
    assert len(history) == 5
    assert len(history[0]) == 3
    start, _ = train_bagged(data, (5,), 0.0, loss("ce"), settings | {"epochs": 1, "lr": 1e-12}, seed=0)
    member = 1
    layers = [
        (start.weights[k][member].float().clone(), start.biases[k][member].float().clone()) for k in range(2)
    ]
    flat = [tensor.requires_grad_() for pair in layers for tensor in pair]
    optimizer = torch.optim.AdamW(flat, lr=0.01, betas=(0.9, 0.999), weight_decay=1e-4)
    rest = data.rest()[member]
    rows, labels = torch.from_numpy(data.rows[rest]), torch.from_numpy(data.labels[rest])
    weights = torch.from_numpy(data.weights[rest] / data.weights[rest].mean()).float()
    from noisylabels.training.optim import learning_rate
    from noisylabels.training.settings import Settings

    for epoch in range(5):
        optimizer.param_groups[0]["lr"] = learning_rate(Settings(**settings), epoch, 0.0)
        hidden = (rows @ flat[0] + flat[1]).relu() @ flat[2] + flat[3]
        value = (torch.nn.functional.cross_entropy(hidden, labels, reduction="none") * weights).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    np.testing.assert_allclose(
        together.weights[0][member].numpy(), flat[0].detach().numpy(), rtol=1e-3, atol=1e-5
    )


def test_shares_are_the_best_of_a_grid():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 4000)
    right, noise = np.eye(2)[labels] * 0.6 + 0.2, draw.dirichlet([1, 1], 4000)
    shares = pool_shares(np.array([right, noise]), labels, np.ones(4000))
    at = np.arange(4000)
    grid = np.linspace(0, 1, 201)
    values = [np.log(s * right[at, labels] + (1 - s) * noise[at, labels]).sum() for s in grid]
    assert shares[0] == pytest.approx(grid[int(np.argmax(values))], abs=0.02)


def test_contradicted_labels_are_mostly_the_noisy_ones():
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 600)
    given = nl.corrupt(true, "symmetric:0.3", num_classes=3, seed=0).given
    probs = np.eye(3)[true] * 0.6 + draw.dirichlet([1, 1, 1], 600) * 0.4
    right = likely_right(probs, given, np.ones(600))
    assert (given[right] == true[right]).mean() > 0.95
    assert right[given == true].mean() > 0.9


def test_a_wide_table_gets_a_penalty_from_its_noisy_labels():
    data = table(400, 300)
    labeled = feature_set(data.rows, data.labels, ["a", "b", "c"])
    config = load_config(
        None, data="digits", table_recipe="epochs,batch_size,optimizer,lr,weight_decay,schedule"
    )
    chosen = choose_for_table(config, labeled, data.labels, None)
    assert chosen["model"] == "linear"
    assert chosen["settings"]["optimizer"] == "sgd"
    assert chosen["settings"]["weight_decay"] >= 0.03
    fixed = load_config(None, data="digits", model="linear", lr=0.01, table_recipe="epochs,weight_decay")
    assert choose_for_table(fixed, labeled, data.labels, None)["settings"]["weight_decay"] == 1.0
