"""ANIMAL-10N as its authors publish it: image files named after their label, or binary batches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.opening import open_file
from noisylabels.data.image_decoding import resize_arrays
from noisylabels.data.image_formats import suffixes
from noisylabels.data.image_lists import Listing, plan_listing
from noisylabels.data.reader import Options, Plan, ReadResult, name_of

URL = "https://dm.kaist.ac.kr/datasets/animal-10n"
FOLDERS = ("ANIMAL-10N", "Animal10N", "animal10n", "animal-10n", "raw_image_ver", "raw_image")
PARTS = ("training", "testing")
TEST_FILE = "test_batch.bin"
CLASS_NAMES = (
    "cat", "lynx", "wolf", "coyote", "cheetah", "jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig",
)  # fmt: skip
SIDE = 64
LAYOUT = f"training/ and testing/ with files <label>_*.jpg, or data_batch_1.bin, ... and {TEST_FILE}"

_NAME = re.compile(r"(\d)_")
_RECORD = 4 + 4 + 3 * SIDE * SIDE  # number of the image, label, red, green, blue
_CIFAR_RECORD = 1 + 3 * 32 * 32  # the binary form of CIFAR-10 has files of the same names
_RECORDS_AT_ONCE = 1024


def find(path: Path) -> Path | None:
    """Return `path` if it holds the two folders or the batches, else None."""
    first = path / "data_batch_1.bin"
    if (path / TEST_FILE).is_file() and first.is_file():
        size = first.stat().st_size
        return path if size % _RECORD == 0 or size % _CIFAR_RECORD else None
    if not all((path / part).is_dir() for part in PARTS):
        return None
    with os.scandir(path / PARTS[0]) as entries:
        return path if any(_NAME.match(entry.name) and entry.is_file() for entry in entries) else None


def plan(path: Path, options: Options) -> Plan:
    """Plan to read ANIMAL-10N: 50,000 human annotations for training, 5,000 checked labels for testing.

    In the image form, files have names such as "3_img_17.jpg", whose first digit is the label. In the binary
    form, a record of 12,296 bytes holds an image number and a label, 4 bytes each, and 64x64 red, green and
    blue values. The authors' reader takes the label to be big-endian; their page does not say so, and
    little-endian labels are read too, since the two cannot be confused for labels 0 to 9.

    Args:
        path: the folder with training/ and testing/, or with the batches.
        options: see `Options`.

    Returns:
        The plan. Ids are the files' names, or "data_batch_1.bin:0".

    Raises:
        InputError: a file name has no label 0 to 9, or (later) a batch is damaged.

    Source: H. Song, M. Kim, J.-G. Lee, "SELFIE: Refurbishing Unclean Samples for Robust Deep Learning",
    ICML 2019; README and reader/image_input_reader.py of the authors' repository kaist-dmlab/SELFIE.
    """
    if (path / TEST_FILE).is_file():
        return _plan_batches(path, options)
    names: list[str] = []
    labels: list[int] = []
    ends: list[int] = []
    for part in PARTS:
        for file in sorted(os.listdir(path / part)):
            if file.startswith(".") or os.path.splitext(file)[1].lower() not in suffixes():
                continue
            found = _NAME.match(file)
            if not found:
                raise InputError(f"{path / part / file} does not begin with its label, as 3_img_17.jpg does")
            names.append(f"{part}/{file}")
            labels.append(int(found[1]))
        if len(names) == (ends[-1] if ends else 0):
            raise InputError(f"{path / part} holds no images; get {URL} again")
        ends.append(len(names))
    listing = Listing(path, names, np.array(labels, dtype=np.int64), CLASS_NAMES, ends[0])
    return plan_listing(listing, options, name=name_of(path), root=path, reader="animal10n")


def _plan_batches(path: Path, options: Options) -> Plan:
    batches = sorted(
        (file for file in path.glob("data_batch_*.bin") if file.stem.split("_")[-1].isdigit()),
        key=lambda file: int(file.stem.split("_")[-1]),
    )
    files = [*batches, path / TEST_FILE]
    return Plan(
        name=name_of(path),
        root=path,
        files={file.name: file for file in files},
        options={"reader": "animal10n-batches", "image_size": options.image_size},
        read=lambda: _read_batches(files, options),
    )


def _read_batches(files: list[Path], options: Options) -> ReadResult:
    labels = [_labels(file) for file in files]
    side = options.image_size or SIDE

    def pieces() -> Iterator[np.ndarray]:
        for file in files:
            for records in _records(file):
                images = records[:, 8:].reshape(-1, 3, SIDE, SIDE)
                yield resize_arrays(images, side)

    return ReadResult(
        shape=(3, side, side),
        pieces=pieces,
        labels=np.concatenate(labels),
        ids=[f"{file.name}:{i}" for file, part in zip(files, labels, strict=True) for i in range(len(part))],
        class_names=CLASS_NAMES,
        num_train=sum(len(part) for part in labels[:-1]),
    )


def _labels(path: Path) -> np.ndarray:
    raw = np.concatenate([records[:, 4:8].copy() for records in _records(path)])
    for order in (">u4", "<u4"):
        labels = raw.view(order)[:, 0].astype(np.int64)
        if labels.max() < len(CLASS_NAMES):
            return labels
    raise InputError(f"{path} is not a batch of ANIMAL-10N: it has labels other than 0 to 9; get {URL} again")


def _records(path: Path) -> Iterator[np.ndarray]:
    try:
        size = path.stat().st_size
        if size == 0 or size % _RECORD:
            raise InputError(
                f"{path} has {size:,} bytes, expected a multiple of {_RECORD:,}; get {URL} again"
            )
        with open_file(path) as file:
            while content := file.read(_RECORDS_AT_ONCE * _RECORD):
                yield np.frombuffer(content, dtype=np.uint8).reshape(-1, _RECORD)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); get {URL} again") from None
