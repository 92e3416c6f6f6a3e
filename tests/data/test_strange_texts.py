"""Texts that other programs refuse: longer than csv's limit, or with half of a character."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest

import noisylabels as nl
from noisylabels.core.delimited import read_cells
from noisylabels.encoders.sentence import has_packaged

HALF, WHOLE = "cat \ud83d sat", "cat \ufffd sat"
LONG = 200_000
N = 30
Y = ["u", "v"] * (N // 2)
TEXTS = [f"a text {i} about the {word}" for i, word in enumerate(["cat", "dog"] * (N // 2))]
NAMES = ["tfidf", pytest.param("minilm", marks=pytest.mark.skipif(not has_packaged(), reason="no minilm"))]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_cell_may_be_longer_than_the_limit_of_csv(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    long = [text + " cat" * (LONG // 4) if i == 3 else text for i, text in enumerate(TEXTS)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",")
        writer.writerows([["text", "label"], *zip(long, Y, strict=True)])
    assert max(len(cells[0]) for _, cells in read_cells(path)) > LONG
    parts = nl.load(path, text_column="text")
    assert sorted(text for part in parts for text in part.texts) == sorted(long)
    assert len(nl.embed(path, features="tfidf", text_column="text")[0]) == len(parts[0])


def test_a_long_cell_is_exported_from_a_review(tmp_path):
    from noisylabels.core.delimited import csv_reader

    csv.field_size_limit(131_072)
    lines = ["text,label\n", f"{'a' * LONG},u\n"]
    assert [len(row[0]) for row in csv_reader(lines, ",")] == [4, LONG]


def spoilt() -> list[str]:
    texts = list(TEXTS)
    texts[4] = HALF
    return texts


KINDS = {
    "list": lambda texts: texts,
    "array": lambda texts: np.array(texts, dtype=object),
    "series": lambda texts: pd.Series(texts, dtype=object),
    "frame": lambda texts: pd.DataFrame({"text": texts}, dtype=object),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_half_of_a_character_is_read_as_the_replacement_character(kind, name):
    X, clean = KINDS[kind](spoilt()), KINDS[kind]([WHOLE if t == HALF else t for t in spoilt()])
    column = {"text_column": "text"} if kind == "frame" else {}
    for part, other in zip(
        *(nl.embed((rows, Y), features=name, **column) for rows in (X, clean)), strict=True
    ):
        np.testing.assert_array_equal(part.features.numpy(), other.features.numpy())
    how = {"labels": Y, "features": name, "classifier": "logistic", "folds": 2, **column}
    np.testing.assert_array_equal(nl.audit_labels(X, **how).score, nl.audit_labels(clean, **how).score)
    if kind != "frame":
        fitted = nl.NoisyLabelClassifier(features=name, model="linear", random_state=0).fit(TEXTS, Y)
        np.testing.assert_array_equal(fitted.predict_proba(X), fitted.predict_proba(clean))


def test_half_of_a_character_is_noted_with_its_row():
    train, _ = nl.load((spoilt(), Y))
    assert any(
        "1 text holds half of a character (a lone surrogate), first in row 4" in n for n in train.notes
    )
    train, _ = nl.load((TEXTS, Y))
    assert not any("surrogate" in note for note in train.notes)


def test_halves_in_labels_ids_and_words_are_written(tmp_path):
    frame = pd.DataFrame(
        {
            "id": [f"{i}\ud83d" for i in range(N)],
            "word": ["a", "b\ud83d"] * (N // 2),
            "x": [i % 7 / 3 for i in range(N)],
            "label": ["u", "v\ud83d"] * (N // 2),
        },
        dtype=object,
    )
    found = nl.audit_labels(frame, classifier="logistic", folds=2, out=tmp_path / "audit")
    assert found.class_names == ("u", "v\ufffd")
    assert list(found.ids)[:2] == ["0\ufffd", "1\ufffd"]
    labels = nl.audit_labels(
        [[float(i % 2)] for i in range(N)],
        labels=["u", "v\ud83d"] * (N // 2),
        classifier="logistic",
        folds=2,
        out=tmp_path / "other",
    )
    assert labels.class_names == ("u", "v\ufffd")
