"""Losses that compare two views of an example, under the standard method."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import noisylabels as nl
from noisylabels.data.features import feature_set
from noisylabels.data.loader import Batch
from noisylabels.methods.fit import fit
from noisylabels.methods.standard import Standard

RUN = {"epochs": 2, "batch_size": 16, "lr": 0.05, "device": "cpu", "seed": 2}


def entropy(p: np.ndarray) -> float:
    return -float((p[p > 0] * np.log(p[p > 0])).sum())


def gjs(views: list[np.ndarray], label: int, w: float) -> float:
    """Return the entropy of the mean minus the mean entropy, over the largest value of that."""
    parts = [np.eye(len(views[0]))[label], *views]
    shares = [w] + [(1 - w) / len(views)] * len(views)
    mean = sum(share * part for share, part in zip(shares, parts, strict=True))
    inside = sum(share * entropy(part) for share, part in zip(shares, parts, strict=True))
    return (entropy(mean) - inside) / (-(1 - w) * np.log(1 - w))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_is_the_divergence_of_both_views(weighted):
    torch.manual_seed(0)
    network = nn.Linear(4, 3)
    found = Standard(network, nl.loss("gjs(w=0.3)"))
    if weighted:
        found.weights = torch.rand(9)
    views = [torch.randn(9, 4) for _ in range(2)]
    batch = Batch(views[0], torch.arange(9) % 3, torch.randperm(9), 0, (views[1],))
    value, logits = found.step(batch)
    probs = [network(view).softmax(1).detach().double().numpy() for view in views]
    each = [gjs([p[k] for p in probs], k % 3, 0.3) for k in range(9)]
    weights = found.weights[batch.positions].numpy() if weighted else np.ones(9)
    assert value.item() == pytest.approx(np.mean(weights * each), rel=1e-5)
    torch.testing.assert_close(logits, network(views[0]))


def test_only_a_loss_that_compares_views_gets_two():
    network = nn.Linear(4, 3)
    assert Standard(network, nl.loss("ce")).views == Standard(network, nn.CrossEntropyLoss()).views == 1
    assert Standard(network, nl.loss("ce+2*gjs")).views == ("weak", "weak")


def test_a_run_trains_on_two_views_and_evaluates_one(sets, model):
    train, test = sets(n=60)
    ends = {}
    for loss in ("js", "gjs"):
        network = model()
        history = fit(network, train, test, nl.loss(loss), augment="crop:1+flip", **RUN)
        with torch.no_grad():
            expected = nl.loss("js")(network(normal(train, test)), test.labels)
        assert history.final["test_loss"] == pytest.approx(expected.item(), rel=1e-4)
        ends[loss] = network[-1].weight.detach().clone()
    assert not torch.allclose(ends["js"], ends["gjs"], atol=1e-4)


def normal(train, test) -> torch.Tensor:
    mean, std = train.mean_std()
    return (test.inputs.float() / 255 - mean[0]) / std[0]


def test_rows_of_features_get_noise_for_a_second_view():
    draw = torch.Generator().manual_seed(0)
    rows = feature_set(torch.randn(40, 5, generator=draw).numpy(), torch.arange(40) % 3, "abc")
    seen = []

    class Kept(nn.Linear):
        def forward(self, inputs):
            seen.append(inputs)
            return super().forward(inputs)

    fit(Kept(5, 3), rows, None, nl.loss("gjs"), **RUN)
    first, second = seen[0].chunk(2)
    assert (first != second).float().mean() > 0.9
    assert 0 < (first - second).abs().mean() < 0.5
