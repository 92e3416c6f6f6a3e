"""IDX files: MNIST's layout, generated at small size, and its possible defects."""

import dataclasses
import gzip
import hashlib
import os
import struct
import tracemalloc

import numpy as np
import pytest

from noisylabels.core.checks import InputError
from noisylabels.data import catalog, idx
from noisylabels.data.catalog import DATA, load
from noisylabels.data.reader import Options

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SIZES = (40, 20)


def head(shape, kind=8):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape)


def images_of(part, side=28):
    n = SIZES[part]
    return np.random.default_rng(part).integers(0, 256, (n, side, side), dtype=np.uint8)


def labels_of(part, classes=10):
    return np.random.default_rng(10 + part).permutation(np.arange(SIZES[part]) % classes).astype(np.uint8)


def contents(classes=10, side=28, first=0):
    """The four files' content by name; written by struct, so independent of the reader."""
    found = {}
    for part in (0, 1):
        images, labels = images_of(part, side), labels_of(part, classes) + np.uint8(first)
        found[NAMES[2 * part]] = head(images.shape) + images.tobytes()
        found[NAMES[2 * part + 1]] = head(labels.shape) + labels.tobytes()
    return found


def write(folder, files, suffix="", prefix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        packed = gzip.compress(content, mtime=0) if suffix else content
        (folder / f"{prefix}{name}{suffix}").write_bytes(packed)
    return folder


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def mnist(monkeypatch):
    """Replace the tables of checksums by those of the small files."""
    files = contents().values()
    known = dataclasses.replace(
        idx.MNIST,
        content=tuple(md5(one) for one in files),
        packed=tuple(md5(gzip.compress(one, mtime=0)) for one in files),
    )
    monkeypatch.setattr(idx, "KNOWN", (known, idx.FASHION_MNIST))
    published = dataclasses.replace(DATA["mnist"].published, plan=known.plan, files=known.files)
    row = dataclasses.replace(DATA["mnist"], read=published.read, published=published)
    monkeypatch.setitem(catalog.DATA._rows, "mnist", row)
    return known


def expect(train, test):
    for part, found in enumerate((train, test)):
        assert np.array_equal(found.images.numpy()[:, 0], images_of(part))
        assert found.labels.tolist() == labels_of(part).tolist()
    assert train.class_names == test.class_names == tuple("0123456789")
    assert (train.ids[0], train.ids[-1], test.ids[-1]) == ("train:0", "train:39", "test:19")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("form", ["-", "."], ids=["dash", "dot"])
@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw", "MNIST", "MNIST_data"])
def test_mnist_is_found_by_name_in_every_usual_place(place, form, suffix, mnist, tmp_path):
    files = {name.replace("-idx", f"{form}idx"): content for name, content in contents().items()}
    write(tmp_path / place, files, suffix)
    train, test = load("mnist", tmp_path)
    expect(train, test)
    assert train.name == "mnist"


def test_a_path_to_a_known_set_is_known_by_its_files(mnist, tmp_path):
    for suffix in ("", ".gz"):
        train, test = load(write(tmp_path / f"files{suffix}", contents(), suffix))
        assert train.name == "mnist"
        expect(train, test)


def test_an_unknown_set_is_called_after_its_folder_and_numbers(tmp_path):
    train, test = load(write(tmp_path / "kuzushiji" / "raw", contents(classes=4), ".gz").parent)
    assert train.name == "kuzushiji"
    assert train.class_names == ("0", "1", "2", "3")
    assert np.array_equal(test.images.numpy()[:, 0], images_of(1))
    assert load(write(tmp_path / "other", contents(classes=3)))[0].name == "other"


def test_a_set_like_mnist_but_for_one_pixel_is_not_mnist(mnist, tmp_path):
    files = contents()
    files[NAMES[0]] = files[NAMES[0]][:-1] + bytes([files[NAMES[0]][-1] ^ 1])
    train, _ = load(write(tmp_path / "nearly", files))
    assert train.name == "nearly"
    with pytest.raises(
        InputError, match=r"train-images-idx3-ubyte is not the published file: the md5 of its"
    ):
        load("mnist", tmp_path / "nearly")


def test_classes_that_begin_with_1_and_several_sets_as_in_emnist(tmp_path):
    write(
        tmp_path / "gzip",
        {n.replace("t10k", "test"): c for n, c in contents(5, first=1).items()},
        ".gz",
        "emnist-letters-",
    )
    write(
        tmp_path / "gzip",
        {n.replace("t10k", "test"): c for n, c in contents(3).items()},
        ".gz",
        "emnist-digits-",
    )
    with pytest.raises(
        InputError, match=r"holds 2 sets \('emnist-digits', 'emnist-letters'\); name the file of"
    ):
        load(tmp_path / "gzip")
    train, test = load(tmp_path / "gzip" / "emnist-letters-train-images-idx3-ubyte.gz")
    assert train.name == "emnist-letters"
    assert train.class_names == ("1", "2", "3", "4", "5")
    assert test.labels.tolist() == labels_of(1, 5).tolist()
    assert load(tmp_path / "gzip" / "emnist-digits-test-labels-idx1-ubyte.gz")[0].num_classes == 3


def test_a_class_without_images_keeps_its_number(tmp_path):
    files = contents(classes=3)
    for name in NAMES[1::2]:
        files[name] = files[name][:8] + files[name][8:].replace(b"\1", b"\2")
    train, _ = load(write(tmp_path / "gap", files))
    assert train.class_names == ("0", "1", "2")
    assert "no image at all: class '1'" in train.notes


def test_without_a_test_part_some_is_held_out(tmp_path):
    files = {name: content for name, content in contents(classes=4).items() if name.startswith("train")}
    train, test = load(write(tmp_path / "alone", files), test_fraction=0.2)
    assert (len(train), len(test)) == (32, 8)  # 2 of the 10 of each class
    assert any("held out" in note for note in train.notes)
    every = images_of(0)
    for part in (train, test):
        for image, label, name in zip(part.images, part.labels, part.ids, strict=True):
            number = int(name.removeprefix("train:"))
            assert np.array_equal(image[0].numpy(), every[number])
            assert int(label) == labels_of(0, 4)[number]


def test_images_can_be_resized_and_pieces_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "_PIECE", 7)
    folder = write(tmp_path / "small", contents())
    train, _ = load(folder, image_size=14)
    assert train.images.shape == (40, 1, 14, 14)
    whole, _ = load(folder)
    # halving by a smooth filter keeps the mean of an image but for rounding
    means = whole.images.double().mean((1, 2, 3)), train.images.double().mean((1, 2, 3))
    assert (means[0] - means[1]).abs().max() < 3


def test_content_decides_whether_a_file_is_packed(tmp_path):
    folder = tmp_path / "confused"  # browsers unpack on the way and keep the name
    write(folder, contents())
    for name in NAMES[:2]:
        (folder / name).rename(folder / f"{name}.gz")
    assert np.array_equal(load(folder)[0].images.numpy()[:, 0], images_of(0))


# what can be wrong


@pytest.mark.parametrize("missing", NAMES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_missing_file_is_named(missing, suffix, mnist, tmp_path):
    folder = write(tmp_path / "sets", contents(), suffix)
    (folder / f"{missing}{suffix}").unlink()
    wanted = missing.replace("t10k", "test").rsplit("-", 2)[0]
    for source, root in ((folder, None), ("mnist", folder)):
        with pytest.raises(InputError, match=rf"sets holds .* but no {wanted} file; get it"):
            load(source, root)


def test_mnist_by_name_needs_its_test_part(mnist, tmp_path):
    files = {name: content for name, content in contents().items() if name.startswith("train")}
    with pytest.raises(InputError, match="but no test-images file"):
        load("mnist", write(tmp_path / "sets", files))


def broken(name, change):
    files = contents()
    files[name] = change(files[name])
    return files


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            NAMES[0],
            lambda c: c[:-1],
            r"is incomplete or damaged: .* 40 x 28 x 28 .* 31,376 bytes, but it has 31,375",
        ),
        (NAMES[0], lambda c: c + b"\0", r"train-images\S* is incomplete or damaged: .* but it has more"),
        (NAMES[3], lambda c: c[:-3], r"t10k-labels\S* is incomplete or damaged: .* 28 bytes, but it has 25"),
        (NAMES[0], lambda c: c[:9], r"train-images\S* is incomplete: it ends within its header"),
        (NAMES[0], lambda c: b"", r"train-images\S* is not an IDX file: it is empty"),
        (NAMES[1], lambda c: b"\x89PNG\r\n", r"train-labels\S* is not an IDX file: it begins with b'.x89PNG"),
        (
            NAMES[1],
            lambda c: b"<!DOCTYPE html><html>",
            r"not an IDX file: it begins with b'<!DOC.* \(probably a web page",
        ),
        (NAMES[0], lambda c: head((40, 28, 28), 13) + bytes(125440), r"holds float32, expected unsigned"),
        (NAMES[0], lambda c: head((40, 28, 28), 7) + c[16:], r"not an IDX file"),
        (NAMES[0], lambda c: head((40, 28, 28, 3)) + bytes(94080), r"has 4 dimensions, expected 3"),
        (NAMES[0], lambda c: head((0, 28, 28)), r"is empty: its dimensions are 0 x 28 x 28"),
        (NAMES[2], lambda c: head((2**32 - 1,) * 3) + c[16:], r"t10k-images\S* is incomplete or damaged"),
        (NAMES[1], lambda c: head((39,)) + c[8:47], r"has 40 images and train-labels\S* 39 labels"),
        (NAMES[2], lambda c: head((20, 14, 56)) + c[16:], r"are 28x28, the test images 14x56"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(name, change, message, suffix, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        load(write(tmp_path / "sets", broken(name, change), suffix))
    assert "\n" not in str(caught.value)


def test_swapped_files_are_recognized(tmp_path):
    files = contents()
    files[NAMES[0]], files[NAMES[1]] = files[NAMES[1]], files[NAMES[0]]
    with pytest.raises(
        InputError, match=r"has 1 dimension, as labels have, expected 3 for images; .* swapped"
    ):
        load(write(tmp_path / "sets", files))


@pytest.mark.parametrize("cut", [1, 5, 12, 3000])
def test_a_truncated_gz_is_named(cut, tmp_path):
    folder = write(tmp_path / "sets", contents(), ".gz")
    path = folder / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(
        InputError, match=r"train-images-idx3-ubyte.gz cannot be read \(Compressed file ended"
    ) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_gz_with_a_flipped_byte_is_noticed(tmp_path):
    folder = write(tmp_path / "sets", contents(), ".gz")
    path = folder / f"{NAMES[0]}.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz"):
        load(folder)


def test_a_web_page_saved_as_gz(mnist, tmp_path):
    folder = write(tmp_path / "sets", contents(), ".gz")
    (folder / f"{NAMES[0]}.gz").write_bytes(b"<html><body>404</body></html>")
    for source, root in ((folder, None), ("mnist", folder)):
        with pytest.raises(
            InputError, match=r"train-images-idx3-ubyte\.gz is not an IDX file: .* \(probably a web page"
        ):
            load(source, root)


def test_a_head_that_promises_much_reserves_no_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(head((2**31, 2**10, 2**10)) + bytes(1000)))
    tracemalloc.start()
    with pytest.raises(InputError, match="incomplete or damaged"):
        idx.read_idx(path, 3)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_file_that_goes_on_beyond_its_promise_is_not_read_to_the_end(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(head((10,)) + bytes(300_000_000), 1))
    tracemalloc.start()
    with pytest.raises(InputError, match="it has more"):
        idx.read_idx(path, 1)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_label_out_of_range(tmp_path, monkeypatch):
    files = contents(classes=11)
    known = dataclasses.replace(idx.MNIST, content=tuple(md5(one) for one in files.values()))
    with pytest.raises(InputError, match=r"a label in .* is 10, expected 0 to 9; get mnist again"):
        known.plan(write(tmp_path / "sets", files), Options()).read()


def test_one_class_is_an_error(tmp_path):
    with pytest.raises(InputError, match="single class, '0'"):
        load(write(tmp_path / "sets", contents(classes=1)))


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    folder = write(tmp_path / "sets", contents())

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte cannot be read \(Permission denied\)"):
        idx.read_idx(folder / NAMES[0], 3)


def test_values_come_as_they_lie():
    """A file written byte by byte after the description of the format."""
    assert head((2, 1, 2)).hex(" ") == "00 00 08 03 00 00 00 02 00 00 00 01 00 00 00 02"


def test_bytes_by_hand(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes.fromhex("00000803 00000002 00000001 00000002 00ff 1007"))
    assert idx.read_idx(path, 3).tolist() == [[[0, 255]], [[16, 7]]]


def test_the_published_sums_and_places():
    """As in torchvision's mnist.py; an error here would refuse the published files."""
    assert [file.digest for file in idx.MNIST.files] == [
        "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "md5:9fb629c4189551a2d022fa330f9573f3",
        "md5:ec29112dd5afa0611ce80d1b7f02629c",
    ]
    assert [file.digest for file in idx.FASHION_MNIST.files] == [
        "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "md5:25c81989df183df01b3e8a0aad5dffbe",
        "md5:bef4ecab320f06d8554ea6380940ec79",
        "md5:bb300cfdad3c16e7a12a480ee83cd310",
    ]
    assert [file.size for file in idx.MNIST.files] == [9912422, 28881, 1648877, 4542]
    assert [file.size for file in idx.FASHION_MNIST.files] == [26421880, 29515, 4422102, 5148]
    for known in (idx.MNIST, idx.FASHION_MNIST):
        assert [file.name for file in known.files] == [f"{known.name}/{name}.gz" for name in NAMES]
        for file in known.files:
            assert len(file.urls) == 2
            assert all(url.endswith("/" + file.name.split("/")[1]) for url in file.urls)
        assert len({*known.packed, *known.content}) == 8
