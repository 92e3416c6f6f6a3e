"""Parts of the estimator: distinct examples, held-out parts, temperatures."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.optimize import brentq

from noisylabels.core.checks import InputError
from noisylabels.estimator.inputs import different, held_out, in_values, weighted_scale
from noisylabels.estimator.network import table_network
from noisylabels.experiment.model_selection import calibrate, tempered
from noisylabels.experiment.table_candidates import LINEAR, MLP


def merged_naively(rows, labels, weights):
    """Return a dictionary from (row, label) to the sum of weights."""
    found: dict[tuple, float] = {}
    for row, label, weight in zip(rows.tolist(), labels.tolist(), weights.tolist(), strict=True):
        if weight:
            key = (*(value + 0.0 for value in row), label)
            found[key] = found.get(key, 0.0) + weight
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_different_examples_are_those_of_a_dictionary(dtype):
    draw = np.random.default_rng(0)
    rows = draw.integers(0, 3, (300, 3)).astype(dtype)
    labels, weights = draw.integers(0, 2, 300), draw.integers(0, 4, 300).astype(float)
    one = different(rows, labels, weights)
    naive = merged_naively(rows, labels, weights)
    there = {
        (*row, y): w
        for row, y, w in zip(one.rows.tolist(), one.labels.tolist(), one.weights.tolist(), strict=True)
    }
    assert there == naive
    assert len(one) == len(naive)
    order = draw.permutation(300)
    other = different(rows[order], labels[order], weights[order])
    for name in ("rows", "labels", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_negative_zero_equals_zero():
    assert len(different(np.array([[0.0], [-0.0]]), np.array([1, 1]), np.ones(2))) == 1


def test_images_are_merged_by_all_their_pixels():
    images = np.zeros((3, 1, 2, 2), dtype=np.uint8)
    images[1, 0, 1, 1] = 1
    found = different(images, np.array([0, 0, 0]), np.ones(3))
    assert found.rows.shape == (2, 1, 2, 2)
    assert sorted(found.weights.tolist()) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("count", "members", "share"), [(10, 5, 0.2), (103, 5, 0.2), (17, 3, 0.1), (2, 4, 0.5)]
)
def test_held_out_parts(count, members, share):
    order = np.random.default_rng(0).permutation(count)
    parts = held_out(count, members, share, order)
    size = min(max(1, round(share * count)), count - 1)
    assert [len(set(part.tolist())) for part in parts] == [size] * members
    if members * share == 1:  # as even as can be: a cross-validation
        times = np.bincount(np.concatenate(parts), minlength=count)
        assert times.max() <= 2
        assert (times == 1).mean() > 0.9
    assert all(len(part) == 0 for part in held_out(count, members, 0.0, order))


def test_scale_is_that_of_repeated_rows():
    draw = np.random.default_rng(0)
    rows, weights = draw.normal(size=(30, 4)), draw.integers(1, 5, 30)
    mean, std = weighted_scale(rows, weights.astype(float))
    often = np.repeat(rows, weights, axis=0)
    np.testing.assert_allclose(mean, often.mean(0))
    np.testing.assert_allclose(std, often.std(0))


def test_a_temperature_solves_its_equation():
    """At the optimum the mean logit of the labels is the mean expected logit (the derivative in 1/T)."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(500, 4)) * 3
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([draw.choice(4, p=tempered(row[None], 2.5)[0]) for row in probs])
    weights = draw.uniform(0.5, 2.0, 500)

    def slope(inverse):
        scaled = np.exp(logits * inverse)
        expected = (scaled * logits).sum(1) / scaled.sum(1)
        return np.average(logits[np.arange(500), labels] - expected, weights=weights)

    temperature, cost = calibrate(probs, labels, weights)
    assert temperature == pytest.approx(1 / brentq(slope, 0.05, 5), rel=1e-3)
    assert 2.0 < temperature < 3.1
    for other in (temperature * 0.9, temperature * 1.1):
        shown = tempered(probs, other)[np.arange(500), labels]
        assert -np.average(np.log(shown), weights=weights) > cost


def test_networks_are_drawn_by_their_seed_and_linear_is_linear():
    one, same, other = (table_network(5, 3, (4,), 0.1, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all((a == b).all() for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert sum(p.numel() for p in table_network(5, 3, (), 0.1, 0).parameters()) == 5 * 3 + 3


@pytest.mark.parametrize("count", [10, 100, 1000, 20_000, 1_000_000])
def test_steps_stay_bounded(count):
    for recipe in (LINEAR, MLP):
        size = recipe.batch_size(count)
        epochs = recipe.epochs(count, size)
        steps = epochs * -(-count // size)
        assert 8 <= epochs <= 150
        assert steps >= min(recipe.steps, 150)
        if epochs > 8:
            assert steps <= 2 * recipe.steps


@pytest.mark.parametrize(
    ("y", "values"),
    [
        (pd.Series([2, 1], dtype="Int64"), [2, 1]),
        (pd.Series([True, False], dtype="boolean"), [True, False]),
        (pd.Series(["b", "a"], dtype="category"), ["b", "a"]),
        (pd.Series([2, 1], dtype="category"), [2, 1]),
        (pd.Series(["01", "02"], dtype="string"), ["01", "02"]),
        (pl.Series(["b", "a"]), ["b", "a"]),
        (["b", "a"], ["b", "a"]),
        (np.array(["b", "a"], dtype=object), ["b", "a"]),
    ],
)
def test_labels_keep_their_values(y, values):
    found = in_values(y)
    assert found.tolist() == values
    assert found.dtype.kind in ("O", np.array(values).dtype.kind)


@pytest.mark.parametrize("missing", [None, float("nan"), "", pd.NA])
def test_a_missing_label_is_not_a_class(missing):
    with pytest.raises(InputError, match=r"y\[1\]: the label is missing"):
        in_values(["a", missing, "b"])


def test_labels_that_can_only_be_sorted_stay_as_they_are():
    dates = [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)]
    assert in_values(dates) is dates
    numbers = np.array([0.5, 1.0])
    assert in_values(numbers) is numbers
