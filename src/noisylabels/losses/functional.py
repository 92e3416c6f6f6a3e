"""Every loss of the catalog as a function of logits and target, built from its row."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from torch import Tensor

from noisylabels.core.checks import check_choice
from noisylabels.losses.catalog import LOSSES, WRAPPERS, Named, find
from noisylabels.losses.evaluation import (
    IGNORE,
    REDUCTIONS,
    TargetOptions,
    check_ignore_index,
    check_weight,
)
from noisylabels.losses.expression import bind, read_terms
from noisylabels.losses.kernels import Plan, evaluate
from noisylabels.losses.modules import Loss
from noisylabels.losses.terms import check_smoothing

_DOC = """{title}.

{equation}

Args:
    logits: (N, K, d1, ...) or (K,) floating point, K of 2 or more; a tuple of such for several views.
    target: (N, d1, ...) integer labels in [0, K), or class probabilities in the shape of the logits.
    reduction: "mean", "sum" or "none".
    weight: (K,) class weights, or None.
    ignore_index: a target to ignore, or None.
    label_smoothing: in [0, 1]; an error for a symmetric loss, which it would only rescale.
{parameters}
Returns:
    A scalar, or (N, d1, ...) for reduction "none"; float32 for float16 and bfloat16 logits.

Raises:
    InputError: a shape, type, parameter or (on the CPU) label that does not fit.

{use}

Source: {source}.
"""


def function(name: str) -> Callable[..., Tensor]:
    """Return the function for a loss of the catalog, such as "nce", "sce" or "nce+mae".

    Args:
        name: of a loss in `noisylabels list losses`.

    Raises:
        InputError: an unknown name; the message suggests the nearest.

    >>> import torch
    >>> function("nce")(torch.zeros(2, 10), torch.tensor([3, 4]))
    tensor(0.1000)
    """
    if name not in LOSSES:
        check_choice(name, LOSSES, "loss")
    return _made(LOSSES[name])


@cache  # by entry, not by name: a name can be unregistered and used again
def _made(entry: Named) -> Callable[..., Tensor]:
    # No Loss inside: its constructor reads the class weights, which would synchronize with the device.
    default = read_terms(entry.expression)
    default_plan = Plan([term.part for term in default])

    def call(
        logits: Tensor | Sequence[Tensor],
        target: Tensor,
        *,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = IGNORE,
        label_smoothing: float = 0.0,
        **parameters: float,
    ) -> Tensor:
        check_choice(reduction, REDUCTIONS, "reduction")
        terms, plan = default, default_plan
        if parameters:
            terms = bind(entry, parameters)
            plan = Plan([term.part for term in terms])
        if label_smoothing:
            check_smoothing(label_smoothing, terms)
        options = TargetOptions(
            check_weight(weight, wait=False), reduction, check_ignore_index(ignore_index), label_smoothing
        )
        return evaluate(plan, logits, target, options)

    limits = {key: interval(found) for key, found in domain(entry).items()}
    keywords = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=float)
        for key, value in entry.defaults.items()
    ]
    signature = inspect.signature(call)
    fixed = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    call.__name__ = call.__qualname__ = entry.name
    call.__signature__ = signature.replace(parameters=fixed + keywords)  # type: ignore[attr-defined]
    call.__doc__ = _DOC.format(
        title=entry.title[0].upper() + entry.title[1:],
        equation=Loss(default).equation,
        parameters="".join(
            f"    {key}: default {value:g}{f', range {limits[key]}' if limits.get(key) else ''}.\n"
            for key, value in entry.defaults.items()
        ),
        use=entry.use,
        source=entry.source,
    )
    return call


def domain(entry: Named) -> dict[str, Mapping[str, Any]]:
    """Return the limits of a loss's parameters, as the `domain` of a row."""
    if entry.name in WRAPPERS:
        return dict(WRAPPERS[entry.name].domain)
    if not entry.is_sum:
        return dict(find(entry.name)[1].domain)
    limits: dict[str, Mapping[str, Any]] = {}
    for weight, name, given in entry.addends:
        if isinstance(weight, str):
            limits[weight] = {"low": 0.0, "open_low": True}
        inner = find(name)[1].domain
        limits |= {slot: inner.get(key, {}) for key, slot in given.items() if isinstance(slot, str)}
    return limits


def interval(limits: Mapping[str, Any]) -> str:
    """Return the limits of a parameter as an interval, such as "[0, 1)"; empty if it has none.

    >>> interval({"low": 0.0, "high": 1.0, "open_high": True}), interval({"low": 1, "whole": True})
    ('[0, 1)', '[1, inf), integer')
    """
    if not limits.keys() & {"low", "high"}:
        return "integer" if limits.get("whole") else ""
    low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
    left = "(" if limits.get("open_low") or low == -math.inf else "["
    right = ")" if limits.get("open_high") or high == math.inf else "]"
    return f"{left}{low:g}, {high:g}{right}{', integer' if limits.get('whole') else ''}"
