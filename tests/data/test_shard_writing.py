"""Copies of streams in shards: equal to the stream, resumed, and one line for each fault."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data import shard_writing
from noisylabels.data.catalog import load
from noisylabels.data.pixel_source import in_memory
from noisylabels.data.shard_writing import write_shards
from shard_samples import picture, pixels_of

datasets = pytest.importorskip("datasets")


def rows(numbers):
    for number in numbers:
        yield {"picture": {"bytes": picture(number), "path": None}, "label": number % 2, "other": number}


FEATURES = datasets.Features(
    {
        "picture": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "other": datasets.Value("int64"),
    }
)


@pytest.fixture
def stream():
    """Return a streaming data set of 20 examples."""
    whole = datasets.Dataset.from_list(list(rows(range(20))), features=FEATURES)
    return whole.to_iterable_dataset(num_shards=3)


def test_a_stream_of_hugging_face_is_copied_byte_for_byte(stream, tmp_path):
    test = datasets.Dataset.from_list(list(rows(range(30, 36))), features=FEATURES).to_iterable_dataset()
    parts = datasets.IterableDatasetDict({"train": stream, "validation": test})
    seen = []
    nl.write_shards(parts, tmp_path / "shards", per_shard=8, progress=lambda *done: seen.append(done))
    assert [each[:2] for each in (seen[0], seen[-1])] == [("copying train", 8), ("copying test", 6)]
    train, held = load(tmp_path / "shards")
    assert (len(train), len(held), train.class_names) == (20, 6, ("cat", "dog"))
    assert train.labels.tolist() == [number % 2 for number in range(20)]
    images = in_memory(train.images, "the test")
    assert all(np.array_equal(images[number], pixels_of(number)) for number in range(20))
    store = train.images._store
    assert store.encoded(3) == picture(3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("train dev test", r"^ignored the parts dev: test is the test part$"),
        ("train dev raw", r"^ignored the parts raw: dev is the test part$"),
        ("train b a", r"^ignored the parts a, b: only the training part is copied$"),
    ],
)
def test_parts_that_are_not_copied_are_named(parts, message, tmp_path):
    source = {name: list(pairs(range(10))) for name in parts.split()}
    with pytest.warns(UserWarning, match=message) as caught:
        write_shards(source, tmp_path)
    assert caught[0].filename == __file__
    assert len(list(tmp_path.glob("*.tar"))) == (1 if "only" in message else 2)


class GoneError(Exception):
    """The network is gone."""


def broken(stream, after):
    """Return a stream that ends with an error once, after some examples."""
    left = [after]

    def pass_on(example):
        left[0] -= 1
        if left[0] == -1:
            raise GoneError("no route to host")
        return example

    return stream.map(pass_on)


@pytest.mark.parametrize("positioned", [True, False])
def test_an_interrupted_copy_goes_on(positioned, stream, tmp_path, monkeypatch):
    if not positioned:
        monkeypatch.setattr(shard_writing, "_place", lambda _: None)
    with pytest.raises(
        InputError, match=r"^the train part ended after 12 copied examples with an error \(.*no r"
    ):
        write_shards(broken(stream, 14), tmp_path, per_shard=6)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    assert sorted(before) == ["train-00000.tar", "train-00001.tar"]
    write_shards(broken(stream, 1000), tmp_path, per_shard=6)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    train, test = load(tmp_path)
    assert sorted([*train.ids, *test.ids]) == [f"{number:09d}" for number in range(20)]
    record = json.loads((tmp_path / "train.state.json").read_text())
    assert (record["examples"], record["shards"], record["done"]) == (20, 4, True)
    write_shards(iter(()), tmp_path)  # it is done


def pairs(numbers, gone=None):
    for number in numbers:
        if number == gone:
            raise GoneError("no route to host")
        yield np.full((4, 4), number, np.uint8), "ab"[number % 2]


def test_an_interrupted_copy_of_an_iterator_needs_a_new_one(tmp_path, monkeypatch):
    used = pairs(range(20), gone=10)
    with pytest.raises(InputError, match=r"after 8 copied .*; the same call with a new iterator goes on"):
        write_shards(used, tmp_path, per_shard=4)
    with pytest.raises(InputError, match=r"^a copy that did not end has read from the iterator of the train"):
        write_shards(used, tmp_path, per_shard=4)
    with pytest.raises(InputError, match=r"^the train part has 5 examples, and 8 were copied before"):
        write_shards(pairs(range(5)), tmp_path, per_shard=4)
    alive = pairs(range(20))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(shard_writing, "_write", full)
        with pytest.raises(InputError, match="No space left"):
            write_shards(alive, tmp_path, per_shard=4)
    with pytest.raises(InputError, match="pass a new one"):
        write_shards(alive, tmp_path, per_shard=4)
    assert json.loads((tmp_path / "train.state.json").read_text())["examples"] == 8
    write_shards(pairs(range(20)), tmp_path, per_shard=4)
    train, test = load(tmp_path)
    assert sorted([*train.ids, *test.ids]) == [f"{number:09d}" for number in range(20)]
    assert not shard_writing._unfinished


@pytest.mark.parametrize(("key", "value"), [("examples", "7x"), ("shards", None), ("done", 7), ("place", [])])
def test_a_damaged_record_is_one_line(key, value, stream, tmp_path):
    write_shards(stream, tmp_path, per_shard=6)
    path = tmp_path / "train.state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(InputError, match=rf"train.state.json: {key} is .*; remove .* and copy again$"):
        write_shards(stream, tmp_path, per_shard=6)


def mappings(values, **labels):
    """Return examples with labels in columns."""
    rows = zip(values, *labels.values(), strict=True)
    return [
        dict(zip(("image", *labels), (np.full((4, 4), n, np.uint8), *of), strict=True)) for n, *of in rows
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("before", "after", "how"),
    [
        (pairs(range(10)), pairs(range(50, 70)), "train part .* has another first example; pass a new iter"),
        (pairs(range(10)), list(pairs(range(20))), "train part .* has 10 examples, not 20; pass another fol"),
        (pairs(range(10)), [(np.zeros((4, 4), np.uint8), "b")], "train part .* has another first example"),
        (
            pairs(range(20), gone=10),
            pairs(range(50, 70)),
            "train part .* has another first example; pass a n",
        ),
        (
            {"train": list(pairs(range(8))), "test": list(pairs(range(6)))},
            {"train": list(pairs(range(8))), "test": list(pairs(range(20, 26)))},
            r"test part \(test-00000.tar\) has another first example",
        ),
        (
            mappings(range(8), label="abababab", fine="abcdabcd"),
            mappings(range(8), fine="abcdabcd"),
            "train part .* has the columns image and label, not image and fine; pass another folder",
        ),
    ],
)
def test_shards_of_another_data_set_are_refused(before, after, how, tmp_path):
    try:
        write_shards(before, tmp_path, per_shard=4)
    except InputError as error:
        assert "8 copied examples" in str(error)  # noqa: PT017
    kept = contents(tmp_path)
    fine = isinstance(after, list) and isinstance(after[0], dict)
    message = f"^{tmp_path} holds a copy of another data set, whose {how}"
    with pytest.raises(InputError, match=message) as caught:
        write_shards(after, tmp_path, per_shard=4, label_column="fine" if fine else None)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == kept


def test_a_copy_names_the_data_set_that_it_is_of(stream, tmp_path):
    stream.info.dataset_name = "pets"
    write_shards(stream, tmp_path)
    kept = contents(tmp_path)
    write_shards(stream, tmp_path)
    assert contents(tmp_path) == kept
    with pytest.raises(InputError, match=r"a copy of another data set \(pets\), whose train part"):
        write_shards(pairs(range(9)), tmp_path)


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize("recorded", ["now", "before", "never"])
def test_a_copy_of_the_same_data_set_is_repeated(recorded, kind, tmp_path, monkeypatch):
    def source():
        return kind(mappings(range(9), label="ababababa"))

    write_shards(source(), tmp_path, per_shard=9 if recorded == "never" else 4)
    record = tmp_path / "train.state.json"
    if recorded == "never":  # the process ended between the shard and its record
        record.unlink()
    if recorded == "before":  # the fields of columns and the source were not there
        old = json.loads(record.read_text())
        record.write_text(json.dumps({name: old[name] for name in ("examples", "shards", "done", "place")}))
    kept = contents(tmp_path)
    save = Image.Image.save  # another release of Pillow writes other bytes
    monkeypatch.setattr(Image.Image, "save", lambda *given: save(*given, compress_level=1))
    write_shards(source(), tmp_path, per_shard=9 if recorded == "never" else 4)
    if recorded != "never":
        assert contents(tmp_path) == kept
    train, test = load(tmp_path)
    assert len(train) + len(test) == 9


@pytest.mark.parametrize("place", ["cats-7.tar", "train-00007.tar", "val/0.tar", "test-00000.tar"])
def test_shards_of_others_in_the_folder_are_refused(place, tmp_path):
    write_shards(pairs(range(10)), tmp_path / "other")
    (tmp_path / "here" / place).parent.mkdir(parents=True)
    (tmp_path / "other" / "train-00000.tar").rename(tmp_path / "here" / place)
    with pytest.raises(InputError, match=rf"here holds shards that are not of this copy, {place}, and load"):
        write_shards(pairs(range(10)), tmp_path / "here")
    assert [path.name for path in (tmp_path / "here").rglob("*.*")] == [place.rpartition("/")[2]]


def test_a_copy_that_has_lost_a_shard_is_named(tmp_path):
    write_shards(pairs(range(10)), tmp_path, per_shard=4)
    (tmp_path / "train-00001.tar").unlink()
    with pytest.raises(InputError, match=r"has lost train-00001\.tar; remove the folder and copy again$"):
        write_shards(pairs(range(10)), tmp_path, per_shard=4)


def test_a_finished_copy_needs_no_stream(stream, tmp_path):
    write_shards(stream, tmp_path)
    write_shards(broken(stream, 0), tmp_path)
    with pytest.raises(
        InputError, match=r"^the train part ended after 0 copied examples with an error \(Gon"
    ):
        write_shards(broken(stream, 0), tmp_path / "new")


def test_pairs_of_pillow_images_and_arrays_become_png(tmp_path):
    arrays = [np.full((5, 5), 10 * number, dtype=np.uint8) for number in range(10)]
    images = [Image.fromarray(array) if number % 2 else array for number, array in enumerate(arrays)]
    pairs = list(zip(images, "ababababab", strict=True))
    write_shards((pair for pair in pairs), tmp_path, per_shard=3)
    train, test = load(tmp_path)
    found = dict(zip([*train.ids, *test.ids], [*train.images, *test.images], strict=True))
    assert all(np.array_equal(found[f"{number:09d}"][0], arrays[number]) for number in range(10))


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ({"picture": None, "other": 1}, r"has no image column"),
        (
            {"image": np.zeros((4, 4), np.uint8), "other": 1},
            r"the train part has no label column; it has image",
        ),
        (
            {"image": np.zeros((4, 4), np.uint8), "label": None},
            r"train:0 has the label None, expected a class",
        ),
        (
            (np.zeros((4, 4), np.float32), 1),
            r"train:0: the image is float32, expected a Pillow image or a uint8",
        ),
        (7, r"train:0 is a int, expected \(image, label\)"),
        (
            {"image": {"bytes": None, "path": "a.jpg"}, "label": 1},
            r"the image is not in the stream, but a path",
        ),
    ],
)
def test_what_cannot_be_copied_is_one_line(example, expected, tmp_path):
    with pytest.raises(InputError, match=expected) as caught:
        write_shards([example], tmp_path)
    assert "\n" not in str(caught.value)


def test_empty_streams_other_objects_and_small_disks_are_one_line(stream, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^the train part has no examples; a generator"):
        write_shards(iter(()), tmp_path)
    with pytest.raises(InputError, match=r"^the data set is a int, expected a streaming data set"):
        write_shards(7, tmp_path)
    with pytest.raises(InputError, match=r"^the data set has the parts raw, but no 'train'"):
        write_shards({"raw": []}, tmp_path)
    size = datasets.SplitInfo("train", num_bytes=10**15, num_examples=20)
    monkeypatch.setattr(shard_writing, "_split_info", lambda _: size)
    with pytest.raises(InputError, match=r"^the train part takes about 1000000.0 GB, and .* GB are free in"):
        write_shards(stream, tmp_path)


def test_load_names_the_copy(stream):
    with pytest.raises(
        InputError, match=r"IterableDataset, expected .*: nl\.write_shards\(stream, 'shards'\), then"
    ):
        load(stream)


@pytest.mark.parametrize("damage", [{"bytes": b"damaged", "path": None}, None])
def test_a_damaged_image_is_copied_and_reported_by_load(damage, tmp_path):
    examples = list(rows(range(10)))
    examples[4]["picture"] = damage
    write_shards(examples, tmp_path)
    train, test = load(tmp_path, bad_images="skip")
    assert len(train) + len(test) == 9
    part = next(part for part in load(tmp_path) if "000000004" in part.ids)
    with pytest.raises(InputError, match=r"train-00000.tar, 000000004.jpg: the image cannot be read"):
        part.images[list(part.ids).index("000000004")]
