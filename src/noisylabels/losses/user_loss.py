"""User-defined losses in expressions: ``mine.py:bounded``, ``package.module:bounded``.

The function has one of two signatures, distinguished by the number of arguments without a default:

- ``f(l)``: a per-label function, like those of `pointwise.py` and `vectorwise.py`;
- ``f(logits, target)``: a loss in the usual form, one value per example. Its values for every target are the
  costs that a form needs ("any loss can be normalized", the paper's Eq. 1).

Further arguments with numbers as defaults are its parameters. The function is tried once, on a few small
predictions, so that a faulty one stops a run before it begins.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.core.user_code import canonical_spec, code_file, failed, find, importable, split_spec
from noisylabels.losses.catalog import PerLabel, title_and_equation
from noisylabels.losses.forms import FORMS, NORMALIZE, SELECT, Form, Hard, Label
from noisylabels.losses.terms import Term

ATOM = r"(?:[A-Za-z]:(?=[\\/]))?[\w.~\\/-]+:[^\W\d]\w*"
"""A regular expression: a spec that needs no quotes in an expression; it may begin with Windows' C:\\."""

_ROOM = 2**22
"""The most logits per call of a loss of logits and target when its costs under all labels are computed."""


@dataclass(frozen=True, eq=False)
class UserLoss(PerLabel):
    """A per-label function that an expression names by its file or module."""

    spec: str = ""  # canonical, as `noisylabels.core.user_code` reads it
    base: str = "."  # the folder that it is relative to

    def __reduce_ex__(self, protocol: Any) -> Any:
        return user_row, (self.spec, self.base)  # by name, like rows of the catalog

    @property
    def forms(self) -> tuple[Form, ...]:
        """All forms; the negative one only of a function that acts entry by entry."""
        return tuple(FORMS.values()) if self.pointwise else (SELECT, NORMALIZE)

    def read_as(self, form: Form, text: str) -> str:
        """Return a form as a word, ``normalize(...)``: a prefix could not be told from the path."""
        return text if form is SELECT else f"{form.name}({text})"

    def total(self, num_classes: int, parameters: Mapping[str, float]) -> float | None:
        """Return the sum of the costs over all labels if it is numerically constant, else None."""
        return _constant_sum(self, num_classes, tuple(sorted(parameters.items())))


@dataclass(frozen=True, eq=False)
class UserLogitLoss(UserLoss):
    """A loss of logits and target as a per-label function; `function` is a `_Called` of two tensors."""

    def read(self, form: Form, parameters: Mapping[str, float], l: Tensor, label: Label) -> Tensor:
        """Return the values of a form at the logits `l`: (N, d1, ...)."""
        if form is SELECT and isinstance(label, Hard):
            rows, back = _as_rows(l)
            return back(self.function(rows, label.target.reshape(-1), **parameters))
        return form.apply(lambda z: self.costs(z, parameters), l, label)

    def costs(self, z: Tensor, parameters: Mapping[str, float]) -> Tensor:
        """Return the costs of each example under each label, (N, K, d1, ...), from logits of that shape."""
        rows, back = _as_rows(z)
        count, num_classes = rows.shape
        parts = []
        for labels in torch.arange(num_classes, device=z.device).split(max(1, _ROOM // max(1, rows.numel()))):
            many = rows.repeat(len(labels), 1)
            values = self.function(many, labels.repeat_interleave(count), **parameters)
            parts.append(values.reshape(len(labels), count))
        return back(torch.cat(parts).t())


@dataclass(frozen=True, eq=False)
class Unresolved(UserLoss):
    """A function that is named but not imported, so that only its name is known."""

    def parameters(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return `given`; the function's own parameters are unknown."""
        return {name: float(value) for name, value in given.items()}

    def total(self, num_classes: int, parameters: Mapping[str, float]) -> float | None:
        """Return None; the sum is unknown."""
        return None


class _Called:
    """A user-defined function; calls pass its parameters, and errors become one line."""

    def __init__(self, spec: str, function: Callable[..., Any]) -> None:
        self.spec = spec
        self.function = function
        self.of_logits, self.__signature__, self.fixed = _signature(spec, function)
        # integers if the default is one, as range(t) requires
        self.whole = {
            name
            for name, parameter in self.__signature__.parameters.items()
            if type(parameter.default) is int
        }

    def __call__(self, *tensors: Tensor, **parameters: float) -> Any:
        given = {
            name: int(value) if name in self.whole and float(value).is_integer() else value
            for name, value in parameters.items()
        }
        try:
            return self.function(*tensors, **given, **self.fixed)
        except Exception as error:
            if isinstance(error, InputError | MemoryError) or "memory" in str(error).lower():
                raise
            raise failed(self.spec, "loss", error) from error


def _signature(spec: str, function: Callable[..., Any]) -> tuple[bool, inspect.Signature, dict[str, Any]]:
    """Return whether a function takes logits and target, its parameters, and its fixed arguments."""
    wants = (
        "expected f(l) of log-probabilities, or f(logits, target), its parameters with numbers as defaults"
    )
    if isinstance(function, type):
        raise InputError(
            f"the loss {spec!r} is a class; create an object in the file, mine = {function.__name__}(), and "
            f"name that; {wants}"
        )
    if isinstance(function, nn.Module) and (state := next(iter(function.state_dict()), None)):
        raise InputError(
            f"the loss {spec!r} keeps the tensor {state!r}, which a run would neither train nor save; "
            "compute such tensors from the logits in every call"
        )
    try:
        signature = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except ValueError:  # written in C, as torch.neg is
        return False, inspect.Signature(), {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    open_ones = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    names = ", ".join(parameter.name for parameter in open_ones) or "no argument"
    if len(open_ones) not in (1, 2) or any(parameter.kind not in kinds for parameter in open_ones):
        raise InputError(f"the loss {spec!r} has {names} without a default, {wants}")
    # for functions like those of torch.nn.functional; the mean over the batch is computed later
    fixed = {"reduction": "none"} if "reduction" in signature.parameters else {}
    return len(open_ones) == 2, signature, fixed


_ROWS: dict[tuple[str, str, str | int], UserLoss] = {}


def user_row(spec: str, base: str | None = None) -> UserLoss:
    """Return the row of a user-defined function; the same object as long as its file does not change.

    Args:
        spec: ``file.py:name``, or ``package.module:name`` (the current folder is searched first).
        base: the folder that it is relative to, if not the current one.

    Raises:
        InputError: no such file, module or name (with the nearest); an error in the user's code, with its
            line; a class, or a signature other than those above.

    >>> user_row("torch.nn.functional:cross_entropy").of_logits
    True
    """
    spec = user_spec(spec)
    folder = Path.cwd() if base is None else Path(base)
    file = code_file(spec, folder) if spec.rpartition(":")[0].endswith(".py") else None
    stamp: str | int = file_digest(file) if file is not None else 0
    if not stamp or (spec, str(folder), stamp) not in _ROWS:
        with importable(spec, folder):
            function = find(spec, "loss", folder)
            # an imported module stays the same until Python exits; names of a notebook may not
            stamp = stamp or id(function)
            if (spec, str(folder), stamp) not in _ROWS:
                _ROWS[spec, str(folder), stamp] = _row(spec, str(folder), function)
    return _ROWS[spec, str(folder), stamp]


def user_spec(spec: str) -> str:
    """Return the canonical spelling of a spec, without importing anything."""
    if split_spec(spec) is None:
        raise InputError(f"the loss {spec!r} cannot be parsed, expected FILE.py:FUNCTION or MODULE:FUNCTION")
    return canonical_spec(spec)


def unresolved_row(spec: str) -> UserLoss:
    """Return a row for a function that must not be imported; the same object for equal specs."""
    return _unresolved(user_spec(spec))


@lru_cache(maxsize=256)
def _unresolved(spec: str) -> UserLoss:
    return Unresolved(spelled(spec), _never, spec, "phi(p)", "unknown", "", spec=spec)


def _never(*_: Any) -> Tensor:
    raise AssertionError("a loss that was not imported is asked for its values")


def user_specs(terms: Iterable[Term]) -> list[str]:
    """Return the specs of the user-defined functions in a loss."""
    return list(dict.fromkeys(term.row.spec for term in terms if isinstance(term.row, UserLoss)))


def spelled(spec: str) -> str:
    """Return a spec as it is written in an expression: in quotes if it needs them.

    >>> print(spelled("a/mine.py:f"), spelled("my losses.py:f"))
    a/mine.py:f 'my losses.py:f'
    """
    if re.fullmatch(ATOM, spec):
        return spec
    if "'" in spec and '"' in spec:
        raise InputError(f"the loss {spec!r} has both kinds of quotes in its path; rename the file")
    return f'"{spec}"' if "'" in spec else f"'{spec}'"


def _row(spec: str, base: str, function: Callable[..., Any]) -> UserLoss:
    called = _Called(spec, function)
    pointwise = not called.of_logits and _is_pointwise(called)
    title, equation = title_and_equation(function.forward if isinstance(function, nn.Module) else function)
    name = spec.rpartition(":")[2]
    row = (UserLogitLoss if called.of_logits else UserLoss)(
        spelled(spec),
        called if pointwise or called.of_logits else _OnRows(called),
        title or name,
        equation or (f"{name}(p)" if pointwise else f"{name}_y"),
        "yours",
        "",
        pointwise=pointwise,
        of_logits=called.of_logits,
        spec=spec,
        base=base,
    )
    # A function of p with a constant sum is affine in p, like mae and rce, which lower the other classes too.
    return replace(row, kind="passive") if pointwise and row.total(3, row.defaults) is not None else row


class _OnRows:
    """A function of whole vectors of probabilities, called with (N, K) for inputs of any shape."""

    def __init__(self, called: _Called) -> None:
        self.called = called
        self.__signature__ = called.__signature__

    def __call__(self, l: Tensor, **parameters: float) -> Any:
        rows, back = _as_rows(l)
        costs = self.called(rows, **parameters)
        return back(costs) if isinstance(costs, Tensor) and costs.shape == rows.shape else costs


def _as_rows(l: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return (N, K, d1, ...) as (M, K), and the function that restores the shape of (M,) or (M, K)."""
    last = l.movedim(1, -1)

    def back(values: Tensor) -> Tensor:
        if values.ndim == 1:
            return values.reshape(last.shape[:-1])
        return values.reshape(last.shape).movedim(-1, 1)

    return last.reshape(-1, l.shape[1]), back


# The trial of a function -------------------------------------------------------------------------

_TRIAL = [[0.3, -0.4, 1.1], [1.5, 0.2, -1.0], [-0.7, 0.6, 0.1], [0.0, 0.0, 0.0], [20.0, -20.0, -20.0]]
"""Logits of 5 examples for 3 classes, one of them all equal, one so certain that p is 1 in float32."""


def check_term(term: Term) -> Term:
    """Return the term if its function passes the trial, else raise an `InputError`."""
    if isinstance(term.row, UserLoss) and not isinstance(term.row, Unresolved):
        _check(replace(term, weight=1.0, wraps=()))
    return term


@lru_cache(maxsize=256)
def _check(term: Term) -> None:
    row = term.row
    assert isinstance(row, UserLoss)
    importing = importable(row.spec, Path(row.base))  # a function may import modules when it is called
    with importing, torch.inference_mode(False), torch.enable_grad():
        for dtype in (torch.float32, torch.float64):
            z = torch.tensor(_TRIAL, dtype=dtype, device="cpu", requires_grad=True)
            l = z if row.of_logits else torch.log_softmax(z, 1)
            _check_shape(term, l)
            for label in range(l.shape[1]):
                target = torch.full((len(l),), label, device="cpu")
                _check_values(term, z, l, target)


def _check_shape(term: Term, l: Tensor) -> None:
    """Check the type and shape of the function's result, and that it is deterministic."""
    row, said = term.row, f"the loss {str(replace(term, form=SELECT))!r}"
    target = torch.zeros(len(l), dtype=torch.int64, device="cpu")
    tensors = (l, target) if row.of_logits else (l,)
    found, again = (row.function(*tensors, **term.parameters) for _ in range(2))
    shape = (len(l),) if row.of_logits else tuple(l.shape)
    if not isinstance(found, Tensor) or found.shape != shape or not found.is_floating_point():
        came = f"a {type(found).__name__}"
        if isinstance(found, Tensor):
            came = f"{found.dtype} of shape {tuple(found.shape)}"
        takes = "log-probabilities"
        wanted = "one cost per label"
        if row.of_logits:
            takes, wanted = "logits", "one value per example, not their mean"
        raise InputError(
            f"{said} returns {came} for {takes} of shape {tuple(l.shape)}, expected {wanted}: "
            f"floating-point {shape}"
        )
    if not torch.equal(found.nan_to_num(), again.nan_to_num()):
        raise InputError(f"{said} returns different values for the same input; expected no randomness")


def _check_values(term: Term, z: Tensor, l: Tensor, target: Tensor) -> None:
    """Check that values and gradients are finite, and that each value depends on its own example alone."""
    said, read = f"the loss {str(term)!r}", term.part.read
    values = read(l, Hard(target))
    slopes = None
    if values.requires_grad:
        (slopes,) = torch.autograd.grad(values.sum(), z, retain_graph=True, allow_unused=True)
    if slopes is None:
        raise InputError(f"{said} has no gradient; does it use argmax, detach or no_grad?")
    p = torch.softmax(z.detach(), 1).gather(1, target.unsqueeze(1)).squeeze(1)
    for what, numbers in ((said, values.detach()), (f"the gradient of {said}", slopes.abs().amax(1))):
        if len(bad := (~numbers.isfinite()).nonzero()):
            at = int(bad[0])
            raise InputError(
                f"{what} is {float(numbers[at])} where the label has p = {float(p[at]):.2g} ({l.dtype}), "
                "expected a finite number; clamp_min keeps logarithms and powers away from 0"
            )
    alone = [read(l[n : n + 1], Hard(target[n : n + 1])) for n in range(len(l))]
    if not torch.allclose(torch.cat(alone), values, rtol=1e-3, atol=1e-5):
        raise InputError(
            f"{said} returns values that depend on the rest of the batch; expected no mean or sum over the "
            "batch"
        )


def _is_pointwise(called: _Called) -> bool:
    """Return whether a function of log-probabilities acts entry by entry."""
    l = torch.log_softmax(torch.tensor(_TRIAL, dtype=torch.float64, device="cpu"), 1)
    whole = called(l)
    if not isinstance(whole, Tensor) or whole.shape != l.shape:
        return True  # the check reports the fault
    try:
        columns = [called(l[:, k]) for k in range(l.shape[1])]
        one = called(l[0, 0])
    except InputError:  # it needs a whole vector, on axis 1
        return False
    same = all(isinstance(column, Tensor) and column.shape == l[:, 0].shape for column in columns)
    return (
        same
        and torch.allclose(torch.stack(columns, 1), whole, equal_nan=True)
        and torch.allclose(torch.as_tensor(one), whole[0, 0], equal_nan=True)
    )


@lru_cache(maxsize=1024)
def _constant_sum(row: UserLoss, num_classes: int, parameters: tuple[tuple[str, float], ...]) -> float | None:
    """Return the sum of the costs over all labels if it is the same for several predictions, else None."""
    generator = torch.Generator("cpu").manual_seed(0)
    z = 3 * torch.randn((8, num_classes), generator=generator, dtype=torch.float64, device="cpu")
    z[0] = 0.0
    if isinstance(row, UserLogitLoss):
        costs = row.costs(z, dict(parameters))
    else:
        costs = row.function(torch.log_softmax(z, 1), **dict(parameters))
    if not isinstance(costs, Tensor) or costs.shape != z.shape or not costs.is_floating_point():
        return None  # the check reports the fault
    sums = costs.detach().sum(1)
    off = float((sums - sums.mean()).abs().max())
    return float(sums.mean()) if off <= 1e-9 * float(costs.detach().abs().sum(1).max()) else None
