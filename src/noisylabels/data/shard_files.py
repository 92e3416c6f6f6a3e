"""Finding WebDataset shards: a .tar file, a folder of them, or a pattern such as train-{000..999}.tar."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from noisylabels.core.checks import InputError
from noisylabels.data.file_sources import file_names_in, folders_in
from noisylabels.data.splits import TEST, TRAIN, VAL, split_of, unused_validation

LAYOUT = "NAME.tar of NAME.jpg with NAME.cls, .json or .txt; a folder of them, or train-{000..999}.tar"

SUFFIX = ".tar"
_MOST = 1_000_000  # shards that a pattern may name
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_WORDS = re.compile(r"[\s\-_.]+")

_Shard = TypeVar("_Shard")


def is_pattern(name: str | os.PathLike[str]) -> bool:
    """Return whether a name stands for several shards.

    >>> is_pattern("shards/train-{000..999}.tar"), is_pattern("a.tar"), is_pattern("{a,b}.csv")
    (True, False, False)
    """
    text = os.fspath(name)
    return text.lower().endswith(SUFFIX) and bool(_RANGE.search(text) or _CHOICE.search(text))


def expand(pattern: str) -> list[str]:
    """Return the names that a pattern stands for, in order, as a shell expands braces.

    Raises:
        InputError: a range is empty, or there are more than a million names.

    >>> expand("{train,val}-{08..10}.tar")[2:4]
    ['train-10.tar', 'val-08.tar']
    """
    made = [pattern]
    while any(_RANGE.search(name) or _CHOICE.search(name) for name in made[:1]):
        names = (each for name in made for each in _expanded(name, pattern))
        made = list(itertools.islice(names, _MOST + 1))
        if len(made) > _MOST:
            raise InputError(f"{pattern!r} names more than {_MOST:,} shards; name fewer")
    return made


def _expanded(name: str, pattern: str) -> Iterator[str]:
    """Yield the names for the first braces of a name."""
    found = [match for match in (_RANGE.search(name), _CHOICE.search(name)) if match is not None]
    first = min(found, key=lambda match: match.start())
    before, after = name[: first.start()], name[first.end() :]
    if first.re is _CHOICE:
        for word in first[1].split(","):
            yield before + word + after
        return
    low, high = int(first[1]), int(first[2])
    if low > high or high - low >= _MOST:
        raise InputError(
            f"{pattern!r} has the range {first[0]}, expected one that ascends, by up to {_MOST:,} shards"
        )
    ends = first[1], first[2]
    padded = any(len(end) > 1 and end.startswith("0") for end in ends)
    width = max(map(len, ends)) if padded else 0
    for number in range(low, high + 1):
        yield f"{before}{number:0{width}d}{after}"


def find(path: Path) -> Path | None:
    """Return `path` if it is a shard, or a folder that holds shards, itself or in a folder per split."""
    if path.is_file():
        return path if path.name.lower().endswith(SUFFIX) else None
    return path if path.is_dir() and any(shards_below(path)) else None


def shards_of(path: Path, notes: list[str] | None = None) -> dict[str, list[Path]]:
    """Return split -> shards in order; the validation part stands for a missing test part.

    The split is a word of the shard's name or that of its folder, such as `imagenet-train-0001.tar`; shards
    without such a word are for training, and so are all if they have the same.

    Args:
        path: a shard, a folder of shards, or a pattern.
        notes: receives a line on a validation part beside a test part, which is ignored.

    Returns:
        The parts "train", and "test" if there is one.

    Raises:
        InputError: a shard of a pattern is missing, or none is for training.
    """
    if is_pattern(path) and not path.exists():
        paths = [Path(name) for name in expand(os.fspath(path))]
        if missing := [each for each in paths if not each.is_file()]:
            raise InputError(
                f"{len(missing):,} of the {len(paths):,} shards of {os.fspath(path)!r} "
                f"{'is' if len(missing) == 1 else 'are'} missing, first {missing[0]}; get "
                f"{'it' if len(missing) == 1 else 'them'}, or correct the pattern"
            )
    else:
        paths = [path] if path.is_file() else list(shards_below(path))
    splits = [split_of_shard(each.name, _folder(each, path)) for each in paths]
    return divided(paths, splits, path, notes)


def divided(
    shards: Sequence[_Shard], splits: Sequence[str], source: object, notes: list[str] | None = None
) -> dict[str, list[_Shard]]:
    """Return split -> shards in order, see `shards_of`; `split_of_shard` has the split of each.

    Raises:
        InputError: none is for training.
    """
    parts: dict[str, list[_Shard]] = {}
    for split, each in zip(splits, shards, strict=True):
        parts.setdefault(split, []).append(each)
    if len(parts) == 1:
        return {TRAIN: list(shards)}
    if TRAIN not in parts:
        raise InputError(
            f"{source} has shards for {' and '.join(sorted(parts))}, but none for training; rename them, "
            "such as to train-000.tar"
        )
    if TEST in parts and VAL in parts and notes is not None:
        notes.append(unused_validation(f"{in_words(parts[VAL])}, first {parts[VAL][0]}"))
    test = parts.get(TEST) or parts.get(VAL)
    return {TRAIN: parts[TRAIN]} | ({TEST: test} if test else {})


def split_of_shard(name: str, folder: str | None) -> str:
    """Return the split that a shard's name means, or that of its folder below the source, if it has one.

    >>> split_of_shard("imagenet-val-01.tar", None), split_of_shard("01.tar", "test")
    ('val', 'test')
    """
    for each in (name[: -len(SUFFIX)], *([] if folder is None else [folder])):
        words = _WORDS.split(each)
        if (found := split_of(each) or next(filter(None, map(split_of, words)), None)) is not None:
            return found
    return TRAIN


def _folder(shard: Path, source: Path) -> str | None:
    return shard.parent.name if shard.parent.parent == source else None


def shards_below(folder: Path) -> Iterator[Path]:
    """Yield the shards of a folder and of its folders for splits, sorted."""
    for place in (folder, *(folder / name for name in folders_in(folder) if split_of(name))):
        yield from (place / name for name in file_names_in(place) if name.lower().endswith(SUFFIX))


def in_words(paths: Sequence[object]) -> str:
    """Return how a message calls shards.

    >>> in_words([Path("a.tar")]), in_words([Path("a.tar"), Path("b.tar")])
    ('1 shard', '2 shards')
    """
    return f"{len(paths):,} shard{'' if len(paths) == 1 else 's'}"
