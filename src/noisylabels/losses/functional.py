"""Every loss of the catalog as a function of logits and labels, made from its row."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from torch import Tensor

from noisylabels.core.checks import check_choice
from noisylabels.losses.catalog import LOSSES, Named, Pointwise, find
from noisylabels.losses.modules import REDUCTIONS, Loss, Term, evaluate
from noisylabels.losses.readings import Reading

_DOC = """{title}.

{equation}

Args:
    logits: (N, K, d1, ...) floating point, K of 2 or more.
    target: (N, d1, ...) integer labels in [0, K).
    reduction: "mean", "sum" or "none".
    weight: (K,) class weights, or None.
{parameters}
Returns:
    A scalar, or (N, d1, ...) for reduction "none"; float32 for float16 and bfloat16 logits.

Raises:
    InputError: a shape, type, parameter or (on the CPU) label that does not fit.

{use}

Source: {source}.
"""


def function(name: str) -> Callable[..., Tensor]:
    """Return the function for a single loss of the catalog, such as "nce"."""
    return _made(*find(name), LOSSES[name])


@cache  # by the rows, not by the name: a name can be unregistered and taken anew
def _made(reading: Reading, row: Pointwise, entry: Named) -> Callable[..., Tensor]:
    # No Loss inside: making one looks at the class weights, which would wait for the device.
    def call(
        logits: Tensor,
        target: Tensor,
        *,
        reduction: str = "mean",
        weight: Tensor | None = None,
        **parameters: float,
    ) -> Tensor:
        check_choice(reduction, REDUCTIONS, "reduction")
        read = partial(row.read, reading, row.parameters(parameters))
        return evaluate([(1.0, read)], logits, target, weight, reduction)

    keywords = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=float)
        for key, value in row.defaults.items()
    ]
    signature = inspect.signature(call)
    fixed = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    call.__name__ = call.__qualname__ = entry.name
    call.__signature__ = signature.replace(parameters=fixed + keywords)  # type: ignore[attr-defined]
    call.__doc__ = _DOC.format(
        title=entry.title[0].upper() + entry.title[1:],
        equation=Loss([Term.of(1.0, reading, row, {})]).equation,
        parameters="".join(
            f"    {key}: default {value:g}{_range(row.domain.get(key))}.\n"
            for key, value in row.defaults.items()
        ),
        use=entry.use,
        source=entry.source,
    )
    return call


def _range(limits: Mapping[str, Any] | None) -> str:
    """Return the limits of a parameter in words: ", of 0 or more"."""
    words = []
    for end, direction in (("low", "more"), ("high", "less")):
        if limits and end in limits:
            closed = f"of {limits[end]:g} or {direction}"
            words.append(f"{direction} than {limits[end]:g}" if limits.get(f"open_{end}") else closed)
    return ", " + " and ".join(words) if words else ""
