"""Folders called like parts of a set below the folders of a set: cat/train, cat/test, dog/train, dog/test."""

from __future__ import annotations

from pathlib import Path

from noisylabels.core.checks import InputError
from noisylabels.data.file_sources import folders_in, names_below
from noisylabels.data.splits import TEST, TRAIN, VAL, by_split, unused_validation

Block = list[tuple[str, Path]]  # class and folder of images, for one part


def splits_below(root: Path, layout: str) -> tuple[list[Block], list[str]]:
    """Return the training and the test part if every class folder is divided into them, and notes.

    Args:
        root: the folder of the class folders.
        layout: what an error says is expected.

    Returns:
        The two parts, or nothing if the class folders are not divided; and notes on folders in classes that
        are called like parts, and on images beside them.

    Raises:
        InputError: the folders in `root` are sets of their own, with parts that hold class folders.
    """
    classes = folders_in(root)
    inside = {name: _parts_in(root / name) for name in classes}
    divided = {name: parts for name, parts in inside.items() if TRAIN in parts}
    whole = [name for name, parts in divided.items() if len(parts) > 1]  # with a test part too
    if not divided or not (whole or len(divided) == len(classes)):
        return [], []
    for name, parts in divided.items():
        if folders_in(root / name / parts[TRAIN]):
            raise InputError(
                f"{name}/{parts[TRAIN]} in {root} holds folders, as a set of its own; name the folder of one "
                f"set, such as {root / name}; expected {layout}"
            )
    if not whole:
        return [], []  # cat/train, dog/train: all images are of one part
    first = "/".join((whole[0], divided[whole[0]][TRAIN]))
    for name in classes:
        if name not in divided and any(True for _ in names_below(root / name)):
            line = f"folders such as {first} are read as images of their class, not as parts"
            return [], [f"{line}: {name} has no training part"]
    split = TEST if any(TEST in parts for parts in divided.values()) else VAL
    used = [
        [(name, root / name / parts[each]) for name, parts in inside.items() if each in parts]
        for each in (TRAIN, split)
    ]
    notes = [f"folders such as {first} are parts of the set, in each class"]
    unused = [root / name / each[VAL] for name, each in inside.items() if VAL in each and split == TEST]
    if unused:
        count = sum(1 for folder in unused for _ in names_below(folder))
        first = unused[0].relative_to(root).as_posix()
        notes.append(unused_validation(f"folders such as {first}, {count:,} image{'s' if count > 1 else ''}"))
    kept = sum(1 for block in used for _, folder in block for _ in names_below(folder))
    if more := sum(1 for name in classes for _ in names_below(root / name)) - kept:
        notes.append(f"left out {more:,} image{'s' if more > 1 else ''} of the classes beside these parts")
    return used, notes


def _parts_in(folder: Path) -> dict[str, str]:
    """Return split -> folder; nothing if two folders are called like the same part."""
    try:
        return by_split(folders_in(folder), folder)
    except InputError:
        return {}
