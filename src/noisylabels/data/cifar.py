"""CIFAR-10 and CIFAR-100 as their authors publish them: Python 2 pickles, in a folder or a tar archive."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.core.opening import JSON_BYTES, open_file, read_bytes
from noisylabels.core.unpickle import read_table
from noisylabels.data.image_decoding import resize_arrays
from noisylabels.data.published import File
from noisylabels.data.reader import Options, Plan, ReadResult

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

# The order of the labels, as in CIFAR-100's file "meta": alphabetical.
FINE_NAMES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle",
    "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear",
    "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon",
    "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
    "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
COARSE_NAMES = (
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables",
    "household_electrical_devices", "household_furniture", "insects", "large_carnivores",
    "large_man-made_outdoor_things", "large_natural_outdoor_scenes", "large_omnivores_and_herbivores",
    "medium_mammals", "non-insect_invertebrates", "people", "reptiles", "small_mammals", "trees",
    "vehicles_1", "vehicles_2",
)  # fmt: skip

# From the authors' page for the archives and from torchvision for the files. Human annotations of these
# images and all published results assume exactly these files, in this order.
MD5 = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}
SIZE = {"cifar-10-python.tar.gz": 170_498_071, "cifar-100-python.tar.gz": 169_001_437}  # bytes


@dataclass(frozen=True)
class Release:
    """The files of one of the published sets.

    Args:
        name: the name that users write.
        archive: the archive's name.
        folder: the folder within it.
        train_files: the training files, in the order in which examples are counted.
        test_file: the test file.
        known_by: files that identify a folder with another name.
        labels: the key of the labels in a file.
        class_names: the classes' names, in the order of the labels.
    """

    name: str
    archive: str
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    known_by: tuple[str, ...]
    labels: str
    class_names: tuple[str, ...]

    @property
    def url(self) -> str:
        """The address at which the authors publish the archive."""
        return f"https://www.cs.toronto.edu/~kriz/{self.archive}"

    @property
    def layout(self) -> str:
        """The files and folders that identify the set, in words."""
        return f"{self.archive}, {self.folder}/ or {', '.join(self.known_by)}"

    @property
    def files(self) -> tuple[File, ...]:
        """The files of a download."""
        # In 2026 the first address redirects to the second.
        urls = (self.url, f"https://cave.cs.toronto.edu/kriz/{self.archive}")
        return (File(self.archive, urls, f"md5:{MD5[self.archive]}", SIZE[self.archive]),)

    def find(self, path: Path) -> Path | None:
        """Return the official folder or archive that `path` is or holds, complete or damaged, or None."""
        if path.is_file():
            return path if path.name == self.archive else None
        known = path.name == self.folder or all((path / name).is_file() for name in self.known_by)
        places = [path / self.folder, *([path] if known else []), path / self.archive]
        there = [place for place in places if place.exists()]
        # an archive is preferred to an incomplete folder, which is returned only if nothing else exists
        return next((place for place in there if self._is_whole(place)), there[0] if there else None)

    def _is_whole(self, place: Path) -> bool:
        inside = (*self.train_files, self.test_file)
        return place.is_file() or all((place / name).is_file() for name in inside)

    def plan(self, path: Path, options: Options) -> Plan:
        """Plan to read the official folder or archive at `path`.

        Labels are positions in `class_names`; the ids "train:0", "train:1", ... count through the training
        files in their order, to which published human annotations refer.

        Raises:
            InputError: later, on reading: a file is missing, is not the published one, or has other
                content.
        """
        inside = {name: path / name for name in (*self.train_files, self.test_file)}
        return Plan(
            name=self.name,
            root=path,
            files={path.name: path} if path.is_file() else inside,
            options={"reader": self.name, "image_size": options.image_size},
            read=lambda: self._read(path, options),
        )

    def _read(self, path: Path, options: Options) -> ReadResult:
        contents = self._from_archive(path) if path.is_file() else self._from_folder(path)
        images: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for name in (*self.train_files, self.test_file):
            found = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
            self._check(f"{name} of {path}", found, MD5[name], len(contents[name]))
            pixels, classes = self._batch(contents.pop(name), f"{name} of {path}")
            images.append(resize_arrays(pixels, options.image_size) if options.image_size else pixels)
            labels.append(classes)
        num_train = sum(len(part) for part in labels[:-1])
        ids = [f"train:{i}" for i in range(num_train)] + [f"test:{i}" for i in range(len(labels[-1]))]
        return ReadResult(
            shape=images[0].shape[1:],
            pieces=lambda: iter(images),
            labels=np.concatenate(labels),
            ids=ids,
            class_names=self.class_names,
            num_train=num_train,
        )

    def _from_folder(self, path: Path) -> dict[str, bytes]:
        contents = {}
        for name in (*self.train_files, self.test_file):
            try:
                contents[name] = read_bytes(path / name, JSON_BYTES)
            except OSError as error:
                raise InputError(
                    f"cannot read {path / name} ({error.strerror}); unpack {self.url} again"
                ) from None
        return contents

    def _from_archive(self, path: Path) -> dict[str, bytes]:
        """Return the contents of the archive's files; nothing is unpacked to disk."""
        try:
            self._check(str(path), file_digest(path, "md5"), MD5[self.archive], path.stat().st_size)
            contents = {}
            with open_file(path) as packed, tarfile.open(fileobj=packed, mode="r:gz") as archive:
                for name in (*self.train_files, self.test_file):
                    member = archive.extractfile(f"{self.folder}/{name}")
                    contents[name] = member.read() if member else b""
            return contents
        except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
            raise InputError(f"{path} cannot be read ({error}); get {self.url} again") from None

    def _check(self, what: str, found: str, expected: str, size: int) -> None:
        if found != expected:
            raise InputError(
                f"{what} is not the published file: its md5 is {found} ({size:,} bytes), "
                f"expected {expected}; get {self.url} again"
            )

    def _batch(self, content: bytes, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the images (n, 3, 32, 32) and labels (n,) of one file."""
        table = read_table(content, what)
        key = self.labels.encode()
        if not {b"data", key} <= table.keys():
            raise InputError(f"{what} lacks data or {self.labels}; get {self.url} again")
        data, classes, K = table[b"data"], table[key], len(self.class_names)
        if not (isinstance(classes, list) and all(type(k) is int and 0 <= k < K for k in classes)):
            raise InputError(f"{what} has labels that are not integers 0 to {K - 1}; get {self.url} again")
        shape = (len(classes), 3 * 32 * 32)
        if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape == shape):
            raise InputError(
                f"{what} does not hold {shape[0]} rows of {shape[1]} bytes; get {self.url} again"
            )
        return data.reshape(-1, 3, 32, 32), np.array(classes, dtype=np.int64)


CIFAR10 = Release(
    name="cifar10",
    archive="cifar-10-python.tar.gz",
    folder="cifar-10-batches-py",
    train_files=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test_file="test_batch",
    known_by=("data_batch_1",),
    labels="labels",
    class_names=CLASS_NAMES,
)
# The third published file, meta, holds the class names above and is not needed to read the images.
CIFAR100 = Release(
    name="cifar100",
    archive="cifar-100-python.tar.gz",
    folder="cifar-100-python",
    train_files=("train",),
    test_file="test",
    known_by=("train", "test", "meta"),
    labels="fine_labels",
    class_names=FINE_NAMES,
)
CIFAR100_COARSE = Release(
    name="cifar100-coarse",
    archive=CIFAR100.archive,
    folder=CIFAR100.folder,
    train_files=CIFAR100.train_files,
    test_file=CIFAR100.test_file,
    known_by=CIFAR100.known_by,
    labels="coarse_labels",
    class_names=COARSE_NAMES,
)
