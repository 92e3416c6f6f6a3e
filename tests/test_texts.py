"""Texts in every verb: read from tables, data frames and lists, audited, trained on and predicted."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import noisylabels as nl
from noisylabels.audit.audited_data import load_examples
from noisylabels.audit.page_rows import LONGEST
from noisylabels.audit.result import Audit
from noisylabels.audit.review.session import Session
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.data.feature_table import has_texts
from noisylabels.data.features import FeatureSet
from noisylabels.encoders.catalog import auto_for_texts
from noisylabels.experiment import load_config, resolve
from noisylabels.experiment.classifier_probs import classifier_probs
from noisylabels.experiment.prediction import load_model, predict_table

FRUIT = ("apple", "pear", "plum", "cherry", "quince", "fig", "melon", "grape")
CARS = ("car", "van", "truck", "coach", "wagon", "tram", "lorry", "bus")
SAID = {
    "fruit": "a basket of ripe {} for everybody at the table, number {}",
    "car": "the engine of the {} stopped on the road at mile {}",
}


def rows(each: int = 32, wrong: int = 2) -> tuple[list[str], list[str]]:
    """Return texts on two subjects and their labels, of which the first `wrong` of each are wrong."""
    texts, labels = [], []
    for label, words, other in (("fruit", FRUIT, "car"), ("car", CARS, "fruit")):
        for i in range(each):
            texts.append(SAID[label].format(words[i % 8], i))
            labels.append(other if i < wrong else label)
    return texts, labels


def write(path: Path, columns: Mapping[str, Sequence[object]]) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(dict(columns)).to_parquet(path)
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


# Reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_a_column_of_sentences_is_the_text_and_said(name: str, tmp_path: Path) -> None:
    texts, labels = rows()
    columns = {"comment": texts, "stars": [k % 5 for k in range(64)], "label": labels}
    path = write(tmp_path / name, columns)
    train, test = nl.load(path)
    assert isinstance(train, FeatureSet)
    assert isinstance(test, FeatureSet)
    assert train.features.shape == (len(train), 1)
    assert train.texts is not None
    by_id = {f"row:{k}": text for k, text in enumerate(texts)}
    assert list(train.texts) == [by_id[name] for name in train.ids]
    assert list(test.texts or ()) == [by_id[name] for name in test.ids]
    assert any(note.startswith("text of each row: the column 'comment' (") for note in train.notes)
    assert has_texts(path)


def test_several_columns_of_text_are_joined_and_one_can_be_named(tmp_path: Path) -> None:
    texts, labels = rows()
    short = [text.split()[3] + " " + str(k) for k, text in enumerate(texts)]
    path = write(tmp_path / "t.csv", {"title": short, "body": texts, "more": texts[::-1], "label": labels})
    whole = nl.load(path)[0]
    assert isinstance(whole, FeatureSet)
    assert "the columns 'body', 'more', joined" in " ".join(whole.notes)
    assert next(iter(whole.texts or ())).count("\n") == 1
    named = nl.load(path, text_column="title")[0]
    assert isinstance(named, FeatureSet)
    assert (named.texts or [""])[0] in short
    assert named.cells is not None
    assert named.cells.row(0)[0].column == "title"
    both = nl.load(path, text_column="title, body")[0]
    assert isinstance(both, FeatureSet)
    assert (both.texts or [""])[0].split("\n")[0] in short


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("commment", "has no text column 'commment'; did you mean 'comment'"),
        ("label", "holds labels or ids, expected text"),
        ("stars", "holds numbers, expected text"),
    ],
)
def test_a_wrong_text_column_is_one_line(column: str, message: str, tmp_path: Path) -> None:
    texts, labels = rows()
    path = write(tmp_path / "t.csv", {"comment": texts, "stars": range(64), "label": labels})
    with pytest.raises(InputError, match=message):
        nl.load(path, text_column=column)


def test_data_without_columns_or_with_images_take_no_text_column() -> None:
    with pytest.raises(InputError, match="leave out --text-column"):
        nl.load("digits", text_column="a")
    with pytest.raises(InputError, match="leave out --text-column"):
        nl.load((np.zeros((4, 1, 8, 8), np.uint8), ["a", "b"] * 2), text_column="a")
    with pytest.raises(InputError, match="leave out --text-column"):
        nl.load((np.eye(4), ["a", "b"] * 2), text_column="a")


def test_addresses_and_repeated_words_are_no_text(tmp_path: Path) -> None:
    _, labels = rows()
    links = [f"https://example.org/photographs/2024/{k:04}.html" for k in range(64)]
    kinds = ["delivered late and in a broken box", "delivered on time, nothing broken"] * 32
    path = write(tmp_path / "t.csv", {"link": links, "kind": kinds, "label": labels})
    train, _ = nl.load(path)
    assert isinstance(train, FeatureSet)
    assert train.texts is None
    assert train.features.shape[1] == 2
    assert not has_texts(path)
    assert load_config(None, data=str(path)).features == "none"


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, pl.Series])
def test_a_list_of_texts(kind: type) -> None:
    texts, labels = rows()
    train, test = nl.load((kind(texts), labels))
    assert isinstance(train, FeatureSet)
    assert isinstance(test, FeatureSet)
    assert train.features.shape == (len(train), 0)
    assert sorted([*(train.texts or ()), *(test.texts or ())]) == sorted(texts)
    assert train.cells is not None
    assert train.cells.row(0)[0].content == (train.texts or ())[0]


def test_a_missing_text_is_empty_and_counted() -> None:
    texts, labels = rows()
    train, _ = nl.load(([None, *texts[1:]], labels))
    assert "1 row has no text" in train.notes
    frame = pd.DataFrame({"comment": [None, *texts[1:]], "label": labels})
    assert "1 row has no text" in nl.load(frame)[0].notes


# Verbs ----------------------------------------------------------------------------------------------------


def test_an_audit_of_a_table_of_texts_and_its_page_and_review(tmp_path: Path) -> None:
    texts, labels = rows()
    texts[5] = f"<b>{texts[5]}</b> " + "and so on " * 2000
    path = write(tmp_path / "t.csv", {"id": [f"r{k}" for k in range(64)], "comment": texts, "label": labels})
    assert main(["audit", str(path), "--features", "tfidf:16", "--out", "found"]) == 0
    found = Audit.load("found")
    assert {found.ids[i] for i in found.order[:4]} == {"r0", "r1", "r32", "r33"}
    assert found.summary["method"]["embedding"]["name"] == "tfidf:16"
    page = Path("found/page.html").read_text(encoding="utf-8")
    assert json.dumps(texts[0]) in page
    assert "\\u003cb>" in page
    assert len(page) < 60_000 + 64 * 400 + LONGEST
    assert "noisylabels train --data" in page
    examples = load_examples("found")
    assert isinstance(examples, FeatureSet)
    assert list(examples.texts or ()) == [text.strip() for text in texts]
    review = Session(Path("found"))
    listing = review.listing()
    assert listing["texts"][0] == texts[found.order[0]]
    long = listing["texts"][list(found.order).index(5)]
    assert len(long) == 100
    assert review.details([5])[5]["row"]["cells"][0][1].startswith("<b>")


def test_an_audit_of_a_list_of_texts() -> None:
    texts, labels = rows()
    found = nl.audit_labels(texts, labels=labels, features="tfidf:16")
    assert {found.ids[i] for i in found.order[:4]} == {"row:0", "row:1", "row:32", "row:33"}
    assert nl.audit_labels((texts, labels), features="tfidf:16").score.tolist() == found.score.tolist()
    with pytest.raises(InputError, match="only texts and no column to learn from"):
        nl.audit_labels(texts, labels=labels, features="none")


@pytest.mark.parametrize("kind", [list, pd.Series, lambda texts: np.array(texts, dtype=object)])
@pytest.mark.parametrize("features", ["auto", "none"])
def test_a_classifier_that_takes_texts_gets_them(kind: Callable[..., Any], features: str) -> None:
    texts, labels = rows()
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(C=30.0))
    found = nl.audit_labels(kind(texts), labels=labels, classifier=pipeline, features=features)
    wanted = classifier_probs(pipeline, texts, found.given, 2, folds=4, seed=0, class_names=found.class_names)
    np.testing.assert_allclose(found.out_of_fold, wanted, atol=1e-6)
    assert set(found.order[:4].tolist()) == {0, 1, 32, 33}
    assert "embedding" not in found.summary["method"]
    pair = nl.audit_labels((kind(texts), labels), classifier=pipeline, features=features)
    np.testing.assert_array_equal(pair.probs, found.probs)


def test_a_classifier_of_numbers_gets_the_features_of_texts() -> None:
    texts, labels = rows()
    found = nl.audit_labels(texts, labels=labels, classifier=LogisticRegression())
    assert "tfidf" in str(found.notes) or "minilm" in str(found.notes)


def test_rows_without_text_are_not_judged() -> None:
    texts, labels = rows()
    texts, labels = [*texts, "", "  ", "\n"], [*labels, "car", "fruit", "car"]
    found = nl.audit_labels(texts, labels=labels, features="tfidf:16", epochs=8)
    assert not found.flagged[64:].any()
    assert found.flagged[:64].any()
    np.testing.assert_array_equal(found.suggested[64:], found.given[64:])
    assert [found.why[i] for i in (64, 65, 66)] == ["no text"] * 3
    assert "3 rows have no text and are not judged: row:64, row:65, row:66" in found.notes
    rate = found.summary["rate"]["estimate"]
    assert found.probability_wrong is not None
    np.testing.assert_allclose(found.probability_wrong[64:], rate, atol=1e-6)
    starred = pd.DataFrame({"text": texts, "stars": [k % 5 for k in range(67)]})
    other = nl.audit_labels(starred, labels=labels, features="tfidf:16", text_column="text", epochs=2)
    assert "no text" not in list(other.why)


def test_a_row_without_text_decides_nothing_and_its_audit_is_found_again(tmp_path: Path) -> None:
    texts, labels = rows()
    path = write(
        tmp_path / "t.csv",
        {"id": [*map(str, range(64)), "5"], "comment": [*texts, " "], "label": [*labels, "car"]},
    )
    how = {"features": "tfidf:16", "epochs": 8, "out": "found", "trusted": ["0", "1"]}
    found = nl.audit_labels(str(path), **how)  # type: ignore[arg-type]
    assert found.why[64] == "no text"
    assert not found.flagged[5]
    again = nl.audit_labels(str(path), probs="found/probs.parquet", trusted=["0", "1"])
    np.testing.assert_array_equal(again.flagged, found.flagged)
    np.testing.assert_allclose(again.score, found.score, atol=1e-6)
    assert list(again.why) == list(found.why)


@pytest.mark.parametrize("kind", ["classifier", "given", "embedded", "without seen"])
def test_probabilities_of_an_audit_tell_whether_rows_without_text_are_judged(
    kind: str, tmp_path: Path
) -> None:
    texts, labels = rows()
    columns = {"comment": [*texts, "", " "], "label": [*labels, "car", "fruit"]}
    path = str(write(tmp_path / "t.csv", columns))
    points = np.eye(2)[[int(label == "car") for label in columns["label"]]]
    points = np.random.default_rng(0).normal(size=(66, 2)) + 4 * points
    np.savez(tmp_path / "f.npz", features=points, ids=np.array([f"row:{i}" for i in range(66)]))
    how: dict[str, Any] = {
        "classifier": {"classifier": "logistic", "features": "tfidf:16"},
        "given": {"probs": np.full((66, 2), 0.5) + 0.4 * np.array([1, -1])},
        "embedded": {"features": str(tmp_path / "f.npz"), "epochs": 2, "folds": 2},
        "without seen": {"features": "tfidf:16", "epochs": 2, "folds": 2},
    }[kind]
    made = nl.audit_labels(path, **how, out=tmp_path / "a")
    if kind == "without seen":
        (tmp_path / "a" / "seen.parquet").unlink()
    else:
        nl.Audit.load(tmp_path / "a").save(tmp_path / "a")
    found = nl.audit_labels(path, probs=tmp_path / "a" / "probs.parquet", out=tmp_path / "b")
    blank = [64, 65] if kind in ("classifier", "without seen") else None
    for each in (made, found):
        assert each.summary.get("not_judged") == blank
        assert ("no text" in list(each.why)) == (blank is not None)
    if kind != "without seen":
        np.testing.assert_array_equal(found.score, made.score)
        assert list(found.why) == list(made.why)
        assert found.summary["rate"] == made.summary["rate"]
    last = nl.audit_labels(path, probs=tmp_path / "b" / "probs.parquet")
    assert last.summary.get("not_judged") == blank


def test_predictions_of_rows_without_text_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, labels = rows()
    path = write(tmp_path / "t.csv", {"comment": texts, "label": labels})
    assert (
        main(["train", "--data", str(path), "--features", "tfidf:16", "--out", "run", "--epochs", "2"]) == 0
    )
    new = write(tmp_path / "new.csv", {"id": list("abc"), "comment": ["", texts[0], " "]})
    capsys.readouterr()
    assert main(["predict", "run", str(new)]) == 0
    err = capsys.readouterr().err
    assert "2 rows have no text and are predicted from nothing; ignore the prediction: a, c" in err


def test_equal_texts_with_different_labels_are_a_conflict() -> None:
    texts, labels = rows(wrong=0)
    texts[40] = texts[3]
    found = nl.audit_labels(texts, labels=labels, features="tfidf:16")
    assert [one["members"] for one in found.summary["duplicates"]["conflicts"]] == [[3, 40]]


def test_train_and_predict_on_texts_and_other_columns(tmp_path: Path) -> None:
    texts, labels = rows(wrong=0)
    columns = {"comment": texts, "kind": ["u", "v"] * 32, "label": labels}
    path = write(tmp_path / "t.csv", columns)
    assert resolve(load_config(None, data=str(path))).config.features == auto_for_texts()[0]
    train = ["train", "--data", str(path), "--features", "tfidf:16", "--out", "run", "--device", "cpu"]
    assert main(train) == 0
    trained = load_model(Path("run"))
    new = write(
        tmp_path / "new.csv",
        {"kind": ["u", "v"], "comment": [SAID["fruit"].format("fig", 77), SAID["car"].format("van", 88)]},
    )
    ids, probs = predict_table(trained, new, [])
    assert ids == ["row:0", "row:1"]
    assert [trained.class_names[k] for k in probs.argmax(1).tolist()] == ["fruit", "car"]
    assert main(["predict", "run", str(new)]) == 0
    with pytest.raises(InputError, match="lacks the column of text 'comment'"):
        predict_table(trained, write(tmp_path / "bad.csv", {"kind": ["u"]}), [])


def test_the_estimator_takes_texts_and_frames_with_texts() -> None:
    texts, labels = rows(wrong=0)
    model = nl.NoisyLabelClassifier(n_estimators=2, random_state=0, features="tfidf:16").fit(texts, labels)
    assert model.score(texts, labels) == 1.0
    again = pickle.loads(pickle.dumps(model))
    assert again.predict_proba(texts).tolist() == model.predict_proba(texts).tolist()
    frame = pd.DataFrame({"comment": texts, "stars": [k % 5 for k in range(64)]})
    mixed = nl.NoisyLabelClassifier(n_estimators=2, random_state=0, features="tfidf:16").fit(frame, labels)
    assert mixed.score(frame[["stars", "comment"]], labels) == 1.0
    with pytest.raises(InputError, match="expected texts as in training"):
        model.predict(np.eye(3))
    with pytest.raises(InputError, match="which encodes images"):
        nl.NoisyLabelClassifier(features="efficientnet-lite0").fit(texts, labels)


def test_an_audit_of_a_few_hundred_texts_learns_from_the_default_features() -> None:
    draw = np.random.default_rng(0)
    common, topics = [f"w{i}" for i in range(600)], [[f"{c}{i}" for i in range(60)] for c in "abcd"]

    def text(topic: int) -> str:
        own = draw.random(draw.integers(12, 30)) < 0.25
        words = (draw.choice(topics[topic]) if it else common[int(600 * draw.random() ** 2)] for it in own)
        return " ".join(map(str, words))

    true = np.arange(250) % 4
    given = np.where(draw.random(250) < 0.1, (true + 1) % 4, true)
    texts = [text(k) for k in true]
    found = nl.audit_labels(texts, labels=given, features="tfidf", device="cpu")
    assert found.network is not None
    assert (found.network.argmax(axis=1) == true).mean() > 0.75
    rate, wrong = found.summary["rate"], given != true
    assert rate["low"] < wrong.mean() < rate["high"]
    assert rate["high"] - rate["low"] < 0.2
    assert wrong[found.flagged].mean() > 0.8
    whitened = nl.audit_labels(texts, labels=given, features="tfidf:256", device="cpu")  # 249 directions
    assert whitened.network is not None
    assert (whitened.network.argmax(axis=1) == true).mean() < 0.5
