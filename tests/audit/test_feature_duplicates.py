"""Near-duplicates in feature space, with planted copies and an encoder made up for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from noisylabels.audit.alignment import best_correlations
from noisylabels.audit.duplicates import Group, find_duplicates
from noisylabels.audit.feature_duplicates import candidate_pairs, similar_images, similar_texts
from noisylabels.audit.nearest import find_nearest
from noisylabels.audit.set_duplicates import duplicates_in
from noisylabels.data.features import embedded, feature_set
from noisylabels.data.images import image_set

RNG = np.random.default_rng(0)
NAMES = ("a", "b")


def photographs(n: int, seed: int = 0, side: int = 48) -> torch.Tensor:
    """Return random images of many scales, uint8 (N, 3, side, side), none like another."""
    rng = np.random.default_rng(seed)
    made = torch.zeros(n, 3, side, side)
    for cells, weight in ((4, 60), (9, 40), (20, 20)):
        noise = torch.from_numpy(rng.normal(size=(n, 3, cells, cells)).astype(np.float32))
        made += weight * torch.nn.functional.interpolate(noise, (side, side), mode="bicubic")
    return (made + 128).clamp(0, 255).to(torch.uint8)


def cropped(image: torch.Tensor, side: int, top: int, left: int) -> torch.Tensor:
    part = Image.fromarray(image[:, top : top + side, left : left + side].permute(1, 2, 0).numpy())
    size = (image.shape[2], image.shape[1])
    return torch.from_numpy(np.array(part.resize(size, Image.Resampling.BICUBIC))).permute(2, 0, 1)


COPIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "crop": lambda image: cropped(image, 44, 3, 1),  # 84 % of the area
    "mirrored crop": lambda image: cropped(image.flip(2), 43, 0, 5),
    "brighter": lambda image: (image.float() * 1.2 + 8).clamp(0, 255).to(torch.uint8),
}
TURNED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mirrored": lambda image: image.flip(2),
    "upside down": lambda image: image.flip(1),
    "by 90": lambda image: image.rot90(1, (1, 2)),
    "by 180": lambda image: image.rot90(2, (1, 2)),
    "by 270": lambda image: image.rot90(3, (1, 2)),
    "transposed": lambda image: image.transpose(1, 2),
}


@pytest.mark.parametrize("way", sorted(TURNED))
def test_mirrored_and_rotated_photographs_are_found_without_an_encoder(way: str) -> None:
    images = photographs(120)
    for i in range(10):
        images[100 + i] = TURNED[way](images[i])
    found = [group.members for group in find_duplicates(images)]
    assert len(set(found) & {(i, 100 + i) for i in range(10)}) >= 9
    assert len(found) <= 10


def test_gray_writing_is_not_compared_mirrored() -> None:
    images = photographs(60)[:, :1].contiguous()
    images[50] = images[3].flip(2)
    assert find_duplicates(images) == []


def test_a_mirrored_photograph_that_is_not_square_is_found() -> None:
    images = photographs(60)[:, :, :36].contiguous()
    images[50] = images[3].flip(2)
    images[51] = images[4].flip(1)
    assert find_duplicates(images) == [Group((3, 50), False), Group((4, 51), False)]


def features_of(images: torch.Tensor, twins: dict[int, int]) -> np.ndarray:
    """Return features of which those of a copy are close to those of its original."""
    made = np.random.default_rng(1).normal(size=(len(images), 80)).astype(np.float32)
    for copy, original in twins.items():
        made[copy] = made[original] + 0.3 * made[copy]
    return made


@pytest.mark.parametrize("way", sorted(COPIES))
def test_copies_near_in_feature_space_are_verified_in_pixels(way: str) -> None:
    images = photographs(200)
    twins = {150 + i: i for i in range(10)}
    for copy, original in twins.items():
        images[copy] = COPIES[way](images[original])
    alike = twins | {180 + i: 20 + i for i in range(10)}  # close in feature space, and other photographs
    near = find_nearest(features_of(images, alike))
    assert {(i, 180 - 20 + i) for i in range(20, 30)} <= set(map(tuple, candidate_pairs(near).tolist()))
    assert {tuple(pair) for pair in similar_images(near, images).tolist()} == {
        (i, 150 + i) for i in range(10)
    }


def test_the_correlation_is_that_of_a_search_by_hand() -> None:
    images = photographs(2, side=32)
    part = images[0].float().mean(0)[2:30, 3:31]
    small = torch.nn.functional.interpolate(part[None, None], (32, 32), mode="bilinear", antialias=True)[0]
    images[1] = small.round().clamp(0, 255).to(torch.uint8).expand(3, -1, -1)
    (found,) = best_correlations(images, np.array([[0, 1]]))
    other = torch.nn.functional.interpolate(
        images[1].float().mean(0)[None, None], (28, 28), mode="bilinear", antialias=True
    )[0, 0]
    expected = np.corrcoef(part.flatten().numpy(), other.flatten().numpy())[0, 1]
    assert expected - 1e-4 <= found <= 1
    assert best_correlations(photographs(2, seed=9), np.array([[0, 1]]))[0] < 0.9


@pytest.mark.parametrize(("n", "dimensions", "k"), [(50, 5, 3), (3000, 20, 7), (2500, 64, 1), (6, 3, 10)])
def test_neighbors_are_those_of_all_pairs(n: int, dimensions: int, k: int) -> None:
    points = RNG.normal(size=(n, dimensions)).astype(np.float32)
    found = find_nearest(points, k)
    unit = points - points.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -2)
    expected = np.sort(1 - alike, axis=1)[:, : min(k, n - 1)]
    np.testing.assert_allclose(found.distances, expected, atol=1e-5)
    np.testing.assert_allclose(
        1 - np.take_along_axis(alike, found.positions, axis=1), found.distances, atol=1e-5
    )


def test_most_neighbors_among_many_features_are_exact() -> None:
    low = RNG.normal(size=(3000, 30)) @ RNG.normal(size=(30, 300))
    points = (low + 0.3 * RNG.normal(size=low.shape)).astype(np.float32)
    found = find_nearest(points, 5)
    unit = points - points.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -2)
    assert (found.positions[:, 0] == alike.argmax(1)).mean() > 0.99


def test_similar_texts_share_their_words() -> None:
    words = RNG.choice([f"word{k}" for k in range(300)], size=(40, 30))
    texts = [" ".join(row) for row in words]
    texts[30] = f"{texts[2].upper()}!"  # another case, and punctuation
    texts[31] = texts[3].replace(words[3, 0], "changed", 1)
    texts[32] = " ".join(words[4, :12])  # less than half of it
    twins = {30: 2, 31: 3, 32: 4}
    near = find_nearest(features_of(torch.zeros(40), twins))
    assert {(4, 32)} <= set(map(tuple, candidate_pairs(near).tolist()))
    assert similar_texts(near, texts).tolist() == [[2, 30], [3, 31]]


def test_the_duplicates_of_an_embedded_set_are_of_its_images() -> None:
    images = photographs(80)
    images[60] = COPIES["crop"](images[1])
    images[61] = images[2]
    source = image_set(images, torch.arange(80) % 2, NAMES)
    seen = embedded(source, torch.from_numpy(features_of(images, {60: 1, 61: 2})), {"name": "made up"})
    expected = [Group((1, 60), False), Group((2, 61), True)]
    assert duplicates_in(source, seen) == expected
    assert duplicates_in(seen) == expected  # a set that was embedded before
    assert duplicates_in(source) == expected[1:]


def test_the_duplicates_of_texts_have_equal_columns() -> None:
    texts = [" ".join(row) for row in RNG.choice([f"word{k}" for k in range(300)], size=(40, 20))]
    texts[30], texts[31], texts[32] = texts[2] + " more", texts[3] + " more", texts[4]
    rows = np.zeros((40, 1), np.float32)
    rows[31] = 1.0
    source = feature_set(rows, [0, 1] * 20, NAMES, texts=texts)
    features = torch.from_numpy(features_of(torch.zeros(40), {30: 2, 31: 3, 32: 4}))
    seen = embedded(source, features, {"name": "made up"})
    assert duplicates_in(source, seen) == [Group((2, 30), False), Group((4, 32), True)]


def test_a_few_examples_have_no_duplicates_in_feature_space() -> None:
    source = image_set(photographs(3), [0, 1, 0], NAMES)
    assert duplicates_in(source, embedded(source, torch.eye(3), {"name": "made up"})) == []
