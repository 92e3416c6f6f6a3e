"""Lists of paths of images in memory: read as images at every door, and never as texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data.image_files import image_files
from noisylabels.data.images import ImageSet

KINDS = {
    "pathlib": lambda files: [Path(file) for file in files],
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "objects": lambda files: np.array(files, dtype=object),
    "series": pd.Series,
}


@pytest.fixture
def photos(tmp_path, monkeypatch) -> tuple[list[str], list[str]]:
    """Forty photographs of 24 pixels in one folder, relative paths in no order, and their labels."""
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    draw = np.random.default_rng(0)
    files, labels = [], []
    for i in draw.permutation(40).tolist():
        level = 140 if i % 2 else 60
        pixels = draw.integers(0, 60, (24, 24, 3)) + level
        Image.fromarray(pixels.astype(np.uint8)).save(f"in/{i:02}.png")
        files.append(f"in/{i:02}.png")
        labels.append("day" if i % 2 else "night")
    return files, labels


def pixels_of(files: list[str]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])


@pytest.mark.parametrize("kind", KINDS)
def test_paths_are_read_as_images(photos, kind):
    files, labels = photos
    train, test = nl.load((KINDS[kind](files), labels), test_fraction=0.25)
    assert isinstance(train, ImageSet)
    assert len(train) == 30
    for part in (train, test):
        np.testing.assert_array_equal(part.images.numpy(), pixels_of(list(part.ids)))
        names = [part.class_names[k] for k in part.labels.tolist()]
        assert names == [labels[files.index(name)] for name in part.ids]


def test_other_labels_of_the_same_files_are_not_those_of_the_cache(photos):
    files, labels = photos
    first, _ = nl.load((files, labels))
    second, _ = nl.load((files, labels[::-1]))
    assert [second.class_names[k] for k in second.labels.tolist()] == [
        labels[::-1][files.index(name)] for name in second.ids
    ]
    assert first.digest != second.digest


@pytest.mark.parametrize("kind", ["pathlib", "list", "series"])
def test_an_audit_keeps_the_order_of_the_paths(photos, kind):
    files, labels = photos
    found = nl.audit_labels(
        KINDS[kind](files), labels=labels, classifier="logistic", features="none", folds=2
    )
    assert list(found.ids) == files
    assert [found.class_names[k] for k in found.given] == labels
    assert found.summary["kind"] == "images"


@pytest.mark.parametrize("model", ["small-cnn", "linear"])
@pytest.mark.parametrize("kind", ["pathlib", "array"])
def test_an_estimator_takes_paths(photos, kind, model):
    files, labels = photos
    how = {"model": model, "features": "none", "epochs": 2, "random_state": 0}
    if model == "linear":
        Path("own.py").write_text("def means(images):\n    return images.float().mean((2, 3))\n")
        how = {"model": model, "features": "own.py:means", "random_state": 0}
    of_paths = nl.NoisyLabelClassifier(**how).fit(KINDS[kind](files), labels)
    of_pixels = nl.NoisyLabelClassifier(**how).fit(pixels_of(files), labels)
    expected = of_pixels.predict_proba(pixels_of(files))
    np.testing.assert_allclose(of_paths.predict_proba(KINDS[kind](files)), expected, atol=1e-6)
    np.testing.assert_allclose(of_paths.predict_proba(pixels_of(files)), expected, atol=1e-6)


@pytest.mark.parametrize("wrong", ["nowhere.png", "not an image", "in"])
@pytest.mark.parametrize(
    "door",
    [
        lambda X, y: nl.load((X, y)),
        lambda X, y: nl.embed((X, y), features="tfidf"),
        lambda X, y: nl.audit_labels(X, labels=y),
        lambda X, y: nl.NoisyLabelClassifier().fit(X, y),
    ],
    ids=["load", "embed", "audit", "fit"],
)
def test_a_list_with_something_else_names_the_first(photos, door, wrong):
    files, labels = photos
    files[3] = wrong
    with pytest.raises(
        InputError, match=rf"1 of 40 paths .*, first '{wrong}' \(row 3\); pass paths of images"
    ):
        door(files, labels)


def test_names_of_files_that_do_not_exist_are_no_texts(photos):
    files, labels = photos
    with pytest.raises(InputError, match="40 of 40 paths in X are not existing image files"):
        nl.load(([f"elsewhere/{file}" for file in files], labels))


def test_texts_stay_texts():
    for texts in (["see cat.jpg", "a dog", "more"], ["a", None], [], [["a.png"]], [1.5], np.ones(3), "a.png"):
        assert image_files(texts) is None
