"""The data sets by name, and the recognition of what a path holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from noisylabels.core.checks import InputError, check_between, check_choice, did_you_mean
from noisylabels.core.registry import Registry
from noisylabels.data import builtin, cifar, own, parquet
from noisylabels.data.cache import load_cached
from noisylabels.data.decode import Progress
from noisylabels.data.images import ImageSet
from noisylabels.data.reading import Options

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
):
    DATA.add(_row.name, _row)


def load(
    source: str | Path,
    root: str | Path | None = None,
    *,
    image_size: int | None = None,
    bad_images: str = "fail",
    test_fraction: float = 0.2,
    progress: Progress | None = None,
) -> tuple[ImageSet, ImageSet]:
    """Load a data set by its name or from a path.

    Args:
        source: a name of `DATA`, or the path of a folder with a folder for each class, of Hugging Face
            image Parquet, or of the official CIFAR-10 archive or folder. A name wins over a folder of the
            same name; write "./digits" for the folder.
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
    path = Path(source).expanduser()
    if not str(source) or not path.exists():
        hint = did_you_mean(str(source), DATA)
        raise InputError(f"{str(source)!r} is neither a file or folder nor a known data set{hint}")
    return _load_path(path, options)


def default_augment(source: str | Path, image_set: ImageSet) -> str:
    """Return the augmentation that training uses unless the user says otherwise.

    Args:
        source: what `load` was given.
        image_set: what it returned.

    Returns:
        A named set's own default; for a path "crop:4+flip" for colour images and "none" for grey ones,
        because what is grey is often writing, which a mirror makes wrong.
    """
    if isinstance(source, str) and source in DATA:
        return DATA[source].augment
    return "crop:4+flip" if image_set.images.shape[1] == 3 else "none"


def _load_path(path: Path, options: Options) -> tuple[ImageSet, ImageSet]:
    if official := cifar.find(path):
        plan = cifar.plan(official, options)
    elif parquet.parquet_files(path):
        plan = parquet.plan(path, options)
    else:
        plan = own.plan(path, options)
    return load_cached(plan, options.progress)
