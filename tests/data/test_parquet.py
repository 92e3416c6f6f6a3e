import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data import parquet
from noisylabels.data.catalog import load

NAMES = ["cat", "dog", "eel"]


def features(names=NAMES, image="img", label="label"):
    return {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": names}}


def write(path, images, labels, described=None, image="img", label="label", kind=None, **more):
    """Write a file as the hub's `datasets` library does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [None if one is None else {"bytes": one, "path": None} for one in images]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({image: pa.array(cells, struct), label: pa.array(labels, kind), **more})
    if described is not None:
        meta = json.dumps({"info": {"features": described}})
        table = table.replace_schema_metadata({"huggingface": meta})
    pq.write_table(table, path, row_group_size=7)
    return path


@pytest.fixture
def some(pixels, encode):
    def make(first, n):
        return [encode(pixels(i)) for i in range(first, first + n)]

    return make


def by_pillow(images):
    return torch.stack(
        [torch.from_numpy(np.array(Image.open(io.BytesIO(one)))).movedim(2, 0) for one in images]
    )


@pytest.mark.parametrize("inside", ["", "data", "plain_text"])
def test_shards_are_joined_in_order(inside, some, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 4)
    root = tmp_path / "pets"
    images, labels = some(0, 30), [i % 3 for i in range(30)]
    for shard, part in enumerate((slice(0, 11), slice(11, 30))):
        write(root / inside / f"train-0000{shard}-of-00002.parquet", images[part], labels[part], features())
    write(root / inside / "test-00000-of-00001-0123abcd.parquet", some(50, 5), [2, 1, 0, 1, 2], features())
    train, test = load(root)
    assert (train.name, train.class_names) == ("pets", tuple(NAMES))
    assert train.labels.tolist() == labels
    assert test.labels.tolist() == [2, 1, 0, 1, 2]
    assert list(train.ids) == [f"train:{i}" for i in range(30)]
    assert test.ids[-1] == "test:4"
    assert torch.equal(train.images, by_pillow(images))
    assert torch.equal(test.images, by_pillow(some(50, 5)))
    assert train.notes == ()


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_validation_serves_as_test(name, some, tmp_path):
    write(tmp_path / "train-0.parquet", some(0, 4), [0, 1, 2, 0], features())
    write(tmp_path / f"{name}-0.parquet", some(9, 3), [0, 1, 2], features())
    assert list(load(tmp_path)[1].ids) == [f"{name}:0", f"{name}:1", f"{name}:2"]


def test_other_parts_are_named_and_ignored(some, tmp_path):
    for part in ("train", "test", "validation", "unsupervised"):
        write(tmp_path / f"{part}-00000-of-00001.parquet", some(0, 3), [0, 1, 2], features())
    train, test = load(tmp_path)
    assert test.ids[0] == "test:0"
    assert train.notes[0].startswith("ignored the parts unsupervised (3 rows), validation (3 rows) of ")


@pytest.mark.parametrize(
    ("name", "words", "noted"),
    [
        ("split", ["train", "test", "val"], "(test, train, val)"),
        ("Subset", ["train", "dev", "dev"], "(dev, train)"),
        ("split", ["train"] * 3, None),
        ("part", ["wing", "train", "test"], None),
    ],
)
@pytest.mark.parametrize("form", ["one file", "two files", "object"])
def test_a_column_of_parts_that_is_not_read_is_named(name, words, noted, form, some, tmp_path):
    image = [{"bytes": each, "path": None} for each in some(0, 30)]
    table = pa.table({"image": image, "label": [i % 3 for i in range(30)], name: np.repeat(words, 10)})
    source = tmp_path
    if form == "object":
        source = pytest.importorskip("datasets").Dataset(table)
        source = source.cast_column("image", pytest.importorskip("datasets").Image())
    else:
        cut = 10 if form == "two files" else 30
        for number, part in enumerate((table[:cut], table[cut:])[: 1 if cut == 30 else 2]):
            pq.write_table(part, tmp_path / f"train-{number}.parquet")
    notes = [note for note in load(source)[0].notes if note.startswith("the column")]
    wanted = f"the column {name!r} {noted} does not divide the set: give each part a file or key of its own"
    assert notes == ([wanted] if noted else [])


def test_without_a_test_part_some_rows_are_held_out(some, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 4)
    images, labels = some(0, 30), [i % 3 for i in range(30)]
    write(tmp_path / "train-00000-of-00002.parquet", images[:13], labels[:13], features())
    write(tmp_path / "train-00001-of-00002.parquet", images[13:], labels[13:], features())
    train, test = load(tmp_path)
    assert test.labels.bincount().tolist() == [2, 2, 2]
    assert "6 images (0.2 of each class) are held out" in train.notes[0]
    for part in (train, test):
        rows = [int(name.removeprefix("train:")) for name in part.ids]
        assert torch.equal(part.images, by_pillow([images[row] for row in rows]))
        assert part.labels.tolist() == [labels[row] for row in rows]


def test_a_single_file_is_a_set(some, tmp_path):
    path = write(tmp_path / "birds.parquet", some(0, 10), [0, 1] * 5)
    write(tmp_path / "other.parquet", some(0, 10), [0, 1] * 5)
    train, test = load(path)
    assert train.name == "birds"
    assert train.class_names == ("0", "1")
    assert len(train) + len(test) == 10


def test_a_dot_has_the_folder_s_name(some, tmp_path, monkeypatch):
    write(tmp_path / "pets" / "train.parquet", some(0, 4), [0, 1, 0, 1])
    monkeypatch.chdir(tmp_path / "pets")
    assert load(".")[0].name == "pets"


def test_without_names_the_labels_are_the_classes(some, tmp_path):
    write(tmp_path / "train.parquet", some(0, 2), [0, 1])
    write(tmp_path / "test.parquet", some(0, 2), [3, 1])
    train, test = load(tmp_path)
    assert train.class_names == test.class_names == ("0", "1", "3")
    assert "no training image, so it cannot be learned: class '3'" in train.notes


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float64(), pa.int32()])
def test_any_whole_number_is_a_label(kind, some, tmp_path):
    write(tmp_path / "train.parquet", some(0, 2), [0, 1], kind=kind)
    write(tmp_path / "test.parquet", some(0, 2), [1, 0], kind=kind)
    assert load(tmp_path)[1].labels.tolist() == [1, 0]


def test_bare_bytes_are_images_too(some, tmp_path):
    for part in ("train", "test"):
        pq.write_table(pa.table({"image": some(0, 4), "label": [0, 1, 0, 1]}), tmp_path / f"{part}.parquet")
    assert torch.equal(load(tmp_path)[0].images, by_pillow(some(0, 4)))


def test_fine_labels_win_and_a_note_says_so(some, tmp_path):
    described = features(label="coarse_label") | features(label="fine_label")
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", some(0, 3), [2, 1, 0], described, label="fine_label",
              coarse_label=pa.array([0, 0, 0]))  # fmt: skip
    train, _ = load(tmp_path)
    assert train.labels.tolist() == [2, 1, 0]
    assert train.notes == ("label column 'fine_label' used, 'coarse_label' ignored",)


def test_a_described_column_may_have_any_name(some, tmp_path):
    described = features(image="photo", label="species")
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", some(0, 3), [2, 1, 0], described, image="photo", label="species")
    assert load(tmp_path)[0].class_names == tuple(NAMES)


def test_a_useless_description_is_passed_over(some, tmp_path):
    for part in ("train", "test"):
        path = write(tmp_path / f"{part}.parquet", some(0, 2), [1, 0])
        table = pq.read_table(path).replace_schema_metadata({"huggingface": "{not json"})
        pq.write_table(table, path)
    assert load(tmp_path)[0].class_names == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "described", "message"),
    [
        ([0, None, 1], features(), r"train.parquet, row 1: the label is missing"),
        ([0, 1, float("nan")], features(), r"train.parquet, row 2: the label is missing"),
        ([0.5, 1, 2], features(), r"row 0: the label is 0.5"),
        ([0, -1, 1], features(), r"row 1: the label is -1, expected 0 to 2; -1 marks an unlabeled row"),
        ([0, 1, 3], features(), r"row 2: the label is 3, expected 0 to 2"),
        (["cat", None, "dog"], None, r"row 1: the label is missing"),
        ([[0], [1], [0, 1]], None, r"column 'label' holds lists of 1 to 2 numbers, expected class names"),
        ([0, 0, 0], None, r"a single class, '0'"),
        ([0, 0, 0], features(["cat", "dog", "cat"]), r"class name 'cat' occurs twice"),
    ],
)
def test_bad_labels_are_named(labels, described, message, some, tmp_path):
    write(tmp_path / "train.parquet", some(0, 3), labels, described)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_row_is_that_of_the_file(some, tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", some(0, 3), [0, 1, 2], features())
    write(tmp_path / "train-00001-of-00002.parquet", some(0, 3), [0, 9, 2], features())
    with pytest.raises(InputError, match=r"train-00001-of-00002.parquet, row 1: the label is 9"):
        load(tmp_path)


def test_a_missing_image_is_named_or_left_out(some, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 2)
    images = some(0, 8)
    images[5] = None
    write(tmp_path / "train.parquet", images, [0, 1] * 4)
    write(tmp_path / "test.parquet", some(0, 2), [0, 1])
    with pytest.raises(InputError, match=r"1 of 10 images cannot be read: train:5 \(0 bytes\); repair or"):
        load(tmp_path)
    train, _ = load(tmp_path, bad_images="skip")
    assert list(train.ids) == [f"train:{row}" for row in (0, 1, 2, 3, 4, 6, 7)]


def test_an_image_kept_elsewhere_is_named(tmp_path):
    cells = pa.array(
        [{"bytes": None, "path": "a.jpg"}] * 2, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    for part in ("train", "test"):
        pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / f"{part}.parquet")
    with pytest.raises(InputError, match=r"row 0: there is only the path 'a.jpg', no bytes"):
        load(tmp_path)


def test_unreadable_images_fail_or_are_left_out(some, tmp_path):
    images = some(0, 6)
    images[4] = b"damaged"
    write(tmp_path / "train.parquet", images, [0, 1, 0, 1, 0, 1])
    write(tmp_path / "test.parquet", some(0, 2), [0, 1])
    with pytest.raises(InputError, match=r"1 of 8 images cannot be read: train:4 \(not an image\)"):
        load(tmp_path)
    train, _ = load(tmp_path, bad_images="skip")
    assert list(train.ids) == ["train:0", "train:1", "train:2", "train:3", "train:5"]
    assert train.labels.tolist() == [0, 1, 0, 1, 1]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all"])
def test_a_file_that_is_no_parquet_is_named(damage, some, tmp_path):
    write(tmp_path / "train.parquet", some(0, 3), [0, 1, 2])
    (tmp_path / "test.parquet").write_bytes(damage)
    with pytest.raises(InputError, match=r"test.parquet cannot be read as Parquet .*; get the file again"):
        load(tmp_path)


@pytest.mark.parametrize("part", [slice(0, -100), slice(0, 500)])
def test_a_truncated_file_is_named(part, some, tmp_path):
    path = write(tmp_path / "train.parquet", some(0, 20), [0, 1] * 10)
    path.write_bytes(path.read_bytes()[part])
    with pytest.raises(InputError, match=r"train.parquet cannot be read as Parquet"):
        load(tmp_path)


def test_damage_in_the_middle_is_named(some, tmp_path):
    path = write(tmp_path / "train.parquet", some(0, 20), [0, 1] * 10)
    content = bytearray(path.read_bytes())
    content[4:4000] = bytes(3996)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train.parquet"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1]},
            r"no column to learn from besides the labels \(all words differ: 'text'\)",
        ),
        (
            {"image": [b"1", b"2"], "kind": [0, 1]},
            "no label column; it has image, kind, expected one called label",
        ),
    ],
)
def test_a_missing_column_is_named(columns, message, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_a_shard_without_the_column_is_named(some, tmp_path):
    write(tmp_path / "train.parquet", some(0, 3), [0, 1, 2])
    write(tmp_path / "test.parquet", some(0, 3), [0, 1, 2], label="labels")
    with pytest.raises(InputError, match=r"test\.parquet lacks the column 'label'"):
        load(tmp_path)


def test_parts_without_train_are_explained(some, tmp_path):
    for part in ("test", "other"):
        write(tmp_path / f"{part}.parquet", some(0, 3), [0, 1, 2])
    with pytest.raises(InputError, match=r"has the parts other, test but none called train-\*\.parquet"):
        load(tmp_path)


def test_several_configurations_are_explained(some, tmp_path):
    for name in ("small", "large"):
        write(tmp_path / name / "train.parquet", some(0, 3), [0, 1, 2])
    with pytest.raises(InputError, match=r"several data sets \(large, small\); name the folder"):
        load(tmp_path)


@pytest.mark.parametrize("with_test", [True, False])
def test_no_rows_are_an_error(with_test, some, tmp_path):
    write(tmp_path / "train.parquet", [], [], features(), kind=pa.int64())
    if with_test:
        write(tmp_path / "test.parquet", some(0, 2), [0, 1], features())
    with pytest.raises(InputError, match=r"no training images are left|labels of \S+ are empty"):
        load(tmp_path)


def test_names_that_are_not_utf_8_are_one_line(some, tmp_path):
    path = write(tmp_path / "train.parquet", some(0, 6), [0, 1] * 3)
    content = path.read_bytes()
    assert b"label" in content
    path.write_bytes(content.replace(b"label", b"l\xffbel"))
    with pytest.raises(InputError, match=r"train.parquet cannot be read as Parquet \([^\n]*\); get"):
        load(path)


@pytest.mark.parametrize(("width", "sure"), [(1, False), (2, True)])
@pytest.mark.parametrize("kind", ["images", "rows"])
def test_shards_numbered_without_padding_have_no_sure_order(kind, width, sure, pixels, encode, tmp_path):
    """Text sorts shard 10 before shard 2, and a user may have written the probabilities in either order."""
    root = tmp_path / "shards"
    root.mkdir()
    for shard in range(12):
        names = [str(k % 2) for k in range(4)]
        table = pa.table({"id": [f"{shard}-{k}" for k in range(4)], "x": [float(shard)] * 4, "label": names})
        if kind == "images":
            images = [{"bytes": encode(pixels(shard * 4 + k)), "path": None} for k in range(4)]
            table = table.drop_columns(["x"]).append_column("image", pa.array(images))
        pq.write_table(table, root / f"train-{shard:0{width}}.parquet")
    truth = np.tile([[0.97, 0.03], [0.03, 0.97]], (24, 1))
    if sure:
        assert not nl.audit_labels(root, probs=truth).flagged.any()
        return
    with pytest.raises(InputError, match="sorted as text and sorted by number; add a column of ids"):
        nl.audit_labels(root, probs=truth)
    pd.DataFrame(
        {"id": [f"{shard}-{k}" for shard in range(12) for k in range(4)], "0": truth[:, 0], "1": truth[:, 1]}
    ).to_csv(tmp_path / "probs.csv", index=False)
    found = nl.audit_labels(root, probs=tmp_path / "probs.csv", id_column="id")
    assert len(found) == 48
    assert not found.flagged.any()


@pytest.mark.parametrize("place", ["TRAIN.PARQUET", "train.Parquet", "data/train.PARQUET", "one/x.PARQUET"])
def test_the_case_of_the_suffix_does_not_matter(place, some, tmp_path):
    path = write(tmp_path / place, some(0, 6), [0, 1] * 3)
    for source in (path, tmp_path):
        train, test = load(source)
        assert len(train) + len(test) == 6
