"""The noise rate: its evidence, compared with naive loops, and how the evidence is weighed."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest

from noisylabels.audit import noise_rate as room
from noisylabels.audit.noise_model import NoiseModels
from noisylabels.audit.noise_rate import FITS, LEAST, Evidence, Fit, evidence, noise_rate
from noisylabels.audit.posterior import JUDGES, NETWORK, RULES
from noisylabels.noise.checked_probs import CheckedProbs


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
    return evidence(given, probs, seen, NoiseModels(given, probs))


def naive_joint(given: np.ndarray, p: np.ndarray) -> float:
    """Return the noise rate by equations 1 to 3 of Northcutt et al. 2021, in loops."""
    n, K = p.shape
    labels = given.tolist()
    threshold = [np.mean([p[i, k] for i in range(n) if labels[i] == k] or [np.inf]) for k in range(K)]
    counts = np.zeros((K, K))  # true, given
    for i in range(n):
        above = [k for k in range(K) if p[i, k] >= threshold[k]]
        if above:
            counts[max(above, key=lambda k: p[i, k]), labels[i]] += 1
    wrong = 0.0
    for k in range(K):
        if counts[:, k].sum():
            wrong += (1 - counts[k, k] / counts[:, k].sum()) * labels.count(k) / n
    return wrong


@pytest.mark.parametrize("K", [2, 3, 10])
def test_the_evidence_equals_naive_loops(K: int) -> None:
    given, p, seen = problem(K, seed=K)
    found = of(given, p, seen)
    n = len(given)
    assert found.joint == pytest.approx(naive_joint(given, p))
    assert found.spread == pytest.approx(1 / n**0.5)
    assert found.resisted == sum(int(row.argmax()) != y for row, y in zip(seen, given, strict=True)) / n
    most_sure = sorted(range(n), key=lambda i: -max(p[i]))[: n // 2]
    assert found.sure == pytest.approx(
        sum(int(p[i].argmax()) != given[i] for i in most_sure) / len(most_sure)
    )
    fitted = NoiseModels(given, CheckedProbs(p, "probs"))
    for name in ("overall", "per_pair"):
        model = getattr(fitted, name)
        total = 0.0
        for row, y in zip(p, given.tolist(), strict=True):
            q = [row[k] ** model.power * model.transition[k, y] for k in range(K)]
            total += 1 - q[y] / sum(q)
        assert getattr(found, name) == pytest.approx(total / n, abs=1e-6)
    # without training nothing resists it
    assert of(given, p) == replace(found, resisted=None)
    assert of(given, p, CheckedProbs(seen, "seen")) == found  # type: ignore[arg-type]


def test_the_evidence_is_exact_for_exact_probabilities() -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 5, 2000)
    given = np.where(draw.uniform(size=2000) < 0.3, (true + draw.integers(1, 5, 2000)) % 5, true)
    p = 0.05 + 0.75 * np.eye(5)[true]
    rate = float((given != true).mean())
    found = of(given, p, p)
    assert found.joint == pytest.approx(rate, abs=1e-9)
    assert found.resisted == pytest.approx(rate, abs=1e-9)
    assert found.sure == pytest.approx(rate, abs=0.04)  # of half of them
    assert found.overall == pytest.approx(rate, abs=0.02)
    assert found.per_pair == pytest.approx(rate, abs=0.02)
    clean = of(true, p, p)
    assert (clean.joint, clean.sure, clean.resisted) == (0, 0, 0)
    assert clean.overall < 0.02


def test_one_example_and_a_class_without_labels_are_accepted() -> None:
    assert of(np.array([0, 0, 1]), np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])).joint == (
        pytest.approx(1 / 3)
    )
    alone = of(np.array([1]), np.array([[0.9, 0.1]]))
    assert alone.sure == 1.0
    assert alone.spread == 1.0


SOME = Evidence(0.1, 0.2, 0.3, 0.4, 0.05, 0.01)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("trained", [False, True])
def test_the_weights_of_the_rule_weigh_the_evidence(
    rule: str, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ("overall", "per_pair", "joint", "sure", "resisted")
    fits = {
        name: Fit(*(0.01 + 0.01 * at + 0.002 * k for k in range(len(fields(Fit)))))
        for at, name in enumerate((NETWORK, JUDGES, "given"))
    }
    monkeypatch.setattr(room, "FITS", fits)
    found = SOME if trained else replace(SOME, resisted=None)
    fit = fits[rule if trained else "given"]
    expected = fit.base + sum(getattr(fit, kind) * (getattr(found, kind) or 0.0) for kind in kinds)
    spread = fit.floor + fit.confusion * (0.2 - 0.1) + fit.hardness * (0.4 - 0.1) + fit.sampling * 0.01
    got = noise_rate(found, rule)
    assert got.estimate == pytest.approx(expected)
    assert got.high - got.estimate == pytest.approx(fit.reach * spread)
    assert got.low == pytest.approx(max(0.0, expected - fit.reach * spread))
    # confusion and hardness below the rate of all classes make no spread
    easy = replace(found, overall=0.5)
    half = noise_rate(easy, rule)
    assert half.high - half.estimate == pytest.approx(fit.reach * max(LEAST, fit.floor + fit.sampling * 0.01))


@pytest.mark.parametrize("name", FITS)
def test_the_fits_give_rates_between_0_and_1_inside_their_intervals(name: str) -> None:
    rule = NETWORK if name == "given" else name
    draw = np.random.default_rng(0)
    for row in [*draw.random((200, 6)), np.zeros(6), np.ones(6)]:
        found = Evidence(*row.tolist())
        found = replace(found, resisted=None) if name == "given" else found
        got = noise_rate(found, rule)
        assert 0 <= got.low <= got.estimate <= got.high <= 1
        assert got.high > got.low
    # a sum far outside has an interval too
    far = noise_rate(Evidence(0.02, 0.02, 0.9, 0.0, None if name == "given" else 0.0, 1e-3), rule)
    assert far.high > far.low == 0
    # agreement of all evidence is believed, to within the interval
    shares = (0.02, 0.1, 0.2, 0.4, 0.6)
    rates = [noise_rate(Evidence(s, s, s, s, None if name == "given" else s, 0.02), rule) for s in shares]
    assert all(one.estimate < other.estimate for one, other in itertools.pairwise(rates))
    for share, rate in zip(shares, rates, strict=True):
        assert abs(rate.estimate - share) < 0.2 * share + 0.01


@pytest.mark.parametrize("name", FITS)
def test_fewer_examples_and_more_disagreement_never_narrow_the_interval(name: str) -> None:
    rule = NETWORK if name == "given" else name
    resisted = None if name == "given" else 0.3

    def width(per_pair: float, sure: float, n: int) -> float:
        got = noise_rate(Evidence(0.3, per_pair, 0.3, sure, resisted, n**-0.5), rule)
        return got.high - got.low

    assert width(0.3, 0.3, 100) >= width(0.3, 0.3, 1000) >= width(0.3, 0.3, 100_000) > 0
    assert width(0.36, 0.3, 1000) >= width(0.32, 0.3, 1000) >= width(0.3, 0.3, 1000)
    assert width(0.3, 0.36, 1000) >= width(0.3, 0.32, 1000) - 1e-12 >= width(0.3, 0.3, 1000) - 2e-12


def test_an_unknown_rule_is_no_rule() -> None:
    with pytest.raises(KeyError):
        noise_rate(SOME, "other")
