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
from noisylabels.data.cifar import CIFAR10, CIFAR100, CIFAR100_COARSE

ROWS = 20
FILES = (*CIFAR10.train_files, CIFAR10.test_file)


class Python2Pickler(pickle._Pickler):
    """Pickler that writes as Python 2 did: protocol 2, byte strings, and NumPy's old module names."""

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


def official(root, contents, monkeypatch, release=CIFAR10):
    """Write the authors' folder and archive, with a matching table of checksums."""
    folder = root / release.folder
    folder.mkdir(parents=True)
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with tarfile.open(root / release.archive, "w:gz") as archive:
        archive.add(folder, arcname=release.folder)
    sums[release.archive] = hashlib.md5((root / release.archive).read_bytes()).hexdigest()
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


@pytest.mark.parametrize("place", [CIFAR10.folder, CIFAR10.archive])
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
    one, other = load(root / CIFAR10.folder), load(root / CIFAR10.archive)
    assert [part.digest for part in one] == [part.digest for part in other]


def test_the_name_finds_every_place(root, tmp_path, monkeypatch):
    digest = load("cifar10", root)[0].digest
    assert load("cifar10", str(root / CIFAR10.folder))[0].digest == digest
    monkeypatch.setenv("NOISYLABELS_DATA", str(root))
    assert load("cifar10")[0].digest == digest
    (root / CIFAR10.folder).rename(root / "renamed")
    assert load("cifar10")[0].digest == digest  # from the archive
    assert load(root / "renamed")[0].digest == digest  # known by its files
    assert load("cifar10", root / "renamed")[0].digest == digest
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("NOISYLABELS_DATA", str(elsewhere))
    assert load("cifar10", root)[0].digest == digest  # what is said beats the environment


def test_not_found_says_where_and_how(tmp_path, monkeypatch):
    with pytest.raises(InputError) as caught:
        load("cifar10")
    for words in ("noisylabels download cifar10", "get https://", "--data-root, root=", "NOISYLABELS_DATA"):
        assert words in str(caught.value)
    monkeypatch.setenv("NOISYLABELS_DATA", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"no cifar10 in .*gone; run `noisylabels download .* get https://"):
        load("cifar10")


def test_a_folder_that_lacks_a_file_gives_way_to_the_archive(root):
    digest = load("cifar10", root)[0].digest
    (root / CIFAR10.folder / "data_batch_4").unlink()
    assert load("cifar10", root)[0].digest == digest
    (root / CIFAR10.archive).unlink()
    with pytest.raises(InputError, match=r"cannot read .*data_batch_4 \(No such file"):
        load("cifar10", root)


def test_images_can_be_resized(root):
    train, test = load("cifar10", root, image_size=8)
    assert train.images.shape[1:] == test.images.shape[1:] == (3, 8, 8)


def test_a_wrong_checksum_names_file_and_sums(root):
    path = root / CIFAR10.folder / "data_batch_3"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    found, expected = hashlib.md5(content).hexdigest(), cifar.MD5["data_batch_3"]
    with pytest.raises(InputError, match=f"data_batch_3 of .* its md5 is {found} .* expected {expected}"):
        load(root / CIFAR10.folder)


def test_a_truncated_archive_is_named(root):
    path = root / CIFAR10.archive
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(
        InputError, match=r"cifar-10-python.tar.gz is not the published file: .* bytes\), expected"
    ):
        load(path)


def test_a_missing_file_is_named(root):
    (root / CIFAR10.folder / "data_batch_4").unlink()
    with pytest.raises(InputError, match=r"cannot read .*data_batch_4 \(No such file"):
        load(root / CIFAR10.folder)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00damaged"])
def test_what_is_no_archive_is_an_error(content, root, monkeypatch):
    (root / CIFAR10.archive).write_bytes(content)
    monkeypatch.setitem(cifar.MD5, CIFAR10.archive, hashlib.md5(content).hexdigest())
    with pytest.raises(InputError, match=r"tar.gz cannot be read"):
        load(root / CIFAR10.archive)


def test_an_archive_without_a_member_is_an_error(root, tmp_path, monkeypatch):
    path = tmp_path / CIFAR10.archive
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root / CIFAR10.folder / "data_batch_1", arcname=f"{CIFAR10.folder}/data_batch_1")
    monkeypatch.setitem(cifar.MD5, CIFAR10.archive, hashlib.md5(path.read_bytes()).hexdigest())
    with pytest.raises(InputError, match="data_batch_2"):
        load(path)


def test_names_in_an_archive_reach_no_disk(root, tmp_path, monkeypatch):
    with tarfile.open(root / CIFAR10.archive, "w:gz") as archive:
        archive.add(root / CIFAR10.folder, arcname=CIFAR10.folder)
        evil = tarfile.TarInfo("../../evil")
        evil.size = 4
        archive.addfile(evil, io.BytesIO(b"evil"))
    sum_ = hashlib.md5((root / CIFAR10.archive).read_bytes()).hexdigest()
    monkeypatch.setitem(cifar.MD5, CIFAR10.archive, sum_)
    before = sorted(path for path in tmp_path.rglob("*"))
    assert len(load(root / CIFAR10.archive)[0]) == 100
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "labels that are not integers 0 to 9"),
        ({"labels": [10] * ROWS}, "labels that are not integers 0 to 9"),
        ({"labels": [0.0] * ROWS}, "labels that are not integers 0 to 9"),
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
    with pytest.raises(InputError, match="lacks data or labels"):
        load("cifar10", official(tmp_path / "sets", contents, monkeypatch))


def test_the_second_start_reads_no_file(root, monkeypatch):
    first = load("cifar10", root)
    monkeypatch.setattr(cifar, "read_table", None)
    assert torch.equal(load("cifar10", root)[0].images, first[0].images)
    shutil.rmtree(root / CIFAR10.folder)


@pytest.mark.parametrize(
    "form", [["paper", "--data-root", "."], ["--data", CIFAR10.archive], ["--data", CIFAR10.folder]]
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


# CIFAR-100: the same code with another row of the table


@pytest.fixture
def hundred(tmp_path, monkeypatch):
    contents = {
        name: Python2Pickler.dumps(
            {
                "filenames": ["image.png"] * ROWS,
                "batch_label": name,
                "fine_labels": [int(k) for k in np.random.default_rng(seed).integers(0, 100, ROWS)],
                "coarse_labels": [int(k) for k in np.random.default_rng(seed + 7).integers(0, 20, ROWS)],
                "data": np.random.default_rng(seed).integers(0, 256, (ROWS, 3072), dtype=np.uint8),
            }
        )
        for seed, name in enumerate(("train", "test"))
    }
    contents["meta"] = Python2Pickler.dumps({"fine_label_names": list(cifar.FINE_NAMES)})
    return official(tmp_path / "sets", contents, monkeypatch, CIFAR100)


def test_the_names_of_cifar100_are_in_the_order_of_the_labels():
    # labels 0, 19, 42, 55, 99 as in torchvision's and Keras's documents; the names go by the alphabet
    assert [cifar.FINE_NAMES[k] for k in (0, 19, 42, 55, 99)] == [
        "apple", "cattle", "leopard", "otter", "worm",
    ]  # fmt: skip
    for names, count in ((cifar.FINE_NAMES, 100), (cifar.COARSE_NAMES, 20)):
        assert len(names) == len(set(names)) == count
        assert list(names) == sorted(names)


@pytest.mark.parametrize("place", [CIFAR100.folder, CIFAR100.archive])
@pytest.mark.parametrize(
    ("release", "shift"), [(CIFAR100, 0), (CIFAR100_COARSE, 7)], ids=["cifar100", "cifar100-coarse"]
)
def test_cifar100_is_read(release, shift, place, hundred):
    for other in {CIFAR100.folder, CIFAR100.archive} - {place}:
        (hundred / other).rename(hundred / "elsewhere")
    train, test = load(release.name, hundred)
    assert train.name == release.name
    assert train.class_names == release.class_names
    K = len(release.class_names)
    for seed, part in enumerate((train, test)):
        rows = np.random.default_rng(seed).integers(0, 256, (ROWS, 3, 32, 32), dtype=np.uint8)
        assert np.array_equal(part.images.numpy(), rows)
        labels = np.random.default_rng(seed + shift).integers(0, K, ROWS)
        assert part.labels.tolist() == labels.tolist()
    assert (train.ids[-1], test.ids[0]) == ("train:19", "test:0")


def test_a_path_gives_the_fine_labels_also_under_another_name(hundred):
    digest = load("cifar100", hundred)[0].digest
    assert load(hundred / CIFAR100.archive)[0].digest == digest
    (hundred / CIFAR100.folder).rename(hundred / "renamed")
    assert load(hundred / "renamed")[0].digest == digest
    assert load("cifar100-coarse", hundred / "renamed")[0].num_classes == 20


def test_a_folder_of_train_and_test_folders_is_not_cifar100(tree):
    root = tree(*(f"{part}/{name}/{i}.png" for part in ("train", "test") for name in "ab" for i in "12"))
    (root / "meta").write_text("something else")
    assert load(root)[0].class_names == ("a", "b")


def test_cifar100_is_checked_by_its_checksums(hundred):
    path = hundred / CIFAR100.folder / "test"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"test of .* is not the published file: .* get https://.*cifar-100"):
        load("cifar100", hundred / CIFAR100.folder)


def test_cifar10_and_cifar100_lie_side_by_side(hundred, contents, monkeypatch):
    sums = dict(cifar.MD5)
    official(hundred, contents, monkeypatch)
    monkeypatch.setattr(cifar, "MD5", sums | cifar.MD5)
    assert load("cifar10", hundred)[0].num_classes == 10
    assert load("cifar100", hundred)[0].num_classes == 100


@pytest.mark.parametrize("labels", [[100] * ROWS, [-1] * ROWS, [True] * ROWS])
def test_labels_beyond_the_names_are_an_error(labels, tmp_path, monkeypatch):
    table = {"fine_labels": labels, "data": np.zeros((ROWS, 3072), dtype=np.uint8)}
    contents = {name: Python2Pickler.dumps(table) for name in ("train", "test")}
    root = official(tmp_path / "sets", contents, monkeypatch, CIFAR100)
    with pytest.raises(InputError, match=r"^train of .* labels that are not integers 0 to 99"):
        load("cifar100", root)
    with pytest.raises(InputError, match="lacks data or coarse_labels"):
        load("cifar100-coarse", root)


def test_the_published_checksums():
    """As in torchvision's cifar.py; an error here would refuse the published files."""
    known = {
        CIFAR10: "c58f30108f718f92721af3b95e74349a",
        CIFAR100: "eb9058c3a382ffc7106e4002c42a8d85",
        CIFAR100_COARSE: "eb9058c3a382ffc7106e4002c42a8d85",
    }
    for release, md5 in known.items():
        (file,) = release.files
        assert file.digest == f"md5:{md5}"
        assert file.urls == (
            f"https://www.cs.toronto.edu/~kriz/{file.name}",
            f"https://cave.cs.toronto.edu/kriz/{file.name}",
        )
        assert file.size == {"cifar-10": 170_498_071, "cifar-100": 169_001_437}[file.name[:-14]]
    assert all(len(md5) == 32 for md5 in cifar.MD5.values())
    assert len(set(cifar.MD5.values())) == 10
