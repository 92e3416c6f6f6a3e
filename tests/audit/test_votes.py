"""Ridge and neighbor votes, compared with refitting without each example and with a search by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, log_loss

from noisylabels.audit import votes
from noisylabels.audit.votes import fit_scale, neighbor_votes, ridge_probs
from noisylabels.core.checks import InputError

K = 3
JUDGES = (neighbor_votes, ridge_probs)


def points(n: int = 90, d: int = 6, seed: int = 0, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % K
    return draw.normal(size=(n, d)) + apart * np.eye(K, d)[labels], labels


@pytest.mark.parametrize("shift", [0.0, 3.0])  # rows that are not centered yet, as rows of length 1 are not
@pytest.mark.parametrize("d", [4, 60])  # fewer and more columns than rows
@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_left_out_predictions_are_those_of_a_fit_without_the_example(d, shift, dtype, error):
    X, y = points(24, d)
    X, targets = X + shift, np.eye(K)[y]
    smoother = votes._Smoother(X.astype(dtype), y, K)
    values = np.linalg.eigvalsh(np.cov(X.T, bias=True) * 24)
    unit = values.sum() / min(X.shape)
    for strength in (0.5, 0.03):
        found = smoother.left_out(strength)
        for i in (0, 5, 23):
            rest = np.arange(24) != i
            model = Ridge(alpha=strength * unit).fit(X[rest], targets[rest])
            np.testing.assert_allclose(found[i], model.predict(X[i : i + 1])[0], atol=error)
            np.testing.assert_allclose(smoother.left_out(strength, np.array([i]))[0], found[i], atol=error)


@pytest.mark.parametrize("n", [60, 600])
def test_probabilities_of_the_ridge_are_those_of_refits_up_to_one_over_n(n):
    X, y = points(n)
    found = ridge_probs(X, y, K)
    rows = X - X.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(np.cov(rows.T, bias=True) * n)
    for i in (0, 7, 31):
        rest = np.arange(n) != i
        # penalty and scale by the other labels alone
        others = rows[rest], y[rest]
        costs = {}
        for strength in votes.STRENGTHS:
            scores = _refitted(*others, strength * values.mean())
            scale = fit_scale(scores, y[rest])
            costs[strength] = log_loss(y[rest], np.exp(votes._log_softmax(scores, *scale))), scale
        strength = min(costs, key=lambda each: costs[each][0])
        model = Ridge(alpha=strength * values.mean()).fit(rows[rest], np.eye(K)[y[rest]])
        naive = np.exp(votes._log_softmax(model.predict(rows[i : i + 1]), *costs[strength][1]))[0]
        np.testing.assert_allclose(found[i], naive, atol=3 / n)


def _refitted(rows: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Return leave-one-out predictions of a ridge regression by the matrix of its fit, (N, K)."""
    n = len(rows)
    design = np.hstack([np.ones((n, 1)), rows])
    free = penalty * np.eye(design.shape[1])
    free[0, 0] = 0
    hat = design @ np.linalg.solve(design.T @ design + free, design.T)
    targets = np.eye(K)[y]
    leverage = np.diag(hat)[:, None]
    return (hat @ targets - leverage * targets) / (1 - leverage)


def test_votes_are_those_of_a_search_by_brute_force():
    X, y = points(70, 5)
    found = neighbor_votes(X, y, K, count=7)
    centered = X - X.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(centered.T, bias=True))
    scaled = (centered @ vectors) * values**-0.25
    for i in range(70):
        cosine = scaled @ scaled[i] / np.linalg.norm(scaled, axis=1) / np.linalg.norm(scaled[i])
        nearest = [j for j in np.argsort(-cosine) if j != i][:7]
        share = np.bincount(y[nearest], minlength=K) / 7 + 1e-3
        np.testing.assert_allclose(found[i], share / share.sum(), atol=1e-6)


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("n", [60, 600])
def test_an_example_has_no_say_in_its_own_judgment(judge, n):
    X, y = points(n)
    other = y.copy()
    other[7] = (y[7] + 1) % K
    before, after = judge(X, y, K)[7], judge(X, other, K)[7]
    # the penalty and the scale, which all labels choose together, move the ridge by the order of 1 / N
    np.testing.assert_allclose(before, after, atol=3 / n if judge is ridge_probs else 1e-12)


@pytest.mark.parametrize("judge", JUDGES)
def test_wrong_labels_are_found(judge):
    X, y = points(300, apart=4.0)
    given = y.copy()
    given[:60] = (y[:60] + 1 + np.arange(60) % 2) % K
    probs = judge(X, given, K)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert (probs > 0).all()
    assert average_precision_score(given != y, 1 - probs[np.arange(300), given]) > 0.95
    np.testing.assert_array_equal(judge(X, given, K), probs)


@pytest.mark.parametrize("judge", JUDGES)
def test_strange_features_give_probabilities(judge):
    same = np.ones((6, 4))
    wide = np.random.default_rng(0).normal(size=(5, 40))
    for X, y in ((same, [0, 1, 0, 1, 0, 1]), (wide, [0, 1, 1, 0, 1]), (wide[:2], [0, 1])):
        probs = judge(X, y, K)  # class 2 has no example
        assert np.isfinite(probs).all()
        np.testing.assert_allclose(probs.sum(axis=1), 1)


def test_a_large_set_votes_by_a_sample(monkeypatch):
    X, y = points(200, apart=5.0)
    monkeypatch.setattr(votes, "CANDIDATES", 60)
    assert (neighbor_votes(X, y, K, count=5).argmax(axis=1) == y).mean() > 0.95


def test_the_scale_has_the_highest_likelihood():
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(200, K))
    logits = 3 * scores + [0.5, 0.0, -0.5]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([draw.choice(K, p=row) for row in p])
    scale, offsets = fit_scale(scores, y)

    def cost(a: float, b: np.ndarray) -> float:
        z = np.exp(a * scores + b)
        return log_loss(y, z / z.sum(axis=1, keepdims=True))

    best = cost(scale, offsets)
    for a, b in ((0.9, 0.0), (1.1, 0.0), (1.0, 0.1), (1.0, -0.1)):
        assert cost(a * scale, offsets + b * np.eye(K)[0]) > best - 1e-5
    assert scale == pytest.approx(3, rel=0.3)


@pytest.mark.parametrize("judge", JUDGES)
def test_other_shapes_are_refused(judge):
    for X, y in (([[1.0], [2.0]], [0]), ([1.0, 2.0], [0, 1]), ([[1.0]], [0])):
        with pytest.raises(InputError, match="features have shape"):
            judge(X, y, K)
    with pytest.raises(InputError, match="labels"):
        judge([[1.0], [2.0]], [0, 5], K)
