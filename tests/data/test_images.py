import dataclasses
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisylabels.core.checks import InputError
from noisylabels.data import images as module
from noisylabels.data.features import feature_set, joined
from noisylabels.data.images import ImageSet, image_set, like, replaced, subset

NAMES = ("cat", "dog")


def some(n=4, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, 5, 6), dtype=torch.uint8, generator=generator)


def test_an_image_set_says_what_it_holds():
    made = image_set(some(), [0, 1, 1, 0], NAMES, name="pets", notes=["a note"])
    assert (len(made), made.num_classes, made.name, made.notes) == (4, 2, "pets", ("a note",))
    assert made.labels.dtype == torch.int64
    assert list(made.ids) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": some().float()}, "images are float32, expected uint8"),
        ({"images": torch.full((4, 3, 5, 6), float("nan"))}, "float32 and hold NaN"),
        ({"images": some().numpy()}, "a ndarray, expected a torch.Tensor"),
        ({"images": some()[0]}, r"shape \(3, 5, 6\), expected \(N, C, H, W\)"),
        ({"images": some(channels=2)}, "1 or 3 channels"),
        ({"images": some(n=0), "labels": torch.zeros(0, dtype=torch.int64), "ids": []}, "is empty"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"shape \(3,\), expected \(4,\)"),
        ({"labels": torch.zeros(4, dtype=torch.int32)}, "labels are torch.int32"),
        ({"labels": torch.tensor([0, 1, 2, 7])}, "label of 'c' is 2, expected 0 to 1 for 2 classes .2 such"),
        ({"labels": torch.tensor([0, -1, 1, 1])}, "label of 'b' is -1"),
        ({"ids": ["a"]}, "1 ids for 4 images"),
        ({"class_names": ("cat",), "labels": torch.zeros(4, dtype=torch.int64)}, "single class, 'cat'"),
        ({"class_names": ("cat", "cat")}, "'cat' occurs twice"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    right = {
        "images": some(),
        "labels": torch.tensor([0, 1, 0, 1]),
        "class_names": NAMES,
        "ids": list("abcd"),
    }
    ImageSet(**right, name="pets", digest="")
    with pytest.raises(InputError, match=message):
        ImageSet(**(right | change), name="pets", digest="")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 9), channels=st.sampled_from([1, 3]))
def test_statistics_equal_exact_fractions(seed, n, channels):
    images = some(n, channels, seed)
    mean, std = image_set(images, [0] * n, NAMES).mean_std()
    for c in range(channels):
        values = [Fraction(int(v), 255) for v in images[:, c].flatten()]
        exact = sum(values) / len(values)
        variance = sum((v - exact) ** 2 for v in values) / len(values)
        assert mean[c] == float(exact)
        assert std[c] == pytest.approx(float(variance) ** 0.5, rel=1e-15)


def test_statistics_do_not_depend_on_the_pieces(monkeypatch):
    made = image_set(some(50), [0] * 50, NAMES)
    whole, digest = made.mean_std(), made.digest
    monkeypatch.setattr(module, "_CHUNK_BYTES", 100)
    assert image_set(made.images, made.labels, NAMES).mean_std() == whole
    assert image_set(made.images, made.labels, NAMES).digest == digest


def test_a_constant_channel_has_the_deviation_one():
    images = some()
    images[:, 1] = 51
    mean, std = image_set(images, [0, 1, 0, 1], NAMES).mean_std()
    assert mean[1] == 0.2
    assert std[1] == 1.0
    assert std[0] < 1.0


def test_the_digest_covers_content_and_nothing_else():
    base = image_set(some(), [0, 1, 0, 1], NAMES)
    assert image_set(some(), [0, 1, 0, 1], NAMES, ids=list("wxyz"), name="other").digest == base.digest
    pixel = some()
    pixel[3, 2, 4, 5] ^= 1
    assert image_set(pixel, [0, 1, 0, 1], NAMES).digest != base.digest
    assert image_set(some(), [0, 1, 1, 1], NAMES).digest != base.digest
    assert image_set(some(), [0, 1, 0, 1], ("cat", "cow")).digest != base.digest
    assert image_set(some().transpose(2, 3), [0, 1, 0, 1], NAMES).digest != base.digest
    assert image_set(some().reshape(4, 3, 6, 5), [0, 1, 0, 1], NAMES).digest != base.digest


def test_the_digest_does_not_depend_on_strides():
    base = image_set(some(), [0, 1, 0, 1], NAMES)
    strided = some().contiguous(memory_format=torch.channels_last)
    assert image_set(strided, [0, 1, 0, 1], NAMES).digest == base.digest


def test_a_memory_mapped_array_will_do(tmp_path):
    np.save(tmp_path / "images.npy", some().numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c"))
    assert image_set(mapped, [0, 1, 0, 1], NAMES).digest == image_set(some(), [0, 1, 0, 1], NAMES).digest


def test_an_image_set_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        image_set(some(), [0, 1, 0, 1], NAMES).name = "other"


def test_a_subset_keeps_names_ids_and_notes():
    made = image_set(some(), [0, 1, 0, 1], NAMES, ids=list("wxyz"), name="pets", notes=["one"])
    part = subset(made, np.array([3, 0]))
    assert torch.equal(part.images, made.images[[3, 0]])
    assert part.labels.tolist() == [1, 0]
    assert list(part.ids) == ["z", "w"]
    assert (part.class_names, part.name, part.notes) == (made.class_names, "pets", ("one",))
    assert part.digest == image_set(part.images, part.labels, NAMES).digest


def test_foreign_images_come_in_where_places_say():
    made = image_set(some(), [0, 1, 0, 1], NAMES, ids=list("wxyz"))
    other = image_set(some(seed=9), [0, 0, 1, 1], ("a", "b"), name="other")
    mixed = replaced(made, np.array([-1, 2, -1, 0]), other)
    assert torch.equal(mixed.images[[0, 2]], made.images[[0, 2]])
    assert torch.equal(mixed.images[[1, 3]], other.images[[2, 0]])
    assert torch.equal(made.images, some())  # and the set itself stays
    assert mixed.labels.tolist() == [0, 1, 0, 1]
    assert list(mixed.ids) == ["w", "other:2", "y", "other:0"]


def test_colors_are_brought_to_those_of_another_set(monkeypatch):
    color, gray = image_set(some(), [0, 1, 0, 1], NAMES), image_set(some(channels=1), [0, 1, 0, 1], NAMES)
    assert like(color, color) is color
    assert torch.equal(like(gray, color).images, gray.images.repeat(1, 3, 1, 1))
    assert like(gray, color).images.is_contiguous()
    monkeypatch.setattr(module, "_CHUNK_BYTES", 100)
    r, g, b = color.images.long().unbind(1)
    assert torch.equal(like(color, gray).images[:, 0].long(), (299 * r + 587 * g + 114 * b) // 1000)
    small = image_set(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), [0, 1], NAMES, name="small")
    with pytest.raises(
        InputError, match="the images of small are 3x3, those of images are 5x6; load both with"
    ):
        like(small, gray)


def test_a_large_set_takes_disk_in_place_of_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    pixels = torch.randint(0, 256, (6, 3, 4, 4), dtype=torch.uint8)
    whole = image_set(pixels, [0, 1, 0, 1, 0, 1], ("a", "b"))
    reserved: list[int] = []
    reserve = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda *to: (reserved.append(to[2]), reserve(*to)))
    for limit, sizes in ((1 << 30, []), (pixels.numel() - 1, [pixels.numel()])):
        monkeypatch.setattr(module, "_IN_MEMORY_BYTES", limit)
        both = joined(subset(whole, [0, 1, 2, 3]), subset(whole, [4, 5]))
        assert torch.equal(both.inputs, pixels)
        assert reserved == sizes
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError("full")))
    monkeypatch.setattr(module, "_IN_MEMORY_BYTES", 1)
    assert torch.equal(subset(whole, [5, 0]).images, pixels[[5, 0]])
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    "labels", [["cat", "dog"] * 2, np.array(["cat", "dog"] * 2), None, [[0], [1, 0], 1, 0], [0, None, 1, 1]]
)
def test_labels_that_are_no_class_numbers_are_one_line(labels):
    for make in (lambda: image_set(some(), labels, NAMES), lambda: feature_set(np.eye(4), labels, NAMES)):
        with pytest.raises(InputError, match=r"^labels are .*, expected a torch.int64 tensor of class numb"):
            make()
