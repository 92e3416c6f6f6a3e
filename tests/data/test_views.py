"""Views: strong operations against Pillow, noise of features, random streams, kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy.stats import kstest

from noisylabels.core.checks import InputError
from noisylabels.data.augment import Augment, parse_augment
from noisylabels.data.feature_noise import FeatureNoise, uniforms_at
from noisylabels.data.loader import Batches
from noisylabels.data.strong import (
    COLORS,
    GEOMETRIC,
    MAX_DEGREES,
    MAX_SHEAR,
    MAX_SHIFT,
    OPERATIONS,
    StrongDraws,
    apply_strong,
    draw_strong,
)
from noisylabels.data.views import STRONG_FEATURES, kinds_of, view_augment

SIDE = 12


@pytest.fixture
def images() -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    coarse = torch.rand(5, 3, 4, 4, generator=draw) * 200 + 20
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear").to(torch.uint8)


def one(images: torch.Tensor, name: str, level: float) -> np.ndarray:
    """Return images after the same operation on each, (B, H, W, C)."""
    n = len(images)
    draws = StrongDraws(
        torch.full((n, 1), OPERATIONS.index(name)), torch.full((n, 1), level), torch.zeros(n, 2)
    )
    return apply_strong(images, draws, 0).permute(0, 2, 3, 1).numpy()


def pillow_color(image: Image.Image, name: str, level: float) -> Image.Image:
    factor = 1 + 0.9 * level
    if name == "posterize":
        return ImageOps.posterize(image, 8 - round(4 * abs(level)))
    if name == "solarize":
        return ImageOps.solarize(image, 256 * (1 - abs(level)))
    if name == "autocontrast":
        return ImageOps.autocontrast(image)
    if name == "sharpness":
        return Image.blend(image.filter(ImageFilter.SMOOTH), image, factor)
    enhance = {"brightness": "Brightness", "contrast": "Contrast", "color": "Color"}[name]
    return getattr(ImageEnhance, enhance)(image).enhance(factor)


@pytest.mark.parametrize("level", [-0.8, -0.2, 0.5])
@pytest.mark.parametrize("name", COLORS)
def test_operations_on_colors_are_those_of_pillow(name, level, images):
    found = one(images, name, level)
    inner = slice(1, -1) if name == "sharpness" else slice(None)  # Pillow leaves the border as it is
    for image, ours in zip(images, found, strict=True):
        theirs = pillow_color(Image.fromarray(image.permute(1, 2, 0).numpy()), name, level)
        # Pillow rounds what it blends with, and cuts off the last digit
        np.testing.assert_allclose(
            ours[inner, inner].astype(int), np.asarray(theirs)[inner, inner].astype(int), atol=2
        )


def pillow_map(name: str, level: float) -> tuple[float, ...]:
    """Return Pillow's coefficients (a, b, c, d, e, f): from (x, y) of the result to (ax+by+c, dx+ey+f)."""
    middle, angle = SIDE / 2, np.deg2rad(MAX_DEGREES * level)  # Pillow's pixel centers are at one half
    a, b, d, e, move_x, move_y = 1.0, 0.0, 0.0, 1.0, 0.0, 0.0
    if name == "rotate":
        a, b, d, e = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    elif name == "shear_x":
        b = MAX_SHEAR * level
    elif name == "shear_y":
        d = MAX_SHEAR * level
    elif name == "translate_x":
        move_x = MAX_SHIFT * level * SIDE
    else:
        move_y = MAX_SHIFT * level * SIDE
    return (a, b, middle - (a + b) * middle + move_x, d, e, middle - (d + e) * middle + move_y)


@pytest.mark.parametrize("level", [-0.7, 0.4])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_operations_on_geometry_are_those_of_pillow(name, level, images):
    found = one(images, name, level)
    for image, ours in zip(images, found, strict=True):
        whole = Image.fromarray(image.permute(1, 2, 0).numpy())
        theirs = whole.transform(
            whole.size, Image.Transform.AFFINE, pillow_map(name, level), Image.Resampling.BILINEAR
        )
        inside = one(torch.full_like(images[:1], 255), name, level)[0].min(2) == 255  # away from the border
        assert inside.mean() > 0.4
        np.testing.assert_allclose(ours[inside].astype(int), np.asarray(theirs)[inside].astype(int), atol=2)


def test_every_operation_is_drawn_and_the_identity_keeps_every_pixel(images):
    draws = draw_strong(4000, 2, seed=0, epoch=3, view=1)
    counts = torch.bincount(draws.operation.flatten(), minlength=len(OPERATIONS))
    assert (counts / 8000 - 1 / len(OPERATIONS)).abs().max() < 0.01
    assert kstest(draws.level.flatten(), "uniform", args=(-1, 2)).pvalue > 1e-3
    assert torch.equal(torch.from_numpy(one(images, "identity", 0.9)).permute(0, 3, 1, 2), images)


def test_cutout_fills_one_square_with_the_mean_color(images):
    center = torch.tensor([[0.0, 0.5], [0.99, 0.99], [0.5, 0.5], [0.5, 0.0], [0.2, 0.7]])
    none = torch.zeros(5, 0)
    found = apply_strong(images, StrongDraws(none.long(), none, center), 4)
    for image, ours, (row, column) in zip(images, found, center.tolist(), strict=True):
        top, left = int(row * SIDE) - 2, int(column * SIDE) - 2
        expected = image.clone()
        rows, columns = slice(max(top, 0), top + 4), slice(max(left, 0), left + 4)
        expected[:, rows, columns] = image.float().mean((1, 2), keepdim=True).round().to(torch.uint8)
        assert torch.equal(ours, expected)


def test_numbers_of_rows_and_columns_look_random():
    u = uniforms_at(12345678901234, torch.arange(3000), 40).double()
    assert kstest(u.flatten(), "uniform").pvalue > 1e-3
    near = [u[:-1] * u[1:], u[:, :-1] * u[:, 1:], u[1:, :-1] * u[:-1, 1:]]
    other = uniforms_at(12345678901235, torch.arange(3000), 40)
    for product in [*near, u * other, u[1:] * other[:-1]]:
        assert abs(float(product.mean()) - 0.25) < 5 * (7 / 144) ** 0.5 / product.numel() ** 0.5
    assert len(u.unique()) > 0.99 * u.numel()


def test_noise_of_features_is_normal_and_columns_are_dropped():
    augment = parse_augment("noise:0.5+dropout:0.25")
    rows = torch.full((2000, 30), 3.0)
    found = augment.apply(rows, augment.draw(2000, 0, 0))
    gone = found == 0
    assert abs(gone.float().mean() - 0.25) < 0.01
    assert kstest((found[~gone] - 3) / 0.5, "norm").pvalue > 1e-3


# Batches ------------------------------------------------------------------------------------------

LABELS = torch.arange(23) % 3


def batches(inputs: torch.Tensor, views, augment, batch_size: int = 5) -> Batches:
    C = inputs.shape[1]
    scale = {"mean": [0.4] * C, "std": [0.3] * C}
    how = {"shuffle": True, "seed": 7, "device": "cpu", "augment": augment, **scale}
    return Batches(inputs, LABELS, batch_size=batch_size, views=views, **how)


def inputs_of(kind: str) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    if kind == "features":
        return torch.randn(23, 6, generator=draw)
    return torch.randint(0, 256, (23, 3, 8, 8), generator=draw, dtype=torch.uint8)


def by_position(made: Batches, epoch: int, start: int = 0) -> dict[int, torch.Tensor]:
    return {
        int(position): torch.stack([view[k] for view in batch.views])
        for batch in made.epoch(epoch, start)
        for k, position in enumerate(batch.positions)
    }


@pytest.mark.parametrize("kind", ["images", "features"])
def test_a_view_depends_on_seed_epoch_view_and_position_alone(kind):
    augment = Augment(crop=1, flip=True) if kind == "images" else None
    kinds = ("weak", "weak", "strong", "strong")
    small, large = (batches(inputs_of(kind), kinds, augment, size) for size in (5, 11))
    one_by_one, whole = by_position(small, 2), by_position(large, 2)
    assert one_by_one.keys() == whole.keys() == set(range(23))
    for position, views in whole.items():
        assert torch.equal(views, one_by_one[position])
    resumed = by_position(small, 2, start=3)
    assert len(resumed) == 8
    assert all(torch.equal(views, whole[position]) for position, views in resumed.items())
    first, other = torch.stack([*whole.values()]), torch.stack([*by_position(large, 3).values()])
    for a in range(4):
        assert not torch.equal(first[:, a], other[:, a])
        for b in range(a):
            assert not torch.equal(first[:, a], first[:, b])


@pytest.mark.parametrize(("kind", "augment"), [("images", Augment(crop=1, flip=True)), ("features", None)])
def test_other_views_leave_the_plain_one_alone(kind, augment):
    alone = by_position(batches(inputs_of(kind), 1, augment), 4)
    beside = by_position(batches(inputs_of(kind), ("plain", "weak", "strong"), augment), 4)
    for position, views in beside.items():
        assert torch.equal(views[0], alone[position][0])


def test_features_are_changed_in_units_of_their_standard_deviation():
    made = batches(inputs_of("features"), ("plain", "strong"), None)
    for batch in made.epoch(0):
        plain, strong = batch.views
        draws = STRONG_FEATURES.draw(23, 7, 0, 1).at(batch.positions)
        assert torch.equal(strong, STRONG_FEATURES.apply(plain, draws))


def test_the_augmentation_of_a_view():
    shape, base = (3, 32, 32), Augment(crop=4, flip=True)
    assert view_augment("weak", base, shape) is view_augment("plain", base, shape) is base
    assert view_augment("strong", parse_augment("rand:1+cutout:5"), shape) == Augment(rand=1, cutout=5)
    assert view_augment("strong", None, (1, 8, 8)) == Augment(rand=2, cutout=4)
    own = FeatureNoise(noise=0.2)
    assert view_augment("weak", own, (9,)) is own
    assert view_augment("plain", None, (9,)) is None
    assert view_augment("weak", None, (9,))
    assert batches(inputs_of("images"), ("weak", "plain", "strong"), None).plain_views == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kinds_of(("weak", "stong")), "unknown kind of a view 'stong'; did you mean 'strong'"),
        (lambda: kinds_of(0), "expected their number, 1 or more"),
        (lambda: kinds_of("weak"), "expected their number, 1 or more, or the kind of each"),
        (lambda: parse_augment("flip+noise:0.1"), "parts for images and for features"),
        (lambda: parse_augment("rand:99"), "rand needs a number of operations from 1 to 16"),
        (lambda: parse_augment("crop:" + "9" * 5000), "crop needs a padding from 1 to 1024 pixels"),
        (lambda: parse_augment("noise:1_0"), "noise needs a number above 0 and below 100"),
        (lambda: parse_augment("cutout"), "cutout needs a side from 1 to 1024 pixels, as in 'cutout:16'"),
        (lambda: parse_augment("dropout:1"), "dropout needs a number above 0 and below 1"),
        (lambda: parse_augment("noise:nan"), "noise needs a number above 0 and below 100"),
        (lambda: batches(inputs_of("images"), 1, FeatureNoise(0.1)), "is for features; for images use flip"),
        (lambda: batches(inputs_of("features"), 1, Augment(flip=True)), "features of 6 columns cannot be"),
    ],
)
def test_what_does_not_fit_is_explained(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "spec", ["crop:4+flip+rand:2+cutout:16", "rand:3", "noise:0.25+dropout:0.1", "noise:1.0000000001e-06"]
)
def test_a_spec_of_strong_parts_survives_the_round_trip(spec):
    assert str(parse_augment(spec)) == spec
