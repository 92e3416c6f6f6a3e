"""`Loss`: a weighted sum of readings of per-label functions, as an ``nn.Module`` with arithmetic."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError, check_between, check_choice
from noisylabels.losses.catalog import LOSSES, Pointwise
from noisylabels.losses.readings import NEGATIVE, NORMALIZE, SELECT, Read, Reading, reduce, weighted_sum

REDUCTIONS = ("mean", "sum", "none")


def number(value: float) -> str:
    """Return the shortest decimal form that reads back as the same float: 2, 0.5, 1e-07."""
    text = repr(float(value))
    return text.removesuffix(".0")


@dataclass(frozen=True)
class Term:
    """One part of a loss: ``weight * reading(phi)``."""

    weight: float
    reading: Reading
    row: Pointwise
    given: tuple[tuple[str, float], ...] = ()  # parameters that differ from their defaults, sorted

    def __post_init__(self) -> None:
        check_between(self.weight, f"the weight of {self.name!r}", low=0.0, open_low=True)

    @classmethod
    def of(cls, weight: float, reading: Reading, row: Pointwise, parameters: Mapping[str, float]) -> Term:
        """Check the parameters and keep those that differ from the defaults."""
        full = row.parameters(parameters)
        changed = sorted((name, value) for name, value in full.items() if value != row.defaults[name])
        return cls(float(weight), reading, row, tuple(changed))

    @property
    def name(self) -> str:
        """The reading's prefix and the function's name: "nce"."""
        return self.reading.prefix + self.row.name

    @property
    def kind(self) -> str:
        """ "active" or "passive"; the negative reading is passive whatever it reads."""
        return "passive" if self.reading is NEGATIVE else self.row.kind

    @property
    def parameters(self) -> dict[str, float]:
        """All parameters of the per-label function."""
        return {**self.row.defaults, **dict(self.given)}

    @property
    def read(self) -> Read:
        """The reading of the per-label function, its parameters bound: from (l, target) to values."""
        return partial(self.row.read, self.reading, self.parameters)

    def __str__(self) -> str:
        weight = "" if self.weight == 1 else number(self.weight) + "*"
        given = ",".join(f"{name}={number(value)}" for name, value in self.given)
        return f"{weight}{self.name}" + (f"({given})" if given else "")


class Loss(nn.Module):
    r"""A weighted sum of readings of per-label functions: :math:`\sum_i w_i\, r_i(\phi_i)`.

    Made by `noisylabels.loss`, by the readings of a function of your own, or by arithmetic:
    ``nce + 2 * mae``. It replaces ``nn.CrossEntropyLoss()`` in any loop.

    Args:
        terms: the parts; equal ones are merged, and they are kept in canonical order (active
            before passive, then by name), so that equal losses have equal expressions.
        reduction: "mean", "sum" or "none", as in ``nn.CrossEntropyLoss``.
        weight: (K,) finite class weights of 0 or more. Each value is multiplied by its label's
            weight, and "mean" divides by the sum of those weights.

    Shape:
        logits (N, K, d1, ...) in any floating type, target (N, d1, ...) integers in [0, K), to a
        scalar, or (N, d1, ...) for "none". float16 and bfloat16 are computed and returned in float32.

    >>> import noisylabels as nl
    >>> nce, mae = nl.loss("nce"), nl.loss("mae")
    >>> nce + 2 * mae
    Loss("nce+2*mae")
    """

    weight: Tensor | None

    def __init__(
        self, terms: Iterable[Term], *, reduction: str = "mean", weight: Tensor | None = None
    ) -> None:
        super().__init__()
        self.terms = _canonical(terms)
        self.reduction = check_choice(reduction, REDUCTIONS, "reduction")
        if weight is not None:
            weight = torch.as_tensor(weight)
            weight = weight if weight.is_floating_point() else weight.float()
            if weight.ndim != 1 or not bool((torch.isfinite(weight) & (weight >= 0)).all()):
                raise InputError(
                    f"class weights are {weight.tolist()}, expected (K,) finite numbers of 0 or more"
                )
        self.register_buffer("weight", weight)
        self._parts = [(term.weight, term.read) for term in self.terms]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the reduced loss of `logits` (N, K, d1, ...) at the labels `target` (N, d1, ...)."""
        return evaluate(self._parts, logits, target, self.weight, self.reduction)

    def __add__(self, other: Loss | int) -> Loss:
        if isinstance(other, int) and other == 0:  # so that sum([a, b]) works
            return self
        if not isinstance(other, Loss):
            return NotImplemented
        if self.reduction != other.reduction or not _same(self.weight, other.weight):
            raise InputError("the two losses differ in reduction or class weights; give both the same")
        return Loss(self.terms + other.terms, reduction=self.reduction, weight=self.weight)

    __radd__ = __add__

    def __mul__(self, factor: float) -> Loss:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        terms = [Term(factor * term.weight, term.reading, term.row, term.given) for term in self.terms]
        return Loss(terms, reduction=self.reduction, weight=self.weight)

    __rmul__ = __mul__

    @property
    def expression(self) -> str:
        """The canonical expression: equal losses of the catalog have equal ones, and `loss` reads it back.

        A function of your own is shown by its name; `register` it to have it read back.
        """
        return "+".join(str(term) for term in self.terms)

    @property
    def kind(self) -> str:
        """ "active", "passive", or "active + passive"."""
        return " + ".join(sorted({term.kind for term in self.terms}))

    @property
    def equation(self) -> str:
        """The value at label y in terms of the probabilities p."""
        parts = []
        for term in self.terms:
            y, k = (re.sub(r"\bp\b", f"p_{index}", term.row.equation) for index in "yk")
            weight = "" if term.weight == 1 else number(term.weight) + " "
            body = term.reading.equation.format(y=y, k=k)
            parts.append(weight + (f"({body})" if weight and term.reading is SELECT else body))
        return " + ".join(parts)

    def label_sum(self, num_classes: int) -> float | None:
        """Return the loss summed over all labels if that is constant (the loss is symmetric), else None.

        As `bounds`, it is a property of the values before class weights.
        """
        total = 0.0
        for term in self.terms:
            if term.reading is NORMALIZE:
                part = 1.0
            elif term.reading is NEGATIVE:
                part = num_classes - 1.0
            elif term.row.label_sum is not None:
                part = term.row.label_sum(num_classes, **term.parameters)
            else:
                return None
            total += term.weight * part
        return total

    def bounds(self, num_classes: int) -> tuple[float, float]:
        """Return bounds (low, high) of the value of one example over all predictions.

        They are tight for a single term, and for a sum whose terms take their extremes together.
        Each part is taken at its extremes: label certain, label excluded with the rest on one
        class, label excluded with the rest spread evenly, all even. They are the extremes of every
        phi that falls with p and is convex or concave in it.
        """
        k, nothing = num_classes, -1e30
        evenly = math.log(1 / (k - 1)) if k > 2 else 0.0
        rows = torch.full((4, k), nothing, dtype=torch.float64)
        rows[0, 0] = 0.0
        rows[1, 1] = 0.0
        rows[2, 1:] = evenly
        rows[3] = math.log(1 / k)
        target = torch.zeros(4, dtype=torch.int64)
        low = high = 0.0
        for weight, read in self._parts:
            values = (weight * read(rows, target)).tolist()
            low, high = low + min(values), high + max(values)
        return low, high if high < 1e20 else math.inf

    def extra_repr(self) -> str:
        """Show the expression where a module that holds this one is printed."""
        return self.expression

    def __repr__(self) -> str:
        rest = "" if self.reduction == "mean" else f", reduction={self.reduction!r}"
        rest += "" if self.weight is None else f", weight=({self.weight.numel()} class weights)"
        return f'Loss("{self.expression}"{rest})'


def evaluate(
    parts: Sequence[tuple[float, Read]], logits: Tensor, target: Tensor, weight: Tensor | None, reduction: str
) -> Tensor:
    """Return the reduced weighted sum of readings: what a module and a function both call."""
    target = check_shapes(logits, target, weight)
    try:
        values = weighted_sum(parts, logits, target)
    except RuntimeError:
        # Only once it has failed: looking at the values of a target costs a GPU a synchronisation.
        check_labels(target, logits.shape[1])
        raise
    return reduce(values, target, weight, reduction)


def check_shapes(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Check shapes and types (never values: that would wait for the device); return int64 labels."""
    if not logits.is_floating_point() or logits.ndim < 2 or logits.shape[1] < 2:
        raise InputError(
            f"logits are {logits.dtype} of shape {tuple(logits.shape)}, "
            "expected floating-point (N, K, ...) with K of 2 or more"
        )
    wanted = (logits.shape[0], *logits.shape[2:])
    if target.shape != wanted or target.is_floating_point() or target.dtype == torch.bool:
        raise InputError(
            f"target is {target.dtype} of shape {tuple(target.shape)}, expected integer labels of shape "
            f"{tuple(wanted)} for logits of shape {tuple(logits.shape)}"
        )
    if weight is not None and weight.numel() != logits.shape[1]:
        raise InputError(f"there are {weight.numel()} class weights for {logits.shape[1]} classes")
    return target.long()


def check_labels(target: Tensor, num_classes: int) -> None:
    """Raise an `InputError` that names the first label outside [0, num_classes)."""
    outside = ((target < 0) | (target >= num_classes)).flatten().nonzero()
    if len(outside):
        at = int(outside[0])
        raise InputError(
            f"target[{at}] is {int(target.flatten()[at])}, expected a label in [0, {num_classes - 1}]"
        )


def _canonical(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Merge equal terms and sort them: active before passive, then by name and parameters."""
    weights: dict[tuple[Reading, Pointwise, tuple[tuple[str, float], ...]], list[float]] = defaultdict(list)
    for term in terms:
        weights[term.reading, term.row, term.given].append(term.weight)
    if not weights:
        raise InputError("a loss needs at least one term, such as 'ce'")
    # sorted: floating-point sums depend on the order, and equal losses must come out equal
    merged = [Term(sum(sorted(parts)), *key) for key, parts in weights.items()]
    return tuple(sorted(merged, key=lambda term: (term.kind, term.name, term.given)))


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def _reading_of(reading: Reading, phi: Callable[..., Tensor], parameters: dict[str, float]) -> Loss:
    name = getattr(phi, "__name__", type(phi).__name__)
    name = name if name.isidentifier() else "phi"
    while reading.prefix + name in LOSSES:  # a function of yours called mae is not the catalog's mae
        name = f"your_{name}"
    row = Pointwise(name, phi, name, "phi(p)", "active", "yours", "")
    return Loss([Term.of(1.0, reading, row, parameters)])


def select(phi: Callable[..., Tensor], **parameters: float) -> Loss:
    """Return the plain loss of a per-label function of your own: ``phi(l)[y]``.

    `phi` maps log-probabilities (any shape) to costs (same shape), entry by entry: any function, or
    object that can be called. `parameters` are handed to it; those that it gives a number as default
    can be set. To use it by name in expressions, `register` it.

    >>> import noisylabels as nl
    >>> def power(l, q=2.0):
    ...     return (1 - l.exp()) ** q
    >>> nl.losses.select(power, q=3)
    Loss("power(q=3)")
    """
    return _reading_of(SELECT, phi, parameters)


def normalize(phi: Callable[..., Tensor], **parameters: float) -> Loss:
    """Return the normalized form of a per-label function of your own: ``phi(l)[y] / sum_k phi(l)[k]``.

    >>> import noisylabels as nl
    >>> squared = nl.losses.normalize(lambda l: (1 - l.exp()) ** 2)
    >>> squared.label_sum(10)  # the paper's Eq. 1: sums to one over the labels, hence noise-tolerant
    1.0
    """
    return _reading_of(NORMALIZE, phi, parameters)


def negative(phi: Callable[..., Tensor], **parameters: float) -> Loss:
    """Return the normalized negative form of a per-label function of your own (Ye 2023).

    Its value is ``1 - (B - phi(l)[y]) / sum_k (B - phi(l)[k])`` with B = phi(log 1e-7).

    >>> import noisylabels as nl
    >>> nl.losses.negative(lambda l: (1 - l.exp()) ** 2).label_sum(10)  # K - 1
    9.0
    """
    return _reading_of(NEGATIVE, phi, parameters)
