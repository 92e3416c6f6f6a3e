"""Input of an audit: bring a name, a path, a set or arrays into one form before the slow work begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.core.checks import InputError, check_whole
from noisylabels.core.files import check_file

if TYPE_CHECKING:
    from noisylabels.data.features import Examples


@dataclass(frozen=True)
class Subject:
    """The input of an audit.

    Args:
        name: display name.
        asked: data, data_root, image_size, bad_images, label_column, part, noise, seed, labels, download;
            see `result`.
        examples: the set, if the caller passed objects or arrays.
        given: labels and class names, if the caller passed nothing else.
    """

    name: str
    asked: dict[str, Any]
    examples: Examples | None = None
    given: tuple[np.ndarray, tuple[str, ...]] | None = None


def read_subject(
    data: object,
    *,
    labels: object = None,
    class_names: Sequence[str] | None = None,
    part: str = "all",
    noise: str = "none",
    seed: int = 0,
    image_size: int | None = None,
    bad_images: str = "fail",
    label_column: str | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
) -> Subject:
    """Return the input of an audit, checked as far as possible without reading it; see `audit_labels`."""
    from noisylabels.noise.spec import NoiseSpec

    asked: dict[str, Any] = {
        "data": None,
        "data_root": None,
        "image_size": image_size,
        "bad_images": bad_images,
        "part": part,
        "noise": str(NoiseSpec.parse(noise)),
        "seed": check_whole(seed, "seed", 0),
        "labels": None,
    }
    if label_column is not None:
        asked["label_column"] = label_column
    if isinstance(data, (str, os.PathLike)):
        return _by_name(str(data), labels, data_root, download, asked)
    if asked["noise"] != "none":
        raise InputError(
            f"noise is {noise!r}, expected none for data passed as objects; add noise with nl.corrupt"
        )
    if isinstance(name := getattr(data, "name", None), str) and hasattr(data, "digest"):  # a set
        return Subject(name, asked, examples=_labeled(data, labels, class_names))
    if data is None:
        if labels is None:
            raise InputError("labels are missing; pass them with the data: audit_labels(X, labels=y)")
        given, names = read_labels(labels, class_names)
        return Subject("labels", asked, given=(given, names))
    from noisylabels.data.object_sets import whole_in_memory
    from noisylabels.data.reader import Options

    options = Options(image_size, bad_images, label_column=label_column)
    examples = whole_in_memory(data, options, labels=labels, class_names=class_names, part=part)
    return Subject("data", asked, examples=examples)


def read_labels(labels: Any, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return numeric labels and class names from labels that are numbers or words.

    >>> read_labels(["dog", "cat", "dog"], None)
    (array([1, 0, 1]), ('cat', 'dog'))
    """
    from noisylabels.data.images import check_class_names
    from noisylabels.noise.checks import check_labels

    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    words = _words(labels)
    if words is not None:
        known = sorted({str(word) for word in words}) if class_names is None else list(class_names)
        number = {name: k for k, name in enumerate(known)}
        if missing := next((str(word) for word in words if str(word) not in number), None):
            raise InputError(f"a label is {missing!r}, expected one of the class names {', '.join(known)}")
        check_class_names(known)
        return np.array([number[str(word)] for word in words], np.int64), tuple(known)
    given = check_labels(labels, None if class_names is None else len(class_names))
    names = tuple(str(k) for k in range(int(given.max()) + 1)) if class_names is None else tuple(class_names)
    check_class_names(names)
    return given, names


def _words(labels: Any) -> list[str] | None:
    """Return labels that are words; None if they are numbers or cannot be labels."""
    try:
        array = np.asarray(labels)
        if array.dtype.kind == "U" and not isinstance(labels, np.ndarray):
            array = np.asarray(labels, dtype=object)  # keeps a NaN among words from becoming the word "nan"
    except ValueError:  # lists of different lengths
        return None
    if array.ndim != 1 or array.dtype.kind not in "OU" or not len(array):
        return None
    values = array.tolist()
    if all(isinstance(value, (int, np.integer)) for value in values):
        return None  # numbers as objects: sorted as words, 10 would precede 2
    for row, value in enumerate(values):
        text = isinstance(value, str)
        if value == "" if text else str(value) in ("None", "nan", "NaT", "<NA>"):
            raise InputError(f"labels[{row}] is {value!r}, expected a label; add one, or drop the example")
    return [str(value) for value in values]


def _by_name(
    data: str, labels: object, data_root: str | Path | None, download: bool, asked: dict[str, Any]
) -> Subject:
    from noisylabels.data.catalog import DATA
    from noisylabels.experiment import canonical, load_config
    from noisylabels.experiment.sets import source_of

    root = None if data_root is None else str(Path(data_root).expanduser())
    kept = {name: asked.get(name) for name in ("image_size", "bad_images", "label_column", "noise", "seed")}
    config = canonical(load_config(None, data=data, data_root=root, **kept))
    source = source_of(config)
    named = source in DATA
    if not named and not Path(source).exists():
        from noisylabels.data.catalog import load

        load(source)  # raises the error that explains it
    asked = asked | {"data": source if named else os.path.abspath(source), "download": download}
    asked["data_root"] = os.path.abspath(root) if named and root is not None else None
    if labels is not None:
        if not isinstance(labels, (str, os.PathLike)):
            raise InputError(
                f"labels are a {type(labels).__name__}, expected a file of corrected labels for {data}; "
                "pass an array of labels only with an array of data"
            )
        asked["labels"] = os.path.abspath(check_file(Path(labels).expanduser()))
    name = (
        source if named else Path(asked["data"]).stem if Path(source).is_file() else Path(asked["data"]).name
    )
    return Subject(name or "data", asked)


def _labeled(data: Any, labels: object, class_names: Sequence[str] | None) -> Examples:
    """Return the set, with its labels replaced if `labels` are passed."""
    from noisylabels.data.features import with_labels

    if labels is None:
        made: Examples = data
        return made
    given, names = read_labels(labels, class_names or data.class_names)
    if len(given) != len(data):
        raise InputError(f"got {len(given)} labels for {len(data)} examples; pass one label per example")
    return with_labels(data, given, names)
