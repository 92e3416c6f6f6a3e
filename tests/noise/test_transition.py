"""Transition matrices against values by hand, and the errors for invalid ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisylabels.core.checks import InputError
from noisylabels.noise import asymmetric, check_transition, sequential, symmetric, uniform

RATES = st.floats(0, 1)


def test_symmetric_by_hand() -> None:
    assert symmetric(5, 0.4) == pytest.approx(np.full((5, 5), 0.1) + 0.5 * np.eye(5))


def test_symmetric_of_two_classes_at_rate_one_swaps_them() -> None:
    assert symmetric(2, 1.0).tolist() == [[0, 1], [1, 0]]


def test_uniform_keeps_one_in_k_of_what_it_draws_anew() -> None:
    T = uniform(10, 0.5)
    np.testing.assert_allclose(T, 0.5 * np.eye(10) + 0.05)
    assert 1 - T[0, 0] == pytest.approx(0.45)  # the 45 % of DivideMix's "50 %"


def test_asymmetric_by_hand() -> None:
    T = asymmetric(4, 0.25, {0: 2, 2: 3})
    assert T.tolist() == [[0.75, 0, 0.25, 0], [0, 1, 0, 0], [0, 0, 0.75, 0.25], [0, 0, 0, 1]]


def test_sequential_sends_cats_back_but_not_dogs() -> None:
    cat, dog = 0, 1
    T = sequential(2, 0.4, {cat: dog, dog: cat})
    assert T[cat] == pytest.approx([0.6 + 0.4 * 0.4, 0.4 * 0.6])
    assert T[dog] == pytest.approx([0.4, 0.6])


def test_sequential_is_the_product_of_its_steps_in_order() -> None:
    pairs = {3: 1, 1: 0, 0: 3}
    product = np.linalg.multi_dot([asymmetric(4, 0.3, {i: j}) for i, j in pairs.items()])
    assert sequential(4, 0.3, pairs) == pytest.approx(product)
    assert not np.allclose(sequential(4, 0.3, dict(reversed(pairs.items()))), product)


def test_sequential_without_a_way_back_is_asymmetric() -> None:
    pairs = {9: 1, 2: 0, 4: 7}
    assert np.array_equal(sequential(10, 0.3, pairs), asymmetric(10, 0.3, pairs))


@given(rate=RATES, num_classes=st.integers(2, 40))
def test_every_model_is_a_transition_matrix(rate: float, num_classes: int) -> None:
    pairs = {0: 1, 1: 0}
    for T in (
        symmetric(num_classes, rate),
        uniform(num_classes, rate),
        asymmetric(num_classes, rate, pairs),
        sequential(num_classes, rate, pairs),
    ):
        assert T.shape == (num_classes, num_classes)
        assert T.dtype == np.float64
        assert check_transition(T) is T
        assert T.sum(axis=1) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("model", [symmetric, uniform])
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf"), "0.4", True])
def test_a_rate_that_is_none(model, rate) -> None:
    with pytest.raises(InputError, match=r"^rate is .*, expected a number in \[0, 1\]$"):
        model(10, rate)


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.0, True, 10**7])
def test_a_number_of_classes_that_is_none(num_classes) -> None:
    with pytest.raises(InputError, match=r"^num_classes is .*, expected an integer from 2 to 1,000,000$"):
        symmetric(num_classes, 0.1)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({}, "pairs are empty, expected at least one true class and the class given for it: {3: 5}"),
        ({1: 1}, "the pair 1: 1 maps a class to itself; leave it out or name another class"),
        ({1: 3}, "the pair 1: 3 is not two class numbers, expected 0 to 2"),
        ({-1: 0}, "the pair -1: 0 is not two class numbers, expected 0 to 2"),
        ({"0": "1"}, "the pair '0': '1' is not two class numbers, expected 0 to 2"),
        ({0: 1.0}, "the pair 0: 1.0 is not two class numbers, expected 0 to 2"),
        ([(0, 1), (0, 2)], "class 0 occurs twice in the pairs, expected one given class for each true class"),
        ([0, 1], "pairs are [0, 1], expected true class: given class, such as {3: 5, 5: 3}"),
        (5, "pairs are 5, expected true class: given class, such as {3: 5, 5: 3}"),
    ],
)
@pytest.mark.parametrize("model", [asymmetric, sequential])
def test_pairs_that_are_none(model, pairs, message: str) -> None:
    with pytest.raises(InputError) as error:
        model(3, 0.1, pairs)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("transition", "message"),
    [
        ([[1, 0, 0], [0, 1, 0]], "the transition matrix has shape (2, 3), expected (K, K)"),
        ([], "the transition matrix has shape (0,), expected (K, K)"),
        (np.ones((0, 0)), "the transition matrix has shape (0, 0), expected (K, K)"),
        ("T", "the transition matrix is not an array of numbers, expected shape (K, K)"),
        ([[1], [0, 1]], "the transition matrix is not an array of numbers, expected shape (K, K)"),
        (
            [[1, 0], [-0.5, 1.5]],
            "row 1 of the transition matrix has -0.5 at column 0, expected a number in [0, 1]",
        ),
        (
            [[1, np.nan], [0, 1]],
            "row 0 of the transition matrix has nan at column 1, expected a number in [0, 1]",
        ),
        ([[0.5, 0.4], [0, 0.5]], "row 0 of the transition matrix sums to 0.9, expected 1"),
        (
            [[0.9, 0.4], [0.1, 0.6]],
            "row 0 of the transition matrix sums to 1.3, expected 1; "
            "its columns do: transpose it to T[true, given]",
        ),
    ],
)
def test_a_transition_matrix_that_is_none(transition, message: str) -> None:
    with pytest.raises(InputError) as error:
        check_transition(transition)
    assert str(error.value) == message


def test_a_float32_matrix_of_many_classes_passes() -> None:
    check_transition(np.random.RandomState(0).dirichlet(np.ones(1000), 1000).astype(np.float32))
