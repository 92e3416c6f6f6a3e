"""The noise rate: its evidence, compared with naive loops, and how the evidence is weighed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.known_sets import KnownSets, known_sets
from noisylabels.noise.noise_model import NoiseModels
from noisylabels.noise.noise_rate import GIVEN, JUDGES, NETWORK, Evidence, evidence, noise_rate

SOURCES = (JUDGES, NETWORK, GIVEN)


def problem(K: int, n: int = 240, seed: int = 0, rate: float = 0.2) -> tuple[np.ndarray, ...]:
    """Return given labels, out-of-fold probabilities, and probabilities during training."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, K, n)
    given = np.where(draw.random(n) < rate, draw.integers(0, K, n), true)
    p, seen = draw.dirichlet(np.full(K, 0.5), (2, n)) * 0.6
    p[np.arange(n), true] += 0.4
    seen[np.arange(n), given] += 0.4
    return given, p, seen


def of(given: np.ndarray, p: np.ndarray, seen: np.ndarray | None = None) -> Evidence:
    probs = CheckedProbs(p, "probs")
    inside = None if seen is None else CheckedProbs(seen, "seen")
    return evidence(given, probs, inside, NoiseModels(given, probs))


@pytest.mark.parametrize("K", [2, 3, 10])
def test_the_evidence_equals_naive_loops(K: int) -> None:
    given, p, seen = problem(K, seed=K)
    found = of(given, p, seen)
    n = len(given)
    assert found.resisted == sum(int(row.argmax()) != y for row, y in zip(seen, given, strict=True)) / n
    for share, name in ((4, "easiest"), (2, "easier")):
        wrong = []
        for k in range(K):
            of_class = sorted((i for i in range(n) if int(p[i].argmax()) == k), key=lambda i: -max(p[i]))
            wrong += [int(given[i] != k) for i in of_class[: -(-len(of_class) // share)]]
        assert getattr(found, name) == pytest.approx(sum(wrong) / len(wrong))
    fitted = NoiseModels(given, CheckedProbs(p, "probs"))
    for name in ("overall", "per_pair"):
        model = getattr(fitted, name)
        total = 0.0
        for row, y in zip(p, given.tolist(), strict=True):
            q = [row[k] ** model.power * model.transition[k, y] for k in range(K)]
            total += 1 - q[y] / sum(q)
        assert getattr(found, name) == pytest.approx(total / n, abs=1e-6)
    agree = sum(int(row.argmax()) == y for row, y in zip(p, given, strict=True)) / n
    assert found.everywhere == pytest.approx(1 - agree)
    assert found.accuracy == pytest.approx(min(1.0, agree / (1 - found.overall)))
    assert (found.classes, found.n) == (K, n)
    # without training nothing resists it
    assert of(given, p) == replace(found, resisted=None)


def test_the_evidence_is_exact_for_exact_probabilities() -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 5, 2000)
    given = np.where(draw.uniform(size=2000) < 0.3, (true + draw.integers(1, 5, 2000)) % 5, true)
    p = 0.05 + 0.75 * np.eye(5)[true]
    rate = float((given != true).mean())
    found = of(given, p, p)
    assert found.resisted == pytest.approx(rate, abs=1e-9)
    assert found.easiest == pytest.approx(rate, abs=0.05)  # of a quarter of them
    assert found.easier == pytest.approx(rate, abs=0.04)
    assert found.overall == pytest.approx(rate, abs=0.02)
    assert found.per_pair == pytest.approx(rate, abs=0.02)
    clean = of(true, p, p)
    assert (clean.easiest, clean.easier, clean.resisted) == (0, 0, 0)
    assert clean.overall < 0.02


def test_one_example_and_a_class_without_labels_are_accepted() -> None:
    found = of(np.array([0, 0, 1]), np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]))
    assert (found.easiest, found.easier) == (0.25, 0.25)  # two are equally sure, one of them is wrong
    assert of(np.array([1]), np.array([[0.9, 0.1]])).easiest == 1.0


def agreeing(share: float, source: str, n: int = 500, **others: float) -> Evidence:
    """Return evidence that agrees on a rate, but for some of it."""
    found = Evidence(share, share, share, share, share, None if source == GIVEN else share, 10, n)
    return replace(found, **others)  # type: ignore[arg-type]


def test_the_regression_equals_naive_loops() -> None:
    draw = np.random.default_rng(0)
    points, above, variance = draw.random((7, 3)), draw.random(7), draw.random(7) + 0.1
    sets, at = KnownSets(points, above, variance, np.zeros(5)), draw.random(3)
    length = [2.0 * (np.std(points[:, k]) + 1e-6) for k in range(3)]

    def covariance(a: np.ndarray, b: np.ndarray) -> float:
        apart = sum(((a[k] - b[k]) / length[k]) ** 2 for k in range(3))
        return 0.2**2 + 0.7**2 * sum(a[k] * b[k] for k in range(3)) + 0.2**2 * float(np.exp(-apart / 2))

    whole = np.array([[covariance(a, b) for b in points] for a in points]) + np.diag(variance)
    near = np.array([covariance(at, b) for b in points])
    mean, deviation = sets.predict(at)
    assert mean == pytest.approx(near @ np.linalg.solve(whole, above))
    assert deviation**2 == pytest.approx(covariance(at, at) - near @ np.linalg.solve(whole, near))


@pytest.mark.parametrize("source", SOURCES)
def test_the_known_sets_are_complete(source: str) -> None:
    sets = known_sets(source)
    found = agreeing(0.2, source)
    assert len(sets.points) > 300
    assert sets.points.shape[1] == len(found.coordinates)
    assert len(sets.points) == len(sets.above) == len(sets.variance)
    rates = sets.points[:, 0] + sets.above
    assert -1e-3 <= rates.min() < 0.01  # clean ones, and very noisy ones
    assert 0.55 < rates.max() < 0.75
    assert (sets.variance > 0).all()
    assert (sets.spread >= 0).all()
    assert sets.spread.shape == (5,)


@pytest.mark.parametrize("source", SOURCES)
def test_the_rate_of_a_known_set_is_near_its_own(source: str) -> None:
    sets = known_sets(source)
    errors = [abs(sets.predict(at)[0] - own) for at, own in zip(sets.points, sets.above, strict=True)]
    assert np.mean(errors) < 0.03


@pytest.mark.parametrize("source", SOURCES)
def test_rates_lie_between_0_and_1_inside_their_intervals(source: str) -> None:
    draw = np.random.default_rng(0)
    for row in [*draw.random((200, 6)), np.zeros(6), np.ones(6), np.array([0.0, 1, 1, 1, 0, 1])]:
        found = Evidence(*row.tolist(), classes=7, n=500)
        got = noise_rate(replace(found, resisted=None) if source == GIVEN else found, source)
        assert 0 <= got.low <= got.estimate <= got.high <= 1
        assert got.high > got.low
    # evidence that agrees is believed
    for share in (0.1, 0.2, 0.4):
        got = noise_rate(agreeing(share, source, n=2500), source)
        assert got.estimate == pytest.approx(share, abs=0.04)
        assert got.low <= share <= got.high


@pytest.mark.parametrize("source", SOURCES)
def test_what_the_models_confuse_and_find_hard_widens_the_interval(source: str) -> None:
    spread = known_sets(source).spread
    plain = agreeing(0.2, source)
    assert plain.reach(0.01, spread) < plain.reach(0.02, spread)
    assert plain.reach(0.01, spread) < agreeing(0.2, source, per_pair=0.25).reach(0.01, spread)
    assert plain.reach(0.01, spread) < agreeing(0.2, source, everywhere=0.3).reach(0.01, spread)
    # models that are right on fewer than two thirds widen it further
    weak, weaker = (agreeing(0.2, source, everywhere=share) for share in (0.5, 0.6))
    assert weak.accuracy == pytest.approx(0.5 / 0.8)
    gain = weaker.reach(0.01, spread) - weak.reach(0.01, spread)
    assert gain > spread[3] * 0.1


@pytest.mark.parametrize("source", SOURCES)
def test_few_labels_have_a_wide_interval(source: str) -> None:
    widths = []
    for n in (30, 100, 1000, 100_000):
        got = noise_rate(agreeing(0.3, source, n=n), source)
        widths.append(got.high - got.low)
        assert widths[-1] >= 2 * (0.3 * 0.7 / n) ** 0.5
    assert widths == sorted(widths, reverse=True)


def test_a_clean_set_is_not_said_to_be_free_of_errors() -> None:
    got = noise_rate(agreeing(0.0, GIVEN, n=10_000), GIVEN)
    assert 0 < got.estimate < 0.02
    assert got.low == 0


@pytest.mark.parametrize("digits", [None, 2, 0])
def test_the_order_of_the_rows_does_not_matter(digits: int | None) -> None:
    given, p, seen = problem(4, n=400)
    if digits is not None:
        p = np.round(p, digits) + 1e-3
        p /= p.sum(axis=1, keepdims=True)
    found = of(given, p, seen)
    for order in (np.argsort(given), np.argsort(-given), np.random.default_rng(1).permutation(400)):
        moved = of(given[order], p[order], seen[order])
        for field in fields(Evidence):
            assert getattr(moved, field.name) == pytest.approx(getattr(found, field.name), abs=1e-9)


@pytest.mark.parametrize("source", SOURCES)
def test_noise_in_some_classes_alone_is_found(source: str) -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 10, 2000)
    given = np.where((true < 5) & (draw.random(2000) < 0.3), (true + 5) % 10, true)
    p = draw.dirichlet(np.full(10, 0.5), 2000) * 0.3
    p[np.arange(2000), true] += 0.7
    rate = float((given != true).mean())
    got = noise_rate(of(given, p, None if source == GIVEN else p), source)
    assert abs(got.estimate - rate) < 0.05
    assert got.low <= rate <= got.high


def test_an_unknown_source_is_none() -> None:
    with pytest.raises(KeyError):
        noise_rate(agreeing(0.2, NETWORK), "other")
