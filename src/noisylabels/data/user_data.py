"""User-provided image sets: a folder with one folder per class."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError, Unlabeled
from noisylabels.data.file_sources import (
    PassedOver,
    file_names_in,
    folders_in,
    image_names_in,
    images_below,
    names_below,
    outputs_in,
)
from noisylabels.data.image_formats import is_unread_picture, some_suffixes, suffixes
from noisylabels.data.image_lists import Listing, plan_listing
from noisylabels.data.names import Names
from noisylabels.data.reader import MOST_NOTES, Options, Plan, name_of
from noisylabels.data.splits import TEST, TRAIN, VAL, all_splits, by_split, paired_splits, split_of
from noisylabels.data.splits_below import splits_below

LAYOUT = "ROOT/<class>/*.jpg, or ROOT/train/<class>/*.jpg and ROOT/test/<class>/*.jpg"

_DATA = (".parquet", ".npz", ".npy")  # endings of files that are data where no class folders are


def find(path: Path) -> Path | None:
    """Return `path` if it is a folder that holds a folder or an image, else None."""
    if not path.is_dir():
        return None
    return path if folders_in(path) or any(True for _ in images_below(path)) else None


def holds_class_images(path: Path) -> bool:
    """Return whether two folders or more in `path`, or in a part of it, hold images."""

    def two(folder: Path) -> bool:
        held = (name for name in folders_in(folder) if any(True for _ in names_below(folder / name)))
        return next(held, None) is not None and next(held, None) is not None

    return path.is_dir() and (
        two(path) or any(two(path / name) for name in folders_in(path) if split_of(name))
    )


def plan(path: Path, options: Options) -> Plan:
    """Plan to read the classes and images below `path`.

    Args:
        path: a folder of class folders, or of the folders of the training and the test part (or validation
            part) with class folders, or with these parts in each class; `splits.split_of` has their names,
            and `splits.paired_splits` names such as train_final and test_final. Images may be at any depth in
            a class folder. Hidden files are ignored; notes count the others that are no readable images.
        options: see `Options`.

    Returns:
        The plan. Classes are the union of both parts' folder names, sorted as text; an empty folder is a
        class.

    Raises:
        InputError: the folder does not exist, or holds no images, a single class, or folders called like
            parts that hold no class folders; the message shows the layout.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; expected {LAYOUT}")
    parts, notes = parts_of(path)
    classes = sorted({name for folder in parts for name in folders_in(folder)})
    if all_splits(classes):
        raise _not_classes(parts[0], classes)
    blocks = [[(name, folder / name) for name in folders_in(folder)] for folder in parts]
    if parts == [path]:
        below, lines = splits_below(path, LAYOUT)
        blocks, notes = below or blocks, notes + lines
    number = {name: k for k, name in enumerate(classes)}
    passed = PassedOver()
    for folder in dict.fromkeys((path, *parts)):
        passed.written += [(folder / name).relative_to(path).as_posix() for name in outputs_in(folder)]
    notes += _straight_in(path, parts, passed)
    ends: list[int] = []  # the end of each part
    labels, above = array("q"), array("q")  # per image its class, and the bytes of its class folder's path

    def walk() -> Iterator[str]:
        for block in blocks:
            for name, folder in block:
                place = folder.relative_to(path).as_posix() + "/"
                label, length = number[name], len(os.fsencode(place))
                own = PassedOver()
                before = len(labels)
                for file in names_below(folder, own):
                    labels.append(label)
                    above.append(length)
                    yield place + file
                if len(labels) == before and own.endings:
                    passed.empty.append(f"no readable image in the class folder {place}: {own.in_words()}")
                if folder.is_symlink():
                    passed.links.append(place)
                passed.add(own, place)
            ends.append(len(labels))

    names = Names.of(walk())
    if not names:
        loose = sum(1 for _ in images_below(path))
        what = f"{loose} images but not in class folders" if loose else "no images in class folders"
        found = f" ({passed.in_words()})" if passed.endings else ""
        raise (Unlabeled if loose else InputError)(
            f"{path} holds {what}{found}; expected {LAYOUT}, files such as {some_suffixes()}; "
            "noisylabels list formats shows other layouts"
        )
    if len(classes) == 1:
        raise Unlabeled(
            f"{path} has a single class, {classes[0]!r}; a classifier needs 2; expected {LAYOUT}"
            + _wrapped(parts[0] / classes[0])
        )
    listing = Listing(
        base=path,
        names=names,
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(classes),
        num_train=ends[0] if len(blocks) > 1 else None,
        # relative to the class folder, so that an image moved to another class stays in its part
        keys=names.without_start(np.array(above, dtype=np.int64)),
    )
    notes += _linked(path, parts, passed.links) + passed.empty[:MOST_NOTES] + passed.notes()
    return plan_listing(listing, options, name=name_of(path), root=path, reader="folders", notes=notes)


def parts_of(root: Path) -> tuple[list[Path], list[str]]:
    """Return the folders of the training and, if there is one, the test part, and notes.

    A folder called like a part is one of the parts, with one exception: a folder of images called "train",
    say, among other folders that are not called like parts is a class.

    Raises:
        InputError: folders are called like parts, but there is none for training, or it holds no class
            folders; the message shows the layout.
    """
    folders = folders_in(root)
    named = [name for name in folders if split_of(name)]
    if not named:
        paired = paired_splits(folders)
        if not paired:
            return [root], []
        if len(paired) > 1 or not all(folders_in(root / name) for name in paired[0].values()):
            raise _not_classes(root, folders)
        return _chosen(root, folders, paired[0])
    of_classes = [name for name in named if folders_in(root / name)]
    others = [name for name in folders if name not in named]
    kinds = {split_of(name) for name in named}
    if others and not of_classes and not (TRAIN in kinds and len(kinds) > 1):
        return [root], [_class_like_a_part(named)]  # a class of trains among cars and planes
    if (
        others
        and of_classes == named
        and len(named) == 1
        and image_names_in(root / named[0])
        and kinds == {TRAIN}
    ):
        return [root], [_class_like_a_part(named)]  # the same with folders in the class
    parts = by_split(of_classes, root)
    if TRAIN not in parts:
        loose = {name: len(image_names_in(root / name)) for name in named}
        inside = ", ".join(f"{count:,} images straight in {name}" for name, count in loose.items() if count)
        raise InputError(
            f"{root} holds the folders {_listed(folders)}, but no training part with class folders"
            f"{f' ({inside})' if inside else ''}; expected {LAYOUT}"
        )
    return _chosen(root, folders, parts)


def _chosen(root: Path, folders: list[str], parts: dict[str, str]) -> tuple[list[Path], list[str]]:
    """Return the training and the test part, and a note on the folders beside them."""
    train, test = root / parts[TRAIN], next((root / parts[k] for k in (TEST, VAL) if k in parts), None)
    ignored = [name for name in folders if root / name not in (train, test)]
    notes = []
    if ignored:
        listed = ", ".join(f"{name} ({_count(root / name)})" for name in ignored[:MOST_NOTES])
        more = f" and {len(ignored) - MOST_NOTES} more" if len(ignored) > MOST_NOTES else ""
        what = f"folder{'s' if len(ignored) > 1 else ''}"
        notes = [f"ignored the {what} {listed}{more} beside {train.name}"]
    return [train, test] if test else [train], notes


def _class_like_a_part(names: list[str]) -> str:
    what = "folders are read as classes" if len(names) > 1 else "folder is read as a class"
    return f"the {what}: {_listed(names)}; a part of the set would hold class folders, see {LAYOUT}"


def _not_classes(folder: Path, names: list[str]) -> InputError:
    return InputError(
        f"{_shown(folder)} holds the folders {_listed(names)}, which name parts of a set instead of classes; "
        f"expected {LAYOUT}"
    )


def _straight_in(root: Path, parts: list[Path], passed: PassedOver) -> list[str]:
    """Return notes on images and data that lie straight in a folder of class folders, and so have no class.

    `passed` receives the endings of pictures that are not read.
    """
    notes = []
    for folder in dict.fromkeys((root, *parts)):
        endings = {name: os.path.splitext(name)[1].lower() for name in file_names_in(folder)}
        passed.endings.update(ending for ending in endings.values() if is_unread_picture(ending))
        if count := sum(ending in suffixes() for ending in endings.values()):
            what = f"{count:,} image{'s' if count > 1 else ''} straight in {_shown(folder)}"
            notes.append(f"left out {what}, which {'have' if count > 1 else 'has'} no class folder")
        if data := [name for name, ending in endings.items() if ending in _DATA]:
            more = f" and {len(data) - 1:,} more" if len(data) > 1 else ""
            what = f"left out {data[0]}{more} straight in {_shown(folder)}: "
            notes.append(f"{what}the images in class folders are the data")
    return notes


def _linked(root: Path, parts: list[Path], links: list[str]) -> list[str]:
    """Return notes on the links to images and to folders (with "/") that are read under another name too."""
    real = [os.path.realpath(folder) + os.sep for folder in parts]
    seen: set[str] = set()
    again: dict[bool, list[str]] = {False: [], True: []}
    for link in links:
        is_folder = link.endswith("/")
        target = os.path.realpath(root / link) + os.sep * is_folder
        above = is_folder and any(part.startswith(target) for part in real)
        if target in seen or target.startswith(tuple(real)) or above:
            again[is_folder].append(link)
        seen.add(target)
    notes = []
    for is_folder, found in again.items():
        kind = "folder" if is_folder else "image"
        if len(found) == 1:
            what = f"1 link leads to {'a folder whose images are' if is_folder else 'an image that is'}"
        else:
            what = f"{len(found):,} links lead to {kind}s {'whose images' if is_folder else 'that'} are"
        if found:
            notes.append(f"{what} read under another name too, first {found[0]}")
    return notes


def _count(folder: Path) -> str:
    count = sum(1 for _ in names_below(folder))
    return f"{count:,} image{'' if count == 1 else 's'}"


def _wrapped(folder: Path) -> str:
    """Return a hint if a single class folder holds class folders itself."""
    return f"; did you mean {folder}?" if len(folders_in(folder)) > 1 else ""


def _shown(folder: Path) -> str:
    return folder.name or str(folder)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NOTES} more" if len(names) > MOST_NOTES else ""
    return ", ".join(names[:MOST_NOTES]) + more
