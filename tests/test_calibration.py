"""Probabilities of models of features and tables: calibrated for the label noise, without a clean label."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from noisylabels.core.checks import InputError
from noisylabels.experiment import load_config, run
from noisylabels.experiment.prediction import load_model, predict
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.noise_model import NoiseModels

K, N = 4, 1200


def sharpened(p: np.ndarray, power: float) -> np.ndarray:
    """Return probabilities raised to a power."""
    q = p.astype(np.float64) ** power
    return q / q.sum(axis=1, keepdims=True)


def drawn(rate: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of 300 columns, of which 30 tell the class, their given labels and the true ones."""
    draw = np.random.default_rng(seed)
    true = np.arange(N) % K
    rows = draw.normal(size=(N, 300))
    rows[:, :30] += 0.45 * np.random.default_rng(9).normal(size=(K, 30))[true]
    given = np.where(draw.random(N) < rate, (true + draw.integers(1, K, N)) % K, true)
    return rows.astype(np.float32), given, true


def trained(folder: Path, rate: float, **settings: object):
    rows, given, _ = drawn(rate)
    test, _, true = drawn(0.0, seed=1)
    np.savez(folder / "data.npz", x_train=rows, y_train=given, x_test=test, y_test=true)
    run(load_config(data=str(folder / "data.npz"), out=str(folder / "run"), **settings))
    return load_model(folder / "run", "cpu"), torch.from_numpy(test), true


@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_the_mean_probability_is_the_accuracy(tmp_path, rate):
    model, test, true = trained(tmp_path, rate)
    after = predict(model, test).numpy()
    before = predict(dataclasses.replace(model, power=1.0), test).numpy()
    np.testing.assert_array_equal(after.argmax(1), before.argmax(1))
    np.testing.assert_allclose(after, sharpened(before, model.power), atol=1e-5)
    accuracy = (after.argmax(1) == true).mean()
    assert before.max(1).mean() < accuracy - 0.1
    assert abs(after.max(1).mean() - accuracy) < 0.05


def test_a_model_without_held_out_rows_keeps_its_softmax(tmp_path):
    model, _, _ = trained(tmp_path, 0.2, model="mlp:16", loss="ce", epochs=1)
    assert model.power == 1.0


@pytest.mark.parametrize("power", ["0", "-1", "NaN", "Infinity", '"much"', "[2]"])
def test_a_file_with_another_power_is_refused(tmp_path, power):
    trained(tmp_path, 0.2, model="linear", loss="ce")
    path = tmp_path / "run" / "model.safetensors"
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = file.metadata()["noisylabels"]
    assert '"power": ' in header
    value = header.split('"power": ')[1].split(",")[0].rstrip("}")
    changed = header.replace(f'"power": {value}', f'"power": {power}')
    save_file(weights, path, {"noisylabels": changed})
    with pytest.raises(InputError, match="train it again"):
        load_model(tmp_path / "run", "cpu")


@pytest.mark.parametrize("simplest", [True, False])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_the_power_is_found_from_noisy_labels(power, simplest):
    draw = np.random.default_rng(0)
    clean = draw.dirichlet(np.full(K, 0.4), 20_000)
    true = (clean.cumsum(1) > draw.random((20_000, 1))).argmax(1)
    given = np.where(draw.random(20_000) < 0.3, (true + draw.integers(1, K, 20_000)) % K, true)
    soft = sharpened(clean, 1 / power)
    models = NoiseModels(given, CheckedProbs(soft, "probs"))
    found = models.simplest if simplest else models.per_pair
    assert abs(found.power - power) <= (0.25 if power < 3 else 0.5)  # the spacing of the powers
    expected = np.where(np.eye(K, dtype=bool), 0.7, 0.1)
    np.testing.assert_allclose(found.transition, expected, atol=0.06)
