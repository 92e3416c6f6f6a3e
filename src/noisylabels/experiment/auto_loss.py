"""Choose a loss by classes, steps and the estimated noise rate, for runs that name none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noisylabels.core.rng import uniforms

if TYPE_CHECKING:
    import numpy as np

    from noisylabels.data.features import FeatureSet
    from noisylabels.data.images import ImageSet
    from noisylabels.noise.estimate import Estimate
    from noisylabels.training.settings import Settings

AUTO = "auto"
"""The value of the setting `loss` for which a loss is chosen."""

ROBUST, MANY = "nce+agce@cifar10", "nce+agce@cifar100"

FAST = "4*gce"
"""The loss of few classes where `ROBUST`, which learns slowly, may never learn some of them. The weight 4
makes up for the small first gradients of `gce`, which alone learns too slowly as well."""

STEPS_IF_KNOWN, STEPS_IF_UNKNOWN = 300, 10_000
"""Training steps from which `ROBUST` is chosen, with a known noise rate and with an unknown one. On digits,
whose rate is known, `FAST` was better at 110 steps and `ROBUST` at 660; on photographs `FAST` at up to 2,040,
and `ROBUST` in published figures for 46,920. Each limit is about the geometric mean of two of these."""

MANY_CLASSES = 32
"""Number of classes from which the constants for 100 classes are used, not those for 10: about the geometric
mean of both, because nothing was measured between."""

CLEAN = 0.035
"""Noise rate below which cross entropy is better with many classes. On CIFAR-100 it reaches 70.8 % with clean
labels and 56.2 % at a noise rate of 20 %, `nce+agce@cifar100` 68.8 and 65.3 (Wang 2024, Table 2): straight
lines through these points cross at 3.6 %."""

MOST, SIDE = 6000, 8
"""Most examples to estimate the noise from, and the side in pixels to which their images are reduced."""

EACH = 20
"""Examples per class, among `MOST`, below which nothing is estimated: always with more than 300 classes."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A chosen loss, with the reason.

    Args:
        loss: its expression.
        why: the reason, in words.
        estimate: the noise estimate by neighbors, which decides but is not shown: its error was not measured
            on data like these, and on photographs it is off by a factor of two. None with too few examples.
    """

    loss: str
    why: str
    estimate: Estimate | None = None

    def __str__(self) -> str:
        return f"loss {self.loss}: {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as plain values, for JSON."""
        found = self.estimate
        neighbors = None if found is None else {"rate": found.rate, "trust": found.trust}
        return {"loss": self.loss, "why": self.why, "neighbors": neighbors}


def choose_loss(num_classes: int, rate: float | None, n: int, steps: int) -> tuple[str, str]:
    """Return a loss for a number of classes, a noise rate and a length of training, with the reason.

    | classes | estimated noise rate | training steps | loss |
    |---|---|---|---|
    | fewer than 32 | known | 300 or more | `nce+agce@cifar10` |
    | fewer than 32 | known | fewer | `4*gce` |
    | fewer than 32 | unknown | 10,000 or more | `nce+agce@cifar10` |
    | fewer than 32 | unknown | fewer | `4*gce` |
    | 32 or more | below 3.5 % | any | `ce` |
    | 32 or more | more, or unknown | any | `nce+agce@cifar100` |

    The rate is known if nearest neighbors predict a label well, without any training. Then a network learns
    fast, and soon memorizes noisy labels too, which the most robust loss prevents. Otherwise, and in a short
    run, that loss may never learn some classes, and one that learns faster ends higher
    (docs/measured-default-loss.md). In a long run the most robust loss is best again: on CIFAR-10 it reaches
    91.1 % with clean labels and 85.9 % at 40 % noise, cross entropy 90.5 and 58.5 (Wang 2024, Table 2, means
    of 3 runs). With many classes a robust loss costs some points on clean labels.

    Args:
        num_classes: K.
        rate: the estimated noise rate; None if unknown.
        n: the number of training examples.
        steps: the number of training steps of the whole run.

    Returns:
        The expression of the loss, and the reason in words.

    >>> choose_loss(10, 0.3, 1438, 720)[0], choose_loss(10, None, 2400, 570)[0]
    ('nce+agce@cifar10', '4*gce')
    >>> choose_loss(100, 0.01, 50_000, 46_920)[0], choose_loss(100, None, 50_000, 46_920)[0]
    ('ce', 'nce+agce@cifar100')
    """
    classes = f"{num_classes} classes, {n:,} examples, {steps:,} steps"
    if num_classes < MANY_CLASSES:
        if steps < (STEPS_IF_UNKNOWN if rate is None else STEPS_IF_KNOWN):
            return FAST, f"{classes}; robust, and fast enough to learn every class"
        return ROBUST, f"{classes}; the most robust, and enough steps to learn every class"
    if rate is not None and rate < CLEAN:
        return "ce", f"{classes}; with so many, a robust loss costs more than so few noisy labels do"
    return MANY, f"{classes}; robust, with the constants for many classes"


def number_of_steps(settings: Settings, n: int) -> int:
    """Return the number of training steps of a run on n examples, those held out included.

    >>> from noisylabels.training.settings import Settings
    >>> number_of_steps(Settings(epochs=30, validation=0.1), 2400)
    510
    """
    return settings.epochs * math.ceil((n - round(settings.validation * n)) / settings.batch_size)


def choose(
    train: ImageSet | FeatureSet, steps: int, given: np.ndarray | None = None, seed: int = 0
) -> Choice:
    """Return a loss for a set, by a noise estimate that takes seconds and no training.

    The estimate is `estimate_transition(method="neighbors")` on pixels of reduced images, or on standardized
    columns, of at most 6,000 examples. If these features are uninformative, like pixels of photographs, the
    estimate is not trusted, and the loss is that for an unknown noise rate.

    Args:
        train: the set to train on.
        steps: the number of training steps of the whole run.
        given: (N,) int64, the given labels; by default those of the set.
        seed: of the selected examples.

    Returns:
        The loss, with the reason.
    """
    labels = train.labels.numpy() if given is None else given
    K, n = train.num_classes, len(train)
    found = estimate_noise(train, labels, seed)
    if found is None:
        loss, why = choose_loss(K, None, n, steps)
        few = "too few examples" if n < EACH * K else "too many classes"
        return Choice(loss, f"{few} to estimate the noise rate, {why}")
    if not found.trusted:
        loss, why = choose_loss(K, None, n, steps)
        seen = "pixels" if train.inputs.ndim == 4 else "these columns"
        return Choice(loss, f"the noise rate cannot be estimated from {seen} alone, {why}", found)
    loss, why = choose_loss(K, found.rate, n, steps)
    return Choice(loss, why, found)


def estimate_noise(train: ImageSet | FeatureSet, given: np.ndarray, seed: int = 0) -> Estimate | None:
    """Estimate the noise of a set without training; None with fewer than 20 selected examples per class."""
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
        seed=seed,
    )


def cheap_features(train: ImageSet | FeatureSet, at: np.ndarray) -> np.ndarray:
    """Return pixels of images reduced to at most 8x8, or standardized columns, (M, D) float32."""
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
