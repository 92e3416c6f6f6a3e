"""Input of an audit: bring a name, a path, a set or arrays into one form before the slow work begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        asked: data, data_root, image_size, bad_images, label_column, id_column, part, noise, seed, labels,
            download; see `result`.
        examples: the set, if the caller passed objects or arrays.
        given: labels and class names, if the caller passed nothing else.
        probs: the probabilities that the caller passed, or a file of them; None without any.
    """

    name: str
    asked: dict[str, Any]
    examples: Examples | None = None
    given: tuple[np.ndarray, tuple[str, ...]] | None = None
    probs: object = None


def read_subject(
    data: object,
    *,
    labels: object = None,
    class_names: Sequence[str] | None = None,
    probs: object = None,
    part: str = "all",
    noise: str = "none",
    seed: int = 0,
    image_size: int | None = None,
    bad_images: str = "fail",
    label_column: str | None = None,
    id_column: str | None = None,
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
    if id_column is not None:
        asked["id_column"] = id_column
    if isinstance(data, (str, os.PathLike)):
        return replace(_by_name(str(data), labels, data_root, download, asked), probs=probs)
    if asked["noise"] != "none":
        raise InputError(
            f"noise is {noise!r}, expected none for data passed as objects; add noise with nl.corrupt"
        )
    if isinstance(name := getattr(data, "name", None), str) and hasattr(data, "digest"):  # a set
        examples, probs = _labeled(data, labels, class_names, probs)
        return Subject(name, asked, examples=examples, probs=probs)
    if data is None:
        if labels is None:
            raise InputError("labels are missing; pass them with the data: audit_labels(X, labels=y)")
        given, names, probs = _matched(labels, probs, class_names)
        return Subject("labels", asked, given=(given, names), probs=probs)
    from noisylabels.data.object_sets import whole_in_memory
    from noisylabels.data.reader import Options

    options = Options(
        image_size,
        bad_images,
        label_column=label_column,
        id_column=id_column,
        need_features=probs is None,
    )
    if labels is None:
        examples = whole_in_memory(data, options, class_names=class_names, part=part)
        # rows are matched by the index of y, or of the frame that has the labels among its columns
        like = data[1] if isinstance(data, (tuple, list)) and len(data) == 2 else data
        return Subject("data", asked, examples=examples, probs=_of_examples(like, probs, examples))
    given, names, probs = _matched(labels, probs, class_names)
    examples = whole_in_memory(data, options, labels=given, class_names=names, part=part)
    return Subject("data", asked, examples=examples, probs=probs)


def _matched(
    labels: object, probs: object, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...], object]:
    """Return class numbers, class names, and probabilities that are matched with them if they are no file."""
    from noisylabels.core.labels import read_labels
    from noisylabels.core.probabilities import match_probs
    from noisylabels.data.images import check_class_names

    if probs is None or isinstance(probs, (str, os.PathLike)):
        found = read_labels(labels, class_names)
    else:
        found, probs = match_probs(labels, probs, class_names)
    check_class_names(found.class_names)
    return found.codes, found.class_names, probs


def _by_name(
    data: str, labels: object, data_root: str | Path | None, download: bool, asked: dict[str, Any]
) -> Subject:
    from noisylabels.data.catalog import DATA
    from noisylabels.experiment import canonical, load_config
    from noisylabels.experiment.config import source_of

    root = None if data_root is None else str(Path(data_root).expanduser())
    names = ("image_size", "bad_images", "label_column", "id_column", "noise", "seed")
    kept = {name: asked.get(name) for name in names}
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


def _labeled(
    data: Any, labels: object, class_names: Sequence[str] | None, probs: object
) -> tuple[Examples, object]:
    """Return the set, with its labels replaced if `labels` are passed, and the probabilities."""
    from noisylabels.data.features import with_labels

    if labels is None:
        return data, _of_examples(None, probs, data)
    given, names, probs = _matched(labels, probs, class_names or data.class_names)
    if len(given) != len(data):
        raise InputError(f"got {len(given)} labels for {len(data)} examples; pass one label per example")
    return with_labels(data, given, names), probs


def _of_examples(like: object, probs: object, examples: Examples) -> object:
    """Return probabilities, if they are no file, in the order of the classes and of the examples."""
    from noisylabels.core.probabilities import match_frame

    if probs is None or isinstance(probs, (str, os.PathLike)):
        return probs
    return match_frame(like, probs, examples.class_names)
