"""One rule for labels, whatever they are and whatever holds them; and names that look alike."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.labels import name_of, number_labels, read_labels
from noisylabels.core.spelling import lookalikes, padding_notes, spelling_notes, suspicious

KINDS: dict[str, tuple[list[Any], tuple[str, ...]]] = {
    "text": (["dog", "cat", "dog"], ("cat", "dog")),
    "zeros": (["02", "01", "02"], ("01", "02")),
    "points": (["2.0", "1.0", "2.0"], ("1.0", "2.0")),
    "capitals": (["TRUE", "FALSE", "TRUE"], ("FALSE", "TRUE")),
    "from one": ([2, 1, 2], ("1", "2")),
    "years": ([2020, 2019, 2020], ("2019", "2020")),
    "signs": ([1, -1, 1], ("-1", "1")),
    "by value": ([10, 9, 10], ("9", "10")),
    "text by value": (["10", "9", "10"], ("9", "10")),
    "bool": ([True, False, True], ("False", "True")),
    "floats": ([2.0, 1.0, 2.0], ("1", "2")),
}
BOXES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "objects": lambda y: np.array(y, dtype=object),
    "column": lambda y: np.array(y)[:, None],
    "scalars": lambda y: list(np.array(y)),
    "pandas": pd.Series,
    "pandas index": lambda y: pd.Series(y, index=[7, 5, 3]),
    "pandas frame": lambda y: pd.DataFrame({"label": y}),
    "categorical": lambda y: pd.Series(y).astype("category"),
    "categories": pd.Categorical,
    "nullable": lambda y: pd.Series(y).convert_dtypes(),
    "polars": pl.Series,
    "polars frame": lambda y: pl.DataFrame({"label": y}),
}


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("kind", KINDS)
def test_one_rule_for_every_kind_in_every_container(kind: str, box: str) -> None:
    labels, names = KINDS[kind]
    found = read_labels(BOXES[box](labels))
    assert (found.class_names, found.codes.tolist()) == (names, [1, 0, 1])
    assert found.codes.dtype == np.int64
    assert found.values[found.codes].tolist() == labels
    assert [name_of(value) for value in found.values] == list(names)


@pytest.mark.parametrize("box", ["list", "tuple", "objects", "pandas", "pandas frame", "categorical"])
@pytest.mark.parametrize("wide", [2**63 + 1, 2**64 - 1, 2**70])
def test_integers_of_64_bits_and_more_keep_their_digits(wide: int, box: str) -> None:
    for labels in ([wide, -1, wide], [wide, 3, wide]):
        found = read_labels(BOXES[box](labels))
        assert found.values[found.codes].tolist() == labels
        assert [found.class_names[k] for k in found.codes] == [*map(str, labels)]


def test_tensors_and_categoricals_of_polars() -> None:
    for tensor in (
        torch.tensor([2, 1]),
        torch.tensor([[2.0], [1.0]]),
        torch.tensor([2, 1], dtype=torch.int8),
    ):
        assert read_labels(tensor).class_names == ("1", "2")
    assert read_labels(torch.tensor([True, False])).class_names == ("False", "True")
    assert read_labels([torch.tensor(2), torch.tensor(1)]).codes.tolist() == [1, 0]
    assert read_labels(pl.Series(["b", "a"], dtype=pl.Categorical)).class_names == ("a", "b")
    assert read_labels(np.array([b"b", b"a"])).class_names == ("a", "b")


@pytest.mark.parametrize("missing", [None, float("nan"), "", " ", "nan", "NaN", pd.NA, pd.NaT, np.nan])
@pytest.mark.parametrize("rest", [["a", "b"], [1, 2], [True, False]])
def test_a_missing_label_is_named(missing: object, rest: list[Any]) -> None:
    labels = [rest[0], missing, rest[1]]
    for made in (labels, np.array(labels, dtype=object), pd.Series(labels, dtype=object)):
        with pytest.raises(
            InputError, match=r"^labels\[1\]: the label is missing; remove the row or give it"
        ):
            read_labels(made)


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series([1, None, 2]),
        pd.Series([1, None, 2], dtype="Int64"),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series(["a", None, "b"], dtype="string"),
        pd.Series(["a", None, "b"], dtype="category"),
        pl.Series([1, None, 2]),
        pl.Series([True, None, False]),
        pl.Series(["a", None, "b"]),
        torch.tensor([1.0, float("nan"), 2.0]),
    ],
)
def test_a_missing_label_of_a_nullable_column_is_named(labels: object) -> None:
    with pytest.raises(InputError, match=r"labels\[1\]: the label is missing"):
        read_labels(labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], r"^labels are empty"),
        (np.eye(3), r"shape \(3, 3\), .*; if they are one-hot or probabilities, pass labels.argmax\(1\)"),
        (np.zeros((2, 1, 3)), r"shape \(2, 1, 3\)"),
        ([[0], [0, 1]], r"nested lists"),
        ([0.5, 1.0], r"labels\[0\]: the label is 0.5, expected a class: .*divide a quantity"),
        ([1.0, float("inf")], r"labels\[1\]: the label is inf"),
        (["0.5", "1", "2.25"], r"labels\[0\]: the label is 0.5, expected a class"),
        (np.array(["2020-01-01"], "M8[D]"), r"^labels hold dates"),
        ([datetime.date(2020, 1, 1)], r"labels\[0\]: the label is '2020-01-01' \(date\), expected text"),
        ([1, "1"], r"labels\[1\]: the label is '1', and another is 1; write both alike"),
    ],
)
def test_what_is_no_label_is_refused(labels: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_labels(labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "names", "codes"),
    [
        ([1, 0], ["cat", "dog"], [1, 0]),
        ([1.0, 0.0], ["cat", "dog"], [1, 0]),
        (["dog", "cat"], ["dog", "cat", "eel"], [0, 1]),
        ([True, False], ["no", "yes"], [1, 0]),
        ([True, False], ["True", "False"], [0, 1]),
        ([2020, 2019], [2019, 2020], [1, 0]),
        ([2, 1], [2, 1], [0, 1]),
        ([2020, 2019], ["2019", "2020"], [1, 0]),
        ([1, 3], ["1", "2", "3"], [0, 2]),
        ([0, 2], ["1", "2", "3"], [0, 2]),
    ],
)
def test_given_class_names(labels: list[Any], names: list[Any], codes: list[int]) -> None:
    found = read_labels(labels, names)
    assert (found.codes.tolist(), found.class_names) == (codes, tuple(map(str, names)))
    assert found.values[found.codes].tolist() == labels


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (["cart"], ["cat", "dog"], r"labels\[0\]: unknown class 'cart'; did you mean 'cat'"),
        (["0"], ["cat", "dog"], r"labels\[0\]: unknown class '0'"),
        ([0, 2], ["cat", "dog"], r"labels\[1\]: the label is 2, expected 0 to 1"),
        ([0, -1], ["cat", "dog"], r"expected 0 to 1; -1 marks an unlabeled row"),
        (
            [1, 2],
            ["1", "2", "3"],
            r"integers 1, 2, which are numbers as well as names of the classes 1, 2, 3",
        ),
        ([0, 1], "ab", r"class_names is the text 'ab'"),
        ([0, 1], 3, r"class_names is 3, expected a list with one name per class"),
        ([0, 1], ["a", "a"], r"the class name 'a' occurs twice"),
    ],
)
def test_labels_that_are_not_among_the_class_names(labels: list[Any], names: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels(labels, names)


def test_integers_may_be_known_to_index_names_that_are_integers() -> None:
    assert read_labels([1, 2], ["1", "2", "3"], indexed=True).codes.tolist() == [1, 2]
    assert number_labels([1, 2], 3, ["1", "2", "3"]).codes.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("labels", "K", "codes", "names"),
    [
        ([0, 2], 3, [0, 2], ("0", "1", "2")),
        ([1, 2], 2, [0, 1], ("1", "2")),
        (["b", "a"], 2, [1, 0], ("a", "b")),
        ([True, True], 2, [1, 1], ("False", "True")),
    ],
)
def test_a_known_number_of_classes(labels: list[Any], K: int, codes: list[int], names: tuple[str]) -> None:
    found = number_labels(labels, K)
    assert (found.codes.tolist(), found.class_names) == (codes, names)
    with pytest.raises(InputError, match=r"labels are of 2 different classes \(x, y\), expected 5"):
        number_labels(["x", "y"], 5)


# Names that look alike ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cat", "cat"),
        ("cat ", "cat"),
        ("cat\xa0", "cat"),
        ("ice  cream", "ice cream"),
        ("ice_cream", "ice cream"),
        ("c\u200bat", "cat"),
        ("\ufeffcat", "cat"),
        ("caf\xe9", "cafe\u0301"),
        ("\ufb01sh", "fish"),
        ("STRASSE", "stra\xdfe"),
        ("1", "01"),
        ("1", "1.0"),
        ("TRUE", "True"),
    ],
)
def test_names_that_look_like_one_class(one: str, other: str) -> None:
    assert lookalikes([one, "dog", other]) == [(0, 2)]
    notes = spelling_notes(np.array([0, 1, 2, 2]), [one, "dog", other])
    assert len(notes) == 1
    assert notes[0].startswith("classes that look like one: ")
    assert "(2)" in notes[0]
    assert "(1)" in notes[0]
    first, second = (part.rpartition(" ")[0] for part in notes[0][28:].partition(";")[0].split(", "))
    assert unicodedata.normalize("NFC", first) != unicodedata.normalize("NFC", second)


@pytest.mark.parametrize(
    "names", [["1", "-1"], ["1", "10"], ["cat", "cats"], ["co-op", "coop"], ["a1", "a-1"]]
)
def test_other_names_do_not_look_alike(names: list[str]) -> None:
    assert lookalikes(names) == []


def test_names_that_mean_a_missing_label() -> None:
    words = ["NA", "N/A", "null", "None", "?", "-", "unknown", "#N/A", "<NA>", "nan "]
    assert suspicious(words) == list(range(len(words)))
    assert suspicious(["cat", "other", "no", "0", "normal", "negative"]) == []
    notes = spelling_notes(np.array([0] * 12 + [1] * 3), ["NA", "cat"])
    assert notes[0].startswith("12 labels are 'NA': a class of that name is trained; if it means that")


def test_spaces_in_a_text_table_are_named_only_where_they_join_labels() -> None:
    assert padding_notes([" cat", " dog", " cat"]) == []
    assert padding_notes(["cat", "cat ", " cat", "dog"]) == [
        "spaces around a label are ignored: 'cat ' (1), ' cat' (1) are read as 'cat'"
    ]
