"""The posterior of the true class, compared with naive loops and with labels whose true class is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from noisylabels.audit import posterior as room
from noisylabels.audit.posterior import (
    HELD_OUT,
    JUDGES,
    NETWORK,
    POWER,
    POWER_JUDGES,
    POWER_NETWORK,
    LabelPosterior,
    calibrated,
    judged,
)
from noisylabels.audit.scores import sharpened
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.noise_model import NoiseModels

K, N = 4, 4000


def problem(rate: float, seed: int = 0, sharp: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return given and true labels, and the probabilities of the true class of a calibrated model."""
    draw = np.random.default_rng(seed)
    logits = sharp * draw.normal(size=(N, K))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = (p.cumsum(axis=1) < draw.random((N, 1))).sum(axis=1).clip(max=K - 1)
    flip = draw.random(N) < rate
    given = np.where(flip, (true + draw.integers(1, K, N)) % K, true)
    return given, true, p


def fitted(
    given: np.ndarray, p: np.ndarray, rate: float, power: float = 1.0, **how: object
) -> LabelPosterior:
    return calibrated(given, CheckedProbs(p, "probs"), rate, power, **how)  # type: ignore[arg-type]


def faded(q: float) -> float:
    """Return a power whose logarithm falls slowly below that of 1e-12."""
    return (
        q if q >= 1e-12 else math.exp(math.log(1e-12) + 0.01 * (math.log(max(q, 1e-300)) - math.log(1e-12)))
    )


def naive(p: np.ndarray, given: np.ndarray, power: float, odds: float) -> np.ndarray:
    """Return the posterior by its definition, in loops."""
    made = []
    for row, y in zip(p.tolist(), given.tolist(), strict=True):
        q = [faded(value**power) * (1 if k == y else odds) for k, value in enumerate(row)]
        made.append([each / sum(q) for each in q])
    return np.array(made)


@pytest.mark.parametrize("power", [1.0, 1.2, 2.0])
def test_the_posterior_equals_a_naive_loop(power: float) -> None:
    given, _, p = problem(0.2)
    given, p = given[:200], p[:200]
    found = fitted(given, p, 0.3, power)
    q = naive(p, given, power, found.odds)
    np.testing.assert_allclose(found.whole(), q)
    np.testing.assert_allclose(found.right, [row[y] for row, y in zip(q, given, strict=True)])
    np.testing.assert_allclose(found.wrong, [1 - row[y] for row, y in zip(q, given, strict=True)])
    np.testing.assert_allclose(found.take(np.array([3, 1])), q[[3, 1]])
    np.testing.assert_allclose(found.at(np.arange(200) % K), q[np.arange(200), np.arange(200) % K])
    for i, other in enumerate(found.others().tolist()):
        assert other == max((k for k in range(K) if k != given[i]), key=lambda k: q[i, k])
    np.testing.assert_array_equal(found.kept(), found.whole().astype(np.float32))


def test_odds_of_1_leave_the_probabilities() -> None:
    given, _, p = problem(0.2)
    as_they_are = fitted(given, p, float((1 - p[np.arange(N), given]).mean()))
    assert as_they_are.odds == pytest.approx(1)
    np.testing.assert_allclose(as_they_are.whole(), p, atol=1e-9)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_its_mean_is_the_rate(rate: float, power: float) -> None:
    given, _, p = problem(0.2)
    found = fitted(given, p, rate, power)
    expected = min(max(rate, 0.5 / N), 1 - 0.5 / N)  # half a label at least, so that all are ranked
    assert found.wrong.mean() == pytest.approx(expected, abs=1e-9)
    hand = np.arange(N) % 3 == 0
    counted = fitted(given, p, rate, power, known=hand)
    assert counted.wrong[~hand].mean() == pytest.approx(
        min(max(rate, 0.5 / (~hand).sum()), 1 - 0.5 / (~hand).sum())
    )
    everything = fitted(given, p, rate, power, known=np.ones(N, bool))  # then all count
    np.testing.assert_array_equal(everything.wrong, found.wrong)


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.3, 0.97])
def test_the_rate_leaves_the_ranking(rate: float) -> None:
    given, _, p = problem(0.2)
    found = fitted(given, p, rate, 2.0)
    odds = [
        math.log(faded(row[y] ** 2)) - math.log(sum(faded(q**2) for k, q in enumerate(row) if k != y))
        for row, y in zip(p.tolist(), given.tolist(), strict=True)
    ]
    score = found.right[np.argsort(odds)]
    assert (np.diff(score) >= 0).all()
    least = N // 5 if rate else 50  # the least probable labels are told apart
    assert len(np.unique(score[:least])) == least
    # and of the other classes, the most probable one stays so
    rest = p.copy()
    rest[np.arange(N), given] = -1
    np.testing.assert_array_equal(found.others(), rest.argmax(axis=1))


def test_labels_that_a_confident_model_contradicts_are_ranked() -> None:
    small = 10.0 ** -np.arange(1, 41)  # 1 - small is 1 for most of them
    p = np.stack([small, 1 - small], axis=1)
    found = fitted(np.zeros(40, np.int64), p, 0.5, 2.0)
    assert (np.diff(found.right) <= 0).all()
    assert len(np.unique(found.right[20:])) == 20


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("agreed", [0, 1, 3, 6])
def test_probabilities_of_0_and_1_are_calibrated_too(rate: float, agreed: int) -> None:
    given = np.arange(6) % 3
    p = np.eye(3)[np.where(np.arange(6) < agreed, given, (given + 1) % 3)]
    found = fitted(given, p, rate, 2.0)
    share = min(max(rate, 0.5 / 6), 1 - 0.5 / 6)
    assert found.wrong.mean() == pytest.approx(share, abs=1e-6)
    q = found.whole()
    np.testing.assert_allclose(q.sum(axis=1), 1)
    np.testing.assert_allclose(found.right, q[np.arange(6), given], atol=1e-9)
    assert (q >= 0).all()
    assert math.isfinite(found.odds)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_at_the_right_rate_the_probabilities_are_calibrated(rate: float) -> None:
    given, true, p = problem(rate)
    wrong = given != true
    probs = CheckedProbs(p, "probs")
    made, power = judged(given, probs, None, JUDGES, NoiseModels(given, probs), 1.0)
    found = calibrated(given, made, float(wrong.mean()), power)
    gaps = [
        abs(found.wrong[some].mean() - wrong[some].mean())
        for some in np.array_split(np.argsort(found.wrong), 10)
    ]
    assert np.mean(gaps) < 0.03
    assert abs(math.log(found.odds)) < 0.3  # here the noise model was right by itself


def test_what_judges_the_labels() -> None:
    given, _, p = problem(0.2)
    seen = 0.5 * p + 0.5 / K
    outside, inside = CheckedProbs(p, "probs"), CheckedProbs(seen, "seen")
    models = NoiseModels(given, outside)
    q = models.simplest.whole(outside, given)
    for rule, first, expected in ((NETWORK, p, POWER_NETWORK * 0.8), (JUDGES, q, POWER_JUDGES * 0.8)):
        made, power = judged(given, outside, inside, rule, models, 0.8)
        w = HELD_OUT[rule]
        np.testing.assert_allclose(
            np.asarray(made)[7], [w * first[7, k] + (1 - w) * seen[7, k] for k in range(K)]
        )
        np.testing.assert_allclose(np.asarray(made), w * first + (1 - w) * seen)
        assert power == pytest.approx(expected)
    made, power = judged(given, outside, None, JUDGES, models, 0.8)
    np.testing.assert_allclose(np.asarray(made), q)
    assert power == 1.0
    assert judged(given, outside, None, NETWORK, models, 0.8) == (outside, POWER)


def test_probabilities_alone_are_scored_by_sharpened_odds() -> None:
    given, _, p = problem(0.2)
    probs = CheckedProbs(p, "probs")
    made, power = judged(given, probs, None, NETWORK, NoiseModels(given, probs), 0.8)
    score = sharpened(given, p)
    found = calibrated(given, made, float((1 - score).mean()), power)
    np.testing.assert_allclose(found.right, score, atol=1e-9)


def test_a_few_probabilities_of_0_do_not_outweigh_all_other_labels() -> None:
    given, _, p = problem(0.1)
    p[:40, :] = np.array([0.0, 0.4, 0.3, 0.3])
    given[:40] = 0
    found = fitted(given, p, 0.005, 2.0)  # fewer labels are wrong than have a probability of 0
    worst = np.argmin(p[np.arange(N), given][40:]) + 40
    assert len(np.unique(found.right[40:])) > 500  # the others are still ranked
    assert found.right[worst] < 0.999


def test_a_large_mapped_file_is_kept_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, _, p = problem(0.2)
    np.save(tmp_path / "p.npy", p)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    found = fitted(given, mapped, 0.2)
    np.testing.assert_array_equal(found.kept(), fitted(given, p, 0.2).kept())
    monkeypatch.setattr(room, "MAPPED_BYTES", p.size * 4 - 1)
    assert found.kept() is mapped
    assert fitted(given, p, 0.2).kept().dtype == np.float32  # memory is not mapped
