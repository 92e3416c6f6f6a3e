"""Food-101N in its authors' folders and lists, tested on the test images of Food-101."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.data.image_lists import Listing, drop_missing, numbered_lines, plan_listing
from noisylabels.data.reader import Options, Plan, name_of

URL = "https://kuanghuei.github.io/Food-101N/"
FOLDERS = ("Food-101N_release", "food-101N", "Food101N", "food101n")
TEST_FOLDERS = ("food-101", "Food-101", "food101")
TRAIN_LIST = "meta/imagelist.tsv"
TEST_LIST = "meta/test.txt"
CLASS_LIST = "meta/classes.txt"
VERIFIED_LISTS = ("meta/verified_train.tsv", "meta/verified_val.tsv")
LAYOUT = f"{TRAIN_LIST}, {CLASS_LIST}, images/<class>/, and {TEST_FOLDERS[0]}/{TEST_LIST} in it or beside it"


def find(path: Path) -> Path | None:
    """Return `path` if it holds the list of Food-101N's images, else None."""
    return path if (path / TRAIN_LIST).is_file() else None


def plan(path: Path, options: Options) -> Plan:
    """Plan to read Food-101N, with the test images of Food-101 if they are present.

    imagelist.tsv has the heading "class_name/key" and one line "apple_pie/x.jpg" per file of images/; the
    folder is the label. classes.txt has the heading "class_name" and one class per line, in the order of the
    class numbers. Food-101's meta/test.txt has lines "apple_pie/1011328" for images/apple_pie/1011328.jpg; it
    is searched for in `path`, in food-101/ within it, and in food-101/ beside it. Without it a part with
    equally noisy labels is held out. verified_train.tsv and verified_val.tsv record for some images whether
    the label is correct (1) or not (0); they are not used, but a note counts them.

    Args:
        path: the folder that holds meta/ and images/.
        options: see `Options`.

    Returns:
        The plan; its notes count missing images and verified labels.

    Raises:
        InputError: a list is missing or damaged, a class is not in classes.txt, or images are missing and
            may not be left out.

    Source: K.-H. Lee et al., "CleanNet: Transfer Learning for Scalable Image Classifier Training with Label
    Noise", CVPR 2018, and the README of the set; L. Bossard et al., "Food-101", ECCV 2014.
    """
    names = tuple(line for n, line in numbered_lines(path / CLASS_LIST) if (n, line) != (1, "class_name"))
    images, labels = _listed(path / TRAIN_LIST, names, "images/", "")
    lists = [path / TRAIN_LIST, path / CLASS_LIST]
    notes = [note for name in VERIFIED_LISTS if (note := _verified(path / name))]
    num_train = None
    beside = (os.path.relpath(folder, path) for folder in (path, *_test_folders(path)))
    test = next((folder for folder in beside if (path / folder / TEST_LIST).is_file()), None)
    if test is not None:
        num_train = len(images)
        lists.append(path / test / TEST_LIST)
        more = _listed(lists[-1], names, "images/" if test == "." else f"{test}/images/", ".jpg")
        images, labels = images + more[0], labels + more[1]
    else:
        notes.append("Food-101, whose test part should be used, is missing: store food-101/ beside this set")
    listing = Listing(path, images, np.array(labels, dtype=np.int64), names, num_train)
    return plan_listing(
        drop_missing(listing, " and ".join(p.name for p in lists if p.name != "classes.txt"), options, notes),
        options,
        name=name_of(path),
        root=path,
        reader="food101n",
        lists=lists,
        notes=notes,
    )


def _test_folders(path: Path) -> list[Path]:
    return [folder / name for folder in (path, path.absolute().parent) for name in TEST_FOLDERS]


def _listed(
    path: Path, class_names: tuple[str, ...], prefix: str, suffix: str
) -> tuple[list[str], list[int]]:
    known = {name: k for k, name in enumerate(class_names)}
    images, labels = [], []
    for number, line in numbered_lines(path):
        if number == 1 and line.startswith("class_name"):
            continue
        name = line.partition("/")[0]
        if name not in known or name == line:
            raise InputError(
                f"{path}, line {number}: {line[:80]!r}, expected <class>/<image> with a class of classes.txt"
            )
        images.append(f"{prefix}{line}{suffix}")
        labels.append(known[name])
    return images, labels


def _verified(path: Path) -> str:
    """Return a note that counts the verified labels, or "" without such a list."""
    if not path.is_file():
        return ""
    marks = [line.rsplit(maxsplit=1)[-1] for _, line in numbered_lines(path)]
    right, wrong = marks.count("1"), marks.count("0")
    return (
        f"{right + wrong:,} labels are human-verified, {wrong:,} of them as wrong ({path.name}); "
        "this is not used"
    )
