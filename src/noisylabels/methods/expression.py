"""Parse expressions of methods, such as ``"elr(lambda_=3)"``, into a `MethodSpec`.

The parameters of a method are the arguments of its class after model and loss that have a number, a truth
value or a text as default. The brackets are read by Python's parser; nothing is evaluated.
"""

from __future__ import annotations

import ast
import hashlib
import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.literals import number_of, parse, written
from noisylabels.core.parameters import Value, check_parameter, defaults_of
from noisylabels.core.registry import Registry
from noisylabels.core.user_code import canonical_spec, failed, find, importable, split_spec
from noisylabels.methods.catalog import METHODS, MakeMethod
from noisylabels.methods.inputs import KINDS
from noisylabels.training.method import LossFunction, Method

STANDARD = "standard"
"""The method of a run that names none."""

_EXPRESSION = re.compile(
    r"""\s*(?:'(?P<a>[^']+)'|"(?P<b>[^"]+)"|(?P<c>[^()@'"]+?))\s*(?:@\s*(?P<key>\w+)\s*)?(?P<rest>\(.*\))?\s*""",
    re.DOTALL,
)
_HELP = "expected a name of `noisylabels list methods`, with parameters as in 'elr(lambda_=3)'"


@dataclass(frozen=True, eq=False)
class MethodSpec:
    """A method with its parameters, without model and loss; called with these, it returns the `Method`.

    Args:
        name: its name in the catalog, or ``FILE.py:CLASS``.
        make: its class, or another function from model, loss and parameters to a method.
        given: the parameters that differ from their defaults, in the order of the signature.
        inputs: inputs that were handed in, by parameter.
    """

    name: str
    make: Callable[..., Method]
    given: Mapping[str, Value] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expression(self) -> str:
        """The canonical expression, which `method` parses to an equal method."""
        inside = ",".join(f"{name}={_written(value)}" for name, value in self.given.items())
        head = self.name if self.name.isidentifier() or " " not in self.name else repr(self.name)
        return head + (f"({inside})" if inside else "")

    def __str__(self) -> str:
        return self.expression

    @property
    def is_user(self) -> bool:
        """Whether the method is user-defined code."""
        return self.name not in METHODS

    @property
    def own_loss(self) -> str | None:
        """The expression of the only loss that the method is defined for; None for any loss."""
        return getattr(self.make, "own_loss", None)

    @property
    def own_model(self) -> str | None:
        """The name of the only model that the method is defined for; None for any model."""
        return getattr(self.make, "own_model", None)

    @property
    def compares_views(self) -> bool:
        """Whether a loss may compare two views of an example, see `Method.compares_views`."""
        return bool(getattr(self.make, "compares_views", False))

    @property
    def fitted(self) -> bool:
        """Whether nothing is trained, see `Method.fitted`."""
        return bool(getattr(self.make, "fitted", False))

    @property
    def rank_inputs(self) -> str | None:
        """How several processes give it the inputs of a batch, see `Method.rank_inputs`."""
        return getattr(self.make, "rank_inputs", None)

    def model_for(self, model: str) -> str:
        """Return the model of a run: the method's own one, if it has one, in place of another.

        Raises:
            InputError: a model that this method does not fit.
        """
        from noisylabels.models.catalog import FITTED

        if self.own_model is None and model in FITTED:
            raise InputError(
                f"the model {model!r} is fitted by a method, not trained; use the method {model}"
            )
        return self.own_model or model

    @property
    def auto_loss(self) -> str:
        """The loss where none is named: that of the papers, cross entropy."""
        return self.own_loss or "ce"

    @property
    def parameters(self) -> dict[str, Value]:
        """All parameters with their values."""
        return {**defaults_of(self.make), **self.given}

    @property
    def needs(self) -> dict[str, tuple[str, str | None]]:
        """The inputs that have to be found: parameter -> (kind, source), the source None without a choice.

        >>> method("forward").needs, method("coteaching(forget_rate=0.2)").needs
        ({'transition': ('transition', 'auto')}, {'second': ('network', None)})
        """
        values, found = self.parameters, {}
        for name, kind in getattr(self.make, "needs", {}).items():
            value = values.get(name)
            if name not in self.inputs and (value is None or isinstance(value, str)):
                found[name] = (kind, value)
        return found

    def with_inputs(self, **inputs: Any) -> MethodSpec:
        """Return the method with inputs handed in, such as ``transition=matrix``.

        Raises:
            InputError: an input that the method does not take.
        """
        takes = getattr(self.make, "needs", {})
        for name in inputs:
            if name not in takes:
                raise InputError(
                    f"the method {self.name!r} takes no input {name!r}{did_you_mean(name, takes)}"
                )
        return replace(self, inputs={**self.inputs, **inputs})

    def __call__(self, model: nn.Module, loss: LossFunction) -> Method:
        """Return the method.

        Raises:
            InputError: an input has not been given; a loss that the method is not defined for; an error in
                user-defined code.
        """
        for name, (kind, source) in self.needs.items():
            if source is not None:
                raise InputError(
                    f"the method {self.expression!r} needs {KINDS[kind].title}; give it as nl.method("
                    f"{self.name!r}, {name}=...), or train with nl.run or `noisylabels train`, which "
                    "estimate it from the noisy data"
                )
        expression = getattr(loss, "expression", None)
        if self.own_loss is not None and expression not in (None, self.own_loss):
            raise InputError(
                f"the method {self.name!r} has a loss of its own, and the loss is {expression!r}; "
                f"use {self.own_loss}"
            )
        values = {**self.given, **self.inputs}
        if not self.is_user:
            made = self.make(model, loss, **values)
        else:
            with importable(self.name):
                try:
                    made = self.make(model, loss, **values)
                except InputError:
                    raise
                except Exception as error:
                    raise failed(self.name, "method", error) from error
        if not isinstance(made, Method):
            raise InputError(f"the method returns a {type(made).__name__}, expected an nl.Method")
        made.expression = self.expression + "".join(f" {n}:{_digest(v)}" for n, v in self.inputs.items())
        return made


def method(expression: str, **inputs: Any) -> MethodSpec:
    """Return the method that an expression describes, to be used as ``fit(..., method=...)``.

    Args:
        expression: a name of the catalog with its parameters, ``"elr(lambda_=3,beta=0.9)"``; with the
            parameters of a source, ``"elr@cifar100"`` (see `noisylabels list methods`); or a class of your
            own, ``"mine.py:SmallLoss(keep=0.5)"`` or ``"package.module:SmallLoss"``, whose file is executed.
        inputs: what the method needs besides, such as ``transition=`` a (K, K) matrix. `nl.run` and
            `noisylabels train` estimate what is not given.

    Raises:
        InputError: a syntax error, an unknown method, parameter or preset (with the nearest name), a value of
            another type or outside its range, or an error in user-defined code.

    >>> method("ELR(lambda=3, beta=0.9)").expression
    'elr(beta=0.9)'
    >>> method("elr@cifar100").parameters
    {'lambda_': 7.0, 'beta': 0.9}
    >>> method("elr(lamda_=3)")
    Traceback (most recent call last):
    ...
    noisylabels.core.checks.InputError: the method 'elr' has no parameter 'lamda_'; did you mean 'lambda_'?
    """
    head, key, rest = _parts(expression)
    spec = split_spec(head)
    if spec is not None:
        name = canonical_spec(head)
        with importable(name):
            make: Any = find(name, "method")
    else:
        name = head.lower()
        make = METHODS[name]
    values: dict[str, Value] = {}
    if key is not None:
        presets = getattr(make, "presets", {})
        if key not in presets:
            raise InputError(f"the method {name!r} has no preset {key!r}{did_you_mean(key, presets)}")
        values |= method(presets[key].expression).given
    values |= _given(name, rest, expression)
    found = MethodSpec(name, make, _checked(name, make, values))
    return found.with_inputs(**inputs) if inputs else found


def parameters_of(expression: str, rows: Registry[Any], what: str) -> tuple[str, dict[str, Value]]:
    """Return the name of a row and its checked parameters, all with their values.

    Args:
        expression: as for `method`, without presets.
        rows: classes, whose first two arguments are not parameters.
        what: what a row is, for messages.

    Raises:
        InputError: as `method`.
    """
    head, key, rest = _parts(expression, what)
    name = head.lower()
    if key is not None:
        raise InputError(f"the {what} {name!r} has no preset {key!r}")
    make = rows[name]
    return name, {**defaults_of(make), **_checked(name, make, _given(name, rest, expression, what), what)}


def user_method(expression: str) -> str | None:
    """Return the ``FILE.py:CLASS`` of an expression of a user-defined method, without running it, or None."""
    head = _parts(expression)[0]
    return None if split_spec(head) is None else canonical_spec(head)


def _parts(expression: str, what: str = "method") -> tuple[str, str | None, str]:
    """Return the name in an expression, its preset or None, and its brackets."""
    if not isinstance(expression, str):
        raise InputError(f"the {what} is {expression!r} ({type(expression).__name__}), {_HELP}")
    found = _EXPRESSION.fullmatch(expression)
    if found is None:
        raise InputError(f"the {what} {expression[:90]!r} cannot be parsed, {_HELP}")
    return (found["a"] or found["b"] or found["c"]).strip(), found["key"], found["rest"] or "()"


def _given(name: str, brackets: str, whole: str, what: str = "method") -> dict[str, Value]:
    """Return the parameters in brackets, as ``(lambda_=3, transition=auto)``."""
    # `lambda` is a word of Python's, and the name of the papers' parameter
    text = "f" + re.sub(r"\blambda(\s*=)", r"lambda_\1", brackets)
    try:
        node: ast.expr | None = parse(text)
    except ValueError:
        node = None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise InputError(f"the {what} {whole[:90]!r} cannot be parsed, {_HELP}")
    values: dict[str, Value] = {}
    for each in node.keywords:
        value = _value(each.value)
        if each.arg is None or value is None:
            raise InputError(
                f"a parameter of the {what} {name!r} is {ast.unparse(each.value)!r}, expected a number, "
                "True, False, a word, or a text in quotes"
            )
        if each.arg in values:
            raise InputError(f"the {what} {whole[:90]!r} gives the parameter {each.arg!r} twice")
        values[each.arg] = value
    return values


def _value(node: ast.expr) -> Value | None:
    match node:
        case ast.Constant(bool() | str() as value):
            return value
        case ast.Constant(int() as value):
            return value
        case ast.Name(word):
            return {"true": True, "false": False}.get(word, word)
    return number_of(node)


def _checked(
    name: str, make: Callable[..., Any], values: Mapping[str, Value], kind: str = "method"
) -> dict[str, Value]:
    """Return the parameters that differ from their defaults, each name, type and value checked."""
    defaults = defaults_of(make)
    domain, needs = getattr(make, "domain", {}), getattr(make, "needs", {})
    for each in values:
        if each not in defaults:
            hint = did_you_mean(each, defaults) if defaults else "; it has no parameters"
            raise InputError(f"the {kind} {name!r} has no parameter {each!r}{hint}")
    found: dict[str, Value] = {}
    for each, default in defaults.items():
        value, what = values.get(each, default), f"the parameter {each} of the {kind} {name!r}"
        if isinstance(value, str) and each in needs:
            KINDS[needs[each]].check(value, what)
        else:
            value = check_parameter(value, default, what, domain.get(each, {}))
        if value != default:
            found[each] = value
    return found


def _written(value: Value) -> str:
    if isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, float):
        return written(value)
    plain = value.isidentifier() and not keyword.iskeyword(value) and value.lower() not in ("true", "false")
    return value if plain else repr(value)


def _digest(value: Any) -> str:
    """Return a short digest of an input, by which a checkpoint recognizes it."""
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    array = np.ascontiguousarray(np.asarray(value, np.float64))
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()[:12]


def as_method(given: str | MakeMethod) -> MakeMethod:
    """Return a method given as an expression, a `MethodSpec`, a class or another callable.

    Raises:
        InputError: as `method`; anything else.
    """
    if isinstance(given, str):
        return method(given)
    if isinstance(given, Method) or not callable(given):
        raise InputError(
            f"the method is {given!r}, expected an expression such as 'elr(lambda_=3)' or a callable from "
            "model and loss to a method, such as a class derived from nl.Method"
        )
    return given


def as_spec(given: object) -> MethodSpec:
    """Return a method given as an expression or as a `MethodSpec`.

    Raises:
        InputError: as `method`; anything else.
    """
    if isinstance(given, MethodSpec):
        return given
    if not isinstance(given, str):
        raise InputError(f"the method is {given!r}, expected an expression or what nl.method returns")
    return method(given)
