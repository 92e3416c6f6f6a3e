"""An encoder on examples that it does not take, and a model on features that it does not take: one line."""

from __future__ import annotations

import numpy as np
import pytest

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.models.efficientnet_lite import packaged_weights

draw = np.random.default_rng(0)
N = 40
Y = ["u", "v"] * (N // 2)
DATA = {
    "images": draw.integers(0, 255, (N, 24, 24, 3)).astype(np.uint8),
    "texts": [f"some words {i} about {word}" for i, word in enumerate(["cats", "dogs"] * (N // 2))],
    "numbers": draw.normal(size=(N, 3)),
}
ENCODERS = {"images": ("efficientnet-lite0", "timm:resnet18"), "texts": ("tfidf", "minilm")}
PAIRS = [
    (name, of, content)
    for of, names in ENCODERS.items()
    for name in names
    for content in DATA
    if content != of
]
SAID = {
    "images": "has images; use an encoder of images, such as efficientnet-lite0, or leave out",
    "texts": "has texts; use an encoder of texts, such as minilm or tfidf, or leave out",
    "numbers": "has numbers and no text; ",
}


@pytest.mark.parametrize(("name", "of", "content"), PAIRS)
@pytest.mark.parametrize(
    "door",
    [
        lambda X, name: nl.embed((X, Y), features=name),
        lambda X, name: nl.audit_labels(X, labels=Y, features=name),
        lambda X, name: nl.audit_labels(X, labels=Y, features=name, classifier="knn"),
        lambda X, name: nl.NoisyLabelClassifier(features=name).fit(X, Y),
    ],
    ids=["embed", "audit", "audit by a classifier", "fit"],
)
def test_examples_of_another_kind(door, name, of, content):
    with pytest.raises(InputError, match=f"features is '{name}', which encodes {of}, and .* {SAID[content]}"):
        door(DATA[content], name)


@pytest.mark.parametrize("name", ["hf:facebook/dinov2-small", "own.py:encode"])
def test_numbers_have_no_encoder_at_all(name):
    for door in (
        lambda: nl.embed((DATA["numbers"], Y), features=name),
        lambda: nl.audit_labels(DATA["numbers"], labels=Y, features=name),
        lambda: nl.NoisyLabelClassifier(features=name).fit(DATA["numbers"], Y),
    ):
        with pytest.raises(InputError, match=f"features is '{name}', which encodes images or texts, and"):
            door()


def test_numbers_without_a_named_encoder():
    with pytest.raises(InputError, match="has numbers and no text, which no encoder takes"):
        nl.embed((DATA["numbers"], Y))
    nl.NoisyLabelClassifier(model="linear").fit(DATA["numbers"], Y)


def test_a_file_of_features_is_no_encoder_of_an_estimator():
    for X in DATA.values():
        with pytest.raises(InputError, match="holds features of certain examples; pass them as X"):
            nl.NoisyLabelClassifier(features="f.npz").fit(X, Y)


def test_probabilities_and_features():
    with pytest.raises(InputError, match="got probs and features 'tfidf'; leave out one"):
        nl.audit_labels(DATA["texts"], labels=Y, probs=np.full((N, 2), 0.5), features="tfidf")


@pytest.mark.skipif(packaged_weights() is None, reason="needs the packaged encoder")
@pytest.mark.parametrize("model", ["small-cnn", "cnn8"])
def test_a_model_of_images_on_features(model):
    said = f"the model '{model}' takes images, and features is 'efficientnet-lite0'"
    images = DATA["images"]
    with pytest.raises(InputError, match=said):
        nl.audit_labels(images, labels=Y, model=model, features="efficientnet-lite0")
    with pytest.raises(InputError, match=said):
        nl.NoisyLabelClassifier(model=model, features="efficientnet-lite0").fit(images, Y)


@pytest.mark.parametrize("verb", ["train", "audit"])
def test_the_command_line_says_both_names(tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    rows = ["text,label", *(f"{text},{y}" for text, y in zip(DATA["texts"], Y, strict=True))]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    words = [verb, *(["--data"] if verb == "train" else []), "t.csv"]
    assert main([*words, "--features", "tfidf", "--model", "small-cnn"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("noisylabels: the model 'small-cnn' takes images, and features is 'tfidf'")
    assert error.count("\n") == 1
    assert main([*words, "--features", "efficientnet-lite0", "--text-column", "text"]) == 2
    assert "which encodes images, and t has texts" in capsys.readouterr().err


def test_a_model_of_images_on_a_table_of_numbers():
    with pytest.raises(InputError, match="the model 'small-cnn' takes images, and data is a table of 3"):
        nl.audit_labels(DATA["numbers"], labels=Y, model="small-cnn")
