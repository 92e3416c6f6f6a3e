"""Splits of a set: held-out test and validation parts, and a share of the training part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.rng import derive_seeds, uniforms


def hold_out(
    labels: np.ndarray, keys: Sequence[str], fraction: float, what: str = "images"
) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test positions, `fraction` of each class for testing, independent of a run's seed.

    The rank of each example is drawn from a stream of seed 0 that is named by its key, not by its position.
    So an image that is added, removed, or moved to another class because its label was corrected does not
    reshuffle the others, and results before and after stay comparable.

    Args:
        labels: integers, (N,).
        keys: N names; examples with equal keys keep their order.
        fraction: in (0, 1).
        what: what an error calls the examples.

    Returns:
        Positions of the training and of the test examples, int64, each in ascending order. A class of n >= 2
        examples has round(fraction * n) test examples, at least 1 and at most n - 1; a class of 1 has none.

    Raises:
        InputError: no class has two examples, so nothing can be held out.

    >>> train, test = hold_out(np.array([0, 0, 0, 0, 1, 1]), list("abcdef"), 0.25)
    >>> len(train), len(test)
    (4, 2)
    """
    places = derive_seeds(0, "hold out", last=keys, count=len(keys))
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen[members[np.argsort(places[members], kind="stable")[:count]]] = True
    if not chosen.any():
        raise InputError(
            f"there are {len(labels)} {what} and no class has two, so none can be held out for testing; "
            f"add {what} or a test part"
        )
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def class_share(labels: np.ndarray, keys: Sequence[str], share: float) -> np.ndarray:
    """Return the positions of `share` of each class, for training, independent of a run's seed.

    Args:
        labels: integers, (N,).
        keys: N names, from which the ranks of the examples are drawn as in `hold_out`, so that a larger share
            includes the examples of a smaller one.
        share: in (0, 1].

    Returns:
        The positions, int64, in ascending order: round(share * n) of a class of n examples, at least 1.

    >>> class_share(np.array([0, 0, 0, 0, 1, 1]), list("abcdef"), 0.5).tolist()
    [0, 2, 4]
    """
    places = derive_seeds(0, "class share", last=keys, count=len(keys))
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen.append(
            members[np.argsort(places[members], kind="stable")[: max(1, round(share * len(members)))]]
        )
    return np.sort(np.concatenate(chosen))


def validation_split(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return training and validation positions, with `share` of n examples, regardless of labels, held out.

    Args:
        n: the number of examples.
        share: in [0, 1); 0 holds nothing out.
        seed: the run's seed; the ranks of the examples are drawn from its stream "validation", so that the
            choice is the same for every loss, and a larger share includes the examples of a smaller one.

    Returns:
        Positions of the training and of the round(share * n) held-out examples, int64, each in ascending
        order.

    Raises:
        InputError: a share above 0 amounts to no examples, or to all.

    >>> kept, held = validation_split(10, 0.3, seed=0)
    >>> len(kept), len(held), sorted([*kept, *held]) == list(range(10))
    (7, 3, True)
    """
    count = round(share * n)
    if share and not 0 < count < n:
        raise InputError(
            f"a validation share of {share:g} of {n} training examples is {count}, expected 1 to {n - 1}; "
            "choose another share, or 0 for no validation"
        )
    queue = np.argsort(uniforms(n, seed, "validation"), kind="stable")
    return np.sort(queue[count:]), np.sort(queue[:count])
