"""Lists of paths of images in memory: recognized, so that they are not taken for texts, and read."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.positions import NO_ORDER, Positions
from noisylabels.data.cache import load_cached
from noisylabels.data.decode import AtMost, read_images, survey
from noisylabels.data.image_formats import suffixes
from noisylabels.data.image_lists import Listing, listed_twice, plan_listing
from noisylabels.data.images import ImageSet
from noisylabels.data.names import path_ids
from noisylabels.data.pixel_range import White
from noisylabels.data.reader import LABELS, Options


def image_files(X: Any) -> list[str] | None:
    """Return the paths in a list, an array or a series of image files; None for anything else.

    Objects of `pathlib` are paths. Text is a path if it ends as the name of an image does, and the file
    exists.

    Raises:
        InputError: some are such files, and others are not.

    >>> image_files(["a text", "see cat.jpg"]) is None
    True
    """
    if not isinstance(X, (list, tuple)):
        if getattr(X, "ndim", 0) != 1 or getattr(getattr(X, "dtype", None), "kind", "O") not in "OUT":
            return None
        X = np.asarray(X, dtype=object).tolist()
    if not X or not isinstance(X[0], (str, os.PathLike)):
        return None
    paths = [isinstance(each, os.PathLike) for each in X]
    named = [path or _is_named(each) for path, each in zip(paths, X, strict=True)]
    if not any(paths) and sum(named) * 2 < len(X):
        return None
    there = [
        name and _is_named(each) and os.path.isfile(os.path.expanduser(each))
        for name, each in zip(named, X, strict=True)
    ]
    if all(there):
        return [os.path.expanduser(each) for each in X]
    if not any(paths) and not any(there) and not all(named):
        return None  # texts that end with a name
    at = there.index(False)
    count = len(there) - sum(there)
    raise InputError(
        f"{count:,} of {len(there):,} paths in X are not existing image files, first {str(X[at])[:200]!r} "
        f"(row {at}); pass paths of images alone, relative to the current folder or absolute, or their pixels"
    )


def _is_named(value: Any) -> bool:
    """Return whether a value is text or a path that ends as the name of an image does."""
    if not isinstance(value, (str, os.PathLike)):
        return False
    return os.path.splitext(os.fspath(value)[-300:])[1].lower() in suffixes()


def read_image_files(
    files: Sequence[str],
    shape: tuple[int, ...] = (),
    most: int | None = None,
    trained: White | None = None,
) -> tuple[np.ndarray, White | None]:
    """Return images as an array, uint8 (N, C, H, W), and `ImageSet.white` of them.

    Args:
        files: paths of `image_files`.
        shape: (C, H, W); by default that of the files, as `survey` chooses it.
        most: see `AtMost`.
        trained: see `read_images`.

    Raises:
        InputError: one cannot be read.
    """
    paths = [Path(file) for file in files]
    if not shape:
        found = survey(paths, None if most is None else AtMost(most))
        shape, trained = found.shape, found.kept
    channels, height, width = shape
    images, _ = read_images(paths, channels=channels, image_size=(height, width), trained=trained)
    return images.numpy(), trained


def load_image_files(
    parts: Sequence[Sequence[str]],
    labels: np.ndarray,
    class_names: tuple[str, ...],
    options: Options,
    ids: Sequence[str] = (),
    name: str = "images",
    row: Callable[[int], str] = "row {}".format,
) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set of image files.

    Args:
        parts: the paths of the training images and, if there are any, of the test images.
        labels: class numbers, (N,), training part first.
        class_names: K names.
        options: see `Options`.
        ids: N ids; by default the paths.
        name: the name of the set.
        row: position -> what the row of an image is called, in the note on images that are listed twice.
    """
    files = [file for part in parts for file in part]
    places = [os.path.abspath(file) for file in files]
    keys = list(ids) or path_ids(files)[0]
    listing = Listing(
        base=Path(os.path.commonpath([os.path.dirname(place) for place in places])),
        names=places,
        labels=labels,
        class_names=class_names,
        num_train=len(parts[0]) if len(parts) > 1 else None,
        keys=keys,
        positions=NO_ORDER if len(parts) > 1 else Positions(np.arange(len(files)), len(files)),
        ids=keys,
    )
    notes = listed_twice(places, keys, row, labels.tolist() if labels.any() else ())  # all 0: no labels
    plan = plan_listing(listing, options, name=name, root=listing.base, reader="paths", notes=notes)
    content = hashlib.sha256("\0".join([*keys, *places]).encode("utf-8", "surrogateescape"))
    content.update(labels.astype("<i8").tobytes())
    more = {"labels": LABELS, "listed": content.hexdigest()}
    plan = dataclasses.replace(plan, options={**plan.options, **more})
    return load_cached(plan, options.progress)
