"""The confident joint of bootstrap samples, compared with sampling the rows and counting in loops."""

from __future__ import annotations

import numpy as np
import pytest

from noisylabels.audit import issues
from noisylabels.audit.scores import share_wrong
from noisylabels.core.rng import resample, uniforms
from noisylabels.noise import confident_learning
from noisylabels.noise.checks import check_labels_probs
from noisylabels.noise.confident_learning import calibrated_joint, joint_samples
from noisylabels.noise.estimate import estimate_transition

DRAWS = 40


def naive_counts(given: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the confident joint by its definition, row by row."""
    K = p.shape[1]
    threshold = [p[given == k, k].mean() if (given == k).any() else np.inf for k in range(K)]
    counts = np.zeros((K, K), np.int64)
    for row, label in zip(p.tolist(), given.tolist(), strict=True):
        sure = [k for k in range(K) if row[k] >= threshold[k]]
        if sure:
            counts[max(sure, key=lambda k: row[k]), label] += 1
    return counts


def naive_samples(given: np.ndarray, p: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """Return the positions of all examples and of the bootstrap samples."""
    n = len(given)
    drawn = [(uniforms(n, seed, "bootstrap", draw) * n).astype(np.int64) for draw in range(draws)]
    return [np.arange(n), *drawn]


def dyadic(rng: np.random.Generator, n: int, K: int) -> np.ndarray:
    """Return probabilities in 64ths: their sums are exact, and many equal each other or a threshold."""
    cuts = np.sort(rng.integers(0, 65, (n, K - 1)), axis=1)
    ends = np.concatenate([np.zeros((n, 1)), cuts, np.full((n, 1), 64)], axis=1)
    return np.diff(ends, axis=1) / 64


def problem(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities whose sums are exact."""
    rng = np.random.default_rng(seed)
    if kind == "two classes":
        p = dyadic(rng, 300, 2)
    elif kind == "ties":
        p = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])[
            rng.integers(0, 4, 200)
        ]
    elif kind == "all alike":
        p = np.full((120, 4), 0.25)
    else:
        p = dyadic(rng, 250, 6)
    n, K = p.shape
    labels = np.where(rng.random(n) < 0.7, p.argmax(axis=1), rng.integers(0, K, n))
    if kind == "a class without examples":
        labels[labels == 3] = 1
    if kind == "classes that some samples lack":
        labels[labels >= 3] = 0
        labels[:3] = [3, 4, 5]
    return labels, p


KINDS = (
    "two classes",
    "six classes",
    "ties",
    "all alike",
    "a class without examples",
    "classes that some samples lack",
)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_bootstrap_samples_are_counted_as_by_a_naive_loop(kind: str, seed: int) -> None:
    labels, probs = problem(kind, seed)
    p, given = check_labels_probs(labels, probs)
    found = list(joint_samples(given, p, DRAWS, seed))
    chosen = naive_samples(labels, probs, DRAWS, seed)
    assert len(found) == 1 + DRAWS
    for sample, at in zip(found, chosen, strict=True):
        assert sample.counts.tolist() == naive_counts(labels[at], probs[at]).tolist()
        assert sample.sizes.tolist() == np.bincount(labels[at], minlength=probs.shape[1]).tolist()


def test_many_examples_are_counted_as_by_a_naive_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    probs = dyadic(rng, 3000, 4)
    labels = np.where(rng.random(3000) < 0.8, probs.argmax(axis=1), rng.integers(0, 4, 3000))
    p, given = check_labels_probs(labels, probs)
    expected = [naive_counts(labels[at], probs[at]).tolist() for at in naive_samples(labels, probs, 5, 0)]
    assert [sample.counts.tolist() for sample in joint_samples(given, p, 5)] == expected
    # thresholds that leave their expected range make it wider
    monkeypatch.setattr(confident_learning, "_ERRORS", 0.1)
    assert [sample.counts.tolist() for sample in joint_samples(given, p, 5)] == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trained", [False, True])
def test_the_estimate_of_the_audit_is_that_of_samples_of_rows(
    kind: str, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issues, "_MOST_DRAWS", DRAWS)
    labels, probs = problem(kind, 7)
    seen = np.roll(probs, 1, axis=0) if trained else None
    rates, matrices = [], []
    for at in naive_samples(labels, probs, DRAWS, 3):
        given, p = labels[at], probs[at]
        joint = calibrated_joint(naive_counts(given, p), given)
        column, off = joint.sum(axis=0), joint - np.diag(joint.diagonal())
        rate = share_wrong(given, p, None if seen is None else seen[at])
        if off.sum() > 0:
            scale = rate / off.sum()
            off *= min(
                scale, *(column[k] / off[:, k].sum() for k in range(len(off)) if off[:, k].sum() > 1e-12)
            )
        joint = off + np.diag(np.maximum(column - off.sum(axis=0), 0))
        rates.append(1 - joint.trace())
        matrices.append(
            [row / row.sum() if row.sum() > 0 else np.eye(len(joint))[k] for k, row in enumerate(joint)]
        )
    found = issues.estimate(labels, probs, seen, seed=3)
    assert found.rate == pytest.approx(rates[0], abs=1e-12)
    np.testing.assert_allclose(found.transition, matrices[0], atol=1e-12)
    ends = [0.025, 0.975]
    np.testing.assert_allclose(found.rate_interval, np.quantile(rates[1:], ends), atol=1e-12)
    np.testing.assert_allclose(
        found.transition_interval, np.quantile(np.array(matrices[1:]), ends, axis=0), atol=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_of_estimate_transition_is_that_of_samples_of_rows(kind: str) -> None:
    labels, probs = problem(kind, 11)
    rates, matrices = [], []
    for at in naive_samples(labels, probs, DRAWS, 2):
        Q = calibrated_joint(naive_counts(labels[at], probs[at]), labels[at])
        rates.append(1 - Q.trace())
        matrices.append([row / row.sum() if row.sum() > 0 else np.eye(len(Q))[k] for k, row in enumerate(Q)])
    found = estimate_transition(labels, probs, interval=0.9, bootstrap=DRAWS, seed=2)
    np.testing.assert_allclose(found.transition, matrices[0], atol=1e-12)
    ends = np.quantile(rates[1:], [0.05, 0.95]) + rates[0] - np.mean(rates[1:])
    np.testing.assert_allclose(found.rate_interval, np.clip(ends, 0, 1), atol=1e-12)
    np.testing.assert_allclose(
        found.transition_interval, np.quantile(np.array(matrices[1:]), [0.05, 0.95], axis=0), atol=1e-12
    )


def test_too_many_open_probabilities_leave_the_interval_out(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probs = problem("all alike", 0)
    whole = issues.estimate(labels, probs)
    assert whole.rate_interval is not None
    monkeypatch.setattr(issues, "_OPEN", 10)
    found = issues.estimate(labels, probs)
    assert found.rate_interval is None
    np.testing.assert_array_equal(found.transition, whole.transition)


@pytest.mark.parametrize("n", [1, 7, 8192, 20_001])
def test_resample_equals_uniforms(n: int) -> None:
    expected = (uniforms(n, 3, "bootstrap", 1) * n).astype(np.int64)
    assert resample(n, 3, "bootstrap", 1).tolist() == expected.tolist()
    out = np.empty(n, np.int64)
    assert resample(n, 3, "bootstrap", 1, out=out) is out
    assert out.tolist() == expected.tolist()
