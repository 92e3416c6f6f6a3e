"""A loss for whoever named none: by the number of classes, and by how many labels look wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noisylabels.core.rng import uniforms

if TYPE_CHECKING:
    import numpy as np

    from noisylabels.data.features import FeatureSet
    from noisylabels.data.images import ImageSet
    from noisylabels.noise.estimate import Estimate

AUTO = "auto"
"""What stands where a loss would, for one that is chosen."""

FEW, MANY = "nce+agce@cifar10", "nce+agce@cifar100"

MANY_CLASSES = 32
"""From how many classes the constants for 100 are taken, not those for 10; nothing was measured between, and
this is the middle by factors."""

CLEAN = 0.035
"""Below this share of wrong labels cross entropy is the better one, with many classes. On CIFAR-100 it has
70.8 % with clean labels and 56.2 % with a fifth wrong, `nce+agce@cifar100` 68.8 and 65.3 (Wang 2024, Table
2): straight lines through these meet at 3.6 %."""

MOST, SIDE = 6000, 8
"""Examples that the noise is estimated from, at most, and pixels that images are brought to for it."""

EACH = 20
"""Examples a class, of those looked at, below which nothing is estimated: never beyond 300 classes."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A loss that was chosen.

    Args:
        loss: its expression.
        why: in words, for people.
        estimate: of the noise; None if there are too few examples for one.
    """

    loss: str
    why: str
    estimate: Estimate | None = None

    def __str__(self) -> str:
        return f"loss {self.loss}: {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        found = self.estimate
        ends = None if found is None or found.rate_interval is None else list(found.rate_interval)
        return {
            "loss": self.loss,
            "why": self.why,
            "rate": None if found is None else found.rate,
            "rate_interval": ends,
            "trust": None if found is None else found.trust,
        }


def choose_loss(num_classes: int, rate: float | None, n: int) -> tuple[str, str]:
    """Return a loss and the reason for it.

    | classes | share of wrong labels | loss |
    |---|---|---|
    | fewer than 32 | any, or unknown | `nce+agce@cifar10` |
    | 32 or more | below 3.5 % | `ce` |
    | 32 or more | more, or unknown | `nce+agce@cifar100` |

    With few classes there is nothing to lose: on CIFAR-10 `nce+agce@cifar10` has 91.1 % with clean labels
    where cross entropy has 90.5, and 85.9 where it has 58.5 with 40 % wrong (Wang 2024, Table 2, means of 3
    runs); on the digits it is above it at every rate, the clean one too (docs/measured-digits.md,
    docs/measured-default-loss.md), and the best of the named sums under asymmetric noise. With many classes
    a robust loss costs some points on clean labels.

    Args:
        num_classes: K.
        rate: the estimated share of wrong labels; None if it is unknown.
        n: how many examples there are to train on.

    Returns:
        An expression, and the reason, in words.

    >>> choose_loss(10, 0.3, 50_000)[0], choose_loss(100, 0.01, 50_000)[0], choose_loss(100, None, 50_000)[0]
    ('nce+agce@cifar10', 'ce', 'nce+agce@cifar100')
    """
    classes = f"{num_classes} classes, {n:,} examples"
    if num_classes < MANY_CLASSES:
        return FEW, f"{classes}; robust, and with few classes no worse on clean labels"
    if rate is not None and rate < CLEAN:
        return "ce", f"{classes}; with so many, a robust loss costs more than so few wrong labels do"
    return MANY, f"{classes}; robust, with the constants for many classes"


def choose(train: ImageSet | FeatureSet, given: np.ndarray | None = None, seed: int = 0) -> Choice:
    """Choose a loss for a set, by noise that is estimated without training, within seconds.

    The noise is that of `estimate_transition(method="neighbors")` on pixels of small images, or on
    standardized columns, of 6,000 examples at most. If these features say too little, as pixels of
    photographs do, the estimate is not trusted, and the loss is the one for an unknown share.

    Args:
        train: the set to train on.
        given: (N,) int64, its labels; by default those of the set.
        seed: of the examples that are looked at, and of the intervals.

    Returns:
        The loss, with the reason.
    """
    labels = train.labels.numpy() if given is None else given
    K, n = train.num_classes, len(train)
    found = estimate_noise(train, labels, seed)
    if found is None:
        loss, why = choose_loss(K, None, n)
        few = "too few examples" if n < EACH * K else "too many classes"
        return Choice(loss, f"{few} to say how many labels are wrong, {why}")
    if not found.trusted:
        loss, why = choose_loss(K, None, n)
        seen = "pixels" if train.inputs.ndim == 4 else "these columns"
        return Choice(loss, f"how many labels are wrong cannot be told from {seen} alone, {why}", found)
    loss, why = choose_loss(K, found.rate, n)
    return Choice(loss, f"{found}, {why}", found)


def estimate_noise(train: ImageSet | FeatureSet, given: np.ndarray, seed: int = 0) -> Estimate | None:
    """Estimate the noise of a set without training; None with fewer than 20 a class of those looked at."""
    from noisylabels.noise.estimate import estimate_transition

    K, n = train.num_classes, len(train)
    if min(n, MOST) < EACH * K:
        return None
    at = uniforms(n, seed, "choice").argsort(kind="stable")[:MOST]
    at.sort()
    return estimate_transition(
        given[at],
        features=cheap_features(train, at),
        method="neighbors",
        num_classes=K,
        interval=0.95 if K < MANY_CLASSES else None,  # with many classes it takes minutes
        bootstrap=40,
        seed=seed,
    )


def cheap_features(train: ImageSet | FeatureSet, at: np.ndarray) -> np.ndarray:
    """Return pixels of images that are brought to 8x8 at most, or standardized columns, (M, D) float32."""
    import numpy as np
    import torch

    chosen = torch.from_numpy(at)
    if train.inputs.ndim == 4:
        height, width = (min(SIDE, side) for side in train.inputs.shape[2:])
        small = [  # a part at a time: large images would take gigabytes as floats
            torch.nn.functional.adaptive_avg_pool2d(
                train.inputs.index_select(0, part).float() / 255, (height, width)
            )
            for part in chosen.split(256)
        ]
        return np.asarray(torch.cat(small).flatten(1).numpy())
    mean, std = (torch.tensor(each, dtype=torch.float32) for each in train.mean_std())
    return np.asarray(((train.inputs.index_select(0, chosen) - mean) / std).numpy())
