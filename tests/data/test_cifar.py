import hashlib
import io
import pickle
import shutil
import struct
import tarfile

import numpy as np
import pytest
import torch

from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.files import read_json
from noisylabels.data import cifar
from noisylabels.data.catalog import load

ROWS = 20
FILES = (*cifar.TRAIN_FILES, cifar.TEST_FILE)


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote: protocol 2, all strings as byte strings, NumPy's old module names."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_string(self, value):
        content = value.encode() if isinstance(value, str) else value
        if len(content) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) + content)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string

    @classmethod
    def dumps(cls, value):
        buffer = io.BytesIO()
        cls(buffer, 2).dump(value)
        return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def batch(number):
    generator = np.random.default_rng(number)
    return {
        "batch_label": f"training batch {number} of 5",
        "labels": [int(k) for k in generator.integers(0, 10, ROWS)],
        "data": generator.integers(0, 256, (ROWS, 3072), dtype=np.uint8),
        "filenames": [f"image_{i}.png" for i in range(ROWS)],
    }


def official(root, contents, monkeypatch):
    """Lay out a folder and an archive as the authors do, and let the table of checksums agree."""
    folder = root / cifar.FOLDER
    folder.mkdir(parents=True)
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with tarfile.open(root / cifar.ARCHIVE, "w:gz") as archive:
        archive.add(folder, arcname=cifar.FOLDER)
    sums[cifar.ARCHIVE] = hashlib.md5((root / cifar.ARCHIVE).read_bytes()).hexdigest()
    monkeypatch.setattr(cifar, "MD5", sums)
    return root


@pytest.fixture
def contents():
    return {name: Python2Pickler.dumps(batch(i)) for i, name in enumerate(FILES, start=1)}


@pytest.fixture
def root(tmp_path, contents, monkeypatch):
    return official(tmp_path / "sets", contents, monkeypatch)


def test_the_made_up_files_are_what_python_2_wrote(contents):
    content = contents["data_batch_1"].replace(b"cnumpy.core.", b"cnumpy._core.")  # the old name warns
    table = pickle.loads(content, encoding="bytes")
    assert np.array_equal(table[b"data"], batch(1)["data"])
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in contents["data_batch_1"]


@pytest.mark.parametrize("place", [cifar.FOLDER, cifar.ARCHIVE])
def test_the_official_layout_is_read(place, root):
    train, test = load(root / place)
    assert train.class_names == cifar.CLASS_NAMES
    assert train.name == "cifar10"
    expected = np.concatenate([batch(i)["data"] for i in range(1, 6)]).reshape(-1, 3, 32, 32)
    assert np.array_equal(train.images.numpy(), expected)
    assert train.labels.tolist() == [label for i in range(1, 6) for label in batch(i)["labels"]]
    assert np.array_equal(test.images.numpy(), batch(6)["data"].reshape(-1, 3, 32, 32))
    assert test.labels.tolist() == batch(6)["labels"]
    assert (train.ids[-1], test.ids[-1]) == ("train:99", "test:19")


def test_folder_and_archive_give_the_same(root):
    one, other = load(root / cifar.FOLDER), load(root / cifar.ARCHIVE)
    assert [part.digest for part in one] == [part.digest for part in other]


def test_the_name_finds_every_place(root, tmp_path, monkeypatch):
    digest = load("cifar10", root)[0].digest
    assert load("cifar10", str(root / cifar.FOLDER))[0].digest == digest
    monkeypatch.setenv("NOISYLABELS_DATA", str(root))
    assert load("cifar10")[0].digest == digest
    (root / cifar.FOLDER).rename(root / "renamed")
    assert load("cifar10")[0].digest == digest  # from the archive
    assert load(root / "renamed")[0].digest == digest  # known by its files
    assert load("cifar10", root / "renamed")[0].digest == digest
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("NOISYLABELS_DATA", str(elsewhere))
    assert load("cifar10", root)[0].digest == digest  # what is said beats the environment


def test_not_found_says_where_and_how(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"get https://\S+, and give its folder by --data-root, root=, or .*NOISYLABELS_DATA"
    ):
        load("cifar10")
    monkeypatch.setenv("NOISYLABELS_DATA", str(tmp_path / "gone"))
    with pytest.raises(
        InputError, match=r"no cifar10 in .*gone \(looked for cifar-10-batches-py/.*get https://"
    ):
        load("cifar10")


def test_images_can_be_resized(root):
    train, test = load("cifar10", root, image_size=8)
    assert train.images.shape[1:] == test.images.shape[1:] == (3, 8, 8)


def test_a_wrong_checksum_names_file_and_sums(root):
    path = root / cifar.FOLDER / "data_batch_3"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    found, expected = hashlib.md5(content).hexdigest(), cifar.MD5["data_batch_3"]
    with pytest.raises(InputError, match=f"data_batch_3 of .* its md5 is {found} .* expected {expected}"):
        load(root / cifar.FOLDER)


def test_a_truncated_archive_is_named(root):
    path = root / cifar.ARCHIVE
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(
        InputError, match=r"cifar-10-python.tar.gz is not the published file: .* bytes\), expected"
    ):
        load(path)


def test_a_missing_file_is_named(root):
    (root / cifar.FOLDER / "data_batch_4").unlink()
    with pytest.raises(InputError, match=r"cannot read .*data_batch_4 \(No such file"):
        load(root / cifar.FOLDER)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00damaged"])
def test_what_is_no_archive_is_an_error(content, root, monkeypatch):
    (root / cifar.ARCHIVE).write_bytes(content)
    monkeypatch.setitem(cifar.MD5, cifar.ARCHIVE, hashlib.md5(content).hexdigest())
    with pytest.raises(InputError, match=r"tar.gz cannot be read"):
        load(root / cifar.ARCHIVE)


def test_an_archive_without_a_member_is_an_error(root, tmp_path, monkeypatch):
    path = tmp_path / cifar.ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root / cifar.FOLDER / "data_batch_1", arcname=f"{cifar.FOLDER}/data_batch_1")
    monkeypatch.setitem(cifar.MD5, cifar.ARCHIVE, hashlib.md5(path.read_bytes()).hexdigest())
    with pytest.raises(InputError, match="data_batch_2"):
        load(path)


def test_names_in_an_archive_reach_no_disk(root, tmp_path, monkeypatch):
    with tarfile.open(root / cifar.ARCHIVE, "w:gz") as archive:
        archive.add(root / cifar.FOLDER, arcname=cifar.FOLDER)
        evil = tarfile.TarInfo("../../evil")
        evil.size = 4
        archive.addfile(evil, io.BytesIO(b"evil"))
    sum_ = hashlib.md5((root / cifar.ARCHIVE).read_bytes()).hexdigest()
    monkeypatch.setitem(cifar.MD5, cifar.ARCHIVE, sum_)
    before = sorted(path for path in tmp_path.rglob("*"))
    assert len(load(root / cifar.ARCHIVE)[0]) == 100
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "labels that are not whole numbers 0 to 9"),
        ({"labels": [10] * ROWS}, "labels that are not whole numbers 0 to 9"),
        ({"labels": [0.0] * ROWS}, "labels that are not whole numbers 0 to 9"),
        ({"labels": [0]}, "does not hold 1 rows of 3072 bytes"),
        ({"data": np.zeros((ROWS, 3072), dtype=np.int32)}, "does not hold 20 rows"),
        ({"data": np.zeros((ROWS, 9), dtype=np.uint8)}, "does not hold 20 rows"),
        ({"data": b"bytes"}, "does not hold 20 rows"),
    ],
)
def test_content_that_is_not_cifar10_is_an_error(change, message, contents, tmp_path, monkeypatch):
    contents["data_batch_2"] = Python2Pickler.dumps(batch(2) | change)
    root = official(tmp_path / "sets", contents, monkeypatch)
    with pytest.raises(InputError, match=f"^data_batch_2 of .* {message}"):
        load("cifar10", root)


def test_code_in_a_batch_is_not_run(contents, tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    contents["test_batch"] = f"cposix\nsystem\n(S'touch {trace}'\ntR.".encode()
    root = official(tmp_path / "sets", contents, monkeypatch)
    with pytest.raises(InputError, match=r"test_batch of .* asks for posix\.system"):
        load("cifar10", root)
    assert not trace.exists()


def test_missing_keys_are_an_error(contents, tmp_path, monkeypatch):
    contents["test_batch"] = Python2Pickler.dumps({"data": batch(1)["data"]})
    with pytest.raises(InputError, match="holds no data and labels"):
        load("cifar10", official(tmp_path / "sets", contents, monkeypatch))


def test_the_second_start_reads_no_file(root, monkeypatch):
    first = load("cifar10", root)
    monkeypatch.setattr(cifar, "read_table", None)
    assert torch.equal(load("cifar10", root)[0].images, first[0].images)
    shutil.rmtree(root / cifar.FOLDER)


@pytest.mark.parametrize(
    "form", [["paper", "--data-root", "."], ["--data", cifar.ARCHIVE], ["--data", cifar.FOLDER]]
)
def test_the_command_line_trains_on_it(root, form, tmp_path, monkeypatch, capsys):
    """By name, from the archive, from the folder: the same images, and the paper's asymmetric noise."""
    monkeypatch.chdir(root)
    flags = ["--model", "mlp", "--epochs", "1", "--noise", "asymmetric:0.4", "--out", str(tmp_path / "run")]
    assert main(["train", *form, *flags]) == 0
    result = read_json(tmp_path / "run" / "result.json")
    assert result["noise"]["spec"] == "asymmetric:0.4@cifar10"
    assert tuple(result["class_names"]) == cifar.CLASS_NAMES
    train, _ = load("cifar10", root)
    environment = read_json(tmp_path / "run" / "environment.json")
    assert environment["identity"]["data"]["train"] == train.digest
