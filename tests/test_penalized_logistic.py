"""The classifier "logistic": its penalty follows the noise, and scikit-learn's contract holds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import noisylabels as nl
from noisylabels.experiment.classifiers import find_judge
from noisylabels.experiment.penalized_logistic import PenalizedLogistic


def wide(rate: float, n: int = 600, d: int = 400, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return rows with as many columns as features of an encoder have, given labels and true labels."""
    draw = np.random.default_rng(seed)
    true = np.arange(n) % 3
    rows = draw.normal(size=(n, d)) * draw.uniform(0.1, 10, d)
    rows[:, :20] += 1.0 * rows[:, :20].std(0) * draw.normal(size=(3, 20))[true]
    given = np.where(draw.random(n) < rate, (true + draw.integers(1, 3, n)) % 3, true)
    return rows, given, true


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_the_noise_rate_is_nearer_than_with_a_fixed_penalty(rate):
    rows, given, true = wide(rate)
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    ours, fixed = (nl.audit_labels(rows, labels=given, classifier=c) for c in ("logistic", plain))
    wrong = given != true
    far = [abs(each.summary["rate"]["estimate"] - wrong.mean()) for each in (ours, fixed)]
    assert far[0] < far[1] - 0.01
    scores = [average_precision_score(wrong, -each.score) for each in (ours, fixed)]
    assert scores[0] > scores[1] + 0.03


def test_more_noise_takes_a_stronger_penalty():
    def penalty(rate: float) -> float:
        rows, given, _ = wide(rate, d=60)
        return PenalizedLogistic().fit(rows, given).penalty_

    assert penalty(0.0) < penalty(0.4)


def test_the_model_is_that_of_scikit_learn_at_the_same_penalty():
    rows, given, _ = wide(0.2, n=300, d=20)
    made = PenalizedLogistic(folds=2).fit(rows, given)
    fold = [np.flatnonzero(made._fold == k) for k in range(2)]
    X = (rows - rows.mean(0)) / rows.std(0)
    expected = np.mean(
        [
            LogisticRegression(C=1 / (made.penalty_ * len(rest)), max_iter=5000, tol=1e-8)
            .fit(X[rest], given[rest])
            .predict_proba(X)
            for rest in fold[::-1]
        ],
        axis=0,
    )
    tempered = expected ** (1 / made.temperature_)
    tempered /= tempered.sum(1, keepdims=True)
    np.testing.assert_allclose(made.predict_proba(rows), tempered, atol=5e-3)


def test_it_follows_the_contract_of_scikit_learn():
    # a weight of 2 is not a row that occurs twice: the copies may lie in different folds
    expected = {"check_sample_weight_equivalence_on_dense_data": "rows are assigned to folds"}
    check_estimator(PenalizedLogistic(), expected_failed_checks=expected, on_skip=None)


def test_strange_rows():
    y = np.array([0, 1] * 4)
    for rows in (np.ones((8, 3)), np.eye(8), np.arange(8.0)[:, None] * 1e8):
        probs = PenalizedLogistic().fit(rows, y).predict_proba(rows)
        assert np.isfinite(probs).all()
        np.testing.assert_allclose(probs.sum(1), 1)


def test_the_name_finds_it():
    assert find_judge("logistic").identity["class"].endswith("PenalizedLogistic")
