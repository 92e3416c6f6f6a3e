"""Near-duplicates, found without a model: identical images, and images recompressed, resized or brightened.

Photographs are also compared mirrored and rotated by right angles.

Each image becomes an 8x8 gray thumbnail of mean 0 and norm 1, which removes brightness and contrast. A k-d
tree over the principal components of the thumbnails finds the nearest of each (a projection only shortens
distances, so it misses no pair), and candidate pairs are checked at 16x16 and in all pixels. Time is N log N,
and nothing of size N x N is held in memory.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from noisylabels.audit.turns import Turns
from noisylabels.core.rng import normals
from noisylabels.data.names import shared_id

ALIKE = 0.99
"""Smallest cosine of two thumbnails; a photograph and its JPEG of quality 30 have .995 (median)."""
APART = 20.0
"""Largest root mean square difference of two images' pixels, of 255."""
ROWS_APART = 1e-3
"""The same for rows of features, in standard deviations of their columns."""
FARTHER, CHANCE = 10, 0.05
"""Rows of few columns are equal or close by chance. Close ones count only if no more than half as many pairs
are up to `FARTHER` times as far apart: in one column chance makes nine times as many, in more columns more.
Equal ones count only if chance makes no more than the share `CHANCE` of them."""
PHOTOGRAPH = 24
"""Shorter side in pixels from which color images are also compared mirrored and rotated: small gray ones are
often writing, in which a mirrored 6 is another sign."""
COMMON = 0.2
"""If a larger share of a table's rows have duplicates, these are normal for the table and not reported."""

_DIRECTIONS, _NEAREST, _WIDE = 12, 8, 512
_BLOCK_VALUES = 1 << 23  # pixels held as floats at once


@dataclass(frozen=True)
class Group:
    """A group of near-duplicates: positions, ascending, and whether all are equal or have the same id."""

    members: tuple[int, ...]
    exact: bool

    def conflicting(self, labels: np.ndarray) -> bool:
        """Return whether the labels of the members differ."""
        return len(set(labels[list(self.members)].tolist())) > 1


def find_duplicates(examples: torch.Tensor, similar: np.ndarray | None = None) -> list[Group]:
    """Return the groups of near-duplicates, sorted by their first member.

    Args:
        examples: images, uint8 (N, C, H, W), or rows of features, float32 (N, D).
        similar: (P, 2) pairs that are known to be near-duplicates, see `feature_duplicates`.

    Returns:
        Groups of two or more, each example in at most one; no groups for a table with many equal rows, or
        with as many as chance makes, as in a table of one column.

    >>> images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    >>> images[2, 0, 2] = 255
    >>> find_duplicates(images)
    [Group(members=(0, 1), exact=True)]
    """
    n = len(examples)
    first = _first_of_equals(examples)
    distinct = np.flatnonzero(first == np.arange(n))
    if examples.ndim == 2 and _equal_by_chance(examples.numpy(), first):
        return []
    pairs = _near(examples, distinct) if len(distinct) > 1 else np.zeros((0, 2), np.int64)
    copies = np.flatnonzero(first != np.arange(n))
    ends = np.concatenate([pairs, np.stack([first[copies], copies], axis=1)])
    if similar is not None:
        ends = np.concatenate([ends, unless_common(similar, n)])
    if not len(ends):
        return []
    groups = _connected(n, ends)
    if examples.ndim == 2 and sum(len(group) for group in groups) > COMMON * n:
        return []
    return [Group(tuple(group), exact=len(set(first[group].tolist())) == 1) for group in groups]


def equal_rows(
    texts: Sequence[str], examples: torch.Tensor, similar: np.ndarray | None = None
) -> list[Group]:
    """Return the groups of rows with the same free text and equal features, sorted by their first member.

    Args:
        texts: the free text of each row, N; rows without any are in no group.
        examples: features, float32 (N, D); D may be 0.
        similar: (P, 2) pairs that are known to be near-duplicates.

    Returns:
        As `find_duplicates`.

    >>> equal_rows(["a b", *"cdefghij", "a b"], torch.zeros(10, 0))
    [Group(members=(0, 9), exact=True)]
    """
    first = _first_of_equals(examples).tolist()
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        if text.strip(" \x1f"):
            places[text, first[i]].append(i)
    groups = [Group(tuple(members), exact=True) for members in places.values() if len(members) > 1]
    if similar is not None and len(similar):
        pairs = [(group.members[0], other) for group in groups for other in group.members[1:]]
        exact = {group.members for group in groups}
        merged = _connected(len(texts), np.array([*pairs, *similar.tolist()]))
        # texts of one template are all similar, and only equal ones are then duplicates
        if sum(map(len, merged)) <= COMMON * len(texts):
            groups = [Group(tuple(members), tuple(members) in exact) for members in merged]
    return [] if sum(len(group.members) for group in groups) > COMMON * len(texts) else groups


def with_same_ids(groups: Sequence[Group], ids: Sequence[str], labels: np.ndarray) -> list[Group]:
    """Return groups of near-duplicates, with the rows that have one id but different labels as a group too.

    If more than `COMMON` of the rows repeat an id, ids do not identify the rows, and the groups stay as they
    are.

    Args:
        groups: groups of near-duplicates; each row is in at most one.
        ids: N ids; the second row with the id "a" is called "a#2".
        labels: (N,) int64.

    >>> with_same_ids([], ["a", *"bcdefghi", "a#2"], np.arange(10))
    [Group(members=(0, 9), exact=True)]
    """
    known, rows = set(ids), defaultdict[str, list[int]](list)
    for i, name in enumerate(ids):
        rows[shared_id(name, known)].append(i)
    repeated = [members for members in rows.values() if len(members) > 1]
    if sum(len(members) - 1 for members in repeated) > COMMON * len(ids):
        return list(groups)
    found = [one for one in (Group(tuple(m), exact=True) for m in repeated) if one.conflicting(labels)]
    if not found:
        return list(groups)
    pairs = [(group.members[0], other) for group in (*groups, *found) for other in group.members[1:]]
    exact = {group.members: group.exact for group in (*groups, *found)}
    merged = _connected(len(ids), np.array(pairs))
    return [Group(tuple(members), exact.get(tuple(members), False)) for members in merged]


def _first_of_equals(examples: torch.Tensor) -> np.ndarray:
    """Return for each example the position of the first example that equals it."""
    seen: dict[bytes, int] = {}
    first = np.empty(len(examples), np.int64)
    for i in range(len(examples)):
        key = hashlib.blake2b(np.ascontiguousarray(examples[i].numpy()).data, digest_size=16).digest()
        first[i] = seen.setdefault(key, i)
    return first


def _equal_by_chance(rows: np.ndarray, first: np.ndarray) -> bool:
    """Return whether chance makes equal rows, see `CHANCE`.

    The expected number is that of independent columns with these values.

    Args:
        rows: (N, D).
        first: (N,), the position of the first row that equals each.
    """
    if rows.shape[1] < 2:
        return True
    sizes = np.unique(first, return_counts=True)[1]
    pairs, m = float((sizes * (sizes - 1) / 2).sum()), len(sizes)
    expected = len(rows) * (len(rows) - 1) / 2
    if not pairs or m < 2:
        return False
    distinct = rows[np.unique(first)]  # so that copies do not count
    for column in distinct.T:
        counts = np.unique(column, return_counts=True)[1].astype(np.float64)
        expected *= float((counts * (counts - 1)).sum()) / (m * (m - 1))
        if expected <= CHANCE * pairs:
            return False
    return True


def _near(examples: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """Return pairs of `places` that are nearly equal, (P, 2)."""
    if examples.ndim == 2:
        points = _standardized(examples)[places]
        within = ROWS_APART * float(np.sqrt(points.shape[1]))
        around = _close(points, FARTHER * within)
        near = np.linalg.norm(points[around[:, 0]] - points[around[:, 1]], axis=1) <= within
        by_chance = 2 * (~near).sum() > near.sum()
        rows: np.ndarray = places[around[near & ~by_chance]]
        return rows
    within = float(np.sqrt(2 * (1 - ALIKE)))
    points = _in_blocks(examples, places, 8)
    # uniform images have no structure to compare; only exact copies of them count
    shown = np.linalg.norm(points, axis=1) > 0.5
    points, places = points[shown], places[shown]
    pairs = _verified(examples, places[_close(points, within)])
    _, channels, height, width = examples.shape
    if channels == 1 or min(height, width) < PHOTOGRAPH or len(places) < 2:
        return pairs
    turns = Turns.of(points.reshape(-1, 8, 8), square=height == width)
    turned = turns.apply(torch.from_numpy(points.reshape(-1, 1, 8, 8))).flatten(1).numpy()
    candidates = _close(turned, within)
    candidates = candidates[turns.differ(candidates)]
    turned_copies = _verified(examples, places[candidates], turns.take(candidates))
    return np.concatenate([pairs, unless_common(turned_copies, len(examples))])


def unless_common(pairs: np.ndarray, n: int) -> np.ndarray:
    """Return pairs of n examples, (P, 2); none of them if more than `COMMON` of the examples have one.

    Crops, mirrored and rotated copies are found by likeness. Where most photographs of a set are alike, such
    as those of one product, likeness says nothing.

    >>> unless_common(np.array([[0, 1]]), 10).tolist(), unless_common(np.array([[0, 1]]), 9).tolist()
    ([[0, 1]], [])
    """
    return pairs[:0] if len(np.unique(pairs)) > COMMON * n else pairs


def _close(points: np.ndarray, within: float) -> np.ndarray:
    """Return pairs of points at most `within` apart, (P, 2); of many, those of the nearest."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return np.zeros((0, 2), np.int64)
    low = _projected(points)
    near = min(_NEAREST + 1, len(low))
    _, found = cKDTree(low).query(low, k=near, distance_upper_bound=within * 1.0001)
    left = np.repeat(np.arange(len(low)), near)
    right = found.reshape(-1)
    once = (right < len(low)) & (left != right)
    candidates = np.unique(np.sort(np.stack([left[once], right[once]], axis=1), axis=1), axis=0)
    close = np.linalg.norm(points[candidates[:, 0]] - points[candidates[:, 1]], axis=1) <= within
    kept: np.ndarray = candidates[close]
    return kept


def _verified(
    examples: torch.Tensor, pairs: np.ndarray, turns: tuple[Turns, Turns] | None = None
) -> np.ndarray:
    """Return the pairs of images that also match in finer thumbnails and in their pixels.

    Args:
        examples: images.
        pairs: (P, 2) positions.
        turns: how both images of each pair are turned first; by default they are not.
    """
    kept = [pairs[:0]]
    at = 0
    for block in _blocks(examples, pairs):
        both = [examples[torch.from_numpy(block[:, k])] for k in (0, 1)]
        if turns is not None:
            some = np.arange(at, at + len(block))
            both = [turn.some(some).apply(images) for turn, images in zip(turns, both, strict=True)]
        at += len(block)
        left, right = (_thumbnails(images, 16) for images in both)
        alike = (left * right).sum(1) >= ALIKE
        apart = (both[0].float() - both[1].float()).square().flatten(1).mean(1).sqrt()
        kept.append(block[(alike & (apart <= APART)).numpy()])
    return np.concatenate(kept)


def _thumbnails(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return gray thumbnails of mean 0 and norm 1, (N, side²); zeros for uniform images."""
    gray = images.float().mean(1, keepdim=True)
    height, width = (min(side, size) for size in gray.shape[2:])
    small = torch.nn.functional.adaptive_avg_pool2d(gray, (height, width))
    flat = small.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    length = flat.norm(dim=1, keepdim=True)
    seen = length > flat.shape[1] ** 0.5  # a deviation of more than 1 of 255
    return torch.where(seen, flat / length.clamp(min=1e-6), torch.zeros(()))


def _in_blocks(examples: torch.Tensor, places: np.ndarray, side: int) -> np.ndarray:
    return np.concatenate(
        [_thumbnails(examples[torch.from_numpy(block)], side).numpy() for block in _blocks(examples, places)]
    )


def _blocks(examples: torch.Tensor, places: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the places in blocks, smaller ones for large images."""
    step = max(1, _BLOCK_VALUES // examples[0].numel())
    for start in range(0, len(places), step):
        yield places[start : start + step]


def _standardized(rows: torch.Tensor) -> np.ndarray:
    values = rows.numpy().astype(np.float32)
    deviation = values.std(axis=0, dtype=np.float64).astype(values.dtype)
    result: np.ndarray = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return result


def _projected(points: np.ndarray) -> np.ndarray:
    """Return the points projected onto their principal components, (N, 12 or fewer)."""
    if points.shape[1] > _WIDE:  # random directions: the principal ones would take longer than they save
        draws = normals(points.shape[1] * _DIRECTIONS, 0, "duplicates").reshape(-1, _DIRECTIONS)
        wide: np.ndarray = points @ np.linalg.qr(draws)[0].astype(np.float32)
        return wide
    centered = points - points.mean(axis=0)
    _, directions = np.linalg.eigh(centered.T @ centered)
    result: np.ndarray = centered @ directions[:, ::-1][:, :_DIRECTIONS]
    return result


def _connected(n: int, pairs: np.ndarray) -> list[list[int]]:
    """Return the connected components of two or more, each ascending, sorted by their first members."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for i in np.unique(pairs).tolist():
        groups[int(component[i])].append(i)
    return sorted(groups.values())


def consensus_label(labels: Sequence[int], support: np.ndarray) -> int:
    """Return the most frequent label of a group, and among equally frequent ones the most probable.

    Args:
        labels: labels of the group's members.
        support: (K,) sum of the members' probabilities.

    >>> consensus_label([0, 1, 1], np.array([3.0, 0.0])), consensus_label([0, 1], np.array([0.5, 1.5]))
    (1, 1)
    """
    return max(sorted(set(labels)), key=lambda label: (list(labels).count(label), support[label]))
