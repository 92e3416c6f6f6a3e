"""User-provided image sets: a folder with one folder per class."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.data.file_sources import SUFFIXES, folders_in, images_below, names_below
from noisylabels.data.image_lists import Listing, plan_listing
from noisylabels.data.names import Names
from noisylabels.data.reader import Options, Plan, name_of

TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test", "validation", "valid", "val")
LAYOUT = "ROOT/<class>/*.jpg, or ROOT/train/<class>/*.jpg and ROOT/test/<class>/*.jpg"


def find(path: Path) -> Path | None:
    """Return `path` if it is a folder that holds a folder or an image, else None."""
    if not path.is_dir():
        return None
    return path if folders_in(path) or any(True for _ in images_below(path)) else None


def plan(path: Path, options: Options) -> Plan:
    """Plan to read the classes and images below `path`.

    Args:
        path: a folder of class folders, or of the folders train and test (or validation, valid, val) with
            class folders. Images may be at any depth in a class folder. Other files and hidden ones are
            ignored.
        options: see `Options`.

    Returns:
        The plan. Classes are the sorted union of both parts' folder names; an empty folder is a class.

    Raises:
        InputError: the folder does not exist, or holds no images or a single class; the message shows the
            layout.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; expected {LAYOUT}")
    parts, notes = parts_of(path)
    classes = sorted({name for folder in parts for name in folders_in(folder)})
    number = {name: k for k, name in enumerate(classes)}
    ends: list[int] = []  # the end of each part
    labels, above = array("q"), array("q")  # per image its class, and the bytes of its class folder's path

    def walk() -> Iterator[str]:
        for folder in parts:
            for name in folders_in(folder):
                place = (folder / name).relative_to(path).as_posix() + "/"
                label, length = number[name], len(os.fsencode(place))
                for file in names_below(folder / name):
                    labels.append(label)
                    above.append(length)
                    yield place + file
            ends.append(len(labels))

    names = Names.of(walk())
    if not names:
        loose = sum(1 for _ in images_below(path))
        what = f"{loose} images but not in class folders" if loose else "no images in class folders"
        raise InputError(
            f"{path} holds {what}; expected {LAYOUT}, files in {', '.join(sorted(SUFFIXES))}; "
            "noisylabels list formats shows other layouts"
        )
    if len(classes) == 1:
        raise InputError(
            f"{path} has a single class, {classes[0]!r}; a classifier needs 2; expected {LAYOUT}"
        )
    listing = Listing(
        base=path,
        names=names,
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(classes),
        num_train=ends[0] if len(parts) > 1 else None,
        # relative to the class folder, so that an image moved to another class stays in its part
        keys=names.without_start(np.array(above, dtype=np.int64)),
    )
    return plan_listing(listing, options, name=name_of(path), root=path, reader="folders", notes=notes)


def parts_of(root: Path) -> tuple[list[Path], list[str]]:
    """Return the folders of the training and, if there is one, the test part, and notes."""
    here = {folder.lower(): root / folder for folder in reversed(folders_in(root))}
    train = here.get(TRAIN_FOLDER)
    if train is None or not folders_in(train):  # without folders in it, "train" is a class of trains
        return [root], []
    test = next((here[name] for name in TEST_FOLDERS if name in here and folders_in(here[name])), None)
    ignored = sorted(folder.name for folder in here.values() if folder not in (train, test))
    notes = [f"ignored the folders {', '.join(ignored)} beside {train.name}"] if ignored else []
    return [train, test] if test else [train], notes
