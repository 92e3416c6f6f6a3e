"""`fit` names an argument of the wrong kind, what was expected and what to do, in one line."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data.features import feature_set
from noisylabels.data.images import class_numbers

N, D, K = 24, 5, 3


def rows():
    rng = np.random.default_rng(0)
    return feature_set(rng.normal(size=(N, D)), np.arange(N) % K, ("a", "b", "c"))


def fit(**given):
    torch.manual_seed(0)
    arguments = {"model": nn.Linear(D, K), "train": rows(), "test": None, "loss": nn.CrossEntropyLoss()}
    return nl.fit(**arguments | {"epochs": 1, "batch_size": 8, "lr": 0.1, "device": "cpu"} | given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "mlp"}, "the model is 'mlp', expected an nn.Module, such as nl.build_model("),
        ({"model": None}, "the model is None, expected an nn.Module"),
        ({"model": nn.Linear}, "the model is the class Linear, expected an nn.Module"),
        ({"model": nn.LazyLinear(K)}, "lazy layers without a shape; call it once"),
        (
            {"train": DataLoader([0])},
            "train is a DataLoader, expected one of the sets of `train, test = nl.load",
        ),
        ({"train": (rows(), rows())}, "train is a tuple, expected one of the sets"),
        ({"train": None}, "train is a NoneType, expected one of the sets"),
        ({"test": TensorDataset(torch.zeros(2, D))}, "test is a TensorDataset, expected one of the sets"),
        ({"loss": "nce+mae"}, "the loss is 'nce+mae', expected a function or a module"),
        ({"loss": nn.CrossEntropyLoss}, "the loss is the class CrossEntropyLoss, expected an object"),
        ({"folder": __file__}, f"{__file__} is a file, expected a folder"),
        ({"folder": 3}, "folder is 3, expected the path of a folder"),
        ({"callbacks": nl.Callback()}, "callbacks is a Callback, expected a list"),
        ({"callbacks": 3}, "callbacks is a int, expected a list"),
        ({"weights": [[1.0], [1.0, 2.0]] * 48}, "weights are a list, expected one finite number"),
        ({"positions": [[1], [2, 3]]}, "positions are invalid, expected int64 numbers from 0 to 23"),
        ({"weights": "balanced"}, "weights are 'balanced', expected one finite number"),
        ({"weights": [[1.0], [1.0, 2.0]]}, "weights are [[1.0], [1.0, 2.0]], expected one finite number"),
        ({"positions": [1, 0]}, "positions are invalid, expected int64 numbers from 0 to 23"),
        ({"model": nn.Linear(4, K)}, "the model fails on rows of shape (8, 5) torch.float32: RuntimeError"),
        ({"model": nn.Linear(D, 4)}, "the model returns (8, 4) torch.float32 for rows of shape (8, 5)"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named_in_one_line(given, words):
    with pytest.raises(InputError, match=re.escape(words)) as error:
        fit(**given)
    assert "\n" not in str(error.value)


def test_series_count_by_place_whatever_their_index():
    pd = pytest.importorskip("pandas")
    weights = np.linspace(0.5, 2, N)
    found = fit(weights=pd.Series(weights, index=range(5, 5 + N)))
    assert found.rows[-1]["train_loss"] == fit(weights=weights).rows[-1]["train_loss"]
    labels = class_numbers(pd.Series([0, 1, 2], index=[5, 6, 7]))
    assert labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", [list, tuple, torch.as_tensor])
def test_positions_may_be_a_sequence_or_a_tensor(tmp_path, kind):
    part = np.arange(0, N, 2)
    wanted = fit(positions=part, folder=tmp_path)
    found = fit(positions=kind(part.tolist()), folder=tmp_path)  # the same run, by its checkpoint
    assert [row["train_loss"] for row in found.rows] == [row["train_loss"] for row in wanted.rows]
