"""An audit whose judge is any classifier."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import noisylabels as nl
from noisylabels.audit.classifier_judge import judge_by_classifier
from noisylabels.audit.result import Audit
from noisylabels.cli import main
from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.features import feature_set
from noisylabels.experiment.classifier_probs import classifier_probs
from noisylabels.experiment.classifiers import CLASSIFIERS, find_judge
from noisylabels.experiment.reporter import Silent

RNG = np.random.default_rng(0)
TRUE = np.repeat([0, 1, 2], 40)
X = (RNG.normal(size=(120, 4)) + 4 * np.eye(3, 4)[TRUE]).astype(np.float32)
GIVEN = TRUE.copy()
WRONG = np.array([3, 17, 45, 78, 99, 110])
GIVEN[WRONG] = (TRUE[WRONG] + 1) % 3
NAMES = np.array(["ant", "bee", "cat"])


def test_the_scores_are_those_of_the_classifier_out_of_fold() -> None:
    forest = RandomForestClassifier(50, min_samples_leaf=3, random_state=0)
    found = nl.audit_labels(X, labels=NAMES[GIVEN], classifier=forest, seed=3)
    probs = classifier_probs(forest, X, GIVEN, 3, folds=4, seed=3)
    np.testing.assert_array_equal(found.out_of_fold, probs)
    assert (
        found.order.tolist() == np.lexsort((np.arange(120), nl.rank(GIVEN, probs), ~found.flagged)).tolist()
    )
    assert len(set(WRONG.tolist()) & set(found.order[:12].tolist())) >= 5
    assert found.flagged[WRONG].sum() == found.flagged.sum() >= 2
    assert (found.suggested[found.flagged] == TRUE[found.flagged]).all()
    rate = found.summary["rate"]
    assert rate["low"] < len(WRONG) / 120 < rate["high"]
    method = found.summary["method"]
    assert method["probs"] == "classifier"
    assert method["class"].endswith("RandomForestClassifier")
    assert method["parameters"]["n_estimators"] == 50
    assert found.seen is None


def test_the_classifier_receives_the_rows_as_they_were_passed() -> None:
    frame = pandas.DataFrame(X, columns=list("abcd")).assign(word=NAMES[TRUE])
    frame.loc[::9, "a"] = np.nan
    words = make_pipeline(make_column_transformer((OneHotEncoder(), ["word"])), LogisticRegression())
    found = nl.audit_labels(frame, labels=NAMES[GIVEN], classifier=words)
    assert found.score[WRONG].max() < np.delete(found.score, WRONG).min()
    holes = nl.audit_labels(frame[list("abcd")], labels=GIVEN, classifier=HistGradientBoostingClassifier())
    assert holes.summary["agreement"] > 0.85
    sparse = nl.audit_labels(csr_matrix(X), labels=GIVEN, classifier=LogisticRegression())
    pair = nl.audit_labels((X, GIVEN), classifier=LogisticRegression())
    np.testing.assert_allclose(sparse.score, pair.score, atol=1e-4)


def test_columns_of_ids_and_of_trusted_labels_are_not_learned() -> None:
    seen = []

    class Watching(LogisticRegression):
        def fit(self, X, y):  # type: ignore[no-untyped-def]
            seen.append(list(X.columns))
            return super().fit(X, y)

    frame = pandas.DataFrame(X, columns=list("abcd")).assign(key=np.arange(120), ok=TRUE == 0)
    found = nl.audit_labels(frame, labels=GIVEN, classifier=Watching(), id_column="key", trusted="ok")
    assert seen == [list("abcd")] * 4
    assert not found.flagged[TRUE == 0].any()


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"classifier": LinearSVC()}, "LinearSVC has no predict_proba; wrap it: CalibratedClassifierCV"),
        (
            {"classifier": "forrest"},
            "expected logistic, forest, extra-trees, boosting, knn, .*did you mean 'forest'",
        ),
        ({"classifier": "forest", "probs": np.eye(3)[GIVEN]}, "got a classifier and probs"),
        ({"classifier": "forest", "epochs": 3}, "epochs is a setting of networks; leave it out"),
        ({"classifier": "forest", "loss": "ce"}, "loss is a setting of networks"),
        ({"classifier": "sklearn.svm:LinearSVC"}, "LinearSVC has no predict_proba"),
        ({"classifier": "sklearn.svm:LinearSVCs"}, "has no function 'LinearSVCs'; known: .*LinearSVC"),
    ],
)
def test_what_does_not_fit_is_one_line(how: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        nl.audit_labels(X, labels=GIVEN, **how)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_each_name_is_a_classifier_that_finds_label_errors(name: str) -> None:
    assert len(CLASSIFIERS) == 5
    found = nl.audit_labels(X, labels=GIVEN, classifier=name)
    assert len(set(found.order[:12].tolist()) & set(WRONG.tolist())) >= 5
    assert find_judge(name).name == name


def table(folder: Path) -> Path:
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*"abcd", "label"])
        writer.writerows([*row, NAMES[label]] for row, label in zip(X.tolist(), GIVEN, strict=True))
    return path


def test_the_command_judges_with_a_name_or_with_own_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, out = str(table(tmp_path)), tmp_path / "out"
    assert main(["audit", data, "--classifier", "knn", "--out", str(out)]) == 0
    assert set(Audit.load(out).order[:6].tolist()) == set(WRONG.tolist())
    assert "one classifier per fold" in (out / "page.html").read_text()
    assert main(["audit", data, "--classifier", "knn", "--out", str(out)]) == 0
    assert "already holds this audit" in capsys.readouterr().err
    assert main(["audit", data, "--classifier", "forest", "--out", str(out)]) == 2
    assert "holds another audit: its classifier is" in capsys.readouterr().err
    assert not (out / "folds").exists()
    code = tmp_path / "mine.py"
    code.write_text("from sklearn.naive_bayes import GaussianNB\n\ndef build():\n    return GaussianNB()\n")
    second = tmp_path / "second"
    assert main(["audit", data, "--classifier", "mine.py:build", "--out", str(second)]) == 0
    assert json.loads((second / "audit.json").read_text())["method"]["code"] == "mine.py:build"
    code.write_text(code.read_text().replace("GaussianNB()", "GaussianNB(var_smoothing=0.1)"))
    assert main(["audit", data, "--classifier", "mine.py:build", "--out", str(second)]) == 2


FITS: list[int] = []


class Stopped(LogisticRegression):
    """Logistic regression that Ctrl-C stops in its third fold, the first time."""

    def fit(self, X, y):  # type: ignore[no-untyped-def]
        FITS.append(len(y))
        if len(FITS) == 3:
            raise KeyboardInterrupt
        return super().fit(X, y)


def test_a_stopped_audit_goes_on_with_the_next_fold(tmp_path: Path) -> None:
    FITS.clear()
    how = {"labels": GIVEN, "classifier": Stopped(), "out": tmp_path / "out"}
    with pytest.raises(Interrupted, match="stopped after 2 of 4 folds"):
        nl.audit_labels(X, **how)  # type: ignore[arg-type]
    files = sorted((tmp_path / "out" / "folds").iterdir())
    assert len(files) == 2
    found = nl.audit_labels(X, **how)  # type: ignore[arg-type]
    assert len(FITS) == 5  # two, the stopped one, two
    whole = nl.audit_labels(X, labels=GIVEN, classifier=LogisticRegression())
    np.testing.assert_array_equal(found.score, whole.score)


@pytest.mark.parametrize("how", ["cut", "a bit"])
def test_a_damaged_fold_is_one_line(how: str, tmp_path: Path) -> None:
    FITS.clear()
    how = {"labels": GIVEN, "classifier": Stopped(), "out": tmp_path / "out"}
    with pytest.raises(Interrupted):
        nl.audit_labels(X, **how)  # type: ignore[arg-type]
    path = next((tmp_path / "out" / "folds").iterdir())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # among the probabilities
    path.write_bytes(b"\x93NUMPY" if how == "cut" else content)
    with pytest.raises(CorruptedFile, match="is damaged; remove it to fit its fold again"):
        nl.audit_labels(X, **how)  # type: ignore[arg-type]


def test_small_images_are_judged_by_their_pixels() -> None:
    train, _ = nl.load("digits")
    images, labels = train.images.numpy()[:400], train.labels.numpy()[:400]
    found = nl.audit_labels(images, labels=labels, classifier="knn")
    flat = classifier_probs(
        find_judge("knn").classifier, images.reshape(400, -1).astype(np.float32) / 255, labels, 10
    )
    np.testing.assert_array_equal(found.out_of_fold, flat)
    ranked = nl.rank(labels, flat)  # the same order, but for equal scores
    np.testing.assert_allclose(ranked[found.score.argsort()], np.sort(ranked), rtol=0, atol=1e-12)


def agreement_by_columns(data: object, **how: object) -> tuple[list[list[str]], float]:
    """Return the columns that each fold's classifier is fitted to, and the share of labels predicted."""
    seen: list[list[str]] = []

    class Watching(DecisionTreeClassifier):
        def fit(self, X, y):  # type: ignore[no-untyped-def]
            seen.append(list(X.columns))
            return super().fit(X, y)

    found = nl.audit_labels(data, classifier=Watching(random_state=0), folds=2, **how)  # type: ignore[arg-type]
    return seen, found.summary["agreement"]


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize("pair", [True, False])
def test_the_ids_of_an_audit_are_not_learned_however_they_were_found(kind: str, pair: bool) -> None:
    noise = np.random.default_rng(1).normal(size=(80, 2))
    labels = np.repeat(["u", "v"], 40)
    frame = pandas.DataFrame({"ID": 1000 + np.arange(80), "a": noise[:, 0], "b": noise[:, 1]})
    keyed = frame.assign(key=[f"k{i}" for i in range(80)])
    for data, how in ((frame, {}), (frame, {"id_column": "ID"}), (keyed, {"id_column": "key"})):
        made = polars.from_pandas(data) if kind == "polars" else data
        labeled = {"data": (made, labels)} if pair else {"data": made, "labels": labels}
        seen, agreement = agreement_by_columns(**labeled, **how)
        assert seen == [["a", "b"]] * 2
        assert agreement < 0.7  # of noise; the ids would give away each label


def test_columns_that_hold_the_labels_are_not_learned() -> None:
    noise = np.random.default_rng(1).normal(size=(80, 2))
    labels = np.repeat([0, 1], 40)
    frame = pandas.DataFrame(noise, columns=["a", "b"]).assign(label=labels)
    seen, agreement = agreement_by_columns(frame, labels=labels)
    assert seen == [["a", "b"]] * 2
    assert agreement < 0.7
    parts = nl.audit_labels((frame, frame[:20]), part="train", classifier=DecisionTreeClassifier(), folds=2)
    assert parts.summary["agreement"] < 0.7


def test_an_arrow_table_is_judged_by_its_encoded_columns() -> None:
    frame = pandas.DataFrame(X, columns=list("abcd"))
    frame.insert(0, "id", np.arange(120) + 1000)
    found = nl.audit_labels(pa.Table.from_pandas(frame), labels=GIVEN, classifier=LogisticRegression())
    plain = nl.audit_labels(X, labels=GIVEN, classifier=LogisticRegression())
    np.testing.assert_allclose(found.out_of_fold, plain.out_of_fold, atol=1e-6)


class ByLastDigit(ClassifierMixin, BaseEstimator):
    """A classifier that looks at the last digit of the last column alone."""

    def fit(self, X, y):  # type: ignore[no-untyped-def]
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):  # type: ignore[no-untyped-def]
        if hasattr(X, "tocsr"):
            X = X.toarray()
        last = X.iloc[:, -1].tolist() if hasattr(X, "iloc") else np.asarray(X)[:, -1].tolist()
        odd = np.array([int(float(str(cell)[-3:].replace("-", ""))) % 2 for cell in last])
        return np.where(odd[:, None] == [0, 1], 0.9, 0.1)


def rows_with(form: str, last: np.ndarray) -> Any:
    """Return 60 rows whose last column is even or odd, in a form of which the features lose that."""
    plain = np.random.default_rng(1).normal(size=60)
    far = 1e9 + 1e6 * np.arange(60)  # float32 has each of them, but not the odd number after it
    if form == "float64":
        return np.stack([plain, far + last], axis=1)
    if form == "sparse":
        return csr_matrix(np.stack([plain, far + last], axis=1))
    dates = [f"2024-{1 + i % 12:02d}-{10 + k}" for i, k in enumerate(last.tolist())]
    frame = pandas.DataFrame({"x": plain, "when": dates})
    return polars.from_pandas(frame) if form == "polars" else frame


@pytest.mark.parametrize("form", ["float64", "sparse", "dates", "polars"])
def test_a_folder_does_not_return_the_audit_of_other_rows(form: str, tmp_path: Path) -> None:
    labels = np.arange(60) % 2
    how = {"labels": labels, "classifier": ByLastDigit(), "out": tmp_path}
    right, wrong = rows_with(form, labels), rows_with(form, 1 - labels)
    assert nl.audit_labels(right, **how).summary["agreement"] == 1.0
    assert nl.audit_labels(rows_with(form, labels), **how).summary["agreement"] == 1.0  # found again
    assert nl.audit_labels(wrong, **how | {"out": None}).summary["agreement"] == 0.0
    with pytest.raises(
        InputError, match=r"holds another audit: its rows is .*; choose another --out"
    ) as found:
        nl.audit_labels(wrong, **how)
    assert "\n" not in str(found.value)


def test_kept_folds_are_of_the_same_rows(tmp_path: Path) -> None:
    labels = np.arange(60) % 2
    how: dict[str, Any] = {"folds": 2, "seed": 0, "folder": tmp_path, "reporter": Silent(), "stop": bool}
    probs = []
    for last in (labels, 1 - labels):
        rows = rows_with("float64", last)
        examples = feature_set(rows.astype(np.float32), labels, ("u", "v"))
        probs.append(judge_by_classifier(find_judge(ByLastDigit()), examples, rows, **how)[0])
    assert (probs[0].argmax(1) == labels).all()
    assert (probs[1].argmax(1) == 1 - labels).all()


def test_the_identity_of_an_audit_without_rows_of_the_caller_stays(tmp_path: Path) -> None:
    nl.audit_labels(table(tmp_path), classifier="knn", out=tmp_path / "a")
    nl.audit_labels(X, labels=GIVEN, epochs=1, folds=2, out=tmp_path / "b")
    for name in "ab":
        assert "rows" not in json.loads((tmp_path / name / "settings.json").read_text())
