"""Losses from a per-label function of your own: its plain, normalized and negative forms."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from noisylabels.losses.catalog import LOSSES, PerLabel
from noisylabels.losses.forms import NEGATIVE, NORMALIZE, SELECT, Form
from noisylabels.losses.modules import Loss
from noisylabels.losses.terms import Term


def _form_of(form: Form, phi: Callable[..., Tensor], parameters: dict[str, float]) -> Loss:
    name = getattr(phi, "__name__", type(phi).__name__)
    name = name if name.isidentifier() else "phi"
    while form.prefix + name in LOSSES:  # a user-defined function called mae is not the catalog's mae
        name = f"your_{name}"
    row = PerLabel(name, phi, name, "phi(p)", "yours", "")
    return Loss([Term.of(1.0, form, row, parameters)])


def select(phi: Callable[..., Tensor], **parameters: float) -> Loss:
    """Return the plain loss of your own per-label function: ``phi(l)[y]``.

    `phi` is a callable that maps log-probabilities (any shape) to costs (same shape), entry by entry.
    `parameters` override those of its arguments that have a number as default. To use it by name in
    expressions, `register` it.

    >>> import noisylabels as nl
    >>> def power(l, q=2.0):
    ...     return (1 - l.exp()) ** q
    >>> nl.losses.select(power, q=3)
    Loss("power(q=3)")
    """
    return _form_of(SELECT, phi, parameters)


def normalize(phi: Callable[..., Tensor], **parameters: float) -> Loss:
    """Return the normalized form of your own per-label function: ``phi(l)[y] / sum_k phi(l)[k]``.

    Args:
        phi: from log-probabilities (N, K, ...) to the cost under each label, of the same shape.
        parameters: keyword arguments of `phi`.

    >>> import noisylabels as nl
    >>> squared = nl.losses.normalize(lambda l: (1 - l.exp()) ** 2)
    >>> squared.label_sum(10)  # the paper's Eq. 1: sums to one over the labels, hence noise-tolerant
    1.0
    """
    return _form_of(NORMALIZE, phi, parameters)


def negative(phi: Callable[..., Tensor], **parameters: float) -> Loss:
    """Return the normalized negative form of your own per-label function (Ye 2023).

    Its value is ``1 - (B - phi(l)[y]) / sum_k (B - phi(l)[k])`` with B = phi(log 1e-7).

    Args:
        phi: as for `normalize`.
        parameters: keyword arguments of `phi`.

    >>> import noisylabels as nl
    >>> nl.losses.negative(lambda l: (1 - l.exp()) ** 2).label_sum(10)  # K - 1
    9.0
    """
    return _form_of(NEGATIVE, phi, parameters)
