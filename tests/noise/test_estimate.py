"""Noise estimates against counts by hand, naive loops, and known noise."""

from __future__ import annotations

import json

import numpy as np
import pytest

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.noise.confident_learning import calibrated_joint, confident_joint
from noisylabels.noise.estimate import METHODS, Estimate, estimate_transition
from noisylabels.noise.neighbors import nearest

RNG = np.random.default_rng(0)
K, N = 4, 4000
T = np.array([[0.7, 0.1, 0.1, 0.1], [0.0, 0.9, 0.1, 0.0], [0.3, 0.0, 0.7, 0.0], [0.05, 0.05, 0.05, 0.85]])
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return true and given labels."""
    rng = np.random.default_rng(seed)
    true = rng.choice(K, N, p=PRIOR)
    return true, np.array([rng.choice(K, p=T[k]) for k in true])


TRUE, GIVEN = drawn()
PERFECT = T[TRUE]  # P(given | x) of a model that knows the class and its noise
RATE = float((TRUE != GIVEN).mean())
FEATURES = np.eye(K)[TRUE] * 10 + RNG.normal(size=(N, K))


def rough_probs(n: int = 500, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    p = RNG.dirichlet(np.full(classes, 0.5), n)
    return np.where(RNG.random(n) < 0.7, p.argmax(axis=1), RNG.integers(0, classes, n)), p


def test_the_confident_joint_is_that_of_a_naive_loop() -> None:
    labels, p = rough_probs()
    threshold = [p[labels == k, k].mean() for k in range(5)]
    expected = np.zeros((5, 5), dtype=int)
    for row, label in zip(p, labels, strict=True):
        sure = [k for k in range(5) if row[k] >= threshold[k]]
        if sure:
            expected[max(sure, key=lambda k: row[k]), label] += 1
    found = confident_joint(labels, p)
    assert found.dtype == np.int64
    assert found.tolist() == expected.tolist()
    assert 0 < found.sum() < len(labels)  # some reach no threshold


def test_the_calibrated_joint_has_the_shares_of_the_labels() -> None:
    labels, p = rough_probs()
    Q = calibrated_joint(confident_joint(labels, p), labels)
    np.testing.assert_allclose(Q.sum(axis=0), np.bincount(labels) / len(labels))
    counts = confident_joint(labels, p)
    np.testing.assert_allclose(Q[1] / Q[2], counts[1] / counts[2])


def test_a_class_without_labels_or_without_sure_examples_is_no_trouble() -> None:
    p = np.full((6, 3), 1 / 3)
    p[:3] = [0.8, 0.1, 0.1]
    counts = confident_joint([0, 0, 1, 0, 0, 1], p)
    assert counts[2].sum() == counts[:, 2].sum() == 0
    for method in ("confident_joint", "anchor", "dual_t"):
        found = estimate_transition([0, 0, 1, 0, 0, 1], p, method=method)
        np.testing.assert_allclose(found.transition.sum(axis=1), 1)
        assert found.prior.sum() == pytest.approx(1)
    uncounted = calibrated_joint(np.zeros((2, 2)), [0, 1, 1])
    np.testing.assert_allclose(uncounted, [[1 / 3, 0], [0, 2 / 3]])


@pytest.mark.parametrize("method", ["anchor", "dual_t"])
def test_perfect_probabilities_give_the_matrix(method: str) -> None:
    found = estimate_transition(GIVEN, PERFECT, method=method, percentile=100)
    # for dual-T the rows are by predicted class, which here is the true one
    wanted = T if method == "anchor" else T @ T
    np.testing.assert_allclose(found.transition, wanted, atol=0.03)
    np.testing.assert_allclose(found.prior @ found.transition, np.bincount(GIVEN) / N, atol=0.01)


def test_sure_probabilities_give_the_counts() -> None:
    """With predictions of the true classes, the confident joint, dual-T and counting agree."""
    sure = np.full((N, K), 0.01)
    sure[np.arange(N), TRUE] = 0.97
    counts = np.zeros((K, K))
    np.add.at(counts, (TRUE, GIVEN), 1)
    found = estimate_transition(GIVEN, sure)
    assert found.method == "confident_joint"
    np.testing.assert_allclose(found.transition, counts / counts.sum(axis=1, keepdims=True))
    assert found.rate == pytest.approx(RATE)
    dual = estimate_transition(GIVEN, (sure == 0.97).astype(float), method="dual_t", percentile=100)
    np.testing.assert_allclose(dual.transition, found.transition)
    assert dual.rate == pytest.approx(RATE, abs=1e-6)


def test_anchors_pass_over_the_outliers() -> None:
    p = np.linspace(0.5, 1, 101)
    probs = np.stack([p, 1 - p], axis=1)
    labels = np.zeros(101, dtype=int)
    for percentile, expected in ((100, 1.0), (97, p[96]), (50, p[49])):
        found = estimate_transition(labels, probs, method="anchor", percentile=percentile)
        assert found.transition[0, 0] == pytest.approx(expected)


def test_nearest_is_that_of_scikit_learn() -> None:
    from sklearn.neighbors import NearestNeighbors

    points = RNG.normal(size=(300, 7))
    expected = NearestNeighbors(n_neighbors=4).fit(points).kneighbors(return_distance=False)
    assert nearest(points, 4).tolist() == expected.tolist()


def test_neighbors_find_the_matrix_without_training() -> None:
    found = estimate_transition(GIVEN, features=FEATURES)
    assert found.method == "neighbors"
    np.testing.assert_allclose(found.transition, T, atol=0.06)
    np.testing.assert_allclose(found.prior, PRIOR, atol=0.05)
    assert found.rate == pytest.approx(RATE, abs=0.02)


def test_neighbors_agree_with_clean_labels() -> None:
    found = estimate_transition(TRUE, features=np.eye(K)[TRUE] + 1e-3 * RNG.normal(size=(N, K)))
    assert found.rate < 1e-6
    np.testing.assert_allclose(found.transition, np.eye(K), atol=1e-6)


def test_neighbors_take_more_classes_than_there_are_labels_of() -> None:
    found = estimate_transition(GIVEN, features=FEATURES, num_classes=K + 2)
    assert found.transition.shape == (K + 2, K + 2)
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)
    assert found.rate == pytest.approx(RATE, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_intervals_hold_the_estimate_and_shrink_with_their_level(method: str) -> None:
    args = (GIVEN[:800], PERFECT[:800], FEATURES[:800])
    wide = estimate_transition(*args, method=method, interval=0.95, bootstrap=30, seed=1)
    again = estimate_transition(*args, method=method, interval=0.95, bootstrap=30, seed=1)
    narrow = estimate_transition(*args, method=method, interval=0.3, bootstrap=30, seed=1)
    assert wide.rate_interval is not None
    assert narrow.rate_interval is not None
    assert wide.rate_interval == again.rate_interval
    assert (
        wide.rate_interval[0] <= narrow.rate_interval[0] <= narrow.rate_interval[1] <= wide.rate_interval[1]
    )
    assert wide.transition_interval is not None
    low, high = wide.transition_interval
    assert (low <= high).all()
    assert json.loads(json.dumps(wide.to_dict()))["rate_interval"] == list(wide.rate_interval)


def test_the_interval_of_neighbors_covers_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(20):
        true, given = drawn(seed)
        points = np.eye(K)[true[:600]] * 10 + np.random.default_rng(seed).normal(size=(600, K))
        found = estimate_transition(given[:600], features=points, interval=0.9, bootstrap=40, seed=seed)
        assert found.rate_interval is not None
        low, high = found.rate_interval
        held += low <= 1 - float(PRIOR @ T.diagonal()) <= high
    assert 13 <= held <= 20  # of 18 expected; 12 or fewer in one of 2,000


@pytest.mark.parametrize("noise", ["symmetric:0.4", "asymmetric:0.4", "instance:0.2"])
def test_the_digits(noise: str) -> None:
    train, _ = nl.load("digits")
    labels = nl.corrupt_set(train, noise, seed=0)[1]
    found = estimate_transition(labels.given, features=train.images.flatten(1))
    assert found.rate == pytest.approx(labels.rate, abs=0.04)
    assert abs(found.transition - labels.realized).mean() < 0.03


def test_an_estimate_by_features_that_say_little_is_not_trusted() -> None:
    """Only the nearest neighbors mostly share a class, as with pixels of photographs."""
    rng = np.random.default_rng(0)
    spots = rng.normal(size=(N // 4, K)).repeat(4, axis=0) + 0.01 * rng.normal(size=(N, K))
    true = rng.integers(0, K, N // 4).repeat(4)
    labels = np.where(rng.random(N) < 0.7, true, rng.integers(0, K, N))
    found = estimate_transition(labels, features=spots)
    assert found.rate > 0.1
    assert not found.trusted
    clear = estimate_transition(GIVEN, features=FEATURES)
    assert clear.trusted
    assert clear.trust == pytest.approx(1, abs=0.03)
    assert estimate_transition(GIVEN, PERFECT).trust is None
    few = estimate_transition([0, 1, 0], features=[[0.0], [1.0], [0.1]])
    assert few.trust is None


def test_the_rate_as_text() -> None:
    found = Estimate("anchor", T, PRIOR, N, 0.95, (0.2, 0.31), None)
    assert (
        str(found)
        == f"about {100 * found.rate:.0f} % of the labels look wrong (20 to 31, sampling error only)"
    )
    np.testing.assert_allclose(found.joint.sum(), 1)
    assert found.num_classes == K


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [[0.5, 0.5]]), "there are 2 labels and 1 rows of probs"),
        (
            ([0, 1], [[0.5, 0.5], [3.0, -1.0]]),
            "row 1 of probs holds -1, expected probabilities",
        ),
        (([0, 1], [[0.5, 0.5], [0.9, 0.9]]), "row 1 of probs sums to 1.8, expected probabilities"),
        (([0, 1], [0.5, 0.5]), r"probs have shape \(2,\), expected \(N, K\)"),
        (([0, 2], [[0.5, 0.5], [0.5, 0.5]]), r"labels\[1\] is 2, expected an integer from 0 to 1"),
        (([0, 1], [["a", "b"], ["c", "d"]]), "probs are not an array of numbers"),
    ],
)
def test_wrong_probabilities_are_one_line(arguments: tuple[object, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        confident_joint(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "anchors"}, "unknown method 'anchors'; did you mean 'anchor'"),
        ({"method": "anchor"}, "the method anchor needs probs"),
        ({}, "the method neighbors needs features"),
        ({"features": np.zeros((3, 2))}, r"features have shape \(3, 2\), expected \(4, D\)"),
        ({"features": np.full((4, 2), np.nan)}, "features contain NaN"),
        (
            {"features": np.zeros((4, 2)), "neighbors": 4},
            "there are 4 examples, expected more than 4 for 4 neighbors each",
        ),
        (
            {"features": np.zeros((4, 2)), "neighbors": 1},
            "neighbors is 1, expected an integer",
        ),
        ({"features": np.zeros((4, 2)), "interval": 1.0}, "interval is 1.0"),
        ({"probs": np.full((4, 2), 0.5), "percentile": 0}, "percentile is 0"),
        ({"probs": np.full((4, 2), 0.5), "num_classes": 3}, "num_classes is 3, but probs have 2 columns"),
    ],
)
def test_wrong_arguments_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        estimate_transition([0, 1, 0, 1], **options)  # type: ignore[arg-type]
