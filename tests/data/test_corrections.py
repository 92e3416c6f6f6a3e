"""Corrected labels replace those of a set, by id; errors in a file are reported with their line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.data.corrections import LEFT_OUT, corrected, read_corrections, settled
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set

NAMES = ("cat", "dog", "eel")
IDS = ["train/cat/1.jpg", "train/dog/2.jpg", "train/eel/3, big.jpg", "test/cat/1.jpg"]


def write(folder: Path, text: str, name: str = "corrected.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "id,label\na,cat\nb,dog\nc,\n",
        "path;label\na;cat\nb;dog\nc;\n",
        "label,rank,ID\ncat,1,a\n\ndog,2,b\n,3,c\nnan,4,c\n",
        "\ufeffid,target\na,cat\nb,dog\nb,dog\nc,NaN\n",
    ],
)
def test_a_text_is_read(tmp_path: Path, text: str) -> None:
    found = read_corrections(write(tmp_path, text), NAMES)
    assert found.labels == {"a": 0, "b": 1, "c": LEFT_OUT}


def test_tabs_and_parquet_are_read(tmp_path: Path) -> None:
    assert read_corrections(write(tmp_path, "id\tlabel\na\tcat\n", "c.tsv"), NAMES).labels == {"a": 0}
    table = pa.table({"id": ["a", "b", "c"], "label": ["cat", None, "eel"], "score": [0.1, 0.2, 0.3]})
    pq.write_table(table, tmp_path / "c.parquet")
    assert read_corrections(tmp_path / "c.parquet", NAMES).labels == {"a": 0, "b": LEFT_OUT, "c": 2}
    pq.write_table(pa.table({"id": [7, 8], "label": [1.0, None]}), tmp_path / "c.parquet")
    assert read_corrections(tmp_path / "c.parquet", ("0", "1")).labels == {"7": 1, "8": LEFT_OUT}


@pytest.mark.parametrize("missing", [False, True])
def test_labels_and_ids_of_any_type_of_parquet_keep_their_values(tmp_path: Path, missing: bool) -> None:
    wide = 10**18  # beyond float64
    forms = {
        "ids": pa.array([Decimal(wide + 1), Decimal(wide + 2), Decimal(7)], pa.decimal128(38, 0)),
        "truth": pa.array([True, False, None if missing else False]),
        "numbers": pa.array([wide + 1, wide, None if missing else wide]),
    }
    names = {"truth": ("False", "True"), "numbers": (str(wide), str(wide + 1))}
    last = LEFT_OUT if missing else 0
    for kind, classes in names.items():
        pq.write_table(pa.table({"id": forms["ids"], "label": forms[kind]}), tmp_path / "c.parquet")
        found = read_corrections(tmp_path / "c.parquet", classes).labels
        assert found == {str(wide + 1): 1, str(wide + 2): 0, "7": last}


def test_numbers_are_classes_only_where_the_classes_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "id,label\na,2\nb,02\nc,1.0\n")
    assert read_corrections(path, ("0", "1", "2")).labels == {"a": 2, "b": 2, "c": 1}
    with pytest.raises(InputError, match=r"line 2: unknown class '2'; known: cat, dog, eel"):
        read_corrections(path, NAMES)


def test_a_class_may_be_called_nan(tmp_path: Path) -> None:
    assert read_corrections(write(tmp_path, "id,label\na,nan\n"), ("nan", "other")).labels == {"a": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,label\n", "has no rows; expected one line per example below the heading"),
        ("id,label\na,cta\n", "line 2: unknown class 'cta'; did you mean 'cat'?"),
        ("id,label\na,cat\nb,dog\na,dog\n", "line 4: 'a' has another label in line 2; keep one of them"),
        ("id,label\na,cat\na,\n", "line 3: 'a' has another label in line 2"),
        ("id,label\n,cat\n", "line 2: the id is empty"),
        ("id,label\na,cat,dog\n", "line 2: 3 cells, but the heading has 2"),
        (
            "key,label\na,cat\n",
            "has no id column: its columns are key, label; name one of them id, path, file,",
        ),
        ("id,label\na," + "9" * 5000 + "\n", "line 2: unknown class '999"),
        ("id,label,Label\na,cat,dog\n", "has two columns called 'label' and 'Label'; rename one"),
        (
            "id,given\na,cat\n",
            "has no label column: its columns are id, given; name one of them label, class,",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_corrections(write(tmp_path, text), NAMES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "corrected.csv" in str(caught.value)


def test_what_is_no_file_of_labels_is_refused(tmp_path: Path) -> None:
    for name, text in (("a.json", "{}"), ("a.parquet", "no")):
        with pytest.raises(InputError, match=r"not a file of labels|cannot be read as Parquet"):
            read_corrections(write(tmp_path, text, name), NAMES)
    with pytest.raises(InputError, match="there is no file"):
        read_corrections(tmp_path / "none.csv", NAMES)


def test_paths_are_found_however_they_are_written(tmp_path: Path) -> None:
    rows = [
        ("train/cat/1.jpg", "dog"),
        ("./train/dog/../dog/2.jpg", "eel"),
        (f'"{tmp_path}/train/eel/3, big.jpg"', ""),
        (f"{tmp_path}/train/cat/1.jpg", "dog"),
    ]
    path = write(tmp_path, "path,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    labels = settled(read_corrections(path, NAMES), IDS, tmp_path)
    assert labels == {"train/cat/1.jpg": 1, "train/dog/2.jpg": 2, "train/eel/3, big.jpg": LEFT_OUT}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\ntrain/cat/9.jpg,cat\n", "line 2: there is no example 'train/cat/9.jpg' in the data"),
        ("id,label\ncat/2.jpg,cat\n", "did you mean 'train/dog/2.jpg'?"),
        ("id,label\nzzzz,cat\nyyyy,dog\n", "(nor 1 others of the file); its ids look like 'test/cat/1.jpg'"),
        ("id,label\n/elsewhere/train/cat/1.jpg,cat\n", "there is no example '/elsewhere/train/cat/1.jpg'"),
        (
            "id,label\ntrain/cat/1.jpg,cat\n./train/cat/1.jpg,dog\n",
            "line 3: './train/cat/1.jpg' has another label in line 2, as 'train/cat/1.jpg'",
        ),
    ],
)
def test_an_id_that_the_data_lack_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        settled(read_corrections(write(tmp_path, text), NAMES), IDS, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_get_their_labels() -> None:
    images = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).view(4, 3, 2, 2)
    before = image_set(images, [0, 1, 2, 0], NAMES, IDS, "animals", ["a note"])
    after = corrected(before, {IDS[0]: 2, IDS[1]: 1, "another/part.jpg": 0})
    assert after.labels.tolist() == [2, 1, 2, 0]
    assert after.digest == image_set(images, [2, 1, 2, 0], NAMES, IDS).digest != before.digest
    assert after.images is before.images
    assert (after.name, after.notes) == ("animals", ("a note",))
    assert before.labels.tolist() == [0, 1, 2, 0]
    fewer = corrected(before, {IDS[1]: LEFT_OUT, IDS[3]: 1})
    assert fewer.labels.tolist() == [0, 2, 1]
    assert list(fewer.ids) == [IDS[0], IDS[2], IDS[3]]
    assert fewer.images.tolist() == images[[0, 2, 3]].tolist()
    assert corrected(before, {IDS[0]: 0}) is before


def test_rows_of_a_table_get_their_labels() -> None:
    rows = feature_set(np.eye(4), [0, 1, 2, 0], NAMES, IDS)
    after = corrected(rows, {IDS[0]: LEFT_OUT, IDS[1]: 0})
    assert after.labels.tolist() == [0, 2, 0]
    assert after.features.tolist() == np.eye(4)[1:].tolist()


def test_nothing_left_is_an_error() -> None:
    rows = feature_set(np.eye(2), [0, 1], NAMES, ["a", "b"])
    with pytest.raises(InputError, match="leave out all 2 examples of features"):
        corrected(rows, {"a": LEFT_OUT, "b": LEFT_OUT})


def test_ids_whose_bytes_are_no_utf8_are_read_as_an_audit_writes_them(tmp_path: Path) -> None:
    path = write(tmp_path, "id,label\ncat/\\xe9.png,dog\n")
    assert settled(read_corrections(path, NAMES), ["cat/\udce9.png", "cat/a.png"]) == {"cat/\udce9.png": 1}
