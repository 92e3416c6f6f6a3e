"""Probabilities are matched with labels by the names of classes, and refused where they could not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.core.probabilities import match_columns, match_probs
from noisylabels.data.features import feature_set

N = 60
KINDS: list[list[Any]] = [
    ["cat", "dog", "fox"],
    ["01", "02", "03"],
    ["1.0", "2.0", "3.0"],
    [1, 2, 3],
    [0, 1, 2],
    [2019, 2020, 2021],
    [-1, 0, 1],
    ["8", "9", "10"],
]


def problem(classes: list[Any]) -> tuple[list[Any], np.ndarray]:
    """Return labels, some of them wrong, and probabilities of the true classes, in the order of `classes`."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, N)
    given = np.where(rng.random(N) < 0.2, (true + 1) % 3, true)
    probs = np.full((N, 3), 0.1)
    probs[np.arange(N), true] = 0.8
    return [classes[k] for k in given], probs


def results(labels: Any, probs: Any, **how: Any) -> list[Any]:
    audit = nl.audit_labels(labels=labels, probs=probs, **how)
    estimate = nl.estimate_transition(labels, probs, **how)
    return [
        audit.class_names,
        [audit.class_names[k] for k in audit.suggested],
        audit.flagged.tolist(),
        np.round(audit.score, 6).tolist(),
        np.round(nl.rank(labels, probs, **how), 6).tolist(),
        np.round(estimate.transition, 6).tolist(),
    ]


@pytest.mark.parametrize("classes", KINDS, ids=str)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_columns_in_any_order_give_the_same(classes: list[Any], order: tuple[int], library: str) -> None:
    labels, probs = problem(classes)
    names = [classes[k] for k in order]
    frame: Any = pd.DataFrame(probs[:, order], columns=names)
    if library != "pandas":
        table = {str(name): probs[:, k] for name, k in zip(names, order, strict=True)}
        frame = pl.DataFrame(table) if library == "polars" else pa.table(table)
    expected = results(labels, probs, class_names=classes)
    assert results(labels, frame) == expected
    assert sum(expected[2]) > 0


@pytest.mark.parametrize("classes", KINDS[:-1], ids=str)
def test_columns_without_names_are_in_the_order_of_the_classes(classes: list[Any]) -> None:
    labels, probs = problem(classes)
    expected = results(labels, probs, class_names=classes)
    assert results(labels, probs) == expected
    assert results(np.array(labels)[:, None], probs) == expected
    if isinstance(classes[0], str) and not classes[0].isdecimal():
        assert results(labels, pd.DataFrame(probs)) == expected
        assert results(labels, pl.DataFrame(probs, schema=["0", "1", "2"])) == expected


def test_bool_labels() -> None:
    labels = [True, False, True, False]
    probs = np.array([[0.1, 0.9], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    expected = nl.rank([1, 0, 1, 0], probs).tolist()
    for frame in (probs, pd.DataFrame(probs, columns=[False, True]), pd.DataFrame(probs)[[1, 0]][[0, 1]]):
        assert nl.rank(labels, frame).tolist() == expected
    swapped = pd.DataFrame(probs[:, ::-1], columns=["True", "False"])
    assert nl.rank(labels, swapped).tolist() == expected


def test_classes_without_labels_come_from_the_columns() -> None:
    frame = pd.DataFrame([[0.1, 0.2, 0.7], [0.7, 0.2, 0.1]], columns=["fox", "eel", "cat"])
    found, values = match_probs(["cat", "fox"], frame)
    assert found.class_names == ("cat", "eel", "fox")
    assert values.tolist() == [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]
    assert nl.audit_labels(labels=["cat", "fox"], probs=frame).flagged.sum() == 0


@pytest.mark.parametrize(
    ("labels", "columns", "message"),
    [
        (
            ["cat", "dog", "eel"],
            ["cat", "dog", "fox"],
            r"columns cat, dog, fox, .*classes cat, dog, eel; name",
        ),
        ([0, 1, 2], ["fox", "dog", "cat"], r"columns fox, dog, cat, .*classes 0, 1, 2; .* pass class_names"),
        ([0, 1, 2], ["cat", "dog", "fox"], r"columns cat, dog, fox, .*classes 0, 1, 2"),
        ([1, 2, 3], [0, 1, 2], r"columns 0, 1, 2, and the labels are of the classes 1, 2, 3"),
        (["1", "2", "3"], [0, 1, 2], r"columns 0, 1, 2, and the labels are of the classes 1, 2, 3"),
        (["a", "b", "c"], ["a", "b", "b"], r"two columns called 'b'"),
        (["a", "b", "c"], ["b", "c", "d"], r"columns b, c, d"),
        (["8", "9", "10"], None, r"8, 9, 10 as text, .* may be sorted by value or as text; pass class_names"),
        (["a", "b", "b"], None, r"labels are of 2 classes, a, b, and probs have 3 columns without names"),
        (["a", "b", "b"], [0, 1, 2], r"labels are of 2 classes, a, b, and probs have 3 columns"),
        (
            [1, 2, 5, 5],
            None,
            r"labels\[2\] is 5, .* 3 different classes \(1, 2, 5\), expected 4, or class numbers from 0 to 3",
        ),
        (
            pd.Categorical(["low", "mid", "high"], ["low", "mid", "high"]),
            None,
            r"categories in the order low, mid, high, .* pass class_names in the order of the columns",
        ),
    ],
)
def test_what_does_not_match_is_refused(labels: Any, columns: Any, message: str) -> None:
    probs: Any = np.eye(len(labels))
    if columns is not None:
        probs = pd.DataFrame(probs, columns=columns)
    for call in (nl.rank, nl.estimate_transition, lambda y, p: nl.audit_labels(labels=y, probs=p)):
        with pytest.raises(InputError, match=message) as caught:
            call(labels, probs)
        assert "\n" not in str(caught.value)


def test_categories_that_do_not_occur_are_classes_of_the_columns() -> None:
    labels = pd.Series(pd.Categorical(["a", "c"], ["a", "b", "c"]))
    assert nl.rank(labels, np.array([[1, 0, 0], [0, 0, 1]])).tolist() == [1, 1]
    assert nl.rank(labels, np.eye(2)).tolist() == [1, 1]


def test_functions_of_class_numbers_do_not_drop_names_either() -> None:
    frame = pd.DataFrame([[0.1, 0.9], [0.8, 0.2]], columns=["1", "0"])
    joint = nl.noise.confident_joint([0, 1], frame)
    assert joint.tolist() == nl.noise.confident_joint([0, 1], [[0.9, 0.1], [0.2, 0.8]]).tolist()


def test_columns_of_a_set_are_matched_by_its_class_names() -> None:
    frame = pd.DataFrame([[0.1, 0.9]], columns=["dog", "cat"])
    assert match_columns(frame, ("cat", "dog")).tolist() == [[0.9, 0.1]]
    assert match_columns(pd.DataFrame([[0.1, 0.9]]), ("cat", "dog")).tolist() == [[0.1, 0.9]]
    with pytest.raises(InputError, match=r"columns dog, cat, and the classes are cat, eel; name"):
        match_columns(frame, ("cat", "eel"))
    with pytest.raises(InputError, match=r"not all of numbers"):
        match_columns(pd.DataFrame({"cat": ["x"], "dog": [1.0]}), ("cat", "dog"))


@pytest.mark.parametrize("features", [False, True])
def test_an_audit_of_features_matches_columns_too(features: bool) -> None:
    labels, probs = problem(["cat", "dog", "fox"])
    frame = pd.DataFrame(probs[:, ::-1], columns=["fox", "dog", "cat"])
    X = np.random.default_rng(1).normal(size=(N, 2)).astype("f4")
    data = feature_set(X, match_probs(labels, probs)[0].codes, ("cat", "dog", "fox"))
    how: dict[str, Any] = {} if features else {"labels": labels}
    one = nl.audit_labels(data if features else X, probs=frame, **how)
    other = nl.audit_labels(data if features else X, probs=probs, **how)
    assert one.flagged.tolist() == other.flagged.tolist()
    assert one.flagged.sum() > 0


# Rows -----------------------------------------------------------------------------------------------------


def rows(index: Any, of: Any) -> tuple[pd.Series, pd.DataFrame]:
    labels = pd.Series(["a", "b", "a"], index=index)
    return labels, pd.DataFrame({"a": [0.9, 0.2, 0.6], "b": [0.1, 0.8, 0.4]}, index=of)


def test_rows_are_matched_by_the_index_if_both_have_one() -> None:
    plain = nl.rank(*rows(None, None)).tolist()
    assert nl.rank(*rows(["x", "y", "z"], ["x", "y", "z"])).tolist() == plain
    labels, probs = rows(["x", "y", "z"], ["x", "y", "z"])
    for call in (nl.rank, lambda y, p: nl.audit_labels(labels=y, probs=p).score):
        in_order = np.asarray(call(*rows(None, None)))
        assert len(set(in_order.tolist())) == 3
        np.testing.assert_allclose(call(labels, probs.iloc[[2, 0, 1]]), in_order)
        np.testing.assert_allclose(call(labels.iloc[[2, 0, 1]], probs), in_order[[2, 0, 1]])
    assert (
        nl.estimate_transition(labels, probs.iloc[[2, 0, 1]]).transition.tolist()
        == nl.estimate_transition(labels, probs).transition.tolist()
    )


def test_an_index_that_only_one_of_them_has_does_not_count() -> None:
    plain = nl.rank(*rows(None, None)).tolist()
    assert nl.rank(*rows(["x", "y", "z"], None)).tolist() == plain  # probs of an array
    labels, probs = rows([7, 5, 3], [3, 5, 7])
    assert nl.rank(labels, probs.to_numpy()).tolist() == plain
    assert nl.rank(labels.tolist(), probs).tolist() == plain


@pytest.mark.parametrize(
    ("index", "of", "message"),
    [
        (
            [2, 0, 1],
            None,
            r"the same index in another order; .*probs.loc\[labels.index\], .*probs.to_numpy\(\)",
        ),
        (None, [2, 0, 1], r"the same index in another order"),
        (["x", "y", "z"], ["x", "y", "w"], r"different indexes"),
        (["x", "x", "z"], ["x", "z", "x"], r"different indexes"),
    ],
)
def test_an_index_that_may_mean_two_things_is_refused(index: Any, of: Any, message: str) -> None:
    labels, probs = rows(index, of)
    for call in (nl.rank, nl.estimate_transition, lambda y, p: nl.audit_labels(labels=y, probs=p)):
        with pytest.raises(InputError, match=message):
            call(labels, probs)


def test_a_lazy_frame_is_refused() -> None:
    lazy, probs = pl.LazyFrame({"a": [0.5, 0.2], "b": [0.5, 0.8]}), np.full((2, 2), 0.5)
    for labels, given in ((["a", "b"], lazy), (lazy.select("a"), probs)):
        with pytest.raises(InputError, match=r"got a LazyFrame, expected a data frame .*; call collect\(\)"):
            nl.rank(labels, given)
    with pytest.raises(InputError, match="class_names is 3, expected a list"):
        nl.corrupt([0, 1], "symmetric:0.2", class_names=3)
