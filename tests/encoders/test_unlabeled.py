"""Embedding needs no labels: one class, a flat folder, a table without labels, lists and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


ROWS = [(f"../flat/{i:02}.png", f"k{i}", ["u", "v"][i % 2]) for i in (0, 1, 2, 3, 2, 4)]


@pytest.mark.parametrize(("id_column", "again"), [(None, "flat/02.png#2"), ("key", "k2#2")])
def test_ids_of_a_list_are_those_of_a_list_with_labels(id_column, again, place):
    (place / "lists").mkdir()
    for name, width in (("bare", 2), ("labeled", 3)):
        lines = [",".join(cells[:width]) for cells in [("path", "key", "label"), *ROWS]]
        (place / f"lists/{name}.csv").write_text("\n".join(lines) + "\n")
    found = nl.embed("lists/bare.csv", features="own.py:means", id_column=id_column, out="f.npz")
    expected = nl.load("lists/labeled.csv", id_column=id_column)
    assert {name for part in found for name in part.ids} == {name for part in expected for name in part.ids}
    note = f"1 row names an image that an earlier row names; first {again} (line 6) as in line 4"
    assert any(line.startswith(note) for line in found[0].notes)
    with np.load("f.npz") as file:
        assert len(file["ids"]) == len(ROWS)


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["path,key", "a,1"], {"id_column": "kee"}, "has no id column 'kee'; did you mean 'key'"),
        (["path,key", "a,"], {"id_column": "key"}, "line 2: the id is missing"),
        (["path,key", "a,1", ",2"], {}, "line 3: the cell of 'path' is empty"),
        (["path,key", "a,1"], {"text_column": "key"}, "has images; leave out --text-column"),
    ],
)
def test_a_list_without_labels_is_checked_like_one_with_labels(lines, options, message, place):
    (place / "list.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        nl.embed("list.csv", features="own.py:means", **options)


@pytest.mark.parametrize("columns", [("image",), ("image", "label")])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_images_in_parquet_without_labels(columns, kind, place):
    """Images in Parquet files, without a column of labels or with labels of one class."""
    paths = [place / f"flat/{i:02}.png" for i in range(N)]
    table = {"image": [{"bytes": path.read_bytes(), "path": None} for path in paths], "label": ["u"] * N}
    (place / "hub").mkdir()
    pq.write_table(pa.table({name: table[name] for name in columns}), "hub/train.parquet")
    with pytest.raises(Unlabeled):
        nl.load("hub")
    found = nl.embed({"file": "hub/train.parquet", "folder": "hub"}[kind], features="own.py:means")
    at = [int(name.partition(":")[2]) for part in found for name in part.ids]
    assert sorted(at) == list(range(N))
    features = np.concatenate([part.features.numpy() for part in found])
    np.testing.assert_allclose(features, means([str(paths[i]) for i in at]), rtol=1e-3)
