"""How losses are related: of what kind one is, of which it is the sum, which is its normalized form.

All of it is read off the expression. Code of the user's own is not imported: an expression may come from the
folder of somebody else's run. What such a function is like is then not known, and it counts as "standard".
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
    """Return which of `CATEGORIES` a loss is of.

    "combined": a sum of two terms or more. Of a single one "normalized" if it is a normalized form,
    "robust" if its sum over the labels is constant without that (symmetric: Ghosh 2017), else "standard".
    Factors make no difference, and wrappers only where they take the symmetry away.

    Raises:
        InputError: what cannot be read, as for `loss`.

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
        InputError: what cannot be read, as for `loss`.

    >>> parts("2*mae + nfl(gamma=2)")
    ['nfl(gamma=2)', 'mae']
    """
    return [str(replace(term, weight=1.0)) for term in _terms(expression)]


def normalized_of(expression: str) -> str | None:
    """Return the canonical expression of a loss's normalized form, or None where it has none of its own.

    That is: of a sum, of a loss in a wrapper, of one that is normalized or negative, and of one that looks at
    all probabilities. A factor cancels out.

    Raises:
        InputError: what cannot be read, as for `loss`.

    >>> normalized_of("ce"), normalized_of("fl(gamma=2)"), normalized_of("nce"), normalized_of("ce+mae")
    ('nce', 'nfl(gamma=2)', None, None)
    """
    first, *others = _terms(expression)
    if others or first.wraps or first.form is not SELECT or NORMALIZE not in first.row.forms:
        return None
    return str(replace(first, weight=1.0, form=NORMALIZE))


def _terms(expression: str) -> tuple[Term, ...]:
    return canonical(read_terms(expression, unresolved_row))
