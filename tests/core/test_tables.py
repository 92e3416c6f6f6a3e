"""Files as named columns, against what was written into them."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisylabels.core.checks import InputError
from noisylabels.core.tables import (
    ROLES,
    find_column,
    need_column,
    read_parquet_table,
    read_table,
    read_text_table,
    role_columns,
    texts,
)

COLUMNS = {"id": ["a", "b", "c"], "x": ["01", "2", "3"]}


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.npz"])
def test_every_format_gives_the_same_columns(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "t.parquet":
        pq.write_table(pa.table(COLUMNS), path)
    elif name == "t.npz":
        np.savez(path, **{key: np.array(cells) for key, cells in COLUMNS.items()})
    else:
        mark = "," if name == "t.csv" else "\t"
        path.write_text("\n".join([f"id{mark}x", "", f"a{mark}01", f" b{mark}2 ", f"c{mark}3"]))
    table = read_table(path)
    assert (list(table.names), table.headed) == (list(COLUMNS), True)
    assert {key: table[key].tolist() for key in table.names} == COLUMNS
    assert (
        table.where(1) == f"{path}, {table.row(1)}" == f"{path}, {'line 4' if name[2] in 'ct' else 'row 1'}"
    )
    with pytest.raises(InputError, match="has no column called 'y'"):
        table["y"]


def test_an_array_is_one_column_without_a_name(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.arange(3))
    table = read_table(tmp_path / "t.npy")
    assert (table.names, table.headed, table.cells(0).tolist()) == ([""], False, [0, 1, 2])


def test_cells_of_parquet_are_numbers_text_or_lists(tmp_path: Path) -> None:
    columns = {
        "whole": pa.array([2**60 + 1, 2, 3]),
        "gap": pa.array([1, None, 3]),
        "word": pa.array(["a", None, "c"]).dictionary_encode(),
        "truth": pa.array([True, False, True]),
        "list": pa.array([[1, 2], [3, 4], [5, 6]]),
        "day": pa.array([datetime.date(2020, 1, k) for k in (1, 2, 3)]),
        "ragged": pa.array([[1], [2, 3], []], pa.list_(pa.int64())),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table["whole"].tolist() == [2**60 + 1, 2, 3]
    assert np.array_equal(table["gap"], [1.0, np.nan, 3.0], equal_nan=True)
    assert table["word"].tolist() == ["a", "", "c"]
    assert texts(table["truth"]).tolist() == ["true", "false", "true"]
    assert table["list"].tolist() == [[1, 2], [3, 4], [5, 6]]
    for name, what in (("day", "dates"), ("ragged", "lists of 0 to 2 numbers")):
        with pytest.raises(InputError, match=f"the column '{name}' holds {what}, expected numbers or text"):
            table[name]


@pytest.mark.parametrize("at_once", [False, True])
def test_parquet_files_are_joined(tmp_path: Path, at_once: bool) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(pa.table({"x": [1, 2], "y": ["u", "v"]}), files[0])
    pq.write_table(pa.table({"y": ["w"], "x": [2.5]}), files[1])
    table = read_parquet_table(files, at_once=at_once)
    assert (table["x"].tolist(), table["y"].tolist()) == ([1, 2, 2.5], ["u", "v", "w"])
    assert [table.where(k) for k in range(3)] == [
        f"{files[0]}, row 0",
        f"{files[0]}, row 1",
        f"{files[1]}, row 0",
    ]
    pq.write_table(pa.table({"x": [2.5]}), files[1])
    with pytest.raises(InputError, match=r"b.parquet lacks the column 'y' that the first file has"):
        read_parquet_table(files, at_once=at_once)


def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for text, message in (
        ("", "is empty; expected a heading such as id,label and one line per row"),
        ("a,b\n1\n", "line 2: 1 cells, but the heading has 2"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_table(path)
    path.write_text("a,a,b\n1,2,3\n")
    assert read_table(path)["b"].tolist() == ["3"]  # a double name matters where it is asked for
    with pytest.raises(InputError, match="has two columns called 'a'; rename one"):
        read_table(path)["a"]
    with pytest.raises(InputError, match="is not a readable table"):
        read_table(tmp_path / "t.xlsx")


def test_an_empty_line_is_a_missing_cell_where_the_reader_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n\n2\n\n\n")
    assert read_text_table(path)["x"].tolist() == ["1", "2"]
    assert read_text_table(path, keep_blank=True)["x"].tolist() == ["1", "", "2"]
    assert read_text_table(path, is_heading=lambda rows: False).names == ["1"]


def test_no_name_is_in_a_role_twice_and_all_are_in_lower_case() -> None:
    for names in ROLES.values():
        assert len(set(names)) == len(names)
        assert all(name == name.strip().lower() for name in names)


def test_a_column_is_found_by_the_first_name_of_its_role() -> None:
    notes: list[str] = []
    assert find_column(["Y", "Class ", "x"], "label", "t.csv", notes) == 1
    assert notes == ["label column 'Class ' used, 'Y' ignored"]
    assert find_column(["x"], "label", "t.csv") is None
    assert role_columns(["class", "fine_label", "labels"], "label", "parquet") == [2, 1, 0]
    assert role_columns(["targets", "y"], "label", "features") == [1]
    with pytest.raises(InputError, match=r"^t.csv has two columns called 'Y' and 'y'; rename one$"):
        find_column(["Y", "y"], "label", "t.csv")
    with pytest.raises(
        InputError, match=r"^t.csv has no split column: its columns are a, b; name one of them split, part or"
    ):
        need_column(["a", "b"], "split", "t.csv")


def test_long_ids_that_pandas_made_floats_keep_their_digits() -> None:
    cells = np.array([1234567890123450.0, 1234567890123451.0, 1e18, 7.0, 0.5, np.nan])
    wanted = ["1234567890123450", "1234567890123451", "1000000000000000000", "7", "0.5", "nan"]
    assert texts(cells).tolist() == wanted
