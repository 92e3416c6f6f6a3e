"""Views: differently augmented versions of an example, by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noisylabels.core.checks import InputError, check_choice
from noisylabels.data.augment import Augment, Augmentation
from noisylabels.data.feature_noise import FeatureNoise

PLAIN, WEAK, STRONG = KINDS = ("plain", "weak", "strong")
"""plain: the augmentation of the run; weak: the same, for features a little noise unless the run has some;
strong: on top of it random operations and cutout, for features more noise and dropout."""

WEAK_FEATURES = FeatureNoise(noise=0.1, dropout=0.1)
STRONG_FEATURES = FeatureNoise(noise=0.5, dropout=0.3)

OPERATIONS = 2
"""Random operations of a strong view, as in FixMatch."""


def kinds_of(views: int | Sequence[str]) -> tuple[str, ...]:
    """Return the kind of each view, of which there is one or more; a number stands for plain ones.

    >>> kinds_of(2), kinds_of(("weak", "strong"))
    (('plain', 'plain'), ('weak', 'strong'))
    """
    if isinstance(views, int):
        views = (PLAIN,) * views
    if isinstance(views, str) or not views:
        raise InputError(f"views are {views!r}, expected their number, 1 or more, or the kind of each")
    for kind in views:
        check_choice(kind, KINDS, "kind of a view")
    return tuple(views)


def view_augment(kind: str, augment: Augmentation | None, shape: Sequence[int]) -> Augmentation | None:
    """Return the augmentation of a view of some kind.

    Args:
        kind: one of `KINDS`.
        augment: that of the run; None for none.
        shape: of an example, (C, H, W) or (D,).

    >>> str(view_augment("strong", Augment(crop=4, flip=True), (3, 32, 32)))
    'crop:4+flip+rand:2+cutout:16'
    >>> view_augment("weak", None, (3, 32, 32)) is None
    True
    """
    if kind == PLAIN:
        return augment
    if len(shape) == 1:
        if kind == STRONG:
            return STRONG_FEATURES
        return augment or WEAK_FEATURES
    if kind == WEAK:
        return augment
    base = augment if isinstance(augment, Augment) else Augment()
    side = max(1, min(shape[1:]) // 2)
    return replace(base, rand=base.rand or OPERATIONS, cutout=base.cutout or side)


def check_fits(augment: Augmentation | None, shape: Sequence[int]) -> None:
    """Raise an `InputError` if an augmentation of images is given for features, or the other way round."""
    if not augment:
        return
    if len(shape) == 1 and not isinstance(augment, FeatureNoise):
        raise InputError(
            f"features of {shape[0]} columns cannot be augmented by {augment}; use augment none, or noise "
            "and dropout as in 'noise:0.1+dropout:0.1'"
        )
    if len(shape) == 3 and isinstance(augment, FeatureNoise):
        raise InputError(
            f"the augmentation {augment} is for features; for images use flip, crop, resized-crop, rand and "
            "cutout, as in 'crop:4+flip'"
        )
