import numpy as np
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.data.augment import parse_augment
from noisylabels.data.catalog import DATA, default_augment, load
from noisylabels.data.images import image_set


def test_every_row_says_what_a_user_needs():
    real = ["webvision", "webvision-mini", "clothing1m", "food101n", "animal10n"]
    assert {"digits", "cifar10", "cifar100", "cifar100-coarse", "mnist", "fashion-mnist", *real} <= set(DATA)
    for name, row in DATA.items():
        assert row.name == name
        assert row.title
        assert row.source
        assert row.license
        assert str(parse_augment(row.augment)) == row.augment


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", "'digit' is neither a file or folder nor a known data set; did you mean 'digits'"),
        ("cifar-10", "did you mean 'cifar10'"),
        ("nowhere/photos", "'nowhere/photos' is neither a file or folder"),
        ("", "'' is neither a file or folder"),
        ("long" * 100, "longlong' is neither a file or folder"),
        ("a/" * 3000, "a/a/' is neither a file or folder"),
    ],
)
def test_an_unknown_source_is_explained(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size is 0, expected a number in"),
        ({"image_size": 5000}, "image_size is 5000"),
        ({"image_size": 32.0}, "image_size is 32.0, expected an integer number"),
        ({"image_size": True}, "image_size is True"),
        ({"bad_images": "ignore"}, "unknown treatment of bad images 'ignore'; known: fail, skip"),
        ({"test_fraction": 0}, "test_fraction is 0"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        load("digits", **options)


def test_a_name_wins_over_a_folder_and_a_dot_decides(tree, tmp_path, monkeypatch):
    tree("a/1.png", "a/2.png", "b/1.png", "b/2.png", root="digits")
    monkeypatch.chdir(tmp_path)
    assert load("digits")[0].num_classes == 10
    assert load("./digits")[0].class_names == ("a", "b")


def test_the_home_folder_is_understood(tree, tmp_path, monkeypatch):
    tree("a/1.png", "a/2.png", "b/1.png", "b/2.png", root="photos")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/photos")[0].name == "photos"


@pytest.mark.parametrize(
    ("source", "channels", "expected"),
    [
        ("digits", 1, "none"),
        ("cifar10", 3, "crop:4+flip"),
        ("cifar100", 3, "crop:4+flip"),
        ("mnist", 1, "none"),
        ("fashion-mnist", 1, "none"),
        ("photos", 3, "crop:4+flip"),
        ("scans", 1, "none"),
    ],
)
def test_the_default_augmentation(source, channels, expected):
    images = torch.from_numpy(np.zeros((2, channels, 4, 4), dtype=np.uint8))
    assert default_augment(source, image_set(images, [0, 1], ("a", "b"))) == expected
