"""The dynamics of every method can be recorded, and recording leaves its training as it is."""

from __future__ import annotations

import pytest
import torch

import noisylabels as nl
from methods.conftest import CASES, ready
from noisylabels.training.dynamics import Dynamics


@pytest.mark.parametrize("expression", CASES)
def test_a_recorded_method(model, sets, expression):
    train, test = sets()
    labels = nl.corrupt(train.labels, "symmetric:0.4", seed=0)

    def fit(callbacks):
        network = model()
        spec = ready(expression, network=lambda: model(seed=1))
        history = nl.fit(
            network,
            train,
            test,
            nl.loss("ce"),
            method=spec,
            labels=labels,
            callbacks=callbacks,
            epochs=3,
            batch_size=16,
            augment="flip",
            lr=0.1,
        )
        return network, history

    dynamics = Dynamics(stride=1)
    plain, _ = fit([])
    recorded, history = fit([dynamics])
    for a, b in zip(plain.state_dict().values(), recorded.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert history.final["relative_step"] > 0
    assert 0 <= history.final["noisy_logit_share"] <= 1
    assert {"entropy", "margin_share", "layer_step"} <= {entry.measure for entry in dynamics.entries()}
