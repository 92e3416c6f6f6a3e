"""Noise models, compared with Bayes' rule, a naive likelihood, and transition matrices that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noisylabels.noise import noise_model
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.noise_model import POWERS, NoiseModel, NoiseModels

K, N = 4, 4000


def drawn(sharp: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return true labels, and the probabilities of a calibrated model."""
    draw = np.random.default_rng(seed)
    logits = sharp * draw.normal(size=(N, K))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return (p.cumsum(axis=1) < draw.random((N, 1))).sum(axis=1).clip(max=K - 1), p


def noisy(true: np.ndarray, T: np.ndarray, seed: int = 1) -> np.ndarray:
    """Return labels drawn from the rows of a transition matrix."""
    chosen = np.random.default_rng(seed).random(len(true))
    return (T[true].cumsum(axis=1) < chosen[:, None]).sum(axis=1).clip(max=len(T) - 1)


def uniform(*rates: float) -> np.ndarray:
    """Return the transition matrix of symmetric noise with a rate per class."""
    return np.array(
        [[1 - rate if k == j else rate / (K - 1) for j in range(K)] for k, rate in enumerate(rates)]
    )


OVERALL = uniform(0.2, 0.2, 0.2, 0.2)
PER_CLASS = uniform(0.0, 0.35, 0.1, 0.0)
PER_PAIR = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0.6, 0.4], [0, 0, 0, 1.0]])


def rates_in(T: np.ndarray) -> int:
    """Return how many different noise rates a transition matrix has."""
    return len(np.unique(T[~np.eye(len(T), dtype=bool)].round(9)))


def models(given: np.ndarray, p: np.ndarray) -> NoiseModels:
    return NoiseModels(given, CheckedProbs(p, "probs"))


def test_the_posterior_is_bayes_rule() -> None:
    draw = np.random.default_rng(2)
    p, given = draw.dirichlet(np.ones(3), 40), draw.integers(0, 3, 40)
    T = draw.dirichlet(np.ones(3), 3)
    model = NoiseModel(0.0, 0.0, 1.75, T)
    probs = CheckedProbs(p, "probs")
    whole, wrong = model.whole(probs, given), model.wrong(probs, given)
    for i in range(40):
        of_class = [p[i, k] ** 1.75 * T[k, given[i]] for k in range(3)]
        expected = [each / sum(of_class) for each in of_class]
        np.testing.assert_allclose(whole[i], expected, atol=1e-6)
        assert wrong[i] == pytest.approx(1 - expected[given[i]], abs=1e-6)
    np.testing.assert_allclose(model.posterior(p[[3, 1]], given[[3, 1]]), whole[[3, 1]])


@pytest.mark.parametrize("name", ["overall", "per_class", "per_pair"])
def test_the_cost_is_the_likelihood_and_the_power_the_best(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, p = drawn()
    given, p = noisy(true, PER_CLASS)[:300], p[:300]
    model: NoiseModel = getattr(models(given, p), name)
    cost = 0.0
    for row, y in zip(p.tolist(), given.tolist(), strict=True):
        tempered = [value**model.power for value in row]
        cost -= math.log(
            sum(q / sum(tempered) * model.transition[k, y] for k, q in enumerate(tempered))
        ) / len(given)
    assert model.cost == pytest.approx(cost, abs=1e-5)
    costs = {}
    for power in POWERS:
        monkeypatch.setattr(noise_model, "POWERS", (power, 1.5) if power != 1.5 else (1.5,))
        walked = models(given, p)
        costs[power] = walked._fit(power, getattr(noise_model, f"_{name}"), 1).cost
    assert model.power == min(costs, key=costs.__getitem__)


@pytest.mark.parametrize(
    ("T", "name"), [(OVERALL, "overall"), (PER_CLASS, "per_class"), (PER_PAIR, "per_pair")]
)
def test_known_transition_matrices_are_found(T: np.ndarray, name: str) -> None:
    true, p = drawn()
    given = noisy(true, T)
    fitted = models(given, p)
    model: NoiseModel = getattr(fitted, name)
    np.testing.assert_allclose(model.transition, T, atol=0.06)
    np.testing.assert_allclose(model.transition.sum(axis=1), 1)
    assert model.wrong(CheckedProbs(p, "probs"), given).mean() == pytest.approx(
        (given != true).mean(), abs=0.02
    )
    # the simplest model that fits is kept; the others hold it, and cost no more
    assert fitted.simplest is fitted.most_predictive is model
    order = [fitted.overall, fitted.per_class, fitted.per_pair]
    assert [rates_in(each.transition) for each in order] == [1, K, K * (K - 1)]
    costs = [each.cost for each in order]
    more = [len(given) * (each.expected_cost - each.cost) for each in order]
    assert more == pytest.approx([2, 1 + K, 1 + K * (K - 1)])  # the power, and the rates
    assert costs[0] >= costs[1] - 1e-3 >= costs[2] - 2e-3


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 1 / 0.6])
def test_the_power_calibrates_probabilities_that_are_too_confident_or_too_little(sharpened: float) -> None:
    true, p = drawn()
    given = noisy(true, OVERALL)
    off = p**sharpened
    found = models(given, off / off.sum(axis=1, keepdims=True)).overall
    near = min(POWERS, key=lambda power: abs(power - 1 / sharpened))
    assert abs(POWERS.index(found.power) - POWERS.index(near)) <= 1
    wrong = found.wrong(CheckedProbs(off / off.sum(axis=1, keepdims=True), "probs"), given)
    for some in np.array_split(np.argsort(wrong), 10):
        assert wrong[some].mean() == pytest.approx((given != true)[some].mean(), abs=0.08)


def test_the_order_of_the_examples_decides_nothing() -> None:
    true, p = drawn()
    given = noisy(true, PER_CLASS)
    order = np.random.default_rng(5).permutation(N)
    one, other = models(given, p).per_pair, models(given[order], p[order]).per_pair
    assert one.power == other.power
    np.testing.assert_allclose(one.transition, other.transition, atol=1e-9)


def test_a_model_of_many_examples_is_fitted_to_some(monkeypatch: pytest.MonkeyPatch) -> None:
    true, p = drawn()
    given = noisy(true, OVERALL)
    whole = models(given, p).overall
    monkeypatch.setattr(noise_model, "_ROWS", 1000)
    some = models(given, p)
    assert len(some._given) == 1000
    assert set(np.unique(some._given)) == set(range(K))
    assert some.overall.transition[0, 0] == pytest.approx(whole.transition[0, 0], abs=0.05)


@pytest.mark.parametrize(
    ("labels", "p"),
    [
        ([0, 0, 1], [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]]),
        ([0, 0], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        ([2], [[1.0, 0.0, 0.0]]),
        ([0, 1, 0, 1], [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]),
    ],
)
def test_few_labels_and_missing_classes_give_probabilities(labels: list[int], p: list[list[float]]) -> None:
    given, probs = np.array(labels), CheckedProbs(np.array(p), "probs")
    fitted = NoiseModels(given, probs)
    for model in (fitted.overall, fitted.per_class, fitted.per_pair, fitted.simplest):
        np.testing.assert_allclose(model.transition.sum(axis=1), 1)
        wrong = model.wrong(probs, given)
        assert ((wrong >= 0) & (wrong <= 1)).all()
        assert math.isfinite(model.cost)
