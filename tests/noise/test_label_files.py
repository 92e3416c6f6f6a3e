"""Labels from files: every format, intact and damaged."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.core.positions import own
from noisylabels.noise import corrupt
from noisylabels.noise.label_files import LabelFile, read_labels

NAMES = ("cat", "dog", "eel")
IDS = ("a.png", "b.png", "c.png", "d.png")
LABELS = [1, 0, 2, 1]


def write(folder: Path, content: object, name: str = "labels.csv") -> Path:
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(str(content), encoding="utf-8")
    return path


def read(path: Path, **options: object) -> LabelFile:
    return read_labels(path, **{"num_classes": 3, "class_names": NAMES, **options})  # type: ignore[arg-type]


def complaint(path: Path, **options: object) -> str:
    """Return the error, without the folder, having checked that it is one line."""
    with pytest.raises(InputError) as error:
        read(path, **options)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("1\n0\n2\n1\n", ""),
        ("1\n0\n2\n1", ""),
        ("label\n1\n0\n2\n1\n", "label"),
        ("\ufefflabel\r\n1\r\n0\r\n2\r\n1\r\n", "label"),
        ("breed\n1\n0\n2\n1\n", "breed"),
        ("dog\ncat\neel\ndog\n", ""),
        ("\nLabel\ndog\n cat\neel\ndog\n\n \n", "Label"),
        ("Label,n\ndog,1\n\n cat,2\neel,3\n\ndog,4\n\n", "Label"),
        ("Target,note\n1,x\n0,\n2,\n1,\n", "Target"),
        ("id,breed\na,dog\nb,cat\nc,eel\nd,dog\n", "breed"),
        ("label;weight\n1;0,5\n0;1\n2;1\n1;1\n", "label"),
        ("label\tweight\n1\t5\n0\t1\n2\t1\n1\t1\n", "label"),
        ('"label","name"\n"1","a ""b"""\n0,"x,\ny"\n2,c\n1,d\n', "label"),
        (",label\n0,1\n1,0\n2,2\n3,1\n", "label"),
        ("noisy_label,label\n1,0\n0,0\n2,0\n1,0\n", "noisy_label"),
        ("given,true\n1,0\n0,0\n2,0\n1,0\n", "given"),
    ],
)
def test_csv(tmp_path: Path, content: str, column: str) -> None:
    path = write(tmp_path, content)
    labels = read(path)
    assert labels.given.tolist() == LABELS
    assert labels.given.dtype == np.int64
    assert labels.column == column
    assert labels.digest == file_digest(path)
    if column == "given":
        assert labels.true is not None
        assert labels.true.tolist() == [0, 0, 0, 0]
    else:
        assert labels.true is None


def test_other_formats(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([{"bytes": b"x"}] * 4), "label": pa.array(LABELS, pa.int8())})
    pq.write_table(table, tmp_path / "struct.parquet")
    pq.write_table(
        pa.table({"label": ["dog", "cat", "eel", "dog"], "w": [0.1] * 4}), tmp_path / "names.parquet"
    )
    names = pa.array(["dog", "cat", "eel", "dog"]).dictionary_encode()
    pq.write_table(pa.table({"clean": [0, 0, 0, 0], "y": names}), tmp_path / "categories.parquet")
    np.save(tmp_path / "a.npy", np.array(LABELS, dtype=np.uint8))
    np.save(tmp_path / "names.npy", np.array(["dog", "cat", "eel", "dog"]))
    np.savez(tmp_path / "one.npz", anything=np.array(LABELS))
    np.savez(tmp_path / "b.npz", x=np.zeros((4, 2)), given=np.array(LABELS), true=np.zeros(4, dtype=int))
    write(tmp_path, "1\n0\n2\n1\n\n", "a.txt")
    write(tmp_path, "dog\ncat\neel\ndog", "names.txt")
    write(tmp_path, json.dumps(LABELS), "a.json")
    write(tmp_path, json.dumps(["dog", "cat", "eel", "dog"]), "names.JSON")
    write(tmp_path, "path\tlabel\na,b\t1\nc\t0\nd\t2\ne\t1\n", "a.tsv")
    files = [file for file in sorted(tmp_path.iterdir()) if file.name != "struct.parquet"]
    assert len(files) == 11
    for path in files:
        labels = read(path)
        assert labels.given.tolist() == LABELS, path
        assert (labels.true is not None) == (path.name in ("b.npz", "categories.parquet")), path
    assert read(tmp_path / "struct.parquet").given.tolist() == LABELS


def test_what_noisy_labels_save(tmp_path: Path) -> None:
    noisy = corrupt(np.arange(300) % 3, "symmetric:0.4", seed=1)
    path = tmp_path / "labels.parquet"
    noisy.save(path)
    labels = read(path)
    assert np.array_equal(labels.given, noisy.given)
    assert labels.true is not None
    assert np.array_equal(labels.true, noisy.true)
    assert labels.column == "given"
    table = pq.read_table(path)
    changed = table.set_column(0, "given", pa.array(noisy.true)).replace_schema_metadata(
        table.schema.metadata
    )
    pq.write_table(changed, path)
    assert "is damaged" in complaint(path)


@pytest.mark.parametrize("key", ["id", "path", "filename", "image"])
def test_rows_find_their_examples(tmp_path: Path, key: str) -> None:
    rows = [("c.png", 2, 0), ("a.png", 1, 1), ("d.png", 1, 1), ("b.png", 0, 2)]
    text = f"true,{key},label\n" + "".join(f"{true},{name},{label}\n" for name, label, true in rows)
    columns = [list(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(dict(zip((key, "label", "true"), columns, strict=True))), tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", **{key: columns[0], "label": columns[1], "true": columns[2]})
    for path in (write(tmp_path, text), tmp_path / "a.parquet", tmp_path / "a.npz"):
        labels = read(path, ids=IDS)
        assert labels.given.tolist() == LABELS
        assert labels.true is not None
        assert labels.true.tolist() == [1, 2, 0, 1]
        assert read(path).given.tolist() == [2, 1, 1, 0]
    bare = write(tmp_path, "c.png,eel\na.png,dog\nd.png,dog\nb.png,cat\n", "bare.csv")
    assert read(bare, ids=IDS).given.tolist() == LABELS
    numbers = write(tmp_path, "id,label\n12,2\n7,1\n", "numbers.csv")
    assert read(numbers, ids=("7", "12")).given.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "a.png,1\nb.png,0\nc.png,2\n",
            "labels.csv has no label for 1 of 4 examples, first 'd.png'; add",
        ),
        (
            "a.png,1\nx.png,0\n",
            "line 3 of labels.csv has the id 'x.png', which is not in the set (expected ids such as 'a.",
        ),
        ("a.png,1\n,0\n", "line 3 of labels.csv has the id '', which is not in the set"),
        (
            "a.png,1\nb.png,1\n\na.png,0\n",
            "line 5 of labels.csv repeats the id 'a.png' of line 2; keep one",
        ),
    ],
)
def test_wrong_ids(tmp_path: Path, rows: str, message: str) -> None:
    assert complaint(write(tmp_path, "id,label\n" + rows), ids=IDS).startswith(message)


def test_ids_of_the_set_that_are_double(tmp_path: Path) -> None:
    path = write(tmp_path, "id,label\na,1\n")
    assert complaint(path, ids=("a", "a")).startswith("two examples of the set have the same id")


def test_a_file_without_ids_has_a_label_for_each(tmp_path: Path) -> None:
    path = write(tmp_path, "1\n0\n2\n1\n")
    assert read(path, ids=IDS).given.tolist() == LABELS
    assert complaint(path, ids=IDS[:3]) == "labels.csv has 4 labels, expected 3, one per example of the set"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label\n1\n3\n", "line 3 of labels.csv has the label '3', expected a class number from 0 to 2 or a"),
        ("label\n1\n-1\n", "line 3 of labels.csv has the label '-1', expected a class number from 0 to 2"),
        ("label\n1\n1.0\n", "line 3 of labels.csv has the label '1.0', expected a class number"),
        ("label\n1\nnan\n", "line 3 of labels.csv has the label 'nan', expected a class number"),
        ("label\n1\n1_0\n", "line 3 of labels.csv has the label '1_0', expected"),
        ("label\n1\n²\n", "line 3 of labels.csv has the label '²', expected"),
        ("label\ndog\ndgo\n", "line 3 of labels.csv has the label 'dgo', expected a class number from 0 to 2 "
         "or a class name (did you mean 'dog'?)"),
        ("label\ndog\ndog\n2\n", "line 4 of labels.csv has the label '2', expected"),
        ("label\n1\n2\ndog\n", "line 4 of labels.csv has the label 'dog', expected"),
        ("label\n1\n\n0\n", "line 3 of labels.csv has no label; correct it"),
        ('label\n1\n""\n', "line 3 of labels.csv has no label; correct it"),
        ("id,label\na,1\nb,\n", "line 3 of labels.csv has no label; correct it"),
        ("id,label\na,1\nb\n", "labels.csv, line 3: 1 cells, but the heading has 2"),
        ("id,label\na,1\nb,1,1\n", "labels.csv, line 3: 3 cells, but the heading has 2"),
        ("", "labels.csv is empty; expected a heading such as id,label"),
        ("\n\n", "labels.csv is empty; expected a heading such as id,label"),
        ("label\n", "labels.csv holds no labels, expected one per example"),
        ("a.png,1\nb.png,0\n", "labels.csv has 2 columns and no header line; add"),
        ("breed,size\ndog,1\n", "labels.csv has no column recognized as the labels "
         "(its columns: 'breed', 'size'); name one of them label"),
        ("label,Label\n1,1\n", "labels.csv has two columns called 'label' and 'Label'; rename one"),
        ("label,label\n1,1\n", "labels.csv has two columns called 'label'; rename one"),
        ("true,id\n1,1\n", "labels.csv has no column recognized as the labels"),
        ("true,label\n5,1\n", "line 2 of labels.csv has the label '5', expected"),
        ('label\n"1\n2\n', "line 3 of labels.csv is not valid CSV"),
        (b"label\n\xff\n", "line 2 of labels.csv is not UTF-8 text; save the file as UTF-8"),
    ],
    ids=repr,
)  # fmt: skip
def test_wrong_csv(tmp_path: Path, content: object, message: str) -> None:
    assert complaint(write(tmp_path, content)).startswith(message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "1\n\n0\n", "line 2 of a.txt has no label; correct it"),
        ("a.txt", "1\n4\n", "line 2 of a.txt has the label '4', expected"),
        ("a.txt", "", "line 1 of a.txt has no label"),
        ("a.json", "[1, 5]", "entry 1 (from 0) of a.json has the label 5, expected"),
        ("a.json", "[1, null]", "entry 1 (from 0) of a.json has no label"),
        ("a.json", "[1, true]", "entry 1 (from 0) of a.json has the label True, expected"),
        ("a.json", "[1, [2]]", "entry 1 (from 0) of a.json has the label [2], expected"),
        ("a.json", "[1, NaN]", "entry 1 (from 0) of a.json has the label nan, expected"),
        ("a.json", "[]", "a.json holds no labels, expected one per example"),
        ("a.json", '{"a": 1}', "a.json is {'a': 1}, expected a valid list"),
        ("a.json", "[1", "a.json is not valid JSON (Expecting"),
        ("a.json", "[" * 200_000, "a.json is not valid JSON ("),
        ("a.npy", b"", "a.npy cannot be read as a NumPy file ("),
        ("a.npy", b"label\n1\n", "a.npy cannot be read as a NumPy file ("),
        ("a.npz", b"PK\x03\x04nothing", "a.npz cannot be read as a NumPy file ("),
        ("a.parquet", b"", "a.parquet cannot be read as Parquet ("),
        ("a.parquet", b"PAR1 not at all PAR1", "a.parquet cannot be read as Parquet ("),
        (
            "a.pt",
            b"",
            "a.pt is not a file of labels, expected one of .csv, .tsv, .txt, .json, .npy, .npz, .parquet; "
            "read human annotations in .pt files as human:FILE",
        ),
        ("labels", b"", "labels is not a file of labels, expected one of .csv"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_wrong_files(tmp_path: Path, name: str, content: object, message: str) -> None:
    assert complaint(write(tmp_path, content, name)).startswith(message)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([0, 1, 3]), "row 2 of a.npy has the label 3, expected"),
        (np.array([0, -1]), "row 1 of a.npy has the label -1, expected"),
        (np.array([0.0, np.nan]), "row 1 of a.npy has no label"),
        (np.array([True, False]), "row 0 of a.npy has the label True, expected"),
        (
            np.array([2**64 - 1], dtype=np.uint64),
            "row 0 of a.npy has the label 18446744073709551615",
        ),
        (np.eye(2), "a.npy: the array has the shape (2, 2), expected one label per example, (N,)"),
        (np.array(1), "a.npy: the array has the shape ()"),
        (np.array([], dtype=int), "a.npy holds no labels, expected one per example"),
        (
            np.array([0, "a"], dtype=object),
            "a.npy holds Python objects, which are",
        ),
    ],
    ids=str,
)
def test_wrong_arrays(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert complaint(tmp_path / "a.npy").startswith(message)


def test_wrong_tables(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", label=np.zeros(3, dtype=int), true=np.zeros(2, dtype=int))
    assert (
        complaint(tmp_path / "a.npz") == "a.npz has columns of different lengths: 'label' has 3, 'true' has 2"
    )
    np.savez(tmp_path / "a.npz", a=np.zeros(3), b=np.zeros(3))
    assert "(its columns: 'a', 'b'); name one of them label" in complaint(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", label=np.array([{}]))
    assert "holds Python objects, which are not read" in complaint(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz")
    assert "(its columns: none)" in complaint(tmp_path / "a.npz")
    pq.write_table(pa.table({"label": [0, None, 1]}), tmp_path / "a.parquet")
    assert complaint(tmp_path / "a.parquet") == "row 1 of a.parquet has no label; correct it"
    pq.write_table(pa.table([[0], [1]], names=["label", "label"]), tmp_path / "a.parquet")
    assert complaint(tmp_path / "a.parquet") == "a.parquet has two columns called 'label'; rename one"


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "a.npy"])
def test_files_cut_short_or_changed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, np.array(LABELS * 50))
    elif name == "a.npz":
        np.savez_compressed(path, label=np.array(LABELS * 50))
    else:
        pq.write_table(pa.table({"label": LABELS * 50}), path)
    whole = path.read_bytes()
    for at in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        path.write_bytes(whole[:at])
        complaint(path)
        wrong = bytearray(whole)
        wrong[at] ^= 0x55
        path.write_bytes(wrong)
        try:
            read(path)  # a format without checksums cannot know; it must only not fail otherwise
        except InputError as error:
            message = str(error)
            if "\n" in message:
                pytest.fail(message)


@pytest.mark.parametrize("at", range(0, 128, 3))
def test_a_changed_byte_in_the_head_of_an_array(tmp_path: Path, at: int) -> None:
    """Python's own parser reads the header and can fail in many ways."""
    np.save(tmp_path / "a.npy", np.array(LABELS))
    whole = (tmp_path / "a.npy").read_bytes()
    errors = []
    for byte in b"\0('0x\xff":
        changed = bytearray(whole)
        changed[at] = byte
        try:
            read(write(tmp_path, bytes(changed), "a.npy"))
        except InputError as error:
            errors.append(str(error))
    assert not any("\n" in error for error in errors)


def test_another_file_in_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("label", "1")
    message = "label of a.npz cannot be read as a NumPy file (not an array)"
    assert complaint(tmp_path / "a.npz").startswith(message)


def test_no_file(tmp_path: Path) -> None:
    assert complaint(tmp_path / "no.csv") == "there is no file no.csv"
    with pytest.raises(InputError, match=r" is a folder, expected a file$"):
        read(tmp_path)


def test_rows_of_other_examples_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, "id,label\nc.png,1\na.png,2\nb.png,0\n")
    read_it = {"num_classes": 3, "ids": ["a.png", "b.png"]}
    assert read_labels(path, **read_it, others=["c.png", "d.png"]).given.tolist() == [2, 0]
    with pytest.raises(InputError, match=r"has the id 'c\.png', which is not in the set"):
        read_labels(path, **read_it, others=["d.png"])


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([2020, 2019], ("2019", "2020")),
        ([2020.0, 2019.0], ("2019", "2020")),
        ([True, False], ("False", "True")),
        ([True, False], ("FALSE", "TRUE")),
        ([1.0, 0.0], ("0", "1")),
        ([1.0, 0.0], ("cat", "dog")),
        ([1, 0], ("cat", "dog")),
    ],
)
@pytest.mark.parametrize("form", ["json", "npy", "parquet", "csv"])
def test_values_name_classes_in_every_format(tmp_path: Path, values: Any, names: Any, form: str) -> None:
    path = tmp_path / f"a.{form}"
    if form == "json":
        path.write_text(json.dumps(values))
    elif form == "npy":
        np.save(path, values)
    elif form == "parquet":
        pq.write_table(pa.table({"label": values}), path)
    else:
        path.write_text("label\n" + "".join(f"{v if isinstance(v, bool) else int(v)}\n" for v in values))
    assert read(path, class_names=names, num_classes=2).given.tolist() == [1, 0]


def test_truth_values_do_not_name_one_of_two_classes_that_are_alike(tmp_path: Path) -> None:
    path = write(tmp_path, "label\nTRUE\nfalse\n")
    assert read(path, class_names=("False", "True", "x")).given.tolist() == [1, 0]
    assert "has the label 'TRUE', expected" in complaint(path, class_names=("false", "True", "true"))


@pytest.mark.parametrize("values", [[1, 2], [1.0, 2.0]])
def test_numbers_that_name_other_classes_are_refused_in_json(tmp_path: Path, values: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert "which is the name of class 0" in complaint(tmp_path / "a.json", class_names=("1", "2", "3"))
    (tmp_path / "a.json").write_text(json.dumps([None, "None"]))
    assert "has no label" in complaint(tmp_path / "a.json", class_names=("None", "a", "b"))


def test_classes_named_by_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "label\n1\n2\n3\n")
    assert read(path, class_names=("1", "2", "3")).given.tolist() == [0, 1, 2]  # 3 is no class number
    assert read(path, class_names=("0", "1", "2", "3"), num_classes=4).given.tolist() == [1, 2, 3]
    path = write(tmp_path, "label\n0\n1\n2\n")
    assert read(path, class_names=("1", "2", "3")).given.tolist() == [0, 1, 2]  # 0 is no name
    path = write(tmp_path, "label\n1\n2\n")
    message = complaint(path, class_names=("1", "2", "3"))
    assert message.startswith(
        "line 2 of labels.csv has the label '1', which is the name of class 0 and the number"
    )
    np.save(tmp_path / "a.npy", [1, 2])
    message = complaint(tmp_path / "a.npy", class_names=("1", "2", "3"))
    assert message.startswith("row 0 of ")
    assert "has the label 1, which is the name of class 0 and the number of another" in message


def test_without_class_names(tmp_path: Path) -> None:
    assert read(write(tmp_path, "1\n0\n"), class_names=None).given.tolist() == [1, 0]
    message = complaint(write(tmp_path, "label\ndog\n"), class_names=None)
    assert (
        message == "line 2 of labels.csv has the label 'dog', expected a class number from 0 to 2; correct it"
    )
    assert "num_classes is 3, expected 2 for 2 class names" in complaint(
        tmp_path / "labels.csv", class_names=("a", "b")
    )
    assert "num_classes is 0" in complaint(tmp_path / "labels.csv", num_classes=0)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".txt", ".json"])
def test_classes_that_differ_in_spaces_stay_apart(tmp_path: Path, suffix: str) -> None:
    cells, path = ["cat ", "cat", "dog", "cat"], tmp_path / f"labels{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"label": cells}), path)
    elif suffix == ".json":
        path.write_text(json.dumps(cells))
    elif suffix == ".csv":
        path.write_text(",label\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
    else:
        path.write_text("\n".join(cells))
    assert read(path, class_names=("cat", "cat ", "dog ")).given.tolist() == [1, 0, 2, 0]
    with pytest.raises(InputError, match="has the label 'cat'"):  # either of two
        read(path, class_names=(" cat", "cat ", "dog"))


@pytest.mark.parametrize("classes", [("y", "n"), ("true", "false"), ("clean", "dirty"), ("True", "False")])
def test_a_first_label_called_as_a_role_is_no_heading(tmp_path: Path, classes: tuple[str, ...]) -> None:
    cells = [classes[k] for k in (0, 1, 0, 1)]
    options = {"num_classes": 2, "class_names": classes, "positions": own(4)}
    path = write(tmp_path, "\n".join(cells))
    assert read_labels(path, ids=IDS, **options).given.tolist() == [0, 1, 0, 1]
    assert read_labels(path, **options).given.tolist() == [0, 1, 0, 1]
    if classes[0] == "y":  # the others name no column of labels
        headed = write(tmp_path, "\n".join([classes[0], *cells]))
        assert read_labels(headed, ids=IDS, **options).given.tolist() == [0, 1, 0, 1]
    pairs = write(tmp_path, "".join(f"{name},{cell}\n" for name, cell in zip(IDS, cells, strict=True)))
    assert read_labels(pairs, ids=IDS, **options).given.tolist() == [0, 1, 0, 1]
    y = np.array([0, 1, 0, 1])
    noisy = corrupt(y, f"labels:{write(tmp_path, chr(10).join(cells))}", class_names=classes)
    assert (noisy.given == y).all()
