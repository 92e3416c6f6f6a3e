"""Describe a loss in words, for `noisylabels loss` and the pages of docs/losses."""

from __future__ import annotations

import math

from noisylabels.losses.catalog import LOSSES
from noisylabels.losses.modules import Loss
from noisylabels.losses.terms import Term


def explain(loss: Loss, num_classes: int = 10) -> dict[str, str]:
    """Return the known properties of a loss as headings and texts, in reading order.

    Args:
        loss: any loss.
        num_classes: K, 2 or more; the range and the optimum under noise depend on it.

    >>> from noisylabels import loss
    >>> explain(loss("agce"), 10)["noise tolerance"]
    'symmetric noise up to 85.9 %, flips to one class up to 40.3 %, in theory, at 10 classes'
    """
    low, high = loss.bounds(num_classes)
    total = loss.label_sum(num_classes)
    times = loss.dominance(num_classes)
    even = loss.dominance(num_classes, even=True)
    return {
        "kind": loss.kind,
        "value at label y": loss.equation,
        "range": f"[{low:.4g}, {high:.4g}] for {num_classes} classes",
        "symmetric": f"yes: it sums to {total:g} over the {num_classes} labels for every prediction"
        if total is not None
        else "no: its sum over the labels depends on the prediction",
        "asymmetric": asymmetric(times),
        "noise tolerance": noise_tolerance(times, even, num_classes),
        **(
            {"other optima": "a prediction whose largest class is wrong can be equally good: use it in a sum"}
            if loss.unique_optimum(num_classes) is False
            else {}
        ),
        "needs": "logits and labels" + "".join(f", {need}" for need in loss.needs),
        "source": "; ".join(_source(term) for term in loss.terms),
    }


def asymmetric(times: float | None) -> str:
    """Return the meaning of a `Loss.dominance` in words."""
    if times is None:
        return "unknown: a single example has no optimum of its own"
    if math.isinf(times):
        return "no: flips to one class, however rare, move the optimum from probability 1 for the true class"
    if share(times) == "1":
        return "yes: probability 1 for the true class is optimal while no other label is given more often"
    return (
        "yes: probability 1 for the true class is optimal while its label is given "
        f"{share(times)} times as often as any other"
    )


def share(times: float) -> str:
    """Return a dominance rounded to three digits, which can be slightly above or below it."""
    return f"{times:.3g}"


def noise_tolerance(times: float | None, even: float | None, num_classes: int) -> str:
    """Return the noise rates up to which probability 1 for the true class is optimal.

    At these rates the weight 1 - rate of the true label is c times any other. Beyond them the largest class
    of the optimum may still be the true one.
    """
    if even is None:
        return "unknown"
    if times is not None and math.isinf(times) and math.isinf(even):
        return "none, in theory: any noise moves the optimum, though perhaps not its largest class"
    k = num_classes
    rates = {"symmetric noise": (k - 1) / (k - 1 + even)}
    if times is not None:  # None and symmetric: the risk under even noise is a multiple of that without
        rates["flips to one class"] = 1 / (1 + times)
    parts = [
        f"{name} up to {100 * most:.3g} %" if most > 0 else f"{name} not at all"
        for name, most in rates.items()
    ]
    return f"{', '.join(parts)}, in theory, at {k} classes"


def _source(term: Term) -> str:
    """Return the title and source of a term and of its wrappers."""
    rows = [LOSSES.get(term.name) or term.row, *(wrap.row for wrap in term.wraps)]
    return "; ".join(f"{row.name} is {row.title} ({row.source})" for row in rows)
