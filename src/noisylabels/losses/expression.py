"""Parse expressions such as ``"2*nce + 0.5*rce(A=-4)"`` into a `Loss`.

The grammar is a subset of Python's (sums, products with a number or a varying weight, calls with keywords),
so that Python's parser reads it; nothing is evaluated. Names may be in capitals, as in the papers. A
user-defined function, ``mine.py:bounded``, is quoted first, so that the parser sees a string.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.core.literals import number_of, parse
from noisylabels.losses.catalog import LOSSES, WRAPPERS, Named, find
from noisylabels.losses.evaluation import IGNORE
from noisylabels.losses.forms import NEGATIVE, NORMALIZE, SELECT
from noisylabels.losses.modules import Loss
from noisylabels.losses.presets import PRESETS, preset
from noisylabels.losses.terms import Term, Wrap, changed
from noisylabels.losses.user_loss import ATOM, UserLoss, check_term, user_row
from noisylabels.losses.varying import AUTO, WORDS, Varying, varying

_HELP = "expected a sum such as 'nce + 2*mae' or '2*nce + 0.5*rce(A=-4)'"

_HELP_AUTO = "expected, say, 'nce + linear(0.1,10)*mae' or 'nce + auto(rule=gradient)*mae'"

_OWN = re.compile(rf"""'([^']*:[^\W\d]\w*)'|"([^"]*:[^\W\d]\w*)"|(?<![\w.~\\/-])({ATOM})""")
_FORMS = {form.name: form for form in (NORMALIZE, NEGATIVE)}


class _Source(NamedTuple):
    """A whole expression, for error messages, and the function that makes rows of user-defined functions."""

    text: str
    row: Callable[[str], UserLoss]

    def __str__(self) -> str:
        return _cut(self.text)


def loss(
    expression: str,
    *,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int | None = IGNORE,
    label_smoothing: float = 0.0,
) -> Loss:
    """Return the loss that an expression describes.

    Args:
        expression: a sum of losses of the catalog, each with an optional positive factor and
            optional parameters: ``"nce+mae"``, ``"2*nce + 0.5*rce(A=-4)"``, ``"sce(beta=2)"``; a wrapper
            around a loss: ``"logit_clip(nce+mae, tau=2)"``; or a loss with the constants of a source:
            ``"nce+rce@cifar100"``, ``"nfl@ma2020"`` (see `losses.PRESETS`). The key belongs to the sum
            before it, up to a bracket: ``"logit_clip(nce+rce@cifar10) + mae"``. A user-defined function is
            ``"mine.py:bounded"`` or ``"package.module:bounded"``, with its parameters in brackets
            (``"mine.py:bounded(a=2)"``); its file is executed. ``"normalize(...)"`` and ``"negative(...)"``
            around a single loss are its forms; for losses of the catalog the prefixes n and nn mean the same.
            A factor may vary during training: ``"nce + linear(0.1,10)*mae"``, ``"nce + auto*mae"`` (see
            `losses.varying` and `Loss.set_progress`).
        reduction: "mean", "sum" or "none".
        weight: (K,) class weights, as in ``nn.CrossEntropyLoss``.
        ignore_index, label_smoothing: as in ``nn.CrossEntropyLoss``; see `Loss`.

    Raises:
        InputError: a syntax error, an unknown loss, parameter or preset (with the nearest name), a factor or
            a parameter outside its range, label_smoothing of a symmetric loss, or any fault of a user-defined
            function, which is tried on a few predictions (see `losses.user_loss`).

    >>> import torch
    >>> criterion = loss("NCE + MAE")
    >>> criterion.expression
    'nce+mae'
    >>> criterion(torch.zeros(4, 10), torch.arange(4))  # at equal probabilities: 1/10 + 2 (1 - 1/10)
    tensor(1.9000)
    >>> loss("nce+mae@cifar100")  # Ma 2020 weighs MAE by 1, and codes it 1 - p
    Loss("10*nce+0.5*mae")
    """
    if not isinstance(expression, str):
        raise InputError(f"the loss is {expression!r} ({type(expression).__name__}), {_HELP}")
    return Loss(
        read_terms(expression),
        reduction=reduction,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )


def read_terms(expression: str, row: Callable[[str], UserLoss] = user_row) -> list[Term]:
    """Return the terms of an expression; `row` returns the rows of user-defined functions."""
    quoted = _OWN.sub(lambda found: repr(found[1] or found[2] or found[3]), expression.strip())
    try:
        return _terms(parse(quoted), _Source(expression, row))
    except (ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the loss {_cut(expression)} cannot be parsed, {_help(expression)}") from None


def bind(named: Named, given: Mapping[str, float]) -> list[Term]:
    """Return the terms of an entry of the catalog with `given` parameters.

    It does not use the parser, so that it is fast and torch.compile can trace it for any numbers.
    """
    if named.name in WRAPPERS:
        row = WRAPPERS[named.name]
        return [replace(Term.of(1.0, *find("ce"), {}), wraps=(Wrap(row, changed(row, given)),))]
    if not named.is_sum:
        return [Term.of(1.0, *find(named.name), given)]
    return [Term.of(weight, *find(name), inner) for weight, name, inner in named.filled(given)]


def _help(text: str) -> str:
    if ".py" not in text:
        return _HELP
    return (
        "expected a sum of losses such as mine.py:bounded or mine.py:bounded(a=2), in quotes if there are "
        "spaces or signs in the path: 'my losses/mine.py:bounded'"
    )


def _cut(text: str) -> str:
    """Return an expression in quotes, a long one without its middle."""
    return repr(text if len(text) <= 90 else f"{text[:60]}...{text[-20:]}")


def _terms(node: ast.expr, whole: _Source) -> list[Term]:
    match node:
        # Python binds @ to the last loss before it; here it applies to the whole sum before it
        case ast.BinOp(left, ast.Add(), ast.BinOp(last, ast.MatMult(), key)):
            return _preset(ast.BinOp(left, ast.Add(), last), key, whole)
        case ast.BinOp(named, ast.MatMult(), key):
            return _preset(named, key, whole)
        case ast.BinOp(left, ast.Add(), right):
            return _terms(left, whole) + _terms(right, whole)
        case ast.BinOp(left, ast.Mult(), right):
            before, after = _factor(left, whole), _factor(right, whole)
            factor, inner = (after, left) if before is None else (before, right)
            if factor is None:
                raise InputError(f"the loss {whole} has a product without a number or a schedule, {_HELP}")
            return [_times(factor, term, whole) for term in _terms(inner, whole)]
        case ast.Constant(str(spec)) if ":" in spec:
            return [_own(spec, {}, whole)]
        case ast.Call(ast.Constant(str(spec)), [], keywords) if ":" in spec:
            return [_own(spec, _given(spec, keywords, whole), whole)]
        case ast.Name(name) | ast.Call(ast.Name(name)) if name.lower() in WORDS:
            raise InputError(f"the loss {whole} has {name!r} without a loss to multiply, {_HELP_AUTO}")
        case ast.Name(name):
            return _called(name.lower(), None, {}, whole)
        case ast.Call(ast.Name(name), [inner], []) if name.lower() in _FORMS:
            return [_read(name.lower(), _terms(inner, whole))]
        case ast.Call(ast.Name(name), args, keywords) if len(args) <= (name.lower() in WRAPPERS):
            return _called(name.lower(), args[0] if args else None, _given(name, keywords, whole), whole)
    raise InputError(f"the loss {whole} contains {ast.unparse(node)!r}, {_help(whole.text)}")


def _factor(node: ast.expr, whole: _Source) -> tuple[float, Varying | None] | None:
    """Return the number and the varying weight that a node stands for, or None if it is a loss."""
    value = number_of(node)
    match node:
        case _ if value is not None:
            return value, None
        case ast.Name(name) | ast.Call(ast.Name(name)) if name.lower() in WORDS:
            return 1.0, _varying(name.lower(), node, whole)
        case ast.BinOp(left, ast.Mult(), right):
            first, last = _factor(left, whole), _factor(right, whole)
            if first is None or last is None:
                return None
            if first[1] and last[1]:
                raise InputError(f"the loss {whole} multiplies {first[1]} by {last[1]}, expected one of them")
            return first[0] * last[0], first[1] or last[1]
    return None


def _varying(name: str, node: ast.expr, whole: _Source) -> Varying:
    """Return the schedule or rule of a name or a call."""
    args, keywords = (node.args, node.keywords) if isinstance(node, ast.Call) else ([], [])
    rule = ""
    if name == AUTO:
        for keyword in [each for each in keywords if each.arg == "rule"]:
            if rule or not isinstance(keyword.value, ast.Name):
                raise InputError(f"the rule of {AUTO} in the loss {whole} is not one word, {_HELP_AUTO}")
            rule = keyword.value.id.lower()
        keywords = [each for each in keywords if each.arg != "rule"]
    positional = [value for each in args if (value := number_of(each)) is not None]
    if len(positional) < len(args):
        raise InputError(f"{name!r} in the loss {whole} takes numbers, {_HELP_AUTO}")
    return varying(name, positional, _given(name, keywords, whole), rule)


def _times(factor: tuple[float, Varying | None], term: Term, whole: _Source) -> Term:
    """Return a term with its weight multiplied by a factor."""
    value, changing = factor
    if changing and term.varying:
        raise InputError(f"the loss {whole} multiplies {changing} by {term.varying}, expected one of them")
    return replace(term, weight=value * term.weight, varying=changing or term.varying)


def _own(spec: str, given: dict[str, float], whole: _Source) -> Term:
    return check_term(Term.of(1.0, SELECT, whole.row(spec), given))


def _read(name: str, terms: list[Term]) -> Term:
    """Return the normalized or negative form of a single loss; a factor cancels out."""
    form, (term, *others) = _FORMS[name], terms
    said = "+".join(map(str, terms))
    if others or term.wraps or term.form is not SELECT:
        raise InputError(
            f"{name}(...) contains {said!r}, expected a single loss in its plain form, without a wrapper, "
            f"such as {name}(gce) or {name}(mine.py:bounded(a=2))"
        )
    if form not in term.row.forms:
        why = "it compares views" if term.row.views else "it uses the probabilities of all classes"
        raise InputError(f"the loss {said!r} has no {form.title.format('form')}: {why}")
    return check_term(replace(term.bare, form=form))


def _preset(named: ast.expr, key: ast.expr, whole: _Source) -> list[Term]:
    """Return the terms of ``named@key``."""
    if any(isinstance(part, ast.MatMult) for part in ast.walk(named)) or not isinstance(key, ast.Name):
        raise InputError(
            f"the loss {whole} has {_cut(ast.unparse(named))} before '@{ast.unparse(key)}', expected a loss "
            "and one preset, as in 'nce+rce@cifar10' or '(nce+rce@cifar10) + mae'"
        )
    name = "".join(ast.unparse(named).split()).lower()
    if name not in PRESETS:  # as when it is written in another order
        name = Loss(_terms(named, whole)).expression
    return read_terms(preset(name, key.id.lower()).expression)


def _called(name: str, inner: ast.expr | None, given: dict[str, float], whole: _Source) -> list[Term]:
    if name in _FORMS:
        raise InputError(f"the loss {whole} has {name!r} without a loss in it, expected, say, {name}(gce)")
    if name in WRAPPERS:
        row = WRAPPERS[name]
        wrap = Wrap(row, changed(row, given))
        terms = [Term.of(1.0, *find("ce"), {})] if inner is None else _terms(inner, whole)
        return [replace(term, wraps=(wrap, *term.wraps)) for term in terms]
    named = LOSSES.get(name)
    if named is not None and named.is_sum:
        return bind(named, given) if named.defaults else read_terms(named.with_parameters(given))
    return [Term.of(1.0, *find(name), given)]


def _given(name: str, keywords: list[ast.keyword], whole: _Source) -> dict[str, float]:
    given: dict[str, float] = {}
    for keyword in keywords:
        value = number_of(keyword.value)
        if keyword.arg is None or value is None:
            raise InputError(
                f"a parameter of {name!r} in the loss {whole} is not a number, expected, say, gamma=2"
            )
        if keyword.arg in given:
            raise InputError(f"the loss {whole} gives {name!r} the parameter {keyword.arg!r} twice")
        given[keyword.arg] = value
    return given
