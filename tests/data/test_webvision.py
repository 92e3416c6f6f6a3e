import numpy as np
import pytest
import torch
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load
from noisylabels.data.reader import Options
from noisylabels.data.webvision import class_names, plan_mini

SYNSETS = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn01443537\n"


@pytest.fixture
def webvision(tree):
    """The authors' layout with four classes, seven training and four validation images."""

    def make(val="val_images_256", root="webvision"):
        train = [(f"google/q000{k}/{i}.jpg", k) for k in range(4) for i in range(2)][:7]
        tests = [(f"val00000{k}.jpg", k) for k in (3, 1, 0, 2)]
        folder = tree(*(name for name, _ in train), *(f"{val}/{name}" for name, _ in tests), root=root)
        info = folder / "info"
        info.mkdir()
        (info / "train_filelist_google.txt").write_text("".join(f"{name} {k}\n" for name, k in train))
        (info / "val_filelist.txt").write_text("".join(f"{name} {k}\n" for name, k in tests))
        (info / "synsets.txt").write_text(SYNSETS)
        return folder

    return make


@pytest.mark.parametrize("val", ["val_images_256", "val_images"])
def test_the_lists_say_what_is_read(val, webvision):
    root = webvision(val)
    train, test = load(root)
    assert train.class_names == ("tench", "crane (n02012849)", "crane (n03126707)", "n01443537")
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert test.labels.tolist() == [3, 1, 0, 2]
    assert train.ids[2] == "google/q0001/0.jpg"
    assert list(test.ids) == [f"{val}/val00000{k}.jpg" for k in (3, 1, 0, 2)]
    for part in (train, test):
        decoded = [np.array(Image.open(root / name)) for name in part.ids]
        assert np.array_equal(part.images.numpy(), np.stack(decoded).transpose(0, 3, 1, 2))
    assert train.notes == ()


def test_by_name_it_is_looked_for_below_the_root(webvision, tmp_path, monkeypatch):
    webvision()
    assert len(load("webvision", root=tmp_path)[0]) == 7
    monkeypatch.setenv("NOISYLABELS_DATA", str(tmp_path / "webvision"))
    assert len(load("webvision")[0]) == 7


def test_mini_is_the_first_classes(webvision, tmp_path, monkeypatch):
    root = webvision()
    monkeypatch.setattr("noisylabels.data.webvision.MINI_CLASSES", 2)
    train, test = load("webvision-mini", root=root)
    assert train.class_names == ("tench", "crane (n02012849)")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 1, 1], [1, 0])
    assert train.name == "webvision-2"


def test_mini_has_50_classes(webvision, tmp_path):
    root = webvision()
    synsets = "".join(f"n{k:08} thing {k}\n" for k in range(60))
    (root / "info/synsets.txt").write_text(synsets)
    more = (root / "info/train_filelist_google.txt").read_text() + "google/q0000/0.jpg 50\n"
    (root / "info/train_filelist_google.txt").write_text(more + "google/q0000/1.jpg 49\n")
    plan = plan_mini(root, Options())
    assert len(plan.options["classes"]) == 50
    assert plan.read().labels[:8].tolist() == [0, 0, 1, 1, 2, 2, 3, 49]


def test_the_flickr_list_is_mentioned(webvision):
    root = webvision()
    (root / "info/train_filelist_flickr.txt").write_text("flickr/q0000/1.jpg 0\n")
    assert "train_filelist_flickr.txt is not" in load(root)[0].notes[0]


def test_missing_images_are_counted_and_left_out_on_request(webvision):
    root = webvision()
    for name in ("google/q0001/0.jpg", "google/q0002/1.jpg", "val_images_256/val000000.jpg"):
        (root / name).unlink()
    with pytest.raises(
        InputError,
        match=r"^3 of the 11 images listed in info/train_filelist_google\.txt and "
        r"info/val_filelist\.txt are missing, first google/q0001/0\.jpg in .*skip",
    ):
        load(root)
    train, test = load(root, bad_images="skip")
    assert train.labels.tolist() == [0, 0, 1, 2, 3]
    assert test.labels.tolist() == [3, 1, 2]
    assert train.notes[0].startswith("left out: 3 of the 11 images")


def test_without_any_image_the_folder_is_named(webvision):
    root = webvision()
    for name in [*root.glob("google/*/*"), *root.glob("val_images_256/*")]:
        name.unlink()
    with pytest.raises(InputError, match=r"all 11 images .* are missing: no google/q0000/0.jpg in"):
        load(root, bad_images="skip")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("val_filelist.txt", None, r"cannot read .*val_filelist.txt \(No such file"),
        ("synsets.txt", None, r"cannot read .*synsets.txt"),
        ("synsets.txt", "\n\n", r"synsets.txt is empty"),
        (
            "val_filelist.txt",
            "a.jpg 0\nb.jpg\n",
            r"val_filelist.txt, line 2: 'b.jpg', expected an image and a class number",
        ),
        (
            "val_filelist.txt",
            "a.jpg 0\nb.jpg x\n",
            r"line 2: 'b.jpg x', expected an image and a class number",
        ),
        ("val_filelist.txt", "a.jpg " + "9" * 5000, r"line 1: 'a.jpg 9{74}', expected an image"),
        ("val_filelist.txt", "a.jpg -1\n", r"line 1: 'a.jpg -1', expected an image"),
        (
            "val_filelist.txt",
            "a.jpg 0\n\nb.jpg 4\n",
            r"line 3: the label is 4, expected 0 to 3 for 4 classes",
        ),
        ("val_filelist.txt", b"\xff\xfe\x00", r"val_filelist.txt is not a text file in UTF-8"),
    ],
)
def test_damaged_lists_are_named(file, content, message, webvision):
    path = webvision() / "info" / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        load(path.parent.parent)
    assert "\n" not in str(caught.value)


def test_by_name_without_a_folder_or_in_the_wrong_one(tmp_path):
    with pytest.raises(InputError, match=r"webvision-mini needs a folder: get https://.*NOISYLABELS_DATA"):
        load("webvision-mini")
    with pytest.raises(InputError, match=r"no webvision in .* or, within it, webvision/, .*; get https://"):
        load("webvision", root=tmp_path)


def test_a_second_start_comes_from_the_cache_and_a_changed_label_does_not(webvision, cache):
    root = webvision()
    load(root)
    entries = set((cache / "data").iterdir())
    assert torch.equal(load(root)[0].labels, torch.tensor([0, 0, 1, 1, 2, 2, 3]))
    assert set((cache / "data").iterdir()) == entries
    path = root / "info/train_filelist_google.txt"
    path.write_text(path.read_text().replace("google/q0000/0.jpg 0", "google/q0000/0.jpg 3"))
    assert load(root)[0].labels.tolist() == [3, 0, 1, 1, 2, 2, 3]


def test_every_class_has_a_name_of_its_own(tmp_path):
    path = tmp_path / "synsets.txt"
    path.write_text("n1 maillot\nn2 maillot, tank suit\nn3 bikini, two-piece\n")
    assert class_names(path) == ("maillot (n1)", "maillot (n2)", "bikini")
