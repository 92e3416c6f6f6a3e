"""Names of the parts of a data set, as people write them in folders, files, columns and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from noisylabels.core.checks import InputError

TRAIN, TEST, VAL = "train", "test", "val"

_WORDS = {
    TRAIN: "train|training|trn",
    TEST: "test|tests|testing|tst",
    VAL: "val|valid|validate|validation|dev|development|eval|evaluation",
}
_SPLITS = "|".join(f"(?P<{split}>{words})" for split, words in _WORDS.items())
_NOUNS = (
    "sets?|data|datasets?|splits?|parts?|folds?|images?|imgs?|pictures?|photos?|examples?|samples?|rows|files|"
    "labels"
)
_NAME = re.compile(rf"(?:(?:{_NOUNS})_)?(?:{_SPLITS})(?:_?(?:{_NOUNS}))*_?\d*")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BREAKS = re.compile(r"[\s\-_.]+")


def split_of(name: object) -> str | None:
    """Return the split that a name means, "train", "test" or "val", or None if it names no split.

    Upper and lower case, spaces, dashes, dots and underscores make no difference, and neither do nouns such
    as set, data or images, nor a number at the end.

    >>> [split_of(name) for name in ("Training-Set", "test data", "validation", "dev", "val2017", "trains")]
    ['train', 'test', 'val', 'val', 'val', None]
    """
    found = _NAME.fullmatch(_BREAKS.sub("_", str(name).strip().casefold()).strip("_"))
    return None if found is None else found.lastgroup


def unused_validation(held: str) -> str:
    """Return a note on a validation part that is ignored because there is a test part.

    Args:
        held: what the validation part holds, with its count.
    """
    return f"ignored the validation part ({held}): the test part is used for testing"


def unread_splits(column: str, cells: Iterable[object]) -> list[str]:
    """Return a note on a column of names of parts, of a set whose parts are files or keys; else nothing.

    >>> unread_splits("split", ["train", "dev", "train"])
    ["the column 'split' (dev, train) does not divide the set: give each part a file or key of its own"]
    """
    words = sorted(set(map(str, cells)))
    if len(words) < 2 or not all(map(split_of, words)):
        return []
    return [
        f"the column {column!r} ({', '.join(words)}) does not divide the set: give each part a file or "
        "key of its own"
    ]


def all_splits(names: Sequence[str]) -> bool:
    """Return whether every name is, or ends in, the name of a split: "seg_train" and "seg_test", for example.

    >>> all_splits(["seg_train", "seg_test"]), all_splits(["train", "plane"])
    (True, False)
    """
    return bool(names) and all(split_of(name) or split_of(_BREAKS.split(name.strip())[-1]) for name in names)


def paired_splits(names: Iterable[str]) -> list[dict[str, str]]:
    """Return split -> name for each group of names that differ in their split alone, one for training.

    The split is the first or the last word of such a name.

    >>> paired_splits(["train_final", "test_final", "raw"]), paired_splits(["trainA", "trainB", "testA"])
    ([{'train': 'train_final', 'test': 'test_final'}], [{'train': 'trainA', 'test': 'testA'}])
    """
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = _BREAKS.split(_CAPITAL.sub("_", name.strip()).casefold())
        for word, rest in ((words[0], ("", *words[1:])), (words[-1], (*words[:-1], ""))):
            if (split := split_of(word)) and len(words) > 1:
                groups.setdefault(rest, {}).setdefault(split, name)
    return [group for group in groups.values() if TRAIN in group and len(group) > 1]


def by_split(names: Iterable[str], where: object) -> dict[str, str]:
    """Return split -> the name that means it, of the names that mean one; "test" goes before "test2".

    Args:
        names: the names.
        where: what an error calls the place that holds them.

    Raises:
        InputError: two names mean the same split.

    >>> by_split(["Training", "dev", "raw"], "photos")
    {'train': 'Training', 'val': 'dev'}
    """
    found: dict[str, str] = {}
    for name in names:
        split = split_of(name)
        if split is None:
            continue
        other = found.get(split)
        if other is not None and _is_plain(other) != _is_plain(name):
            found[split] = other if _is_plain(other) else name  # the caller lists the other as ignored
            continue
        if other is not None:
            raise InputError(
                f"{where} has {other!r} and {name!r}, which both name the {split} part; "
                "merge them or move one of them elsewhere"
            )
        found[split] = name
    return found


def _is_plain(name: object) -> bool:
    return str(name).casefold() in (TRAIN, TEST, VAL, "valid", "validation")
