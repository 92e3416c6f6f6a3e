import numpy as np
import pytest
import scipy.sparse

from noisylabels.core.checks import InputError
from noisylabels.data import user_data
from noisylabels.data.catalog import load
from noisylabels.data.formats import FORMATS, Format
from noisylabels.data.reader import Plan, ReadResult


def test_every_row_is_complete_and_folders_come_last():
    assert {
        "cifar10",
        "cifar100",
        "idx",
        "webvision",
        "clothing1m",
        "food101n",
        "animal10n",
        "parquet",
        "arrays",
        "table",
    } < set(FORMATS)
    assert list(FORMATS)[-1] == "folders"
    assert [row.name for row in FORMATS.values()] == list(FORMATS)
    assert all(row.title and row.layout for row in FORMATS.values())


def test_no_format_claims_what_it_does_not_know(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for row in FORMATS.values():
        assert row.find(tmp_path) is None, row.name
        assert row.find(tmp_path / "notes.txt") is None, row.name
        assert row.find(tmp_path / "nowhere") is None, row.name


@pytest.mark.parametrize("name", ["", "notes.txt"])
def test_an_unknown_path_is_told_what_was_looked_for(name, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError) as caught:
        load(tmp_path / name)
    message = str(caught.value)
    assert "\n" not in message
    assert f"is a {'file' if name else 'folder'} of no known format" in message
    assert all(row.title in message for row in FORMATS.values())
    assert "noisylabels list formats" in message
    assert user_data.LAYOUT in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.csv.gz", "a compressed table, .* unpack it first, to NAME.csv"),
        ("t.XLSX", "a spreadsheet, .* save it as CSV"),
        ("t.json", "pandas.read_json"),
        ("t.jsonl", "pandas.read_json"),
        ("t.feather", "pandas.read_feather"),
        ("t.pkl", "would run code"),
        ("photos.zip", "an archive, .* unpack it"),
        ("photos.tar.gz", "an archive, .* unpack it"),
    ],
)
def test_a_file_of_another_kind_is_told_what_to_convert_it_to(name, message, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_sparse_matrix_without_labels(tmp_path):
    scipy.sparse.save_npz(tmp_path / "X.npz", scipy.sparse.eye_array(4, format="csr"))
    with pytest.raises(
        InputError, match=r"sparse matrix without labels; .* \(scipy.sparse.load_npz\(path\), y\)"
    ):
        load(tmp_path / "X.npz")


def test_a_new_format_is_a_row(tmp_path):
    def read():
        images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
        return ReadResult(
            (1, 1, 1), lambda: iter([images]), np.array([0, 1, 0, 1]), list("abcd"), ("x", "y"), 2
        )

    row = Format(
        name="dots",
        title="four dots",
        layout="NAME.dots",
        find=lambda path: path if path.suffix == ".dots" else None,
        plan=lambda path, options: Plan("dots", path, {path.name: path}, {}, read),
    )
    (tmp_path / "my.dots").touch()
    FORMATS.add("dots", row)
    try:
        train, test = load(tmp_path / "my.dots")
    finally:
        FORMATS.remove("dots")
    assert train.images.flatten().tolist() == [0, 1]
    assert test.labels.tolist() == [0, 1]
