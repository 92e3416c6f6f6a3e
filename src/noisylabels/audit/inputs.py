"""Input of an audit: bring a name, a path, a set or arrays into one form before the slow work begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.core.checks import InputError, check_whole
from noisylabels.core.files import check_file
from noisylabels.encoders.catalog import canonical_features, load_size
from noisylabels.encoders.names import AUTO, NONE

if TYPE_CHECKING:
    from noisylabels.data.features import Examples


@dataclass(frozen=True)
class Subject:
    """The input of an audit.

    Args:
        name: display name.
        asked: data, data_root, image_size, bad_images, label_column, id_column, text_column, part,
            noise, seed, labels, download, features; see `result`.
        examples: the set, if the caller passed objects or arrays.
        given: labels and class names, if the caller passed nothing else.
        probs: the probabilities that the caller passed, or a file of them; None without any.
        columns: the class names in the order of the columns of `probs`, if the caller passed them for data
            that name their classes.
        in_order: whether `probs` have one row per example, in the order of the examples.
        no_encoder: whether features were "auto" and no encoder is installed.
        raw: the rows as the caller passed them, for a classifier; None for images, names, paths and sets.
    """

    name: str
    asked: dict[str, Any]
    examples: Examples | None = None
    given: tuple[np.ndarray, tuple[str, ...]] | None = None
    probs: object = None
    columns: tuple[str, ...] | None = None
    in_order: bool = False
    no_encoder: bool = False
    raw: Any = None


def seen_through(features: str, model: str, width: float | None) -> str:
    """Return the features of an audit: "auto" is "none" if a network for images is chosen."""
    return NONE if features == AUTO and (model != "auto" or width is not None) else features


def features_for(features: str, classifier: object, data: object, labels: object) -> str:
    """Return the features of an audit by a classifier: "none" instead of "auto" for texts that it takes."""
    from noisylabels.data.in_memory import is_texts
    from noisylabels.experiment.classifier_probs import takes_texts

    if features != AUTO or isinstance(classifier, str) or not takes_texts(classifier):
        return features
    if labels is None and isinstance(data, (tuple, list)) and len(data) == 2:
        data = data[0]
    return NONE if is_texts(data) else features


def read_subject(data: object, *, features: str = AUTO, probs: object = None, **about: Any) -> Subject:
    """Return the input of an audit, checked as far as possible without reading it; see `audit_labels`."""
    chosen = canonical_features(features, _may_have_texts(data))
    if chosen == AUTO and probs is not None:
        chosen = NONE
    if probs is not None and chosen != NONE:
        raise InputError(
            f"got probs and features {features!r}; leave out one of them: probs are judged as they are, and "
            "nothing is learned from features"
        )
    missing = chosen == NONE and features == AUTO and probs is None
    return replace(_subject(data, features=chosen, probs=probs, **about), no_encoder=missing)


def _may_have_texts(data: object) -> bool:
    """Return whether data may have texts, which always have an encoder."""
    from noisylabels.data.formats import is_table
    from noisylabels.data.images import ImageSet

    if isinstance(data, (str, os.PathLike)):
        return is_table(Path(data).expanduser())
    return data is not None and not isinstance(data, ImageSet)


def _subject(
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
    text_column: str | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    features: str = NONE,
) -> Subject:
    """Return the input of an audit whose features have their canonical name."""
    from noisylabels.core.labels import check_names
    from noisylabels.data.reader import Options, column_name
    from noisylabels.noise.spec import NoiseSpec

    if class_names is not None:
        listed = isinstance(class_names, Iterable) and not isinstance(class_names, (str, Set))
        class_names = class_names if listed else check_names(class_names)
    label_column = column_name(label_column, "label_column")
    id_column = column_name(id_column, "id_column")
    text_column = column_name(text_column, "text_column")
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
    if features != NONE:
        asked["features"] = features
    if label_column is not None:
        asked["label_column"] = label_column
    if id_column is not None:
        asked["id_column"] = id_column
    if text_column is not None:
        asked["text_column"] = text_column
    if isinstance(data, (str, os.PathLike)):
        columns = _columns(class_names, probs, str(data))
        subject = _by_name(str(data), labels, data_root, download, asked)
        return replace(subject, probs=probs, columns=columns)
    if asked["noise"] != "none":
        raise InputError(
            f"noise is {noise!r}, expected none for data passed as objects; add noise with nl.corrupt"
        )
    if isinstance(name := getattr(data, "name", None), str) and hasattr(data, "digest"):  # a set
        found: Any = data
        if labels is not None:
            examples, probs, matched = _labeled(data, labels, class_names, probs)
            return Subject(name, asked, examples=examples, probs=probs, in_order=matched)
        columns = _columns(class_names, probs, name, found.class_names)
        probs, matched = _of_set(found, probs, columns)
        return Subject(name, asked, examples=found, probs=probs, columns=columns, in_order=matched)
    if data is None:
        if labels is None:
            raise InputError("labels are missing; pass them with the data: audit_labels(X, labels=y)")
        given, names, values = _matched(labels, probs, class_names)
        values, _ = _in_order(probs, values, labels, count=len(given))
        return Subject("labels", asked, given=(given, names), probs=values)
    from noisylabels.core.probabilities import check_categories, match_columns
    from noisylabels.core.row_index import check_index
    from noisylabels.data.object_sets import whole_in_memory
    from noisylabels.data.recognition import label_series, row_indexes

    options = Options(
        image_size,
        bad_images,
        label_column=label_column,
        id_column=id_column,
        text_column=text_column,
        need_features=probs is None,
        max_image_size=load_size(asked.get("features", NONE)),
    )
    if labels is None:
        examples = whole_in_memory(data, options, class_names=class_names, part=part)
        values = probs
        if not _is_file(probs):
            for given in label_series(data, label_column) if class_names is None else ():
                check_categories(given, probs, examples.class_names)
            values = match_columns(probs, examples.class_names)
        indexes = row_indexes(data, part)
    else:
        check_index(data, labels)
        given, names, values = _matched(labels, probs, class_names)
        examples = whole_in_memory(data, options, labels=given, class_names=names, part=part)
        indexes = [labels, data]
    values, matched = _in_order(probs, values, *indexes, count=len(examples), ids=examples.ids)
    raw = raw_rows(data, labels, len(examples), _no_features(examples))
    return Subject("data", asked, examples=examples, probs=values, in_order=matched, raw=raw)


def raw_rows(data: Any, labels: object, count: int, hidden: Sequence[str] = ()) -> Any:
    """Return the rows of X, or of a pair (X, y), as they are, for a classifier; None for other data.

    A classifier of scikit-learn may take missing values, words in a frame or a sparse matrix, which a network
    does not. Texts become an array of objects (N,), "" for a missing one.

    Args:
        data: X or a pair (X, y).
        labels: the labels that were passed beside X; None for a pair.
        count: N.
        hidden: columns of a frame that are no features, such as ids; they are left out.

    >>> raw_rows((np.eye(2), ["u", "v"]), None, 2).shape
    (2, 2)
    """
    from noisylabels.data.in_memory import is_texts, texts_in
    from noisylabels.data.recognition import rows_of_pair

    if labels is None:
        data = rows_of_pair(data)
        if isinstance(data, (tuple, list)) and not is_texts(data):
            return None
    if is_texts(data):
        return np.array(texts_in(data), dtype=object) if len(data) == count else None
    is_matrix = isinstance(data, np.ndarray) or hasattr(data, "tocsr")
    if len(getattr(data, "shape", ())) != 2 or data.shape[0] != count:
        return None
    if is_matrix:
        return None if data.dtype == object else data
    if not hasattr(data, "columns") or hasattr(data, "column_names"):  # an Arrow table selects no rows by []
        return None
    return without_columns(data, hidden)


def _no_features(examples: Examples) -> list[str]:
    """Return the columns of a table that hold ids or repeat the labels."""
    from noisylabels.data.feature_rows import id_place

    if (cells := getattr(examples, "cells", None)) is None:
        return []
    place = id_place(cells.names)
    return [*cells.hidden, *([] if place is None else [cells.names[place]])]


def without_columns(frame: Any, names: Sequence[str]) -> Any:
    """Return a frame of pandas or polars without the columns of these names that it has."""
    found = [column for column in frame.columns if str(column) in names]
    if not found:
        return frame
    return frame.drop(columns=found) if hasattr(frame, "iloc") else frame.drop(found)


def _is_file(probs: object) -> bool:
    """Return whether probabilities are in a file, or missing."""
    return probs is None or isinstance(probs, (str, os.PathLike))


def _in_order(probs: object, values: Any, *examples: object, **known: Any) -> tuple[Any, bool]:
    """Return values of probabilities in the order of the examples, and whether an index shows that order."""
    from noisylabels.core.row_index import match_rows

    rows = None if _is_file(probs) else match_rows(probs, *examples, **known)
    return (values, False) if rows is None else (values[rows], True)


def _columns(
    class_names: Sequence[str] | None, probs: object, name: str, own: Sequence[str] | None = None
) -> tuple[str, ...] | None:
    """Return the class names that order the columns of probabilities of data that name their classes."""
    from noisylabels.core.labels import check_names
    from noisylabels.core.probabilities import columns_of

    if class_names is None:
        return None
    names = check_names(class_names)
    if own is not None:
        columns_of(own, names, name)
    if probs is None and names != own:
        raise InputError(
            f"class_names order the columns of probs, and there are none; {name} names its classes, so leave "
            "class_names out"
        )
    return None if names == own else names


def _matched(
    labels: object, probs: object, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...], object]:
    """Return class numbers, class names, and probabilities whose columns are theirs if they are no file."""
    from noisylabels.core.labels import read_labels
    from noisylabels.core.probabilities import match_classes
    from noisylabels.data.images import check_class_names

    if _is_file(probs):
        found = read_labels(labels, class_names)
    else:
        found, probs = match_classes(labels, probs, class_names)
    check_class_names(found.class_names)
    return found.codes, found.class_names, probs


def _by_name(
    data: str, labels: object, data_root: str | Path | None, download: bool, asked: dict[str, Any]
) -> Subject:
    from noisylabels.core.urls import url_of
    from noisylabels.data.catalog import DATA
    from noisylabels.data.formats import is_there
    from noisylabels.experiment import canonical, load_config
    from noisylabels.experiment.config import source_of

    root = None if data_root is None else str(Path(data_root).expanduser())
    names = ("image_size", "bad_images", "label_column", "id_column", "text_column", "noise", "seed")
    kept = {name: asked.get(name) for name in names}
    config = canonical(load_config(None, data=data, data_root=root, **kept))
    source = source_of(config)
    named = source in DATA
    if not named and not is_there(Path(source).expanduser()):
        from noisylabels.data.catalog import load

        load(source)  # raises the error that explains it
    place = source if named or url_of(source) is not None else os.path.abspath(source)
    asked = asked | {"data": place, "download": download}
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
) -> tuple[Examples, object, bool]:
    """Return the set with its labels replaced, the probabilities, and whether these are in order."""
    from noisylabels.core.row_index import check_ids
    from noisylabels.data.features import with_labels

    check_ids(data.ids, labels)
    names = data.class_names if class_names is None else class_names
    given, names, values = _matched(labels, probs, names)
    if len(given) != len(data):
        raise InputError(f"got {len(given)} labels for {len(data)} examples; pass one label per example")
    values, matched = _in_order(probs, values, labels, count=len(given), ids=data.ids)
    return with_labels(data, given, names), values, matched


def _of_set(data: Any, probs: object, columns: Sequence[str] | None) -> tuple[object, bool]:
    """Return probabilities of a set in the order of its examples if they are a frame that says so."""
    from noisylabels.core.probabilities import match_columns

    if _is_file(probs):
        return probs, False
    values = match_columns(probs, data.class_names if columns is None else columns)
    places, known = data.positions, {"count": len(data), "ids": data.ids, "in_memory": False}
    if places is not None:
        known |= {"rows": places.rows, "total": places.total}
    return _in_order(probs, values, **known)
