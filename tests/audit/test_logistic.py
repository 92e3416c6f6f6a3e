"""The logistic regression of an audit, compared with scikit-learn's on the same folds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from noisylabels.audit import logistic
from noisylabels.audit.cross_validation import LOGISTIC, cross_validate
from noisylabels.audit.logistic import FOLDS, fits, logistic_probs
from noisylabels.core.checks import InputError
from noisylabels.data.features import FeatureSet, feature_set
from noisylabels.experiment.folds import assign_folds

K = 3


def points(n: int = 120, d: int = 6, apart: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = np.arange(n) % K
    return draw.normal(size=(n, d)) + apart * np.eye(K, d)[labels], labels


def encoded(X: np.ndarray, y: np.ndarray) -> FeatureSet:
    """Return features that count as those of an encoder."""
    return dataclasses.replace(feature_set(X, y, "abc"), embedding={"name": "test"})


def test_it_is_a_logistic_regression_without_the_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = points()
    penalty = 0.1
    monkeypatch.setattr(logistic, "PENALTIES", (penalty,))
    found = logistic_probs(5 * X + 3, y, K, seed=2)
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    fold = assign_folds(y, FOLDS, 2)
    for k in range(FOLDS):
        rest, held = fold != k, fold == k
        model = LogisticRegression(C=1 / (penalty * rest.sum()), tol=1e-8, max_iter=1000)
        expected = model.fit(scaled[rest], y[rest]).predict_proba(scaled[held])
        np.testing.assert_allclose(found[held], expected, atol=0.01)


def test_it_finds_noisy_labels() -> None:
    X, y = points(600, apart=4.0)
    draw = np.random.default_rng(1)
    given = np.where(draw.random(600) < 0.2, (y + draw.integers(1, K, 600)) % K, y)
    found = logistic_probs(X, given, K)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert average_precision_score(given != y, -found[np.arange(600), given]) > 0.7
    assert (found.argmax(axis=1) == y).mean() > (given == y).mean()


def test_few_rows_constant_columns_and_missing_classes() -> None:
    for X, y in (([[1.0, 2.0]] * 4, [0, 1, 0, 1]), (np.eye(5), [0, 0, 0, 0, 2])):
        found = logistic_probs(X, y, K)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    with pytest.raises(InputError):
        logistic_probs(np.eye(4), [0, 1, 2, 3], K)


def test_the_audit_of_an_encoders_features_gives_it_a_double_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = points()
    found = cross_validate(encoded(X, y), folds=2, epochs=1, device="cpu", seed=3)
    assert found.logistic is not None
    assert found.ridge is not None
    assert found.votes is not None
    np.testing.assert_allclose(found.logistic, logistic_probs(X, y, K, seed=3), atol=1e-4)
    mean = (LOGISTIC * found.logistic + found.ridge + found.votes) / (LOGISTIC + 2)
    np.testing.assert_allclose(found.probs, mean, atol=1e-6)
    monkeypatch.setattr(logistic, "MOST", 1)  # a set that is too large for it
    assert not fits(120, K)
    without = cross_validate(encoded(X, y), folds=2, epochs=1, device="cpu", seed=3)
    assert without.logistic is None
    np.testing.assert_allclose(without.probs, (without.network + found.ridge + found.votes) / 3, atol=1e-6)
    plain = cross_validate(feature_set(X, y, "abc"), folds=2, epochs=1, device="cpu")
    assert plain.logistic is None
