"""The noise rate: its evidence, compared with naive loops, and how the evidence is weighed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from noisylabels.noise import noise_rate as module
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.noise_model import NoiseModels
from noisylabels.noise.noise_rate import FITS, GIVEN, JUDGES, NETWORK, Evidence, Fit, evidence, noise_rate


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
    assert found.accuracy == pytest.approx(min(1.0, agree / (1 - found.overall)))
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


KINDS = ("easiest", "easier", "per_pair", "resisted")
SOME = Evidence(easiest=0.1, easier=0.4, overall=0.1, per_pair=0.2, resisted=0.05, accuracy=0.8, n=10**15)


@pytest.mark.parametrize("source", [JUDGES, NETWORK, GIVEN])
@pytest.mark.parametrize("trained", [False, True])
def test_the_weights_of_the_source_weigh_the_evidence(
    source: str, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = {
        name: Fit(*(0.01 + 0.01 * at + 0.002 * k for k in range(len(fields(Fit)))))
        for at, name in enumerate((NETWORK, JUDGES, GIVEN))
    }
    monkeypatch.setattr(module, "FITS", fits)
    found = SOME if trained else replace(SOME, resisted=None)
    fit = fits[source if trained else GIVEN]
    weights = {kind: getattr(fit, kind) for kind in KINDS if trained or kind != "resisted"}
    for kind in weights.keys() & {"per_pair", "resisted"}:
        weights[kind] *= 0.8**fit.trust
    rest = 1 - sum(weights.values())
    expected = rest * 0.1 + sum(weight * getattr(found, kind) for kind, weight in weights.items())
    spread = fit.floor + fit.confusion * (0.2 - 0.1) + fit.hardness * (0.4 - 0.1)
    got = noise_rate(found, source)
    assert got.estimate == pytest.approx(expected)
    assert got.high - got.estimate == pytest.approx(fit.reach * spread)
    assert got.low == pytest.approx(max(0.0, expected - fit.reach * spread))
    # confusion and hardness below the rate of all classes make no spread
    half = noise_rate(replace(found, overall=0.5), source)
    assert half.high - half.estimate == pytest.approx(fit.reach * fit.floor)


@pytest.mark.parametrize("source", FITS)
def test_the_fits_give_rates_between_0_and_1_inside_their_intervals(source: str) -> None:
    draw = np.random.default_rng(0)
    for row in [*draw.random((200, 5)), np.zeros(5), np.ones(5)]:
        got = noise_rate(Evidence(*row.tolist(), accuracy=0.8, n=500), source)
        assert 0 <= got.low <= got.estimate <= got.high <= 1
        assert got.high > got.low
    # a sum far outside has an interval too
    far = noise_rate(Evidence(0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 500), source)
    assert far.high > far.low
    # evidence that agrees is believed
    shares = (0.02, 0.1, 0.2, 0.4, 0.6)
    rates = [
        noise_rate(Evidence(s, s, s, s, None if source == GIVEN else s, 0.9, 500), source) for s in shares
    ]
    assert [rate.estimate for rate in rates] == pytest.approx(shares)


@pytest.mark.parametrize("source", FITS)
def test_more_disagreement_of_the_evidence_never_narrows_the_interval(source: str) -> None:
    def width(per_pair: float, easier: float) -> float:
        got = noise_rate(
            Evidence(0.3, easier, 0.3, per_pair, None if source == GIVEN else 0.3, 0.9, 500), source
        )
        return got.high - got.low

    # but for the sampling error, which follows the estimate
    assert width(0.36, 0.3) + 1e-3 >= width(0.32, 0.3) >= width(0.3, 0.3) - 1e-3
    assert width(0.3, 0.36) + 1e-3 >= width(0.3, 0.32) >= width(0.3, 0.3) - 1e-3


@pytest.mark.parametrize("source", FITS)
def test_few_labels_have_a_wide_interval(source: str) -> None:
    widths = []
    for n in (30, 100, 1000, 100_000):
        got = noise_rate(Evidence(0.3, 0.3, 0.3, 0.3, None if source == GIVEN else 0.3, 0.9, n), source)
        widths.append(got.high - got.low)
        sampled = (0.3 * 0.7 / n) ** 0.5 + 1 / n
        assert widths[-1] >= 2 * sampled
    assert widths == sorted(widths, reverse=True)
    assert widths[2] < 1.5 * widths[3]  # of many labels it hardly matters


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


@pytest.mark.parametrize("source", FITS)
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
        noise_rate(SOME, "other")
