"""Nearest neighbors: against a formulation with loops, and what the contract suite asks of other methods."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import noisylabels as nl
from methods.test_contract import RUN, without_times
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.features import feature_set
from noisylabels.data.split import validation_split
from noisylabels.experiment import RunConfig, load_config, resolve
from noisylabels.experiment.prediction import load_model, predict
from noisylabels.methods.expression import method
from noisylabels.methods.fit import fit
from noisylabels.methods.knn import neighborhood_sizes
from noisylabels.models.neighbors import Neighbors, nearest, weighted_votes
from noisylabels.training.callbacks import PauseWhen

EXPRESSION = "knn(smallest=3,largest=8)"


def order_of(query: np.ndarray, points: np.ndarray, without: int | None = None) -> list[int]:
    distances = [sum((a - b) ** 2 for a, b in zip(query, point, strict=True)) for point in points]
    return [n for n in sorted(range(len(points)), key=lambda n: distances[n]) if n != without]


def majority(labels: list[int], weights: list[float]) -> int:
    votes: dict[int, float] = {}
    for label, weight in zip(labels, weights, strict=True):
        votes[label] = votes.get(label, 0.0) + weight
    return min(k for k in votes if votes[k] >= max(votes.values()) - 1e-9)


def sizes_of(points: np.ndarray, labels: np.ndarray, smallest: int, largest: int) -> list[int]:
    """Return the sizes of all neighborhoods, by the words of the paper."""
    found = []
    for n, point in enumerate(points):
        order = order_of(point, points, without=n)
        k = next(
            (
                k
                for k in range(smallest, largest, 2)
                if majority([labels[m] for m in order[:k]], [1.0] * k) == labels[n]
            ),
            largest,
        )
        found.append(k)
    return found


def clouds(n: int, K: int, seed: int = 0, noise: float = 0.3):
    """Return rows around K centers, and labels of which a part is wrong."""
    draw = np.random.default_rng(seed)
    true = np.arange(n) % K
    rows = draw.normal(size=(n, 4)) + 2.2 * np.eye(4)[true % 4] * (1 + true[:, None] // 4)
    given = np.where(draw.random(n) < noise, draw.integers(0, K, n), true)
    return rows.astype(np.float32), given, true


def a_set(rows, labels, K):
    return feature_set(rows, labels, [f"c{k}" for k in range(K)])


def fitted(train, test=None, expression: str = EXPRESSION, **more):
    columns = math.prod(train.inputs.shape[1:])
    network = nl.build_model("knn", channels=1, image_size=(1, columns), num_classes=train.num_classes)
    history = fit(network, train, test, nl.loss("ce"), method=expression, **RUN | {"augment": "none"} | more)
    return network, history


def test_nearest_points_and_votes():
    draw = np.random.default_rng(0)
    points, queries = draw.normal(size=(40, 5)), draw.normal(size=(9, 5))
    found = nearest(*(torch.tensor(each).float() for each in (points, queries)), 7)
    assert found.tolist() == [order_of(query, points)[:7] for query in queries]
    own = nearest(*[torch.tensor(points).float()] * 2, 39, leave_out=torch.arange(40))
    assert own.tolist() == [order_of(point, points, without=n) for n, point in enumerate(points)]
    labels, weights = draw.integers(0, 3, (9, 7)), draw.random((9, 7))
    sizes = draw.integers(1, 8, 9)
    votes = weighted_votes(*(torch.tensor(each) for each in (labels, weights, sizes)), 3)
    for n in range(9):
        expected = [weights[n, : sizes[n]][labels[n, : sizes[n]] == k].sum() for k in range(3)]
        np.testing.assert_allclose(votes[n], expected)


def test_many_queries_are_compared_in_blocks(monkeypatch):
    points, queries = torch.randn(30, 3), torch.randn(25, 3)
    whole = nearest(points, queries, 4, leave_out=torch.arange(25))
    monkeypatch.setattr("noisylabels.models.neighbors._BLOCK", 100)
    assert torch.equal(nearest(points, queries, 4, leave_out=torch.arange(25)), whole)


@pytest.mark.parametrize(("n", "K"), [(60, 3), (40, 2), (130, 7)])
def test_sizes_and_predictions_are_those_of_the_formulation(n, K):
    rows, given, _ = clouds(n, K)
    new, true, _ = clouds(30, K, seed=1, noise=0)
    train, test = a_set(rows, given, K), a_set(new, true, K)
    network, history = fitted(train, test)
    mean, std = train.mean_std()
    points, queries = ((each - np.array(mean)) / np.array(std) for each in (rows, new))
    sizes = sizes_of(points, given, 3, 8)
    assert network.sizes.tolist() == sizes
    assert set(sizes) >= {3, 8}

    def predicted(query: np.ndarray, without: int | None = None) -> int:
        order = order_of(query, points, without)
        near = order[: sizes[order[0]]]
        return majority([given[m] for m in near], [1 / sizes[m] for m in near])

    expected = [predicted(query) for query in queries]
    logits = network(torch.from_numpy(queries).float())
    assert logits.argmax(1).tolist() == expected
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(30))
    assert history.final["test_accuracy"] == pytest.approx(np.mean(np.array(expected) == true))
    # on the training set, each example is judged by the others
    own = [predicted(point, without=n) for n, point in enumerate(points)]
    assert history.final["given_accuracy"] == pytest.approx(np.mean(np.array(own) == given))


def test_an_even_vote_counts_for_the_first_class():
    near = torch.tensor([[1, 0, 2, 0], [1, 0, 2, 0]])
    assert neighborhood_sizes(near, torch.tensor([0, 1]), 2, 3).tolist() == [2, 4]


def test_the_run_has_one_epoch_and_wrong_labels_lose():
    train, test = nl.load("digits")
    labels = nl.corrupt(train.labels, "symmetric:0.4", num_classes=10, seed=0)
    network = nl.build_model("knn", channels=1, image_size=(8, 8), num_classes=10)
    history = fit(network, train, test, nl.loss("ce"), method="knn", labels=labels, epochs=9, device="cpu")
    assert len(history) == 1
    assert history.final["test_accuracy"] > 0.9
    assert history.final["memorized"] < 0.05
    assert history.final["recovered"] > 0.9
    reliability = 1 / network.sizes.double()
    wrong = torch.from_numpy(labels.given_codes != labels.true_codes)
    assert reliability[~wrong].mean() > 2 * reliability[wrong].mean()


def test_only_the_examples_trained_on_vote():
    rows, given, _ = clouds(80, 3)
    train = a_set(rows, given, 3)
    positions = np.flatnonzero(np.arange(80) % 3 != 0)
    network, history = fitted(train, positions=positions, validation=0.2)
    kept = positions[validation_split(len(positions), 0.2, RUN["seed"])[0]]
    assert network.labels.tolist() == given[kept].tolist()
    assert history.final["validation_accuracy"] > 0.3


def test_weights():
    rows, given, _ = clouds(60, 3)
    weights = torch.ones(60)
    weights[:10] = 0
    other = given.copy()
    other[:10] = (other[:10] + 1) % 3
    ends = [fitted(a_set(rows, labels, 3), weights=weights)[0] for labels in (given, other)]
    queries = torch.randn(40, 4)
    torch.testing.assert_close(ends[0](queries), ends[1](queries), rtol=1e-4, atol=1e-4)
    plain, ones = fitted(a_set(rows, given, 3))[0], fitted(a_set(rows, given, 3), weights=torch.ones(60))[0]
    torch.testing.assert_close(plain(queries), ones(queries))


def test_a_run_interrupted_after_every_step_ends_the_same(tmp_path):
    rows, given, _ = clouds(60, 3)
    train = a_set(rows, given, 3)
    whole, history = fitted(train, train, folder=tmp_path / "whole")
    stops = 0
    while True:
        try:
            paused, again = fitted(
                train, train, folder=tmp_path / "paused", callbacks=[PauseWhen(lambda: True)]
            )
            break
        except Interrupted:
            stops += 1
    assert stops == 4
    assert without_times(again) == without_times(history)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, paused.state_dict()[name])


@pytest.mark.parametrize(("n", "K"), [(2, 2), (3, 2), (150, 100)])
def test_few_examples_and_many_classes(n, K):
    rows, _, _ = clouds(n, K)
    labels = np.arange(n) % K
    network, history = fitted(a_set(rows, labels, K), a_set(rows, labels, K))
    assert np.isfinite(history.column("test_loss")).all()
    assert network(torch.zeros(1, 4)).isfinite().all()


def test_half_precision_changes_nothing():
    rows, given, _ = clouds(60, 3)
    train = a_set(rows.round(0), given, 3)  # of numbers that bfloat16 holds, up to their scale
    (one, first), (other, second) = (fitted(train, train, precision=p) for p in ("float32", "bfloat16"))
    assert other.points.dtype == one.points.dtype == torch.float32
    assert second.final["test_accuracy"] == pytest.approx(first.final["test_accuracy"], abs=0.1)


def test_another_model_or_loss_is_refused():
    rows, given, _ = clouds(20, 3)
    train = a_set(rows, given, 3)
    how = {"epochs": 1, "device": "cpu"}
    with pytest.raises(InputError, match="has a model of its own, and the model is a Linear"):
        fit(nn.Linear(4, 3), train, None, nl.loss("ce"), method="knn", **how)
    model = nl.build_model("knn", channels=1, image_size=(1, 4), num_classes=3)
    with pytest.raises(InputError, match="the method 'knn' has a loss of its own"):
        fit(model, train, None, nl.loss("nce"), method="knn", **how)
    with pytest.raises(InputError, match="smallest is 60 and largest 51"):
        fit(model, train, None, nl.loss("ce"), method="knn(smallest=60)", **how)
    with pytest.raises(InputError, match="no parameters that require a gradient"):
        fit(model, train, None, nl.loss("ce"), **how)
    with pytest.raises(InputError, match="which the estimator does not fit"):
        nl.NoisyLabelClassifier(method="knn").fit(rows, given)
    with pytest.raises(InputError, match=re.escape("is fitted by a method, not trained; use the method knn")):
        method("elr").model_for("knn")


@pytest.mark.parametrize("model", ["auto", "small-cnn", "knn"])
def test_a_run_saves_a_model_that_predicts(model, tmp_path):
    config = RunConfig(
        data="digits", model=model, loss="auto", method="knn", noise="symmetric:0.3", epochs=20,
        device="cpu", out=str(tmp_path / "run"),
    )  # fmt: skip
    result = nl.run(config)
    assert len(result.history) == 1
    assert resolve(config).run_id == resolve(dataclasses.replace(config, model="knn", epochs=7)).run_id
    assert result.model == "knn"
    trained = load_model(tmp_path / "run", "cpu")
    _, test = nl.load("digits")
    right = predict(trained, test.images).argmax(1) == test.labels
    assert right.double().mean().item() == pytest.approx(result.final["test_accuracy"])
    assert len(load_file(tmp_path / "run" / "model.safetensors")["points"]) == 1438


def test_a_table_is_predicted_by_all_of_its_rows(tmp_path):
    rows, given, _ = clouds(150, 3, noise=0.1)
    table = tmp_path / "table.csv"
    lines = [",".join([*map(str, row), f"c{k}"]) for row, k in zip(rows.tolist(), given, strict=True)]
    table.write_text("\n".join(["a,b,c,d,label", *lines]) + "\n")
    notes: list[str] = []

    class Reporter(nl.experiment.Silent):
        def note(self, text):
            notes.append(text)

    config = load_config(None, data=str(table), method="knn", device="cpu", out=str(tmp_path / "run"))
    result = nl.run(config, Reporter())
    assert result.model == "knn"
    assert "the method knn fits the model knn in one epoch" in notes[0]
    found = load_file(tmp_path / "run" / "model.safetensors")
    assert len(found["points"]) == result.train["examples"] == 120  # none is held out to choose an epoch
    assert len(result.history) == 1
    assert main(["predict", str(tmp_path / "run"), str(table), "--out", str(tmp_path / "labels.csv")]) == 0
    labels = (tmp_path / "labels.csv").read_text().splitlines()[1:]
    assert np.mean([line.split(",")[1] == f"c{k % 3}" for k, line in enumerate(labels)]) > 0.75


def test_a_model_without_examples_has_equal_classes():
    model = Neighbors(4, 3)
    assert model(torch.randn(2, 4)).tolist() == [[0.0] * 3] * 2
    other = Neighbors(4, 3)
    other.remember(torch.randn(5, 4), torch.arange(5) % 3, torch.full((5,), 2), torch.full((5,), 0.5))
    model.load_state_dict(other.state_dict())
    assert torch.equal(model.points, other.points)
    with pytest.raises(RuntimeError, match="size mismatch"):
        Neighbors(6, 3).load_state_dict(other.state_dict())
