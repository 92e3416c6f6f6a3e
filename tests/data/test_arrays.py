import zipfile

import numpy as np
import pytest

from noisylabels.core.checks import InputError
from noisylabels.data import arrays
from noisylabels.data.arrays import plan
from noisylabels.data.cache import load_uncached
from noisylabels.data.catalog import load
from noisylabels.data.reader import Options

N, M = 30, 10


def images(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def labels(n):
    return np.arange(n) % 3


TRAIN, TEST = images(N, 8, 9, 3), images(M, 8, 9, 3, seed=1)
NCHW = (TRAIN.transpose(0, 3, 1, 2), TEST.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train_x", "train_y", "val_x", "val_y"),
        ("images", "labels", "test_images", "test_labels"),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_the_usual_names(names, kind, tmp_path):
    values = dict(zip(names, (TRAIN, labels(N), TEST, labels(M)), strict=True))
    path = tmp_path / "things"
    if kind == "npz":
        path = tmp_path / "things.npz"
        np.savez_compressed(path, **values)
    else:
        path.mkdir()
        for name, value in values.items():
            np.save(path / f"{name}.npy", value)
    train, test = load(path)
    assert (train.name, train.class_names) == ("things", ("0", "1", "2"))
    assert np.array_equal(train.images.numpy(), NCHW[0])
    assert np.array_equal(test.images.numpy(), NCHW[1])
    assert train.labels.tolist() == labels(N).tolist()
    assert test.labels.tolist() == labels(M).tolist()
    assert train.ids[3] == "train:3"
    assert train.notes == ()


def test_medmnist_has_three_parts_and_a_column_of_labels(tmp_path):
    path = tmp_path / "pathmnist.npz"
    parts = {"train": images(N, 8, 8), "val": images(M, 8, 8, seed=1), "test": images(M, 8, 8, seed=2)}
    np.savez(
        path,
        **{f"{name}_images": part for name, part in parts.items()},
        **{f"{name}_labels": labels(len(part))[:, None].astype(np.uint8) for name, part in parts.items()},
    )
    train, test = load(path)
    assert np.array_equal(train.images.numpy(), parts["train"][:, None])
    assert np.array_equal(test.images.numpy(), parts["test"][:, None])
    assert train.notes == ("ignored the parts val of pathmnist.npz",)


def test_one_set_gives_a_part_away(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_CHUNK_BYTES", 8 * 9 * 3 * 4)  # four images at a time
    np.savez(tmp_path / "a.npz", images=TRAIN, labels=labels(N))
    train, test = load(tmp_path / "a.npz")
    assert test.labels.bincount().tolist() == [2, 2, 2]
    assert "6 images (0.2 of each class) are held out" in train.notes[0]
    for part in (train, test):
        rows = [int(name.removeprefix("train:")) for name in part.ids]
        assert np.array_equal(part.images.numpy(), NCHW[0][rows])
        assert part.labels.tolist() == labels(N)[rows].tolist()


@pytest.mark.parametrize("suffix", [".npy", ".NPY"])
def test_cifar_10_c_has_one_file_of_labels(tmp_path, suffix):
    np.save(tmp_path / "fog.npy", TRAIN)
    np.save(tmp_path / "labels.npy", labels(N))
    for name in ("fog", "labels"):
        (tmp_path / f"{name}.npy").rename(tmp_path / f"{name}{suffix}")
    assert sum(map(len, load(tmp_path))) == N  # only one array beside the labels
    np.save(tmp_path / "snow.npy", TRAIN[::-1])
    with pytest.raises(InputError, match=r"holds fog.npy, snow.npy beside labels.npy; name one of them"):
        load(tmp_path)
    train, _ = load(tmp_path / "snow.npy")
    assert train.name == "snow"
    row = int(train.ids[0].removeprefix("train:"))
    assert np.array_equal(train.images[0].numpy(), NCHW[0][N - 1 - row])


def test_a_pair_is_meant_by_its_images(tmp_path):
    np.save(tmp_path / "images.npy", TRAIN)
    np.save(tmp_path / "labels.npy", labels(N))
    train, test = load(tmp_path / "images.npy")
    assert train.name == tmp_path.name
    assert len(train) + len(test) == N


def test_a_folder_with_one_npz_is_that_file(tmp_path):
    np.savez(tmp_path / "data.npz", x=TRAIN, y=labels(N))
    train, _ = load(tmp_path)
    assert train.notes[0] == f"read data.npz in {tmp_path}"
    assert train.name == tmp_path.name


def test_class_names_may_be_there(tmp_path):
    np.savez(tmp_path / "a.npz", x=TRAIN, y=labels(N), class_names=np.array(["cat", "dog", "eel", "fox"]))
    train, _ = load(tmp_path / "a.npz")
    assert train.class_names == ("cat", "dog", "eel", "fox")
    assert "no image at all: class 'fox'" in train.notes


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 8, 9), (1, 8, 9)),
        ((4, 8, 9, 1), (1, 8, 9)),
        ((4, 1, 8, 9), (1, 8, 9)),
        ((4, 8, 9, 3), (3, 8, 9)),
        ((4, 3, 8, 9), (3, 8, 9)),
    ],
)
def test_the_channels_are_found(shape, expected):
    values = images(*shape)
    found = arrays.channels_first(values, "x")
    assert found.shape == (4, *expected)
    if shape[-1] == 3:
        assert found[2, 1, 5, 6] == values[2, 5, 6, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            images(4, 3, 8, 3),
            r"shape \(4, 3, 8, 3\): both the second and the last axis could be the channels",
        ),
        (images(4, 1, 8, 1), r"both the second and the last axis"),
        (images(4, 8, 8, 4), r"shape \(4, 8, 8, 4\), expected \(N, H, W\).* with C 1 or 3"),
        (images(4, 6, 1, 8, 8), r"shape \(4, 6, 1, 8, 8\), expected"),
        (images(0, 8, 8), r"a.npz is empty: its shape is \(0, 8, 8\)"),
        (
            np.full((4, 8, 8), -0.5, np.float32),
            r"x of .*a.npz holds float32 values from -0.5 to -0.5, expected 0 to 1 or 0 to 255",
        ),
        (np.full((4, 8, 8), np.nan), r"a.npz has 256 of 256 values that are NaN, expected numbers; replace"),
        (np.where(np.eye(8) > 0, np.nan, np.ones((4, 8, 8))), r"has 32 of 256 values that are NaN"),
        (np.full((4, 8, 8), 256.0), r"from 256 to 256, expected 0 to 1 or 0 to 255"),
        (np.full((4, 8, 8), 65536), r"from 65536 to 65536, expected 0 to 255 or 0 to 65535"),
        (np.zeros((4, 8, 8), "M8[s]"), r"images are datetime64\[s\], expected numbers"),
    ],
)
def test_other_images_are_refused(values, message, tmp_path):
    np.savez(tmp_path / "a.npz", x=values, y=np.arange(len(values)) % 2)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (labels(N - 1), r"has 29 labels for 30 images"),
        (np.eye(3)[labels(N)], r"shape \(30, 3\), expected one class number per image, .*argmax"),
        (np.where(labels(N) == 2, np.nan, labels(N)), r"a.npz, row 2: the label is missing"),
        (labels(N) + 0.5, r"row 0: the label is 0.5"),
        (np.array(["cat", ""] * 15), r"row 1: the label is missing"),
        (np.ones(N, bool), r"a single class, 'True'"),
        (np.zeros(N, int), r"a single class, '0'"),
        (np.array([object()] * N), r"holds Python objects, which are not read"),
    ],
)
def test_other_labels_are_refused(values, message, tmp_path):
    np.savez(tmp_path / "a.npz", x=TRAIN, y=values)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("pictures", "answers"), r"a.npz holds pictures, answers; expected an .npz file"),
        (("x_test", "y_test"), r"has the parts test but no training part, such as x_train"),
    ],
)
def test_other_names_are_refused(names, message, tmp_path):
    np.savez(tmp_path / "a.npz", **dict(zip(names, (TRAIN, labels(N)), strict=True)))
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a.npz")


def test_files_without_labels_are_refused(tmp_path):
    np.save(tmp_path / "fog.npy", TRAIN)
    with pytest.raises(InputError, match=r"fog.npy has no labels.npy beside it"):
        load(tmp_path / "fog.npy")


def test_class_names_that_are_none_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=TRAIN, y=labels(N), class_names=np.arange(3))
    with pytest.raises(
        InputError, match=r"class_names of .*a.npz is int64 of shape \(3,\), expected a list of names"
    ):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=TRAIN, y=labels(N), class_names=np.array(["cat", "dog"]))
    with pytest.raises(InputError, match=r"row 2: the label is 2, expected 0 to 1"):
        load(tmp_path / "b.npz")


@pytest.mark.parametrize("cut", [0, 100, -50])
@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_truncated_files_are_named(cut, kind, tmp_path):
    np.savez(tmp_path / "images.npz", x=TRAIN, y=labels(N))
    np.save(tmp_path / "images.npy", TRAIN)
    np.save(tmp_path / "labels.npy", labels(N))
    path = tmp_path / f"images.{kind}"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=rf"images.{kind} cannot be read as a NumPy file") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_damage_within_an_archive_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=TRAIN, y=labels(N))
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x of .*a.npz cannot be read as a NumPy file"):
        load(path)


def test_sizes_of_the_parts_may_differ_if_one_is_asked_for(tmp_path):
    np.savez(
        tmp_path / "a.npz", x_train=TRAIN, y_train=labels(N), x_test=images(M, 4, 4, 3), y_test=labels(M)
    )
    with pytest.raises(InputError, match=r"images of 3x8x9 and 3x4x4 .* in one set; choose an image_size"):
        load(tmp_path / "a.npz")
    train, test = load(tmp_path / "a.npz", image_size=6)
    assert tuple(train.images.shape) == (N, 3, 6, 6)
    assert tuple(test.images.shape) == (M, 3, 6, 6)


def test_gray_and_color_do_not_go_together(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=TRAIN, y_train=labels(N), x_test=images(M, 8, 9), y_test=labels(M))
    with pytest.raises(InputError, match=r"images of 3x8x9 and 1x8x9"):
        load(tmp_path / "a.npz", image_size=6)


def test_an_archive_under_the_name_of_an_array_is_none(tmp_path):
    np.savez(tmp_path / "a.npz", x=TRAIN)
    (tmp_path / "a.npz").rename(tmp_path / "images.npy")
    np.save(tmp_path / "labels.npy", labels(N))
    with pytest.raises(InputError, match=r"images.npy cannot be read as a NumPy file"):
        load(tmp_path)


def test_another_file_in_an_archive_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x", "pixels")
        archive.writestr("y", "labels")
    with pytest.raises(InputError, match=r"x of .*a.npz cannot be read as a NumPy file \(not an array"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_a_changed_byte_is_one_line_or_another_value(kind, tmp_path):
    """Python's own parser reads the heads, and fails in many ways."""
    np.savez(tmp_path / "images.npz", x=TRAIN[:4, :4, :4], y=labels(4))
    np.save(tmp_path / "images.npy", TRAIN[:4, :4, :4])
    np.save(tmp_path / "labels.npy", labels(4))
    path = tmp_path / f"images.{kind}"
    whole = path.read_bytes()
    where = range(128) if kind == "npy" else range(0, len(whole), 3)
    errors = []
    for at in where:
        for byte in b"\0(\xff":
            changed = bytearray(whole)
            changed[at] = byte
            path.write_bytes(changed)
            try:
                load_uncached(plan(path, Options()))
            except InputError as error:
                errors.append(str(error))
    assert len(errors) > 100
    assert not any("\n" in error for error in errors)


def rows(n=20):
    return np.random.default_rng(0).normal(size=(n, 2)).astype("f4")


PETS = np.array(["cat", "dog"])[np.arange(20) % 2]
NUMBERS = np.arange(20) % 2


@pytest.mark.parametrize("kind", ["npz", "npy", "mapping"])
def test_arrays_that_are_not_used_are_named(kind, tmp_path):
    values = {"X": rows(), "labels": PETS, "y": NUMBERS, "w": np.ones(20), "X_test": rows(5)}
    train, test = load(stored(values, kind, tmp_path))
    assert train.class_names == ("cat", "dog")
    (note,) = [note for note in train.notes if note.startswith("ignored")]
    listed = note.removeprefix("ignored the arrays ").partition(" of ")[0]
    assert sorted(listed.split(", ")) == ["X_test", "w", "y"]
    assert note.endswith("; the labels are those of labels")
    assert len(train) + len(test) == 20


def stored(values, kind, folder):
    if kind == "mapping":
        return values
    if kind == "npz":
        np.savez(folder / "t.npz", **values)
        return folder / "t.npz"
    for name, value in values.items():
        np.save(folder / f"{name}.npy", value)
    return folder


@pytest.mark.parametrize("kind", ["npz", "npy", "mapping"])
@pytest.mark.parametrize("name", ["target_names", "label_names", "classes"])
def test_names_of_classes_are_used_if_they_fit(name, kind, tmp_path):
    values = {"X": rows(), "y": NUMBERS, name: np.array(["cat", "dog"])}
    train, _ = load(stored(values, kind, tmp_path))
    assert train.class_names == ("cat", "dog")
    assert not [note for note in train.notes if note.startswith("ignored")]


def test_names_that_do_not_fit_are_named(tmp_path):
    np.savez(tmp_path / "t.npz", X=rows(), y=NUMBERS + 5, classes=np.array(["cat", "dog"]))
    train, _ = load(tmp_path / "t.npz")
    assert train.class_names == ("5", "6")
    assert "ignored the array classes of t.npz" in train.notes


@pytest.mark.parametrize("name", ["id", "ids"])
@pytest.mark.parametrize("shape", [(2,), (8, 8)])
@pytest.mark.parametrize("kind", ["npz", "mapping"])
def test_ids_are_used(kind, shape, name, tmp_path):
    X = rows() if len(shape) == 1 else images(20, *shape)
    values = {"X": X, "y": NUMBERS, name: np.array([f"p{row}" for row in range(20)])}
    train, test = load(stored(values, kind, tmp_path))
    assert {*train.ids, *test.ids} == {f"p{row}" for row in range(20)}
    assert train.labels.tolist() == [int(name[1:]) % 2 for name in train.ids]
    assert not [note for note in train.notes if note.startswith("ignored")]


def test_each_part_has_its_ids(tmp_path):
    np.savez(
        tmp_path / "t.npz",
        X_train=rows(),
        y_train=NUMBERS,
        id_train=np.arange(20),
        X_test=rows(4),
        y_test=NUMBERS[:4],
        id_test=np.arange(20, 24),
    )
    train, test = load(tmp_path / "t.npz")
    assert [*train.ids, *test.ids] == [str(row) for row in range(24)]
