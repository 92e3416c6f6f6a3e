"""The look of a loss in figures, which follows from its expression alone and is the same in every study.

The family of a loss gives its hue and the shape of its points, as in the paper's figures: "standard" (active
and not normalized), "normalized" (active), "passive", and "sum". Within a family, the names of the terms
give the color. Weights, parameters and wrappers of the same terms give the dash, weights that vary during
training also another shade. A loss inside a training
method has the color of the method, and the dash and shape of the loss.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, PAPER
from noisylabels.losses.expression import read_terms
from noisylabels.losses.forms import NORMALIZE
from noisylabels.losses.terms import Term, Wrap, canonical
from noisylabels.losses.user_loss import unresolved_row
from noisylabels.losses.varying import RULES, SCHEDULES
from noisylabels.methods.catalog import METHODS
from noisylabels.report.theme import DASHES, FAMILIES, Look, Theme, look, shade

Key = tuple[str, ...]
"""The names of the terms of a loss, each after those of its wrappers."""

_WAYS = (*RULES, *SCHEDULES)
"""The ways in which a weight varies; each has a dash, in another shade than weights that do not vary."""

_SUM_IN_METHOD = 5
"""Moves the dashes of sums inside methods, where no hue tells ce from nce+mae."""


def loss_theme(names: Sequence[str]) -> Theme:
    """Return the theme of losses, perhaps inside methods, as `Run.loss` names them.

    Args:
        names: in the order of the legend.
    """
    return Theme(names, {name: loss_look(name) for name in names})


def loss_look(name: str) -> Look:
    """Return the look of a loss, perhaps inside a method.

    Source: the hues and shapes of the paper's Figures 5 and 7.

    >>> loss_look("nce+mae").color == loss_look("nce+2*mae").color
    True
    >>> loss_look("nce+mae").dash, loss_look("nce+2*mae").dash
    ((1, 0), (8, 3))
    """
    inner, by, method = name.rpartition(" by ")
    if not by:
        return _look(name)
    base, _, parameters = method.partition("(")
    known = list(METHODS)
    place = known.index(base) if base in known else _hashed(base, len(known), "method")
    of_loss = _look(inner)
    variant = DASHES.index(of_loss.dash) + _SUM_IN_METHOD * (of_loss.shape == FAMILIES["sum"].shape)
    variant += (1 + zlib.crc32(parameters.encode()) % 6) * bool(parameters)
    return look("method", place, variant)._replace(shape=of_loss.shape)


@lru_cache(maxsize=4096)
def _look(expression: str) -> Look:
    try:
        terms = canonical(read_terms(expression, unresolved_row))
    except InputError:  # the name of something else
        return look("standard", _hashed(expression, len(_places()["standard"]), "standard"))
    family, key = _family(terms), _key(terms)
    found = look(family, _place(family, key, terms), _variant(terms) - _usual(key))
    return found._replace(color=shade(found.color)) if any(term.varying for term in terms) else found


def _family(terms: Sequence[Term]) -> str:
    if len(terms) > 1:
        return "sum"
    if terms[0].kind == "passive":
        return "passive"
    return "normalized" if terms[0].form is NORMALIZE else "standard"


def _key(terms: Sequence[Term]) -> Key:
    return tuple(" ".join([*(wrap.row.name for wrap in term.wraps), term.name]) for term in terms)


@lru_cache(maxsize=1)
def _catalog() -> dict[str, tuple[Term, ...]]:
    """Return the terms of the losses of the catalog, the paper's first."""
    names = [*PAPER, *(name for name in LOSSES if name not in PAPER)]
    return {name: canonical(read_terms(name, unresolved_row)) for name in names}


@lru_cache(maxsize=1)
def _places() -> dict[str, dict[Key, int]]:
    """Return family -> names of terms -> place, for the losses of the catalog."""
    places: dict[str, dict[Key, int]] = {family: {} for family in FAMILIES}
    for terms in _catalog().values():
        family = places[_family(terms)]
        family.setdefault(_key(terms), len(family))
    return places


def _place(family: str, key: Key, terms: Sequence[Term]) -> int:
    known = _places()[family]
    if key in known:
        return known[key]
    if len(terms) > 1:  # a sum that the catalog does not name: from the places of its first and last term
        first, last = (_place(_family([term]), _key([term]), [term]) for term in (terms[0], terms[-1]))
        return len(known) + (7 * first + last + len(terms) - 2) % (_room(family) - len(known))
    return _hashed(key[0], len(known), family)


def _room(family: str) -> int:
    """Return the number of places of a family that look different."""
    return len(DASHES) * len(FAMILIES[family].colors)


def _hashed(name: str, taken: int, family: str) -> int:
    """Return a place that the catalog has not taken, for a name that it does not know."""
    return taken + zlib.crc32(name.encode()) % (_room(family) - taken)


@lru_cache(maxsize=1)
def _usuals() -> dict[Key, int]:
    found: dict[Key, int] = {}
    for terms in _catalog().values():
        found.setdefault(_key(terms), _variant(terms))
    return found


def _usual(key: Key) -> int:
    """Return the variant of the catalog's own weights and parameters, which has the first dash."""
    return _usuals().get(key, 0)


def _variant(terms: Sequence[Term]) -> int:
    """Return a number for weights and parameters: the doublings of a later weight over the first, and so on.

    Ratios of two weights from 1/8 to 8, rounded to powers of two, have different numbers modulo 7 where one
    of the weights is 1.
    """
    first, *others = terms
    number = sum(_doublings(term.weight / first.weight) for term in others)
    if all(term.weight != 1 for term in terms):
        number += 2 * _doublings(first.weight) if others else _doublings(first.weight)
    for place, term in enumerate(terms):
        if term.varying is not None:
            number += 5 * (place == 0) + _WAYS.index(term.varying.rule or term.varying.name)
        rows: list[Term | Wrap] = [term, *term.wraps]
        number += sum(_changed(row, name, value) for row in rows for name, value in row.given)
    return number


def _changed(row: Term | Wrap, name: str, value: float) -> int:
    """Return the doublings of a parameter over its default, at least one either way."""
    usual = row.row.defaults.get(name, 0.0)
    if usual * value > 0 and (steps := _doublings(value / usual)):
        return steps
    return 1 if value > usual else -1


def _doublings(ratio: float) -> int:
    return round(math.log2(ratio))
