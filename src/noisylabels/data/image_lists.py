"""Image sets given as lists of files, which readers of folders, lists and tables share."""

from __future__ import annotations

import dataclasses
import io
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.opening import open_file
from noisylabels.core.positions import Positions, by_path
from noisylabels.data.decode import Decoding, survey
from noisylabels.data.image_decoding import Encoded
from noisylabels.data.names import Names
from noisylabels.data.parallel_decoding import Files
from noisylabels.data.reader import Options, Plan, ReadResult, held_out_note
from noisylabels.data.split import hold_out

_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True)
class Listing:
    """Labeled image files, training examples first.

    Args:
        base: the folder that the names are relative to.
        names: N paths as text, relative to `base` or absolute; `Names` for up to millions.
        labels: int64, (N,).
        class_names: K names.
        num_train: the number of training examples; None if a test part is to be held out.
        keys: N names by which the held-out examples are chosen; by default `names`.
        positions: where the images lie in their source; by default their place among the sorted names.
        ids: N different ids; by default `names` without a leading "../".
    """

    base: Path
    names: Sequence[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    num_train: int | None
    keys: Sequence[str] | None = None
    positions: Positions | None = None
    ids: Sequence[str] | None = None


def plan_listing(
    listing: Listing,
    options: Options,
    *,
    name: str,
    root: Path,
    reader: str,
    lists: Sequence[Path] = (),
    notes: Sequence[str] = (),
) -> Plan:
    """Plan to read the images of a listing.

    Args:
        listing: the images.
        options: see `Options`.
        name: the name of the set.
        root: the folder or file that the user named.
        reader: the format's name.
        lists: the files that the labels come from; like the images they determine the result.
        notes: see `Plan`.

    Returns:
        The plan.
    """
    names = Names.of(listing.names)

    def ordered() -> Files:
        return _ordered(listing, names, options, len(lists))

    return Plan(
        name=name,
        root=root,
        files=Below(listing.base, names, lists),
        options={
            "reader": reader,
            "classes": list(listing.class_names),
            **options.sizes,
            "bad_images": options.bad_images,
            "test_fraction": options.test_fraction if listing.num_train is None else None,
        },
        read=lambda: _read(ordered(), options),
        notes=tuple(notes),
        ordered=ordered,
    )


def listed_twice(
    images: Sequence[str], ids: Sequence[str], row: Callable[[int], str], labels: Sequence[object] = ()
) -> list[str]:
    """Return a note on the images that several rows of a list name; none without such images.

    Args:
        images: the image of each row, equal where two rows name the same.
        ids: the ids of the rows.
        row: position -> what a row is called.
        labels: the labels of the rows; none for images without labels.

    >>> listed_twice(["a", "b", "a"], ["a", "b", "a#2"], "row {}".format)
    ['1 row names an image that an earlier row names; first a#2 (row 2) as in row 0; all are read']
    """
    first: dict[str, int] = {}
    again = [(at, before) for at, name in enumerate(images) if (before := first.setdefault(name, at)) != at]
    if not again:
        return []
    named = "row names an image" if len(again) == 1 else "rows name images"
    other = sum(labels[at] != labels[before] for at, before in again) if len(labels) else 0
    unlike = f", {other:,} with another label" if len(labels) else ""
    at, before = again[0]
    return [
        f"{len(again):,} {named} that an earlier row names{unlike}; first {ids[at]} ({row(at)}) as in "
        f"{row(before)}; all are read"
    ]


def drop_missing(listing: Listing, source: str, options: Options, notes: list[str]) -> Listing:
    """Return the listing without missing files, if they may be left out.

    Missing files are found before any image is decoded, because decoding may take hours.

    Args:
        listing: the images of a list.
        source: what messages call the list.
        options: `bad_images` "skip" leaves missing files out.
        notes: receives a line with their number and the first of them.

    Returns:
        The listing of existing files.

    Raises:
        InputError: files are missing and may not be left out, or all are missing.
    """
    base = os.fspath(listing.base)
    there = np.fromiter((os.path.isfile(os.path.join(base, name)) for name in listing.names), dtype=bool)
    if there.all():
        return listing
    missing = len(there) - int(there.sum())
    first = listing.names[int(np.flatnonzero(~there)[0])]
    what = f"{missing:,} of the {len(there):,} images listed in {source} are missing, first {first}"
    if missing == len(there):
        raise InputError(f"all {missing:,} images listed in {source} are missing: no {first} in {base}")
    if options.bad_images == "fail":
        raise InputError(
            f"{what} in {base}; unpack the complete set, or leave them out with --bad-images skip "
            "(bad_images='skip')"
        )
    notes.append(f"left out: {what}")
    kept: list[int] = np.flatnonzero(there).tolist()
    return Listing(
        listing.base,
        [listing.names[i] for i in kept],
        listing.labels[kept],
        listing.class_names,
        None if listing.num_train is None else int(there[: listing.num_train].sum()),
        None if listing.keys is None else [listing.keys[i] for i in kept],
        (listing.positions or by_path(listing.names)).take(kept),
        None if listing.ids is None else [listing.ids[i] for i in kept],
    )


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the non-empty lines of a text file, stripped, with their numbers from 1.

    Raises:
        InputError: the file is missing, cannot be read, is not UTF-8, or is empty.
    """
    found = False
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if stripped := line.strip():
                    found = True
                    yield number, stripped
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); get the set's lists again") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8; get the set's lists again") from None
    if not found:
        raise InputError(f"{path} is empty; get the set's lists again")


def numbered_pairs(path: Path, num_classes: int) -> Iterator[tuple[int, str, int]]:
    """Yield line number, image and class number of each line "IMAGE LABEL" of a list.

    Raises:
        InputError: as for `numbered_lines`, or a line has no class number 0 to num_classes - 1.
    """
    for number, line in numbered_lines(path):
        name, _, label = line.replace("\t", " ").rpartition(" ")
        if not (name and _NUMBER.fullmatch(label)):
            raise InputError(f"{path}, line {number}: {line[:80]!r}, expected an image and a class number")
        if int(label) >= num_classes:
            raise InputError(
                f"{path}, line {number}: the label is {label}, expected 0 to {num_classes - 1} "
                f"for {num_classes} classes"
            )
        yield number, name.strip(), int(label)


def _ordered(listing: Listing, names: Names, options: Options, lists: int) -> Files:
    """Return the files in the order of storage; in the plan, `lists` other files precede them."""
    labels, num_train, order = listing.labels, listing.num_train, np.arange(len(names))
    ids = names.without_prefix("../") if listing.ids is None else Names.of(listing.ids)
    notes = []
    positions = listing.positions or by_path(names)
    if num_train is None:
        train, test = hold_out(labels, listing.keys or names, options.test_fraction)
        num_train = len(train)
        order = np.concatenate([train, test])
        labels, names, ids = labels[order], names.take(order), ids.take(order)
        positions = dataclasses.replace(positions.take(order), whole=False)
        notes.append(held_out_note(len(test), options.test_fraction))
    return Files(
        listing.base,
        names,
        lists + order,
        labels,
        listing.class_names,
        num_train,
        options.size,
        options.bad_images,
        notes,
        ids,
        positions,
    )


def _read(files: Files, options: Options) -> ReadResult:
    paths = _Paths(files.base, files.names)
    found = survey(paths, options.size, options.progress)
    decoding = Decoding(paths, files.ids, found.shape, options.bad_images, options.progress, found.white)
    notes = files.notes + found.notes
    return ReadResult.of_encoded(
        decoding, files.labels, files.class_names, files.num_train, notes, files.positions, found.kept
    )


@dataclass(frozen=True)
class _Paths(Collection[Encoded]):
    """The paths of a listing's files, created one at a time."""

    base: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Path]:
        return (self.base / name for name in self.names)

    def __contains__(self, item: object) -> bool:
        return any(item == path for path in self)


class Below(Mapping[str, Path]):
    """A mapping from names to the paths of lists and images, which are created on demand."""

    def __init__(self, base: Path, names: Names, lists: Sequence[Path]) -> None:
        self._base = base
        self._lists = {os.path.relpath(path, base): path for path in lists}
        self.names = names.after(Names.of(self._lists))  # lists and images

    def __getitem__(self, name: str) -> Path:
        return self._lists.get(name) or self._base / name

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
