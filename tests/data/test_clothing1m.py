import pytest

from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load

NAMES = "T-Shirt\nDown Coat\nSuit\n"
NOISY = {"images/0/1/a.jpg": 0, "images/0/2/b.jpg": 1, "images/3/4/c.jpg": 2, "images/3/4/d.jpg": 2}
CLEAN = {"images/5/6/e.jpg": 1, "images/5/6/f.jpg": 0, "images/7/7/g.jpg": 2, "images/3/4/d.jpg": 0}


def kv(table):
    return "".join(f"{name} {label}\n" for name, label in table.items())


@pytest.fixture
def clothing(tree):
    """The authors' layout: three noisy training images, two clean test images, two unused."""

    def make(lists="", images="images/"):
        used = [*NOISY, *CLEAN]
        root = tree(*{name.replace("images/", images) for name in used}, root="clothing1M")
        folder = root / lists
        folder.mkdir(exist_ok=True)
        (folder / "category_names_eng.txt").write_text(NAMES)
        (folder / "noisy_label_kv.txt").write_text(kv(NOISY))
        (folder / "clean_label_kv.txt").write_text(kv(CLEAN))
        (folder / "noisy_train_key_list.txt").write_text("\n".join(list(NOISY)[2::-1]) + "\n")
        (folder / "clean_test_key_list.txt").write_text("images/5/6/f.jpg\nimages/5/6/e.jpg\n")
        (folder / "clean_train_key_list.txt").write_text("images/3/4/d.jpg\n")
        (folder / "clean_val_key_list.txt").write_text("images/7/7/g.jpg\n")
        return root

    return make


@pytest.mark.parametrize("lists", ["", "annotations"])
@pytest.mark.parametrize("images", ["images/", ""])
def test_noisy_labels_train_and_clean_ones_test(lists, images, clothing):
    train, test = load(clothing(lists, images))
    assert train.class_names == ("T-Shirt", "Down Coat", "Suit")
    assert list(train.ids) == [images + name for name in ("3/4/c.jpg", "0/2/b.jpg", "0/1/a.jpg")]
    assert train.labels.tolist() == [2, 1, 0]
    assert list(test.ids) == [images + name for name in ("5/6/f.jpg", "5/6/e.jpg")]
    assert test.labels.tolist() == [0, 1]
    assert train.notes[:2] == (
        "unused clean labels: 1 (clean_train_key_list.txt)",
        "unused clean labels: 1 (clean_val_key_list.txt)",
    )


def test_by_name(clothing, tmp_path):
    clothing()
    assert len(load("clothing1m", root=tmp_path)[0]) == 3


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("noisy_label_kv.txt", None, r"cannot read .*noisy_label_kv.txt"),
        (
            "noisy_label_kv.txt",
            "images/0/1/a.jpg 0\n",
            r"noisy_train_key_list.txt, line 1: images/3/4/c.jpg has no label in noisy_label_kv.txt",
        ),
        (
            "clean_label_kv.txt",
            "images/5/6/e.jpg 3\n",
            r"clean_label_kv.txt, line 1: the label is 3, expected 0 to 2",
        ),
        ("clean_test_key_list.txt", "", r"clean_test_key_list.txt is empty"),
        ("category_names_eng.txt", "Suit\n", r"the label is 1, expected 0 to 0"),
        ("category_names_eng.txt", "Suit\nSuit\nHat\n", r"class name 'Suit' occurs twice"),
    ],
)
def test_damaged_lists_are_named(file, content, message, clothing):
    root = clothing()
    (root / file).unlink()
    if content is not None:
        (root / file).write_text(content)
    with pytest.raises(InputError, match=message):
        load(root)


def test_missing_images(clothing):
    root = clothing()
    (root / "images/0/2/b.jpg").unlink()
    with pytest.raises(
        InputError, match=r"1 of the 5 images listed in noisy_train_key_list.txt and .*0/2/b.jpg"
    ):
        load(root)
    assert load(root, bad_images="skip")[0].labels.tolist() == [2, 0]
