"""The losses once more, in plain Python and independent of the library: one example at a time.

A loss that enters the catalog needs its formula here, as a function of log p and of 1 - p (handed in
separately, so that both are exact at their ends), and may have a line of parameters to try.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

PHI: dict[str, Callable[..., float]] = {
    "ce": lambda log_p, rest: -log_p,
    "fl": lambda log_p, rest, gamma=0.5: -(rest**gamma) * log_p,
    "mae": lambda log_p, rest: 2 * rest,
    "rce": lambda log_p, rest, A=-4.0: -A * rest,
}

PARAMETERS: dict[str, list[dict[str, float]]] = {
    "fl": [{"gamma": 0.0}, {"gamma": 0.1}, {"gamma": 1.0}, {"gamma": 2.0}, {"gamma": 3.5}],
    "rce": [{"A": -1.0}, {"A": math.log(1e-4)}],
}

_TERM = re.compile(r"(?:(?P<weight>[\d.e-]+)\*)?(?P<name>\w+)(?:\((?P<given>[^)]*)\))?")


def stem(name: str) -> tuple[str, str]:
    """Return the reading's prefix ("", "n", "nn") and the name of the per-label function."""
    for prefix in ("", "n", "nn"):
        if name.startswith(prefix) and name[len(prefix) :] in PHI:
            return prefix, name[len(prefix) :]
    raise AssertionError(f"the loss {name!r} has no formula in tests/losses/naive.py: write it there")


def terms(expression: str) -> list[tuple[float, str, str, dict[str, float]]]:
    """Return weight, prefix, function and parameters of each term of a canonical expression."""
    found = []
    for match in _TERM.finditer(expression):
        given = dict(pair.split("=") for pair in (match["given"] or "").split(",") if pair)
        prefix, name = stem(match["name"])
        found.append((float(match["weight"] or 1), prefix, name, {k: float(v) for k, v in given.items()}))
    assert "+".join(m[0] for m in _TERM.finditer(expression)) == expression
    return found


def log_probs(logits: Sequence[float]) -> list[tuple[float, float]]:
    """Return (log p, 1 - p) of every class."""
    top = max(logits)
    parts = [math.exp(z - top) for z in logits]
    total = math.fsum(parts)
    largest = parts.index(max(parts))
    others = math.fsum(part for k, part in enumerate(parts) if k != largest)  # exact 1 - p of the winner
    return [
        (
            -math.log1p(others) if k == largest else z - top - math.log(total),
            others / total if k == largest else (total - part) / total,
        )
        for k, (z, part) in enumerate(zip(logits, parts, strict=True))
    ]


def value(expression: str, logits: Sequence[float], label: int) -> float:
    """Return the loss of one example."""
    pairs = log_probs(logits)
    total = 0.0
    for weight, prefix, name, given in terms(expression):

        def phi(pair: tuple[float, float], name: str = name, given: dict[str, float] = given) -> float:
            return PHI[name](*pair, **given)

        if prefix == "":
            part = phi(pairs[label])
        elif prefix == "n":
            part = phi(pairs[label]) / math.fsum(phi(pair) for pair in pairs)
        else:
            floor = (math.log(1e-7), 1 - 1e-7)
            gains = [phi(floor) - phi(pair if pair[0] > floor[0] else floor) for pair in pairs]
            part = 1 - gains[label] / math.fsum(gains)
        total += weight * part
    return total


def slope(expression: str, logits: Sequence[float], label: int, k: int, step: float = 1e-5) -> float:
    """Return the derivative of the loss with respect to logit k, by central differences."""
    ends = []
    for sign in (1, -1):
        moved = list(logits)
        moved[k] += sign * step
        ends.append(value(expression, moved, label))
    return (ends[0] - ends[1]) / (2 * step)
