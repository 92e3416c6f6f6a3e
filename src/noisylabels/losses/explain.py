"""Describe a loss in words, for `noisylabels loss` and the pages of docs/losses."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

from noisylabels.core.checks import InputError
from noisylabels.losses.catalog import LOSSES
from noisylabels.losses.curve import variation_ratio
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
    stages = at_stages(loss)
    found = {word: _properties(made, num_classes) for word, made in stages.items()}
    facts = {"kind": loss.kind, "value at label y": loss.equation}
    if loss.is_varying:
        facts["weights"] = "; ".join(_changes(term) for term in loss.terms if term.varying is not None)
    for head in dict.fromkeys(head for each in found.values() for head in each):
        texts = {word: each.get(head, "none found") for word, each in found.items()}
        same = len(set(texts.values())) == 1 and loss.rule is None
        facts[head] = next(iter(texts.values())) if same else _by_stage(texts)
    facts["needs"] = "logits and labels" + "".join(f", {need}" for need in loss.needs)
    facts["source"] = "; ".join(_source(term) for term in loss.terms)
    return facts


STAGES = {0.0: "at the start", 0.5: "in the middle", 1.0: "at the end"}
"""Training progress at which a loss with a schedule is explained -> how it is named."""


def at_stages(loss: Loss, *, agreement: bool = False) -> dict[str, Loss]:
    """Return the loss with fixed weights, by the stage of training; with a rule, at the weight 1.

    With `agreement`, a loss whose rule is agreement keeps it: the curve of one example has it.

    >>> from noisylabels import loss
    >>> at_stages(loss("nce+linear(0,2)*mae"))["in the middle"]
    Loss("nce+mae")
    """
    kept = loss.rule is None or (agreement and loss.rule == "agreement")
    fixed = loss if kept else loss.with_auto(1.0)
    if all(term.varying is None or term.varying.rule for term in fixed.terms):
        return {"" if kept else "at the weight 1": fixed}
    found = {}
    for progress, word in STAGES.items():
        with contextlib.suppress(InputError):  # all weights are 0
            found[word] = fixed.at(progress, epochs=EPOCHS)
    return found


EPOCHS = 100
"""The epochs of the training that is assumed for a warmup over a number of epochs."""


def weights_over_time(
    loss: Loss, stages: Sequence[float] = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
) -> list[list[str]]:
    """Return a table of the weights that follow a schedule by training progress, one row per term; or []."""
    rows = [
        [
            f"weight of {term.bare}",
            *(f"{term.weight * term.varying.at(progress, EPOCHS):.4g}" for progress in stages),
        ]
        for term in loss.terms
        if term.varying is not None and not term.varying.rule
    ]
    return [["training progress", *(f"{progress:g}" for progress in stages)], *rows] if rows else []


def _by_stage(texts: dict[str, str]) -> str:
    return "; ".join(f"{word}: {text}" for word, text in texts.items())


def _changes(term: Term) -> str:
    """Return a varying weight in words."""
    varying = term.varying
    assert varying is not None
    scale = "" if term.weight == 1 else f"{term.weight:g} times "
    name, row = str(term.bare), varying.row
    if varying.rule:
        return f"{name}: {scale}the weight by the rule {row.name}, which {row.title} ({row.equation})"
    ends = (f"{term.weight * varying.at(progress, EPOCHS):g} {word}" for progress, word in STAGES.items())
    return f"{name}: {', '.join(ends)} ({scale}{row.title}: {row.equation}, t the training progress)"


def _properties(loss: Loss, num_classes: int) -> dict[str, str]:
    """Return the properties that depend on the weights."""
    low, high = loss.bounds(num_classes)
    total = loss.label_sum(num_classes)
    times = loss.dominance(num_classes)
    even = loss.dominance(num_classes, even=True)
    return {
        "range": f"[{low:.4g}, {high:.4g}] for {num_classes} classes",
        "symmetric": f"yes: it sums to {total:g} over the {num_classes} labels for every prediction"
        if total is not None
        else "no: its sum over the labels depends on the prediction",
        "asymmetric": asymmetric(times),
        "noise tolerance": noise_tolerance(times, even, num_classes),
        "variation ratio": variation(variation_ratio(loss, num_classes)),
        **(
            {"other optima": "a prediction whose largest class is wrong can be equally good: use it in a sum"}
            if loss.unique_optimum(num_classes) is False
            else {}
        ),
    }


def variation(ratio: float | None) -> str:
    """Return a variation ratio in words."""
    if ratio is None:
        return "unknown: it depends on the whole batch"
    if math.isinf(ratio):
        return "unbounded: the slope over p grows without limit or vanishes"
    return f"{ratio:.3g}: by this factor the slope over p varies; 1 is that of mae"


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
