"""FeatureSet: labeled rows of numbers, the counterpart of ImageSet for tables and embeddings."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.labels import some
from noisylabels.core.positions import Positions, check_positions, own
from noisylabels.data.cells import Cells
from noisylabels.data.encoding import Encoder
from noisylabels.data.images import (
    ImageSet,
    changed,
    check_set_labels,
    class_numbers,
    image_set,
    room_for,
    subset,
)
from noisylabels.data.pixel_source import Pixels, in_memory
from noisylabels.data.precision import lossy_columns

_BLOCK_ROWS = 2048


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Rows of features with their labels, checked once on construction.

    It can be used in place of an `ImageSet` in training; models receive the standardized columns.

    Args:
        features: float32, (N, D), finite; may be memory-mapped. D is 0 only for a table of texts.
        labels: int64, (N,), 0 <= label < K.
        class_names: the K names; K is at least 2. A class may have no example in this set.
        ids: N names that identify the rows for the user.
        name: the name of the set.
        digest: sha256 (hexadecimal) of shape, features, labels and class names, and of the cells if there
            are no features; `feature_set` computes it.
        notes: lines that a user should read.
        arranged: how noise changed which examples the set has, `NoisyLabels.arrangement`; "" for not at all.
        encoder: the encoding of table columns as these features, for new rows; None for features that were
            not encoded.
        positions: where the rows lie in their source; None for a set that is its own source.
        cells: the rows as they are written in their table, for a person to read; None without a table.
        texts: the free text of each row, N, for an encoder of texts; None without such a column.
        images: the images whose features these are, in the same order; None for other rows.
        embedding: the identity of the frozen encoder that computed the features, as JSON; None for other
            features.
        fitted: what that encoder has learned from the training texts, `FrozenEncoder.state`; empty for most.

    Raises:
        InputError: a tensor has another type, shape or length, a value is not finite, or a label is outside
            0..K-1.
    """

    features: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]
    ids: Sequence[str]
    name: str
    digest: str
    notes: tuple[str, ...] = ()
    arranged: str = ""
    encoder: Encoder | None = None
    positions: Positions | None = None
    cells: Cells | None = None
    texts: Sequence[str] | None = None
    images: ImageSet | None = None
    embedding: Mapping[str, Any] | None = None
    fitted: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_features(self.features, self.cells is not None or self.texts is not None)
        check_set_labels(len(self.features), self.labels, self.class_names, self.ids, "rows")
        check_positions(len(self.features), self.positions)

    @property
    def inputs(self) -> torch.Tensor:
        """The inputs of a model: the features, (N, D)."""
        return self.features

    @property
    def rows(self) -> np.ndarray | None:
        """The position of each example in its source, int64 (N,), see `ImageSet.rows`."""
        return np.arange(len(self)) if self.positions is None else self.positions.rows

    @property
    def source_rows(self) -> int | None:
        """How many examples the source has in all; None without `rows`."""
        return len(self) if self.positions is None else self.positions.total

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.features)

    def check_columns(self) -> None:
        """Raise an `InputError` if there is no feature to learn from."""
        if not self.features.shape[1]:
            raise InputError(
                f"{self.name} has only texts and no column to learn from; encode the texts "
                "(features='auto'), or audit it with probabilities of your own (probs=)"
            )

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return D means and D population standard deviations of the columns; 1 for a constant column.

        >>> feature_set([[0.0, 1.0], [2.0, 1.0]], [0, 1], ("a", "b")).mean_std()
        ((1.0, 1.0), (1.0, 1.0))
        """
        self.check_columns()
        return self._mean_std

    @functools.cached_property
    def _mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        # in blocks, so that no second set of twice the size is in memory; two passes, so that nothing cancels
        blocks, count = self.features.split(_BLOCK_ROWS), len(self)
        mean = torch.stack([block.double().sum(0) for block in blocks]).sum(0) / count
        squares = torch.stack([(block.double() - mean).square_().sum(0) for block in blocks]).sum(0)
        std = (squares / count).sqrt()
        # in float32 a column of one value may differ from its mean by rounding
        constant = std <= 1e-7 * mean.abs()
        return tuple(mean.tolist()), tuple(std.masked_fill(constant | (std == 0), 1.0).tolist())


Examples = ImageSet | FeatureSet
"""A set that training accepts."""


def feature_set(
    features: torch.Tensor | np.ndarray | Sequence[Sequence[float]],
    labels: torch.Tensor | np.ndarray | Sequence[int],
    class_names: Sequence[str],
    ids: Sequence[str] | None = None,
    name: str = "features",
    notes: Sequence[str] = (),
    encoder: Encoder | None = None,
    positions: Positions | None = None,
    cells: Cells | None = None,
    texts: Sequence[str] | None = None,
) -> FeatureSet:
    """Return a `FeatureSet` with its digest.

    Args:
        features: (N, D) numbers; kept as float32, and a note names columns that lose differences by it.
        labels: N integers in 0..K-1.
        class_names: the K names.
        ids: N names of the rows; by default "0", "1", ...
        name: the name of the set.
        notes: lines that the user should read.
        encoder: the encoder that computed the features from a table.
        positions: where the rows lie in their source; None for a set that is its own source.
        cells: the rows as they are written in the table.
        texts: N free texts.

    Returns:
        The set.

    Raises:
        InputError: as for `FeatureSet`.

    >>> pair = feature_set([[0.5, 1.0], [2.0, -1.0]], [0, 1], ("cat", "dog"))
    >>> len(pair), pair.num_classes, tuple(pair.features.shape)
    (2, 2, (2, 2))
    """
    given = torch.as_tensor(features, dtype=None if hasattr(features, "dtype") else torch.float64)
    rows = given.to(torch.float32)
    wide = given.ndim == 2 and given.dtype in (torch.float64, torch.int64, torch.int32)
    if wide and (lossy := lossy_columns(given.detach().cpu().numpy())):
        notes = [
            *notes,
            f"float32 loses differences in the columns {some(lossy)}; subtract their medians first",
        ]
    made = FeatureSet(
        features=rows,
        labels=class_numbers(labels),
        class_names=tuple(class_names),
        ids=[str(i) for i in range(len(rows))] if ids is None else ids,
        name=name,
        digest="",
        notes=tuple(notes),
        encoder=encoder,
        positions=positions,
        cells=cells,
        texts=texts,
    )
    return _with_digest(made)


def embedded(
    source: Examples,
    features: torch.Tensor,
    embedding: Mapping[str, Any],
    notes: Sequence[str] = (),
    fitted: Mapping[str, torch.Tensor] | None = None,
) -> FeatureSet:
    """Return the set of features that a frozen encoder computed from a set.

    Labels, ids, positions, cells and texts are those of the set, and the images if it has any. The digest is
    that of the source and of the encoder: the values of the features may differ in their last places between
    machines.

    Args:
        source: images, or rows of a table with texts.
        features: float32, (N, D).
        embedding: the identity of the encoder.
        notes: lines for the user, after those of the set.
        fitted: what the encoder has learned from training texts.
    """
    made = FeatureSet(
        features=features,
        labels=source.labels,
        class_names=source.class_names,
        ids=source.ids,
        name=source.name,
        digest=source.digest,
        notes=(*source.notes, *notes),
        arranged=source.arranged,
        positions=source.positions,
        embedding=embedding,
        fitted=fitted or {},
    )
    if isinstance(source, ImageSet):
        made = dataclasses.replace(made, images=source)
    else:
        made = dataclasses.replace(
            made, encoder=source.encoder, cells=source.cells, texts=source.texts, images=source.images
        )
    return dataclasses.replace(made, digest=embedded_digest(source.digest, embedding))


def embedded_digest(source: str, embedding: Mapping[str, Any]) -> str:
    """Return the digest of a set's features: that of the set and of the encoder's identity."""
    return hashlib.sha256(f"{source} {json.dumps(embedding, sort_keys=True)}".encode()).hexdigest()


def _with_digest(made: FeatureSet) -> FeatureSet:
    """Return the set with the digest of its content."""
    if made.embedding is not None and made.images is not None:
        return dataclasses.replace(made, digest=embedded_digest(made.images.digest, made.embedding))
    features = made.features
    if made.embedding is not None and made.texts is not None:  # of the columns beside the texts
        features = features[:, : 0 if made.encoder is None else len(made.encoder.features)]
    head = json.dumps({"features": list(features.shape), "classes": list(made.class_names)})
    digest = hashlib.sha256(head.encode())
    digest.update(made.labels.numpy().astype("<i8").tobytes())
    if made.texts is not None:
        for text in made.texts:
            digest.update(f"{len(text)} {text}".encode("utf-8", "surrogatepass"))
    if made.cells is not None and not features.shape[1]:
        digest.update(made.cells.digest())
    else:
        digest.update(np.ascontiguousarray(features.numpy()).data)
    found = digest.hexdigest()
    if made.embedding is not None:
        found = embedded_digest(found, made.embedding)
    return dataclasses.replace(made, digest=found)


def subset_of(examples: Examples, index: Sequence[int] | np.ndarray) -> Examples:
    """Return the examples of a set at the positions `index`, in that order.

    >>> pair = feature_set([[0.5], [2.0]], [0, 1], ("cat", "dog"))
    >>> list(subset_of(pair, [1]).ids)
    ['1']
    """
    if isinstance(examples, ImageSet):
        return subset(examples, index)
    at = torch.as_tensor(index, dtype=torch.int64)
    texts, images = examples.texts, examples.images
    made = dataclasses.replace(
        examples,
        features=examples.features.index_select(0, at),
        labels=examples.labels.index_select(0, at),
        ids=[examples.ids[i] for i in at.tolist()],
        arranged="",
        positions=(examples.positions or own(len(examples))).take(at.numpy()),
        cells=None if examples.cells is None else examples.cells.take(at.numpy()),
        texts=None if texts is None else [texts[i] for i in at.tolist()],
        images=None if images is None else subset(images, at.numpy()),
    )
    return _with_digest(made)


def without_column(examples: FeatureSet, name: str) -> FeatureSet:
    """Return a set without the features of one column of its table; itself if it has none of them."""
    encoder = examples.encoder
    if encoder is None or name not in {column.name for column in encoder.columns}:
        return examples
    kept = [column.name != name for column in encoder.columns for _ in column.features]
    kept += [True] * (examples.features.shape[1] - len(kept))  # of an embedding, after the columns
    columns = tuple(column for column in encoder.columns if column.name != name)
    made = dataclasses.replace(
        examples,
        features=examples.features[:, torch.tensor(kept)],
        arranged="",
        encoder=dataclasses.replace(encoder, columns=columns, ignored=(*encoder.ignored, name)),
    )
    return _with_digest(made)


def joined(first: Examples, second: Examples, by_rows: bool = False) -> Examples:
    """Return the examples of one set followed by those of another of the same kind, classes and size.

    Args:
        first, second: two sets, such as the training and the test set.
        by_rows: sort the examples by their `rows`, if both have them in the same source.

    >>> pair = feature_set([[0.5], [2.0]], [0, 1], ("cat", "dog"))
    >>> len(joined(pair, pair))
    4
    """
    size, other = tuple(first.inputs.shape[1:]), tuple(second.inputs.shape[1:])
    if type(first) is not type(second) or first.class_names != second.class_names or size != other:
        raise InputError(
            f"a set of {first.num_classes} classes and examples of {size} and one of {second.num_classes} "
            f"classes and {other} cannot be joined"
        )
    ids, notes = [*first.ids, *second.ids], tuple(dict.fromkeys(first.notes + second.notes))
    positions = (first.positions or own(len(first))).joined(second.positions or own(len(second)))
    place = torch.arange(len(ids))  # of each example in the result
    order = np.arange(len(ids))
    if by_rows and positions.rows is not None:
        order = np.argsort(positions.rows)
        place[torch.from_numpy(order)] = torch.arange(len(ids))
        ids, positions = [ids[i] for i in order.tolist()], positions.take(order)
    labels = torch.empty(len(ids), dtype=torch.int64)
    labels[place] = torch.cat([first.labels, second.labels])
    if isinstance(first, ImageSet) and isinstance(second, ImageSet):
        pixels = _joined_pixels(first.images, second.images, place, torch.from_numpy(order))
        return image_set(pixels, labels, first.class_names, ids, first.name, notes, positions, first.white)
    assert isinstance(first, FeatureSet)
    assert isinstance(second, FeatureSet)
    values = torch.empty((len(ids), *size))
    values[place[: len(first)]], values[place[len(first) :]] = first.features, second.features
    cells = None if first.cells is None else first.cells.followed_by(second.cells)
    cells = None if cells is None else cells.take(order)
    texts: list[str] | None = None
    images: Examples | None = None
    if first.texts is not None and second.texts is not None:
        both = [*first.texts, *second.texts]
        texts = [both[i] for i in order.tolist()]
    if first.images is not None and second.images is not None:
        images = joined(first.images, second.images, by_rows)
    assert not isinstance(images, FeatureSet)
    made = dataclasses.replace(
        first,
        features=values,
        labels=labels,
        ids=ids,
        notes=notes,
        arranged="",
        positions=positions,
        cells=cells,
        texts=texts,
        images=images,
    )
    return _with_digest(made)


def _joined_pixels(first: Pixels, second: Pixels, place: torch.Tensor, order: torch.Tensor) -> Pixels:
    """Return the images of two sets; `place` is that of each in the result, and `order` the inverse."""
    if not (isinstance(first, torch.Tensor) or isinstance(second, torch.Tensor)):
        return first.followed_by(second).take(order)
    pixels = room_for((len(order), *first.shape[1:]))
    for part, at in ((first, place[: len(first)]), (second, place[len(first) :])):
        pixels[at] = in_memory(part, "a set of tensors and of encoded images")
    return pixels


def with_labels(
    examples: Examples, labels: np.ndarray, class_names: tuple[str, ...] | None = None
) -> Examples:
    """Return the same examples with other labels, (N,) integers, and perhaps other names of the classes.

    >>> pair = feature_set([[0.5], [2.0]], [0, 1], ("cat", "dog"))
    >>> with_labels(pair, np.array([1, 1])).labels.tolist()
    [1, 1]
    """
    names, given = class_names or examples.class_names, class_numbers(labels)
    if isinstance(examples, FeatureSet):
        images = None if examples.images is None else with_labels(examples.images, labels, names)
        assert images is None or isinstance(images, ImageSet)
        return _with_digest(dataclasses.replace(examples, labels=given, class_names=names, images=images))
    made = changed(examples, labels=given, class_names=tuple(names))
    return dataclasses.replace(made, arranged=examples.arranged)


def _check_features(features: torch.Tensor, written: bool) -> None:
    if not isinstance(features, torch.Tensor) or features.dtype != torch.float32:
        found = str(features.dtype) if isinstance(features, torch.Tensor) else type(features).__name__
        raise InputError(f"features are {found}, expected a torch.float32 tensor (N, D)")
    if features.ndim != 2:
        raise InputError(
            f"features have the shape {tuple(features.shape)}, expected (N, D): one row per example"
        )
    if not len(features) or not (features.shape[1] or written):
        raise InputError(f"the feature set is empty: its shape is {tuple(features.shape)}; add a row")
    finite = features.isfinite()
    if not bool(finite.all()):
        row, column = (~finite).nonzero()[0].tolist()
        raise InputError(
            f"row {row}, column {column} of the features is {float(features[row, column])}, expected finite "
            "numbers; fill in what is missing"
        )
