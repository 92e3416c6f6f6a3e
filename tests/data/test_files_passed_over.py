"""Files that are not read are counted; what Pillow opens is read; what may block is not opened."""

import os
import shutil
import socket
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.data import image_formats
from noisylabels.data.catalog import load
from noisylabels.data.decode import read_images
from noisylabels.data.file_sources import PassedOver
from noisylabels.data.image_decoding import read_header, read_pixels
from noisylabels.data.image_formats import openers, suffixes

LOSSLESS = ("apng", "bmp", "dib", "icb", "j2k", "jp2", "pcx", "png", "pnm", "ppm", "qoi", "rgb", "sgi", "tga")
LOSSLESS += ("tif", "tiff", "vda", "vst")
LOSSY = ("avif", "gif", "jfif", "jpe", "jpeg", "jpg", "webp")


def ten(kind, n=10):
    return [f"{kind}/{i}.png" for i in range(n)]


def gradient():
    """A smooth picture, which lossy formats keep nearly."""
    rows = np.linspace(40, 200, 16).astype(np.uint8)
    return np.stack(
        [np.tile(rows, (16, 1)), np.tile(rows[:, None], (1, 16)), np.full((16, 16), 120, np.uint8)], 2
    )


@pytest.mark.parametrize("suffix", LOSSLESS + LOSSY)
def test_every_ending_that_pillow_opens_is_read(suffix, tmp_path):
    lossy, suffix = suffix in LOSSY, f".{suffix}"
    if suffix not in suffixes():
        pytest.skip(f"this Pillow has no decoder for {suffix}")
    Image.fromarray(gradient()).save(tmp_path / f"a{suffix}")
    pixels = read_pixels(tmp_path / f"a{suffix}", 3, (16, 16)).transpose(1, 2, 0)
    error = np.abs(pixels.astype(int) - gradient()).max()
    assert error <= (12 if lossy else 0)
    assert read_header(tmp_path / f"a{suffix}")[:2] == (16, 16)


def test_formats_that_run_programs_or_hold_no_pictures_are_not_read():
    assert not suffixes() & {".eps", ".ps", ".pdf", ".wmf", ".emf", ".mpg", ".h5", ".hdf", ".grib", ".bufr"}
    assert not {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR"} & set(openers(".eps"))


def test_formats_without_a_signature_are_tried_for_their_own_endings_only():
    assert "TGA" in openers(".tga")
    assert "TGA" not in openers(".png")
    assert openers(".png")[:2] == ("JPEG", "PNG")


def test_files_of_a_folder_are_counted_by_ending(tree):
    root = tree(*ten("cat"), *ten("dog"), "loose.png")
    for name in ("cat/a.heic", "cat/b.HEIC", "dog/c.txt", "dog/readme", "cat/Thumbs.db", "dog/.DS_Store"):
        (root / name).write_bytes(b"something")
    assert load(root)[0].notes[:2] == (
        "left out 1 image straight in photos, which has no class folder",
        "left out 4 files that are no readable images: 2 .heic (install pillow-heif), "
        "1 without an ending, 1 .txt",
    )


def test_many_endings_are_added_up():
    endings = Counter({f".{letter}": 2 for letter in "abcdefg"})
    assert PassedOver(endings).in_words() == "2 .a, 2 .b, 2 .c, 2 .d, 2 .e, 4 others"


def test_a_class_without_a_readable_image_names_the_cause(tree):
    root = tree(*ten("cat"), *ten("dog"), "bird/")
    (root / "bird" / "1.heic").write_bytes(b"x")
    notes = load(root)[0].notes
    assert "no readable image in the class folder bird/: 1 .heic (install pillow-heif)" in notes
    assert "no image at all: class 'bird'" in notes


def test_only_unreadable_files_name_the_cause(tree):
    root = tree("cat/", "dog/")
    (root / "cat" / "1.heic").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no images in class folders \(1 .heic \(install pillow-heif\)\)"):
        load(root)


def test_heic_is_read_with_pillow_heif(tree, monkeypatch):
    """The opener of pillow-heif is registered once; a stand-in opens such files here."""
    import sys
    import types

    calls = []

    def register():
        calls.append(1)
        Image.register_open("STANDIN", lambda fp, filename: None, lambda prefix: False)
        Image.register_extension("STANDIN", ".heic")

    monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=register))
    monkeypatch.setattr(image_formats.util, "find_spec", lambda name: object())
    image_formats._by_suffix.cache_clear()
    image_formats._openers.cache_clear()
    try:
        assert ".heic" in suffixes()
        assert "STANDIN" in openers(".heic")
        assert calls == [1]
    finally:
        for table, key in ((Image.OPEN, "STANDIN"), (Image.EXTENSION, ".heic")):
            table.pop(key)
        Image.ID.remove("STANDIN")
        image_formats._by_suffix.cache_clear()
        image_formats._openers.cache_clear()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_special_file_in_a_folder_is_left_out(kind, tree, monkeypatch):
    root = tree(*ten("cat"), *ten("dog"))
    special(kind, root / "cat" / "p.png", monkeypatch)
    train, test = load(root)
    assert len(train) + len(test) == 20
    assert train.notes[0] == "left out 1 special file (named pipes, sockets or devices), first cat/p.png"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_special_file_that_is_named_is_refused(kind, tree, monkeypatch):
    root = tree(*ten("cat"), *ten("dog"))
    special(kind, root / "p.png", monkeypatch)
    rows = [f"{name},{name[:3]}\n" for name in [*ten("cat"), *ten("dog")]]
    (root / "labels.csv").write_text("path,label\n" + "".join(rows) + "p.png,cat\n")
    with pytest.raises(InputError, match=r"1 of the 21 images listed in labels.csv are missing, first p.png"):
        load(root / "labels.csv")
    with pytest.raises(InputError, match=r"p.png \(it is a (named pipe|socket), expected a file"):
        read_images(root / "p.png", channels=3, image_size=(12, 12))


def special(kind, path, monkeypatch):
    if kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(path.parent)  # the address of a socket may be short only
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)


def test_images_beside_the_listed_ones_are_counted(tree):
    root = tree(*[f"pictures/{i}.png" for i in range(12)], "elsewhere/1.png")
    rows = [f"pictures/{i}.png,{'ab'[i % 2]}\n" for i in range(10)]
    (root / "labels.csv").write_text("path,label\n" + "".join(rows))
    notes = load(root / "labels.csv")[0].notes
    assert notes[0] == "2 images beside the listed ones are not in labels.csv, first pictures/10.png"


def test_pages_of_a_tiff_file_are_counted(tree):
    root = tree(*ten("cat", 4), *ten("dog", 4))
    first, second = (Image.fromarray(np.full((12, 12, 3), value, np.uint8)) for value in (10, 200))
    first.save(root / "cat" / "many.tif", save_all=True, append_images=[second])
    train, test = load(root)
    assert "1 TIFF file has several pages; only the first is read" in train.notes
    both = {name: image for part in (train, test) for name, image in zip(part.ids, part.images, strict=True)}
    assert (both["cat/many.tif"] == 10).all()


def test_new_files_are_counted_too(tree):
    root, notes = tree(*ten("cat", 3)), []
    (root / "cat" / "x.heic").write_bytes(b"x")
    shutil.copy(root / "cat" / "0.png", root / "cat" / "copy.png")
    images, _ = read_images(root, channels=3, image_size=(12, 12), notes=notes)
    assert len(images) == 4
    assert notes == ["left out 1 file that is no readable image: 1 .heic (install pillow-heif)"]


@pytest.mark.parametrize(
    ("link", "target"),
    [("kat", "cat"), ("a", "cat"), ("dog/more", "cat"), ("cat/back", "."), ("kat", "cat/sub")],
)
def test_a_link_to_a_folder_that_is_read_too_is_named(link, target, tree):
    root = tree(*ten("cat", 3), *ten("cat/sub", 3), *ten("dog", 3))
    os.symlink(root / target, root / link)
    wanted = f"1 link leads to a folder whose images are read under another name too, first {link}/"
    assert wanted in load(root)[0].notes


def test_a_link_to_a_folder_elsewhere_is_no_second_name(tree):
    root, other = tree(*ten("cat", 3), *ten("dog", 3)), tree(*ten("eel", 3), root="elsewhere")
    os.symlink(other / "eel", root / "eel")
    assert not any("link" in note for note in load(root)[0].notes)


def test_relative_and_absolute_paths_of_a_list_are_the_same_images(tree):
    root = tree(*[f"pictures/{i}.png" for i in range(12)])
    names = [f"pictures/{i}.png" if i % 2 else str(root / "pictures" / f"{i}.png") for i in range(12)]
    rows = [f"{name},{'ab'[i % 3 % 2]}\n" for i, name in enumerate(names)]
    (root / "labels.csv").write_text("path,label\n" + "".join(rows))
    assert not any("beside the listed" in note for note in load(root / "labels.csv")[0].notes)
    (root / "labels.csv").write_text("path,label\n" + "".join([*rows, "pictures/0.png,b\n"]))
    notes = load(root / "labels.csv")[0].notes
    assert any(
        "1 row names an image that an earlier row names, 1 with another label" in note for note in notes
    )
