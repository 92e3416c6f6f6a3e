"""The rows of a table as they are written, through every way a set is made of another."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load
from noisylabels.data.features import FeatureSet, feature_set, joined, subset_of, with_labels


def rows(examples: FeatureSet, position: int) -> dict[str, str]:
    assert examples.cells is not None
    return {cell.column: cell.content for cell in examples.cells.row(position)}


def by_id(train: FeatureSet, test: FeatureSet) -> dict[str, dict[str, str]]:
    return {name: rows(part, i) for part in (train, test) for i, name in enumerate(part.ids)}


def test_cells_are_as_written(tmp_path: Path) -> None:
    lines = [
        f"{i},{'007' if i else '1e3'},{'Oslo' if i % 3 else ''},{'ab'[i % 2]},2024-01-{i + 1:02d}"
        for i in range(9)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["n,code,city,label,day", *lines]) + "\n", encoding="utf-8")
    found = by_id(*load(tmp_path / "t.csv"))
    assert found["row:0"] == {"day": "2024-01-01", "n": "0", "code": "1e3", "city": ""}
    assert found["row:8"] == {"day": "2024-01-09", "n": "8", "code": "007", "city": "Oslo"}
    assert next(iter(found["row:0"])) == "day"  # words that are no features come first


def test_parquet_shows_dates_lists_and_numbers_without_new_digits(tmp_path: Path) -> None:
    n = 10
    table = {
        "x": np.full(n, 0.1, np.float32) + np.arange(n, dtype=np.float32),
        "whole": pa.array([None, *range(1, n)], pa.int64()),
        "flag": [i % 3 == 0 for i in range(n)],
        "day": [datetime.date(2024, 1, i + 1) for i in range(n)],
        "tags": [["a", "b"][: i % 3] for i in range(n)],
        "label": ["uv"[i % 2] for i in range(n)],
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    found = by_id(*load(tmp_path / "t.parquet"))
    assert found["row:0"] == {"x": "0.1", "whole": "", "flag": "true", "day": "2024-01-01", "tags": "[]"}
    assert found["row:4"]["whole"] == "4"
    assert found["row:4"]["tags"] == "['a']"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library: str) -> None:
    columns = {"x": [float(i * i) for i in range(8)], "note": [f"note {i}" for i in range(8)]}
    columns["when"] = [datetime.datetime(2024, 1, i + 1) for i in range(8)]
    frame = pd.DataFrame(columns) if library == "pandas" else pl.DataFrame(columns)
    found = by_id(*load((frame, [i % 2 for i in range(8)])))
    assert found["row:3"]["x"] == "9"
    assert found["row:3"]["note"] == "note 3"
    assert found["row:3"]["when"].startswith("2024-01-04")


def test_sets_made_of_sets_keep_the_rows(tmp_path: Path) -> None:
    lines = [f"t{i},text number {i},{'ab'[i % 2]},{i * i}" for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["id,text,label,x", *lines]) + "\n", encoding="utf-8")
    train, test = load(tmp_path / "t.csv")
    for made in (
        joined(train, test),
        subset_of(joined(train, test), [7, 2]),
        with_labels(test, np.zeros(len(test), int)),
    ):
        assert isinstance(made, FeatureSet)
        for i, name in enumerate(made.ids):
            assert rows(made, i) == {"text": f"text number {name[1:]}", "x": str(int(name[1:]) ** 2)}
    again = joined(train, load(tmp_path / "t.csv")[1])
    assert isinstance(again, FeatureSet)
    assert again.cells is None


def test_a_table_of_texts_is_read_only_when_asked_for(tmp_path: Path) -> None:
    lines = [f"text number {i},{'ab'[i % 2]}" for i in range(12)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"no column to learn from .* or audit it with probabilities"):
        load(path)
    train, test = load(path, need_features=False)
    whole = joined(train, test)
    assert whole.inputs.shape == (12, 0)
    with pytest.raises(InputError, match="t has only texts and no column to learn from"):
        whole.mean_std()
    path.write_text(path.read_text().replace("number 3", "number 33"))
    assert joined(*load(path, need_features=False)).digest != whole.digest
    with pytest.raises(InputError, match="the feature set is empty"):
        feature_set(np.zeros((3, 0)), [0, 1, 0], ("a", "b"))


def test_a_file_that_changed_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,label\n" + "".join(f"{i * i},{'ab'[i % 2]}\n" for i in range(8)))
    train, _ = load(path)
    path.write_text("x,label\n1,a\n")
    with pytest.raises(InputError, match="has 1 rows, and had 8 when it was read"):
        rows(train, 0)
