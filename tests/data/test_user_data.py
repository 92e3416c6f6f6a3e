import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.core.spelling import padding_notes, spelling_notes
from noisylabels.data.catalog import load


def by_pillow(folder, ids):
    """Decode one by one, straight with Pillow."""
    return torch.stack([torch.from_numpy(np.array(Image.open(folder / name))).movedim(2, 0) for name in ids])


def ten(kind, n=10):
    return [f"{kind}/{i}.png" for i in range(n)]


def test_both_parts_are_read(tree):
    root = tree(*ten("train/cat", 3), *ten("train/dog", 2), *ten("test/dog", 2), "test/cat/x.png")
    train, test = load(root)
    assert (train.name, train.class_names) == ("photos", ("cat", "dog"))
    assert list(train.ids) == [*ten("train/cat", 3), *ten("train/dog", 2)]
    assert list(test.ids) == ["test/cat/x.png", *ten("test/dog", 2)]
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert test.labels.tolist() == [0, 1, 1]
    for part in (train, test):
        assert torch.equal(part.images, by_pillow(root, part.ids))
    assert train.notes == test.notes == ()


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation", "Val"])
def test_the_test_part_has_several_names(name, tree):
    root = tree(*ten("train/cat", 2), *ten("train/dog", 2), *ten(f"{name}/cat", 1), *ten(f"{name}/dog", 1))
    assert list(load(root)[1].ids) == [f"{name}/cat/0.png", f"{name}/dog/0.png"]


def test_test_comes_before_validation_and_the_rest_is_named(tree):
    root = tree(
        *ten("train/a", 2), *ten("train/b", 2), "test/a/1.png", "test/b/1.png", "val/a/1.png", "raw/c/1.png"
    )
    train, test = load(root)
    assert [name.split("/")[0] for name in test.ids] == ["test", "test"]
    assert train.notes == ("ignored the folders raw (1 image), val (1 image) beside train",)


def test_without_a_test_part_some_of_each_class_is_held_out(tree):
    root = tree(*ten("cat"), *ten("dog", 20))
    train, test = load(root)
    assert test.labels.bincount().tolist() == [2, 4]
    assert train.labels.bincount().tolist() == [8, 16]
    assert set(train.ids) | set(test.ids) == {*ten("cat"), *ten("dog", 20)}
    assert "no test part found: 6 images (0.2 of each class) are held out" in train.notes[0]
    assert "may be as noisy as the others" in train.notes[0]
    assert load(root, test_fraction=0.5)[1].labels.bincount().tolist() == [5, 10]
    assert torch.equal(test.images, by_pillow(root, test.ids))


def test_train_without_test_is_divided_too(tree):
    train, test = load(tree(*ten("train/cat"), *ten("train/dog")))
    assert len(test) == 4
    assert train.ids[0].startswith("train/cat/")


def test_a_corrected_image_stays_in_its_part(tree):
    root = tree(*[f"cat/c{i}.png" for i in range(30)], *[f"dog/d{i}.png" for i in range(30)])
    before = load(root)
    moved = before[0].ids[0]
    shutil.move(root / moved, root / "dog")
    after = load(root)
    assert moved.replace("cat", "dog") in after[0].ids
    assert len(set(before[1].ids) ^ set(after[1].ids)) <= 2


def test_a_class_may_be_called_train(tree):
    root = tree(*ten("train", 3), *ten("plane", 3))
    assert load(root)[0].class_names == ("plane", "train")


def test_what_is_no_image_is_passed_over(tree):
    root = tree("cat/1.png", "cat/2.PNG", "cat/more/deep/3.jpg", "dog/1.png", "dog/2.png", ".git/1.png")
    for name in ("cat/Thumbs.db", "cat/.DS_Store", "cat/notes.txt", "cat/._1.png", "labels.csv"):
        (root / name).write_bytes(b"no image")
    (root / "__MACOSX").mkdir()
    (root / "cat" / ".cache").mkdir()
    shutil.copy(root / "cat" / "1.png", root / "cat" / ".cache" / "1.png")
    train, test = load(root)
    assert sorted([*train.ids, *test.ids]) == [
        "cat/1.png", "cat/2.PNG", "cat/more/deep/3.jpg", "dog/1.png", "dog/2.png",
    ]  # fmt: skip


def test_links_are_followed_but_not_in_circles(tree):
    root = tree(*ten("cat", 3), *ten("dog", 3))
    elsewhere = tree(*ten("x", 2), root="elsewhere")
    os.symlink(root, root / "cat" / "back")
    os.symlink(elsewhere / "x", root / "dog" / "linked")
    train, test = load(root)
    ids = {*train.ids, *test.ids}
    assert "dog/linked/1.png" in ids
    assert not any("back/cat/back" in name for name in ids)


def test_empty_and_lopsided_classes_are_kept_and_named(tree):
    root = tree(*ten("train/cat", 2), *ten("train/dog", 2), "train/eel/", "test/fox/1.png", "test/dog/1.png")
    train, test = load(root)
    assert train.class_names == test.class_names == ("cat", "dog", "eel", "fox")
    assert test.labels.tolist() == [1, 3]
    assert train.notes == (
        "no image at all: class 'eel'",
        "no training image, so it cannot be learned: class 'fox'",
        "no test image, so its accuracy stays unknown: class 'cat'",
    )


@pytest.mark.parametrize(("empty", "more"), [(6, "1 more class"), (9, "4 more classes")])
def test_many_empty_classes_are_counted(tree, empty, more):
    root = tree(*ten("cat", 2), *ten("dog", 2), *[f"none{i}/" for i in range(empty)])
    notes = [note for note in load(root)[0].notes if "no image at all" in note]
    assert len(notes) == 6
    assert notes[-1] == f"no image at all: {more}"


@pytest.mark.parametrize(("count", "more"), [(5, None), (6, "1 more class"), (8, "3 more classes")])
def test_labels_that_differ_in_spaces_are_counted(count, more):
    notes = padding_notes([cell for k in range(count) for cell in (f"c{k}", f"c{k} ")])
    assert len(notes) == min(count, 6)
    assert (more is None) or notes[-1] == f"spaces around a label are ignored: {more}"


@pytest.mark.parametrize(("count", "more"), [(6, "1 more group"), (8, "3 more groups")])
def test_classes_that_look_like_one_are_counted(count, more):
    names = [cell for k in range(count) for cell in (f"c{k}", f"C{k}")]
    notes = spelling_notes(np.arange(len(names)), names)
    assert notes[5].endswith(f": {more}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "photos is a folder of no known format; looked for CIFAR-10 .*; images, one folder per class; "),
        (["1.png", "2.png"], "holds 2 images but not in class folders; expected ROOT/<class>"),
        (["cat/", "dog/"], "holds no images in class folders"),
        (["cat/1.png", "cat/2.png"], "has a single class, 'cat'"),
        (["train/cat/1.png", "test/cat/2.png"], "has a single class, 'cat'"),
        (["cat/1.png", "dog/1.png"], "no class has two"),
        (["train/cat/", "train/dog/", "test/cat/1.png"], "no training images are left"),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/"], "no test images are left"),
    ],
)
def test_a_folder_of_another_shape_is_explained(names, message, tree):
    with pytest.raises(InputError, match=message) as caught:
        load(tree(*names))
    assert "\n" not in str(caught.value)


def test_a_file_is_no_folder(tree):
    with pytest.raises(
        InputError, match=r"1\.png is a file of no known format; looked for .* such as ROOT/<class>"
    ):
        load(tree("cat/1.png") / "cat" / "1.png")


def test_bad_images_fail_or_are_left_out(tree):
    root = tree(*ten("train/cat", 3), *ten("train/dog", 3), *ten("test/cat", 2), *ten("test/dog", 2))
    (root / "train/cat/1.png").write_bytes(b"")
    (root / "test/cat/0.png").write_bytes((root / "test/cat/0.png").read_bytes()[:99])
    with pytest.raises(
        InputError, match=r"2 of 10 images cannot be read: train/cat/1.png \(0 bytes\), test/cat"
    ):
        load(root)
    train, test = load(root, bad_images="skip")
    assert (len(train), len(test)) == (5, 3)
    assert train.notes[0].startswith("left out 2 of 10 images that cannot be read: train/cat/1.png")
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert test.labels.tolist() == [0, 1, 1]
    for part in (train, test):
        assert torch.equal(part.images, by_pillow(root, part.ids))


def test_a_dangling_link_is_a_bad_image(tree):
    root = tree(*ten("cat", 3), *ten("dog", 3))
    os.symlink(root / "gone.png", root / "cat" / "link.png")
    with pytest.raises(InputError, match=r"cat/link.png \(No such file or directory\)"):
        load(root)


def test_sizes_that_differ_are_brought_to_one(tree):
    tree(*ten("cat", 3), height=20, width=30)
    train, _ = load(tree(*ten("dog", 3)))
    assert train.images.shape[1:] == (3, 64, 64)
    assert any("2 sizes from 12x12 to 30x20" in note for note in train.notes)
    train, test = load(tree(), image_size=16)
    assert train.images.shape[1:] == test.images.shape[1:] == (3, 16, 16)


def test_gray_folders_give_one_channel(tree):
    train, test = load(tree(*ten("cat", 3), *ten("dog", 3), gray=True))
    assert train.images.shape[1:] == test.images.shape[1:] == (1, 12, 12)


def test_the_name_is_the_folder_s_even_for_a_dot(tree, monkeypatch):
    monkeypatch.chdir(tree(*ten("cat", 3), *ten("dog", 3)))
    assert load(".")[0].name == "photos"


def test_a_folder_that_cannot_be_listed_is_an_error(tree, monkeypatch):
    root = tree(*ten("cat", 3), *ten("dog", 3))
    real = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot list the folder .*dog \(Permission denied\)"):
        load(root)
