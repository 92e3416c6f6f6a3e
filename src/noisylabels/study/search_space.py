"""What `tune` searches: numbers of a configuration, with their ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noisylabels.experiment import RunConfig, canonical

if TYPE_CHECKING:
    from noisylabels.losses.terms import Term

WHAT = ("weights", "parameters", "lr")
"""Searchable settings: weights of the terms of a sum, parameters of the terms, learning rate."""

WEIGHTS, PARAMETERS, RATES = 10.0, 4.0, 10.0
"""Maximum factor between a value and its start, in either direction."""


@dataclass(frozen=True)
class Dimension:
    """A number to search on a logarithmic scale."""

    name: str
    start: float
    low: float
    high: float


def dimensions(config: RunConfig, search: Sequence[str] = WHAT) -> list[Dimension]:
    """Return the dimensions to search around a configuration.

    Weights of a sum (a single term is scaled by the learning rate instead) and learning rate vary by up to a
    factor of 10 either way, parameters by up to a factor of 4 within their limits. A schedule is scaled as a
    whole; a weight that a rule sets is left to the rule. Integers are fixed, and so is A of `rce`, which only
    scales it.

    >>> [each.name for each in dimensions(RunConfig(loss="nce+agce@cifar10"))]
    ['weight of agce', 'weight of nce', 'a of agce', 'q of agce', 'lr']
    """
    found = []
    for name, term in _named(_terms(config.loss)):
        # this rule scales the costs of each example; the others set the weight, whatever its factor
        free = term.varying is None or term.varying.rule in ("", "agreement")
        if "weights" in search and len(_terms(config.loss)) > 1 and free:
            weight = term.weight
            found.append(Dimension(f"weight of {name}", weight, weight / WEIGHTS, weight * WEIGHTS))
    for name, term in _named(_terms(config.loss)):
        for key, value in term.parameters.items() if "parameters" in search else ():
            limits = term.row.domain.get(key, {})
            if limits.get("whole") or value <= 0:
                continue
            # slightly inside the limits, because values are rounded
            low = max(value / PARAMETERS, min(value, 1.02 * limits.get("low", 0.0)))
            high = min(value * PARAMETERS, max(value, 0.98 * limits.get("high", math.inf)))
            found.append(Dimension(f"{key} of {name}", value, low, high))
    if "lr" in search:
        found.append(Dimension("lr", config.lr, config.lr / RATES, config.lr * RATES))
    return found


def applied(config: RunConfig, values: dict[str, float]) -> RunConfig:
    """Return a configuration with new values of its dimensions, rounded to three significant digits.

    >>> applied(RunConfig(loss="nce+mae"), {"weight of nce": 2.34567, "lr": 0.1}).loss
    '2.35*nce+mae'
    """
    from noisylabels.losses.modules import Loss
    from noisylabels.losses.terms import changed

    rounded = {name: float(f"{value:.3g}") for name, value in values.items()}
    terms = []
    for name, term in _named(_terms(config.loss)):
        own = {key: rounded.get(f"{key} of {name}", value) for key, value in term.parameters.items()}
        weight = rounded.get(f"weight of {name}", term.weight)
        terms.append(replace(term, weight=weight, given=changed(term.row, own)))
    return canonical(replace(config, loss=Loss(terms).expression, lr=rounded.get("lr", config.lr)))


def _terms(expression: str) -> tuple[Term, ...]:
    from noisylabels.losses.expression import loss

    return tuple(loss(expression).terms)


def _named(terms: Sequence[Term]) -> list[tuple[str, Term]]:
    """Return terms with unique names: agce, or agce 1 and agce 2."""
    names = [term.name for term in terms]
    return [
        (name if names.count(name) == 1 else f"{name} {names[: place + 1].count(name)}", term)
        for place, (name, term) in enumerate(zip(names, terms, strict=True))
    ]
