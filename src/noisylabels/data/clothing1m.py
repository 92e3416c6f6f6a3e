"""Clothing1M in its authors' folders and lists: a million noisy labels and some thousand clean ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.data.image_lists import Listing, drop_missing, numbered_lines, numbered_pairs, plan_listing
from noisylabels.data.reader import Options, Plan, name_of

URL = "https://github.com/Cysu/noisy_label"
FOLDERS = ("clothing1M", "Clothing1M", "clothing1m")
TRAIN_LIST = "noisy_train_key_list.txt"
TRAIN_LABELS = "noisy_label_kv.txt"
TEST_LIST = "clean_test_key_list.txt"
TEST_LABELS = "clean_label_kv.txt"
CLASS_LIST = "category_names_eng.txt"
CLEAN_LISTS = ("clean_train_key_list.txt", "clean_val_key_list.txt")  # counted, not used
LAYOUT = f"{TRAIN_LIST}, {TRAIN_LABELS}, {TEST_LIST}, {TEST_LABELS}, {CLASS_LIST} and images/"


def find(path: Path) -> Path | None:
    """Return `path` if it, or annotations/ in it, holds the list of noisy training images, else None."""
    return path if any((folder / TRAIN_LIST).is_file() for folder in (path, path / "annotations")) else None


def plan(path: Path, options: Options) -> Plan:
    """Plan to read Clothing1M: the noisy labels for training, the clean test part for testing.

    The key lists name the images of a part, one per line ("images/7/12/x.jpg"); the two label files have
    lines "images/7/12/x.jpg 3" for all images with a noisy or a clean label. Line k of category_names_eng.txt
    is the name of class k. The lists may be in annotations/, and the images outside of images/, as
    "7/12/x.jpg", which is how the archives unpack. The clean training and validation parts are not used, as
    in studies of label noise; a note counts their labels.

    Args:
        path: the folder with the lists and images.
        options: see `Options`.

    Returns:
        The plan; its notes count missing images and unused clean labels.

    Raises:
        InputError: a list is missing or damaged, an image has no label, or images are missing and may not be
            left out.

    Source: T. Xiao et al., "Learning from Massive Noisy Labeled Data for Image Classification", CVPR 2015,
    and the README of the set; read as in DivideMix's dataloader_clothing1M.py (J. Li et al. 2020), which
    draws a balanced part per epoch where this reader uses all images.
    """
    lists = path if (path / TRAIN_LIST).is_file() else path / "annotations"
    prefix = "" if (path / "images").is_dir() else "images/"
    names = tuple(line for _, line in numbered_lines(lists / CLASS_LIST))
    images, labels = _part(lists / TRAIN_LIST, lists / TRAIN_LABELS, len(names))
    tests, test_labels = _part(lists / TEST_LIST, lists / TEST_LABELS, len(names))
    notes = [
        f"unused clean labels: {sum(1 for _ in numbered_lines(lists / name)):,} ({name})"
        for name in CLEAN_LISTS
        if (lists / name).is_file()
    ]
    listing = Listing(
        base=path,
        names=[name.removeprefix(prefix) for part in (images, tests) for name in part],
        labels=np.array(labels + test_labels, dtype=np.int64),
        class_names=names,
        num_train=len(images),
    )
    return plan_listing(
        drop_missing(listing, f"{TRAIN_LIST} and {TEST_LIST}", options, notes),
        options,
        name=name_of(path),
        root=path,
        reader="clothing1m",
        lists=[lists / name for name in (TRAIN_LIST, TRAIN_LABELS, TEST_LIST, TEST_LABELS, CLASS_LIST)],
        notes=notes,
    )


def _part(keys: Path, values: Path, num_classes: int) -> tuple[list[str], list[int]]:
    """Return the images of a key list and their labels."""
    known = {image: label for _, image, label in numbered_pairs(values, num_classes)}
    images, labels = [], []
    for number, image in numbered_lines(keys):
        if image not in known:
            raise InputError(f"{keys}, line {number}: {image} has no label in {values.name}; get {URL} again")
        images.append(image)
        labels.append(known[image])
    return images, labels
