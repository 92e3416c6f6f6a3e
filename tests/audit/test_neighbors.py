"""Nearest neighbors, compared with a naive search."""

from __future__ import annotations

import numpy as np
import pytest

from noisylabels.audit.duplicates import Group
from noisylabels.audit.nearest import find_nearest
from noisylabels.audit.neighbors import SHOWN, find_neighbors


def test_neighbors_are_the_nearest_of_the_better_half_of_each_class() -> None:
    rng = np.random.default_rng(0)
    n, K = 400, 3
    labels, suggested = rng.integers(0, K, n), rng.integers(0, K, n)
    score, flagged = rng.random(n), rng.random(n) < 0.2
    points = rng.normal(size=(n, 5))
    wanted = np.flatnonzero(flagged)[:40]
    copy = int(np.flatnonzero((labels == labels[wanted[0]]) & ~flagged)[0])
    score[copy], points[copy] = 1.0, points[wanted[0]]  # as near as can be, and no other picture
    groups = [Group(tuple(sorted((int(wanted[0]), copy))), True)]
    got = find_neighbors(wanted, labels, suggested, score, flagged, points, groups)
    assert list(got) == wanted.tolist()

    centered = points - points.mean(axis=0)
    unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    for i in wanted.tolist():
        for which, k in enumerate((labels[i], suggested[i])):
            members = [j for j in range(n) if labels[j] == k and not flagged[j]]
            middle = np.median(score[members])
            better = [j for j in members if score[j] >= middle and j != i]
            if i == wanted[0]:
                better = [j for j in better if j != copy]
            naive = sorted(better, key=lambda j: -float(unit[i] @ unit[j]))[:SHOWN]
            assert got[i][which] == naive


def test_a_class_without_correct_labels_has_no_neighbors() -> None:
    labels = np.array([0, 0, 1, 1])
    flagged = np.array([True, False, True, True])
    points = np.random.default_rng(0).normal(size=(4, 2))
    got = find_neighbors(np.array([0]), labels, np.array([1, 0, 0, 0]), np.zeros(4), flagged, points)
    assert got == {0: ([1], [])}


@pytest.mark.parametrize("kind", ["all equal", "two points", "few directions"])
def test_nearest_of_degenerate_features(kind: str) -> None:
    """More examples than are compared at once, in more features than they have directions."""
    rng = np.random.default_rng(0)
    few = {
        "all equal": np.ones((1200, 1)),
        "two points": np.arange(1200)[:, None] % 2,
        "few directions": rng.normal(size=(1200, 3)),
    }[kind]
    features = few @ rng.normal(size=(few.shape[1], 300))
    found = find_nearest(features, 5)
    assert found.positions.shape == (1200, 5)
    assert np.isfinite(found.distances).all()
    assert all(i not in row for i, row in enumerate(found.positions.tolist()))
