"""Checks of a row before it enters the catalog: its name, domain, shape, sum over the labels and slopes."""

from __future__ import annotations

import keyword
import math
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from noisylabels.core.checks import InputError, check_choice
from noisylabels.losses.varying import WORDS

if TYPE_CHECKING:
    from noisylabels.losses.catalog import PerLabel, Row


def check_free(name: str, names: Iterable[str], losses: Container[str]) -> None:
    """Check that a name can be used in expressions, and that it and its forms are not taken."""
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise InputError(f"a loss's name is {name!r}, expected a lower-case identifier such as 'sq'")
    if name in _WORDS:
        raise InputError(f"{name!r} means a form in expressions; choose another name for the loss")
    if name in WORDS:
        raise InputError(f"{name!r} means a weight in expressions; choose another name for the loss")
    for taken in (n for n in names if n in losses):
        raise InputError(f"the loss {taken!r} exists already; choose another name than {name!r}")


_WORDS = ("normalize", "negative")

_LIMITS = ("low", "high", "open_low", "open_high", "whole")
"""The limits of a parameter that a row's domain may give."""


def check_domain(row: Row) -> None:
    """Check that a domain names existing parameters and known limits, and that it includes the defaults."""
    for name, limits in row.domain.items():
        if name not in row.defaults:
            takes = ", ".join(row.defaults) or "none"
            raise InputError(
                f"the domain of {row.name!r} names {name!r}, which is not a parameter of phi; "
                f"its parameters: {takes}"
            )
        for word in limits:
            check_choice(word, _LIMITS, f"limit of the parameter {name} of {row.name!r}")
    row.parameters(row.defaults)


def check_shape(row: PerLabel) -> None:
    """Check the shape of phi's result, for two examples and three classes."""
    l = torch.full((2, 2, 3) if row.views else (2, 3), -math.log(3), dtype=torch.float64)
    takes = f"log-probabilities of shape {tuple(l.shape)}"
    try:
        costs = row.function(l)
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"phi of {row.name!r} fails on {takes} ({type(error).__name__}: {reason}), expected a function "
            "of one tensor, its parameters with defaults"
        ) from None
    if not isinstance(costs, Tensor) or costs.shape != (2, 3):
        came = f"shape {tuple(costs.shape)}" if isinstance(costs, Tensor) else type(costs).__name__
        raise InputError(
            f"phi of {row.name!r} returns {came} for {takes}, expected one cost per label: shape (2, 3)"
        )


def check_label_sum(row: PerLabel) -> None:
    """Compare phi with its `label_sum`, by which the normalized form divides."""
    for K in (2, 3, 7):
        claim = row.total(K, row.defaults)
        if claim is None:
            return
        rising = torch.arange(1, K + 1, dtype=torch.float64)
        p = torch.stack([rising / rising.sum(), torch.full_like(rising, 1 / K)])
        costs = row.function(p.log())
        sums = costs.sum(1).tolist()
        size = max(abs(claim), float(costs.abs().max()))  # a symmetrized loss sums to 0
        if any(abs(found - claim) > 1e-6 * size for found in sums):
            raise InputError(
                f"label_sum of {row.name!r} is {claim:g} for {K} labels, but phi sums to {sums[0]:g} "
                f"at p rising as 1, 2, ..., {K} and to {sums[1]:g} at equal p"
            )


def check_sloped(row: PerLabel) -> None:
    """Compare the costs and slopes of the fast path with phi and autograd."""
    if row.sloped is None:
        return
    if not row.pointwise:
        raise InputError(
            f"{row.name!r} is registered with sloped, expected only for a phi that acts entry by entry"
        )
    l = torch.tensor([-0.01, -0.3, -1.0, -2.5, -9.0], dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        costs = row.function(l)
        (slopes,) = torch.autograd.grad(costs.sum(), l)
    found = row.sloped(-l.detach(), l.detach().exp())
    for what, given, wanted in (("costs", found[0], costs.detach()), ("slopes", found[1], -slopes)):
        if not torch.allclose(
            torch.as_tensor(given).to(wanted).expand_as(wanted), wanted, rtol=1e-6, atol=1e-9
        ):
            raise InputError(
                f"sloped of {row.name!r} returns {what} that differ from phi's: {given} for x = -log p = "
                f"{(-l.detach()).tolist()}, expected {wanted.tolist()}"
            )
