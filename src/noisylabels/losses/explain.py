"""A loss in words: what `noisylabels loss` prints and the pages of docs/losses say."""

from __future__ import annotations

import math

from noisylabels.losses.catalog import LOSSES
from noisylabels.losses.modules import Loss
from noisylabels.losses.terms import Term


def explain(loss: Loss, num_classes: int = 10) -> dict[str, str]:
    """Return what is known of a loss, head by head, in the order to read it.

    Args:
        loss: any.
        num_classes: K, 2 or more; the range and the optimum under noise depend on it.

    >>> from noisylabels import loss
    >>> explain(loss("agce"), 10)["certain optimum"]
    'for symmetric noise up to 85.9 %, flips to one class up to 40.3 %, in theory, at 10 classes'
    """
    low, high = loss.bounds(num_classes)
    total = loss.label_sum(num_classes)
    times = loss.dominance(num_classes)
    even = loss.dominance(num_classes, even=True)
    return {
        "kind": loss.kind,
        "value at label y": loss.equation,
        "range": f"[{low:.4g}, {high:.4g}] for {num_classes} classes",
        "symmetric": f"yes: it sums to {total:g} over the {num_classes} labels, whatever is predicted"
        if total is not None
        else "no: its sum over the labels depends on the prediction",
        "asymmetric": asymmetric(times),
        "certain optimum": certain_optimum(times, even, num_classes),
        **(
            {"other optima": "a prediction whose largest class is wrong can be as good: beside it, not alone"}
            if loss.unique_optimum(num_classes) is False
            else {}
        ),
        "needs": "logits and labels" + "".join(f", {need}" for need in loss.needs),
        "source": "; ".join(_source(term) for term in loss.terms),
    }


def asymmetric(times: float | None) -> str:
    """Return in words what a `Loss.dominance` means."""
    if times is None:
        return "not known: it has no optimum of a single example"
    if math.isinf(times):
        return "no: the certain, right prediction is no optimum once there are wrong labels, however rare"
    if share(times) == "1":
        return "yes: the certain, right prediction is an optimum while no other label is given more often"
    return (
        "yes: the certain, right prediction is an optimum while its label is given "
        f"{share(times)} times as often as any other"
    )


def share(times: float) -> str:
    """Return a dominance to three digits; rounding may leave it a little above or below."""
    return f"{times:.3g}"


def certain_optimum(times: float | None, even: float | None, num_classes: int) -> str:
    """Return up to which rates the certain, right prediction is an optimum.

    There w_m = 1 - rate is c times any other weight. The largest class may be right beyond them.
    """
    if times is None or even is None:
        return "not known"
    if math.isinf(times) and math.isinf(even):
        return "at no rate, in theory: wrong labels move it, if not its largest class"
    k = num_classes
    parts = [
        f"{name} up to {100 * most:.3g} %" if most > 0 else f"{name} at no rate"
        for name, most in (
            ("symmetric noise", (k - 1) / (k - 1 + even)),
            ("flips to one class", 1 / (1 + times)),
        )
    ]
    return f"for {', '.join(parts)}, in theory, at {k} classes"


def _source(term: Term) -> str:
    """Return what a term is and where it comes from."""
    rows = [LOSSES.get(term.name) or term.row, *(wrap.row for wrap in term.wraps)]
    return "; ".join(f"{row.name} is {row.title} ({row.source})" for row in rows)
