"""A user's own images: a folder with a folder for each class, or any list of files to predict."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from noisylabels.core.checks import InputError, check_choice
from noisylabels.data.decode import Decoding, Progress, survey
from noisylabels.data.reading import Options, Plan, Reading, held_out_note
from noisylabels.data.split import hold_out

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
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
    try:
        parts, notes = _parts(path)
        classes = sorted({name for folder in parts for name in _folders(folder)})
        found = [
            _Found(file, classes.index(name), file.relative_to(folder / name).as_posix(), part)
            for part, folder in enumerate(parts)
            for name in _folders(folder)
            for file in images_below(folder / name)
        ]
        loose = 0 if found else sum(1 for _ in images_below(path))
    except OSError as error:
        raise InputError(f"cannot look into {error.filename} ({error.strerror})") from None
    if not found:
        what = f"{loose} images but not in class folders" if loose else "no image in class folders"
        raise InputError(f"{path} holds {what}; {LAYOUT}; known are {', '.join(sorted(SUFFIXES))}")
    if len(classes) == 1:
        raise InputError(f"{path} has a single class, {classes[0]!r}; a classifier needs 2; {LAYOUT}")
    test_fraction = None if len(parts) > 1 else options.test_fraction
    return Plan(
        name=path.resolve().name or str(path),
        root=path,
        files={one.path.relative_to(path).as_posix(): one.path for one in found},
        options={
            "reader": "folders",
            "classes": classes,
            "image_size": options.image_size,
            "bad_images": options.bad_images,
            "test_fraction": test_fraction,
        },
        read=lambda: _read(path, found, tuple(classes), test_fraction, options, list(notes)),
    )


def read_images(
    paths: Sequence[str | Path] | str | Path,
    *,
    channels: int,
    image_size: tuple[int, int],
    bad_images: str = "fail",
    progress: Progress | None = None,
) -> tuple[torch.Tensor, list[str]]:
    """Read image files in the shape that a model takes.

    Args:
        paths: image files, or a folder whose images (at any depth) are wanted, or one image file.
        channels: 1 for grey, 3 for RGB.
        image_size: height and width; images are resized to cover it and cropped to the centre.
        bad_images: "fail", or "skip" to leave out what cannot be read.
        progress: called with ("decoding", done, total).

    Returns:
        uint8 (N, channels, H, W), and the N ids of the images that were read: the path below the folder,
        or the path as it was given.

    Raises:
        InputError: there is no such file or folder, no image, or an image that cannot be read.
    """
    check_choice(bad_images, ("fail", "skip"), "treatment of bad images")
    if isinstance(paths, (str, Path)):
        root = Path(paths).expanduser()
        files = sorted(images_below(root)) if root.is_dir() else [root]
        ids = [file.relative_to(root).as_posix() for file in files] if root.is_dir() else [str(paths)]
    else:
        root = Path()
        files, ids = [Path(path).expanduser() for path in paths], [str(path) for path in paths]
    if not files:
        raise InputError(f"no image found in {root}; known are {', '.join(sorted(SUFFIXES))}")
    if missing := [name for name, file in zip(ids, files, strict=True) if not file.exists()]:
        raise InputError(f"there is no file {missing[0]} ({len(missing)} of {len(files)} are missing)")
    decoding = Decoding(files, ids, (channels, *image_size), bad_images, progress)
    images = np.concatenate(list(decoding.pieces()))
    return torch.from_numpy(images), [name for i, name in enumerate(ids) if i not in decoding.bad]


def images_below(folder: Path) -> Iterator[Path]:
    """Give the image files in a folder and the folders within it, sorted, hidden ones left out."""
    seen = set()
    for place, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        identity = os.stat(place)
        if (identity.st_dev, identity.st_ino) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(files):
            if not _is_hidden(name) and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(place, name)


def _raise(error: OSError) -> None:
    raise error  # a folder that cannot be listed must not pass for an empty one


def _parts(root: Path) -> tuple[list[Path], list[str]]:
    """Return the folders of the training and, where there is one, the test part, and notes."""
    here = {folder.lower(): root / folder for folder in reversed(_folders(root))}
    train = here.get(TRAIN_FOLDER)
    if train is None or not _folders(train):  # without folders of its own, "train" is a class of trains
        return [root], []
    test = next((here[name] for name in TEST_FOLDERS if name in here and _folders(here[name])), None)
    ignored = sorted(folder.name for folder in here.values() if folder not in (train, test))
    notes = [f"ignored the folders {', '.join(ignored)} beside {train.name}"] if ignored else []
    return [train, test] if test else [train], notes


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if not _is_hidden(entry.name) and entry.is_dir())


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _read(
    root: Path,
    found: list[_Found],
    class_names: tuple[str, ...],
    test_fraction: float | None,
    options: Options,
    notes: list[str],
) -> Reading:
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
