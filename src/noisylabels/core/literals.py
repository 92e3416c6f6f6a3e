"""Expressions read by Python's parser, and the numbers in them; nothing is evaluated."""

from __future__ import annotations

import ast
import math
import warnings


def parse(text: str) -> ast.expr:
    """Return the syntax tree of an expression.

    Raises:
        ValueError: it is no expression, or is nested too deep to be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of "1if", which is refused later or is a number
            return ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None


def number_of(node: ast.expr) -> float | None:
    """Return the number that a node stands for, or None if it is none.

    >>> [number_of(parse(text)) for text in ("2", "-0.5", "3*ln(1)", "q", "True")]
    [2.0, -0.5, 0.0, None, None]
    """
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.Call(ast.Name("ln"), [argument], []):  # log 0 is ln(1e-4) in most codes
            inner = number_of(argument)
            return math.log(inner) if inner is not None and 0 < inner < math.inf else None
        case ast.UnaryOp(ast.USub(), operand):
            inner = number_of(operand)
            return None if inner is None else -inner
        case ast.UnaryOp(ast.UAdd(), operand):
            return number_of(operand)
        case ast.BinOp(left, ast.Mult(), right):
            a, b = number_of(left), number_of(right)
            return None if a is None or b is None else a * b
    return None


def written(value: float) -> str:
    """Return the shortest decimal that parses to the same float: 2, 0.5, 1e-07."""
    return repr(float(value)).removesuffix(".0")
