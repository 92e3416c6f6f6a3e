"""Instance-dependent noise: the formulas by loops, the rates, and what a row depends on."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.rng import uniforms
from noisylabels.noise import instance
from noisylabels.noise.instance import feature_projection, part_dependent

Kind = Callable[..., np.ndarray]
KINDS: list[Kind] = [part_dependent, feature_projection]


def some(n: int = 60, K: int = 4, size: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, n)
    labels[:K] = np.arange(K)
    centers = rng.integers(60, 190, (K, 3, size, size))
    images = centers[labels] + rng.integers(-50, 50, (n, 3, size, size))
    return images.astype(np.uint8), labels


def flips(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return 1 - rows[np.arange(len(labels)), labels]


def shares(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the distribution of each image's flips over the other classes."""
    others = rows.copy()
    others[np.arange(len(labels)), labels] = 0
    return others / others.sum(axis=1, keepdims=True)


def standardize(images: np.ndarray) -> list[list[float]]:
    """Standardize every pixel by its channel, in plain Python."""
    N, C = images.shape[:2]
    flat = images.reshape(N, C, -1).tolist()
    result: list[list[float]] = [[] for _ in range(N)]
    for c in range(C):
        values = [v for image in flat for v in image[c]]
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
        for n in range(N):
            result[n] += [(v - mean) / deviation for v in flat[n][c]]
    return result


def normals(n: int, seed: int, *name: str | int) -> list[float]:
    half = (n + 1) // 2
    u = uniforms(2 * half, seed, *name).tolist()
    pairs = [
        (math.sqrt(-2 * math.log(1 - a)), 2 * math.pi * b) for a, b in zip(u[:half], u[half:], strict=True)
    ]
    return ([r * math.cos(t) for r, t in pairs] + [r * math.sin(t) for r, t in pairs])[:n]


@pytest.mark.parametrize("kind", [*KINDS, lambda *a: part_dependent(*a, parts=3)])
@pytest.mark.parametrize("rate", [0, 0.05, 0.4, 0.9, 1])
def test_rows_are_probabilities(kind: Kind, rate: float) -> None:
    images, labels = some()
    rows = kind(images, labels, rate, 6, 3)
    assert rows.shape == (60, 6)
    assert rows.dtype == np.float64
    assert np.isfinite(rows).all()
    assert rows.min() >= 0
    assert np.abs(rows.sum(axis=1) - 1).max() < 1e-14
    if rate in (0, 1):
        assert np.abs(flips(rows, labels) - rate).max() < 1e-15


def test_part_dependent_by_a_loop() -> None:
    images, labels = some(20)
    K, seed, rate, spread = 4, 7, 0.3, 0.1
    rows = part_dependent(images, labels, rate, K, seed, spread=spread)
    x = standardize(images)
    S = len(x[0])
    normal = NormalDist(rate, spread)
    low, high = normal.cdf(0), normal.cdf(1)
    for n, y in enumerate(labels.tolist()):
        W = normals(S * K, seed, "noise", "instance", "projection", y)
        logits = [sum(x[n][s] * W[s * K + k] for s in range(S)) for k in range(K)]
        top = max(logits[k] for k in range(K) if k != y)
        weights = [0 if k == y else math.exp(logits[k] - top) for k in range(K)]
        u = float(uniforms(len(labels), seed, "noise", "instance", "rate")[n])
        q = normal.inv_cdf(low + u * (high - low))
        expected = [1 - q if k == y else q * weights[k] / sum(weights) for k in range(K)]
        assert rows[n] == pytest.approx(expected, abs=1e-10)


def test_feature_projection_by_a_loop() -> None:
    images, labels = some(24, K=3, size=3)
    K, seed, rate, d = 4, 5, 0.35, 6
    rows = feature_projection(images, labels, rate, K, seed, features=d)
    x = standardize(images)
    S = len(x[0])
    R = normals(S * d, seed, "noise", "instance", "features")
    f = [[sum(row[s] * R[s * d + i] for s in range(S)) / math.sqrt(d) for i in range(d)] for row in x]
    center = {}
    for k in range(3):
        members = [f[n] for n in range(len(f)) if labels[n] == k]
        center[k] = [sum(column) / len(members) for column in zip(*members, strict=True)]
    margins, targets = [], []
    for n, y in enumerate(labels.tolist()):
        runner_up = min((k for k in center if k != y), key=lambda k: math.dist(f[n], center[k]))
        # the distance along the line between the centers, from the point midway between them
        direction = [a - b for a, b in zip(center[y], center[runner_up], strict=True)]
        midway = [(a + b) / 2 for a, b in zip(center[y], center[runner_up], strict=True)]
        along = sum(v * (a - m) for v, a, m in zip(direction, f[n], midway, strict=True))
        margins.append(along / math.hypot(*direction))
        targets.append(runner_up)
    # the further out the safer, by one logistic curve of slope 1 / t for all, with the mean asked for
    t = float(np.std(margins))
    q = flips(rows, labels)
    logits = np.log(q / (1 - q))
    assert np.ptp(logits + np.array(margins) / t) < 1e-8
    assert q.mean() == pytest.approx(rate, abs=1e-12)
    assert np.array_equal(shares(rows, labels).argmax(axis=1), targets)
    assert (np.count_nonzero(rows, axis=1) == 2).all()


@pytest.mark.parametrize("rate", [1e-6, 0.1, 0.5, 0.8, 1 - 1e-6])
def test_feature_projection_has_exactly_the_rate(rate: float) -> None:
    images, labels = some(500)
    assert flips(feature_projection(images, labels, rate, 4, 1), labels).mean() == pytest.approx(
        rate, rel=1e-9
    )


@pytest.mark.parametrize(
    ("rate", "mean"),  # of a normal distribution of deviation 0.1 cut to [0, 1], from its closed form
    [(0.1, 0.1287600), (0.2, 0.2055248), (0.3, 0.3004438), (0.45, 0.4500016), (0.9, 0.8712400)],
)
def test_part_dependent_has_the_mean_rate_of_the_cut_normal(rate: float, mean: float) -> None:
    N = 20_000
    images = np.zeros((N, 1, 1, 1), dtype=np.uint8)
    labels = np.zeros(N, dtype=np.int64)
    q = flips(part_dependent(images, labels, rate, 3, 0), labels)
    a, b, normal = -rate / 0.1, (1 - rate) / 0.1, NormalDist()
    closed = rate + 0.1 * (normal.pdf(a) - normal.pdf(b)) / (normal.cdf(b) - normal.cdf(a))
    assert closed == pytest.approx(mean, abs=1e-6)
    assert abs(q.mean() - closed) < 5 * 0.1 / math.sqrt(N)
    assert q.min() >= 0
    assert q.max() <= 1


@pytest.mark.parametrize("kind", [*KINDS, lambda *a: part_dependent(*a, parts=3)])
def test_images_of_a_class_have_rows_of_their_own(kind: Kind) -> None:
    images, labels = some()
    rows = kind(images, labels, 0.4, 4, 0)
    of_class = rows[labels == 1]
    assert len({tuple(row) for row in of_class.round(9).tolist()}) == len(of_class)


def test_what_a_permutation_of_the_images_does() -> None:
    images, labels = some(80)
    order = np.random.default_rng(1).permutation(80)
    rows = part_dependent(images, labels, 0.4, 4, 0)
    moved = part_dependent(images[order], labels[order], 0.4, 4, 0)
    assert np.abs(shares(moved, labels[order]) - shares(rows, labels)[order]).max() < 1e-9
    assert np.abs(flips(moved, labels[order]) - flips(rows, labels)).max() < 1e-15
    rows = feature_projection(images, labels, 0.4, 4, 0)
    assert np.abs(feature_projection(images[order], labels[order], 0.4, 4, 0) - rows[order]).max() < 1e-9


def test_seeds_and_rates() -> None:
    images, labels = some()
    for kind in KINDS:
        first = kind(images, labels, 0.3, 4, 0)
        assert np.array_equal(first, kind(images, labels, 0.3, 4, 0))
        assert not np.allclose(first, kind(images, labels, 0.3, 4, 1))
        higher = kind(images, labels, 0.5, 4, 0)
        assert (flips(higher, labels) > flips(first, labels)).all()
        assert np.abs(shares(higher, labels) - shares(first, labels)).max() < 1e-12


def test_pixels_are_standardized() -> None:
    images, labels = some(40)
    paler = (images // 2 + 60).astype(np.uint8) * 1
    darker = ((images // 2) * 2).astype(np.uint8)  # = 2 * (paler - 60): the same pictures to a human eye
    for kind in KINDS:
        assert np.abs(kind(paler, labels, 0.3, 4, 0) - kind(darker, labels, 0.3, 4, 0)).max() < 1e-9


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = some(50)
    whole = [kind(images, labels, 0.3, 4, 0) for kind in KINDS]
    monkeypatch.setattr(instance, "_CHUNK_VALUES", 7 * images[0].size)
    for kind, rows in zip(KINDS, whole, strict=True):
        assert np.abs(kind(images, labels, 0.3, 4, 0) - rows).max() < 1e-10


def test_constant_images() -> None:
    images = np.full((50, 3, 4, 4), 7, dtype=np.uint8)
    labels = np.arange(50) % 5
    rows = part_dependent(images, labels, 0.4, 5, 0)
    assert np.allclose(shares(rows, labels)[0], [0, 0.25, 0.25, 0.25, 0.25])
    rows = feature_projection(images, labels, 0.4, 5, 0)
    assert np.allclose(flips(rows, labels), 0.4)


def test_one_class() -> None:
    images, _ = some(30)
    labels = np.full(30, 2)
    rows = part_dependent(images, labels, 0.4, 4, 0)
    assert np.allclose(rows.sum(axis=1), 1)
    with pytest.raises(InputError, match=r"^all 30 labels are of class 2, expected two classes or more, .*$"):
        feature_projection(images, labels, 0.4, 4, 0)


def test_two_classes_and_no_spread() -> None:
    images, labels = some(30, K=2)
    rows = part_dependent(images, labels, 0.25, 2, 0, spread=0)
    assert np.array_equal(rows, np.where(np.arange(2) == labels[:, None], 0.75, 0.25))


def test_a_class_without_images_is_no_runner_up() -> None:
    images, labels = some(30, K=2)
    rows = feature_projection(images, labels * 3, 0.4, 4, 0)
    assert (rows[:, [1, 2]] == 0).all()


def test_tensors_and_other_sizes() -> None:
    images, labels = some(30, size=9)
    for kind in KINDS:
        expected = kind(images, labels, 0.3, 4, 0)
        assert np.array_equal(kind(torch.from_numpy(images), torch.from_numpy(labels), 0.3, 4, 0), expected)
        assert kind(images[:, :1, :, :2], labels, 0.3, 4, 0).shape == (30, 4)


def test_parts_mix_the_matrices_of_the_parts() -> None:
    """Images composed of two parts: pure ones give the matrices of the parts, mixtures lie in between."""
    left, right = np.zeros((2, 1, 4, 4))
    left[..., :2], right[..., 2:] = 200, 200
    mix = np.linspace(0, 1, 41)
    images = (left + mix[:, None, None, None] * (right - left)).round().astype(np.uint8)
    rows = part_dependent(images, np.ones(41, dtype=int), 0.4, 3, 0, parts=2)
    assert np.abs(rows[0] - rows[-1]).max() > 0.05
    straight = rows[0] + mix[:, None] * (rows[-1] - rows[0])
    assert np.abs(rows - straight).max() < 0.02 + 0.02 * np.abs(rows[0] - rows[-1]).max()


def test_one_part_is_one_matrix() -> None:
    images, labels = some(40)
    rows = part_dependent(images, labels, 0.4, 4, 0, parts=1)
    for k in range(4):
        assert np.ptp(rows[labels == k], axis=0).max() < 1e-12
    black = np.zeros_like(images)
    assert np.isfinite(part_dependent(black, labels, 0.4, 4, 0, parts=2)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 3, 2, 2))}, "images are float64 of shape (4, 3, 2, 2), expected uint8"),
        ({"images": np.zeros((4, 12), dtype=np.uint8)}, "images are uint8 of shape (4, 12), expected uint8"),
        ({"images": np.zeros((0, 3, 2, 2), dtype=np.uint8)}, "images are uint8 of shape (0, 3, 2, 2)"),
        ({"images": np.zeros((3, 3, 2, 2), dtype=np.uint8)}, "there are 3 images and 4 labels"),
        ({"labels": [0, 1, 2, 3]}, "labels[3] is 3, expected an integer from 0 to 2"),
        ({"labels": [0, 1, 2, math.nan]}, "labels[3] is nan"),
        ({"rate": 1.5}, "rate is 1.5, expected a number in [0, 1]"),
        ({"rate": math.nan}, "rate is nan"),
        ({"num_classes": 1}, "num_classes is 1, expected an integer from 2"),
        ({"seed": -1}, "seed is -1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_inputs(kind: Kind, change: dict, message: str) -> None:
    good = {
        "images": np.arange(48, dtype=np.uint8).reshape(4, 3, 2, 2),
        "labels": [0, 1, 2, 0],
        "rate": 0.3,
        "num_classes": 3,
        "seed": 0,
    }
    kind(**good)
    with pytest.raises(InputError) as error:
        kind(**{**good, **change})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_wrong_options() -> None:
    images, labels = some()
    for options in ({"spread": -0.1}, {"spread": math.inf}, {"parts": 0}, {"parts": 2.0}, {"parts": True}):
        with pytest.raises(InputError, match=next(iter(options))):
            part_dependent(images, labels, 0.3, 4, 0, **options)
    for features in (0, 1.5, True):
        with pytest.raises(InputError, match="features is"):
            feature_projection(images, labels, 0.3, 4, 0, features=features)
