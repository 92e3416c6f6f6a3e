"""Sampling of noisy labels against loops in plain Python that share only its random numbers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from noisylabels.core.rng import uniforms
from noisylabels.noise import asymmetric, corrupt, sample, symmetric
from noisylabels.noise.sampling import flip


def naive(labels: Sequence[int], T: Sequence[Sequence[float]], seed: int) -> list[int]:
    """Return labels by a loop: flip if u1 < 1 - T[y, y], then walk along the shares of the other classes."""
    u_flip = uniforms(len(labels), seed, "noise", "flip").tolist()
    u_class = uniforms(len(labels), seed, "noise", "class").tolist()
    given = []
    for y, u1, u2 in zip(labels, u_flip, u_class, strict=True):
        if u1 >= 1 - T[y][y]:
            given.append(y)
            continue
        others = [j for j in range(len(T)) if j != y]
        total = sum(T[y][j] for j in others)
        for j, reached in zip(others, itertools.accumulate(T[y][j] for j in others), strict=True):
            if u2 < reached / total:
                given.append(j)
                break
    return given


def naive_sequential(labels: Sequence[int], pairs: Mapping[int, int], rate: float, seed: int) -> list[int]:
    """Flip in place by the reference code's loop, with our random numbers instead of np.random.choice."""
    given = list(labels)
    for step, (source, target) in enumerate(pairs.items()):
        u = uniforms(len(labels), seed, "noise", "flip", *([step] if step else [])).tolist()
        members = [i for i, y in enumerate(given) if y == source]
        count = int(rate * len(members) + 1e-6)
        for i in sorted(members, key=lambda i: u[i])[:count]:
            given[i] = target
    return given


def some_labels(n: int, num_classes: int, seed: int = 5) -> np.ndarray:
    """Return unbalanced labels: class 0 is by far the most frequent, the last may be missing."""
    return (uniforms(n, seed, "test") ** 2 * num_classes).astype(np.int64)


@pytest.mark.parametrize("num_classes", [2, 3, 10, 37])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_symmetric_is_the_naive_loop(num_classes: int, rate: float, seed: int) -> None:
    labels = some_labels(500, num_classes)
    noisy = corrupt(labels, f"symmetric:{rate}", num_classes=num_classes, seed=seed)
    expected = naive(labels.tolist(), symmetric(num_classes, rate).tolist(), seed)
    assert noisy.given.tolist() == expected


def test_asymmetric_is_the_naive_loop() -> None:
    labels, pairs = some_labels(500, 10), {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}
    noisy = corrupt(labels, "asymmetric:0.3@digits", num_classes=10, seed=3)
    assert noisy.given.tolist() == naive(labels.tolist(), asymmetric(10, 0.3, pairs).tolist(), 3)


@pytest.mark.parametrize("seed", range(3))
def test_any_matrix_is_the_naive_loop(seed: int) -> None:
    T = np.random.RandomState(seed).dirichlet(np.full(8, 0.3), 8)
    T[2] = np.eye(8)[2]  # never flips
    T[5] = np.eye(8)[0]  # always flips, with many zeros on the way
    labels = some_labels(1000, 8)
    assert sample(labels, T, seed=seed).tolist() == naive(labels.tolist(), T.tolist(), seed)


def test_a_class_of_probability_zero_is_never_given_at_either_end() -> None:
    T = np.array([[0.5, 0.0, 0.5, 0.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    n = 4
    below_one = np.full(n, np.nextafter(1.0, 0.0))
    for u_class in (np.zeros(n), below_one):
        assert flip(np.zeros(n, np.int64), lambda i: T[i], np.zeros(n), u_class).tolist() == [2] * n


def test_flipping_changes_neither_labels_nor_rows() -> None:
    labels, T = np.array([0, 1, 1]), np.array([[0.5, 0.5], [1.0, 0.0]])
    flip(labels, lambda i: T[i], np.zeros(3), np.zeros(3))
    assert labels.tolist() == [0, 1, 1]
    assert T.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_a_row_that_sums_to_nearly_one_does_not_flip_into_nothing() -> None:
    T = np.array([[1 - 5e-6, 0.0], [0.0, 1.0]])
    assert sample(np.zeros(200_000, np.int64), T, seed=1).max() == 0


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("seed", [0, 7])
def test_sequential_is_the_naive_loop_in_place(rate: float, seed: int) -> None:
    labels = some_labels(800, 10)
    pairs = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
    noisy = corrupt(labels, f"asymmetric:{rate}@cifar10,sequential", num_classes=10, seed=seed)
    assert noisy.given.tolist() == naive_sequential(labels.tolist(), pairs, rate, seed)


def test_exact_flips_those_with_the_smallest_numbers_of_each_class() -> None:
    labels = some_labels(700, 6)
    u = uniforms(700, 2, "noise", "flip")
    noisy = corrupt(labels, "symmetric:0.3@exact", num_classes=6, seed=2)
    for c in range(6):
        members = [i for i in range(700) if labels[i] == c]
        expected = sorted(members, key=lambda i: u[i])[: int(0.3 * len(members) + 1e-6)]
        assert np.flatnonzero(noisy.flipped & (labels == c)).tolist() == sorted(expected)


@pytest.mark.parametrize(
    "form", ["symmetric:{}", "symmetric:{}@exact", "symmetric:{}@uniform", "asymmetric:{}@cifar10"]
)
def test_the_flips_of_a_low_rate_are_among_those_of_a_higher_one(form: str) -> None:
    labels = some_labels(5000, 10)
    before = corrupt(labels, "none", num_classes=10)
    for rate in (0.05, 0.1, 0.3, 0.35, 0.7, 1.0):
        noisy = corrupt(labels, form.format(rate), num_classes=10)
        assert noisy.flipped[before.flipped].all()
        assert np.array_equal(noisy.given[before.flipped], before.given[before.flipped])
        assert noisy.rate > before.rate
        before = noisy


def test_an_example_does_not_depend_on_the_others() -> None:
    labels = some_labels(400, 10)
    alone = corrupt(labels[:150], "symmetric:0.5", num_classes=10, seed=4).given
    assert np.array_equal(corrupt(labels, "symmetric:0.5", num_classes=10, seed=4).given[:150], alone)


def test_seeds_draw_apart() -> None:
    labels = np.zeros(20_000, np.int64)
    first, second = (corrupt(labels, "symmetric:0.5", num_classes=2, seed=s).flipped for s in (0, 1))
    assert abs((first & second).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 20_000)
