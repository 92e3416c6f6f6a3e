"""Relations between losses: the category of a loss, its terms, and its normalized form.

Everything is derived from the expression. User-defined functions are not imported, because the expression may
come from the folder of another person's run. Their properties are unknown, so that they count as "standard".
"""

from __future__ import annotations

from dataclasses import replace

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


def _terms(expression: str) -> tuple[Term, ...]:
    return canonical(read_terms(expression, unresolved_row))
