"""Labels, class names and columns that could be read in two ways are refused at every door, never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data.features import feature_set

WORDS = np.array(["dog", "cat", "cat", "dog", "dog", "cat"])
PROBS = np.where(WORDS[:, None] == ["cat", "dog"], 0.9, 0.1)
X = np.arange(12.0).reshape(6, 2)
DECLARED = ["dog", "cat"]
CALLS: list[Any] = [
    nl.rank,
    nl.estimate_transition,
    lambda y, p, **how: nl.audit_labels(labels=y, probs=p, **how),
]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


# Integers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_integers_that_may_count_from_0_or_1_are_refused(call: Any) -> None:
    labels = np.array([1, 2, 1, 2])
    for probs in (np.eye(3)[labels - 1], pd.DataFrame(np.eye(3)[labels - 1])):
        for some in (labels, labels.tolist(), labels.astype(float), pd.Series(labels)):
            with pytest.raises(
                InputError, match=r"integers 1, 2, .* 3 columns .*pass class_names=range\(3\), or"
            ):
                call(some, probs)
    call([0, 2, 1], np.eye(3))
    call([0, 2, 2], np.eye(3)[[0, 2, 2]])
    call([1, 2, 3], np.eye(3))


def test_class_names_tell_how_integers_count() -> None:
    labels = np.array([1, 2, 1, 2])
    assert nl.rank(labels, np.eye(3)[labels], class_names=range(3)).tolist() == [1] * 4
    assert nl.rank(labels, np.eye(3)[labels - 1], class_names=range(1, 4)).tolist() == [1] * 4
    named = pd.DataFrame(np.eye(3)[labels - 1], columns=["1", "2", "3"])
    with pytest.raises(InputError, match=r"column '3' of zeros alone"):
        nl.rank(labels, named)
    assert nl.rank(labels, named, class_names=[1, 2, 3]).tolist() == [1] * 4


def test_functions_of_class_numbers_take_classes_that_do_not_occur() -> None:
    codes = np.array([1, 2, 1, 2])
    probs = np.eye(3)[codes]
    for each in (probs, pd.DataFrame(probs)):
        assert nl.noise.confident_joint(codes, each).shape == (3, 3)
    train = feature_set(X, np.array([1, 2, 1, 2, 1, 2]), ("a", "b", "c"))
    audit = nl.audit_labels(train, probs=np.eye(3)[[1, 2, 1, 2, 1, 2]])
    assert audit.flagged.sum() == 0
    y = [1, 2, 1, 2, 1, 2]
    audit = nl.audit_labels(X, labels=y, probs=np.eye(3)[y], class_names=["a", "b", "c"])
    assert audit.flagged.sum() == 0
    audit = nl.audit_labels(X, labels=y, probs=np.eye(3)[np.array(y) - 1], class_names=[1, 2, 3])
    assert audit.flagged.sum() == 0


@pytest.mark.parametrize("values", [X, np.zeros((6, 4, 4), np.uint8)], ids=["rows", "images"])
def test_integers_that_are_numbers_and_names_of_classes_are_refused(values: np.ndarray) -> None:
    y = np.array([1, 2, 1, 2, 1, 2])
    names = np.array(["1", "2", "3"])
    np.savez("both.npz", x=values, y=y, class_names=names)
    for source in ("both.npz", {"x": values, "y": y, "class_names": names}):
        with pytest.raises(InputError, match=r"integers 1, 2, which are numbers as well as names"):
            nl.load(source)
    with pytest.raises(InputError, match=r"integers 1, 2, which are numbers as well as names"):
        nl.audit_labels((values, y), probs=np.eye(3)[y], class_names=["1", "2", "3"])
    np.savez("text.npz", x=values, y=y.astype(str), class_names=names)
    np.savez("numbers.npz", x=values, y=y, class_names=["a", "b", "c"])
    found = [nl.load(name, test_fraction=0.5)[0] for name in ("text.npz", "numbers.npz")]
    assert [[each.class_names[k] for k in sorted(set(each.labels.tolist()))] for each in found] == [
        ["1", "2"],
        ["b", "c"],
    ]


# Categories ------------------------------------------------------------------------------------------------


def categories() -> dict[str, Any]:
    return {
        "pandas": pd.Series(pd.Categorical(WORDS, categories=DECLARED)),
        "enum": pl.Series("label", WORDS.tolist(), dtype=pl.Enum(DECLARED)),
        "categorical": pl.Series("label", WORDS.tolist(), dtype=pl.Categorical),
        "arrow": pa.array(WORDS.tolist()).dictionary_encode(),
    }


@pytest.mark.parametrize("kind", ["pandas", "enum", "categorical", "arrow"])
def test_categories_in_another_order_than_sorted_are_refused(kind: str) -> None:
    labels, probs = categories()[kind], PROBS[:, ::-1]
    frame: Any = pd.DataFrame({"x": X[:, 0]}).assign(label=labels) if kind == "pandas" else None
    if kind in ("enum", "categorical"):
        frame = pl.DataFrame({"x": X[:, 0], "label": labels})
    if kind == "arrow":
        frame = pa.table({"x": X[:, 0], "label": labels})
    asked: list[dict[str, Any]] = [
        {"labels": labels},
        {"data": X, "labels": labels},
        {"data": (X, labels)},
        {"data": frame},
    ]
    for how in asked:
        with pytest.raises(InputError, match=r"categories in the order dog, cat, .*pass class_names"):
            nl.audit_labels(**how, probs=probs)
        audit = nl.audit_labels(**how, probs=probs, class_names=DECLARED)
        assert audit.class_names == ("dog", "cat")
        assert audit.flagged.sum() == 0
        named = pd.DataFrame(PROBS, columns=["cat", "dog"])
        assert nl.audit_labels(**how, probs=named).flagged.sum() == 0
    with pytest.raises(InputError, match=r"categories in the order dog, cat"):
        nl.rank(labels, probs)


# Containers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_arrays_of_arrow_are_labels(call: Any) -> None:
    for labels in (pa.array(WORDS.tolist()), pa.chunked_array([WORDS[:2].tolist(), WORDS[2:].tolist()])):
        call(labels, PROBS)
    assert nl.rank(pa.array(WORDS.tolist()), PROBS).tolist() == nl.rank(WORDS, PROBS).tolist()
    with pytest.raises(InputError, match=r"labels\[1\]: the label is missing"):
        call(pa.array(["dog", None, "cat", "dog", "dog", "cat"]), PROBS)


def test_a_masked_label_is_missing() -> None:
    for values in (WORDS, (WORDS == "dog").astype(int)):
        masked = np.ma.MaskedArray(values, mask=np.arange(6) == 3)
        for call in CALLS:
            with pytest.raises(InputError, match=r"labels\[3\]: the label is missing"):
                call(masked, PROBS)
        for fit in (lambda y: nl.load((X, y)), lambda y: nl.NoisyLabelClassifier(epochs=1).fit(X, y)):
            with pytest.raises(InputError, match=r"3.*the label is missing"):
                fit(masked)
            with pytest.raises(InputError, match=r"3.*the label is missing"):
                fit(masked[:, None])
        whole = np.ma.MaskedArray(values, mask=False)
        assert nl.rank(whole, PROBS).tolist() == nl.rank(values, PROBS).tolist()
    with pytest.raises(InputError, match=r"labels\[3\] is masked"):
        nl.noise.confident_joint(np.ma.MaskedArray([0, 1, 0, 1], mask=[0, 0, 0, 1]), PROBS[:4])


def test_class_names_without_an_order_are_refused() -> None:
    names: Any = {"cat", "dog"}
    for call in CALLS:
        with pytest.raises(InputError, match=r"class_names is a set, which has no order"):
            call(WORDS, PROBS, class_names=names)
    for data in ((X, WORDS), feature_set(X, (WORDS == "dog").astype(int), ("cat", "dog"))):
        with pytest.raises(InputError, match=r"class_names is a set, which has no order"):
            nl.audit_labels(data, probs=PROBS, class_names=names)


# Columns and rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_column_that_is_no_class_is_refused_by_name(call: Any) -> None:
    frame = pd.DataFrame(PROBS, columns=["cat", "dog"])
    for column, what in ((0, "zeros alone"), (range(6), "numbers beyond 0 to 1")):
        for some in (frame.assign(fold=column), pl.DataFrame(frame.assign(fold=column))):
            with pytest.raises(InputError, match=rf"a column 'fold' of {what}, and no label is 'fold'"):
                call(WORDS, some)
    call(WORDS, frame.assign(eel=0), class_names=["cat", "dog", "eel"])
    call(pd.Series(pd.Categorical(WORDS, categories=["cat", "dog", "eel"])), frame.assign(eel=0))
    call(WORDS, (frame * 0.9).assign(eel=0.1))


def test_a_classifier_refuses_labels_and_weights_in_another_order() -> None:
    rows, y = pd.DataFrame(X), pd.Series(WORDS)
    classifier = nl.NoisyLabelClassifier(epochs=1)
    with pytest.raises(ValueError, match=r"X and y have the same index in another order"):
        classifier.fit(rows, y[::-1])
    with pytest.raises(ValueError, match=r"X and sample_weight have the same index in another order"):
        classifier.fit(rows, y, sample_weight=pd.Series(np.ones(6))[::-1])
    classifier.fit(rows, y.set_axis(range(6, 12)))
