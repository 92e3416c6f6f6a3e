"""Files of labels without ids have the order of the data, whatever part of them `load` holds out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import noisylabels as nl
from data_forms import FORMS
from noisylabels.core.checks import InputError
from noisylabels.core.positions import Positions, by_path
from noisylabels.data.features import feature_set, joined, subset_of
from noisylabels.data.images import image_set
from noisylabels.experiment import corrupt_set

CODES = np.random.default_rng(3).integers(0, 3, 40)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_labels_in_the_order_of_the_file_are_those_of_its_rows(tmp_path: Path, form: str) -> None:
    made = FORMS[form](tmp_path, CODES.tolist())
    train, test = nl.load(made.source)
    wanted = (np.array(made.labels, dtype=int) + np.arange(40) % 3) % 3  # depends on the row
    np.save("labels.npy", wanted)
    _, labels = corrupt_set(train, "labels:labels.npy", test=test)
    np.testing.assert_array_equal(labels.given, wanted[train.rows])
    assert [made.ids[row] for row in train.rows] == list(train.ids)
    np.save("part.npy", wanted[: len(train)])
    with pytest.raises(InputError, match=rf"part.npy has {len(train)} labels, expected 40, .* ids \(id\)"):
        corrupt_set(train, "labels:part.npy", test=test)

    # what is saved has ids and rows, and is read again
    labels.save("saved.parquet", train.ids, train.rows)
    stored = pd.read_parquet("saved.parquet")
    assert stored["id"].tolist() == list(train.ids)
    assert stored["row"].tolist() == train.rows.tolist()
    _, again = corrupt_set(train, "labels:saved.parquet", test=test)
    np.testing.assert_array_equal(again.given, labels.given)


def test_human_annotations_of_all_rows_fit_a_part_that_is_held_out(tmp_path: Path) -> None:
    made = FORMS["csv"](tmp_path, CODES.tolist())
    train, test = nl.load(made.source)
    worse = (CODES + 1) % 3
    pq.write_table(pa.table({"worse_label": worse, "clean_label": CODES}), "human.parquet")
    _, labels = corrupt_set(train, "human:human.parquet@worse", test=test)
    np.testing.assert_array_equal(labels.given, worse[train.rows])


def test_ids_find_labels_where_parts_have_no_common_order(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3)).astype("f4")
    np.savez("parts.npz", x_train=X[:30], y_train=CODES[:30], x_test=X[30:], y_test=CODES[30:])
    train, test = nl.load("parts.npz")
    np.save("labels.npy", CODES[:30])
    _, labels = corrupt_set(train, "labels:labels.npy")
    np.testing.assert_array_equal(labels.given, CODES[:30])
    np.save("labels.npy", CODES)
    with pytest.raises(InputError, match="40 labels without ids, and the set has no single order"):
        corrupt_set(joined(train, test), "labels:labels.npy")


def test_positions_follow_the_examples() -> None:
    rows = feature_set(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1], ["a", "b"])
    some = subset_of(subset_of(rows, [3, 1, 0]), [2, 0])
    assert some.rows.tolist() == [0, 3]
    assert some.source_rows == 4
    assert rows.digest == feature_set(rows.features, rows.labels, ["a", "b"]).digest
    rest = subset_of(rows, [1, 2])
    whole = joined(rest, some, by_rows=True)
    assert whole.rows.tolist() == [0, 1, 2, 3]
    assert whole.digest == rows.digest
    assert joined(some, rest).rows.tolist() == [0, 3, 1, 2]
    assert joined(rows, rows).rows is None
    with pytest.raises(InputError, match="3 positions for 4 examples"):
        image_set(rows.features.byte().view(4, 1, 1, 2), [0, 1, 0, 1], ["a", "b"], positions=by_path("abc"))
    with pytest.raises(InputError, match="rows are 0 to 3, expected 0 to 2"):
        Positions(np.arange(4), 3)
