"""A loss of the user's own in an expression: ``mine.py:bounded``, ``package.module:bounded``.

The name is of one of two kinds of function, told apart by how many arguments have no default:

- ``f(l)``: a per-label function, as those of `pointwise.py` and `vectorwise.py`;
- ``f(logits, target)``: a loss in the usual form, one value an example. What it gives for every target are
  its costs, which is all that a form needs ("any loss can be normalized", the paper's Eq. 1).

Further arguments with numbers as defaults are its parameters. What it gives is tried once, on a few small
predictions, so that a run that cannot go well ends before it begins.
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
from noisylabels.losses.catalog import PerLabel, said_of
from noisylabels.losses.forms import FORMS, NORMALIZE, SELECT, Form, Hard, Label
from noisylabels.losses.terms import Term

ATOM = r"(?:[A-Za-z]:(?=[\\/]))?[\w.~\\/-]+:[^\W\d]\w*"
"""A spec that needs no quotes in an expression, a regular expression; the beginning may be Windows' C:\\."""

_ROOM = 2**22
"""How many logits a loss of logits and target is given at a time, where it is asked for every label."""


@dataclass(frozen=True, eq=False)
class UserLoss(PerLabel):
    """A per-label function that an expression names by where it is."""

    spec: str = ""  # canonical, as `noisylabels.core.user_code` reads it
    base: str = "."  # the folder that it is relative to

    def __reduce_ex__(self, protocol: Any) -> Any:
        return user_row, (self.spec, self.base)  # by name, as the catalog's

    @property
    def forms(self) -> tuple[Form, ...]:
        """All of them; but the negative one needs a function of p."""
        return tuple(FORMS.values()) if self.pointwise else (SELECT, NORMALIZE)

    def read_as(self, form: Form, text: str) -> str:
        """Return a prefix as a word: where there is a path, nobody could tell it from the path."""
        return text if form is SELECT else f"{form.name}({text})"

    def total(self, num_classes: int, parameters: Mapping[str, float]) -> float | None:
        """Return the sum over all labels if it is constant, found by computing it."""
        return _constant_sum(self, num_classes, tuple(sorted(parameters.items())))


@dataclass(frozen=True, eq=False)
class UserLogitLoss(UserLoss):
    """A loss of logits and target, read as a per-label function; `function` is a `_Called` of two tensors."""

    def read(self, form: Form, parameters: Mapping[str, float], l: Tensor, label: Label) -> Tensor:
        """Return the values of a form at the logits `l`: (N, d1, ...)."""
        if form is SELECT and isinstance(label, Hard):
            rows, back = _as_rows(l)
            return back(self.function(rows, label.target.reshape(-1), **parameters))
        return form.apply(lambda z: self.costs(z, parameters), l, label)

    def costs(self, z: Tensor, parameters: Mapping[str, float]) -> Tensor:
        """Return what each example would pay under each label: (N, K, d1, ...), logits to costs."""
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
    """A function that is named and not imported: what it is called is all that is known of it."""

    def parameters(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return `given`: which parameters there are is not known."""
        return {name: float(value) for name, value in given.items()}

    def total(self, num_classes: int, parameters: Mapping[str, float]) -> float | None:
        """Return None: it is not known."""
        return None


class _Called:
    """A function of the user's, called with its parameters; its errors are one line."""

    def __init__(self, spec: str, function: Callable[..., Any]) -> None:
        self.spec = spec
        self.function = function
        self.of_logits, self.__signature__, self.fixed = _signature(spec, function)
        # range(t) wants the integer that the default is
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
    """Return whether it takes logits and target, its parameters, and what it is always given."""
    wants = (
        "expected f(l) of log-probabilities, or f(logits, target), its parameters with numbers as defaults"
    )
    if isinstance(function, type):
        raise InputError(
            f"the loss {spec!r} is a class; make an object of it in the file, mine = {function.__name__}(), "
            f"and name that; {wants}"
        )
    if isinstance(function, nn.Module) and (state := next(iter(function.state_dict()), None)):
        raise InputError(
            f"the loss {spec!r} keeps the tensor {state!r}, which a run would neither train nor save; make "
            "such tensors from the logits each time"
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
    names = ", ".join(parameter.name for parameter in open_ones) or "nothing"
    if len(open_ones) not in (1, 2) or any(parameter.kind not in kinds for parameter in open_ones):
        raise InputError(f"the loss {spec!r} asks for {names} without a default, {wants}")
    # as those of torch.nn.functional have it; the mean of the batch is taken later
    fixed = {"reduction": "none"} if "reduction" in signature.parameters else {}
    return len(open_ones) == 2, signature, fixed


_ROWS: dict[tuple[str, str, str | int], UserLoss] = {}


def user_row(spec: str, base: str | None = None) -> UserLoss:
    """Return the row of a function of the user's own; the same one as long as its file stays as it is.

    Args:
        spec: ``file.py:name``, or ``package.module:name`` (the current folder is searched first).
        base: the folder that it is relative to, if not the current one.

    Raises:
        InputError: no such file, module or name (with the nearest); an error of the code's own, with its
            line; a class, or arguments other than said above.

    >>> own_row("torch.nn.functional:cross_entropy").of_logits
    True
    """
    spec = user_spec(spec)
    folder = Path.cwd() if base is None else Path(base)
    file = code_file(spec, folder) if spec.rpartition(":")[0].endswith(".py") else None
    stamp: str | int = file_digest(file) if file is not None else 0
    if not stamp or (spec, str(folder), stamp) not in _ROWS:
        with importable(spec, folder):
            function = find(spec, "loss", folder)
            # an imported module is the same until Python ends; a notebook's names are not
            stamp = stamp or id(function)
            if (spec, str(folder), stamp) not in _ROWS:
                _ROWS[spec, str(folder), stamp] = _row(spec, str(folder), function)
    return _ROWS[spec, str(folder), stamp]


def user_spec(spec: str) -> str:
    """Return a spec spelled canonically; nothing is imported."""
    if split_spec(spec) is None:
        raise InputError(f"the loss {spec!r} cannot be read, expected FILE.py:FUNCTION or MODULE:FUNCTION")
    return canonical_spec(spec)


def unresolved_row(spec: str) -> UserLoss:
    """Return a row that stands for a function that must not be imported; equal ones are the same."""
    return _unresolved(user_spec(spec))


@lru_cache(maxsize=256)
def _unresolved(spec: str) -> UserLoss:
    return Unresolved(spelled(spec), _never, spec, "phi(p)", "unknown", "", spec=spec)


def _never(*_: Any) -> Tensor:
    raise AssertionError("a loss that was not imported is asked for its values")


def user_specs(terms: Iterable[Term]) -> list[str]:
    """Return the specs of the functions of the user's own in a loss."""
    return list(dict.fromkeys(term.row.spec for term in terms if isinstance(term.row, UserLoss)))


def spelled(spec: str) -> str:
    """Return a spec as an expression has it: in quotes if it would not be read without them.

    >>> print(spelled("a/mine.py:f"), spelled("my losses.py:f"))
    a/mine.py:f 'my losses.py:f'
    """
    if re.fullmatch(ATOM, spec):
        return spec
    if "'" in spec and '"' in spec:
        raise InputError(
            f"the loss {spec!r} has both kinds of quotes in its path; give the file another name"
        )
    return f'"{spec}"' if "'" in spec else f"'{spec}'"


def _row(spec: str, base: str, function: Callable[..., Any]) -> UserLoss:
    called = _Called(spec, function)
    pointwise = not called.of_logits and _is_pointwise(called)
    title, equation = said_of(function.forward if isinstance(function, nn.Module) else function)
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
    # Of p alone, and with a constant sum: affine in p, as mae and rce are, which lower the others as well.
    return replace(row, kind="passive") if pointwise and row.total(3, row.defaults) is not None else row


class _OnRows:
    """A function of whole vectors of probabilities, given (N, K) whatever the shape is."""

    def __init__(self, called: _Called) -> None:
        self.called = called
        self.__signature__ = called.__signature__

    def __call__(self, l: Tensor, **parameters: float) -> Any:
        rows, back = _as_rows(l)
        costs = self.called(rows, **parameters)
        return back(costs) if isinstance(costs, Tensor) and costs.shape == rows.shape else costs


def _as_rows(l: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return (N, K, d1, ...) as (M, K), and what gives (M,) or (M, K) the shape of `l` again."""
    last = l.movedim(1, -1)

    def back(values: Tensor) -> Tensor:
        if values.ndim == 1:
            return values.reshape(last.shape[:-1])
        return values.reshape(last.shape).movedim(-1, 1)

    return last.reshape(-1, l.shape[1]), back


# What it gives, tried once -------------------------------------------------------------------------

_TRIAL = [[0.3, -0.4, 1.1], [1.5, 0.2, -1.0], [-0.7, 0.6, 0.1], [0.0, 0.0, 0.0], [20.0, -20.0, -20.0]]
"""Logits of 5 examples of 3 classes: some, all even, and one so sure that p is 1 in float32."""


def check_term(term: Term) -> Term:
    """Return a term whose function gives what it should, else raise an `InputError`."""
    if isinstance(term.row, UserLoss) and not isinstance(term.row, Unresolved):
        _check(replace(term, weight=1.0, wraps=()))
    return term


@lru_cache(maxsize=256)
def _check(term: Term) -> None:
    row = term.row
    assert isinstance(row, UserLoss)
    importing = importable(row.spec, Path(row.base))  # a function may import more when it is called
    with importing, torch.inference_mode(False), torch.enable_grad():
        for dtype in (torch.float32, torch.float64):
            z = torch.tensor(_TRIAL, dtype=dtype, device="cpu", requires_grad=True)
            l = z if row.of_logits else torch.log_softmax(z, 1)
            _check_shape(term, l)
            for label in range(l.shape[1]):
                target = torch.full((len(l),), label, device="cpu")
                _check_values(term, z, l, target)


def _check_shape(term: Term, l: Tensor) -> None:
    """Hold the function to the type and shape of what it gives, and to giving it again."""
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
        wanted = "a cost for every label"
        if row.of_logits:
            takes, wanted = "logits", "a value for every example, not their mean"
        raise InputError(
            f"{said} gives {came} for {takes} of shape {tuple(l.shape)}, expected {wanted}: "
            f"floating-point {shape}"
        )
    if not torch.equal(found.nan_to_num(), again.nan_to_num()):
        raise InputError(f"{said} gives other values when asked again; expected no chance in it")


def _check_values(term: Term, z: Tensor, l: Tensor, target: Tensor) -> None:
    """Hold every value and its gradient by the logits to be finite, and to come of its own example alone."""
    said, read = f"the loss {str(term)!r}", term.part.read
    values = read(l, Hard(target))
    slopes = None
    if values.requires_grad:
        (slopes,) = torch.autograd.grad(values.sum(), z, retain_graph=True, allow_unused=True)
    if slopes is None:
        raise InputError(f"{said} has no gradient; is there an argmax, a detach or a no_grad in it?")
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
            f"{said} gives an example another value among others than alone; expected no mean or sum over "
            "the batch in it"
        )


def _is_pointwise(called: _Called) -> bool:
    """Return whether a function of log-probabilities acts entry by entry."""
    l = torch.log_softmax(torch.tensor(_TRIAL, dtype=torch.float64, device="cpu"), 1)
    whole = called(l)
    if not isinstance(whole, Tensor) or whole.shape != l.shape:
        return True  # what is wrong is said by the check
    try:
        columns = [called(l[:, k]) for k in range(l.shape[1])]
        one = called(l[0, 0])
    except InputError:  # it wants a whole vector, on axis 1
        return False
    same = all(isinstance(column, Tensor) and column.shape == l[:, 0].shape for column in columns)
    return (
        same
        and torch.allclose(torch.stack(columns, 1), whole, equal_nan=True)
        and torch.allclose(torch.as_tensor(one), whole[0, 0], equal_nan=True)
    )


@lru_cache(maxsize=1024)
def _constant_sum(row: UserLoss, num_classes: int, parameters: tuple[tuple[str, float], ...]) -> float | None:
    """Return the sum of the costs over all labels if it is the same for many predictions."""
    generator = torch.Generator("cpu").manual_seed(0)
    z = 3 * torch.randn((8, num_classes), generator=generator, dtype=torch.float64, device="cpu")
    z[0] = 0.0
    if isinstance(row, UserLogitLoss):
        costs = row.costs(z, dict(parameters))
    else:
        costs = row.function(torch.log_softmax(z, 1), **dict(parameters))
    if not isinstance(costs, Tensor) or costs.shape != z.shape or not costs.is_floating_point():
        return None  # what is wrong is said by the check
    sums = costs.detach().sum(1)
    off = float((sums - sums.mean()).abs().max())
    return float(sums.mean()) if off <= 1e-9 * float(costs.detach().abs().sum(1).max()) else None
