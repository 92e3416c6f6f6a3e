import numpy as np
import pytest
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load

NAMES = [f"pictures/{i}.png" for i in range(12)]


@pytest.fixture
def table(tree):
    """Write twelve images and a table with the given text."""

    def make(text, name="labels.csv", encoding="utf-8"):
        root = tree(*NAMES, root="photos")
        (root / name).write_text(text, encoding=encoding)
        return root / name

    return make


def lines(labels, heading="path,label", comma=","):
    rows = [comma.join((name, str(label))) for name, label in zip(NAMES, labels, strict=False)]
    return "\n".join([heading.replace(",", comma), *rows]) + "\n"


def split(labels, parts):
    return lines([f"{label},{part}" for label, part in zip(labels, parts, strict=True)], "path,label,split")


ANIMALS = ["dog", "cat", "eel"] * 4
PARTS = ["train"] * 6 + ["test"] * 6


def test_names_are_sorted_and_a_part_is_held_out(table):
    path = table(lines(ANIMALS))
    train, test = load(path)
    assert (train.name, train.class_names) == ("photos", ("cat", "dog", "eel"))
    assert test.labels.bincount().tolist() == [1, 1, 1]
    for part in (train, test):
        for image, label, name in zip(part.images, part.labels, part.ids, strict=True):
            assert train.class_names[label] == ANIMALS[NAMES.index(name)]
            assert np.array_equal(image.numpy(), np.array(Image.open(path.parent / name)).transpose(2, 0, 1))
    assert "3 images (0.2 of each class) are held out" in train.notes[0]


@pytest.mark.parametrize(
    "words", [("Train", "TEST"), ("training", "testing"), ("train", "val"), ("train", "valid")]
)
def test_a_column_divides_the_set(words, table):
    train, test = load(table(split(ANIMALS, [words[0]] * 6 + [words[1]] * 6)))
    assert (list(train.ids), list(test.ids)) == (NAMES[:6], NAMES[6:])
    assert train.labels.tolist() == [1, 0, 2, 1, 0, 2]
    assert train.notes == ()


def test_validation_is_left_aside_where_there_is_a_test_part(table):
    train, test = load(table(split(ANIMALS, ["train"] * 6 + ["val"] * 3 + ["test"] * 3)))
    assert list(test.ids) == NAMES[9:]
    assert train.notes == ("ignored 3 validation images",)


@pytest.mark.parametrize(("name", "comma"), [("data.tsv", "\t"), ("labels.csv", ";"), ("data.CSV", ",")])
@pytest.mark.parametrize("heading", ["file,class", "Filename,Target", "image_path,class_name"])
def test_separators_and_headings(name, comma, heading, table):
    assert load(table(lines(ANIMALS, heading, comma), name))[0].class_names == ("cat", "dog", "eel")


def test_a_byte_order_mark_quotes_and_empty_lines_are_understood(table):
    text = lines(ANIMALS).replace("dog", '"dog, small"').replace("\n", "\r\n\r\n")
    assert load(table(text, encoding="utf-8-sig"))[0].class_names == ("cat", "dog, small", "eel")


@pytest.mark.parametrize("form", ["{}", "{}.0", "0{}"])
def test_numbers_are_names_sorted_by_value(form, table):
    labels = [form.format(k) for k in (20, 3, 10) * 4]
    train, _ = load(table(split(labels, PARTS)))
    assert train.class_names == tuple(form.format(k) for k in (3, 10, 20))
    assert train.labels.tolist() == [2, 0, 1, 2, 0, 1]


def test_one_name_among_numbers_makes_all_of_them_names(table):
    train, _ = load(table(split(["10", "9", "x"] * 4, PARTS)))
    assert train.class_names == ("10", "9", "x")


def test_a_folder_with_one_table_is_that_table(table, tree):
    root = table(split(ANIMALS, PARTS), "list.csv").parent
    train, _ = load(root)
    assert train.notes == (f"read list.csv in {root}",)
    assert list(train.ids) == NAMES[:6]


def test_another_table_in_a_folder_of_classes_is_not_in_the_way(tree):
    root = tree("a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (root / "prices.csv").write_text("item,price\nx,1\n")
    assert load(root)[0].class_names == ("a", "b")
    (root / "prices.csv").write_bytes(b"\xff\xfe")
    assert load(root)[0].class_names == ("a", "b")


def test_of_two_columns_the_first_kind_is_used_and_a_note_says_so(table):
    text = lines([f"{label},0" for label in ANIMALS], "path,class,target")
    train, _ = load(table(text))
    assert "label column 'class' used, 'target' ignored" in train.notes


def test_absolute_paths(table, tmp_path):
    path = table(split(ANIMALS, PARTS).replace("pictures", str(tmp_path / "photos" / "pictures")))
    assert len(load(path)[0]) == 6


def test_missing_images(table):
    path = table(split(ANIMALS, PARTS))
    (path.parent / NAMES[3]).unlink()
    (path.parent / NAMES[8]).unlink()
    with pytest.raises(
        InputError, match=r"2 of the 12 images listed in labels.csv are missing, first pictures/3.png"
    ):
        load(path)
    train, test = load(path, bad_images="skip")
    assert (train.labels.tolist(), test.labels.tolist()) == ([1, 0, 2, 0, 2], [1, 0, 1, 0, 2])


def test_unreadable_images(table):
    path = table(split(ANIMALS, PARTS))
    (path.parent / NAMES[3]).write_bytes(b"")
    with pytest.raises(InputError, match=r"1 of 12 images cannot be read: pictures/3.png \(0 bytes\)"):
        load(path)
    assert len(load(path, bad_images="skip")[0]) == 5


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("", "utf-8", r"labels.csv is empty; expected"),
        (
            "name,kind\na.png,cat\n",
            "utf-8",
            r"labels.csv has no path column: its columns are name",
        ),
        ("path,label\na.png,cat\n", "utf-16", r"line 1 of \S*labels.csv is not UTF-8 text"),
    ],
)
def test_the_only_table_of_a_folder_is_named_where_it_cannot_be_read(text, encoding, message, table):
    root = table(text, encoding=encoding).parent
    for image in (root / "pictures").iterdir():
        image.rename(root / image.name)
    (root / "pictures").rmdir()
    with pytest.raises(InputError, match=message):
        load(root)
    (root / "cat").mkdir()  # then it may be of something else
    with pytest.raises(InputError, match=r"12 images but not in class folders"):
        load(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels.csv is empty; expected a heading such as path,label"),
        ("\n\n", r"labels.csv is empty"),
        ("path,label\n", r"names no training images; add lines$"),
        (
            "a.png,cat\nb.png,dog\n",
            r"no path column: its columns are a.png, cat; name one of them path, file, filename",
        ),
        (
            "path,kind\na.png,cat\n",
            r"no label column: its columns are path, kind; name one of them label, class, target",
        ),
        ("path,label\npictures/0.png,cat\npictures/1.png,\n", r"labels.csv, line 3: the label is missing"),
        ("path,label\npictures/0.png,NaN\n", r"line 2: the label is missing"),
        ("path,label\n,cat\n", r"line 2: the cell of 'path' is empty"),
        ("path,label\npictures/0.png\n", r"line 2: 1 cells, but the heading has 2"),
        ("path,label\npictures/0.png,cat,x\n", r"line 2: 3 cells, but the heading has 2"),
        ("path,label\npictures/0.png,cat\npictures/1.png,cat\n", r"labels.csv has a single class, 'cat'"),
        ("path,label\npictures/0.png,0\n", r"has a single class, '0'"),
        (
            "path,label\npictures/0.png,0\npictures/1.png,0.5\n",
            r"line 3: the label is 0.5, expected a class",
        ),
        (
            "path,label,split\npictures/0.png,cat,trian\n",
            r"line 2: the split is 'trian', expected train, test or val",
        ),
        (
            "path,label,split\npictures/0.png,cat,test\n",
            r"names no training images; add lines with split train",
        ),
        ('path,label\n"pictures/0.png,cat\n', r"line 2 of \S*labels.csv is not valid CSV"),
        (
            "path,label\ngone.png,cat\nlost.png,dog\n",
            r"all 2 images listed in labels.csv are missing: no gone.png",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, message, table):
    with pytest.raises(InputError, match=message) as caught:
        load(table(text))
    assert "\n" not in str(caught.value)


def test_another_encoding_is_refused(table):
    with pytest.raises(
        InputError, match=r"line \d+ of \S*labels.csv is not UTF-8 text; save the file as UTF-8"
    ):
        load(table(lines(ANIMALS).replace("eel", "Bär"), encoding="latin-1"))
