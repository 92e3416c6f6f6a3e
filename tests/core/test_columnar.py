"""Arrays of texts in files of NumPy, and checksums of Parquet files."""

from __future__ import annotations

import decimal
import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import noisylabels
from noisylabels.core.checks import InputError
from noisylabels.core.columnar import Column, arrow_cells, read_array, read_columns, write_parquet
from noisylabels.data.catalog import load


def with_number(path: Path, order: str) -> Path:
    """Write texts of which one has the number 0x00ABCDEF, which is no character."""
    numbers = np.array([[97, 0], [0xABCDEF, 0x62]], dtype=f"{order}u4")
    np.save(path, np.ascontiguousarray(numbers).view(f"{order}U2").reshape(-1))
    return path


@pytest.mark.parametrize("mapped", [False, True])
def test_a_header_of_python_2_is_read_without_a_warning(tmp_path, mapped):
    path = tmp_path / "labels.npy"
    np.save(path, np.arange(6, dtype="<i8").reshape(2, 3))
    path.write_bytes(path.read_bytes().replace(b"(2, 3), }  ", b"(2L, 3L), }"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_array(path, mapped=mapped).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_number_that_is_no_character_is_one_line(tmp_path, order, mapped):
    path = with_number(tmp_path / "ids.npy", order)
    with pytest.raises(
        InputError, match=r"ids.npy cannot be read as a NumPy file .a text has a number that is"
    ):
        read_array(path, mapped=mapped)


def test_in_an_archive(tmp_path):
    damaged = np.load(with_number(tmp_path / "ids.npy", "<"))
    np.savez(tmp_path / "set.npz", X=np.zeros((2, 3)), y=damaged)
    with pytest.raises(InputError, match=r"y of .*set.npz cannot be read as a NumPy file"):
        load(tmp_path / "set.npz")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("texts", [["a", "bé"], ["😀", "\U0010ffff"], ["", ""], []])
def test_characters_are_read(tmp_path, texts, order):
    wanted = np.array(texts, dtype=f"{order}U3")
    np.save(tmp_path / "t.npy", wanted)
    assert read_array(tmp_path / "t.npy").tolist() == texts
    np.save(tmp_path / "grid.npy", np.asfortranarray(np.tile(wanted, (2, 1))))
    assert read_array(tmp_path / "grid.npy").tolist() == [texts, texts]


RECORDS = np.zeros(10, [("a", "i8")])


@pytest.mark.parametrize("records", [RECORDS, np.zeros(10, "V8")])
@pytest.mark.parametrize("shape", [(10, 3), (10, 8, 8)])
def test_parts_whose_labels_have_no_type_in_common(tmp_path, shape, records):
    X = np.zeros(shape, np.uint8 if len(shape) > 2 else np.float32)
    y = np.arange(10) % 2
    np.savez(tmp_path / "set.npz", x_train=X, y_train=y, x_test=X, y_test=records)
    with pytest.raises(
        InputError, match=r"the labels of .*set.npz are of the types int64 and .*, expected one"
    ):
        load(tmp_path / "set.npz")


@pytest.mark.parametrize("shape", [(2**62, 2**62, 2), (2**63 - 1,), (2**61, 8), (1000,), (-3,), (-1, -1)])
@pytest.mark.parametrize("how", [{}, {"mapped": True}, {"writable": True}])
def test_a_shape_beyond_the_file_is_one_line(tmp_path, shape, how):
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(24))
    with warnings.catch_warnings(record=True) as warned:  # NumPy warns where its product overflows
        warnings.simplefilter("always")
        with pytest.raises(InputError, match=r"a\.npy cannot be read as a NumPy file") as error:
            read_array(tmp_path / "a.npy", **how)
    assert warned == []
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "how", [{}, {"compression": "zstd"}, {"compression": "none", "use_dictionary": False}]
)
def test_no_flipped_bit_of_a_page_reads_as_another_value(tmp_path, how):
    path = tmp_path / "t.parquet"
    rng = np.random.default_rng(0)
    table = pa.table({"id": [f"row {i}" for i in range(40)], "p": rng.random(40)})
    write_parquet(path, table, **how)
    content = bytearray(path.read_bytes())
    pages = len(content) - 8 - int.from_bytes(content[-8:-4], "little")  # before the footer
    refused = 0
    for at in range(4, pages):
        content[at] ^= 16
        path.write_bytes(content)
        content[at] ^= 16
        try:
            read = read_columns(path, {"id": Column("text"), "p": Column("numbers")}, "write it again")
        except InputError:
            refused += 1
        else:
            assert read.equals(table), at  # a bit that nothing depends on, such as one of the statistics
    assert refused > 0.8 * (pages - 4)


def test_every_parquet_file_is_written_with_checksums():
    source = Path(noisylabels.__file__).parent
    calls = [
        (path.name, call)
        for path in source.rglob("*.py")
        for call in re.findall(r"(?:pq\.write_table|ParquetWriter)\(.*", path.read_text(encoding="utf-8"))
    ]
    assert len(calls) == 4
    assert [name for name, call in calls if "**CHECKED" not in call] == []


# Columns of Arrow -----------------------------------------------------------------------------------------

WIDE = 2**53 + 1
WORDS, NUMBERS = ["b", "a", "", "b"], [[1.0, 2.0 + row] for row in range(4)]


def decimals(*values: str | None, digits: int = 38, scale: int = 0) -> pa.Array:
    cells = [None if value is None else decimal.Decimal(value) for value in values]
    return pa.array(cells, pa.decimal128(digits, scale))


FORMS = {
    "views of text": (pa.array(["b", "a", None, "b"]).cast(pa.string_view()), WORDS),
    "categories of views": (
        pa.array(["b", "a", None, "b"]).cast(pa.string_view()).dictionary_encode(),
        WORDS,
    ),
    "categories": (pa.array(["b", "a", None, "b"]).dictionary_encode(), WORDS),
    "runs": (pc.run_end_encode(pa.array(["b", "a", None, "b"])), WORDS),
    "views of lists": (pa.array(NUMBERS, pa.list_view(pa.float32())), NUMBERS),
    "views of large lists": (pa.array(NUMBERS, pa.large_list_view(pa.int64())), NUMBERS),
    "decimals": (decimals("1", "2", "1", "0"), [1, 2, 1, 0]),
    "whole decimals": (decimals("1.00", "2.00", "1.00", "0.00", scale=2), [1, 2, 1, 0]),
    "other decimals": (decimals("1.00", "2.50", "1.00", "0.00", scale=2), [1, 2.5, 1, 0]),
    "missing decimals": (decimals("1", None, "1.5", "0", scale=1), [1, None, 1.5, 0]),
    "long decimals": (decimals(str(10**18 + 1), "0", "0", "-1"), [10**18 + 1, 0, 0, -1]),
    "unsigned decimals": (decimals(str(2**64 - 1), "0", "0", "1"), [2**64 - 1, 0, 0, 1]),
    "longest decimals": (decimals(str(10**30 + 1), "0", "0", "1"), [str(10**30 + 1), "0", "0", "1"]),
    "missing long decimals": (decimals(str(WIDE), None, "0", "1"), [str(WIDE), "", "0", "1"]),
    "integers": (pa.array([2**60 + 1, 0, 0, -1]), [2**60 + 1, 0, 0, -1]),
    "missing integers": (pa.array([WIDE - 1, None, 0, 1]), [float(WIDE - 1), None, 0, 1]),
    "missing long integers": (pa.array([WIDE, None, 0, -1]), [str(WIDE), "", "0", "-1"]),
    "missing truth": (pa.array([True, None, False, True]), ["true", "", "false", "true"]),
    "truth": (pa.array([True, False, False, True]), [True, False, False, True]),
}


@pytest.mark.parametrize("form", FORMS)
def test_cells_keep_their_values_in_every_form_of_a_column(form):
    """Also in chunks that are slices: pyarrow decodes some of them wrongly."""
    column, expected = FORMS[form]
    for start in (0, 1):
        found = arrow_cells(pa.chunked_array([column[start:], column[:start]]))
        assert isinstance(found, np.ndarray), found
        cells = [None if cell != cell else cell for cell in found.tolist()]
        assert cells == [*expected[start:], *expected[:start]]
        assert [isinstance(cell, str) for cell in cells] == [isinstance(cell, str) for cell in expected]
    assert len(arrow_cells(pa.chunked_array([], column.type))) == 0
