"""Pictures that are there twice, found without a model: copies, and copies saved again, resized, brightened.

Every image is made an 8x8 gray thumbnail of mean 0 and length 1, so that brightness and contrast do not
count; a tree over the thumbnails' main directions gives each its nearest (a projection brings points
nearer, never farther, so that it hides none); and the pairs are looked at again at 16x16 and in all their
pixels. N log N in time, and nothing of N x N in memory.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from noisylabels.core.rng import normals

ALIKE = 0.99
"""The least cosine of two thumbnails; of the same photograph as JPEG of quality 30 it is .995 (median)."""
APART = 20.0
"""The greatest root mean square difference of two images' pixels, of 255."""
ROWS_APART = 1e-3
"""The same for rows of features, in standard deviations of their columns."""
COMMON = 0.2
"""Where more of a table's rows than this share are there twice, that is how the table is: it says nothing."""

_DIRECTIONS, _NEAREST, _WIDE = 12, 8, 512
_BLOCK_VALUES = 1 << 23  # of pixels that are held as floats at once


@dataclass(frozen=True)
class Group:
    """Examples that show the same: positions, ascending, and whether they are equal to the last bit."""

    members: tuple[int, ...]
    exact: bool

    def conflicting(self, labels: np.ndarray) -> bool:
        """Return whether they are labeled differently."""
        return len(set(labels[list(self.members)].tolist())) > 1


def find_duplicates(examples: torch.Tensor) -> list[Group]:
    """Return the groups of examples that show the same, by their first member.

    Args:
        examples: images, uint8 (N, C, H, W), or rows of features, float32 (N, D).

    Returns:
        Groups of two or more, each example in one at most; none for a table with many equal rows.

    >>> images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    >>> images[2, 0, 2] = 255
    >>> find_duplicates(images)
    [Group(members=(0, 1), exact=True)]
    """
    n = len(examples)
    first = _first_of_equals(examples)
    distinct = np.flatnonzero(first == np.arange(n))
    pairs = _near(examples, distinct) if len(distinct) > 1 else np.zeros((0, 2), np.int64)
    copies = np.flatnonzero(first != np.arange(n))
    ends = np.concatenate([pairs, np.stack([first[copies], copies], axis=1)])
    if not len(ends):
        return []
    groups = _connected(n, ends)
    if examples.ndim == 2 and sum(len(group) for group in groups) > COMMON * n:
        return []
    return [Group(tuple(group), exact=len(set(first[group].tolist())) == 1) for group in groups]


def _first_of_equals(examples: torch.Tensor) -> np.ndarray:
    """Return for each example the position of the first that is equal to it."""
    seen: dict[bytes, int] = {}
    first = np.empty(len(examples), np.int64)
    for i in range(len(examples)):
        key = hashlib.blake2b(np.ascontiguousarray(examples[i].numpy()).data, digest_size=16).digest()
        first[i] = seen.setdefault(key, i)
    return first


def _near(examples: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """Return pairs of `places` that are nearly equal, (P, 2)."""
    from scipy.spatial import cKDTree

    images = examples.ndim == 4
    points = _in_blocks(examples, places, 8) if images else _standardized(examples)[places]
    within = float(np.sqrt(2 * (1 - ALIKE))) if images else ROWS_APART * float(np.sqrt(points.shape[1]))
    if images:  # an image of one gray is like every other; only its copies are the same
        shown = np.linalg.norm(points, axis=1) > 0.5
        points, places = points[shown], places[shown]
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
    pairs = places[candidates[close]]
    return _look_again(examples, pairs) if images and len(pairs) else pairs


def _look_again(examples: torch.Tensor, pairs: np.ndarray) -> np.ndarray:
    """Keep the pairs of images that are alike in finer thumbnails and in their pixels."""
    kept = []
    for block in _blocks(examples, pairs):
        left, right = (_thumbnails(examples[torch.from_numpy(block[:, k])], 16) for k in (0, 1))
        alike = (left * right).sum(1) >= ALIKE
        pixels = [examples[torch.from_numpy(block[:, k])].float() for k in (0, 1)]
        apart = (pixels[0] - pixels[1]).square().flatten(1).mean(1).sqrt()
        kept.append(block[(alike & (apart <= APART)).numpy()])
    return np.concatenate(kept)


def _thumbnails(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return gray thumbnails of mean 0 and length 1, (N, side²); zeros where there is nothing to be seen."""
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
    """Give a part of the places at a time: fewer of large images."""
    step = max(1, _BLOCK_VALUES // examples[0].numel())
    for start in range(0, len(places), step):
        yield places[start : start + step]


def _standardized(rows: torch.Tensor) -> np.ndarray:
    values = rows.numpy().astype(np.float32)
    deviation = values.std(axis=0)
    result: np.ndarray = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return result


def _projected(points: np.ndarray) -> np.ndarray:
    """Return the points in their main directions, (N, 12 or fewer)."""
    if points.shape[1] > _WIDE:  # finding the main directions would take longer than any others cost
        draws = normals(points.shape[1] * _DIRECTIONS, 0, "duplicates").reshape(-1, _DIRECTIONS)
        wide: np.ndarray = points @ np.linalg.qr(draws)[0].astype(np.float32)
        return wide
    centered = points - points.mean(axis=0)
    _, directions = np.linalg.eigh(centered.T @ centered)
    result: np.ndarray = centered @ directions[:, ::-1][:, :_DIRECTIONS]
    return result


def _connected(n: int, pairs: np.ndarray) -> list[list[int]]:
    """Return the connected groups of two or more, each ascending, by their first members."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for i in np.unique(pairs).tolist():
        groups[int(component[i])].append(i)
    return sorted(groups.values())


def truer_label(labels: Sequence[int], support: np.ndarray) -> int:
    """Return the label that speaks for a group: the commonest, and of equally common ones the likeliest.

    Args:
        labels: of the group's members.
        support: (K,) the sum of the members' probabilities.

    >>> truer_label([0, 1, 1], np.array([3.0, 0.0])), truer_label([0, 1], np.array([0.5, 1.5]))
    (1, 1)
    """
    return max(sorted(set(labels)), key=lambda label: (list(labels).count(label), support[label]))
