"""Relations between losses: the category of a loss, its terms, and its normalized form.

Everything is derived from the expression. User-defined functions are not imported, because the expression may
come from the folder of another person's run. Their properties are unknown, so that they count as "standard".
"""

from __future__ import annotations

import math
from dataclasses import replace

from noisylabels.losses.catalog import PER_LABEL
from noisylabels.losses.expression import read_terms
from noisylabels.losses.forms import NORMALIZE, SELECT
from noisylabels.losses.terms import Term, canonical
from noisylabels.losses.user_loss import unresolved_row

CATEGORIES = ("standard", "robust", "normalized", "combined")
"""In the order of the paper's tables: see `category`."""


def category(expression: str) -> str:
    """Return the category of a loss, one of `CATEGORIES`.

    A sum of two or more terms is "combined". A single term is "normalized" if it is a normalized form,
    "robust" if its sum over the labels is constant otherwise (symmetric: Ghosh 2017), else "standard".
    Factors make no difference, and wrappers only if they break the symmetry.

    Raises:
        InputError: the expression cannot be parsed, as for `loss`.

    >>> [category(text) for text in ("fl", "mae", "nfl", "nfl+mae")]
    ['standard', 'robust', 'normalized', 'combined']
    """
    first, *others = _terms(expression)
    if others:
        return "combined"
    if first.form is NORMALIZE:
        return "normalized"
    return "standard" if first.label_sum(10) is None else "robust"


def parts(expression: str) -> list[str]:
    """Return the canonical expressions of a loss's terms, without their factors.

    Raises:
        InputError: the expression cannot be parsed, as for `loss`.

    >>> parts("2*mae + nfl(gamma=2)")
    ['nfl(gamma=2)', 'mae']
    """
    return [str(term.bare) for term in _terms(expression)]


def is_passive(expression: str) -> bool:
    """Return whether every term of a loss lowers the probabilities of the other labels too.

    Raises:
        InputError: the expression cannot be parsed, as for `loss`.

    >>> [is_passive(text) for text in ("mae", "nrce", "nnce", "nce", "nce+mae")]
    [True, True, True, False, False]
    """
    return all(term.kind == "passive" for term in _terms(expression))


def normalized_of(expression: str) -> str | None:
    """Return the canonical expression of a loss's normalized form, or None if it has none.

    A sum, a wrapped loss, a normalized or negative form, and a function of all probabilities have none. A
    factor cancels out.

    Raises:
        InputError: the expression cannot be parsed, as for `loss`.

    >>> normalized_of("ce"), normalized_of("fl(gamma=2)"), normalized_of("nce"), normalized_of("ce+mae")
    ('nce', 'nfl(gamma=2)', None, None)
    """
    first, *others = _terms(expression)
    if others or first.wraps or first.form is not SELECT or NORMALIZE not in first.row.forms:
        return None
    return str(replace(first.bare, form=NORMALIZE))


LEAST_FACTOR, MOST_FACTOR = 0.5, 2.0**20
"""Powers of two between these scale every float32 probability exactly, also the subnormal ones."""


def simplest(expression: str) -> str:
    """Return the canonical expression of the loss whose value and gradient this one has, to the last bit.

    A function that is declared as a multiple of another one is replaced by it. The factor cancels out in a
    normalized or negative form, and otherwise becomes a weight. That is exact if the factor is a power of
    two, and if the terms remain as many and in their order, so that sums are rounded in the same way.

    Raises:
        InputError: the expression cannot be parsed, as for `loss`.

    >>> [simplest(text) for text in ("nrce", "nce+rce", "nrce(A=-8)", "mae+rce", "rce(A=-3)")]
    ['nmae', 'nce+2*mae', 'nmae', 'mae+rce', 'rce(A=-3)']
    """
    terms = _terms(expression)
    replaced = tuple(map(_simplest, terms))
    return "+".join(map(str, replaced if canonical(replaced) == replaced else terms))


def _simplest(term: Term) -> Term:
    """Return an exactly equal term of the function that its own is a multiple of, or the term."""
    if term.row.multiple_of is None:
        return term
    name, factor_of = term.row.multiple_of
    factor = factor_of(**term.parameters)
    if math.frexp(factor)[0] != 0.5 or not LEAST_FACTOR <= factor <= MOST_FACTOR:
        return term
    if term.form is SELECT and (term.wraps or term.varying is not None):
        return term  # a rule that sets the weight would not see the factor
    weight = term.weight * factor if term.form is SELECT else term.weight
    return replace(term, row=PER_LABEL[name], given=(), weight=weight)


def _terms(expression: str) -> tuple[Term, ...]:
    return canonical(read_terms(expression, unresolved_row))
