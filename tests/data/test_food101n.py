import pytest

from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load

TRAIN = [f"{name}/{i:03x}.jpg" for name in ("ramen", "apple_pie", "waffles") for i in range(5)]


@pytest.fixture
def food(tree, tmp_path):
    """The authors' layout; the test images of Food-101 in the folder `test` of tmp_path, if wanted."""

    def make(test=None):
        root = tree(*(f"images/{name}" for name in TRAIN), root="Food-101N_release")
        meta = root / "meta"
        meta.mkdir(exist_ok=True)
        (meta / "classes.txt").write_text("class_name\napple_pie\nramen\nwaffles\n")
        (meta / "imagelist.tsv").write_text("class_name/key\n" + "\n".join(TRAIN) + "\n")
        verified = (
            "class_name/key\tverification_label\nramen/000.jpg\t1\nramen/001.jpg\t0\nwaffles/000.jpg\t1\n"
        )
        (meta / "verified_train.tsv").write_text(verified)
        if test is not None:
            tree("images/waffles/10.jpg", "images/apple_pie/11.jpg", "images/ramen/9.jpg", root=test)
            (tmp_path / test / "meta").mkdir(exist_ok=True)
            (tmp_path / test / "meta/test.txt").write_text("apple_pie/11\nwaffles/10\n")
            (tmp_path / test / "meta/classes.txt").touch(exist_ok=True)
        return root

    return make


@pytest.mark.parametrize(
    ("test", "prefix"),
    [
        ("food-101", "food-101/images/"),
        ("Food-101N_release/food-101", "food-101/images/"),
        ("Food-101N_release", "images/"),
    ],
)
def test_food_101_tests(test, prefix, food):
    train, tests = load(food(test))
    assert train.class_names == ("apple_pie", "ramen", "waffles")
    assert list(train.ids) == [f"images/{name}" for name in TRAIN]
    assert train.labels.tolist() == [1] * 5 + [0] * 5 + [2] * 5
    assert list(tests.ids) == [f"{prefix}apple_pie/11.jpg", f"{prefix}waffles/10.jpg"]
    assert tests.labels.tolist() == [0, 2]
    assert (
        train.notes[0]
        == "3 labels are human-verified, 1 of them as wrong (verified_train.tsv); this is not used"
    )


def test_without_food_101_a_part_is_held_out(food):
    train, test = load(food())
    assert test.labels.bincount().tolist() == [1, 1, 1]
    assert any("Food-101, whose test part should be used, is missing" in note for note in train.notes)
    assert any("3 images (0.2 of each class) are held out" in note for note in train.notes)


def test_by_name(food, tmp_path):
    food("food-101")
    assert len(load("food101n", root=tmp_path)[1]) == 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "meta/imagelist.tsv",
            "class_name/key\nramen/000.jpg\npizza/1.jpg\n",
            r"imagelist.tsv, line 3: 'pizza/1.jpg', expected <class>/<image> with a class of classes.txt",
        ),
        ("meta/imagelist.tsv", "class_name/key\nramen\n", r"line 2: 'ramen', expected <class>/<image>"),
        (
            "meta/imagelist.tsv",
            "class_name/key\nramen/gone.jpg\nramen/000.jpg\n",
            r"1 of the 2 images listed in imagelist.tsv are missing, first images/ramen/gone.jpg",
        ),
        ("meta/classes.txt", None, r"cannot read .*classes.txt"),
    ],
)
def test_damaged_lists_are_named(file, content, message, food):
    root = food()
    (root / file).unlink()
    if content is not None:
        (root / file).write_text(content)
    with pytest.raises(InputError, match=message):
        load(root)
