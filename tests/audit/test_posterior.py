"""The posterior of the true class, compared with Bayes' rule and with labels whose true class is known."""

from __future__ import annotations

import numpy as np
import pytest

from noisylabels.audit.issues import find_issues, summarize
from noisylabels.audit.posterior import label_posterior
from noisylabels.audit.scores import BLENDED, HELD_OUT_POSTERIOR, POSTERIOR, blended, judged, sharpened
from noisylabels.core.checks import InputError
from noisylabels.noise.estimate import Estimate

K, N = 4, 4000
CLASSES = "abcd"


def problem(rate: float, seed: int = 0, sharp: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return given and true labels, and the probabilities of the true class of a calibrated model."""
    draw = np.random.default_rng(seed)
    logits = sharp * draw.normal(size=(N, K))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = (p.cumsum(axis=1) < draw.random((N, 1))).sum(axis=1).clip(max=K - 1)
    flip = draw.random(N) < rate
    given = np.where(flip, (true + draw.integers(1, K, N)) % K, true)
    return given, true, p


def test_it_is_bayes_rule():
    given, _, p = problem(0.2)
    found = label_posterior(given, p)
    q = p**found.power * found.transition[:, given].T
    q /= q.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.whole(), q, atol=1e-6)
    np.testing.assert_allclose(found.wrong, 1 - q[np.arange(N), given], atol=1e-6)
    np.testing.assert_allclose(found.rows(np.array([3, 1])), q[[3, 1]], atol=1e-6)
    np.testing.assert_allclose(found.of(np.zeros(N, int)), q[:, 0], atol=1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_the_probabilities_are_calibrated(rate):
    given, true, p = problem(rate)
    found = label_posterior(given, p)
    wrong = given != true
    assert found.wrong.mean() == pytest.approx(wrong.mean(), abs=0.03)
    gaps = [
        abs(found.wrong[some].mean() - wrong[some].mean())
        for some in np.array_split(np.argsort(found.wrong), 10)
    ]
    assert np.mean(gaps) < 0.04
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("sharp", [1.5, 3.0])
def test_accepting_the_suggestions_does_not_harm(rate, sharp):
    given, true, p = problem(rate, seed=1, sharp=sharp)
    found = label_posterior(given, p)
    rest = p.copy()
    rest[np.arange(N), given] = -1
    suggested = rest.argmax(axis=1)
    after = np.where(found.worthwhile(suggested), suggested, given)
    assert (after != true).mean() <= (given != true).mean() + 0.003
    if rate >= 0.2 and sharp == 3.0:
        assert (after != true).mean() < 0.7 * (given != true).mean()


def test_the_given_label_is_never_a_worthwhile_suggestion():
    given, _, p = problem(0.2)
    assert not label_posterior(given, p).worthwhile(given).any()


def test_few_labels_and_missing_classes_give_probabilities():
    for labels, probs in (
        ([0, 0, 1], [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]]),
        ([0, 0], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        ([2], [[1.0, 0.0, 0.0]]),
    ):
        found = label_posterior(labels, probs)
        assert np.isfinite(found.wrong).all()
        assert ((found.wrong >= 0) & (found.wrong <= 1)).all()
        assert 0 <= found.doubt <= 1
    with pytest.raises(InputError):
        label_posterior([0, 3], [[0.5, 0.5], [0.5, 0.5]])


def rates(T: np.ndarray) -> int:
    """Return how many different noise rates a transition matrix has."""
    return len(np.unique(T[~np.eye(len(T), dtype=bool)].round(9)))


def test_the_simplest_noise_that_fits_is_kept():
    given, true, p = problem(0.2)
    draw = np.random.default_rng(3).random(N)
    of_one_class = np.where(true == 1, given, true)
    of_one_pair = np.where((true == 2) & (draw < 0.4), 3, true)
    for labels, different in ((given, 1), (of_one_class, K), (of_one_pair, K * (K - 1))):
        found = label_posterior(labels, p, simplest=True)
        assert rates(found.transition) == different
        np.testing.assert_allclose(found.transition.sum(axis=1), 1)
        assert found.wrong.mean() == pytest.approx((labels != true).mean(), abs=0.03)
        assert rates(label_posterior(labels, p).transition) == K * (K - 1)
    np.testing.assert_allclose(
        label_posterior(of_one_pair, p, simplest=True).whole(), label_posterior(of_one_pair, p).whole()
    )


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_suggestions_by_the_simplest_noise_do_no_harm(rate):
    given, true, p = problem(rate, seed=1)
    found = label_posterior(given, p, simplest=True)
    rest = p.copy()
    rest[np.arange(N), given] = -1
    suggested = rest.argmax(axis=1)
    after = np.where(found.worthwhile(suggested), suggested, given)
    assert (after != true).mean() <= (given != true).mean() + 0.003
    assert rate < 0.1 or (after != true).mean() < 0.8 * (given != true).mean()


def test_two_classes_have_at_most_a_rate_each():
    found = label_posterior([0, 1, 0, 1], [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]], simplest=True)
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)


def test_rules_of_the_scores():
    given, _, p = problem(0.2)
    seen = 0.5 * p + 0.5 / K
    made, score = judged(given, p, seen, BLENDED)
    np.testing.assert_allclose(made, blended(p, seen))
    np.testing.assert_allclose(score, sharpened(given, made))
    made, score = judged(given, p, seen, POSTERIOR)
    q = label_posterior(given, p, simplest=True).whole()
    np.testing.assert_allclose(made, HELD_OUT_POSTERIOR * q + (1 - HELD_OUT_POSTERIOR) * seen)
    np.testing.assert_allclose(score, made[np.arange(N), given])
    np.testing.assert_allclose(judged(given, p, None, POSTERIOR)[0], q)
    with pytest.raises(InputError, match="rule"):
        judged(given, p, None, "other")


def test_issues_hold_the_expected_error_before_and_after():
    given, true, p = problem(0.2)
    found = label_posterior(given, p)
    hand = np.arange(N) < 10
    ids = [str(i) for i in range(N)]
    score = sharpened(given, p)
    issues = find_issues(given, p, score, 0.3, CLASSES, ids, trusted=hand, posterior=found)
    without = find_issues(given, p, score, 0.3, CLASSES, ids, trusted=hand)
    assert without.wrong is None
    assert (without.flagged | ~issues.flagged).all()  # a subset
    assert 0 < issues.flagged.sum() < without.flagged.sum()
    assert issues.wrong is not None
    assert not issues.wrong[hand].any()
    unflagged = ~issues.flagged & ~hand
    np.testing.assert_array_equal(issues.suggested[unflagged], p.argmax(axis=1)[unflagged])
    estimate = Estimate("confident_joint", np.eye(K), np.full(K, 1 / K), N)
    about = summarize(given, 0.8, issues, estimate, CLASSES, true=true)
    after = np.where(issues.flagged, issues.suggested, given)
    assert about["known"]["after"] == pytest.approx((after != true).mean(), abs=1e-6)
    assert about["expected"]["before"] == pytest.approx((given != true).mean(), abs=0.03)
    assert about["expected"]["after"] == pytest.approx((after != true).mean(), abs=0.03)
    assert summarize(given, 0.8, without, estimate, CLASSES)["expected"] is None
