"""Sets in WebDataset shards: what is found, indexed, refused, and how batches are read from them."""

from __future__ import annotations

import io
import json
import os
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

import noisylabels as nl
from noisylabels.audit.set_duplicates import duplicates_in
from noisylabels.core.checks import InputError
from noisylabels.data import pixel_source
from noisylabels.data import shard_index as indexing
from noisylabels.data.augment import parse_augment
from noisylabels.data.catalog import load
from noisylabels.data.encoded_images import EncodedImages
from noisylabels.data.image_decoding import read_crop
from noisylabels.data.loader import Batches
from noisylabels.data.pixel_source import in_memory
from noisylabels.data.resized_crop import Crop, boxes, draw_windows, resized
from shard_samples import SIDE, picture, pixels_of, samples, write_shard


@pytest.fixture
def shards(tmp_path):
    """Return a folder with three shards for training and one for testing."""
    for k in range(3):
        write_shard(tmp_path / f"train-{k:03d}.tar", samples(range(8 * k, 8 * k + 8)))
    write_shard(tmp_path / "val-000.tar", samples(range(100, 106)))
    return tmp_path


def test_a_folder_has_its_parts_keys_labels_and_pixels(shards):
    train, test = load(shards)
    assert (len(train), len(test), train.class_names) == (24, 6, ("0", "1"))
    assert list(train.ids) == [f"{number:04d}" for number in range(24)]
    assert train.labels.tolist() == [number % 2 for number in range(24)]
    assert train.images.shape == (24, 3, SIDE, SIDE)
    for row in (0, 7, 8, 23):
        assert torch.equal(train.images[row], pixels_of(row))
    assert torch.equal(test.images.index_select(0, torch.tensor([5, 0]))[0], pixels_of(105))


@pytest.mark.parametrize("form", ["folder", "pattern", "url", "folders"])
def test_a_validation_part_beside_a_test_part_is_named(form, shards):
    write_shard(shards / "test-000.tar", samples(range(200, 208)))
    source = {"pattern": f"{shards}/{{train-000,val-000,test-000}}.tar", "url": f"file://{shards}"}
    if form == "folders":
        for path in list(shards.glob("*.tar")):
            split = path.name.partition("-")[0]
            (shards / split).mkdir(exist_ok=True)
            path.rename(shards / split / path.name)
    train, test = load(source.get(form, shards))
    assert list(test.ids) == [f"{number:04d}" for number in range(200, 208)]
    (note,) = train.notes
    assert re.fullmatch(
        r"ignored the validation part \(1 shard, first \S+/val-000\.tar\): the test part is used for testing",
        note,
    )


def test_a_pattern_a_shard_and_a_folder_per_split_are_found(shards, monkeypatch):
    monkeypatch.chdir(shards.parent)
    named = f"{shards.name}/train-{{000..002}}.tar"
    train, test = load(named)
    assert sorted([*train.ids, *test.ids]) == [f"{number:04d}" for number in range(24)]
    assert any("held out" in note for note in train.notes)
    train, test = load(f"{shards.name}/{{train-001,val-000}}.tar")
    assert (len(train), len(test)) == (8, 6)
    assert len(load(shards / "train-000.tar")[0]) == 6
    for split in ("train", "val"):
        (shards / "split" / split).mkdir(parents=True)
        (shards / f"{split}-000.tar").rename(shards / "split" / split / "0.tar")
    train, test = load(shards / "split")
    assert (len(train), len(test)) == (8, 6)


@pytest.mark.parametrize(
    "label",
    [
        lambda number: ("cls", str(number % 2)),
        lambda number: ("txt", ["0\n", "1\n"][number % 2]),
        lambda number: ("json", json.dumps({"width": 4, "label": number % 2})),
    ],
)
def test_labels_come_from_cls_json_or_txt(tmp_path, label):
    write_shard(tmp_path / "a.tar", samples(range(10), label))
    train, test = load(tmp_path / "a.tar")
    found = dict(zip([*train.ids, *test.ids], [*train.labels.tolist(), *test.labels.tolist()], strict=True))
    assert found == {f"{number:04d}": number % 2 for number in range(10)}


def test_a_key_of_json_can_be_named(tmp_path):
    label = lambda number: ("json", json.dumps({"label": "all", "kind": "uv"[number % 2]}))  # noqa: E731
    write_shard(tmp_path / "a.tar", samples(range(10), label))
    assert load(tmp_path / "a.tar", label_column="kind")[0].class_names == ("u", "v")


def test_pickles_are_counted_and_never_opened(tmp_path, monkeypatch):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trap"),))

    members = [*samples(range(10)), ("0009.pyd", pickle.dumps(Trap())), ("0009.pkl", pickle.dumps(Trap()))]
    write_shard(tmp_path / "a.tar", members)
    train, test = load(tmp_path / "a.tar")
    assert len(train) + len(test) == 10
    assert any("2 members" in note and "1 .pkl" in note and "1 .pyd" in note for note in train.notes)
    assert not (tmp_path / "trap").exists()


def test_the_index_is_made_once_and_again_after_a_change(shards, monkeypatch):
    load(shards)
    made = []
    original = indexing.indexed
    monkeypatch.setattr(indexing, "indexed", lambda *given: made.append(given[0].name) or original(*given))
    load(shards)
    assert made == []
    write_shard(shards / "train-001.tar", samples(range(50, 60)))
    assert len(load(shards)[0]) == 26
    assert made == ["train-001.tar"]


def test_the_digest_follows_members_and_labels(shards):
    before = load(shards)[0].digest
    assert load(shards)[0].digest == before
    write_shard(shards / "train-001.tar", samples(range(8, 16), lambda number: ("cls", str(number % 3 % 2))))
    assert load(shards)[0].digest != before


def batches_of(images, labels, **changes):
    settings = {
        "batch_size": 5,
        "device": "cpu",
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "augment": parse_augment("crop:2+flip"),
        "shuffle": True,
        "seed": 3,
    }
    return Batches(images, labels, **settings | changes)


@pytest.mark.parametrize("views", [1, ("weak", "strong")])
def test_batches_are_those_of_the_same_images_in_memory(shards, views):
    train, _ = load(shards)
    decoded = torch.stack([pixels_of(number) for number in range(24)])
    streamed, resident = (batches_of(images, train.labels, views=views) for images in (train.images, decoded))
    for epoch in (0, 1):
        pairs = list(zip(streamed.epoch(epoch), resident.epoch(epoch), strict=True))
        assert len(pairs) == 5
        for one, other in pairs:
            assert torch.equal(one.positions, other.positions)
            assert torch.equal(one.target, other.target)
            assert all(torch.equal(a, b) for a, b in zip(one.views, other.views, strict=True))


@pytest.mark.parametrize("start", [0, 1, 4, 5])
def test_an_epoch_is_resumed_at_any_batch_with_the_same_crops(shards, start):
    train, _ = load(shards)
    batches = batches_of(train.images, train.labels, augment=parse_augment("resized-crop:0.3+flip"))
    whole, rest = list(batches.epoch(2)), list(batches.epoch(2, start=start))
    assert len(rest) == 5 - start
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(whole[start:], rest, strict=True))
    other = next(batches.epoch(3))
    assert not torch.equal(other.inputs, whole[0].inputs)


def test_a_part_and_its_evaluation_batches_are_decoded_in_order(shards):
    train, _ = load(shards)
    part = batches_of(
        train.images, train.labels, positions=torch.tensor([3, 9, 20]), shuffle=False, augment=None
    )
    (batch,) = part
    wanted = torch.stack([pixels_of(number) for number in (3, 9, 20)]).float() / 255
    assert torch.allclose(batch.inputs, (wanted - 0.5) / 0.25, atol=1e-6)


def test_a_crop_is_the_window_of_pillow():
    encoded = picture(5, size=(40, 20))
    crop = Crop(0.4, 0.7, 0.2, 0.9, 0.25)
    left, upper, right, lower = crop.box(20, 40)
    assert 0 <= left < right <= 40
    assert 0 <= upper < lower <= 20
    assert (right - left) * (lower - upper) == pytest.approx((0.25 + 0.75 * 0.4) * 800)
    image = Image.open(io.BytesIO(encoded)).resize(
        (8, 8), Image.Resampling.BILINEAR, (left, upper, right, lower)
    )
    found = read_crop(encoded, 3, (8, 8), crop)
    assert np.abs(found.transpose(1, 2, 0).astype(int) - np.asarray(image).astype(int)).max() <= 40
    assert found.shape == (3, 8, 8)


def test_windows_of_a_tensor_are_those_of_single_images():
    windows = draw_windows(50, 0, 1, 0)
    together = boxes(windows, 0.08, 30, 50)
    for row, window in zip(together.tolist(), windows.tolist(), strict=True):
        assert row == pytest.approx(Crop(*window, 0.08).box(30, 50))


def test_a_window_of_all_is_the_image_and_a_corner_its_corner():
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    full = torch.tensor([[1.0, 0.5, 0.3, 0.6]] * 2)
    assert torch.equal(resized(images, full, 0.08), images)
    corner = torch.tensor([[0.0, 0.5, 0.0, 0.0]] * 2)  # a quarter of the area, upper left
    found = resized(images, corner, 0.25).float()
    wanted = torch.nn.functional.interpolate(images[:, :, :8, :8].float(), size=16, mode="bilinear")
    assert (found - wanted)[:, :, 1:14, 1:14].abs().max() <= 0.51


def test_noise_and_training_know_every_example(shards):
    train, test = load(shards)
    labels = nl.corrupt(train.labels, "symmetric:0.4", seed=0, ids=train.ids)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 2))
    history = nl.fit(
        model, train, test, nl.loss("ce"), method="elr", labels=labels, epochs=2, batch_size=8, seed=1
    )
    assert len(history.rows) == 2
    assert history.rows[-1]["memorized"] is not None


@pytest.mark.parametrize("noise", ["instance:0.3", "longtail:0.5 | symmetric:0.2"])
def test_noise_is_that_of_the_same_images_in_memory(shards, noise):
    train, _ = load(shards)
    decoded = torch.stack([pixels_of(number) for number in range(24)])
    resident = nl.image_set(decoded, train.labels, train.class_names, list(train.ids))
    (one, labels), (other, wanted) = (nl.corrupt_set(each, noise, seed=2) for each in (train, resident))
    assert labels.given_codes.tolist() == wanted.given_codes.tolist()
    assert list(one.ids) == list(other.ids)
    assert torch.equal(one.images.index_select(0, torch.arange(len(one))), other.images)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"1 of the 4 shards of .*train-\{000\.\.003\}\.tar' is missing, first .*train-003\.tar"),
        ("cut", r"train-001\.tar is (damaged or )?truncated"),
        ("text", r"train-001\.tar is truncated"),
        ("gzip", r"train-001\.tar is compressed"),
        (
            "label",
            r"1 of the 31 samples has no label \(a \.cls, .*\), first .*train-001\.tar, 0042\.png",
        ),
        ("twice", r"train-001\.tar: the sample '0042' has two members \.png"),
        ("two", r"train-001\.tar: the sample '0042' has two images, 0042\.png and 0042\.jpg"),
        ("json", r"train-001\.tar: 0042\.json"),
    ],
)
def test_each_fault_is_one_line_with_shard_and_key(shards, damage, message):
    source, place = shards, shards / "train-001.tar"
    content = place.read_bytes()
    more = {
        "label": [("0042.png", picture(42))],
        "twice": [("0042.png", picture(42)), ("0042.png", picture(43)), ("0042.cls", b"1")],
        "two": [("0042.png", picture(42)), ("0042.jpg", picture(42, "jpeg")), ("0042.cls", b"1")],
        "json": [("0042.png", picture(42)), ("0042.json", b"{label")],
    }
    if damage == "missing":
        source = str(shards / "train-{000..003}.tar")
    elif damage in more:
        write_shard(place, [*samples(range(8, 16)), *more[damage]])
    else:
        place.write_bytes({"cut": content[:2000], "text": b"text", "gzip": b"\x1f\x8b" + content}[damage])
    with pytest.raises(InputError, match=message) as caught:
        load(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("more", [[("0008.txt", b"cat")], [("0008.json", b"{}"), ("0008.meta", b"x")], None])
@pytest.mark.parametrize("bad_images", ["fail", "skip"])
def test_members_of_a_sample_that_lie_apart_are_one_line_with_shard_and_key(shards, more, bad_images):
    members = list(samples(range(8, 16)))
    apart = [*members, *(more or samples([8]))]
    by_ending = sorted(members, key=lambda member: member[0].endswith("cls"))
    for some in (apart, by_ending):
        write_shard(shards / "train-001.tar", some)
        last = some[8 if some is by_ending else 16][0]
        message = rf"train-001\.tar: the key '0008' occurs again after other samples, at {last}; pack"
        with pytest.raises(InputError, match=message) as caught:
            load(shards, bad_images=bad_images)
        assert "\n" not in str(caught.value)


def test_an_image_that_cannot_be_decoded_is_named_or_left_out_and_counted(shards):
    broken = picture(42)[:60]
    write_shard(shards / "train-001.tar", [*samples(range(8, 16)), ("0042.png", broken), ("0042.cls", b"1")])
    train, _ = load(shards, image_size=SIDE)
    assert len(train) == 25
    with pytest.raises(InputError, match=r"train-001\.tar, 0042\.png: the image cannot be read"):
        list(batches_of(train.images, train.labels).epoch(0))
    train, _ = load(shards, image_size=SIDE, bad_images="skip")
    assert len(train) == 24
    assert any(
        "left out 1 of 31 images that cannot be read" in note and "0042.png" in note for note in train.notes
    )


def test_equal_keys_get_different_ids_and_a_note(tmp_path):
    for k in range(2):
        write_shard(tmp_path / f"train-{k}.tar", samples(range(6)))
    write_shard(tmp_path / "test-0.tar", samples(range(6, 9)))
    train, _ = load(tmp_path)
    assert len(set(train.ids)) == 12
    assert any("6 keys occur again" in note and "train-1.tar, 0000.png" in note for note in train.notes)


def test_a_shard_that_shrinks_during_a_run_is_named(shards):
    train, _ = load(shards)
    place = shards / "train-002.tar"
    place.write_bytes(place.read_bytes()[:600])
    with pytest.raises(InputError, match=r"train-002\.tar, .*\.png: the shard has become shorter"):
        list(batches_of(train.images, train.labels).epoch(0))


def test_more_pixels_than_memory_takes_are_refused_or_skipped_with_a_note(shards, monkeypatch):
    train, _ = load(shards)
    assert in_memory(train.images, "it").shape == train.images.shape
    monkeypatch.setattr(pixel_source, "MOST_DECODED_BYTES", 1000)
    with pytest.raises(InputError, match=r"it needs all 24 images in memory, 0\.0 GiB decoded"):
        in_memory(train.images, "it")
    notes: list[str] = []
    assert duplicates_in(train, None, notes.append) == []
    assert notes == [
        "near-duplicates were not searched for: the 24 images in shards would take 0.0 GiB decoded"
    ]


def test_parts_are_joined_and_taken_without_decoding(shards):
    train, test = load(shards)
    assert isinstance(train.images, EncodedImages)
    both = train.images.followed_by(test.images).take(torch.tensor([29, 0]))
    assert torch.equal(both[0], pixels_of(105))
    assert torch.equal(both[-1], pixels_of(0))
    other, _ = load(shards / "train-000.tar")
    with pytest.raises(InputError, match="two origins"):
        train.images.followed_by(other.images)
