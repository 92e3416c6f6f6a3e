"""Tables of features: recognition, encoding of cells, and errors."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load
from noisylabels.data.encoding import MOST_WORDS, Column, Encoder
from noisylabels.data.feature_table import TablePlan, read_rows
from noisylabels.data.features import FeatureSet
from noisylabels.data.formats import plan_path
from noisylabels.data.reader import Options

HALF = ["train"] * 6 + ["test"] * 4
AGES = ["3", "5", "", "7", "9", "100", "1", "NaN", "2", "50"]
PETS = ["cat", "dog", "cat", "", "dog", "cat", "eel", "dog", "cat", "?"]


@pytest.fixture
def write(tmp_path):
    """Write a table with the given columns."""

    def make(file="data.csv", comma=",", /, **columns):
        lines = [columns, *zip(*columns.values(), strict=True)]
        text = "".join(comma.join(map(str, line)) + "\n" for line in lines)
        (tmp_path / file).write_text(text, encoding="utf-8")
        return tmp_path / file

    return make


def animals(**more):
    return {"age": AGES, "pet": PETS, "label": ["no", "yes"] * 5, "split": HALF, **more}


def test_cells_become_features_by_the_training_part(write, tmp_path):
    train, test = load(write(**animals()))
    assert isinstance(train, FeatureSet)
    assert train.encoder.features == ("age", "age is missing", "pet=cat", "pet=dog", "pet is missing")
    # the median of 3, 5, 7, 9, 100; 50 of the test part does not count
    expected = [
        [3, 0, 1, 0, 0],
        [5, 0, 0, 1, 0],
        [7, 1, 1, 0, 0],
        [7, 0, 0, 0, 1],
        [9, 0, 0, 1, 0],
        [100, 0, 1, 0, 0],
    ]
    assert train.features.tolist() == expected
    # eel is unknown to the training part: no pet at all
    assert test.features.tolist() == [[1, 0, 0, 0, 0], [7, 1, 0, 1, 0], [2, 0, 1, 0, 0], [50, 0, 0, 0, 1]]
    assert (train.class_names, train.labels.tolist()) == (("no", "yes"), [0, 1] * 3)
    assert (train.name, list(train.ids)) == (tmp_path.name, [f"row:{i}" for i in range(6)])
    assert train.notes == (
        "one feature per word of 'pet' (2)",
        "missing cells are filled with the median and marked in an additional feature: 'age' (1), 'pet' (1)",
    )
    assert train.digest != test.digest


def test_a_part_is_held_out_of_each_class(write):
    n = 50
    train, test = load(write(x=[i * i for i in range(n)], label=["a", "b"] * 25), test_fraction=0.2)
    assert test.labels.bincount().tolist() == [5, 5]
    assert sorted(int(i.removeprefix("row:")) for i in [*train.ids, *test.ids]) == list(range(n))
    for part in (train, test):
        rows = [int(name.removeprefix("row:")) for name in part.ids]
        assert part.features[:, 0].tolist() == [i * i for i in rows]
        assert part.labels.tolist() == [i % 2 for i in rows]
    assert train.notes[0].startswith("no test part found: 10 rows (0.2 of each class) are held out")


@pytest.mark.parametrize("name", ["label", "Class", "TARGET", "class_name", "y", "labels"])
@pytest.mark.parametrize(("file", "comma"), [("t.csv", ","), ("t.tsv", "\t"), ("T.CSV", ";")])
def test_labels_are_known_by_their_name(name, file, comma, write):
    train, _ = load(write(file, comma, x=AGES, split=HALF, **{name: ["b", "a"] * 5}))
    assert train.class_names == ("a", "b")
    assert train.labels.tolist() == [1, 0] * 3


def test_the_user_names_the_column_of_the_labels(write):
    path = write(x=AGES, label=["b", "a"] * 5, truth=["u", "u", "v", "v", "v"] * 2, split=HALF)
    train, _ = load(path, label_column="truth")
    assert train.class_names == ("u", "v")
    assert train.encoder.features[-2:] == ("label=a", "label=b")  # then a feature as others
    with pytest.raises(InputError, match=r"has no label column 'truht'; did you mean 'truth'\?"):
        load(path, label_column="truht")


def test_what_would_tell_the_label_is_left_out(write):
    train, _ = load(write(x=AGES, label=["b", "a"] * 5, **{"class": ["B", "A"] * 5}, split=HALF))
    assert train.encoder.features == ("x", "x is missing")
    assert "label column 'label' used, 'class' ignored" in train.notes


def test_without_a_label_the_columns_and_the_flag_are_named(write):
    with pytest.raises(
        InputError, match=r"no label column: its columns are x, kind; name it with --label-column"
    ):
        load(write(x=AGES, kind=PETS))


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["1", "2", "7"], ("1", "2", "7"), [0, 1, 2]),
        (["-1", "1", "-1.0"], ("-1", "-1.0", "1"), [0, 2, 1]),
        (["10", "9", "9"], ("9", "10"), [1, 0, 0]),
        (["10", "x", "9"], ("10", "9", "x"), [0, 2, 1]),
        (["None", "some", "None"], ("None", "some"), [0, 1, 0]),
    ],
)
def test_labels_are_words_or_whole_numbers(labels, names, numbers, write):
    train, _ = load(write(x=range(100, 1000, 100), label=labels * 3, split=["train"] * 6 + ["test"] * 3))
    assert (train.class_names, train.labels.tolist()) == (names, numbers * 2)


def test_ids_are_those_of_the_column(write):
    ids = [f"p{i}" for i in range(10)]
    train, test = load(write(ID=ids, **animals()))
    assert [*train.ids, *test.ids] == ids
    assert "p0" not in str(train.encoder.features)
    train, test = load(write(ID=[*ids[:9], "p0"], **animals()))
    assert [*train.ids, *test.ids] == [*ids[:9], "p0#2"]
    assert any("1 row has an id that an earlier row has, first p0#2" in note for note in train.notes)
    with pytest.raises(InputError, match=r"line 4: the id is missing"):
        load(write(id=[*ids[:2], "", *ids[3:]], **animals()))


def test_validation_is_left_aside_where_there_is_a_test_part(write):
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    train, test = load(write(x=AGES, label=["a", "b"] * 5, split=parts))
    assert "ignored 2 validation rows" in train.notes
    assert list(test.ids) == ["row:8", "row:9"]
    assert list(load(write(x=AGES, label=["a", "b"] * 5, split=parts[:8] + ["val"] * 2))[1].ids) == [
        f"row:{i}" for i in (6, 7, 8, 9)
    ]


def test_part_and_subset_may_be_features(write):
    train, _ = load(write(x=AGES, part=PETS, label=["a", "b"] * 5))
    assert "part=cat" in train.encoder.features
    _, test = load(write(x=AGES, part=HALF, label=["a", "b"] * 5))
    assert len(test) == 4


def test_columns_without_use_are_left_out_with_the_reason(write):
    n = 240
    rng = np.random.default_rng(0)
    path = write(
        **{"": range(5, 5 + n)},
        x=rng.normal(size=n),
        same=[4] * n,
        word=["w"] * n,
        nothing=[""] * n,
        when=[f"2024-02-{1 + i % 28:02} 10:00" for i in range(n)],
        day=[f"{1 + i % 28}.3.2024" for i in range(n)],
        name=[f"n{i}" for i in range(n)],
        city=[f"c{i % (MOST_WORDS + 1)}" for i in range(n)],
        flag=["True", "false"] * (n // 2),
        label=rng.integers(0, 2, n),
    )
    train, _ = load(path)
    assert train.encoder.features == ("x", "flag")
    assert set(train.features[:, 1].tolist()) == {0.0, 1.0}
    for note in (
        "left out, row numbers: 'column 1'",
        "left out, a single value: 'same', 'word'",
        "left out, empty: 'nothing'",
        "left out, dates (convert them to numbers, such as days since a date): 'when', 'day'",
        "left out, all words differ: 'name'",
        "if 'name' identifies the rows, name it with --id-column (id_column=), or call it id; their ids are "
        "row:0, row:1, ... now",
        f"left out, more than {MOST_WORDS} different words: 'city'",
    ):
        assert note in train.notes
    # they may be there or not when new rows come
    assert set(train.encoder.ignored) >= {"column 1", "same", "name", "label"}


def test_few_numbers_and_words_are_words(write):
    grades = (["1", "2", "3", "unknown"] * 30)[:100]
    train, _ = load(write(grade=grades, label=(["a", "b", "b"] * 40)[:100]))
    assert train.encoder.features == ("grade=1", "grade=2", "grade=3", "grade=unknown")


def table_of(tmp_path, columns, name="t.parquet"):
    pq.write_table(pa.table(columns), tmp_path / name)
    return tmp_path / name


def test_parquet_without_images(tmp_path):
    n = 12
    path = table_of(
        tmp_path,
        {
            "x": pa.array([1.5, None, *range(10)], pa.float32()),
            "count": pa.array(range(0, 2 * n, 2), pa.int8()),
            "flag": [True, False] * 6,
            "maybe": [True, None, False] * 4,
            "pet": pa.array(["cat", "dog", None] * 4).dictionary_encode(),
            "v": pa.array([[i, i * i] for i in range(n)], pa.list_(pa.float32(), 2)),
            "ragged": [[1.0], [1.0, 2.0], []] * 4,
            "when": [datetime.datetime(2024, 1, 1)] * n,
            "label": ["u", "v"] * 6,
            "split": ["train"] * 8 + ["test"] * 4,
        },
    )
    train, test = load(path)
    assert train.encoder.features == (
        "x", "x is missing", "count", "flag", "maybe", "maybe is missing", "pet=cat", "pet=dog",
        "pet is missing", "v[0]", "v[1]",
    )  # fmt: skip
    assert train.features[1].tolist() == [2, 1, 2, 0, 1, 1, 0, 1, 0, 1, 1]
    assert test.features[0].tolist() == [6, 0, 16, 1, 0, 0, 0, 0, 1, 8, 64]
    assert "left out, dates: 'when'" in train.notes
    assert "left out, lists of 0 to 2 numbers: 'ragged'" in train.notes
    assert train.class_names == ("u", "v")


def test_numbers_with_a_comma_are_called_so(tmp_path):
    lines = "".join(f"{i},5;{i * i};{'uv'[i % 2]}\n" for i in range(20))
    (tmp_path / "t.csv").write_text("size;x;label\n" + lines)
    train, _ = load(tmp_path / "t.csv")
    assert train.encoder.features == ("x",)
    assert "left out, numbers with a decimal comma instead of a point: 'size'" in train.notes


def test_ids_of_parquet_are_kept_to_the_last_digit(tmp_path):
    ids = [10**17 + i for i in range(10)]
    train, test = load(table_of(tmp_path, {"id": ids, "x": np.arange(10) ** 2, "label": ["u", "v"] * 5}))
    assert sorted([*train.ids, *test.ids]) == [str(i) for i in ids]


def test_parquet_files_may_differ_in_how_they_keep_a_column(tmp_path):
    for part, x in (("train", [1, 2, 3, 5]), ("test", [0.5, None]), ("validation", [None, None])):
        table = {"x": x, "y": range(len(x)), "label": (["u", "v"] * 2)[: len(x)]}
        pq.write_table(pa.table(table), tmp_path / f"{part}.parquet")
    train, test = load(tmp_path)
    assert train.features[:, 0].tolist() == [1, 2, 3, 5]
    assert test.features[:, 0].tolist() == [0.5, 2.5]


def test_parquet_in_parts_with_names_of_classes(tmp_path):
    info = '{"info": {"features": {"kind": {"_type": "ClassLabel", "names": ["cat", "dog", "eel"]}}}}'
    for part, n in (("train", 6), ("test", 4)):
        made = pa.table({"x": np.arange(n) ** 2.0, "kind": np.arange(n) % 2})
        pq.write_table(
            made.replace_schema_metadata({"huggingface": info}), tmp_path / f"{part}-00000-of-00001.parquet"
        )
    train, test = load(tmp_path)
    assert train.class_names == ("cat", "dog", "eel")
    assert [*train.ids, *test.ids] == [f"train:{i}" for i in range(6)] + [f"test:{i}" for i in range(4)]
    assert test.features[:, 0].tolist() == [0, 1, 4, 9]
    assert "no row at all: class 'eel'" in train.notes


@pytest.mark.parametrize(
    "names", [("X", "y"), ("features", "labels"), ("X_train", "y_train", "X_test", "y_test")]
)
@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays_of_features(names, kind, tmp_path):
    X = np.random.default_rng(0).normal(size=(20, 3))
    X[3, 1] = np.nan
    y = np.array(["b", "a"] * 10)
    values = dict(zip(names, (X, y, X[::2], y[::2]), strict=False))
    if kind == "npz":
        np.savez_compressed(tmp_path / "t.npz", **values)
    else:
        for name, value in values.items():
            np.save(tmp_path / f"{name}.npy", value)
    train, test = load(tmp_path / "t.npz" if kind == "npz" else tmp_path)
    assert isinstance(train, FeatureSet)
    assert train.class_names == ("a", "b")
    for part in (train, test):
        for row, label, name in zip(part.features, part.labels, part.ids, strict=True):
            which, _, number = name.partition(":")
            at = int(number) * (2 if which == "test" else 1)
            expected = X[at][[0, 1, 2]]
            if at != 3:
                np.testing.assert_array_equal(row[[0, 1, -1]], expected.astype(np.float32))
            assert train.class_names[label] == y[at]
    if len(names) == 4:
        assert train.encoder.features == ("0", "1", "1 is missing", "2")
        assert train.features[3, 1].item() == np.float32(np.nanmedian(X[:, 1]))
        assert [train.ids[0], test.ids[0]] == ["train:0", "test:0"]


def test_tables_of_images_stay_what_they_are(tmp_path, write):
    for path in (
        write(path=["a.png"], label=["x"]),
        write(name=["a.png"], label=["x"]),  # a mistake that the reader of images explains
        table_of(tmp_path, {"image": [b"1"], "x": [1.0], "label": [0]}),
    ):
        try:
            plan = plan_path(path, Options())
        except InputError:
            continue
        assert not isinstance(plan, TablePlan)
    np.savez(tmp_path / "i.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.arange(4))
    assert not isinstance(plan_path(tmp_path / "i.npz", Options()), TablePlan)


ROWS = "x,pet,label\n1,cat,a\n2,dog,b\n30,cat,a\n4,dog,b\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,label\n", r"data.csv has no rows; add lines below the heading"),
        ("x,label\n1,a\n2\n", r"data.csv, line 3: 1 cells, but the heading has 2"),
        ("x,x,label\n1,2,a\n", r"data.csv has two columns called 'x'; rename one"),
        ("x,label\n1,a\n\n2,\n", r"data.csv, line 4: the label is missing"),
        ("x,label\n1,a\n2,NaN\n", r"data.csv, line 3: the label is missing"),
        ("x,label\n1,a\n2,a\n", r"data.csv has a single class, 'a'; a classifier needs 2"),
        ("x,label\n1,0.5\n2,1\n3,2.5\n", r"data.csv, line 2: the label is 0.5, expected a class"),
        (
            "x,label\n" + "".join(f"{i * i},{i}\n" for i in range(9)),
            r"9 rows have 9 different labels",
        ),
        ("x,label\n1,a\n2,b\n", r"there are 2 rows and no class has two"),
        (
            "x,label,split\n1,a,trian\n",
            r"data.csv, line 2: the split is 'trian', expected train, test or val",
        ),
        (
            "x,label,split\n1,a,test\n2,b,test\n",
            r"data.csv has no training rows; add rows with split train",
        ),
        (
            "label,name\n" + "a,u\nb,v\n" * 1 + "a,w\nb,z\n",
            r"no column to learn from .*all words differ: 'name'",
        ),
        (
            "x,label\n" + "".join(f"{i * i},{'ab'[i % 2]}\n" for i in range(20)) + "abc,a\n",
            r"line 22: 'abc' in the column 'x', whose other cells are num",
        ),
        (
            "x;label\n" + "".join(f"{i / 4};{'ab'[i % 2]}\n" for i in range(20)) + "2,5;a\n",
            r"line 22: '2,5' in .* write numbers with a decimal point",
        ),
        ("x,label\n1,a\n2,b\n3,a\ninf,b\n", r"line 5: inf in the column 'x', expected a finite number"),
        ("x,label\n1,a\n2,b\n3,a\n1e39,b\n", r"line 5: 1e39 in the column 'x', expected a finite number"),
        ("flag,label\n" + "true,a\nfalse,b\n" * 10, None),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, message, tmp_path):
    (tmp_path / "data.csv").write_text(text)
    if message is None:
        assert load(tmp_path / "data.csv")[0].encoder.columns[0].kind == "truth"
        return
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / "data.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 2)), "y": np.zeros(3)}, r"y has 3 labels for 4 rows"),
        ({"x": np.zeros((4, 2)), "y": np.zeros((4, 2))}, r"y of \S*a.npz has the shape \(4, 2\)"),
        ({"x": np.zeros((4, 2)), "y": np.array([0.5, 1, 2, 3])}, r"row 0: the label is 0.5, expected"),
        ({"x": np.array([["a"]] * 4), "y": np.arange(4)}, r"x of \S*a.npz is <U1 of shape \(4, 1\)"),
        ({"x": np.zeros((4, 2)), "y": np.array([1j] * 4)}, r"labels of \S*a.npz hold complex numbers"),
        ({"x_train": np.zeros((4, 2)), "y_train": np.arange(4) % 2, "x_test": np.zeros((4, 3)),
          "y_test": np.arange(4) % 2}, r"training rows have 2 numbers and test rows 3, expected the same"),
        ({"x": np.zeros((4, 2)), "y": np.array([0, 1, 2, 1]), "class_names": np.array(["u", "v"])},
         r"row 2: the label is 2, expected 0 to 1"),
    ],
)  # fmt: skip
def test_wrong_arrays(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a.npz")


def test_options_that_are_of_others(write, tmp_path, tree):
    path = write(**animals())
    with pytest.raises(
        InputError, match=r"is a table of features and has no images; leave out the image size"
    ):
        load(path, image_size=8)
    assert "bad_images has no effect on a table of features" in load(path, bad_images="skip")[0].notes
    with pytest.raises(
        InputError, match=r"the data set digits has no named columns; leave out --label-column"
    ):
        load("digits", label_column="y")
    with pytest.raises(InputError, match=r"\(images, one folder per class\) has no named columns; leave out"):
        load(tree("a/1.png", "b/1.png"), label_column="y")
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=np.arange(4) % 2)
    with pytest.raises(InputError, match=r"holds arrays, which have no named columns"):
        load(tmp_path / "a.npz", label_column="y")


def test_images_take_a_column_of_labels_too(tree):
    root = tree(*(f"p/{i}.png" for i in range(4)))
    lines = "".join(f"p/{i}.png,{i % 2},{i // 2}\n" for i in range(4))
    (root / "t.csv").write_text("path,label,truth\n" + lines)
    assert sorted(int(n[2]) for n, k in _labeled(load(root / "t.csv")) if k) == [1, 3]
    assert sorted(int(n[2]) for n, k in _labeled(load(root / "t.csv", label_column="truth")) if k) == [2, 3]


def _labeled(sets):
    return [(name, k) for part in sets for name, k in zip(part.ids, part.labels.tolist(), strict=True)]


@pytest.fixture
def trained(write):
    """Return the encoder of a table with an age without missing cells, a flag and a pet."""
    path = write(
        "old.csv", id=range(10), age=[f"{i * i}" for i in range(10)], flag=["true", "false"] * 5,
        pet=["cat", "dog"] * 5, name=[f"n{i}" for i in range(10)], label=["a", "b"] * 5,
    )  # fmt: skip
    return load(path)[0].encoder


def test_new_rows_are_encoded_as_those_of_training(write, trained, tmp_path):
    notes: list[str] = []
    path = write("new.csv", pet=["eel", "dog", ""], age=["-1", "", "4.5"], flag=["FALSE", "true", ""])
    ids, rows, _ = read_rows(path, trained, notes)
    median = float(np.median([float(i * i) for i in range(10) if trained]))
    middle = trained.columns[0].median
    assert abs(middle - median) < 10  # of eight of the ten
    assert rows.tolist() == [[-1, 0, 0, 0], [middle, 1, 0, 1], [4.5, 0.5, 0, 0]]
    assert ids == ["row:0", "row:1", "row:2"]
    assert notes == [
        "words unknown from training, encoded as none: 'pet' (1, such as 'eel')",
        "missing cells in columns without any in training: 'age' (1), 'flag' (1), 'pet' (1)",
    ]
    parquet = table_of(
        tmp_path, {"id": ["u", "v"], "age": [1, 2], "flag": [True, False], "pet": ["cat", None]}
    )
    ids, rows, _ = read_rows(parquet, trained, notes)
    assert (ids, rows.tolist()) == (["u", "v"], [[1, 1, 1, 0], [2, 0, 0, 0]])
    # a column in which nothing is has no type in Parquet
    nothing = table_of(tmp_path, {"age": [3, 4], "flag": [None, None], "pet": [None, None]})
    assert read_rows(nothing, trained, notes).features.tolist() == [[3, 0.5, 0, 0], [4, 0.5, 0, 0]]


def test_new_rows_may_have_ids_where_those_of_training_had_none(write):
    x = [i * i for i in range(10)]
    encoder = load(write("old.csv", x=x, label=["a", "b"] * 5))[0].encoder
    ids, rows, _ = read_rows(write("new.csv", id=["u", "v"], x=[1, 2]), encoder, [])
    assert (ids, rows.tolist()) == (["u", "v"], [[1], [2]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": ["1"], "flag": ["true"]}, r"new.csv lacks the column 'pet' of the training table"),
        ({"agee": ["1"], "flag": ["true"], "pet": ["cat"]}, r"lacks the column 'age'.* mean 'agee'\?"),
        ({"age": ["1"], "flag": ["true"], "pet": ["cat"], "size": ["1"]},
         r"has the column 'size', which the training table lacks; remove it"),
        ({"age": ["1", "old"], "flag": ["true"] * 2, "pet": ["cat"] * 2},
         r"new.csv, line 3: 'old' in the column 'age', whose other cells are numbers; correct it or leave"),
        ({"age": ["1"], "flag": ["maybe"], "pet": ["cat"]},
         r"line 2: 'maybe' in the column 'flag', whose other cells are true or false"),
        ({"age": [], "flag": [], "pet": []}, r"new.csv has no rows"),
    ],
)  # fmt: skip
def test_new_rows_that_do_not_fit(columns, message, write, trained):
    with pytest.raises(InputError, match=message):
        read_rows(write("new.csv", **columns), trained, [])


def test_new_rows_whose_text_has_another_name(write):
    texts = [f"the parcel number {i} came two days late" for i in range(10)]
    encoder = load(write("old.csv", comment=texts, label=["a", "b"] * 5))[0].encoder
    line = "has the column 'body', which the training table lacks; name it 'comment', which is missing here"
    with pytest.raises(InputError, match=line):
        read_rows(write("new.csv", body=texts), encoder, [])


def test_new_files_that_do_not_fit(tmp_path, trained):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"is not a readable table; expected .csv, .tsv or .parquet"):
        read_rows(tmp_path / "a.txt", trained, [])
    path = table_of(tmp_path, {"age": [datetime.date(2024, 1, 1)], "flag": [True], "pet": ["cat"]})
    with pytest.raises(InputError, match=r"the column 'age' holds dates, expected numbers as in training"):
        read_rows(path, trained, [])


def test_new_arrays(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 4))
    np.savez(tmp_path / "a.npz", X=X, y=np.arange(30) % 3)
    encoder = load(tmp_path / "a.npz")[0].encoder
    np.save(tmp_path / "new.npy", X[:5])
    np.savez(tmp_path / "new.npz", X=X[:5])
    for name in ("new.npy", "new.npz"):
        ids, rows, _ = read_rows(tmp_path / name, encoder, [])
        assert ids[4] == "row:4"
        np.testing.assert_array_equal(rows, X[:5].astype(np.float32))
    np.save(tmp_path / "new.npy", X[:, :3])
    with pytest.raises(InputError, match=r"lacks the column '3' of the training table"):
        read_rows(tmp_path / "new.npy", encoder, [])


def test_an_encoder_is_json_and_back():
    columns = (Column("a", "number", 0.1, marked=True), Column("b", "words", words=("x", "ü")))
    encoder = Encoder(columns, ("label",))
    assert Encoder.of_json(encoder.to_json()) == encoder
    for wrong in (
        {},
        {"columns": [{"name": "a"}], "ignored": []},
        {"columns": [{**encoder.to_json()["columns"][0], "kind": "z"}], "ignored": []},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Encoder.of_json(wrong)


def test_rows_and_labels_that_are_objects():
    X = np.random.default_rng(0).normal(size=(20, 3))
    y = np.array(["b", "a"] * 10)
    for pair in ((X, y), (X, y.tolist()), (torch.from_numpy(X), torch.arange(20) % 2)):
        train, test = load(pair)
        assert (len(train), len(test)) == (16, 4)
        rows = [int(name.removeprefix("row:")) for name in train.ids]
        np.testing.assert_array_equal(train.features, X[rows].astype(np.float32))
    with pytest.raises(InputError, match="got 19 labels for 20 examples"):
        load((X, y[1:]))
    for nothing in (None, float("nan")):
        with pytest.raises(InputError, match=r"X, row 1: the label is missing"):
            load((X, np.array(["b", nothing] * 10, dtype=object)))


class Series(list):
    def to_numpy(self):
        return np.array(self)


class Frame(dict):
    """What pandas and polars have in common."""

    shape = (20, 4)
    columns = property(lambda self: list(self))


def test_a_data_frame():
    frame = Frame(
        x=Series([*range(0, 38, 2), 5]),
        pet=Series(["cat", "dog", None, "cat"] * 5),
        when=Series(np.array(["2024-01-01"] * 20, dtype="datetime64[D]")),
        flag=Series([True, False] * 10),
    )
    train, _ = load((frame, np.array(["u", "v"] * 10)))
    assert train.encoder.features == ("x", "pet=cat", "pet=dog", "pet is missing", "flag")
    assert "left out, dates: 'when'" in train.notes


def test_a_data_frame_whose_columns_are_called_by_numbers():
    frame = Frame({0.5: Series(range(0, 40, 2)), ("a", 1): Series([*range(19), 3])})
    train, _ = load((frame, np.array(["u", "v"] * 10)))
    assert train.encoder.features == ("0.5", "('a', 1)")


@pytest.mark.parametrize("kind", ["truth", "number"])
def test_true_false_and_missing_cells_of_a_file(kind, tmp_path):
    """An encoder of kind "number" is one that an earlier version stored."""
    cells = pa.array([True, None, False, True] * 5)
    table = pa.table({"flag": cells, "label": ["u", "v"] * 10})
    pq.write_table(table, tmp_path / "t.parquet")
    train, _ = load(tmp_path / "t.parquet")
    assert train.encoder.columns == (Column("flag", "truth", 1.0, marked=True),)
    pq.write_table(table.drop_columns("label"), tmp_path / "new.parquet")
    found = read_rows(tmp_path / "new.parquet", Encoder((Column("flag", kind, 1.0, marked=True),)), [])
    assert found.features[:4].tolist() == [[1, 0], [1, 1], [0, 0], [1, 0]]


def test_integers_of_128_bits_in_a_frame_of_polars():
    wide = 2**70
    whole = pl.Series([wide * row * row + 1 for row in range(20)], dtype=pl.Int128)
    train, test = load(
        pl.DataFrame({"id": whole, "label": pl.Series([wide, 3] * 10, dtype=pl.Int128), "x": whole})
    )
    assert {*train.ids, *test.ids} == {str(cell) for cell in whole}
    assert train.encoder.features == ("x",)
    assert set(train.class_names) == {str(wide), "3"}


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([datetime.date(2020, 1, 1)] * 8, "dates"),
        ([b"cat"] * 8, "binary"),
        ([[1.0, 2.0]] * 8, "lists of numbers"),
    ],
)
@pytest.mark.parametrize("named", [None, "label"])
def test_a_label_column_that_holds_no_labels_is_named(values, held, named, tmp_path):
    pq.write_table(pa.table({"x": np.arange(8.0), "label": values}), tmp_path / "t.parquet")
    with pytest.raises(
        InputError, match=f"the label column 'label' holds {held}, expected words or integers"
    ):
        load(tmp_path / "t.parquet", label_column=named)


def test_shards_with_other_columns(tmp_path):
    x, labels = np.random.default_rng(0).normal(size=8), [1, 2] * 4
    pq.write_table(pa.table({"x": x, "label": labels}), tmp_path / "train-00000.parquet")
    more = {"x": x, "label": labels, "weight": x, "site": ["a"] * 8}
    pq.write_table(pa.table(more), tmp_path / "train-00001.parquet")
    train, test = load(tmp_path)
    assert len(train) + len(test) == 16
    assert "ignored the columns weight, site, which train-00000.parquet does not have" in train.notes
    words = pa.table({"x": x, "label": ["a", "b"] * 4})
    pq.write_table(words, tmp_path / "train-00001.parquet")
    with pytest.raises(InputError, match="'label' holds int64 in one file and string in another, expected"):
        load(tmp_path)
