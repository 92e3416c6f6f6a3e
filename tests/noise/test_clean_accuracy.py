"""The accuracy on true labels, estimated from noisy test labels: what it is, and when there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.noise.clean_accuracy import DIFFERENCE, RATE, SAMPLING, clean_accuracy, too_few

K = 5


def noisy(n: int, noise: str, seed: int, power: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return given labels, true labels, and probabilities whose `power` is that of the true class."""
    rng = np.random.default_rng(seed)
    exact = rng.dirichlet(np.full(K, 0.3), n)
    true = (rng.random(n)[:, None] > exact.cumsum(1)).sum(1).clip(max=K - 1)
    said = exact ** (1 / power) + 1e-9
    given = nl.corrupt(true, noise, num_classes=K, seed=seed).given
    return given, true, said / said.sum(1, keepdims=True)


@pytest.mark.parametrize("power", [0.3, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("noise", ["none", "symmetric:0.2", "symmetric:0.4", "pairflip:0.2"])
def test_the_interval_holds_the_accuracy_on_true_labels(noise: str, power: float) -> None:
    """For models that are far too sure of themselves, as after memorizing, and for far too modest ones."""
    inside, errors = 0, []
    for seed in range(20):
        given, true, probs = noisy(400, noise, seed, power)
        found, right = clean_accuracy(given, probs), float((probs.argmax(1) == true).mean())
        inside += found.low <= right <= found.high
        errors.append(found.estimate - right)
        assert found.low <= found.estimate <= found.high
        assert found.agreement == (probs.argmax(1) == given).mean()
    assert inside >= 18
    assert abs(np.mean(errors)) < 0.04
    if noise == "symmetric:0.4":  # which the agreement is far from
        assert found.agreement < found.low


def test_the_interval_is_that_of_its_formula() -> None:
    given, _, probs = noisy(300, "symmetric:0.3", 1, 1.0)
    found = clean_accuracy(given, probs)
    n, A, rate = 300, found.agreement, found.rate
    simple, low, high = (min(1, A / (1 - each)) for each in (rate.estimate, rate.low, rate.high))
    z = 1.959964
    wilson = z / (1 + z * z / n) * math.sqrt(A * (1 - A) / n + z * z / (4 * n * n))
    both = (SAMPLING * wilson * found.estimate / A) ** 2 + (DIFFERENCE * (simple - found.estimate)) ** 2
    assert found.low == pytest.approx(found.estimate - math.sqrt(both + (RATE * (simple - low)) ** 2))
    assert found.high == pytest.approx(
        min(1, found.estimate + math.sqrt(both + (RATE * (high - simple)) ** 2))
    )
    kept = found.to_dict()
    assert kept["interval"] == [found.low, found.high]
    assert kept["noise_rate_interval"] == [rate.low, rate.high]
    assert str(found) == (
        f"about {100 * found.estimate:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"
    )


def test_more_test_examples_make_it_narrower() -> None:
    widths = [
        np.mean([found.high - found.low for seed in range(5) for found in [clean_accuracy(*_two(n, seed))]])
        for n in (100, 400, 1600)
    ]
    assert widths[0] > 1.3 * widths[1] > 1.3 * 1.1 * widths[2]


def _two(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    given, _, probs = noisy(n, "symmetric:0.2", seed, 1.0)
    return given, probs


@pytest.mark.parametrize(
    ("n", "classes", "needed"), [(99, 2, 100), (99, 10, 100), (100, 10, 0), (109, 11, 110), (999, 100, 1000)]
)
def test_too_few_test_examples(n: int, classes: int, needed: int) -> None:
    why = too_few(n, classes)
    assert (why is None) == (needed == 0)
    assert why is None or why.endswith(f"and the estimate needs {needed:,}")


def test_labels_that_do_not_fit_are_refused() -> None:
    given, probs = _two(100, 0)
    with pytest.raises(InputError, match="one row per label"):
        clean_accuracy(given[:-1], probs)
