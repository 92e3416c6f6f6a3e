"""Nearest neighbors of likely mislabeled examples, in their given and in their suggested class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisylabels.audit.duplicates import Group

SHOWN = 6
"""Neighbors per class."""

_CANDIDATES = 3000  # per class: more would hardly be nearer, and each is compared with every query
_BLOCK = 1024


def find_neighbors(
    wanted: np.ndarray,
    labels: np.ndarray,
    suggested: np.ndarray,
    score: np.ndarray,
    flagged: np.ndarray,
    points: np.ndarray,
    groups: Sequence[Group] = (),
) -> dict[int, tuple[list[int], list[int]]]:
    """Return up to 6 nearest neighbors with the given and with the suggested label.

    Candidates are likely labeled correctly: not flagged, and in the better half of their class by score if
    the class is large enough. Near-duplicates of the example itself are left out.

    Args:
        wanted: positions, (W,).
        labels, suggested: (N,) int64.
        score: (N,) float64, label quality.
        flagged: (N,) bool.
        points: (N, D), embedding of the examples, compared by cosine similarity.
        groups: groups of near-duplicates.

    Returns:
        Position -> (positions with the given label, positions with the suggested label), nearest first.
    """
    center = points.mean(axis=0, dtype=np.float32)

    def unit(rows: np.ndarray) -> np.ndarray:
        centered = np.asarray(points[rows], dtype=np.float32) - center
        return np.asarray(centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-12))

    copies = {i: set(group.members) for group in groups for i in group.members}
    result: dict[int, tuple[list[int], list[int]]] = {i: ([], []) for i in wanted.tolist()}
    for which, classes in enumerate((labels, suggested)):
        for k in np.unique(classes[wanted]).tolist():
            asking = wanted[classes[wanted] == k]
            exemplary = _exemplary(np.flatnonzero((labels == k) & ~flagged), score)
            if not len(exemplary):
                continue
            there = unit(exemplary)
            for start in range(0, len(asking), _BLOCK):
                block = asking[start : start + _BLOCK]
                near = unit(block) @ there.T
                some = min(len(exemplary), SHOWN + 8)  # the example and its near-duplicates may be among them
                first = np.argpartition(-near, some - 1, axis=1)[:, :some]
                for row, i in enumerate(block.tolist()):
                    nearest = first[row][np.lexsort((first[row], -near[row, first[row]]))]
                    apart = copies.get(i, set()) | {i}
                    found = [j for j in exemplary[nearest].tolist() if j not in apart]
                    result[i][which].extend(found[:SHOWN])
    return result


def _exemplary(members: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the better half of a class if it is large enough, subsampled to at most `_CANDIDATES`."""
    if len(members) >= 4 * SHOWN:
        members = members[score[members] >= np.median(score[members])]
    step = -(-len(members) // _CANDIDATES) if len(members) else 1
    return members[::step]
