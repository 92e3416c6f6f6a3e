"""Findings from labels and probabilities, compared with naive loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from noisylabels.audit import issues
from noisylabels.audit.duplicates import Group
from noisylabels.audit.issues import confusable, find_issues, summarize
from noisylabels.core.checks import InputError

NAMES = ["cat", "dog", "eel"]


def drawn(n: int = 600, K: int = 3, rate: float = 0.2, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return labels, true labels and probabilities that are mostly right."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, K, n)
    labels = np.where(rng.random(n) < rate, (true + 1) % K, true)
    probs = rng.dirichlet(np.full(K, 0.3), n) * 0.3
    probs[np.arange(n), true] += 0.7
    return labels, true, probs


def found(labels: np.ndarray, probs: np.ndarray, rate: float, groups: list[Group] | None = None):
    score = probs[np.arange(len(labels)), labels]
    ids = [f"{i}.png" for i in range(len(labels))]
    return find_issues(labels, probs, score, rate, NAMES, ids, groups or [])


def test_as_many_of_the_lowest_scores_are_flagged_as_are_estimated() -> None:
    labels, _, probs = drawn()
    got = found(labels, probs, 0.2)
    assert got.flagged.sum() == 120
    score = probs[np.arange(600), labels]
    assert score[got.flagged].max() <= score[~got.flagged].min()
    for i in range(600):
        ranked = sorted(range(3), key=lambda k: -probs[i, k])
        if got.flagged[i]:
            ranked.remove(labels[i])
        assert got.suggested[i] == ranked[0]


@pytest.mark.parametrize(("rate", "count"), [(0.0, 0), (1.0, 600)])
def test_none_and_all_can_be_flagged(rate: float, count: int) -> None:
    labels, _, probs = drawn()
    got = found(labels, probs, rate)
    assert got.flagged.sum() == count
    assert (got.suggested != labels)[got.flagged].all()


@pytest.mark.parametrize(
    ("p", "rate", "why"),
    [
        ([0.02, 0.95, 0.03], 1, "looks like dog (95 %), not cat (2 %)"),
        ([0.4, 0.55, 0.05], 1, "looks like dog (55 %) rather than cat (40 %)"),
        ([0.5, 0.3, 0.2], 1, "looks like cat, but with only 50 %; next is dog (30 %)"),
        ([0.0, 1.0, 0.0], 1, "looks like dog (over 99 %), not cat (under 1 %)"),
        ([0.9, 0.1, 0.0], 0, "looks like cat (90 %), as labeled"),
        ([0.4, 0.5, 0.1], 0, "looks like dog (50 %) rather than cat (40 %), but not clearly"),
    ],
)
def test_the_reason_is_one_plain_clause(p: list[float], rate: float, why: str) -> None:
    assert found(np.array([0]), np.array([p]), rate).why == [why]


def test_labels_that_contradict_near_duplicates_are_flagged_first() -> None:
    labels, _, probs = drawn()
    labels[[5, 6, 7]] = [0, 0, 1]  # 7 is outvoted
    probs[[5, 6, 7]] = [0.05, 0.9, 0.05]  # though all look like what it is labeled
    labels[[8, 9]], probs[[8, 9]] = [2, 0], [0.3, 0.1, 0.6]  # one against one: the likelier is believed
    groups = [Group((5, 6, 7), True), Group((8, 9), False), Group((20, 21), False)]
    labels[21] = labels[20]
    got = found(labels, probs, 0.02, groups)
    assert got.flagged.sum() == 12
    assert got.flagged[[7, 9]].all()
    assert not got.flagged[8]
    assert got.suggested[[7, 9]].tolist() == [0, 2]
    assert got.why[7] == "same image as 5.png, labeled cat"
    assert got.why[9] == "same image as 8.png, labeled eel"
    assert "same image" not in got.why[21]
    order = np.lexsort((np.arange(600), got.score, ~got.flagged))
    assert set(order[:12].tolist()) == set(np.flatnonzero(got.flagged).tolist())


def test_contradicting_near_duplicates_are_flagged_at_noise_rate_0() -> None:
    labels, _, probs = drawn(rate=0)
    labels[[0, 1]] = [0, 1]
    got = found(labels, probs, 0.0, [Group((0, 1), True)])
    assert got.flagged.sum() == 1


def test_class_pairs_equal_a_naive_count() -> None:
    labels, _, probs = drawn()
    got = found(labels, probs, 0.3)
    counts = Counter((NAMES[labels[i]], NAMES[got.suggested[i]]) for i in range(600) if got.flagged[i])
    rows = confusable(labels, got.suggested, got.flagged, NAMES)
    assert {(row["given"], row["suggested"]): row["count"] for row in rows} == counts
    assert [row["count"] for row in rows] == sorted(counts.values(), reverse=True)
    for row in rows:
        size = sum(NAMES[label] == row["given"] for label in labels)
        assert row["share"] == pytest.approx(row["count"] / size, abs=1e-6)


def test_the_summary_measures_how_well_known_noise_is_found() -> None:
    labels, true, probs = drawn()
    estimate = issues.estimate(labels, probs)
    got = found(labels, probs, estimate.rate)
    summary = summarize(labels, 0.8, got, estimate, NAMES, [Group((0, 1), True)], true)
    wrong = labels != true
    order = np.argsort(got.score, kind="stable")
    hits = np.cumsum(wrong[order])  # scores have no ties here
    precision = hits / np.arange(1, 601)
    assert summary["known"]["average_precision"] == pytest.approx(precision[wrong[order]].mean(), abs=1e-6)
    assert summary["known"]["rate"] == pytest.approx(wrong.mean(), abs=1e-6)
    assert summary["known"]["precision"] == pytest.approx(wrong[got.flagged].mean(), abs=1e-6)
    assert summary["known"]["recall"] == pytest.approx((wrong & got.flagged).sum() / wrong.sum(), abs=1e-6)
    rate = summary["rate"]
    assert rate["low"] <= rate["estimate"] <= rate["high"]
    assert rate["low"] < wrong.mean() < rate["high"]  # here the probabilities are good
    np.testing.assert_allclose(np.sum(summary["transition"]["matrix"], axis=1), 1, atol=1e-5)
    assert summary["agreement"] == 0.8
    for k, row in enumerate(summary["classes"]):
        assert (row["count"], row["flagged"]) == ((labels == k).sum(), got.flagged[labels == k].sum())


def test_intervals_are_left_out_where_they_would_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, _, probs = drawn()
    monkeypatch.setattr(issues, "_WORK", 1000)
    estimate = issues.estimate(labels, probs)
    summary = summarize(labels, 0.8, found(labels, probs, 0.1), estimate, NAMES)
    assert summary["rate"]["low"] is None
    assert summary["transition"]["low"] is None
    assert summary["known"] is None


def test_scores_of_another_length_are_refused() -> None:
    labels, _, probs = drawn()
    with pytest.raises(InputError, match="got 5 scores for 600 labels"):
        find_issues(labels, probs, np.zeros(5), 0.1, NAMES, [""] * 600)
