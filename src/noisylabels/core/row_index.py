"""Match rows of probabilities, and rows of X and y, by the index of pandas; nothing is matched by a guess.

An index without a name that counts from 0 names no rows: it was made with the frame. Any other index does,
and is matched or refused, but never dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.labels import name_of, some


def index_of(values: Any) -> Any:
    """Return the index of a series or frame of pandas, or an index itself; None for others."""
    found = values if hasattr(values, "get_indexer") else getattr(values, "index", None)
    return found if hasattr(found, "get_indexer") else None


def is_default(index: Any) -> bool:
    """Return whether an index without a name counts 0, 1, 2, ...: the frame was made without one."""
    return type(index).__name__ == "RangeIndex" and (index.start, index.step, index.name) == (0, 1, None)


def check_index(X: Any, y: Any, what: str = "y") -> None:
    """Raise an `InputError` if pandas objects have the same index in another order."""
    one, other = index_of(X), index_of(y)
    if one is None or other is None or len(one) != len(other) or one.equals(other):
        return
    try:
        same = bool(one.sort_values().equals(other.sort_values()))
    except TypeError:  # an index of several types
        same = _same(one, other)
    if same:
        raise InputError(
            f"X and {what} have the same index in another order; pass {what}.loc[X.index] to match them by "
            f"it, or {what}.to_numpy() if the rows already match"
        )


def check_ids(ids: Sequence[str], labels: Any) -> None:
    """Raise an `InputError` if the index of labels holds the ids of the examples in another order."""
    index = index_of(labels)
    if index is None or is_default(index):
        return
    found = _by_ids(index, ids)
    if found is not None and (found != np.arange(len(found))).any():
        raise InputError(
            "the index of the labels holds the ids of the examples in another order; pass "
            "labels.loc[list(data.ids)] to match them by it, or labels.to_numpy() if the rows already match"
        )


def match_rows(
    probs: Any,
    *examples: Any,
    count: int | None = None,
    ids: Sequence[str] = (),
    rows: np.ndarray | None = None,
    total: int | None = None,
    in_memory: bool = True,
) -> np.ndarray | None:
    """Return the row of probs of each example if the index of a pandas frame says so; None: in order.

    The index is matched with the ids of the examples, or else with an index of the examples. Beside examples
    in memory that have neither, such as an array of labels, it may be the index that a filter leaves:
    integers without a name, in ascending order; rows are then in order.

    Args:
        probs: (N, K); anything but a frame of pandas has no index.
        examples: objects whose index of pandas, if any, may name the examples: labels, a frame.
        count: the number of examples, if it is known.
        ids: the ids of the examples, if they have any.
        rows: the positions of the examples in their source.
        total: the number of examples of the source, for all of which there may be rows.
        in_memory: whether the examples were passed as objects, rather than read from a file.

    Raises:
        InputError: the index is none of these, or in another order than one that counts from 0.
    """
    theirs = index_of(probs)
    if theirs is None:
        return None
    mine = [index for each in examples if (index := index_of(each)) is not None]
    if is_default(theirs):
        if any(_same(index, theirs) and not index.equals(theirs) for index in mine):
            raise InputError(_DIFFER.format("the same index in another order"))
        return None
    if count is not None and len(theirs) != count and total in (None, count):
        return None  # the error on the number of rows explains it
    in_order = any(index.equals(theirs) for index in mine) or _counts(theirs, np.arange(len(theirs)))
    if (found := _by_ids(theirs, ids)) is not None:
        if in_order and theirs.name is None and (found != np.arange(len(found))).any():
            raise InputError(
                "probs have an index that is the order of the examples and, in another order, their ids; "
                "call it id (probs.rename_axis('id')) to match by ids, or pass probs.to_numpy()"
            )
        return found
    if any(index.equals(theirs) for index in mine):
        return None
    for index in mine:
        if _same(index, theirs):
            if is_default(index):
                raise InputError(_DIFFER.format("the same index in another order"))
            return np.asarray(theirs.get_indexer(index))
    if rows is not None and _counts(theirs, rows):
        return np.arange(len(rows))
    if named := [index for index in mine if not is_default(index)]:
        raise InputError(_DIFFER.format(f"different indexes ({_few(named[0])}; and {_few(theirs)})"))
    if _counts(theirs, np.arange(len(theirs))) or (in_memory and _is_filtered(theirs)):
        return None
    known = f", and the examples have the ids {some(list(ids), 3)}" if len(ids) else ""
    raise InputError(
        f"probs have the index {_few(theirs)}{known or ', and the labels have no index'}; pass "
        "probs.to_numpy() if rows are in the order of the examples, or give probs the index of the examples"
    )


def match_mask(like: Sequence[Any], mask: Any) -> Any:
    """Return a mask of examples in their order; one without an index of pandas as it is.

    Args:
        like: objects of which the first with an index has that of the examples.
        mask: N truth values.

    Raises:
        InputError: the indexes differ, or it is unclear whether they count.
    """
    if (theirs := index_of(mask)) is None:
        return mask
    mine = next((index for each in like if (index := index_of(each)) is not None), None)
    if mine is None:
        order = np.arange(len(theirs))
        if theirs.is_unique and bool(theirs.isin(order).all()) and not np.array_equal(theirs, order):
            raise InputError(
                "trusted has the index 0 to N - 1 in another order, and the examples have no index; pass "
                "trusted.sort_index().to_numpy() if it counts the examples, and trusted.to_numpy() if not"
            )
        return mask
    if mine.equals(theirs) or len(mine) != len(theirs):
        return mask
    same, default = _same(mine, theirs), is_default(mine) or is_default(theirs)
    if default and not same:  # one of them was made from an array and has no index of its own
        return mask
    if default or not same:
        how = "the same index in another order" if same else "different indexes"
        raise InputError(
            f"labels and trusted have {how}; if rows belong together by index, pass "
            "trusted.loc[labels.index], and if by position, trusted.to_numpy()"
        )
    return np.asarray(mask)[theirs.get_indexer(mine)]


_DIFFER = (
    "labels and probs have {}; if rows belong together by index, pass probs.loc[labels.index], and if by "
    "position, probs.to_numpy()"
)


def _few(index: Any) -> str:
    return some(index.tolist(), 3)


def _same(one: Any, other: Any) -> bool:
    """Return whether two indexes have the same values, each once, in any order."""
    if len(one) != len(other) or not one.is_unique or not other.is_unique:
        return False
    return bool((other.get_indexer(one) >= 0).all())


def _by_ids(index: Any, ids: Sequence[str]) -> np.ndarray | None:
    """Return the row of each id in an index; None if its values are not the ids."""
    if len(ids) != len(index):
        return None
    place = {name_of(value): row for row, value in enumerate(index.tolist())}
    if len(place) < len(ids) or any(word not in place for word in ids):
        return None
    found = np.array([place[word] for word in ids], dtype=np.int64)
    return found if len(np.unique(found)) == len(found) else None


def _counts(index: Any, rows: np.ndarray) -> bool:
    return index.dtype.kind in "iu" and np.array_equal(index.to_numpy(), rows)


def _is_filtered(index: Any) -> bool:
    """Return whether an index is one that counted from 0, of which a filter left some rows in order."""
    return index.name is None and index.dtype.kind in "iu" and bool((np.diff(index.to_numpy()) > 0).all())
