"""Label quality scores, compared with numbers computed by hand, and refused input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylabels.audit.scores import (
    METHODS,
    area_under_margin,
    blended,
    normalized_margin,
    rank,
    self_confidence,
    sharpened,
)
from noisylabels.core.checks import InputError

PROBS = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.0, 0.0, 1.0]])
LABELS = np.array([0, 1, 2, 0, 2])


def test_self_confidence_is_that_of_cleanlab():
    # cleanlab.rank.get_label_quality_scores(LABELS, PROBS, method="self_confidence"): p_y
    np.testing.assert_allclose(self_confidence(LABELS, PROBS), [0.7, 0.2, 0.1, 0.4, 1.0])


def test_normalized_margin_is_that_of_cleanlab():
    # method="normalized_margin": (p_y - max of the others + 1) / 2
    np.testing.assert_allclose(normalized_margin(LABELS, PROBS), [0.75, 0.25, 0.2, 0.5, 1.0])


def test_sharpened():
    np.testing.assert_allclose(sharpened(LABELS, PROBS), [49 / 54, 4 / 54, 1 / 54, 4 / 9, 1.0])
    # with two classes it depends on the label's probability alone: all three rank alike
    two = np.linspace(0, 1, 30)
    pairs = np.stack([two, 1 - two], 1)
    orders = {tuple(rank(np.zeros(30, int), pairs, method).argsort(kind="stable")) for method in METHODS}
    assert len(orders) == 1


@pytest.mark.parametrize("method", METHODS)
def test_every_score_is_in_range_and_that_of_a_naive_loop_over_examples(method):
    draw = np.random.default_rng(0)
    probs = draw.dirichlet(np.full(7, 0.3), size=200)
    labels = draw.integers(0, 7, 200)
    score = rank(labels, probs, method)
    assert score.shape == (200,)
    assert ((score >= 0) & (score <= 1)).all()
    one_by_one = [rank([y], [p], method, class_names=range(7))[0] for y, p in zip(labels, probs, strict=True)]
    np.testing.assert_allclose(score, one_by_one)


@pytest.mark.parametrize("method", METHODS)
def test_a_certain_label_scores_1_and_an_impossible_one_0(method):
    assert rank([0, 1], [[1.0, 0.0], [1.0, 0.0]], method).tolist() == [1.0, 0.0]


def test_more_probability_of_the_label_is_never_less_score():
    p = np.linspace(0, 1, 21)
    probs = np.stack([p, 0.6 * (1 - p), 0.4 * (1 - p)], axis=1)
    for method in METHODS:
        assert (np.diff(rank(np.zeros(21, int), probs, method)) > 0).all()


def test_area_under_margin():
    assert area_under_margin(
        [[1.0, -1.0, 0.0], [0.5, -1.0, 0.5], [0.0, -1.0, 0.1]]
    ).tolist() == pytest.approx([0.75, 0.0, 0.6])


def test_blended_is_a_weighted_mean():
    draw = np.random.default_rng(1)
    p, seen = draw.dirichlet(np.ones(3), size=(2, 20))
    both = blended(p, seen, 0.3)
    np.testing.assert_allclose(both[7, 2], 0.3 * p[7, 2] + 0.7 * seen[7, 2])
    np.testing.assert_allclose(blended(p, seen)[7, 2], (p[7, 2] + seen[7, 2]) / 2)
    np.testing.assert_allclose(both.sum(1), 1)
    np.testing.assert_allclose(blended(p, p), p)
    with pytest.raises(InputError, match=r"probs have shape \(20, 3\) and seen \(19, 3\), expected the same"):
        blended(p, seen[1:])
    with pytest.raises(InputError, match="row 0 of seen sums to 3, expected"):
        blended(p, np.ones((20, 3)))


def test_half_precision_tensors_are_accepted():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 4
    labels = torch.arange(50) % 4
    half = rank(labels, logits.softmax(1).bfloat16())
    np.testing.assert_allclose(half, rank(labels.tolist(), logits.softmax(1).tolist()), atol=0.02)


@pytest.mark.parametrize(
    ("labels", "probs", "words"),
    [
        ([0, 1], [[0.5, 0.5]], "there are 2 labels and 1 rows of probs, expected one row per label"),
        ([0], [[0.5, np.nan]], "row 0 of probs holds NaN, expected probabilities that sum to 1"),
        ([0, 0], [[0.5, 0.5], [0.5, 0.6]], "row 1 of probs sums to 1.1, expected"),
        ([0], [[3.0, -2.0]], "row 0 of probs holds -2, expected probabilities"),
        (
            [2],
            [[0.5, 0.5]],
            r"labels\[0\] is 2, and they are of one class \(2\), expected 2, or class numbers from 0",
        ),
        ([-1], [[0.5, 0.5]], r"labels\[0\] is -1, and they are of one class"),
        ([0.5], [[0.5, 0.5]], r"labels\[0\]: the label is 0.5, expected a class"),
        ([0], [0.5, 0.5], r"probs have shape \(2,\), expected \(N, K\)"),
        ([0], [[1.0]], r"probs have shape \(1, 1\), expected \(N, K\): one column per class, 2 or more"),
        ([], np.zeros((0, 2)), "labels are empty"),
        ([0], [["a", "b"]], "probs are not an array of numbers"),
        ([0], [[0.5, 0.5], [1.0]], "probs are not an array of numbers"),
    ],
)
def test_invalid_labels_or_probabilities_are_refused_in_one_line(labels, probs, words):
    with pytest.raises(InputError, match=words) as refused:
        rank(labels, probs)
    assert "\n" not in str(refused.value)


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(
        InputError, match="unknown method 'normalizd_margin'; did you mean 'normalized_margin'"
    ):
        rank([0], [[0.5, 0.5]], "normalizd_margin")


@pytest.mark.parametrize("margin", [[0.5, 0.5], [[1.5]], [[np.nan]], np.zeros((0, 3))])
def test_invalid_margins_are_refused(margin):
    with pytest.raises(InputError, match="margins"):
        area_under_margin(margin)
