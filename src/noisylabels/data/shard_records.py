"""The records of a copy of a stream in shards, and the shards that a folder has beside them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from noisylabels.core.checks import InputError
from noisylabels.core.schema import read_checked
from noisylabels.data.shard_files import shards_below
from noisylabels.data.splits import TEST, TRAIN


class CopyState(TypedDict):
    """How far a part is copied.

    examples, shards: their numbers so far; done: whether these are all; place: where the stream goes on, of
    `IterableDataset.state_dict`, or null; columns: those of image and label, or null; source:
    the name of the data set, or null.
    """

    examples: int
    shards: int
    done: bool
    place: dict[str, Any] | None
    columns: NotRequired[list[str] | None]  # this and the next are not in records of before
    source: NotRequired[str | None]


def shard_path(folder: Path, name: str, number: int) -> Path:
    """Return the path of a shard of a part."""
    return folder / f"{name}-{number:05d}.tar"


def copy_state(folder: Path, name: str) -> CopyState:
    """Return how far a part is copied."""
    record = folder / f"{name}.state.json"
    if not record.exists():
        return CopyState(examples=0, shards=0, done=False, place=None)
    state: CopyState = read_checked(record, CopyState, f"remove {folder} and copy again")
    return state


def check_shards(folder: Path, copied: Collection[str]) -> None:
    """Raise an `InputError` if the shards of a folder are not those that its records tell of.

    Args:
        folder: the folder of the shards.
        copied: the parts that are copied; an interrupted copy may have left a shard without a record.
    """
    finished: set[Path] = set()
    begun: set[Path] = set()
    for name in (TRAIN, TEST):
        state = copy_state(folder, name)
        finished.update(shard_path(folder, name, number) for number in range(state["shards"]))
        if name in copied and not state["done"]:  # a shard is written before it is recorded
            begun.add(shard_path(folder, name, state["shards"]))
    found = set(shards_below(folder))
    if other := sorted(found - finished - begun):
        raise InputError(
            f"{folder} holds shards that are not of this copy, {_in_words(other, folder)}, and load would "
            "read both; pass another folder, or remove them"
        )
    if missing := sorted(finished - found):
        raise InputError(f"{folder} has lost {_in_words(missing, folder)}; remove the folder and copy again")


def _in_words(shards: list[Path], folder: Path) -> str:
    more = f" and {len(shards) - 1:,} more" if len(shards) > 1 else ""
    return f"{shards[0].relative_to(folder).as_posix()}{more}"
