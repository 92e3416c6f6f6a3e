"""A small spread beside a large offset, such as times in seconds, survives float32 in every form of rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import noisylabels as nl
from noisylabels.audit.page_rows import PageRows
from noisylabels.audit.review.pictures import Pictures
from noisylabels.data.encoding import Column, Encoder
from noisylabels.data.feature_table import read_rows
from noisylabels.data.features import feature_set
from noisylabels.data.object_sets import whole_in_memory
from noisylabels.data.precision import loses_differences
from noisylabels.data.reader import Options
from noisylabels.encoders.embedding_files import read_embeddings

N = 60
GIVEN = np.arange(N) % 2
TIMES = 1.7e9 + 20 * GIVEN + np.random.default_rng(0).uniform(0, 10, N)
ROWS = np.stack([TIMES, np.random.default_rng(1).normal(size=N)], axis=1)


def frame(rows=ROWS):
    return pd.DataFrame({"t": rows[:, 0], "z": rows[:, 1], "label": GIVEN})


def csv(path):
    frame().to_csv(path / "data.csv", index=False)
    return path / "data.csv"


def npz(path):
    np.savez(path / "data.npz", X=ROWS, y=GIVEN)
    return path / "data.npz"


LOADED = {"csv": csv, "npz": npz, "frame": lambda _: frame(), "pair": lambda _: (ROWS, GIVEN)}


def differences(features, ids):
    """Return the first feature in the order of the rows, less that of the first row."""
    order = np.argsort([int(name.partition(":")[2]) for name in ids])
    values = np.asarray(features)[order, 0].astype(np.float64)
    return values - values[0]


@pytest.mark.parametrize("form", LOADED)
def test_differences_are_kept_by_loading(form, tmp_path):
    train, test = nl.load(LOADED[form](tmp_path))
    found = differences(np.concatenate([train.features, test.features]), [*train.ids, *test.ids])
    np.testing.assert_allclose(found, TIMES - TIMES[0], atol=1e-4)
    np.testing.assert_array_equal(train.features[:, 1], ROWS[[int(i[4:]) for i in train.ids], 1].astype("f4"))


def test_differences_are_kept_by_an_audit_of_an_array():
    found = whole_in_memory((ROWS, GIVEN), Options())
    np.testing.assert_allclose(differences(found.features, found.ids), TIMES - TIMES[0], atol=1e-4)
    centered = ROWS - [1.7e9, 0]
    plain = whole_in_memory((centered, GIVEN), Options())
    assert plain.encoder is None
    np.testing.assert_array_equal(plain.features, centered.astype(np.float32))


@pytest.mark.parametrize("name", ["f.npz", "f.npy", "f.csv", "f.parquet"])
def test_differences_are_kept_by_a_file_of_embeddings(name, tmp_path):
    if name == "f.npz":
        np.savez(tmp_path / name, features=ROWS)
    elif name == "f.npy":
        np.save(tmp_path / name, ROWS)
    else:
        table = pd.DataFrame({"a": ROWS[:, 0], "b": ROWS[:, 1]})
        table.to_csv(tmp_path / name, index=False) if name == "f.csv" else table.to_parquet(tmp_path / name)
    (found,) = read_embeddings(tmp_path / name, [feature_set(np.zeros((N, 1)), GIVEN, ("a", "b"))], print)
    np.testing.assert_allclose(found[:, 0] - found[0, 0], TIMES - TIMES[0], atol=1e-4)
    np.testing.assert_array_equal(found[:, 1], ROWS[:, 1].astype(np.float32))


def test_new_rows_are_encoded_alike_after_the_model_is_read(tmp_path):
    encoder = nl.load(frame())[0].encoder
    again = Encoder.of_json(encoder.to_json())
    assert again == encoder
    frame().drop(columns="label").to_csv(tmp_path / "new.csv", index=False)
    found = read_rows(tmp_path / "new.csv", again, [])
    np.testing.assert_allclose(differences(found.features, found.ids), TIMES - TIMES[0], atol=1e-4)


def test_encoders_of_other_columns_are_stored_as_before():
    stored = {"name": "x", "kind": "number", "median": 2.0, "words": [], "marked": False}
    encoder = Encoder((Column("x", "number", 2.0),))
    assert encoder.to_json()["columns"] == [stored]
    assert Encoder.of_json({"columns": [stored], "ignored": []}) == encoder


def test_rows_of_a_set_of_your_own_get_a_note():
    assert "differences in the columns 0;" in " ".join(feature_set(ROWS, GIVEN, ("a", "b")).notes)
    assert "differences in the columns 0;" in " ".join(feature_set(ROWS.tolist(), GIVEN, ("a", "b")).notes)
    for rows in (ROWS - [1.7e9, 0], ROWS.astype(np.float32)):
        assert feature_set(rows, GIVEN, ("a", "b")).notes == ()


def test_pages_show_the_numbers_of_the_table():
    audit = SimpleNamespace(given=GIVEN, suggested=1 - GIVEN, summary={})
    examples = whole_in_memory(frame(), Options())
    expected = [TIMES[3], TIMES[GIVEN == 1].mean(), TIMES[GIVEN == 0].mean()]
    _, shown, given, suggested, nearer = PageRows(audit, examples).row(3)["values"][0]
    assert (float(shown), nearer) == (TIMES[3], -1)
    np.testing.assert_allclose([given, suggested], expected[1:], rtol=0, atol=0.01)
    review = Pictures.__new__(Pictures)
    review._audit, review._base, review._means = audit, None, None
    review._examples = lambda: examples
    np.testing.assert_allclose(review.values(3)[0][1:], expected, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("values", "lost"),
    [
        (TIMES, True),
        (TIMES.round().astype(np.int64), True),
        (-TIMES, True),
        (np.where(np.arange(N) % 10 == 0, 0, TIMES), True),  # a few cells of another kind
        (1.7e9 + GIVEN, True),
        (2000.0 + np.arange(N), False),  # years
        (16_000_000.0 + np.arange(N), False),  # exact in float32
        (TIMES.astype(np.float32), False),
        (np.full(N, 1.7e9 + 1), False),  # a single value has no differences
        (np.exp(np.random.default_rng(0).normal(size=N) * 20), False),
        (np.array([]), False),
        (np.array([np.nan, np.inf, 1e300]), False),
        (np.full(N, True), False),
    ],
)
def test_only_what_float32_loses_is_centered(values, lost):
    assert loses_differences(values) is lost
