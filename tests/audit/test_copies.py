"""Equal examples are judged without their copies: in folds, neighbor votes and the ridge classifier."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

import noisylabels as nl
from noisylabels.audit import cross_validation, votes
from noisylabels.audit.cross_validation import cross_validate
from noisylabels.audit.logistic import logistic_probs
from noisylabels.audit.votes import neighbor_votes, ridge_probs
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set
from noisylabels.encoders.tfidf import TfidfEncoder
from noisylabels.experiment.classifier_probs import classifier_probs
from noisylabels.experiment.equal_examples import first_equals
from noisylabels.experiment.folds import assign_folds
from noisylabels.experiment.reporter import Silent

NAMES = ("a", "b", "c")
FAST = {"folds": 3, "epochs": 3, "batch_size": 16, "model": "mlp:8", "device": "cpu"}


class Heard(Silent):
    """A reporter that records notes and epochs."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.epochs = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, row: dict[str, float]) -> None:
        self.epochs += 1


def copied(n: int = 300, doubled: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, given labels, which are wrong and which are copied: wrong ones are listed twice."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, n)
    rows = draw.normal(size=(n, 6))
    rows[np.arange(n), true] += 3
    wrong = draw.random(n) < 0.15
    given = np.where(wrong, (true + 1) % 3, true)
    again = np.flatnonzero(wrong)[:doubled]
    has_copy = np.zeros(n + doubled, bool)
    has_copy[again] = has_copy[n:] = True
    order = np.concatenate([np.arange(n), again])
    return rows[order].astype(np.float32), given[order], wrong[order], has_copy


def test_equal_examples_are_found_in_images_rows_and_texts() -> None:
    pixels = torch.randint(
        0, 256, (30, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    pixels[[7, 29]], pixels[11] = pixels[3].clone(), pixels[4].clone()
    expected = np.arange(30)
    expected[[7, 29]], expected[11] = 3, 4
    labels = np.arange(30) % 3
    found = first_equals(image_set(pixels, torch.from_numpy(labels), NAMES, name="x"), 4)
    np.testing.assert_array_equal(found, expected)
    rows = np.random.default_rng(0).normal(size=(30, 2))
    rows[3] = 0.0, 1.0
    rows[7], rows[29], rows[11] = (-0.0, 1.0), rows[3], rows[4]
    np.testing.assert_array_equal(first_equals(feature_set(rows, labels, NAMES), 4), expected)
    texts = [f"text {k}" for k in expected.tolist()]
    words = feature_set(torch.zeros(30, 0), labels, NAMES, texts=texts)
    np.testing.assert_array_equal(first_equals(words, 4), expected)
    stars = feature_set((np.arange(30) % 2)[:, None].astype(float), labels, NAMES, texts=texts)
    expected[11] = 11  # the same text with another number
    expected[29] = 29 if 29 % 2 != 3 % 2 else 3
    expected[7] = 7 if 7 % 2 != 3 % 2 else 3
    np.testing.assert_array_equal(first_equals(stars, 4), expected)


def test_no_copies_common_rows_and_a_common_value_are_none() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2))
    labels = np.arange(40) % 3
    assert first_equals(feature_set(rows, labels, NAMES), 4) is None
    assert first_equals(feature_set(rows.round(0), labels, NAMES), 4) is None  # of a table of few values
    assert first_equals(feature_set(torch.zeros(40, 0), labels, NAMES, texts=[""] * 40), 4) is None
    with pytest.raises(InputError):
        first_equals(feature_set(rows, labels, NAMES), 1)


def test_equal_examples_are_in_one_fold_and_the_others_evenly_in_all() -> None:
    rows, given, _, _ = copied()
    copies = first_equals(feature_set(rows, given, NAMES), 4)
    assert copies is not None
    fold = assign_folds(given, 4, 3, copies)
    np.testing.assert_array_equal(fold, fold[copies])
    first = np.flatnonzero(copies == np.arange(len(given)))
    np.testing.assert_array_equal(fold[first], assign_folds(given[first], 4, 3))
    np.testing.assert_array_equal(assign_folds(given, 4, 3, np.arange(len(given))), assign_folds(given, 4, 3))
    assert set(assign_folds(np.arange(6) % 2, 4, 0, np.array([0, 1, 0, 1, 0, 1]))) == set(range(4))


def test_the_ridge_leaves_all_copies_out() -> None:
    draw = np.random.default_rng(0)
    rows, y = draw.normal(size=(24, 4)), np.arange(24) % 3
    rows[[5, 17]], rows[9] = rows[2], rows[4]
    copies = np.arange(24)
    copies[[5, 17]], copies[9] = 2, 4
    targets = np.eye(3)[y]
    smoother = votes._Smoother(rows.copy(), y, 3, copies)
    unit = np.linalg.eigvalsh(np.cov(rows.T, bias=True) * 24).sum() / 4
    found = smoother.left_out(0.5)
    for i in (0, 2, 5, 17, 9, 23):
        rest = copies != copies[i]
        model = Ridge(alpha=0.5 * unit).fit(rows[rest], targets[rest])
        np.testing.assert_allclose(found[i], model.predict(rows[i : i + 1])[0], atol=1e-9)
        np.testing.assert_allclose(smoother.left_out(0.5, np.array([i]))[0], found[i], atol=1e-9)


def test_no_copy_votes_on_another() -> None:
    rows, given, _, _ = copied()
    copies = first_equals(feature_set(rows, given, NAMES), 4)
    assert copies is not None
    found = neighbor_votes(rows, given, 3, 5, copies=copies)
    points = votes._compressed(rows)
    near = points @ points.T
    for i in range(0, len(rows), 7):
        order = [j for j in np.argsort(-near[i], kind="stable") if copies[j] != copies[i]][:5]
        shares = np.bincount(given[order], minlength=3) / 5 + 1e-3
        np.testing.assert_allclose(found[i], shares / shares.sum(), atol=1e-6)


def test_copies_named_that_there_are_not_change_nothing() -> None:
    rows, given = copied()[0][:300], copied()[1][:300]
    nobody = np.arange(300)
    for judge in (neighbor_votes, ridge_probs, logistic_probs):
        np.testing.assert_array_equal(judge(rows, given, 3), judge(rows, given, 3, copies=nobody))
    plain = classifier_probs(LogisticRegression(), rows, given, 3)
    np.testing.assert_array_equal(
        plain, classifier_probs(LogisticRegression(), rows, given, 3, copies=nobody)
    )


def test_a_label_error_listed_twice_is_found_as_often_as_others() -> None:
    rows, given, wrong, has_copy = copied(600, 40)
    found = nl.audit_labels(rows, labels=given, classifier="extra-trees")
    twice, once = wrong & has_copy, wrong & ~has_copy
    assert abs(found.flagged[twice].mean() - found.flagged[once].mean()) < 0.3
    right = found.out_of_fold[np.arange(len(given)), given]
    assert abs(right[twice].mean() - right[once].mean()) < 0.1  # 0.4 more with the copy in another fold


def test_the_judges_of_features_know_no_copy() -> None:
    texts = [f"{'plum pear fig' if k % 2 else 'car van bus'} number {k}" for k in range(40)]
    labels = np.arange(40) % 2
    labels[[0, 1, 2]] = 1 - labels[[0, 1, 2]]
    texts += texts[:3]
    labels = np.concatenate([labels, labels[:3]])
    features = TfidfEncoder(8).fitted(texts).encode(texts)
    data = feature_set(features, labels, ("car", "fruit"))
    data = type(data)(**{**vars(data), "embedding": {"name": "tfidf:8"}, "texts": texts})
    found = cross_validate(data, **{**FAST, "folds": 4})
    copies = first_equals(data, 4)
    assert copies is not None
    np.testing.assert_array_equal(found.fold, found.fold[copies])
    X = features.numpy()
    right = {
        "ridge": ridge_probs(X, labels, 2, copies=copies),
        "votes": neighbor_votes(X, labels, 2, copies=copies),
        "logistic": logistic_probs(X, labels, 2, 0, copies),
    }
    for name, probs in right.items():
        np.testing.assert_allclose(getattr(found, name), probs, atol=1e-6, err_msg=name)


def test_a_stopped_audit_of_an_earlier_version_goes_on_with_its_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, given, _, _ = copied(90, 6)
    data = feature_set(rows, given, NAMES)
    heard = Heard()
    with monkeypatch.context() as earlier:
        earlier.setattr(cross_validation, "first_equals", lambda data, folds: None)
        with pytest.raises(Interrupted):
            cross_validate(data, folder=tmp_path, reporter=heard, stop=lambda: heard.epochs == 4, **FAST)
        whole = cross_validate(data, **FAST)
    assert "copies" not in json.loads((tmp_path / "crossval.json").read_text(encoding="utf-8"))
    heard = Heard()
    found = cross_validate(data, folder=tmp_path, reporter=heard, **FAST)
    assert any("separated equal examples" in note for note in heard.notes)
    assert "fold 1 of 3 is already trained" in heard.notes
    np.testing.assert_array_equal(found.fold, whole.fold)
    np.testing.assert_array_equal(found.probs, whole.probs)
    fresh = cross_validate(data, folder=tmp_path / "new", **FAST)
    assert (
        json.loads((tmp_path / "new" / "crossval.json").read_text(encoding="utf-8"))["copies"]
        == "in one fold"
    )
    assert (fresh.fold != whole.fold).any()
    again = cross_validate(data, folder=tmp_path / "new", **FAST)
    np.testing.assert_array_equal(again.probs, fresh.probs)
