"""Example weights against a plain loop and against removing examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.data.features import feature_set
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.methods.fit import fit

RUN = {"epochs": 3, "batch_size": 64, "lr": 0.1, "momentum": 0.0, "schedule": "constant", "device": "cpu"}


def table(n: int = 40):
    rng = np.random.default_rng(3)
    return feature_set(rng.normal(size=(n, 4)), rng.integers(0, 3, n), ("a", "b", "c"))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def test_a_step_descends_the_mean_of_weight_times_loss():
    train = table()
    weights = torch.rand(40, generator=torch.Generator().manual_seed(1)) * 3
    ours, theirs = linear(), linear()
    fit(ours, train, None, nn.CrossEntropyLoss(), weights=weights, weight_decay=0.0, **RUN)
    mean, std = (torch.tensor(one) for one in train.mean_std())
    for _ in range(3):  # one batch of all an epoch, so that the order is of no account
        probs = theirs((train.features - mean) / std).softmax(1)
        cost = -(weights * probs[torch.arange(40), train.labels].log()).mean()
        gradients = torch.autograd.grad(cost, list(theirs.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    torch.testing.assert_close(ours.weight, theirs.weight)
    assert not torch.allclose(ours.weight, linear().weight, atol=1e-3)


@pytest.mark.parametrize("loss", ["ce", "nce+mae"])
def test_weights_of_one_change_nothing(loss):
    plain, weighted = linear(), linear()
    fit(plain, table(), None, parse_loss(loss), **RUN)
    criterion = parse_loss(loss)
    fit(weighted, table(), None, criterion, weights=torch.ones(40), **RUN)
    torch.testing.assert_close(plain.weight, weighted.weight)
    assert criterion.reduction == "mean"  # the caller's loss is as it was


def test_an_example_of_weight_0_has_no_say():
    one, other = table(), table()
    other.labels[:7] = (other.labels[:7] + 1) % 3
    weights = torch.ones(40)
    weights[:7] = 0
    first, second = linear(), linear()
    fit(first, one, None, parse_loss("nce+mae"), weights=weights, **RUN)
    fit(second, other, None, parse_loss("nce+mae"), weights=weights, **RUN)
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (torch.ones(39), "for 40 examples"),
        (torch.full((40,), -1.0), "the weight of example 0 is -1, expected one finite number of 0 or more"),
        (torch.ones(40).index_fill(0, torch.tensor([7]), float("nan")), "the weight of example 7 is nan"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, words):
    with pytest.raises(InputError, match=words):
        fit(linear(), table(), None, nn.CrossEntropyLoss(), weights=weights, **RUN)


def test_a_loss_without_a_reduction_cannot_be_weighted():
    with pytest.raises(InputError, match="no reduction"):
        fit(linear(), table(), None, nn.functional.cross_entropy, weights=torch.ones(40), **RUN)


def test_a_checkpoint_knows_its_weights(tmp_path):
    run = RUN | {"folder": tmp_path}
    fit(linear(), table(), None, nn.CrossEntropyLoss(), weights=torch.ones(40), **run)
    with pytest.raises(InputError, match="weights"):
        fit(linear(), table(), None, nn.CrossEntropyLoss(), weights=torch.full((40,), 2.0), **run)
