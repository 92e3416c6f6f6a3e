"""Names of splits mean the same in folders, tables, arrays, Parquet files and objects."""

import zlib

import numpy as np
import pytest
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load
from noisylabels.data.splits import all_splits, by_split, split_of

SPELLINGS = [
    ("train", "test"),
    ("Train", "TEST"),
    ("training", "testing"),
    ("training_set", "test_set"),
    ("Training Data", "Test Data"),
    ("train-images", "test-images"),
    ("trainset", "testset"),
    ("train2017", "val2017"),
    ("train", "Validation"),
    ("train", "valid"),
    ("train", "dev"),
    ("TRAIN", "eval"),
]
LABELS = ["cat", "dog"] * 4


@pytest.mark.parametrize(
    "name", ["trains", "trainer", "steam train", "contest", "invalid", "cat", "", "1", "device"]
)
def test_other_names_are_no_splits(name):
    assert split_of(name) is None


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)


def folder(root, train, test):
    for part in (train, test):
        for row, label in enumerate(LABELS):
            (root / part / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(row)).save(root / part / label / f"{row}.png")
    return root


def image_column(root, train, test):
    rows = [(f"{row}.png", label, part) for part in (train, test) for row, label in enumerate(LABELS)]
    names = [f"{part}-{name}" for name, _, part in rows]
    for name in names:
        Image.fromarray(picture(zlib.crc32(name.encode()))).save(root / name)
    lines = [f"{name},{label},{part}\n" for name, (_, label, part) in zip(names, rows, strict=True)]
    (root / "labels.csv").write_text("path,label,split\n" + "".join(lines))
    return root


def feature_column(root, train, test):
    rows = [f"{row},{label},{part}\n" for part in (train, test) for row, label in enumerate(LABELS)]
    (root / "rows.csv").write_text("age,label,split\n" + "".join(rows))
    return root / "rows.csv"


def feature_files(root, train, test):
    for part in (train, test):
        lines = [f"{row},{label}\n" for row, label in enumerate(LABELS)]
        (root / f"{part}.csv").write_text("age,label\n" + "".join(lines))
    return root


def image_files(root, train, test):
    for part in (train, test):
        lines = []
        for row, label in enumerate(LABELS):
            Image.fromarray(picture(row)).save(root / f"{part}-{row}.png")
            lines.append(f"{part}-{row}.png,{label}\n")
        (root / f"{part}.tsv").write_text(
            "path,label\n".replace(",", "\t") + "".join(lines).replace(",", "\t")
        )
    return root


def parquet(root, train, test):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in (train, test):
        table = pa.table({"age": list(range(8)), "label": LABELS})
        pq.write_table(table, root / f"{part}.parquet")
    return root


def image_arrays(root, train, test):
    arrays = {}
    for part in (train, test):
        arrays[f"{part}_images"] = np.stack([picture(row) for row in range(8)])
        arrays[f"{part}_labels"] = np.arange(8) % 2
    np.savez(root / "all.npz", **arrays)
    return root / "all.npz"


def row_arrays(root, train, test):
    for part in (train, test):
        np.save(root / f"x_{part}.npy", np.random.default_rng(0).normal(size=(8, 3)))
        np.save(root / f"y_{part}.npy", np.arange(8) % 2)
    return root


def mapping(root, train, test):
    examples = [(picture(row), row % 2) for row in range(8)]
    return {train: examples, test: examples}


FORMS = (
    folder,
    image_column,
    feature_column,
    feature_files,
    image_files,
    parquet,
    image_arrays,
    row_arrays,
    mapping,
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize(("train", "test"), SPELLINGS)
def test_every_spelling_divides_every_form(form, train, test, tmp_path):
    first, second = load(form(tmp_path, train, test))
    assert (len(first), len(second), len(first.class_names)) == (8, 8, 2)
    assert not any("held out" in note or "ignored" in note for note in first.notes)


def test_two_names_of_one_split_are_an_error():
    with pytest.raises(
        InputError, match="photos has 'training' and 'train_set', which both name the train part"
    ):
        by_split(["training", "train_set"], "photos")
    assert by_split(["test2", "test", "train"], "x") == {"test": "test", "train": "train"}
    assert all_splits(["seg_train", "seg_test"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train/1.png", "test/2.png"],
            r"the folders test, train, but no training part with class folders \(1 im",
        ),
        (["Training/1.png", "Validation/2.png"], "no training part with class folders"),
        (["train/1.png", "test/2.png", "raw/1.png"], "no training part with class folders"),
        (["test/cat/1.png", "test/dog/1.png"], "holds the folders test, but no training part"),
        (["val/cat/1.png", "test/cat/1.png", "val/dog/1.png"], "but no training part"),
        (["cat/1.png", "dog/1.png", "test/cat/1.png", "test/dog/2.png"], "but no training part"),
        (["seg_train/1.png", "seg_test/2.png"], "which name parts of a set instead of classes"),
        (["train/train/1.png", "train/test/2.png"], "train holds the folders test, train, which name parts"),
        (
            ["photos/cat/1.png", "photos/dog/1.png"],
            r"single class, 'photos'.*; did you mean \S*photos/photos\?",
        ),
    ],
)
def test_parts_without_classes_are_shown(names, message, tree):
    with pytest.raises(InputError, match=message) as caught:
        load(tree(*names))
    assert "ROOT/train/<class>" in str(caught.value)


@pytest.mark.parametrize("inside", ["train/1.png", "train/steam/1.png"])
def test_a_folder_of_trains_among_cars_is_a_class(inside, tree):
    root = tree(*[f"{kind}/{i}.png" for kind in ("train", "car", "plane") for i in range(3)], inside)
    assert load(root)[0].class_names == ("car", "plane", "train")


def test_what_lies_beside_the_parts_is_counted(tree):
    names = [f"{part}/{kind}/{i}.png" for part in ("train", "test", "val") for kind in "ab" for i in range(2)]
    train, _ = load(tree(*names, "eel/1.png", "1.png", "train/2.png"))
    assert train.class_names == ("a", "b")
    assert train.notes == (
        "ignored the folders eel (1 image), val (4 images) beside train",
        "left out 1 image straight in photos, which has no class folder",
        "left out 1 image straight in train, which has no class folder",
    )


def test_other_tables_beside_train_csv_are_named(tmp_path):
    feature_files(tmp_path, "train", "test")
    (tmp_path / "val.csv").write_text("age,label\n1,cat\n")
    (tmp_path / "sample_submission.csv").write_text("age,label\n1,cat\n")
    train, test = load(tmp_path)
    assert list(train.ids) == [f"train:{row}" for row in range(8)]
    assert list(test.ids) == [f"test:{row}" for row in range(8)]
    assert "ignored val.csv (1 row) beside test.csv" in train.notes
    assert "ignored sample_submission.csv beside train.csv" in train.notes


def test_an_unlabeled_test_table_is_not_used(tmp_path):
    feature_files(tmp_path, "train", "test")
    (tmp_path / "test.csv").write_text("age\n1\n2\n")
    train, test = load(tmp_path)
    assert len(train) + len(test) == 8
    assert any("ignored test.csv (2 rows): it has no labels" in note for note in train.notes)


def test_tables_of_splits_must_have_the_same_columns(tmp_path):
    feature_files(tmp_path, "train", "test")
    (tmp_path / "test.csv").write_text("size,label\n1,cat\n")
    with pytest.raises(InputError, match=r"test.csv lacks the column 'age' that train.csv has"):
        load(tmp_path)


def counted(*folders, n=4):
    return [f"{folder}/{i}.png" for folder in folders for i in range(n)]


@pytest.mark.parametrize(
    ("train", "test"), [("train_final", "test_final"), ("seg_train", "seg_test"), ("TrainA", "ValA")]
)
def test_folders_that_differ_in_the_split_alone_are_parts(train, test, tree):
    first, second = load(tree(*counted(*(f"{p}/{k}" for p in (train, test) for k in "ab")), "raw/1.png"))
    assert (first.class_names, len(first), len(second)) == (("a", "b"), 8, 8)
    assert f"ignored the folder raw (1 image) beside {train}" in first.notes


@pytest.mark.parametrize("more", [[], ["raw"]])
def test_parts_of_two_domains_are_no_classes(more, tree):
    with pytest.raises(InputError, match="testA, testB, trainA, trainB, which name parts"):
        load(tree(*counted("trainA", "trainB", "testA", "testB", *more)))


def test_a_class_called_like_a_part_is_named(tree):
    first, _ = load(tree(*counted("cat", "dog", "test")))
    assert first.class_names == ("cat", "dog", "test")
    assert any(note.startswith("the folder is read as a class: test; a part of") for note in first.notes)


def test_parts_below_every_class_are_parts(tree):
    names = counted("cat/train", "dog/Train", n=3) + counted("cat/test", "dog/Test", n=2)
    first, second = load(tree(*names, "cat/val/1.png", "dog/2.png"))
    assert first.class_names == ("cat", "dog")
    assert list(first.ids) == counted("cat/train", "dog/Train", n=3)
    assert list(second.ids) == counted("cat/test", "dog/Test", n=2)
    assert second.labels.tolist() == [0, 0, 1, 1]
    assert "folders such as cat/train are parts of the set, in each class" in first.notes
    assert "left out 2 images of the classes beside these parts" in first.notes


def test_a_validation_part_beside_a_test_part_below_classes_is_named(tree):
    names = counted("cat/train", "dog/train") + counted("dog/val", n=2)
    first, second = load(tree(*names))
    assert (len(first), len(second)) == (8, 2)
    assert not any("validation" in note for note in first.notes)
    first, second = load(tree(*names, *counted("cat/test", "dog/test")))
    assert (len(first), len(second)) == (8, 8)
    what = "the validation part (folders such as dog/val, 2 images)"
    assert f"ignored {what}: the test part is used for testing" in first.notes


def test_parts_below_some_classes_are_named(tree):
    first, second = load(tree(*counted("cat/train", "cat/test", "dog")))
    assert len(first) + len(second) == 12
    assert any("not as parts: dog has no training part" in note for note in first.notes)


@pytest.mark.parametrize(
    "folders",
    [
        ["images/train/cat", "images/train/dog", "labels/train"],
        ["images/train/cat", "images/val/cat", "other"],
        ["v1/train/cat", "v1/train/dog", "v2/train/cat", "v2/train/dog"],
    ],
)
def test_sets_below_a_folder_are_no_classes(folders, tree):
    with pytest.raises(InputError, match=r"the folder of one set, such as \S*/(images|v1); expected"):
        load(tree(*counted(*folders)))


@pytest.mark.parametrize(("column", "noted"), [("subset", True), ("part", True), ("size", False)])
def test_a_column_of_other_parts_is_a_feature_with_a_note(column, noted, tmp_path):
    rows = [f"{i},{'ab'[i % 2]},{('train', 'test', 'extra')[i % 3]}\n" for i in range(30)]
    (tmp_path / "rows.csv").write_text(f"x,label,{column}\n" + "".join(rows))
    notes = load(tmp_path / "rows.csv")[0].notes
    wanted = f"the column {column!r} is read as a feature, not as parts: it holds 'extra' beside train, "
    assert any(note.startswith(wanted) for note in notes) == noted


def test_folders_of_trains_in_a_class_are_images(tree):
    first, second = load(tree(*counted("vehicle/train1", "vehicle/train2", "plane")))
    assert (first.class_names, len(first) + len(second)) == (("plane", "vehicle"), 12)
