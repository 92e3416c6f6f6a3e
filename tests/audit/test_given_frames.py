"""Rows and columns of given probabilities are matched by name at every door of an audit, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import noisylabels as nl
from noisylabels.core.checks import InputError

N = 30
IDS = [f"k{row:02d}" for row in range(N)]
CODES = np.random.default_rng(5).integers(0, 2, N)
WORDS = np.array(["cat", "dog"])[CODES]
X = pd.DataFrame(np.random.default_rng(6).normal(size=(N, 2)), columns=["a", "b"])
PROBS = np.where(WORDS[:, None] == ["cat", "dog"], 0.97, 0.03)
FRAME = pd.DataFrame(PROBS, columns=["cat", "dog"], index=IDS)
TABLE = X.assign(id=IDS, label=WORDS)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    TABLE.to_csv("data.csv", index=False)
    TABLE.drop(columns="id").to_csv("plain.csv", index=False)


def wrong(audit: Any) -> int:
    """Return how many examples got the probabilities of another one."""
    assert audit.class_names == ("cat", "dog")
    return int((np.asarray(audit.probs).argmax(1) != audit.given).sum())


def doors() -> dict[str, Any]:
    """Return what `audit_labels` takes, by name; the examples of each have ids or an index."""
    indexed = TABLE.set_index("id")
    both = indexed.iloc[:20], indexed.iloc[20:]
    features = indexed[["a", "b"]]
    return {
        "path": {"data": "data.csv"},
        "set": {"data": nl.load("data.csv")[0]},
        "frame with ids": {"data": TABLE},
        "frame with an index": {"data": indexed},
        "train and test": {"data": both},
        "mapping": {"data": {"train": both[0], "test": both[1]}},
        "(X, y)": {"data": (features, indexed.label)},
        "(X, array)": {"data": (features, WORDS)},
        "X, labels": {"data": features, "labels": WORDS},
        "X with ids, labels": {"data": TABLE[["id", "a", "b"]], "labels": WORDS},
        "labels": {"labels": indexed.label},
    }


@pytest.mark.parametrize("door", [
    "path", "set", "frame with ids", "frame with an index", "train and test", "mapping", "(X, y)",
    "(X, array)", "X, labels", "X with ids, labels", "labels",
])  # fmt: skip
def test_rows_are_matched_by_id_or_index(door: str) -> None:
    data = doors()[door]
    known = list(data["data"].ids) if door == "set" else IDS
    frame = FRAME.loc[known]
    for rows in (frame.iloc[::-1], frame.sample(frac=1, random_state=1)):
        audit = nl.audit_labels(**data, probs=rows)
        assert wrong(audit) == 0
        assert audit.flagged.sum() == 0
    assert wrong(nl.audit_labels(**data, probs=frame.reset_index(drop=True))) == 0  # by position
    with pytest.raises(InputError, match=r"index(es)? .*probs.to_numpy\(\)") as caught:
        nl.audit_labels(**data, probs=frame.iloc[::-1].rename(index=lambda word: f"x{word}"))
    assert "\n" not in str(caught.value)


def test_an_index_of_row_numbers_is_matched_or_refused() -> None:
    numbered = FRAME.reset_index(drop=True)
    kept = np.flatnonzero(np.arange(N) % 3 > 0)
    for data in ({"data": "plain.csv"}, {"labels": WORDS}, {"data": (X.to_numpy(), WORDS)}):
        same = numbered.set_index(np.arange(N))
        assert wrong(nl.audit_labels(**data, probs=same)) == 0
        with pytest.raises(InputError, match=r"probs have the index 29, 28, 27 and 27 more"):
            nl.audit_labels(**data, probs=same.iloc[::-1])
        with pytest.raises(InputError, match=r"probs have the index 29, 28, 27 and 27 more"):
            nl.audit_labels(**data, probs=numbered.iloc[::-1])
    # what a filter leaves, beside labels that it has filtered too
    assert wrong(nl.audit_labels(labels=WORDS[kept], probs=numbered.iloc[kept])) == 0
    assert nl.rank(WORDS[kept], numbered.iloc[kept]).min() > 0.9
    for call in (nl.rank, nl.estimate_transition):
        with pytest.raises(InputError, match=r"index 29, 28"):
            call(WORDS, numbered.iloc[::-1])
        with pytest.raises(InputError, match=r"index k00, k01"):  # may be sorted by id, unlike the labels
            call(WORDS, FRAME)


def test_ids_that_are_row_numbers_in_another_order_are_refused() -> None:
    table = TABLE.assign(id=np.arange(N)[::-1])
    probs = FRAME.set_axis(pd.Index(list(range(N)), dtype="int64"))
    with pytest.raises(InputError, match=r"order of the examples and, in another order, their ids"):
        nl.audit_labels(table, probs=probs)
    by_id = probs.iloc[::-1].reset_index(drop=True).rename_axis("id")
    assert wrong(nl.audit_labels(table, probs=by_id)) == 0
    assert wrong(nl.audit_labels(table, probs=by_id.iloc[::-1])) == 0


def test_another_index_is_another_audit() -> None:
    assert wrong(nl.audit_labels("data.csv", probs=FRAME, out="out")) == 0
    with pytest.raises(InputError, match="out"):
        nl.audit_labels("data.csv", probs=FRAME.set_axis(IDS[::-1]), out="out")


def test_class_names_order_the_columns_of_an_array() -> None:
    train = nl.load("data.csv")[0]
    rows = [IDS.index(word) for word in train.ids]
    np.save("probs.npy", PROBS[:, ::-1])
    FRAME.to_csv("probs.csv", index_label="id")
    names = ["dog", "cat"]
    for probs in (PROBS[:, ::-1], "probs.npy", "probs.csv", FRAME):
        assert wrong(nl.audit_labels("data.csv", probs=probs, class_names=names)) == 0
    for probs in (PROBS[rows, ::-1], FRAME.loc[list(train.ids)]):
        assert wrong(nl.audit_labels(train, probs=probs, class_names=names)) == 0
    audit = nl.audit_labels("data.csv", probs=PROBS[:, ::-1], class_names=names, out="out")
    assert wrong(audit) == 0
    with pytest.raises(InputError, match="out"):
        nl.audit_labels("data.csv", probs=PROBS[:, ::-1], out="out")
    for data in ("data.csv", train):
        with pytest.raises(InputError, match=r"class_names are dog, fox, and the classes of .* are cat, dog"):
            nl.audit_labels(data, probs=PROBS, class_names=["dog", "fox"])
        with pytest.raises(InputError, match=r"class_names order the columns of probs, and there are none"):
            nl.audit_labels(data, class_names=names)


def test_labels_with_the_index_of_x_in_another_order_are_refused() -> None:
    y = pd.Series(WORDS)
    for call in (
        lambda: nl.load((X, y[::-1])),
        lambda: nl.audit_labels((X, y[::-1]), probs=PROBS),
        lambda: nl.audit_labels(X, labels=y[::-1], probs=PROBS),
        lambda: nl.audit_labels(X, labels=y[::-1].to_frame(), probs=PROBS),
    ):
        with pytest.raises(InputError, match=r"X and y have the same index in another order"):
            call()
    train = nl.load("data.csv")[0]
    given = pd.Series(WORDS, index=IDS).loc[list(train.ids)]
    with pytest.raises(
        InputError, match=r"index of the labels holds the ids of the examples in another order"
    ):
        nl.audit_labels(train, labels=given[::-1], probs=PROBS[: len(train)])
    assert wrong(nl.audit_labels(train, labels=given, probs=FRAME.loc[list(train.ids)[::-1]])) == 0
    assert wrong(nl.audit_labels(X, labels=y[::-1].to_numpy()[::-1], probs=PROBS)) == 0
