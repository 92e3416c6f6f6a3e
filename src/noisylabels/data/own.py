"""A user's own images: a folder with a folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.data.decode import Decoding, survey
from noisylabels.data.files import SUFFIXES, folders_in, images_below
from noisylabels.data.reading import Options, Plan, Reading, held_out_note, name_of
from noisylabels.data.split import hold_out

TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test", "validation", "valid", "val")
LAYOUT = "expected ROOT/<class>/*.jpg, or ROOT/train/<class>/*.jpg and ROOT/test/<class>/*.jpg"


class _Found(NamedTuple):
    path: Path
    label: int
    key: str  # the name within the class folder: an image moved to another class stays in its part
    part: int  # 0 training, 1 test


def plan(path: Path, options: Options) -> Plan:
    """Find classes and images below `path`.

    Args:
        path: a folder of class folders, or of the folders train and test (or validation, valid, val) with
            class folders. Images may lie in folders within a class folder. Other files and hidden ones
            are passed over.
        options: see `Options`.

    Returns:
        The plan. Classes are the sorted union of both parts' folder names; an empty folder is a class.

    Raises:
        InputError: there is no folder, no image, or a single class; the message shows the layout.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; {LAYOUT}")
    parts, notes = _parts(path)
    classes = sorted({name for folder in parts for name in folders_in(folder)})
    number = {name: k for k, name in enumerate(classes)}
    found = [
        _Found(file, number[name], file.relative_to(folder / name).as_posix(), part)
        for part, folder in enumerate(parts)
        for name in folders_in(folder)
        for file in images_below(folder / name)
    ]
    if not found:
        loose = sum(1 for _ in images_below(path))
        what = f"{loose} images but not in class folders" if loose else "no image in class folders"
        raise InputError(f"{path} holds {what}; {LAYOUT}; known are {', '.join(sorted(SUFFIXES))}")
    if len(classes) == 1:
        raise InputError(f"{path} has a single class, {classes[0]!r}; a classifier needs 2; {LAYOUT}")
    test_fraction = None if len(parts) > 1 else options.test_fraction
    return Plan(
        name=name_of(path),
        root=path,
        files={one.path.relative_to(path).as_posix(): one.path for one in found},
        options={
            "reader": "folders",
            "classes": classes,
            "image_size": options.image_size,
            "bad_images": options.bad_images,
            "test_fraction": test_fraction,
        },
        read=lambda: _read(path, found, tuple(classes), test_fraction, options),
        notes=tuple(notes),
    )


def _parts(root: Path) -> tuple[list[Path], list[str]]:
    """Return the folders of the training and, where there is one, the test part, and notes."""
    here = {folder.lower(): root / folder for folder in reversed(folders_in(root))}
    train = here.get(TRAIN_FOLDER)
    if train is None or not folders_in(train):  # without folders of its own, "train" is a class of trains
        return [root], []
    test = next((here[name] for name in TEST_FOLDERS if name in here and folders_in(here[name])), None)
    ignored = sorted(folder.name for folder in here.values() if folder not in (train, test))
    notes = [f"ignored the folders {', '.join(ignored)} beside {train.name}"] if ignored else []
    return [train, test] if test else [train], notes


def _read(
    root: Path,
    found: list[_Found],
    class_names: tuple[str, ...],
    test_fraction: float | None,
    options: Options,
) -> Reading:
    notes = []
    labels = np.array([one.label for one in found], dtype=np.int64)
    num_train = sum(one.part == 0 for one in found)
    if test_fraction is not None:
        train, test = hold_out(labels, [one.key for one in found], test_fraction)
        num_train = len(train)
        order = np.concatenate([train, test])
        labels, found = labels[order], [found[i] for i in order]
        notes.append(held_out_note(len(test), test_fraction))
    files = [one.path for one in found]
    ids = [file.relative_to(root).as_posix() for file in files]
    shape, resized = survey(files, options.image_size, options.progress)
    notes += [resized] if resized else []
    decoding = Decoding(files, ids, shape, options.bad_images, options.progress)
    return Reading.of_encoded(decoding, labels, class_names, num_train, notes)
