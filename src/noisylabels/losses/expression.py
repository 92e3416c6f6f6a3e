"""Expressions: ``"2*nce + 0.5*rce(A=-4)"`` to a `Loss`.

The grammar is a part of Python's own (sums, products with a number, calls with keywords), so that
Python's parser reads it; nothing is evaluated. Names may be written in capitals, as in the papers.
"""

from __future__ import annotations

import ast

from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.losses.catalog import LOSSES, find
from noisylabels.losses.modules import Loss, Term

_HELP = "expected a sum such as 'nce + 2*mae' or '2*nce + 0.5*rce(A=-4)'"


def loss(expression: str, *, reduction: str = "mean", weight: Tensor | None = None) -> Loss:
    """Return the loss that an expression describes.

    Args:
        expression: a sum of losses of the catalog, each with an optional positive factor and
            optional parameters: ``"nce+mae"``, ``"2*nce + 0.5*rce(A=-4)"``, ``"nfl(gamma=2)"``.
        reduction: "mean", "sum" or "none".
        weight: (K,) class weights, as in ``nn.CrossEntropyLoss``.

    Raises:
        InputError: what cannot be read, an unknown loss or parameter (with the nearest name), a
            factor or a parameter outside its range.

    >>> import torch
    >>> criterion = loss("NCE + MAE")
    >>> criterion.expression
    'nce+mae'
    >>> criterion(torch.zeros(4, 10), torch.arange(4))  # at equal probabilities: 1/10 + 2 (1 - 1/10)
    tensor(1.9000)
    """
    if not isinstance(expression, str):
        raise InputError(f"the loss is {expression!r} ({type(expression).__name__}), {_HELP}")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        terms = _terms(tree, expression)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the loss {expression!r} cannot be read, {_HELP}") from None
    return Loss(terms, reduction=reduction, weight=weight)


def _terms(node: ast.expr, whole: str) -> list[Term]:
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _terms(left, whole) + _terms(right, whole)
        case ast.BinOp(left, ast.Mult(), right):
            factor, inner = (left, right) if _number(left) is not None else (right, left)
            value = _number(factor)
            if value is None:
                raise InputError(f"the loss {whole!r} multiplies by what is no number, {_HELP}")
            terms = _terms(inner, whole)
            return [Term.of(value * t.weight, t.reading, t.row, t.parameters) for t in terms]
        case ast.Name(name):
            named = LOSSES.get(name.lower())
            if named is not None and named.expression != named.name:  # a sum that has a name of its own
                return _terms(ast.parse(named.expression, mode="eval").body, named.expression)
            return [Term.of(1.0, *find(name.lower()), {})]
        case ast.Call(ast.Name(name), [], keywords):
            given: dict[str, float] = {}
            for keyword in keywords:
                value = _number(keyword.value)
                if keyword.arg is None or value is None:
                    raise InputError(
                        f"a parameter of {name!r} in the loss {whole!r} is no number, expected gamma=2, say"
                    )
                if keyword.arg in given:
                    raise InputError(f"the loss {whole!r} gives {name!r} the parameter {keyword.arg!r} twice")
                given[keyword.arg] = value
            return [Term.of(1.0, *find(name.lower()), given)]
    raise InputError(f"the loss {whole!r} has {ast.unparse(node)!r} in it, {_HELP}")


def _number(node: ast.expr) -> float | None:
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(ast.USub(), operand):
            inner = _number(operand)
            return None if inner is None else -inner
        case ast.UnaryOp(ast.UAdd(), operand):
            return _number(operand)
        case ast.BinOp(left, ast.Mult(), right):
            a, b = _number(left), _number(right)
            return None if a is None or b is None else a * b
    return None
