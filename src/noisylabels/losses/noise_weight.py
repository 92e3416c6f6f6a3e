"""The weight of a sum for a noise rate: the nearest to 1 at which the true label is still the optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from noisylabels.core.checks import InputError, check_between, check_whole
from noisylabels.losses.modules import Loss

LEAST, MOST = 1e-3, 1e3
"""The weights that are searched."""

PER_DECADE = 4
"""Weights per factor of 10 that are tried first."""

STEPS = 8
"""Bisections between the last two of them: a weight is then within 0.3 % of the nearest one that suffices."""


class NoiseWeight(NamedTuple):
    """A weight for a noise rate, with the reason."""

    weight: float
    why: str


def weight_for_noise(loss: Loss, num_classes: int, rate: float) -> NoiseWeight:
    """Return the weight nearest to 1 at which the true label is the optimum under symmetric noise.

    With the rate r, the true label is given with probability 1 - r and each other one with r/(K - 1). So the
    loss with the weight w needs ``c(w) <= (1 - r)(K - 1)/r``, c its `dominance` with evenly spread noise. The
    weights for which this holds are an interval: for each prediction, c is a ratio of two functions that are
    linear in w, hence monotonic.

    For ``mse + w mae``, which is ``K amse(a)`` with a = w + 1 but for a constant, that is the condition on
    the parameter a of AMSE and JAL, ``a >= 1/(1 - r K/(K - 1))``.

    Args:
        loss: a sum with one weight ``auto``.
        num_classes: K, 2 or more.
        rate: r, in [0, 1).

    Returns:
        The weight, and the reason in words. It is 1 where no weight between 0.001 and 1,000 suffices, and for
        a symmetric loss, which has the same optimum at every weight.

    Raises:
        InputError: a loss without ``auto``; a value out of range.

    Source: ours, from the asymmetry condition of Zhou et al. 2021, "Asymmetric Loss Functions for Learning
    with Noisy Labels"; AMSE: Wang et al. 2025, "Joint Asymmetric Loss for Learning with Noisy Labels".

    >>> import noisylabels as nl
    >>> found = weight_for_noise(nl.loss("phuber_ce + auto(rule=noise)*mae"), 10, 0.88)
    >>> found.weight  # c = (2 + 2w)/(1 + 2w) has to be at most 0.12 * 9/0.88: w is 1.7 or more
    1.7
    """
    check_whole(num_classes, "num_classes", 2)
    check_between(rate, "the noise rate", 0.0, 1.0, open_high=True)
    if loss.rule is None:
        raise InputError(f"the loss {loss.expression!r} has no weight auto, expected one, as in nce+auto*mae")
    needed = math.inf if rate == 0 else (1 - rate) * (num_classes - 1) / rate
    given = f"{100 * rate:.1f} % noise and {num_classes} classes"

    def suffices(weight: float) -> bool:
        c = loss.with_auto(weight).dominance(num_classes, even=True)
        return c is not None and c <= needed

    if suffices(1.0):
        symmetric = loss.with_auto(1.0).label_sum(num_classes) is not None
        also = ", as at every weight, since the loss is symmetric" if symmetric else ""
        return NoiseWeight(1.0, f"at {given} the true label is the optimum at the weight 1{also}")
    for exponent in range(1, round(math.log10(MOST)) * PER_DECADE + 1):
        for sign in (1, -1):
            if suffices(10 ** (sign * exponent / PER_DECADE)):
                weight = _nearest(suffices, sign * (exponent - 1) / PER_DECADE, sign * exponent / PER_DECADE)
                why = (
                    f"at {given} {weight:g} is the nearest weight to 1 at which the true label is the optimum"
                )
                return NoiseWeight(weight, why)
    return NoiseWeight(
        1.0, f"at {given} the true label is the optimum at no weight from {LEAST:g} to {MOST:g}; 1 is kept"
    )


def _nearest(suffices: Callable[[float], bool], failing: float, enough: float) -> float:
    """Return the weight between two powers of 10, of three digits, nearest to the first that suffices."""
    sign = 1 if enough > failing else -1
    for _ in range(STEPS):
        middle = (failing + enough) / 2
        failing, enough = (failing, middle) if suffices(10**middle) else (middle, enough)
    rounded = (float(f"{10**enough * (1 + 0.005 * sign * step):.3g}") for step in range(3))
    return next(weight for weight in rounded if suffices(weight))
