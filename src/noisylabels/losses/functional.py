"""Every loss of the catalog as a function of logits and labels, made from its row."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache

from torch import Tensor

from noisylabels.losses.catalog import LOSSES, find
from noisylabels.losses.modules import Loss, Term

_DOC = """{title}.

{equation}

Args:
    logits: (N, K, d1, ...) floating point, K of 2 or more.
    target: (N, d1, ...) integer labels in [0, K).
    reduction: "mean", "sum" or "none".
    weight: (K,) class weights, or None.
{parameters}
Returns:
    A scalar, or (N, d1, ...) for reduction "none".

{use}

Source: {source}.
"""


@cache
def function(name: str) -> Callable[..., Tensor]:
    """Return the function for a single loss of the catalog, such as "nce"."""
    reading, row = find(name)
    default = Loss([Term.of(1.0, reading, row, {})])

    def call(
        logits: Tensor,
        target: Tensor,
        *,
        reduction: str = "mean",
        weight: Tensor | None = None,
        **parameters: float,
    ) -> Tensor:
        if reduction == "mean" and weight is None and not parameters:
            result: Tensor = default(logits, target)
        else:
            result = Loss([Term.of(1.0, reading, row, parameters)], reduction=reduction, weight=weight)(
                logits, target
            )
        return result

    keywords = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=float)
        for key, value in row.defaults.items()
    ]
    signature = inspect.signature(call)
    fixed = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    call.__name__ = call.__qualname__ = name
    call.__signature__ = signature.replace(parameters=fixed + keywords)  # type: ignore[attr-defined]
    entry = LOSSES[name]
    call.__doc__ = _DOC.format(
        title=entry.title[0].upper() + entry.title[1:],
        equation=default.equation,
        parameters="".join(f"    {key}: default {value:g}.\n" for key, value in row.defaults.items()),
        use=entry.use,
        source=entry.source,
    )
    return call
