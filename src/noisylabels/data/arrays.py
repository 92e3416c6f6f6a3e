"""Image sets in NumPy arrays: an .npz file, or .npy files in one folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.core import columnar
from noisylabels.core.checks import InputError
from noisylabels.core.labels import read_labels
from noisylabels.core.positions import Positions
from noisylabels.core.tables import role_names, texts
from noisylabels.data.image_arrays import channels_first, range_of
from noisylabels.data.image_decoding import resize_arrays
from noisylabels.data.names import unique_names
from noisylabels.data.pixel_range import Peaks, to_bytes, white_of_all
from noisylabels.data.reader import LABELS, Options, Plan, ReadResult, held_out_note, name_of
from noisylabels.data.split import hold_out
from noisylabels.data.splits import TEST, TRAIN, VAL, by_split, split_of

IMAGES = ("images", "x", "data", "imgs", "features", "embeddings")  # the last two hold no images
CLASS_NAMES = "class_names"
MORE_CLASS_NAMES = ("target_names", "label_names", "classes")  # used if they fit the labels
IDS = ("id", "ids")
LAYOUT = (
    "an .npz file or .npy files of images and labels, of x_train, y_train, x_test and y_test, or of "
    "train_images, train_labels, ...; or NAME.npy beside labels.npy"
)

_NAMELESS = ("images", "data", "x", "arrays", "dataset", "train")  # such a file is called after its folder
_CHUNK_BYTES = 1 << 24


def find(path: Path) -> Path | None:
    """Return the .npz file, .npy file or folder of .npy files that `path` is or holds."""
    if path.is_file():
        return path if path.suffix.lower() in (".npz", ".npy") else None
    if not path.is_dir():
        return None
    kinds = (".npz", ".npy")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in kinds and file.is_file())
    if any(file.suffix.lower() == ".npy" for file in files):
        stems = [file.stem for file in files]
        return path if pairs(stems) or "labels" in stems else None
    return files[0] if len(files) == 1 else None


@dataclass(frozen=True)
class Part:
    """The names of the arrays of a part."""

    name: str  # train, test, ...
    images: str
    labels: str


@dataclass(frozen=True)
class Chosen:
    """The arrays of a path that belong together."""

    parts: list[Part]  # the training part and, if there is one, the test part
    files: dict[str, Path]  # the file of each array if they are .npy files
    class_names: str  # the name of the array of class names, or ""
    ids: tuple[str, ...]  # the name of the array of ids of each part, or none
    notes: tuple[str, ...]

    @property
    def used(self) -> list[str]:
        """The names of the arrays that are read."""
        used = [name for part in self.parts for name in (part.images, part.labels)]
        return [*used, *([self.class_names] if self.class_names else []), *self.ids]


def plan(path: Path, options: Options) -> Plan:
    """Plan to read images and labels from arrays.

    Arrays may be named as is usual with NumPy (images, labels; x, y), as in Keras (x_train, y_train, x_test,
    y_test) or as in MedMNIST (train_images, train_labels, val_images, ...). The training part is the one
    called train, or the only one; `splits.split_of` has the names of the parts. The part called test, or else
    val, is for testing; without either, some examples are held out. CIFAR-10-C has one labels.npy beside many
    arrays (fog.npy, ...); name one of these. The array class_names, or one of `MORE_CLASS_NAMES` if it fits,
    holds the names of the classes, which integer labels index from 0; without it the labels are the names,
    see `core.labels`. The array id or ids, (N,), holds the ids. A note names the arrays that are not used.
    Arrays of Python objects are refused, because reading them would run code from the file.

    Args:
        path: an .npz file, an .npy file of images, or a folder of .npy files.
        options: see `Options`.

    Returns:
        The plan. Images are (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3: uint8, or numbers that
        `pixel_range` scales to it; labels are (N,) or (N, 1): whole numbers, text or bool. Without an
        array of them, ids are "train:0" and so on.

    Raises:
        InputError: the arrays are missing; later, on reading: a file is damaged, an array has another
            type or shape, or a label is missing.

    Source: keras.datasets; J. Yang et al., "MedMNIST v2", 2023; D. Hendrycks, T. Dietterich,
    "Benchmarking Neural Network Robustness", 2019 (CIFAR-10-C).
    """
    chosen = choose_arrays(path)
    files, parts = chosen.files, chosen.parts
    return Plan(
        name=name_of_arrays(path),
        root=path,
        files={name: files[name] for name in chosen.used} if files else {path.name: path},
        options={
            "reader": "arrays",
            "labels": LABELS,
            "arrays": chosen.used,
            **options.sizes,
            "test_fraction": None if len(parts) > 1 else options.test_fraction,
        },
        read=lambda: _read(path, chosen, options),
        notes=chosen.notes,
    )


def choose_arrays(path: Path) -> Chosen:
    """Return which of the arrays at `path` belong together, by the names that `plan` describes.

    Raises:
        InputError: no arrays belong together, or none are for training.
    """
    names, files = _names(path)
    found = pairs(names)
    if path.suffix.lower() == ".npy" and not any(path.stem == part.images for part in found.values()):
        found = _beside(path, names)
    elif not found and path.is_dir():
        found = _single(path, names)
    if not found and {"data", "indices", "indptr", "shape"} <= set(names):
        raise InputError(
            f"{path} is a sparse matrix without labels; pass nl.load or nl.audit_labels the pair "
            "(scipy.sparse.load_npz(path), y)"
        )
    if not found:
        raise InputError(f"{path} holds {', '.join(names) or 'no arrays'}; expected {LAYOUT}")
    every, named = dict(found), by_split(found, path)
    train = found.pop(named.get(TRAIN, ""), None)
    if train is None:
        raise InputError(f"{path} has the parts {', '.join(found)} but no training part, such as x_train")
    test = next((found.pop(named[split]) for split in (TEST, VAL) if split in named), None)
    parts = [train, test] if test else [train]
    keys = [key for part in parts for key in every if every[key] is part]
    ignored = [name or "the unnamed one" for name in found]
    notes = [f"ignored the parts {', '.join(ignored)} of {path.name}"] if ignored else []

    def read(name: str) -> np.ndarray:
        return read_array(path, files, name)[0]

    chosen = Chosen(
        parts, files, class_names_array(names, parts, read), id_arrays(names, keys, parts, read), ()
    )
    others = [name for part in found.values() for name in (part.images, part.labels)]
    if path.suffix.lower() != ".npy":  # of a folder, the user named one array and not the others
        unused = [name for name in names if name not in (*chosen.used, *others)]
        notes += unused_notes(unused, parts, path.name)
    return dataclasses.replace(chosen, notes=tuple(notes))


def class_names_array(names: Sequence[str], parts: Sequence[Part], read: Callable[[str], np.ndarray]) -> str:
    """Return the name of the array of class names: "class_names", or another that fits the labels; or ""."""
    if CLASS_NAMES in names:
        return CLASS_NAMES
    for kind in MORE_CLASS_NAMES:
        for name in names:
            if name.lower() == kind and all(_names_classes(read(name), read(part.labels)) for part in parts):
                return name
    return ""


def _names_classes(names: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether names are text, all different, and include every label or are indexed by it."""
    if names.ndim != 1 or names.dtype.kind != "U" or not len(set(names.tolist())) == len(names) > 0:
        return False
    if labels.dtype.kind in "iuf" and labels.size:
        return bool(labels.min() >= 0 and labels.max() < len(names))
    return labels.dtype.kind in "U" and set(labels.ravel().tolist()) <= set(names.tolist())


def id_arrays(
    names: Sequence[str], keys: Sequence[str], parts: Sequence[Part], read: Callable[[str], np.ndarray]
) -> tuple[str, ...]:
    """Return the name of the array of ids of each part; none if a part has none with one id per example."""
    found = _by_part(list(names), IDS)
    if not all(key in found for key in keys):
        return ()
    for key, part in zip(keys, parts, strict=True):
        ids = read(found[key])
        if ids.dtype.kind not in "iuU" or ids.shape != (len(read(part.labels)),):
            return ()
    return tuple(found[key] for key in keys)


def unused_notes(unused: Sequence[str], parts: Sequence[Part], where: str) -> list[str]:
    """Return a note on the arrays that are not used, and on the one of labels if another could be meant."""
    if not unused:
        return []
    kinds = role_names("label", "arrays")
    more = ""
    if any(name.lower() in kinds for name in unused):
        more = f"; the labels are those of {parts[0].labels}"
    which = "array" if len(unused) == 1 else "arrays"
    return [f"ignored the {which} {', '.join(unused)} of {where}{more}"]


def ids_of(chosen: Chosen, path: Path, counts: Sequence[int], alone: str, notes: list[str]) -> list[str]:
    """Return the ids of all examples: those of the arrays of ids, or "train:0" and so on.

    Args:
        chosen: the arrays.
        path: where they are.
        counts: the number of examples of each part.
        alone: what the only part is called in ids.
        notes: receives a line on repeated ids.
    """
    if not chosen.ids:
        prefixes = [part.name for part in chosen.parts] if len(chosen.parts) > 1 else [alone]
        return [f"{name}:{i}" for name, count in zip(prefixes, counts, strict=True) for i in range(count)]
    cells = [texts(read_array(path, chosen.files, name)[0]) for name in chosen.ids]
    words = [str(word) for part in cells for word in part]
    if "" in words:
        raise InputError(f"{path}: the id of row {words.index('')} is empty; give the row one")
    ids, again = unique_names(words)
    if again:
        notes.append(f"{len(again):,} ids occur again, first {ids[again[0]]}")
    return ids


def name_of_arrays(path: Path) -> str:
    """Return the name of the set whose arrays are at `path`."""
    return name_of(path.parent if path.is_file() and path.stem.lower() in _NAMELESS else path)


def _names(path: Path) -> tuple[list[str], dict[str, Path]]:
    """Return the names of the arrays, and the file of each if they are .npy files."""
    if path.suffix.lower() == ".npz":
        return columnar.array_names(path), {}
    folder = path if path.is_dir() else path.parent
    files = {file.stem: file for file in sorted(folder.glob("*.[nN][pP][yY]"))}
    return list(files), files


def pairs(names: list[str]) -> dict[str, Part]:
    """Return the arrays of images and labels that belong together, by part; "" is an unnamed part."""
    images, labels = (_by_part(names, kinds) for kinds in (IMAGES, role_names("label", "arrays")))
    order = (TRAIN, None, TEST, VAL)
    parts = sorted(images.keys() & labels.keys(), key=lambda part: (order.index(split_of(part)), part))
    return {part: Part(part or "train", images[part], labels[part]) for part in parts}


def _by_part(names: list[str], kinds: Sequence[str]) -> dict[str, str]:
    """Return part -> the array of one of these kinds: "train" -> "x_train" for the kind x."""
    found: dict[str, str] = {}
    for cut in (str.removesuffix, str.removeprefix):
        for kind in kinds:
            for name in names:
                lower = name.lower()
                part = cut(lower, kind).strip("_-. ")
                if lower == kind or (part != lower and split_of(part)):
                    found.setdefault("" if lower == kind else part, name)
    return found


def _beside(path: Path, names: list[str]) -> dict[str, Part]:
    if path.stem == "labels" or "labels" not in names:
        raise InputError(f"{path} has no labels.npy beside it; expected {LAYOUT}")
    return {"": Part("train", path.stem, "labels")}


def _single(path: Path, names: list[str]) -> dict[str, Part]:
    """Return the part whose images are the only array beside labels.npy."""
    others = [name for name in names if name != "labels"]
    if len(others) != 1:
        listed = ", ".join(f"{name}.npy" for name in others[:5]) or "nothing"
        raise InputError(f"{path} holds {listed} beside labels.npy; name one of them, such as {path}/fog.npy")
    return {"": Part("train", others[0], "labels")}


def joined_labels(parts: Sequence[np.ndarray], path: Path) -> np.ndarray:
    """Return the labels of all parts as one array.

    Raises:
        InputError: they are of types that have nothing in common, such as integers and records.
    """
    try:
        return np.concatenate(parts)
    except TypeError:
        kinds = " and ".join(str(part.dtype) for part in parts)
        raise InputError(f"the labels of {path} are of the types {kinds}, expected one type") from None


def _read(path: Path, chosen: Chosen, options: Options) -> ReadResult:
    files, parts, named = chosen.files, chosen.parts, chosen.class_names
    class_names = class_names_of(*read_array(path, files, named)) if named else ()
    images, values, places = [], [], list[str]()
    peaks = Peaks()
    for part in parts:
        found, place = read_array(path, files, part.images)
        pixels = channels_first(found, place)
        peaks = peaks.joined(range_of(pixels, place))
        labels, where = read_array(path, files, part.labels)
        flat = one_each(labels, where)
        if len(flat) != len(pixels):
            raise InputError(f"{where} has {len(flat):,} labels for {len(pixels):,} images")
        images.append(pixels)
        values.append(flat)
        places.append(where)
    first = len(values[0])

    def where_of(row: int) -> str:
        return f"{places[0]}, row {row}" if row < first else f"{places[1]}, row {row - first}"

    what = f"the labels of {path}"
    read = read_labels(joined_labels(values, path), class_names or None, where=where_of, what=what)
    y, names = read.codes, read.class_names
    num_train, notes = len(images[0]), peaks.notes()
    ids = ids_of(chosen, path, [len(part) for part in values], parts[0].name, notes)
    order, positions = [np.arange(len(part)) for part in images], None
    if len(parts) == 1:
        order = list(hold_out(y, ids, options.test_fraction))
        rows = np.concatenate(order)
        num_train, y, ids = len(order[0]), y[rows], [ids[i] for i in rows]
        images = [images[0], images[0]]
        positions = Positions(rows, len(rows), whole=False)
        notes.append(held_out_note(len(order[1]), options.test_fraction))
    shapes = {part.shape[1:] for part in images}
    largest = max(min(shape[1:]) for shape in shapes)
    side = options.image_size
    if side is None and options.max_image_size is not None and largest > options.max_image_size:
        side = options.max_image_size
    if len(shapes) > 1 and (side is None or len({shape[0] for shape in shapes}) > 1):
        listed = " and ".join("x".join(map(str, part.shape[1:])) for part in images)
        raise InputError(
            f"{path}: images of {listed} (channels, height, width) in one set; choose an image_size"
        )
    C, H, W = images[0].shape[1:]
    white = white_of_all(peaks)

    def pieces() -> Iterator[np.ndarray]:
        step = max(1, _CHUNK_BYTES // (C * H * W))
        for part, some in zip(images, order, strict=True):
            for start in range(0, len(some), step):
                piece = to_bytes(part[some[start : start + step]], white)
                yield piece if side is None else resize_arrays(piece, side)

    shape = (C, side or H, side or W)
    kept = white.of(peaks)
    return ReadResult(shape, pieces, y, ids, names, num_train, notes, positions=positions, white=kept)


def read_array(path: Path, files: Mapping[str, Path], name: str) -> tuple[np.ndarray, str]:
    """Return one of the arrays at `path` and its name for errors; nothing is unpickled."""
    if files:
        return columnar.read_array(files[name], mapped=True), str(files[name])
    return columnar.read_array(path, name), f"{name} of {path}"


def rows_of(path: Path) -> tuple[np.ndarray, Path, str]:
    """Return the array of rows in a file without labels, the file, and the array's name for errors."""
    names, files = _names(path)
    if path.suffix.lower() == ".npy":
        found = [path.stem]
    else:
        found = [name for name in names if name.lower() in (*IMAGES, "x_test")]
        found = found or (names if len(names) == 1 else [])
    if not found:
        raise InputError(f"{path} holds {', '.join(names) or 'no arrays'}; expected an array X of the rows")
    values, where = read_array(path, files, found[0])
    return values, path, where


def one_each(labels: np.ndarray, where: str, what: str = "number per image") -> np.ndarray:
    """Return labels as (N,), also from a column (N, 1) as in Keras and MedMNIST."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(
            f"{where} has the shape {labels.shape}, expected one class {what}, (N,); "
            "if they are one-hot, save labels.argmax(1)"
        )
    return labels


def class_names_of(names: np.ndarray, where: str) -> tuple[str, ...]:
    """Return the class names that an array holds."""
    if names.ndim != 1 or names.dtype.kind != "U" or not len(names):
        raise InputError(f"{where} is {names.dtype} of shape {names.shape}, expected a list of names as text")
    return tuple(map(str, names))
