"""The interface of data readers: their options, plans and results, and checks that they share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.positions import Positions, separate
from noisylabels.data.decode import AtMost, Decoding, Progress, Size
from noisylabels.data.images import check_class_names
from noisylabels.data.parallel_decoding import Files
from noisylabels.data.pixel_range import White

LABELS = 1
"""The version of the rule of `core.labels`, in the options of readers whose files may have any labels: the
cache then serves no set that was stored with other class names."""
MOST_NOTES = 5  # lines of one kind; a set with hundreds of empty classes then gets a count


@dataclass(frozen=True)
class Options:
    """Options of reading data; `catalog.load` documents and checks each field."""

    image_size: int | None = None
    bad_images: str = "fail"
    test_fraction: float = 0.2
    label_column: str | None = None
    progress: Progress | None = None
    id_column: str | None = None
    need_features: bool = True
    max_image_size: int | None = None
    text_column: str | None = None

    def __post_init__(self) -> None:
        for option in ("label_column", "id_column", "text_column"):
            object.__setattr__(self, option, column_name(getattr(self, option), option))

    @property
    def size(self) -> Size:
        """The size that images are read at."""
        if self.image_size is None and self.max_image_size is not None:
            return AtMost(self.max_image_size)
        return self.image_size

    @property
    def sizes(self) -> dict[str, int | None]:
        """The sizes that were asked for, by the field of these options."""
        most = {"max_image_size": self.max_image_size} if isinstance(self.size, AtMost) else {}
        return {"image_size": self.image_size, **most}

    @property
    def columns(self) -> dict[str, str]:
        """The columns that the user named, by the field of these options."""
        named = {
            "label_column": self.label_column,
            "id_column": self.id_column,
            "text_column": self.text_column,
        }
        return {field: column for field, column in named.items() if column is not None}


def column_name(column: Any, option: str) -> str | None:
    """Return the name of a column as sheets have it, or raise an `InputError`.

    In frames of pandas the names may be numbers or tuples, which sheets write as text.

    >>> column_name(2, "label_column"), column_name(None, "label_column")
    ('2', None)
    """
    if column is None or isinstance(column, str):
        return column
    if isinstance(column, bool) or not isinstance(column, (Number, tuple)):
        raise InputError(f"{option} is {column!r}, expected the name of a column")
    return str(column)


def check_no_column(options: Options, what: str) -> None:
    """Raise an `InputError` if the user named a column of data without named columns."""
    for option in options.columns:
        flag = "--" + option.replace("_", "-")
        raise InputError(f"{what} has no named columns; leave out {flag} ({option}=)")


def check_no_text(options: Options, what: str) -> None:
    """Raise an `InputError` if the user named a column of text of data that are images."""
    if options.text_column is not None:
        raise InputError(f"{what} has images; leave out --text-column (text_column=)")


@dataclass
class ReadResult:
    """A data set whose pixels are still to be read: training examples first, then test examples.

    Args:
        shape: channels, height, width.
        pieces: returns an iterator over the pixels in order, uint8 (n, C, H, W) at a time; called once.
        labels: int64, (N,).
        ids: N names.
        class_names: K names.
        num_train: the number of training examples.
        notes: lines that the user should read; complete at the end of the iteration.
        bad: positions of images that could not be read, with the reasons; filled during the iteration. The
            pieces do not contain them.
        positions: where the examples lie in their source; a pair if the training and the test part have a
            source each, and None if they also are in its order.
        white: see `ImageSet`.
    """

    shape: tuple[int, int, int]
    pieces: Callable[[], Iterator[np.ndarray]]
    labels: np.ndarray
    ids: Sequence[str]
    class_names: tuple[str, ...]
    num_train: int
    notes: list[str] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)
    positions: Positions | tuple[Positions, Positions] | None = None
    white: White | None = None

    @classmethod
    def of_encoded(
        cls,
        decoding: Decoding,
        labels: np.ndarray,
        class_names: tuple[str, ...],
        num_train: int,
        notes: list[str],
        positions: Positions | None = None,
        white: White | None = None,
    ) -> ReadResult:
        """Return a result whose pixels are decoded from encoded images."""

        def pieces() -> Iterator[np.ndarray]:
            yield from decoding.pieces()
            if decoding.bad:
                notes.append(decoding.note())

        ids, bad = decoding.ids, decoding.bad
        return cls(decoding.shape, pieces, labels, ids, class_names, num_train, notes, bad, positions, white)

    def places(self) -> tuple[Positions, Positions]:
        """Return the positions of the training and of the test examples, unreadable ones included."""
        if isinstance(self.positions, tuple):
            return self.positions
        if self.positions is not None:
            return self.positions.parts(self.num_train)
        return separate(self.num_train), separate(len(self.labels) - self.num_train, train=False)


@dataclass(frozen=True)
class Plan:
    """The plan of a reader, made before it reads anything large.

    Args:
        name: the name of the set.
        root: the folder or file that the user named.
        files: the files that determine the result, by name relative to `root`.
        options: everything else that determines the result, as JSON.
        read: starts reading.
        notes: lines for the user on things that do not affect the result, such as ignored files; unlike
            the notes of a `ReadResult` they are not stored in the cache.
        ordered: returns the image files in the order of storage, for a set that consists of image files and
            lists of them; if it is large, processes read it. None for other sets.
    """

    name: str
    root: Path
    files: Mapping[str, Path]
    options: Mapping[str, object]
    read: Callable[[], ReadResult]
    notes: tuple[str, ...] = ()
    ordered: Callable[[], Files] | None = None

    def start(self) -> ReadResult:
        """Start reading, and check the classes before any pixels are decoded."""
        reading = self.read()
        self.check(reading.class_names)
        return reading

    def check(self, class_names: tuple[str, ...]) -> None:
        """Raise an `InputError` unless these are two or more different names."""
        try:
            check_class_names(class_names)
        except InputError as error:
            raise type(error)(f"{self.root}: {error}") from None


def name_of(path: Path) -> str:
    """Return the name of the data set at `path`, also if that is "." or a link."""
    absolute = Path(os.path.abspath(path))
    return absolute.name if path.is_dir() else absolute.stem


_HELD_OUT = "are held out for testing"


def was_held_out(notes: Iterable[str]) -> bool:
    """Return whether the test part of a set was held out, according to the set's notes."""
    return any(_HELD_OUT in note for note in notes)


def held_out_note(num_test: int, fraction: float, what: str = "images") -> str:
    """Return the note that a test part was held out, and what that means."""
    return (
        f"no test part found: {num_test} {what} ({fraction:g} of each class) {_HELD_OUT}; "
        "their labels may be as noisy as the others"
    )


def held_out(notes: Sequence[str]) -> bool:
    """Return whether the notes of a set have that of `held_out_note`.

    >>> held_out([held_out_note(12, 0.25)]), held_out([])
    (True, False)
    """
    return any(note.startswith("no test part found: ") for note in notes)


def class_notes(
    labels: np.ndarray, num_train: int, class_names: tuple[str, ...], what: str = "image"
) -> list[str]:
    """Return notes on the classes that the training or the test part lacks.

    >>> class_notes(np.array([0, 0, 1]), 2, ("cat", "dog", "eel"))[0]
    "no image at all: class 'eel'"
    """
    K = len(class_names)
    train = np.bincount(labels[:num_train], minlength=K) > 0
    test = np.bincount(labels[num_train:], minlength=K) > 0
    notes = []
    for missing, words in (
        (~train & ~test, f"no {what} at all"),
        (~train & test, f"no training {what}, so it cannot be learned"),
        (train & ~test, f"no test {what}, so its accuracy stays unknown"),
    ):
        notes += [f"{words}: class {class_names[k]!r}" for k in np.flatnonzero(missing)[:MOST_NOTES]]
        if missing.sum() > MOST_NOTES:
            more = missing.sum() - MOST_NOTES
            notes.append(f"{words}: {more} more class{'es' if more > 1 else ''}")
    return notes
