"""The confident joint of bootstrap samples, compared with sampling the rows and counting in loops."""

from __future__ import annotations

import numpy as np
import pytest

from noisylabels.audit import issues
from noisylabels.core.rng import resample, uniforms
from noisylabels.noise import confident_learning
from noisylabels.noise.checks import check_labels_probs
from noisylabels.noise.confident_learning import calibrated_joint, joint_samples
from noisylabels.noise.estimate import estimate_transition
from noisylabels.noise.noise_rate import NoiseRate

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


def scaled(joint: np.ndarray, rate: float) -> np.ndarray:
    """Return the transition matrix of a joint that is scaled to a noise rate, in loops."""
    K = len(joint)
    column = joint.sum(axis=0)
    made = joint - np.diag(joint.diagonal())
    if made.sum() > 0:
        some = [k for k in range(K) if made[:, k].sum() > 1e-12]
        made *= min(rate / made.sum(), *(column[k] / made[:, k].sum() for k in some))
    rest = np.maximum(column - made.sum(axis=0), 0)
    missing = max(0.0, rate - made.sum()) / max(rest.sum(), 1e-12)
    for j in range(K):  # errors that these entries cannot hold are of the other classes, by frequency
        for k in range(K):
            if k != j and column.sum() > column[j]:
                made[k, j] += missing * rest[j] * column[k] / (column.sum() - column[j])
        made[j, j] = (1 - missing) * rest[j]
    return np.array([row / row.sum() if row.sum() > 0 else np.eye(K)[k] for k, row in enumerate(made)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [NoiseRate(0.1, 0.05, 0.2), NoiseRate(0.6, 0.5, 0.9)])
def test_the_matrix_of_the_audit_is_that_of_samples_of_rows(
    kind: str, rate: NoiseRate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issues, "_MOST_DRAWS", DRAWS)
    labels, probs = problem(kind, 7)
    lows, highs, first = [], [], None
    for at in naive_samples(labels, probs, DRAWS, 3):
        joint = calibrated_joint(naive_counts(labels[at], probs[at]), labels[at])
        if first is None:
            first = joint
            continue
        # a sample's own rate counts as far as it differs from that of all
        share = (1 - joint.trace()) / (1 - first.trace()) if first.trace() < 1 else 1.0
        lows.append(scaled(joint, min(1.0, rate.low * share)))
        highs.append(scaled(joint, min(1.0, rate.high * share)))
    assert first is not None
    found = issues.estimate(labels, check_labels_probs(labels, probs)[0], rate, seed=3)
    whole = scaled(first, rate.estimate)
    np.testing.assert_allclose(found.transition, whole, atol=1e-9)
    assert found.rate == pytest.approx(rate.estimate)
    ends = [np.quantile(np.array(made), [0.025, 0.975], axis=0) for made in (lows, highs)]
    expected = [
        np.minimum.reduce([ends[0][0], ends[1][0], whole]),
        np.maximum.reduce([ends[0][1], ends[1][1], whole]),
    ]
    np.testing.assert_allclose(found.transition_interval, expected, atol=1e-6)


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
    checked, rate = check_labels_probs(labels, probs)[0], NoiseRate(0.1, 0.05, 0.2)
    whole = issues.estimate(labels, checked, rate)
    assert whole.transition_interval is not None
    monkeypatch.setattr(issues, "_OPEN", 10)
    found = issues.estimate(labels, checked, rate)
    assert found.transition_interval is None
    assert found.rate_interval == (0.05, 0.2)
    np.testing.assert_array_equal(found.transition, whole.transition)


@pytest.mark.parametrize("n", [1, 7, 8192, 20_001])
def test_resample_equals_uniforms(n: int) -> None:
    expected = (uniforms(n, 3, "bootstrap", 1) * n).astype(np.int64)
    assert resample(n, 3, "bootstrap", 1).tolist() == expected.tolist()
    out = np.empty(n, np.int64)
    assert resample(n, 3, "bootstrap", 1, out=out) is out
    assert out.tolist() == expected.tolist()
