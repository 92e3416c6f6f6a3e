"""CSV and TSV cells, compared with what was written."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisylabels.core.checks import InputError
from noisylabels.core.delimited import CellWriter, csv_reader, read_cells, without_formula
from noisylabels.core.files import read_text


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1,2\n", [(1, ["a", "b"]), (2, ["1", "2"])]),
        ("a,b\r\n1,2", [(1, ["a", "b"]), (2, ["1", "2"])]),
        ("a,b\r1,2\r", [(1, ["a", "b"]), (2, ["1", "2"])]),
        ("\ufeffa\n\n \n1\n", [(1, ["a"]), (2, []), (3, []), (4, ["1"])]),
        ("\na;b\n1,5;2\n", [(1, []), (2, ["a", "b"]), (3, ["1,5", "2"])]),
        ("a\tb\n1\t\n", [(1, ["a", "b"]), (2, ["1", ""])]),
        ('a,b\n"1\n2",3\n', [(1, ["a", "b"]), (3, ["1\n2", "3"])]),
        ('a\n""\n', [(1, ["a"]), (2, [""])]),
        ("a,b\n1\n", [(1, ["a", "b"]), (2, ["1"])]),  # rows of different lengths are the caller's
        ("", []),
        ("\n\n", [(1, []), (2, [])]),
    ],
    ids=repr,
)
def test_rows(tmp_path, content, rows):
    assert list(read_cells(written(tmp_path, content))) == rows


def test_tabs_by_the_name(tmp_path):
    assert list(read_cells(written(tmp_path, "a,b\tc\n", "t.TSV"))) == [(1, ["a,b", "c"])]


@settings(max_examples=50, deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda width: st.lists(
            st.lists(
                st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1),
                min_size=width,
                max_size=width,
            )
        )
    )
)
def test_what_pythons_writer_writes_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("cells") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    assert [cells for _, cells in read_cells(path)] == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,\xff\n", r"line 2 of \S*t.csv is not UTF-8 text; save the file as UTF-8$"),
        (b'a,b\n1,"2\n', r"line 2 of \S*t.csv is not valid CSV \(unexpected end of data\); correct it$"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_wrong_tables(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        list(read_cells(written(tmp_path, content)))


def test_texts_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"^there is no file \S*no.csv$"):
        read_text(tmp_path / "no.csv")
    with pytest.raises(InputError, match=r"cannot be read: it is a folder"):
        read_text(tmp_path)


def test_what_is_written_is_read_again(tmp_path):
    rows = [["id", "label"], ["a\rb", "c"], ['say "so"', "x,y"], ["two\nlines", "tab\there"]]
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as text:
        writer = CellWriter(text)
        for row in rows:
            writer.row(row)
    assert [cells for _, cells in read_cells(tmp_path / "t.csv")] == rows


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1+1",
        "-cmd|' /C calc'!A0",
        "@SUM(A1)",
        " =1",
        "\t=1",
        "\r=1",
        "-",
        "=",
        "+a",
        "--1",
        "\uff1d1",
    ],
)
def test_formulas_are_escaped_on_request(cell):
    assert without_formula(cell) == f"'{cell}"
    plain, escaped = io.StringIO(), io.StringIO()
    CellWriter(plain).row([cell, 1])
    CellWriter(escaped, escape_formulas=True).row([cell, 1])
    assert next(csv_reader(io.StringIO(plain.getvalue(), newline=""), ",")) == [cell, "1"]
    assert next(csv_reader(io.StringIO(escaped.getvalue(), newline=""), ",")) == [f"'{cell}", "1"]


@pytest.mark.parametrize(
    "cell", ["", "cat", "-1", "+1.5", "-1e-3", ".5", "-.5", "a=1", "a-b", "'=1", "1-2", "cat/-1.jpg"]
)
def test_other_cells_stay(cell):
    assert without_formula(cell) == cell
