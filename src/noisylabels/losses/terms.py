"""Terms of a loss: forms of per-label functions with weights, parameters and wrappers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from noisylabels.core.checks import InputError, check_between
from noisylabels.core.literals import written as number
from noisylabels.losses.catalog import PerLabel, Wrapper
from noisylabels.losses.evaluation import Part, Sloped
from noisylabels.losses.forms import NEGATIVE, NORMALIZE, Form
from noisylabels.losses.varying import Varying

Given = tuple[tuple[str, float], ...]
"""Parameters that differ from their defaults, sorted by name."""


def changed(row: PerLabel | Wrapper, parameters: Mapping[str, float]) -> Given:
    """Return the parameters that differ from their defaults, after checking all."""
    full = row.parameters(parameters)
    return tuple((name, full[name]) for name in sorted(full) if full[name] != row.defaults.get(name))


@dataclass(frozen=True)
class Wrap:
    """A wrapper with its parameters."""

    row: Wrapper
    given: Given = ()

    def __call__(self, values: Tensor) -> Tensor:
        """Return the transformed logits or label weights."""
        return self.row.function(values, **{**self.row.defaults, **dict(self.given)})

    def __str__(self) -> str:
        return self.row.name + _in_brackets(self.given)


@dataclass(frozen=True)
class Term:
    """One part of a loss: ``weight * form(phi)``, with wrappers around it, the outermost first.

    With `varying`, a schedule or a rule, the weight is their product.
    """

    weight: float
    form: Form
    row: PerLabel
    given: Given = ()
    wraps: tuple[Wrap, ...] = ()
    varying: Varying | None = None

    def __post_init__(self) -> None:
        check_between(self.weight, f"the weight of {self.name!r}", low=0.0, open_low=True)

    @classmethod
    def of(cls, weight: float, form: Form, row: PerLabel, parameters: Mapping[str, float]) -> Term:
        """Return the term with its parameters checked."""
        return cls(float(weight), form, row, changed(row, parameters))

    @property
    def name(self) -> str:
        """The name of the form, such as "nce"."""
        return self.row.read_as(self.form, self.row.name)

    @property
    def bare(self) -> Term:
        """The term without its weight."""
        return replace(self, weight=1.0, varying=None)

    @property
    def kind(self) -> str:
        """ "active" or "passive"; the negative form of any function is passive."""
        return "passive" if self.form is NEGATIVE else self.row.kind

    @property
    def parameters(self) -> dict[str, float]:
        """All parameters of the per-label function."""
        return {**self.row.defaults, **dict(self.given)}

    @property
    def part(self) -> Part:
        """The term as `evaluate` computes it, with all parameters bound."""
        logits, label = (
            tuple(wrap for wrap in self.wraps if wrap.row.of == of) for of in ("logits", "label")
        )
        read = partial(self.row.read, self.form, self.parameters)
        known = self.row.sloped is not None and len(self.wraps) == 0
        sloped = Sloped(self.form, self.row, self.parameters) if known else None
        return Part(self.weight, read, logits, label, self.row.views, self.row.of_logits, sloped)

    def label_sum(self, num_classes: int) -> float | None:
        """Return the term's weight times its sum over all labels if that is constant, else None."""
        if any(wrap.row.batch for wrap in self.wraps):
            return None
        if self.form is NORMALIZE:
            part: float | None = 1.0
        elif self.form is NEGATIVE:
            part = num_classes - 1.0
        else:
            part = self.row.total(num_classes, self.parameters)
        return None if part is None else self.weight * part

    def __str__(self) -> str:
        text = self.row.read_as(self.form, self.row.name + _in_brackets(self.given))
        for wrap in reversed(self.wraps):
            text = wrap.row.name + _in_brackets(wrap.given, text)
        varying = "" if self.varying is None else f"{self.varying}*"
        return ("" if self.weight == 1 else number(self.weight) + "*") + varying + text


def _in_brackets(given: Given, *first: str) -> str:
    inside = ",".join([*first, *(f"{name}={number(value)}" for name, value in given)])
    return f"({inside})" if inside else ""


def check_smoothing(label_smoothing: float, terms: Sequence[Term]) -> float:
    """Return `label_smoothing` if it is in [0, 1] and does not merely scale these terms."""
    check_between(label_smoothing, "label_smoothing", 0.0, 1.0)
    if label_smoothing and _symmetric_inside(terms):
        raise InputError(
            f"label_smoothing is {label_smoothing:g}, but {'+'.join(map(str, terms))!r} is symmetric: its "
            "sum over the labels is constant, so smoothing would only scale it; leave it out"
        )
    return label_smoothing


def _symmetric_inside(terms: Sequence[Term]) -> bool:
    """Return whether the costs sum to a constant over the labels, apart from any wrappers."""
    return None not in [replace(term, wraps=()).label_sum(3) for term in terms]


def check_evening(terms: Sequence[Term]) -> None:
    """Raise an `InputError` for a wrapper that smooths the labels of a symmetric loss."""
    inside = defaultdict(list)
    for term in terms:
        for depth, wrap in enumerate(term.wraps, 1):
            if wrap.row.evens:
                inside[term.wraps[:depth]].append(term)
    for group in inside.values():
        if _symmetric_inside(group):
            raise InputError(
                f"{'+'.join(map(str, group))!r} smooths the labels of a symmetric loss: its sum over the "
                "labels is constant, so smoothing would only scale it; leave it out"
            )


def canonical(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Return the terms, equal ones merged, sorted: active before passive, then by name and parameters."""
    weights: dict[tuple[Form, PerLabel, Given, tuple[Wrap, ...], Varying | None], list[float]]
    weights = defaultdict(list)
    for term in terms:
        if not isinstance(term, Term):
            raise InputError(
                f"Loss takes the terms of another loss, not {term!r}; nl.loss('nce+mae') parses an expression"
            )
        weights[term.form, term.row, term.given, term.wraps, term.varying].append(term.weight)
    if not weights:
        raise InputError("a loss needs at least one term, such as 'ce'")
    # sorted, because floating-point sums depend on the order and equal losses must be equal
    merged = [Term(sum(sorted(parts)), *key) for key, parts in weights.items()]
    return tuple(sorted(merged, key=lambda term: (term.kind, term.name, term.given, str(term))))
