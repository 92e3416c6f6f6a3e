"""Training on rows of features: standardized once, with a fused optimizer, and no other result for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data import loader
from noisylabels.data.features import feature_set
from noisylabels.data.loader import Batches, standardized
from noisylabels.models.catalog import build_model
from noisylabels.training import training_data
from noisylabels.training.loop import train_method
from noisylabels.training.optim import build_optimizer
from noisylabels.training.settings import Settings

CPU = torch.device("cpu")


def rows(n: int = 300, columns: int = 12, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    x = rng.normal(5 * rng.random(columns), 1 + 9 * rng.random(columns), (n, columns))
    x[:, :3] += 8 * np.eye(3)[labels]
    return feature_set(x, labels, ("a", "b", "c"))


def trained(train, test, **settings):
    model = build_model("mlp:16", channels=1, image_size=(1, 12), num_classes=3, width=1.0, seed=1)
    use = {"epochs": 3, "batch_size": 32, "device": "cpu", "seed": 1, "validation": 0.1}
    history = nl.fit(model, train, test, nl.loss("nce+mae"), **use | settings)
    kept = [
        {name: value for name, value in row.items() if not name.endswith("seconds")} for row in history.rows
    ]
    return kept, [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_standardizing_once_gives_the_bits_of_standardizing_batch_by_batch(precision, monkeypatch):
    """In bfloat16 the first layer would round each batch to what is kept here."""
    train, test = rows(), rows(100, seed=1)
    once = trained(train, test, precision=precision)
    calls = []
    monkeypatch.setattr(training_data, "standardized", lambda *a, **k: calls.append(1))
    each = trained(train, test, precision=precision)
    assert len(calls) == 2
    assert once[0] == each[0]
    assert all(torch.equal(a, b) for a, b in zip(once[1], each[1], strict=True))


def test_standardized_features_are_kept_in_the_precision_of_the_network():
    train = rows(5000)
    mean, std = train.mean_std()
    exact = (train.features.double() - torch.tensor(mean)) / torch.tensor(std)
    kept = standardized(train.features, mean, std, CPU)
    assert kept.dtype == torch.float32
    assert torch.allclose(kept.double(), exact, atol=1e-5)
    half = standardized(train.features, mean, std, CPU, torch.bfloat16)
    assert torch.equal(half, kept.bfloat16())
    batches = Batches(
        half,
        train.labels,
        batch_size=64,
        device="cpu",
        mean=None,
        std=None,
        augment=None,
        shuffle=True,
        seed=0,
    )
    batch = next(batches.epoch(0))
    assert batch.inputs.dtype == torch.bfloat16
    assert torch.equal(batch.inputs, half[batch.positions])


def test_features_that_are_too_large_are_not_kept_twice(monkeypatch):
    train = rows(100)
    monkeypatch.setattr(loader, "_AHEAD_BYTES", train.features.nbytes)
    assert standardized(train.features, *train.mean_std(), CPU) is None
    history, _ = trained(train, None)
    assert len(history) == 3


def test_only_standardized_features_need_no_mean():
    common = {"batch_size": 2, "device": "cpu", "augment": None, "shuffle": False, "seed": 0}
    with pytest.raises(InputError, match="only standardized features"):
        Batches(
            torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), mean=None, std=None, **common
        )
    with pytest.raises(InputError, match="only standardized features"):
        Batches(torch.zeros(4, 3), torch.zeros(4).long(), mean=[0.0] * 3, std=None, **common)


def test_mean_and_deviation_are_those_of_numpy_in_double_precision():
    train = rows(5000)
    mean, std = train.mean_std()
    x = train.features.numpy().astype(np.float64)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, x.std(0), rtol=1e-12)
    assert train.mean_std() is train.mean_std()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_fused_optimizer_of_rows_agrees_with_the_plain_one(optimizer):
    found = []
    for is_rows in (False, True):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(40, 30))
        use = Settings(optimizer=optimizer, lr=0.05, weight_decay=0.01)
        (group,) = (chosen := build_optimizer([weight], use, CPU, rows=is_rows)).param_groups
        assert bool(group["fused"]) == is_rows
        for step in range(20):
            weight.grad = torch.randn(40, 30, generator=torch.Generator().manual_seed(step))
            chosen.step()
        found.append(weight.detach().clone())
    assert torch.allclose(*found, rtol=1e-5, atol=1e-6)
    assert not build_optimizer([torch.nn.Parameter(torch.zeros(2))], Settings(), CPU).param_groups[0]["fused"]


def test_a_run_on_rows_resumes_from_a_checkpoint_of_the_plain_optimizer(tmp_path, monkeypatch):
    """Checkpoints of earlier versions, whose optimizer was not fused."""
    from noisylabels.methods.standard import Standard
    from noisylabels.training import update

    train = rows()

    def started(epochs):
        model = build_model("mlp:16", channels=1, image_size=(1, 12), num_classes=3, width=1.0, seed=1)

        class Pause(nl.Callback):
            def should_stop(self, history):
                return nl.Stop.PAUSE if len(history) == epochs else None

        method = Standard(model, nl.loss("ce"))
        return train_method(
            method, train, None, folder=tmp_path, epochs=4, batch_size=32, device="cpu", callbacks=[Pause()]
        )

    def plain(groups, settings, device, *, name=None, capturable=False, rows=False):
        return build_optimizer(groups, settings, device, name=name, capturable=capturable)

    with monkeypatch.context() as earlier:
        earlier.setattr(update, "build_optimizer", plain)
        with pytest.raises(Interrupted):
            started(2)
    assert len(started(9)) == 4
