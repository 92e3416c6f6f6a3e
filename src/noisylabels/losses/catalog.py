"""The catalog's types: one row per per-label function, one row per wrapper, one entry per named loss.

The content is in `entries.py`. A new per-label loss is one line in `pointwise.py` (or `vectorwise.py`) and
one row there; its forms, its function, its name in expressions and its tests follow from the row.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from noisylabels.core.checks import InputError, check_between, check_choice
from noisylabels.core.literals import parse
from noisylabels.core.registry import Registry
from noisylabels.losses.forms import FORMS, NEGATIVE, NORMALIZE, SELECT, Form, Label
from noisylabels.losses.validation import check_domain, check_free, check_label_sum, check_shape, check_sloped

Domain = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)  # compared by identity, so that a row can be a key
class Row:
    """A function with its parameters and documentation.

    The keyword arguments of `function` are the parameters, with their defaults. `domain` gives the limits of
    each as keyword arguments of `check_between`, and "whole" for an integer.
    """

    name: str
    function: Callable[..., Tensor]
    title: str
    equation: str
    source: str
    use: str  # when to use it, a sentence
    domain: Domain = field(default_factory=dict)
    defaults: Mapping[str, float] = field(init=False)  # the parameters, from the function's signature

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(
                f"phi of {self.name!r} is {self.function!r}, expected a function of log-probabilities"
            )
        object.__setattr__(self, "defaults", _numeric_defaults(self.function))  # the dataclass is frozen

    def __deepcopy__(self, memo: dict[int, Any]) -> Row:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        # By name if it is in the catalog: an unpickled loss then equals a new one, and label_sum, often a
        # lambda, need not be pickled.
        if _row(self.name) is self:
            return _row, (self.name,)
        return super().__reduce_ex__(protocol)

    def parameters(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return all parameters: the defaults overridden by `given`, each name and value checked."""
        for name, value in given.items():
            if name not in self.defaults:
                takes = ", ".join(self.defaults) or "none"
                raise InputError(f"the loss {self.name!r} has no parameter {name!r}; its parameters: {takes}")
            limits = dict(self.domain.get(name, {}))
            whole = limits.pop("whole", False)
            check_between(value, f"the parameter {name} of {self.name!r}", **limits)
            if whole and value != int(value):
                raise InputError(
                    f"the parameter {name} of {self.name!r} is {value!r}, expected a whole number"
                )
        return {name: float(given.get(name, default)) for name, default in self.defaults.items()}


@dataclass(frozen=True, eq=False)
class PerLabel(Row):
    """A per-label function: log-probabilities to costs, entry k being the cost if the label is k.

    `equation` is a function of p if it is pointwise (acts entry by entry), else of p_y and p_k.
    `label_sum(K, **parameters)` is the sum of the loss over all K labels if that is constant (then the loss
    is symmetric, hence noise-tolerant: Ghosh 2017), else None.
    """

    kind: str = "active"  # raises the probability of the label only; "passive" lowers the others too
    label_sum: Callable[..., float | None] | None = None
    pointwise: bool = True
    views: bool = False  # compares several views of each example
    of_logits: bool = False  # takes logits instead of log-probabilities
    # costs and slopes, see `slopes.py`
    sloped: Callable[..., tuple[Tensor, Tensor | float]] | None = None
    # the name of another function, and the factor over it as a function of the parameters
    multiple_of: tuple[str, Callable[..., float]] | None = None

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms that the function has."""
        return tuple(FORMS.values()) if self.pointwise else (SELECT,)

    def read_as(self, form: Form, text: str) -> str:
        """Return the expression of a form of this function, whose own expression is `text`."""
        return form.prefix + text

    def total(self, num_classes: int, parameters: Mapping[str, float]) -> float | None:
        """Return the sum of the costs over all labels if it is constant, else None."""
        return None if self.label_sum is None else self.label_sum(num_classes, **parameters)

    def read(self, form: Form, parameters: Mapping[str, float], l: Tensor, label: Label) -> Tensor:
        """Return the values of a form of this function, given all its `parameters`: (N, d1, ...)."""
        phi = partial(self.function, **parameters)
        if form is NORMALIZE:
            # The sum over the labels is a known constant (the paper's A.3): no pass over the classes, and no
            # rounding to 1 where the gradient comes from a small p.
            total = None if self.label_sum is None else self.label_sum(l.shape[1], **parameters)
            if total is not None:
                return SELECT.apply(phi, l, label) / total
        if form is SELECT and self.pointwise and not label.soft:
            return phi(label.pick(l))  # one entry per example is enough
        return form.apply(phi, l, label)


@dataclass(frozen=True, eq=False)
class Wrapper(Row):
    """A transform around any loss: of the logits (`of` "logits") or of the label's weights (`of` "label")."""

    of: str = "logits"
    batch: bool = False  # an example's value depends on the others of its batch
    evens: bool = False  # mixes in the mean over the labels, a constant if the wrapped loss is symmetric


def _numeric_defaults(function: Callable[..., Tensor]) -> dict[str, float]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C, as torch.neg is
        return {}
    return {
        parameter.name: float(parameter.default)
        for parameter in parameters
        if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool)
    }


PER_LABEL: Registry[PerLabel] = Registry("loss")
"""Per-label functions by the name of their plain form, each with title, equation, parameters and source."""

WRAPPERS: Registry[Wrapper] = Registry("wrapper")
"""Wrappers around a loss by name, such as ``logit_clip``."""


def _row(name: str) -> Row | None:
    row: Row | None = PER_LABEL.get(name) or WRAPPERS.get(name)
    return row


class Addend(NamedTuple):
    """One part of a named sum; a string names a parameter of the sum."""

    weight: float | str
    name: str
    given: Mapping[str, float | str]


@dataclass(frozen=True, eq=False)
class Named:
    """An entry of the catalog: a loss that the literature has a name for.

    `template` is an expression. With parameters, it is a sum of ``weight * name(key=value, ...)`` in which
    the names in `defaults` stand for numbers.
    """

    name: str
    template: str
    title: str
    source: str
    use: str
    defaults: Mapping[str, float] = field(default_factory=dict)
    addends: tuple[Addend, ...] = field(init=False, default=())  # of a sum with parameters

    def __post_init__(self) -> None:
        if self.is_sum and self.defaults:
            addends = tuple(_addends(parse(self.template)))
            object.__setattr__(self, "addends", addends)  # the dataclass is frozen

    @property
    def expression(self) -> str:
        """The expression with the default parameters."""
        return self.with_parameters({})

    @property
    def is_sum(self) -> bool:
        """True for a sum; False for a single form of a per-label function and for a wrapper."""
        return self.template != self.name or not self.name.isidentifier()

    def check(self, given: Mapping[str, float]) -> None:
        """Raise an `InputError` if `given` names a parameter that the loss does not have."""
        for name in given:
            if name not in self.defaults:
                takes = ", ".join(self.defaults) or "none"
                raise InputError(
                    f"the loss {self.name!r} has no parameter {name!r}; its parameters: {takes} "
                    f"(it stands for {self.template!r})"
                )

    def with_parameters(self, given: Mapping[str, float]) -> str:
        """Return the expression with the defaults overridden by `given`."""
        self.check(given)
        if not self.is_sum:
            return _called(self.name, given)
        if not self.defaults:
            return self.template
        return " + ".join(f"{weight!r}*" + _called(name, inner) for weight, name, inner in self.filled(given))

    def filled(self, given: Mapping[str, float]) -> list[tuple[float, str, dict[str, float]]]:
        """Return the parts of a sum with parameters: (weight, name, parameters), all numbers filled in."""
        self.check(given)
        values = {**self.defaults, **given}

        def number(slot: float | str) -> float:
            return values[slot] if isinstance(slot, str) else slot

        return [
            (number(weight), name, {key: number(slot) for key, slot in inner.items()})
            for weight, name, inner in self.addends
        ]


def _called(name: str, given: Mapping[str, float]) -> str:
    inside = ",".join(f"{key}={value!r}" for key, value in given.items())
    return name + (f"({inside})" if inside else "")


def _addends(node: ast.expr) -> list[Addend]:
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _addends(left) + _addends(right)
        case ast.BinOp(factor, ast.Mult(), ast.Name() | ast.Call() as loss):
            (inner,) = _addends(loss)
            return [inner._replace(weight=_slot(factor))]
        case ast.Name(name):
            return [Addend(1.0, name, {})]
        case ast.Call(ast.Name(name), [], keywords):
            return [Addend(1.0, name, {str(word.arg): _slot(word.value) for word in keywords})]
    raise InputError(f"a sum with parameters contains {ast.unparse(node)!r}, expected weight*name(key=value)")


def _slot(node: ast.expr) -> float | str:
    match node:
        case ast.Name(name):
            return name
        case ast.Constant(float() | int() as value):
            return float(value)
    raise InputError(f"{ast.unparse(node)!r} is neither a number nor a parameter of the sum")


LOSSES: Registry[Named] = Registry("loss")
"""Every loss that has a name, by name: per-label functions in each form, wrappers around ce, named sums."""

_FORM_SOURCE = {
    SELECT.name: "{}",
    NORMALIZE.name: "{}; normalized: Ma et al. 2020",
    NEGATIVE.name: "{}; negative: Ye et al. 2023",
}
_FORM_USE = {
    SELECT.name: "{}",
    NORMALIZE.name: "Noise-tolerant, but it underfits on its own: add a passive loss.",
    NEGATIVE.name: "The passive term of Active Negative Loss: add it to a normalized loss.",
}


_TITLE_AND_EQUATION = re.compile(r"(?P<title>[^`.(\n]+),\s+``(?P<equation>[^`]+)``")
"""The beginning of a docstring such as "Cross entropy, ``-log p``"."""


def title_and_equation(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the title and the equation that a docstring begins with, or two empty strings."""
    found = _TITLE_AND_EQUATION.match(inspect.getdoc(function) or "")
    return (found["title"][0].lower() + found["title"][1:], found["equation"]) if found else ("", "")


def register(
    name: str,
    phi: Callable[..., Tensor],
    *,
    title: str = "",
    equation: str = "",
    kind: str = "active",
    source: str = "yours",
    use: str = "",
    domain: Domain | None = None,
    label_sum: Callable[..., float | None] | None = None,
    pointwise: bool = True,
    views: bool = False,
    of_logits: bool = False,
    sloped: Callable[..., tuple[Tensor, Tensor | float]] | None = None,
    multiple_of: tuple[str, Callable[..., float]] | None = None,
) -> None:
    """Register a per-label function in the catalog, so that expressions can use it and its forms.

    Args:
        name: a lower-case identifier that is not yet in the catalog.
        phi: maps log-probabilities to costs of the same shape; keyword arguments with float defaults are the
            loss's parameters.
        title, equation: text for documentation; by default from phi's docstring, if it begins as
            "Cross entropy, ``-log p``". The equation is a function of p, or of p_y and p_k if not pointwise.
        source, use: where it comes from; when to use it.
        kind: "active" or "passive".
        domain: limits of each parameter, as keyword arguments of `check_between`.
        label_sum: the sum over all labels as a function of K and the parameters, or None if it is not
            constant.
        pointwise: phi acts entry by entry, on tensors of any shape. If not, it takes (N, K, d1, ...), classes
            on axis 1, and has no normalized and negative forms.
        views: phi takes (V, N, K, d1, ...), V views of each example; implies pointwise=False.
        of_logits: phi takes logits instead of log-probabilities; implies pointwise=False.
        sloped: takes ``x = -log p``, p and the parameters, and returns phi and its derivative with respect to
            x, entry by entry. With it the loss uses the fast path; without, autograd computes the slope.
        multiple_of: the name of a function without parameters that phi is a multiple of, and the factor as a
            function of phi's parameters; see `categories.simplest`.

    Raises:
        InputError: the name, or that of one of its forms, is taken or not a lower-case identifier; phi is not
            a function, fails, or returns another shape; domain has an unknown parameter or limit, or excludes
            a default; phi does not sum to label_sum; sloped differs from phi in its costs, or from autograd
            in its slopes.

    >>> import noisylabels as nl
    >>> nl.losses.register("sq", lambda l: (1 - l.exp()) ** 2)
    >>> nl.loss("nsq + mae").expression
    'nsq+mae'
    >>> nl.losses.unregister("sq")
    """
    check_choice(kind, ("active", "passive"), "kind of loss")
    pointwise = pointwise and not views and not of_logits
    documented = title_and_equation(phi)
    row = PerLabel(
        name,
        phi,
        title or documented[0] or name,
        equation or documented[1] or "phi(p)",
        source,
        use,
        domain or {},
        kind=kind,
        label_sum=label_sum,
        pointwise=pointwise,
        views=views,
        of_logits=of_logits,
        sloped=sloped,
        multiple_of=multiple_of,
    )
    check_free(name, [form.prefix + name for form in row.forms], LOSSES)
    check_domain(row)
    check_shape(row)
    check_label_sum(row)
    check_sloped(row)
    PER_LABEL.add(name, row)
    for form in row.forms:
        full_name = form.prefix + name
        LOSSES.add(
            full_name,
            Named(
                full_name,
                full_name,
                form.title.format(row.title),
                _FORM_SOURCE[form.name].format(source),
                _FORM_USE[form.name].format(use),
                row.defaults,
            ),
        )


def register_wrapper(row: Wrapper) -> None:
    """Register a wrapper in the catalog; its name alone means cross entropy in that wrapper."""
    check_free(row.name, [row.name], LOSSES)
    check_domain(row)
    WRAPPERS.add(row.name, row)
    LOSSES.add(row.name, Named(row.name, row.name, row.title, row.source, row.use, row.defaults))


def unregister(name: str) -> None:
    """Remove a per-label function and its forms from the catalog.

    Args:
        name: of the per-label function.

    Raises:
        InputError: an unknown name, or that of a form, a wrapper or a sum.
    """
    if name in LOSSES and name not in PER_LABEL:
        if LOSSES[name].is_sum or name in WRAPPERS:
            raise InputError(f"{name!r} is not a per-label function, expected a registered one")
        whole = find(name)[1].name
        raise InputError(f"{name!r} is a form of {whole!r}; remove both with unregister({whole!r})")
    PER_LABEL.remove(name)
    for form in FORMS.values():
        if form.prefix + name in LOSSES:
            LOSSES.remove(form.prefix + name)


def find(name: str) -> tuple[Form, PerLabel]:
    """Return the form and the per-label function behind a name such as "nce"."""
    for form in FORMS.values():
        stem = name.removeprefix(form.prefix)
        if name in LOSSES and name.startswith(form.prefix) and stem in PER_LABEL:
            return form, PER_LABEL[stem]
    check_choice(name, [n for n in LOSSES if n.isidentifier()], "loss")
    raise InputError(f"the loss {name!r} stands for {LOSSES[name].template!r}; write that instead")
