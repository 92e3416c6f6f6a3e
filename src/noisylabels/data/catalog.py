"""The catalog of named data sets, and loading by name, from a path or from an object."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from noisylabels.core.checks import InputError, check_between, check_choice, did_you_mean
from noisylabels.core.registry import Registry
from noisylabels.data import animal10n, builtin, cifar, clothing1m, food101n, idx, webvision
from noisylabels.data.cache import load_cached
from noisylabels.data.decode import Progress
from noisylabels.data.features import Examples
from noisylabels.data.formats import is_there, plan_path
from noisylabels.data.images import ImageSet
from noisylabels.data.object_sets import load_in_memory
from noisylabels.data.published import ROOT_VARIABLE, Published
from noisylabels.data.reader import Options, Plan, check_no_column

MAX_IMAGE_SIZE = 4096


@dataclass(frozen=True)
class DataSet:
    """A named data set, one row of the catalog.

    Args:
        name: the name that users write.
        title: a description in one line.
        source: where it comes from.
        license: its terms of use.
        augment: the default augmentation in training, see `parse_augment`.
        read: returns training and test set; the first argument is the folder that the user named, or None.
        published: how it is found and downloaded, unless a dependency includes it.
    """

    name: str
    title: str
    source: str
    license: str
    augment: str
    read: Callable[[Path | None, Options], tuple[ImageSet, ImageSet]]
    published: Published | None = None


def _digits(root: Path | None, options: Options) -> tuple[ImageSet, ImageSet]:
    return builtin.digits(options)


def _published(published: Published, title: str, source: str, license: str, augment: str) -> DataSet:
    return DataSet(published.name, title, source, license, augment, published.read, published)


_HERE = f"; or manually into the folder of --data-root or {ROOT_VARIABLE}"


DATA: Registry[DataSet] = Registry("data set")
for _row in (
    DataSet(
        name="digits",
        title="1,797 handwritten digits, 8x8 gray, 10 classes; for a first try in seconds",
        source="comes with scikit-learn",
        license="CC BY 4.0 (UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998)",
        augment="none",
        read=_digits,
    ),
    *(
        _published(
            Published(one.name, one.url, one.find, one.plan, files=one.files),
            title=title,
            source=f"`noisylabels download {one.name}` from {one.url}{_HERE}",
            license="no license stated by its authors; cite Krizhevsky 2009",
            augment="crop:4+flip",  # Ma et al. 2020 also rotate CIFAR-100, by up to 20 degrees
        )
        for one, title in (
            (cifar.CIFAR10, "60,000 photographs, 32x32 color, 10 classes (Krizhevsky 2009)"),
            (cifar.CIFAR100, "60,000 photographs, 32x32 color, 100 classes (Krizhevsky 2009)"),
            (cifar.CIFAR100_COARSE, "cifar100 with its 20 superclasses for labels (Krizhevsky 2009)"),
        )
    ),
    _published(
        Published(
            "mnist",
            idx.MNIST.urls[0],
            idx.find,
            idx.MNIST.plan,
            ("mnist", "MNIST", "MNIST/raw", "MNIST_data"),
            idx.MNIST.files,
        ),
        title="70,000 handwritten digits, 28x28 gray, 10 classes (LeCun et al. 1998)",
        source=f"`noisylabels download mnist` from {idx.MNIST.urls[0]}{_HERE}",
        license="none stated by its authors; often given as CC BY-SA 3.0",
        augment="none",  # as Ma et al. 2020, dataset.py
    ),
    _published(
        Published(
            "fashion-mnist",
            idx.FASHION_MNIST.urls[1],
            idx.find,
            idx.FASHION_MNIST.plan,
            ("fashion-mnist", "FashionMNIST", "FashionMNIST/raw", "data/fashion"),
            idx.FASHION_MNIST.files,
        ),
        title="70,000 images of clothing, 28x28 gray, 10 classes (Xiao et al. 2017)",
        source=f"`noisylabels download fashion-mnist` from {idx.FASHION_MNIST.urls[1]}{_HERE}",
        license="MIT (Zalando SE)",
        augment="none",  # as Xia et al. 2020, main.py of part-dependent label noise
    ),
    _published(
        Published("webvision", webvision.URL, webvision.find, webvision.plan, webvision.FOLDERS),
        title="about a million photographs found by Google, 1,000 classes (Li et al. 2017)",
        source=f"{webvision.URL}: info, google and val_images_256, unpacked into one folder",
        license="see the source; the photographs belong to their owners",
        augment="crop:4+flip",
    ),
    _published(
        Published("webvision-mini", webvision.URL, webvision.find, webvision.plan_mini, webvision.FOLDERS),
        title="the first 50 classes of webvision, about 66,000 photographs (Jiang et al. 2018)",
        source=f"{webvision.URL}: as webvision",
        license="see the source; the photographs belong to their owners",
        augment="crop:4+flip",
    ),
    _published(
        Published("clothing1m", clothing1m.URL, clothing1m.find, clothing1m.plan, clothing1m.FOLDERS),
        title="a million photographs of clothing from shops, 14 classes (Xiao et al. 2015)",
        source=f"{clothing1m.URL}: its authors send a link; lists and images into one folder",
        license="non-commercial research and education, no redistribution",
        augment="crop:4+flip",
    ),
    _published(
        Published("food101n", food101n.URL, food101n.find, food101n.plan, food101n.FOLDERS),
        title="310,009 photographs of dishes, 101 classes (Lee et al. 2018)",
        source=f"{food101n.URL}, and food-101 (Bossard et al. 2014) beside it for testing",
        license="see the source; the photographs belong to their owners",
        augment="crop:4+flip",
    ),
    _published(
        Published("animal10n", animal10n.URL, animal10n.find, animal10n.plan, animal10n.FOLDERS),
        title="55,000 photographs of easily confused animals, 64x64, 10 classes (Song et al. 2019)",
        source=f"{animal10n.URL}: its authors send a link",
        license="see the source; the photographs belong to their owners",
        augment="crop:4+flip",
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
    label_column: str | None = None,
    id_column: str | None = None,
    need_features: bool = True,
    max_image_size: int | None = None,
    text_column: str | None = None,
    progress: Progress | None = None,
    download: bool = False,
) -> tuple[Examples, Examples]:
    """Load a data set by name, from a path, or from an object.

    Args:
        source: a name in `DATA`; a path in one of the `FORMATS`, such as a folder with one folder per class;
            a pair (X, y) of rows, texts or images and their labels, a data frame with a column of labels, or
            a pair (train, test) of these, see `recognize`; or a Hugging Face or PyTorch data set or a pair of
            them, see `load_object`. A name takes precedence over a folder of the same name; write "./digits"
            for the folder.
        root: the folder of a named data set; by default the one that NOISYLABELS_DATA names, or else
            `downloads` in the cache (NOISYLABELS_CACHE, or ~/.cache/noisylabels).
        image_size: side of square images in pixels, 1 to 4096: the shorter side is resized to it and the
            center square kept. None keeps the size if all images have the same, and uses 64 otherwise.
        bad_images: "fail" refuses a set with an unreadable image, "skip" leaves such images out.
        test_fraction: share of each class to hold out, in (0, 1), if the data has no test part.
        label_column: the column of the labels in a table or in Parquet; by default chosen by its name.
        id_column: the column of the ids in a table or in Parquet; by default "id" in a table of features, and
            the paths in a table of images.
        need_features: False also reads a table without a column to learn from, as sets of 0 features whose
            `cells` have the rows; nothing can be trained on them.
        text_column: the column of free text in a table, or several with commas between them, which are
            joined; by default the columns of words that are no features and have the length of sentences.
        max_image_size: without `image_size`, the side to which larger images are resized, and images of
            several sizes to that of the largest; images of one smaller size keep it.
        progress: called with (what, done, total) during long work.
        download: download a named data set if it is missing, see `download`; no effect on a set that a
            dependency includes, a path or an object.

    Returns:
        Training set and test set: an `ImageSet` each, or a `FeatureSet` each for rows of numbers. `notes` of
        the training set has the lines that the user should read.

    Raises:
        InputError: the data does not exist or cannot be used; the message says what to do.

    >>> train, test = load("digits")
    >>> len(train), len(test), tuple(train.images.shape[1:])
    (1438, 359, (1, 8, 8))
    """
    if image_size is not None:
        check_between(image_size, "image_size", 1, MAX_IMAGE_SIZE)
        if not isinstance(image_size, int):
            raise InputError(f"image_size is {image_size!r}, expected an integer number of pixels")
    check_choice(bad_images, ("fail", "skip"), "treatment of bad images")
    check_between(test_fraction, "test_fraction", 0, 1, open_low=True, open_high=True)
    options = Options(
        image_size,
        bad_images,
        test_fraction,
        label_column,
        progress,
        id_column,
        need_features,
        max_image_size,
        text_column,
    )
    if isinstance(source, str) and source in DATA:
        check_no_column(options, f"the data set {source}")
        row, place = DATA[source], Path(root).expanduser() if root is not None else None
        if download and row.published is not None:
            row.published.obtain(place, progress)
        return row.read(place, options)
    if not isinstance(source, (str, os.PathLike)):
        return load_in_memory(source, options)
    path = Path(source).expanduser()
    if not str(source) or not is_there(path):
        hint = did_you_mean(str(source), DATA)
        raise InputError(f"{str(source)!r} is neither a file or folder nor a known data set{hint}")
    plan = plan_path(path, options)
    return load_cached(plan, progress) if isinstance(plan, Plan) else plan.load()


def download(name: str, root: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Download a named data set, unless it is already present.

    Args:
        name: a name in `DATA`.
        root: the folder to download to; by default the one that NOISYLABELS_DATA names, or else `downloads`
            in the cache. `load` searches the same folders.
        progress: called with ("downloading NAME", bytes received, bytes in total or 0 if unknown).

    Returns:
        The path of the data set.

    Raises:
        InputError: the name is unknown, the set cannot be downloaded, the network fails, or a server sends
            another file; the message says what to download manually and where to save it.
    """
    row = DATA[name]
    if row.published is None:
        raise InputError(f"{name} {row.source}; there is nothing to download")
    return row.published.obtain(Path(root).expanduser() if root is not None else None, progress)


def default_augment(source: str | Path | object, examples: Examples) -> str:
    """Return the default augmentation of a data set.

    Args:
        source: the argument of `load`.
        examples: the set that `load` returned.

    Returns:
        The default of a named set; otherwise "crop:4+flip" for color images, "resized-crop:0.08+flip" if they
        stay in shards, and "none" for rows of numbers and for gray images, which are often writing that
        mirroring would distort.
    """
    if isinstance(source, str) and source in DATA:
        return DATA[source].augment
    if not isinstance(examples, ImageSet) or examples.images.shape[1] != 3:
        return "none"
    return "crop:4+flip" if isinstance(examples.images, Tensor) else "resized-crop:0.08+flip"
