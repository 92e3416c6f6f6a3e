"""Rows of features as a data set, and training on them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.augment import normalize
from noisylabels.data.features import FeatureSet, feature_set, joined
from noisylabels.data.images import image_set
from noisylabels.data.loader import Batches
from noisylabels.training.callbacks import Callback, PauseWhen, StepResult, Stop


def rows(n: int = 6, columns: int = 3) -> FeatureSet:
    return feature_set(np.arange(n * columns, dtype=float).reshape(n, columns), [0, 1] * (n // 2), ("a", "b"))


def test_columns_are_standardized_in_the_batches() -> None:
    table = rows()
    mean, std = table.mean_std()
    batches = Batches(
        table.inputs, table.labels, batch_size=6, device="cpu", mean=mean, std=std, augment=None,
        shuffle=False, seed=0, channels_last=True,
    )  # fmt: skip
    (batch,) = batches
    x = np.arange(18.0).reshape(6, 3)
    np.testing.assert_allclose(batch.inputs, (x - x.mean(0)) / x.std(0), rtol=1e-6)


def test_a_constant_column_becomes_zeros() -> None:
    table = feature_set([[3e8, 0.1], [3e8, 0.1], [3e8, 0.1]], [0, 1, 1], ("a", "b"))
    assert normalize(table.inputs, *table.mean_std()).eq(0).all()


def test_the_digest_tells_sets_apart() -> None:
    table = rows()
    other = feature_set(table.features + torch.eye(6, 3), table.labels, table.class_names)
    relabeled = feature_set(table.features, 1 - table.labels, table.class_names)
    assert len({table.digest, other.digest, relabeled.digest}) == 3
    assert rows().digest == table.digest


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ([[1.0, float("nan")], [0.0, 0.0]], [0, 1], "row 0, column 1 of the features is nan"),
        ([1.0, 2.0], [0, 1], r"features have the shape \(2,\)"),
        (np.zeros((0, 3)), np.zeros(0, dtype=np.int64), "the feature set is empty"),
        ([[1.0], [2.0]], [0, 2], "the label of '1' is 2, expected 0 to 1"),
        ([[1.0], [2.0]], [0], r"labels have the shape \(1,\), expected \(2,\): one for each of the rows"),
    ],
)
def test_wrong_tables(features: object, labels: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        feature_set(features, labels, ("a", "b"))  # type: ignore[arg-type]


def test_features_are_not_augmented() -> None:
    with pytest.raises(InputError, match="features of 3 columns cannot be augmented"):
        nl.fit(torch.nn.Linear(3, 2), rows(), None, nl.loss("ce"), epochs=1, batch_size=2, augment="flip")


def cancer() -> FeatureSet:
    X, y = load_breast_cancer(return_X_y=True)
    return feature_set(X, y, ("malignant", "benign"))


def test_the_loop_learns_a_table_without_a_test_set() -> None:
    table = cancer()
    model = nl.build_model("mlp", channels=1, image_size=(1, 30), num_classes=2, width=0.1)
    history = nl.fit(model, table, None, nl.loss("ce"), epochs=8, lr=0.05)
    assert history.final["given_accuracy"] > 0.95
    assert history.final["test_accuracy"] is None
    assert history.final["recall"] is None
    assert history.final["dead_classes"] == []
    assert nl.fit(model, table, table, nl.loss("ce"), epochs=1, lr=1e-6).final["test_accuracy"] > 0.95


def test_every_step_is_observed() -> None:
    table, seen = cancer(), []
    model = torch.nn.Linear(30, 2)

    class Observer(Callback):
        def on_step(self, step: StepResult) -> None:
            assert torch.equal(step.target, table.labels[step.positions])
            assert step.logits.shape == (len(step.positions), 2)
            seen.append((step.epoch, step.positions.clone()))

    nl.fit(model, table, None, nl.loss("ce"), epochs=2, callbacks=[Observer()])
    for epoch in (1, 2):
        index = torch.cat([part for which, part in seen if which == epoch])
        assert torch.equal(index.sort().values, torch.arange(len(table)))


def test_training_ends_when_it_is_enough(tmp_path) -> None:
    table = cancer()

    class Ended(Callback):
        def should_stop(self, history: nl.History) -> Stop | None:
            return Stop.FINISH if len(history) >= 3 else None

    def go(folder, stop=lambda: False) -> tuple[nl.History, torch.Tensor]:
        torch.manual_seed(0)
        model = torch.nn.Linear(30, 2)
        callbacks = [Ended(), PauseWhen(stop)]
        history = nl.fit(
            model, table, None, nl.loss("ce"), epochs=9, folder=folder, callbacks=callbacks, seed=3
        )
        return history, model.weight.detach()

    history, weight = go(tmp_path / "whole")
    assert len(history) == 3
    # what is enough stays enough for the same call, and for one that was stopped before
    again, same = go(tmp_path / "whole")
    assert len(again) == 3
    assert torch.equal(weight, same)
    steps = iter(range(1000))
    with pytest.raises(Interrupted):
        go(tmp_path / "part", stop=lambda: next(steps) == 7)
    resumed, equal = go(tmp_path / "part")
    assert len(resumed) == 3
    assert torch.equal(weight, equal)


def test_sets_are_joined_in_order() -> None:
    first = image_set(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), [0, 1], ("a", "b"), ["x", "y"])
    second = image_set(torch.ones(1, 1, 2, 2, dtype=torch.uint8), [1], ("a", "b"), ["z"], notes=["odd"])
    both = joined(first, second)
    assert list(both.ids) == ["x", "y", "z"]
    assert both.labels.tolist() == [0, 1, 1]
    assert both.inputs.sum() == 4
    assert both.notes == ("odd",)
    with pytest.raises(InputError, match="cannot be joined"):
        joined(first, dataclasses.replace(second, class_names=("a", "c")))
