"""CIFAR-10 as its authors publish it: six Python 2 pickles, in a folder or a tar archive."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.data.picture import resize_arrays
from noisylabels.data.reading import Options, Plan, Reading
from noisylabels.data.unpickle import read_table

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_FILE = "test_batch"
LAYOUT = f"{ARCHIVE}, {FOLDER}/ or data_batch_1"
CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

# The archive's is on its authors' page, those of the files are in torchvision. Human labels for these images
# and every published figure assume exactly these files, in this order.
MD5 = {
    ARCHIVE: "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def locate(root: Path | None, variable: str) -> Path:
    """Return where CIFAR-10 lies: below `root`, or else below the folder that the variable names.

    Raises:
        InputError: it is not there; the message says where it was looked for and how to get it.
    """
    if root is None:
        named = os.environ.get(variable)
        if not named:
            raise InputError(
                f"cifar10 needs a folder: get {URL}, and give its folder by --data-root, "
                f"root=, or the variable {variable}"
            )
        root = Path(named).expanduser()
    place = find(root)
    if place is None:
        raise InputError(f"no cifar10 in {root} (looked for {FOLDER}/, data_batch_1, {ARCHIVE}); get {URL}")
    return place


def find(path: Path) -> Path | None:
    """Return the official folder or archive that `path` is or holds, whole or damaged, or None."""
    if path.is_file():
        return path if path.name == ARCHIVE else None
    if (path / FOLDER).is_dir():
        return path / FOLDER
    if path.is_dir() and (path.name == FOLDER or (path / TRAIN_FILES[0]).is_file()):
        return path
    return path / ARCHIVE if (path / ARCHIVE).is_file() else None


def plan(path: Path, options: Options) -> Plan:
    """Plan to read the official folder or archive at `path`.

    The labels 0..9 stand for `CLASS_NAMES`; the ids "train:0" to "train:49999" count through the five
    training files in their order, which is the order that lists of human labels refer to.

    Raises:
        InputError: later, when it is read: a file is missing, is not the published one, or holds
            something other than CIFAR-10.
    """
    inside = {name: path / name for name in (*TRAIN_FILES, TEST_FILE)}
    return Plan(
        name="cifar10",
        root=path,
        files={path.name: path} if path.is_file() else inside,
        options={"reader": "cifar10", "image_size": options.image_size},
        read=lambda: _read(path, options),
    )


def _read(path: Path, options: Options) -> Reading:
    contents = _from_archive(path) if path.is_file() else _from_folder(path)
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for name in (*TRAIN_FILES, TEST_FILE):
        found = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
        _check(f"{name} of {path}", found, MD5[name], len(contents[name]))
        pixels, classes = _batch(contents.pop(name), f"{name} of {path}")
        images.append(resize_arrays(pixels, options.image_size) if options.image_size else pixels)
        labels.append(classes)
    num_train = sum(len(part) for part in labels[:-1])
    ids = [f"train:{i}" for i in range(num_train)] + [f"test:{i}" for i in range(len(labels[-1]))]
    return Reading(
        shape=images[0].shape[1:],
        pieces=lambda: iter(images),
        labels=np.concatenate(labels),
        ids=ids,
        class_names=CLASS_NAMES,
        num_train=num_train,
    )


def _from_folder(path: Path) -> dict[str, bytes]:
    contents = {}
    for name in (*TRAIN_FILES, TEST_FILE):
        try:
            contents[name] = (path / name).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path / name} ({error.strerror}); unpack {URL} again") from None
    return contents


def _from_archive(path: Path) -> dict[str, bytes]:
    """Read the members' bytes; nothing is unpacked, so no name in the archive can reach the disk."""
    try:
        _check(str(path), file_digest(path, "md5"), MD5[ARCHIVE], path.stat().st_size)
        contents = {}
        with tarfile.open(path, "r:gz") as archive:
            for name in (*TRAIN_FILES, TEST_FILE):
                member = archive.extractfile(f"{FOLDER}/{name}")
                contents[name] = member.read() if member else b""
        return contents
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); get {URL} again") from None


def _check(what: str, found: str, expected: str, size: int) -> None:
    if found != expected:
        raise InputError(
            f"{what} is not the published file: its md5 is {found} ({size:,} bytes), expected {expected}; "
            f"get {URL} again"
        )


def _batch(content: bytes, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 3, 32, 32) and labels (n,) of one file."""
    table = read_table(content, what)
    if not {b"data", b"labels"} <= table.keys():
        raise InputError(f"{what} holds no data and labels; get {URL} again")
    data, classes = table[b"data"], table[b"labels"]
    if not (isinstance(classes, list) and all(type(k) is int and 0 <= k < 10 for k in classes)):
        raise InputError(f"{what} has labels that are not whole numbers 0 to 9; get {URL} again")
    shape = (len(classes), 3 * 32 * 32)
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape == shape):
        raise InputError(f"{what} does not hold {shape[0]} rows of {shape[1]} bytes; get {URL} again")
    return data.reshape(-1, 3, 32, 32), np.array(classes, dtype=np.int64)
