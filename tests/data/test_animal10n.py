import struct

import numpy as np
import pytest
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.data import animal10n
from noisylabels.data.catalog import load

TRAIN = ["0_img_5.jpg", "9_img_7.jpg", "1_img_1.jpg", "1_img_0.jpg"]


def test_the_first_digit_of_a_file_is_its_label(tree):
    root = tree(*(f"training/{name}" for name in TRAIN), "testing/3_img_2.jpg")
    (root / "training/.hidden").touch()
    (root / "training/readme.txt").touch()
    train, test = load(root)
    assert list(train.ids) == [f"training/{name}" for name in sorted(TRAIN)]
    assert train.labels.tolist() == [0, 1, 1, 9]
    assert (test.labels.tolist(), test.class_names[3]) == ([3], "coyote")
    assert len(train.class_names) == 10
    first = np.array(Image.open(root / train.ids[0])).transpose(2, 0, 1)
    assert np.array_equal(train.images[0].numpy(), first)


def test_by_name(tree, tmp_path):
    tree(*(f"training/{name}" for name in TRAIN), "testing/3_img_2.jpg", root="ANIMAL-10N")
    assert len(load("animal10n", root=tmp_path)[0]) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("training/cat.jpg", r"cat.jpg does not begin with its label"),
        ("testing/x/", r"testing holds no image"),
    ],
)
def test_other_files_are_named(name, message, tree):
    root = tree(*(f"training/{file}" for file in TRAIN), name, "testing/a/")
    with pytest.raises(InputError, match=message):
        load(root)


@pytest.fixture
def batches(tmp_path):
    """Write binary batches with `struct`, as the format is described: number, label, then planes."""

    def make(counts, order=">", labels=None):
        rng = np.random.default_rng(0)
        written = []
        for name, n in counts.items():
            content = b""
            for i in range(n):
                label = labels if labels is not None else (3 * i + n) % 10
                planes = rng.integers(0, 256, (3, 64, 64), dtype=np.uint8)
                content += struct.pack(f"{order}II", 1000 + i, label) + planes.tobytes()
                written.append((label, planes))
            (tmp_path / name).write_bytes(content)
        return written

    return make


@pytest.mark.parametrize("order", [">", "<"])
def test_batches(order, batches, tmp_path, monkeypatch):
    monkeypatch.setattr(animal10n, "_RECORDS_AT_ONCE", 4)
    written = batches(
        {"data_batch_1.bin": 6, "data_batch_2.bin": 3, "data_batch_10.bin": 2, "test_batch.bin": 5}, order
    )
    train, test = load(tmp_path)
    assert train.labels.tolist() == [label for label, _ in written[:11]]
    assert test.labels.tolist() == [label for label, _ in written[11:]]
    assert np.array_equal(train.images.numpy(), np.stack([planes for _, planes in written[:11]]))
    assert np.array_equal(test.images.numpy(), np.stack([planes for _, planes in written[11:]]))
    assert train.ids[10] == "data_batch_10.bin:1"
    small, _ = load(tmp_path, image_size=16)
    assert tuple(small.images.shape) == (11, 3, 16, 16)


def test_a_truncated_batch_is_named(batches, tmp_path):
    batches({"data_batch_1.bin": 4, "test_batch.bin": 4})
    content = (tmp_path / "test_batch.bin").read_bytes()
    (tmp_path / "test_batch.bin").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"test_batch.bin has 49,183 bytes, expected a multiple of 12,296"):
        load(tmp_path)


def test_other_labels_are_refused(batches, tmp_path):
    batches({"data_batch_1.bin": 4, "test_batch.bin": 4}, labels=10)
    with pytest.raises(
        InputError, match=r"data_batch_1.bin is not a batch of ANIMAL-10N: it has labels other than 0 to 9"
    ):
        load(tmp_path)


def test_binary_cifar_10_is_not_mistaken_for_it(tmp_path):
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(bytes(3073 * 10))
    assert animal10n.find(tmp_path) is None
