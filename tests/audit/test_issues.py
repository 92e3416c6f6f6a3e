"""Findings from labels and probabilities, compared with naive loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from noisylabels.audit import issues
from noisylabels.audit.assessment import Assessment
from noisylabels.audit.duplicates import Group
from noisylabels.audit.issues import Issues, confusable, find_issues, summarize
from noisylabels.audit.posterior import LabelPosterior, calibrated
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.estimate import Estimate
from noisylabels.noise.noise_rate import NoiseRate

NAMES = ["cat", "dog", "eel"]


def drawn(n: int = 600, K: int = 3, rate: float = 0.2, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return labels, true labels and probabilities that are mostly right."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, K, n)
    labels = np.where(rng.random(n) < rate, (true + 1) % K, true)
    probs = rng.dirichlet(np.full(K, 0.3), n) * 0.7
    probs[np.arange(n), true] += 0.3
    return labels, true, probs


def posterior(labels: np.ndarray, probs: np.ndarray, rate: float) -> LabelPosterior:
    return calibrated(labels, CheckedProbs(probs, "probs"), rate, 2.0)


def as_they_are(labels: np.ndarray, probs: np.ndarray) -> LabelPosterior:
    """Return a posterior that is the probabilities."""
    return LabelPosterior(
        labels, CheckedProbs(probs, "probs"), 1.0, 1.0, probs[np.arange(len(labels)), labels]
    )


def found(of: LabelPosterior, groups: list[Group] | None = None, trusted: np.ndarray | None = None) -> Issues:
    return find_issues(of, NAMES, [f"{i}.png" for i in range(len(of.labels))], groups or [], trusted=trusted)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_a_label_that_is_more_probably_wrong_is_flagged_if_another_class_is_likelier(rate: float) -> None:
    labels, _, probs = drawn()
    of = posterior(labels, probs, rate)
    got, q = found(of), of.whole()
    for i, y in enumerate(labels.tolist()):
        others = [k for k in range(3) if k != y]
        best = max(others, key=lambda k: q[i, k])
        assert got.flagged[i] == (q[i, y] < 0.5 and q[i, best] > q[i, y])
        # the suggestion is the likeliest class: the given one where no other is likelier
        expected = best if q[i, best] > q[i, y] else y
        assert got.suggested[i] == expected
        assert got.right[i] == pytest.approx(q[i, expected], abs=1e-9)
        assert got.score[i] == pytest.approx(q[i, y], abs=1e-9)
        assert got.wrong[i] == pytest.approx(1 - q[i, y], abs=1e-9)
    assert got.wrong.mean() == pytest.approx(min(max(rate, 0.5 / 600), 1 - 0.5 / 600))
    if rate in (0.0, 1.0):
        assert got.flagged.mean() == pytest.approx(rate, abs=0.01)
    before, after = got.expected
    np.testing.assert_array_equal(before, got.wrong)
    assert after.mean() <= before.mean()


def test_a_label_is_kept_where_no_single_class_is_likelier() -> None:
    # 60 % wrong, but shared by two other classes
    got = found(as_they_are(np.array([0]), np.array([[0.4, 0.3, 0.3]])))
    assert not got.flagged[0]
    assert got.suggested[0] == 0
    assert got.wrong[0] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("p", "flagged", "why"),
    [
        ([0.02, 0.95, 0.03], True, "looks like dog (95 %), not cat (2 %)"),
        ([0.4, 0.55, 0.05], True, "looks like dog (55 %) rather than cat (40 %)"),
        ([0.5, 0.3, 0.2], False, "looks like cat (50 %), as labeled"),
        ([0.0, 1.0, 0.0], True, "looks like dog (over 99 %), not cat (under 1 %)"),
        ([0.9, 0.1, 0.0], False, "looks like cat (90 %), as labeled"),
        ([0.4, 0.5, 0.1], True, "looks like dog (50 %) rather than cat (40 %)"),
        ([0.4, 0.3, 0.3], False, "looks like cat (40 %), as labeled"),
    ],
)
def test_the_reason_is_one_plain_clause(p: list[float], flagged: bool, why: str) -> None:
    got = found(as_they_are(np.array([0]), np.array([p])))
    assert got.flagged.tolist() == [flagged]
    assert list(got.why) == [why]


def test_labels_that_contradict_near_duplicates_are_flagged_too() -> None:
    labels, _, probs = drawn()
    labels[[5, 6, 7]] = [0, 0, 1]  # 7 is outvoted
    probs[[5, 6, 7]] = [0.05, 0.9, 0.05]  # though all look like what it is labeled
    labels[[8, 9]], probs[[8, 9]] = [2, 0], [0.3, 0.1, 0.6]  # one against one: the likelier is believed
    groups = [Group((5, 6, 7), True), Group((8, 9), False), Group((20, 21), False)]
    labels[21] = labels[20]
    of = posterior(labels, probs, 0.2)
    alone, got = found(of), found(of, groups)
    contradicted = np.isin(np.arange(600), [7, 9])
    confirmed = np.isin(np.arange(600), [5, 6, 8])
    np.testing.assert_array_equal(got.flagged, (alone.flagged & ~confirmed) | contradicted)
    assert not alone.flagged[7]
    assert got.suggested[[7, 9]].tolist() == [0, 2]
    assert got.why[7] == "same image as 5.png, labeled cat"
    assert got.why[9] == "same image as 8.png, labeled eel"
    assert "same image" not in got.why[21]
    # they are as likely wrong as the last flagged label, or more, and have a suggestion to accept
    assert got.score[7] == alone.score[alone.flagged].max()
    assert (got.right[contradicted] >= got.wrong[contradicted] / 2).all()
    np.testing.assert_array_equal(got.score[~contradicted], alone.score[~contradicted])
    count = int(got.flagged.sum())
    order = np.lexsort((np.arange(600), got.score, ~got.flagged))
    assert set(order[:count].tolist()) == set(np.flatnonzero(got.flagged).tolist())


def assessed(agreement: float) -> Assessment:
    """Return conclusions with an agreement and a noise rate of 20 to 40 %."""
    labels, _, probs = drawn()
    return Assessment(NoiseRate(0.2, 0.1, 0.4), agreement, posterior(labels, probs, 0.2), len(labels))


def test_contradicting_near_duplicates_are_flagged_at_noise_rate_0() -> None:
    labels, _, probs = drawn(rate=0)
    labels[[0, 1]] = [0, 1]
    got = found(posterior(labels, probs, 0.0), [Group((0, 1), True)])
    assert got.flagged.sum() == 1
    assert got.score[got.flagged][0] == got.score.min()


def test_accepting_all_suggestions_ends_a_conflict() -> None:
    labels, _, probs = drawn()
    labels[[5, 6, 7]] = [0, 1, 1]
    probs[[5, 6, 7]] = [0.98, 0.01, 0.01]  # all look like what one of them is labeled
    got = found(posterior(labels, probs, 0.3), [Group((5, 6, 7), True)])
    after = np.where(got.flagged, got.suggested, labels)[[5, 6, 7]]
    assert len(set(after.tolist())) == 1
    assert got.flagged[[5, 6, 7]].sum() in (1, 2)


def test_labels_checked_by_hand_are_right() -> None:
    labels, _, probs = drawn()
    of = posterior(labels, probs, 0.2)
    hand = np.arange(600) % 4 == 0
    got, without = found(of, trusted=hand), found(of)
    assert without.flagged[hand].any()
    assert not got.flagged[hand].any()
    assert not got.wrong[hand].any()
    assert (got.right[hand] == 1).all()
    np.testing.assert_array_equal(got.suggested[hand], labels[hand])
    for name in ("flagged", "suggested", "score", "right"):
        np.testing.assert_array_equal(getattr(got, name)[~hand], getattr(without, name)[~hand])


def test_class_pairs_equal_a_naive_count() -> None:
    labels, _, probs = drawn()
    got = found(posterior(labels, probs, 0.3))
    counts = Counter((NAMES[labels[i]], NAMES[got.suggested[i]]) for i in range(600) if got.flagged[i])
    rows = confusable(labels, got.suggested, got.flagged, NAMES)
    assert {(row["given"], row["suggested"]): row["count"] for row in rows} == counts
    assert [row["count"] for row in rows] == sorted(counts.values(), reverse=True)
    for row in rows:
        size = sum(NAMES[label] == row["given"] for label in labels)
        assert row["share"] == pytest.approx(row["count"] / size, abs=1e-6)


def matrix(labels: np.ndarray, probs: np.ndarray, rate: NoiseRate, seed: int = 0) -> Estimate:
    return issues.estimate(labels, CheckedProbs(probs, "probs"), rate, seed)


def test_the_summary_measures_how_well_known_noise_is_found() -> None:
    labels, true, probs = drawn()
    wrong = labels != true
    rate = NoiseRate(float(wrong.mean()), 0.15, 0.25)
    got = found(posterior(labels, probs, rate.estimate))
    summary = summarize(
        labels, assessed(0.8), got, matrix(labels, probs, rate), NAMES, [Group((0, 1), True)], true
    )
    order = np.argsort(got.score, kind="stable")
    hits = np.cumsum(wrong[order])  # scores have no ties here
    precision = hits / np.arange(1, 601)
    known = summary["known"]
    assert known["average_precision"] == pytest.approx(precision[wrong[order]].mean(), abs=1e-6)
    assert known["rate"] == pytest.approx(wrong.mean(), abs=1e-6)
    assert known["precision"] == pytest.approx(wrong[got.flagged].mean(), abs=1e-6)
    assert known["recall"] == pytest.approx((wrong & got.flagged).sum() / wrong.sum(), abs=1e-6)
    after = np.where(got.flagged, got.suggested, labels)
    assert known["after"] == pytest.approx((after != true).mean(), abs=1e-6)
    assert known["after"] < known["rate"]
    assert summary["expected"]["before"] == pytest.approx(rate.estimate, abs=1e-6)
    assert summary["expected"]["after"] == pytest.approx((after != true).mean(), abs=0.05)
    assert summary["rate"] == {
        "estimate": round(rate.estimate, 6),
        "low": 0.15,
        "high": 0.25,
        "level": 0.95,
        "method": "calibrated",
        "count": round(rate.estimate * 600),
    }
    np.testing.assert_allclose(np.sum(summary["transition"]["matrix"], axis=1), 1, atol=1e-5)
    assert summary["agreement"] == 0.8
    # the rate moves it by 0.11; the Wilson interval of 480 in 600 begins at 0.7661, 0.042 lower over 0.8
    low = 1 - np.hypot(1 - 0.8 / 0.9, (0.8 - 0.76614) / 0.8)
    assert summary["accuracy"] == {"estimate": 1.0, "low": pytest.approx(low, abs=1e-4), "high": 1.0}
    for k, row in enumerate(summary["classes"]):
        assert (row["count"], row["flagged"]) == ((labels == k).sum(), got.flagged[labels == k].sum())


@pytest.mark.parametrize("seed", range(12))
def test_the_matrix_has_the_rate_and_lies_in_its_intervals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    K, n = int(rng.integers(2, 6)), int(rng.integers(20, 400))
    labels, _, probs = drawn(n, K, rng.choice([0.0, 0.05, 0.3]), seed)
    labels[labels == K - 1] = rng.choice([0, K - 1])  # sometimes a class without examples
    for rate in (NoiseRate(0.0, 0.0, 0.02), NoiseRate(0.1, 0.05, 0.15), NoiseRate(0.9, 0.7, 1.0)):
        made = matrix(labels, probs, rate, seed)
        assert made.rate == pytest.approx(rate.estimate, abs=1e-9)
        assert made.rate_interval == (rate.low, rate.high)
        np.testing.assert_allclose(made.transition.sum(axis=1), 1)
        np.testing.assert_allclose(made.joint.sum(axis=0), np.bincount(labels, minlength=K) / n, atol=1e-12)
        assert (made.joint >= 0).all()
        assert made.transition_interval is not None
        low, high = made.transition_interval
        assert (low <= made.transition).all()
        assert (made.transition <= high).all()
        assert (low >= 0).all()
        assert (high <= 1 + 1e-12).all()
    # a wider interval of the rate gives wider ones of the matrix, the diagonal's too
    narrow, wide = (
        matrix(labels, probs, NoiseRate(0.1, *ends), seed).transition_interval
        for ends in ((0.09, 0.11), (0.05, 0.2))
    )
    assert narrow is not None
    assert wide is not None
    assert (wide[0] <= narrow[0] + 1e-9).all()
    assert (wide[1] >= narrow[1] - 1e-9).all()


def test_errors_that_the_joint_does_not_show_are_spread_by_class_frequency() -> None:
    labels = np.repeat([0, 1, 2], [20, 20, 60])
    probs = np.eye(3)[labels]
    made = matrix(labels, probs, NoiseRate(0.1, 0.05, 0.2))
    share, joint = np.array([0.2, 0.2, 0.6]), np.zeros((3, 3))
    for given in range(3):  # a tenth of each label is wrong
        for true in range(3):
            rest = sum(share[k] for k in range(3) if k != given)
            joint[true, given] = share[given] * (0.9 if true == given else 0.1 * share[true] / rest)
    np.testing.assert_allclose(made.joint, joint, atol=1e-12)


def test_labels_of_one_class_have_a_matrix() -> None:
    made = matrix(np.zeros(30, np.int64), np.tile([0.9, 0.06, 0.04], (30, 1)), NoiseRate(0.1, 0.0, 0.2))
    np.testing.assert_allclose(made.joint, [[0.9, 0, 0], [0.05, 0, 0], [0.05, 0, 0]], atol=1e-12)


@pytest.mark.parametrize(("limit", "value"), [("_WORK", 1000), ("_CELLS", 1000), ("_OPEN", 0)])
def test_intervals_of_the_matrix_are_left_out_where_they_would_take_minutes(
    limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, _, probs = drawn()
    rate = NoiseRate(0.1, 0.05, 0.2)
    whole = matrix(labels, probs, rate)
    monkeypatch.setattr(issues, limit, value)
    estimate = matrix(labels, probs, rate)
    assert whole.transition_interval is not None
    assert estimate.transition_interval is None
    np.testing.assert_array_equal(estimate.transition, whole.transition)
    summary = summarize(labels, assessed(0.8), found(posterior(labels, probs, 0.1)), estimate, NAMES)
    assert (summary["rate"]["low"], summary["rate"]["high"]) == (0.05, 0.2)
    assert summary["transition"]["low"] is None
    assert summary["known"] is None
