import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisylabels.core.checks import InputError
from noisylabels.data.augment import Augment, Draws, normalize, parse_augment


def naive(image, crop, flip, top, left):
    """Pad with black, cut out the window, mirror: pixel by pixel."""
    C, H, W = image.shape
    out = torch.zeros_like(image)
    for c in range(C):
        for y in range(H):
            for x in range(W):
                from_y = y + top - crop
                from_x = (W - 1 - x if flip else x) + left - crop
                if 0 <= from_y < H and 0 <= from_x < W:
                    out[c, y, x] = image[c, from_y, from_x]
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    crop=st.integers(0, 9),
    flip=st.booleans(),
)
def test_apply_equals_a_loop_over_pixels(seed, channels, size, crop, flip):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, channels, *size), dtype=torch.uint8, generator=generator)
    augment = Augment(crop=crop, flip=flip)
    draws = augment.draw(4, seed, 3)
    expected = [
        naive(image, crop, bool(f), int(s[0]), int(s[1]))
        for image, f, s in zip(images, draws.flip, draws.shift, strict=True)
    ]
    result = augment.apply(images, draws)
    assert torch.equal(result, torch.stack(expected))
    assert result.dtype == torch.uint8


def test_float_images_may_be_augmented():
    images = torch.rand(3, 1, 4, 4)
    draws = Draws(torch.tensor([True, False, True]), torch.full((3, 2), 2))
    assert torch.equal(Augment(2, True).apply(images, draws)[0], images[0].flip(2))


def test_draws_are_uniform_and_in_range():
    draws = Augment(crop=4, flip=True).draw(20_000, 0, 0)
    assert 0.48 < draws.flip.float().mean() < 0.52
    for axis in range(2):
        counts = torch.bincount(draws.shift[:, axis], minlength=9)
        assert len(counts) == 9
        assert (counts / 20_000 - 1 / 9).abs().max() < 0.01


def test_draws_depend_on_seed_and_epoch_alone():
    augment = Augment(crop=4, flip=True)
    one, again = augment.draw(100, 5, 2), augment.draw(100, 5, 2)
    assert torch.equal(one.flip, again.flip)
    assert torch.equal(one.shift, again.shift)
    for other in (augment.draw(100, 6, 2), augment.draw(100, 5, 3)):
        assert not torch.equal(one.shift, other.shift)
        assert not torch.equal(one.flip, other.flip)


def test_adding_the_crop_leaves_the_flips_alone():
    assert torch.equal(Augment(0, True).draw(99, 1, 0).flip, Augment(4, True).draw(99, 1, 0).flip)
    assert not Augment(4, False).draw(99, 1, 0).flip.any()


def test_none_changes_nothing():
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    augment = parse_augment("none")
    assert not augment
    assert augment.apply(images, augment.draw(5, 0, 0)) is images


@pytest.mark.parametrize("spec", ["none", "flip", "crop:4", "crop:4+flip", "crop:1+flip"])
def test_a_spec_survives_the_round_trip(spec):
    assert str(parse_augment(spec)) == spec


def test_order_case_and_blanks_do_not_matter():
    assert parse_augment(" Flip + CROP:4") == Augment(crop=4, flip=True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("flop", "unknown augmentation 'flop' in 'flop'; did you mean 'flip'"),
        ("crop", "crop needs a padding"),
        ("crop:-1", "crop needs a padding"),
        ("crop:0", "crop needs a padding"),
        ("crop:1e9", "crop needs a padding"),
        ("crop:99999999", "crop needs a padding"),
        ("crop:²", "crop needs a padding"),
        ("crop:2.5", "crop needs a padding"),
        ("flip+flip", "names 'flip' twice"),
        ("crop:2+crop:3", "names 'crop' twice"),
        ("none+flip", "'none' stands alone"),
        ("flip:3", "unknown augmentation"),
        ("", "unknown augmentation ''"),
    ],
)
def test_a_bad_spec_is_explained(spec, message):
    with pytest.raises(InputError, match=message):
        parse_augment(spec)


def test_normalize_equals_the_formula_in_double_precision():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.25, 1.0)
    expected = (images.double() / 255 - torch.tensor(mean).double().view(1, 3, 1, 1)) / torch.tensor(
        std
    ).double().view(1, 3, 1, 1)
    assert torch.allclose(normalize(images, mean, std).double(), expected, atol=1e-6)
    assert normalize(images, mean, std, torch.bfloat16).dtype == torch.bfloat16
    assert torch.equal(normalize(images, torch.tensor(mean), torch.tensor(std)), normalize(images, mean, std))
