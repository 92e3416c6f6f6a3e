"""WebVision 1.0 in its authors' folders and lists, complete or the first 50 classes ("mini")."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.data.image_lists import Listing, drop_missing, numbered_lines, numbered_pairs, plan_listing
from noisylabels.data.reader import Options, Plan, name_of

URL = "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html"
FOLDERS = ("webvision", "WebVision", "webvision1.0")
TRAIN_LIST = "info/train_filelist_google.txt"
TEST_LIST = "info/val_filelist.txt"
CLASS_LIST = "info/synsets.txt"
TEST_FOLDERS = ("val_images_256", "val_images")  # resized to 256 pixels, or original
MINI_CLASSES = 50
LAYOUT = f"{TRAIN_LIST}, {TEST_LIST}, {CLASS_LIST}, google/, and {TEST_FOLDERS[0]}/ or {TEST_FOLDERS[1]}/"


def find(path: Path) -> Path | None:
    """Return `path` if it holds the list of WebVision's Google images, else None."""
    return path if (path / TRAIN_LIST).is_file() else None


def plan(path: Path, options: Options, num_classes: int | None = None) -> Plan:
    """Plan to read WebVision 1.0: the Google images for training, the validation images for testing.

    A line of a list is "google/q0001/x.jpg 0": an image relative to the root (validation images: to their
    own folder) and its class, the number of a line of synsets.txt, such as "n01440764 tench, Tinca tinca".
    A class is named by its first term ("tench"), with the synset added if two classes share it. Training
    labels are the search terms, unchecked; validation labels are human annotations. The Flickr half of the
    training images is not used, as in the usual studies of mini-WebVision.

    Args:
        path: the folder that holds info/.
        options: see `Options`.
        num_classes: the number of classes to use, from the first; mini-WebVision has 50 (Jiang et al. 2018).

    Returns:
        The plan; its notes count missing images.

    Raises:
        InputError: a list is missing or damaged, or images are missing and may not be left out.

    Source: W. Li, L. Wang, W. Li, E. Agustsson, L. Van Gool, "WebVision Database", 2017, and its README;
    read as in DivideMix's dataloader_webvision.py (J. Li et al. 2020).
    """
    notes: list[str] = []
    names = class_names(path / CLASS_LIST)
    K = len(names) if num_classes is None else min(num_classes, len(names))
    images, labels = _listed(path / TRAIN_LIST, "", K, len(names))
    folder = next((name for name in TEST_FOLDERS if (path / name).is_dir()), TEST_FOLDERS[0])
    tests, test_labels = _listed(path / TEST_LIST, f"{folder}/", K, len(names))
    listing = Listing(path, images + tests, np.array(labels + test_labels, np.int64), names[:K], len(images))
    listing = drop_missing(listing, f"{TRAIN_LIST} and {TEST_LIST}", options, notes)
    flickr = path / TRAIN_LIST.replace("google", "flickr")
    if flickr.is_file():
        notes.append(f"only the Google images are used; {flickr.name} is not")
    return plan_listing(
        listing,
        options,
        name=name_of(path) if num_classes is None else f"webvision-{K}",
        root=path,
        reader="webvision",
        lists=[path / TRAIN_LIST, path / TEST_LIST, path / CLASS_LIST],
        notes=notes,
    )


def plan_mini(path: Path, options: Options) -> Plan:
    """Plan to read mini-WebVision, the first 50 classes; see `plan`."""
    return plan(path, options, MINI_CLASSES)


def class_names(path: Path) -> tuple[str, ...]:
    """Return a name for each line of synsets.txt, all different.

    Raises:
        InputError: the file is missing or empty.
    """
    synsets = [line.partition(" ") for _, line in numbered_lines(path)]
    names = [words.split(",")[0].strip() or synset for synset, _, words in synsets]
    count = Counter(names)  # "crane" is a bird and a machine, "maillot" occurs twice
    return tuple(
        f"{name} ({synset})" if count[name] > 1 else name
        for name, (synset, _, _) in zip(names, synsets, strict=True)
    )


def _listed(path: Path, prefix: str, num_classes: int, known: int) -> tuple[list[str], list[int]]:
    images, labels = [], []
    for _, image, label in numbered_pairs(path, known):
        if label < num_classes:
            images.append(prefix + image)
            labels.append(label)
    if not images:
        raise InputError(f"{path} lists no image of the first {num_classes} classes; get {URL} again")
    return images, labels
