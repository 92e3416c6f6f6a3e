"""IDX files, the format of MNIST, and the sets published in it.

An IDX file is a big-endian header (two zero bytes, a type, the number of dimensions, the size of each)
followed by the values. A set is four such files: images and labels, for training and for testing.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.core.opening import open_file
from noisylabels.core.positions import Positions
from noisylabels.data.image_decoding import resize_arrays
from noisylabels.data.published import File
from noisylabels.data.reader import Options, Plan, ReadResult, held_out_note, name_of
from noisylabels.data.split import hold_out

LAYOUT = "train-images-idx3-ubyte and train-labels-idx1-ubyte, .gz or not (also PREFIX-train-images-...)"
FILES = ("train-images", "train-labels", "test-images", "test-labels")

_NAME = re.compile(r"(.*?)(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?")
_TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
_GZIP = b"\x1f\x8b"
_STEP = 1 << 20  # bytes read at a time, so that a header with a wrong size allocates no memory
_PIECE = 8192  # images resized at a time


@dataclass(frozen=True)
class Known:
    """A set published in this format.

    Args:
        name: the name that users write.
        class_names: the classes' names, in the order of the labels.
        urls: addresses of folders with the four files, the preferred one first.
        packed: the MD5 of each of `FILES` as published, compressed.
        sizes: the number of bytes of each of these.
        content: the MD5 of each of `FILES` uncompressed.
    """

    name: str
    class_names: tuple[str, ...]
    urls: tuple[str, ...]
    packed: tuple[str, ...]
    sizes: tuple[int, ...]
    content: tuple[str, ...]

    @property
    def files(self) -> tuple[File, ...]:
        """The files of a download, in a folder per set because all sets use the same file names."""
        names = [
            f"{part}-{what}.gz"
            for part in ("train", "t10k")
            for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
        ]
        return tuple(
            File(f"{self.name}/{name}", tuple(url + name for url in self.urls), f"md5:{md5}", size)
            for name, md5, size in zip(names, self.packed, self.sizes, strict=True)
        )

    def plan(self, place: Path, options: Options) -> Plan:
        """Plan to read exactly this set from `place`; see `plan`."""
        return plan(place, options, self)


# The MD5 of the compressed files are from torchvision; those of the content agree in several independent
# projects that check the uncompressed files.
MNIST = Known(
    name="mnist",
    class_names=tuple("0123456789"),
    urls=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    packed=(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    sizes=(9_912_422, 28_881, 1_648_877, 4_542),
    content=(
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
)
FASHION_MNIST = Known(
    name="fashion-mnist",
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    ),
    urls=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    packed=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    sizes=(26_421_880, 29_515, 4_422_102, 5_148),
    content=(
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
)  # fmt: skip
KNOWN = (MNIST, FASHION_MNIST)


def find(path: Path) -> Path | None:
    """Return `path` if it is a file or folder of a set, its folder `raw` if that is one, or None."""
    if path.is_file():
        return path if _NAME.fullmatch(path.name) else None
    return next((place for place in (path, path / "raw") if _sets(place)), None)


def plan(place: Path, options: Options, known: Known | None = None) -> Plan:
    """Plan to read the four files at `place`, or the two of a training part alone.

    Args:
        place: a folder with one set, or a file of a set.
        options: see `Options`.
        known: the expected set. None accepts any: one of `KNOWN` is recognized by its files; any other is
            not checked and is named after its folder or the files' prefix, its classes after their numbers.

    Returns:
        The plan; the ids are "train:0", "train:1", ..., "test:0", ... in the order of the files.

    Raises:
        InputError: a file is missing, or the folder holds several sets. Later, on reading: a file does not
            match its name or its checksum.
    """
    folder, prefix, files = _one_set(place)
    wanted = FILES if known or "test-images" in files or "test-labels" in files else FILES[:2]
    for name in wanted:
        if name not in files:
            there = ", ".join(path.name for path in files.values())
            raise InputError(f"{folder} holds {there} but no {prefix}{name} file; get it and store it there")
    files = {name: files[name] for name in wanted}
    known = known or next((one for one in KNOWN if _is(one, files)), None)
    named = prefix.strip("-._") or name_of(folder.parent if folder.name == "raw" else folder)
    fraction = options.test_fraction if len(files) == 2 else None
    return Plan(
        name=known.name if known else named,
        root=folder,
        files={path.name: path for path in files.values()},
        options={
            "reader": "idx",
            "set": known.name if known else None,
            "image_size": options.image_size,
            "test_fraction": fraction,
        },
        read=lambda: _read(files, known, fraction, options.image_size),
    )


def read_idx(path: Path, dimensions: int, md5: str | None = None) -> np.ndarray:
    """Read an IDX file of unsigned bytes, compressed or not, whatever its suffix.

    Args:
        path: the file.
        dimensions: the number of dimensions that it must have.
        md5: the MD5 that its uncompressed content must have, or None.

    Returns:
        uint8, with that number of dimensions; read-only.

    Raises:
        InputError: the file cannot be read, is not such a file, or its length differs from its header.
    """
    try:
        with open_file(path) as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            content = _content(gzip.GzipFile(fileobj=file) if packed else file, path, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); get it again"
        ) from None
    head = 4 + 4 * dimensions
    shape = _shape(content[:head], path, dimensions)
    if len(content) != head + math.prod(shape):
        size = "more" if len(content) > head + math.prod(shape) else f"{len(content):,}"
        raise InputError(
            f"{path} is incomplete or damaged: by its header it has {' x '.join(map(str, shape))} values, so "
            f"{head + math.prod(shape):,} bytes, but it has {size}; get it again"
        )
    if md5 is not None:
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise InputError(
                f"{path} is not the published file: the md5 of its content is {found}, expected {md5}; "
                "get it again, or load its folder by its path to read it unchecked"
            )
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape)


def _content(file: BinaryIO | gzip.GzipFile, path: Path, dimensions: int) -> bytes:
    """Return a file's uncompressed content, at most one byte more than its header states."""
    content = bytearray(file.read(4 + 4 * dimensions))
    size = len(content) + math.prod(_shape(bytes(content), path, dimensions))
    while len(content) <= size and (piece := file.read(min(_STEP, size + 1 - len(content)))):
        content += piece
    return bytes(content)


def _shape(head: bytes, path: Path, dimensions: int) -> tuple[int, ...]:
    """Return the sizes of the dimensions that a header states."""
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
        what = f"begins with {head[:16]!r}" if head else "is empty"
        page = " (probably a web page)" if head.lstrip()[:1] == b"<" else ""
        raise InputError(f"{path} is not an IDX file: it {what}{page}; get it again")
    if head[2] != 8:
        raise InputError(f"{path} holds {_TYPES[head[2]]}, expected unsigned bytes (uint8)")
    if head[3] != dimensions:
        names = {1: "labels", 3: "images"}
        what = f", as {names[head[3]]} have" if head[3] in names else ""
        raise InputError(
            f"{path} has {head[3]} dimension{'s' * (head[3] != 1)}{what}, expected {dimensions} for "
            f"{names[dimensions]}; check whether two files are swapped"
        )
    if len(head) < 4 + 4 * dimensions:
        raise InputError(f"{path} is incomplete: it ends within its header; get it again")
    shape = tuple(int.from_bytes(head[i : i + 4], "big") for i in range(4, 4 + 4 * dimensions, 4))
    if not all(shape):
        raise InputError(f"{path} is empty: its dimensions are {' x '.join(map(str, shape))}; get it again")
    return shape


def _read(
    files: dict[str, Path], known: Known | None, test_fraction: float | None, image_size: int | None
) -> ReadResult:
    md5s = dict(zip(FILES, known.content, strict=True)) if known else {}
    arrays = {
        name: read_idx(path, 3 if name.endswith("images") else 1, md5s.get(name))
        for name, path in files.items()
    }
    images = [array for name, array in arrays.items() if name.endswith("images")]
    labels = [array for name, array in arrays.items() if name.endswith("labels")]
    for name, pixels, classes in zip(("train", "test"), images, labels, strict=False):
        if len(pixels) != len(classes):
            one, other = files[f"{name}-images"], files[f"{name}-labels"]
            raise InputError(
                f"{one} has {len(pixels):,} images and {other.name} {len(classes):,} labels; "
                "get both files of the same set"
            )
        if pixels.shape[1:] != images[0].shape[1:]:
            sizes = ["x".join(map(str, part.shape[1:])) for part in (images[0], pixels)]
            raise InputError(
                f"the images of {files['train-images']} are {sizes[0]}, the test images {sizes[1]}; "
                "get both files of the same set"
            )
    classes = np.concatenate(labels).astype(np.int64)
    names, classes = _classes(classes, known, files)
    notes = []
    positions = None
    num_train = len(labels[0])
    ids = [f"train:{i}" for i in range(num_train)] + [f"test:{i}" for i in range(len(classes) - num_train)]
    if test_fraction is not None:
        train, test = hold_out(classes, ids, test_fraction)
        order = np.concatenate([train, test])
        num_train, classes, ids = len(train), classes[order], [ids[i] for i in order]
        positions = Positions(order, len(order), whole=False)
        images = [images[0][order]]
        notes.append(held_out_note(len(test), test_fraction))

    def pieces() -> Iterator[np.ndarray]:
        for part in images:
            for start in range(0, len(part), _PIECE):
                piece = part[start : start + _PIECE, None]
                yield resize_arrays(piece, image_size) if image_size else piece

    height, width = (image_size, image_size) if image_size else images[0].shape[1:]
    shape = (1, height, width)
    return ReadResult(shape, pieces, classes, ids, names, num_train, notes, positions=positions)


def _classes(
    labels: np.ndarray, known: Known | None, files: dict[str, Path]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the classes, and the labels as numbers from 0."""
    if known:
        K = len(known.class_names)
        if labels.max() >= K:
            raise InputError(
                f"a label in {files['train-labels'].parent} is {labels.max()}, expected 0 to {K - 1}; "
                f"get {known.name} again"
            )
        return known.class_names, labels
    first, last = int(labels.min()), int(labels.max())  # the classes of EMNIST's letters begin at 1
    return tuple(str(k) for k in range(first, last + 1)), labels - first


def _sets(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the files of each set in a folder, by prefix of the file names and by part."""
    found: dict[str, dict[str, Path]] = {}
    try:
        paths = list(folder.iterdir())
    except OSError:  # no folder, or one about which the reader of folders reports more
        return found
    # longer names first, so that an uncompressed file, which is faster to read, replaces a compressed one
    for path in sorted(paths, key=lambda path: (-len(path.name), path.name)):
        if (match := _NAME.fullmatch(path.name)) and path.is_file():
            prefix, part, what = match.groups()
            found.setdefault(prefix, {})[f"{'train' if part == 'train' else 'test'}-{what}"] = path
    return found


def _one_set(place: Path) -> tuple[Path, str, dict[str, Path]]:
    """Return the folder, the prefix and the files of the set at `place`."""
    folder = place.parent if place.is_file() else place
    sets = _sets(folder)
    if place.is_file() and (match := _NAME.fullmatch(place.name)):
        return folder, match[1], sets[match[1]]
    if len(sets) > 1:
        names = ", ".join(sorted(repr(prefix.strip("-._")) for prefix in sets))
        raise InputError(
            f"{folder} holds {len(sets)} sets ({names}); name the file of training images of one of them"
        )
    prefix, files = next(iter(sets.items()), ("", {}))
    return folder, prefix, files


def _is(known: Known, files: dict[str, Path]) -> bool:
    """Return whether these are a known set's files, compressed or not; labels first, which are small."""
    order = sorted(range(len(FILES)), key=lambda i: FILES[i].endswith("images"))
    try:
        return len(files) == len(FILES) and all(
            file_digest(files[FILES[i]], "md5") in (known.packed[i], known.content[i]) for i in order
        )
    except OSError:
        return False  # reading reports the reason
