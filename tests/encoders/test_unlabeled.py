"""Embedding needs no labels: one class, a flat folder, a table without labels, lists and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.core.checks import InputError, Unlabeled

N = 12
TEXTS = [f"a text {i} about the {word} on the mat" for i, word in enumerate(["cat", "dog"] * (N // 2))]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """Twelve photographs, flat and in a single class folder, and tables without labels."""
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("def means(images):\n    return images.float().mean((2, 3))\n")
    draw = np.random.default_rng(0)
    for folder in ("flat", "one/day"):
        Path(folder).mkdir(parents=True)
        for i in range(N):
            pixels = draw.integers(0, 250, (24, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(f"{folder}/{i:02}.png")
    Path("texts.csv").write_text("\n".join(["text", *TEXTS]) + "\n")
    Path("single.tsv").write_text("\n".join(["text\tlabel", *(f"{text}\tu" for text in TEXTS)]) + "\n")
    Path("paths.csv").write_text("\n".join(["path", *(f"flat/{i:02}.png" for i in range(N))]) + "\n")
    return tmp_path


def means(paths: list[str]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)).mean((0, 1)) for path in paths])


@pytest.mark.parametrize(
    ("data", "base"), [("flat", "flat"), ("one", "one"), ("one/day", "one/day"), ("paths.csv", ".")]
)
def test_images_without_labels_on_the_command_line(data, base, capsys):
    assert main(["embed", data, "--features", "own.py:means", "--out", "f.npz"]) == 0
    said = capsys.readouterr()
    assert f"{N} examples, 3 features each, of own.py:means" in said.out
    assert "no labels are used: " in said.err
    assert "(none)" not in said.err
    with np.load("f.npz") as file:
        ids = file["ids"].tolist()
        assert ids == sorted(ids)
        np.testing.assert_allclose(file["features"], means([f"{base}/{name}" for name in ids]), rtol=1e-3)


@pytest.mark.parametrize("data", ["texts.csv", "single.tsv"])
def test_tables_without_labels(data, capsys):
    assert main(["embed", data, "--features", "tfidf", "--text-column", "text", "--out", "f.parquet"]) == 0
    assert f"{N} examples" in capsys.readouterr().out
    parts = nl.embed(data, features="tfidf", text_column="text")
    assert sorted(text for part in parts for text in part.texts) == sorted(TEXTS)


@pytest.mark.parametrize("kind", ["paths", "strings", "array"])
def test_images_in_memory(kind):
    paths = [f"flat/{i:02}.png" for i in (3, 1, 2, 7)]
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    data = {"paths": [Path(path) for path in paths], "strings": paths, "array": pixels}[kind]
    (found,) = nl.embed(data, features="own.py:means")
    np.testing.assert_allclose(found.features.numpy(), means(paths), rtol=1e-3)
    assert found.labels.tolist() == [0] * 4
    assert not any("label" in note or "class" in note for note in found.notes)


@pytest.mark.parametrize("count", [2, N])
def test_texts_in_memory(count):
    (found,) = nl.embed(TEXTS[:count], features="tfidf")
    assert list(found.texts) == TEXTS[:count]
    assert np.isfinite(found.features.numpy()).all()


@pytest.mark.parametrize("data", ["flat", "one", "texts.csv", "single.tsv", "paths.csv"])
def test_other_verbs_still_need_labels(data):
    with pytest.raises(Unlabeled):
        nl.load(data)


def test_what_holds_nothing_is_still_refused(place):
    (place / "empty").mkdir()
    with pytest.raises(InputError, match="no known format"):
        nl.embed("empty", features="own.py:means")
    with pytest.raises(InputError, match="no text column"):
        nl.embed("texts.csv", features="tfidf", text_column="words")
