"""How the candidates for a table are compared on held-out rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import noisylabels as nl
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.features import feature_set
from noisylabels.experiment import RunConfig
from noisylabels.experiment.table_candidates import candidates
from noisylabels.experiment.table_folds import ENOUGH, FOLDS, _PerCandidate, folds, held_out, likelihood
from noisylabels.experiment.table_recipe import choose_for_table
from noisylabels.experiment.table_settings import decided


def drawn(n: int, columns: int, classes: int, noise: str, seed: int, apart: float = 0.4):
    """Return a set of Gaussian classes with noisy labels, and its true labels."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, n)
    rows = rng.normal(size=(n, columns)) + rng.normal(size=(classes, columns))[true] * apart
    given = nl.corrupt(true, noise, num_classes=classes, seed=seed).given
    names = [f"c{k}" for k in range(classes)]
    return feature_set(torch.from_numpy(rows).float(), torch.from_numpy(given), names), given, true


@pytest.mark.parametrize("noise", ["asymmetric:0.3@0to1,1to2", "symmetric:0.4", "none"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_of_the_true_class_beats_one_of_the_given_label_only_with_its_noise(noise, seed):
    """Both are right about what they predict; with the noise between, both explain the labels as well."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, 3000)
    clean = np.full((3000, 3), 0.01)
    clean[np.arange(3000), true] = 0.98
    noisy = nl.corrupt(true, noise, num_classes=3, seed=seed)
    counts = np.zeros((3, 3))
    np.add.at(counts, (true, noisy.given), 1)
    hedged = clean @ (counts / counts.sum(1, keepdims=True))
    costs = [likelihood(each, noisy.given)[0] for each in (clean, hedged)]
    assert costs[0] == pytest.approx(costs[1], abs=0.01)
    if noise != "none":
        plain = [-np.log(each[np.arange(3000), noisy.given]).mean() for each in (clean, hedged)]
        assert plain[0] > plain[1] + 0.1
    worse = np.concatenate([clean[1000:1300], clean[300:]])  # a tenth of the predictions are another row's
    assert likelihood(worse, noisy.given)[0] > costs[0] + 0.01


@pytest.mark.parametrize("seed", range(8))
def test_chance_that_a_noise_model_fits_does_not_count(seed):
    """Of 1,000 rows with 80 % noise, uninformative probabilities explain less than those of 60 % accuracy."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 10, 1000)
    given = nl.corrupt(true, "symmetric:0.8", num_classes=10, seed=seed).given
    predicted = np.where(rng.random(1000) < 0.6, true, rng.integers(0, 10, 1000))
    informed = 0.03 + 0.7 * np.eye(10)[predicted]
    uninformed = rng.dirichlet(np.full(10, 0.3), 1000)
    costs = [likelihood(each, given)[0] for each in (informed, uninformed)]
    assert costs[0] < costs[1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_asymmetric_noise_on_wide_tables_is_not_learned(seed):
    """Cross entropy predicts the noisy labels better, and the true ones worse."""
    train, given, _ = drawn(900, 300, 6, "asymmetric:0.35@0to1,2to3,4to5", seed, apart=0.3)
    config = RunConfig(data="t", table_recipe=decided(), seed=seed, device="cpu")
    assert choose_for_table(config, train, given, None)["loss"] == "gce(q=0.7)"


def test_the_losses_of_one_loop_are_those_of_each_candidate():
    logits = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    target = torch.arange(12) % 4
    both = [nl.loss("ce"), nl.loss("gce(q=0.7)")]
    expected = [float(each(logits[6 * k :][:6], target[6 * k :][:6])) for k, each in enumerate(both)]
    values = _PerCandidate(both)(logits, target)
    assert [float(part.mean()) for part in values.chunk(2)] == pytest.approx(expected)


def test_one_loop_and_one_training_per_fold_hold_out_the_same_rows_and_agree():
    train, _, true = drawn(300, 6, 3, "symmetric:0.2", 0, apart=1.2)
    config = RunConfig(data="t", table_recipe=decided(), device="cpu")
    slow = RunConfig(data="t", table_recipe=decided(), device="cpu", clip=100.0)
    tried = candidates(config, 6)
    for one, other in zip(
        *(held_out(tried, each, train, np.arange(300), lambda: False) for each in (config, slow)), strict=True
    ):
        np.testing.assert_array_equal(one.rows, other.rows)
        assert sorted(one.rows.tolist()) == list(range(300))
        assert one.cost == pytest.approx(other.cost, abs=0.06)
        agree = (one.probs.argmax(1) == other.probs.argmax(1)).mean()
        assert agree > 0.9
        assert (one.probs.argmax(1) == true[one.rows]).mean() > 0.85


def test_a_loss_that_diverges_costs_infinitely_and_the_others_do_not():
    train, given, _ = drawn(100, 5, 2, "none", 0)
    config = RunConfig(data="t", table_recipe=decided(["lr"]), device="cpu", lr=1e30, schedule="constant")
    costs = [
        each.cost for each in held_out(candidates(config, 5), config, train, np.arange(100), lambda: False)
    ]
    assert math.inf in costs
    assert choose_for_table(config, train, given, None)["loss"]


def test_a_stop_interrupts_the_comparison():
    train, given, _ = drawn(100, 5, 2, "none", 0)
    config = RunConfig(data="t", table_recipe=decided(), device="cpu")
    with pytest.raises(Interrupted, match="while candidates were compared"):
        choose_for_table(config, train, given, None, stop=lambda: True)


@pytest.mark.parametrize("count", [10, 99, 1000, 2400, 5000, 20_000])
def test_enough_rows_are_held_out_and_no_more(count):
    found = folds(count)
    held = np.concatenate(found)
    assert len(set(held.tolist())) == len(held)
    assert {len(part) for part in found} == {count // FOLDS}
    assert len(found) == FOLDS or len(held) >= 0.99 * ENOUGH
    assert len(found) == 1 or len(held) - count // FOLDS < ENOUGH


@pytest.mark.parametrize(("epochs", "wanted"), [(30, ["linear", "linear"]), (3, ["linear", "mlp@dropout"])])
def test_epochs_that_are_enough_leave_penalized_linear_models(epochs, wanted):
    """2,400 rows make ten steps per epoch."""
    config = RunConfig(data="t", table_recipe=decided(["epochs"]), epochs=epochs)
    tried = candidates(config, 1280, 2400)
    assert [each.model for each in tried] == wanted
    assert [each.recipe.optimizer for each in tried] == ["sgd" if epochs == 30 else "adamw"] * 2
