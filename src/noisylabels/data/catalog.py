"""The data sets by name, and the recognition of what a path holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from noisylabels.core.checks import InputError, check_between, check_choice, did_you_mean
from noisylabels.core.registry import Registry
from noisylabels.data import animal10n, builtin, cifar, clothing1m, food101n, webvision
from noisylabels.data.cache import load_cached
from noisylabels.data.decode import Progress
from noisylabels.data.formats import plan_path
from noisylabels.data.images import ImageSet
from noisylabels.data.objects import load_object
from noisylabels.data.published import locate
from noisylabels.data.reading import Options, Plan

ROOT_VARIABLE = "NOISYLABELS_DATA"
MAX_IMAGE_SIZE = 4096


@dataclass(frozen=True)
class DataSet:
    """A row of the catalog.

    Args:
        name: what a user writes.
        title: one line on what it is.
        source: how to get it.
        licence: under which terms.
        augment: what training does to the images by default, see `parse_augment`.
        read: gives training and test set; the first argument is the folder that the user named, or None.
    """

    name: str
    title: str
    source: str
    licence: str
    augment: str
    read: Callable[[Path | None, Options], tuple[ImageSet, ImageSet]]


def _digits(root: Path | None, options: Options) -> tuple[ImageSet, ImageSet]:
    return builtin.digits(options)


def _cifar10(root: Path | None, options: Options) -> tuple[ImageSet, ImageSet]:
    return load_cached(cifar.plan(cifar.locate(root, ROOT_VARIABLE), options), options.progress)


def _published(
    name: str,
    url: str,
    folders: Sequence[str],
    find: Callable[[Path], Path | None],
    plan: Callable[[Path, Options], Plan],
) -> Callable[[Path | None, Options], tuple[ImageSet, ImageSet]]:
    def read(root: Path | None, options: Options) -> tuple[ImageSet, ImageSet]:
        return load_cached(
            plan(locate(name, url, folders, find, root, ROOT_VARIABLE), options), options.progress
        )

    return read


DATA: Registry[DataSet] = Registry("data set")
for _row in (
    DataSet(
        name="digits",
        title="1,797 handwritten digits, 8x8 grey, 10 classes; a try-out in seconds",
        source="comes with scikit-learn",
        licence="CC BY 4.0 (UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998)",
        augment="none",
        read=_digits,
    ),
    DataSet(
        name="cifar10",
        title="60,000 photographs, 32x32 colour, 10 classes (Krizhevsky 2009)",
        source=f"{cifar.URL} into the folder of --data-root or that named by {ROOT_VARIABLE}",
        licence="no licence stated by its authors; cite Krizhevsky 2009",
        augment="crop:4+flip",
        read=_cifar10,
    ),
    DataSet(
        name="webvision",
        title="about a million photographs found by Google, 1,000 classes (Li et al. 2017)",
        source=f"{webvision.URL}: info, google and val_images_256, unpacked into one folder",
        licence="see the source; the photographs belong to their owners",
        augment="crop:4+flip",
        read=_published("webvision", webvision.URL, webvision.FOLDERS, webvision.find, webvision.plan),
    ),
    DataSet(
        name="webvision-mini",
        title="the first 50 classes of webvision, about 66,000 photographs (Jiang et al. 2018)",
        source=f"{webvision.URL}: as webvision",
        licence="see the source; the photographs belong to their owners",
        augment="crop:4+flip",
        read=_published(
            "webvision-mini", webvision.URL, webvision.FOLDERS, webvision.find, webvision.plan_mini
        ),
    ),
    DataSet(
        name="clothing1m",
        title="a million photographs of clothing from shops, 14 classes (Xiao et al. 2015)",
        source=f"{clothing1m.URL}: its authors send a link; lists and images into one folder",
        licence="non-commercial research and education, not to be passed on",
        augment="crop:4+flip",
        read=_published("clothing1m", clothing1m.URL, clothing1m.FOLDERS, clothing1m.find, clothing1m.plan),
    ),
    DataSet(
        name="food101n",
        title="310,009 photographs of dishes, 101 classes (Lee et al. 2018)",
        source=f"{food101n.URL}, and food-101 (Bossard et al. 2014) beside it for testing",
        licence="see the source; the photographs belong to their owners",
        augment="crop:4+flip",
        read=_published("food101n", food101n.URL, food101n.FOLDERS, food101n.find, food101n.plan),
    ),
    DataSet(
        name="animal10n",
        title="55,000 photographs of easily confused animals, 64x64, 10 classes (Song et al. 2019)",
        source=f"{animal10n.URL}: its authors send a link",
        licence="see the source; the photographs belong to their owners",
        augment="crop:4+flip",
        read=_published("animal10n", animal10n.URL, animal10n.FOLDERS, animal10n.find, animal10n.plan),
    ),
):
    DATA.add(_row.name, _row)


def load(
    source: str | Path | object,
    root: str | Path | None = None,
    *,
    image_size: int | None = None,
    bad_images: str = "fail",
    test_fraction: float = 0.2,
    progress: Progress | None = None,
) -> tuple[ImageSet, ImageSet]:
    """Load a data set by its name, from a path, or from an object that holds one.

    Args:
        source: a name of `DATA`; the path of something that is in `FORMATS`, such as a folder with a folder
            for each class; or a data set of Hugging Face or PyTorch, or a pair (train, test) of such, see
            `load_object`. A name wins over a folder of the same name; write "./digits" for the folder.
        root: where a named data set lies; by default the folder that NOISYLABELS_DATA names.
        image_size: side of square images in pixels, 1 to 4096: the shorter side is resized to it and the
            centre square kept. None keeps a size that all images share, and else makes it 64.
        bad_images: "fail" refuses a set with an unreadable image, "skip" leaves such images out.
        test_fraction: share of each class to hold out, in (0, 1); used when there is no test part.
        progress: called with (what, done, total) during long work.

    Returns:
        Training set and test set. `notes` of the training set says what the user should know.

    Raises:
        InputError: nothing is there, or it cannot be used; the message says what to do.

    >>> train, test = load("digits")
    >>> len(train), len(test), tuple(train.images.shape[1:])
    (1438, 359, (1, 8, 8))
    """
    if image_size is not None:
        check_between(image_size, "image_size", 1, MAX_IMAGE_SIZE)
        if not isinstance(image_size, int):
            raise InputError(f"image_size is {image_size!r}, expected a whole number of pixels")
    check_choice(bad_images, ("fail", "skip"), "treatment of bad images")
    check_between(test_fraction, "test_fraction", 0, 1, open_low=True, open_high=True)
    options = Options(image_size, bad_images, test_fraction, progress)
    if isinstance(source, str) and source in DATA:
        return DATA[source].read(Path(root).expanduser() if root is not None else None, options)
    if not isinstance(source, (str, os.PathLike)):
        return load_object(source, options)
    path = Path(source).expanduser()
    if not str(source) or not path.exists():
        hint = did_you_mean(str(source), DATA)
        raise InputError(f"{str(source)!r} is neither a file or folder nor a known data set{hint}")
    return load_cached(plan_path(path, options), progress)


def default_augment(source: str | Path | object, image_set: ImageSet) -> str:
    """Return the augmentation that training uses unless the user says otherwise.

    Args:
        source: what `load` was given.
        image_set: what it returned.

    Returns:
        A named set's own default; else "crop:4+flip" for colour images and "none" for grey ones,
        because what is grey is often writing, which a mirror makes wrong.
    """
    if isinstance(source, str) and source in DATA:
        return DATA[source].augment
    return "crop:4+flip" if image_set.images.shape[1] == 3 else "none"
