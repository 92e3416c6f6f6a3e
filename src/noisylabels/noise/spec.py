"""The text that names a noise: ``symmetric:0.4``, ``asymmetric:0.4@cifar10,sequential``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from noisylabels.core.checks import InputError, check_between, did_you_mean
from noisylabels.noise.catalog import KINDS, Convention, NoiseKind
from noisylabels.noise.checks import Pairs
from noisylabels.noise.maps import MAPS

ALIASES = {"clean": "none"}

# "to" rather than ">": a shell would take asymmetric:0.4@3>5 for a file named 5
_PAIR = re.compile(r"(\d+)to(\d+)", re.ASCII)


@dataclass(frozen=True)
class NoiseSpec:
    """A noise by name: its kind, its rate, and how it is applied.

        KIND[:RATE][@QUALIFIER[,QUALIFIER...]]

    A qualifier is a convention of the kind, a confusion map, or pairs of class numbers (`3to5`) in
    place of a map. `str()` gives the canonical text, which `parse` reads back to an equal spec.

    Args:
        kind: a name of `noise.catalog.KINDS`.
        rate: in [0, 1]; 0 for a kind that takes none.
        qualifiers: in any order; kept as map or pairs first, convention last.

    Raises:
        InputError: an unknown kind or qualifier, a rate outside [0, 1], or a qualifier that does
            not fit.

    >>> NoiseSpec("symmetric", 0.4, ("exact",))
    NoiseSpec(kind='symmetric', rate=0.4, qualifiers=('exact',))
    >>> str(NoiseSpec.parse("asymmetric:0.40@sequential,cifar10"))
    'asymmetric:0.4@cifar10,sequential'
    >>> NoiseSpec.parse("symetric:0.4")
    Traceback (most recent call last):
    ...
    noisylabels.core.checks.InputError: unknown noise 'symetric'; did you mean 'symmetric'?
    """

    kind: str
    rate: float = 0.0
    qualifiers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        row = KINDS[self.kind]
        rate = float(check_between(self.rate, "rate", 0, 1)) + 0.0  # -0.0 becomes 0.0
        if rate and not row.takes_rate:
            raise InputError(f"{self.kind} takes no rate, and {self.rate!r} came; write {row.form}")
        for qualifier in self.qualifiers:
            _check_qualifier(self.kind, row, qualifier)
        conventions = [q for q in self.qualifiers if q in row.conventions]
        pairs = [q for q in self.qualifiers if _PAIR.fullmatch(q)]
        maps = [q for q in self.qualifiers if q not in conventions and q not in pairs]
        if len(conventions) > 1:
            raise InputError(f"{' and '.join(conventions)} exclude each other; write one of them")
        if len(maps) + bool(pairs) > 1:
            raise InputError(f"{' and '.join([*maps, *pairs[:1]])} are two confusion maps; write one of them")
        object.__setattr__(self, "rate", rate)
        object.__setattr__(self, "qualifiers", (*maps, *map(_canonical_pair, pairs), *conventions))

    @classmethod
    def parse(cls, text: str | NoiseSpec) -> NoiseSpec:
        """Read a spec from its text; a spec is returned as it is.

        Raises:
            InputError: as for the class, or the text is not of the form above.
        """
        if isinstance(text, NoiseSpec):
            return text
        if not isinstance(text, str):
            raise InputError(f"noise is {text!r}, expected text such as 'symmetric:0.4'")
        head, at, tail = text.strip().lower().partition("@")
        kind, colon, number = (part.strip() for part in head.partition(":"))
        kind = ALIASES.get(kind, kind)
        row = KINDS[kind]
        if colon and not row.takes_rate:
            raise InputError(f"{kind} takes no rate, and {text!r} has one; write {row.form}")
        if row.takes_rate and not number:
            raise InputError(f"{text!r} has no rate; write {row.form}, for example {kind}:0.4")
        qualifiers = tuple(part.strip() for part in tail.split(",")) if at else ()
        return cls(kind, _rate(number, text) if number else 0.0, qualifiers)

    @property
    def convention(self) -> Convention:
        """The row of the convention that is named, or of the kind's default."""
        row = KINDS[self.kind]
        named = [q for q in self.qualifiers if q in row.conventions]
        return row.conventions[named[0]] if named else row.default

    @property
    def map_name(self) -> str | None:
        """The confusion map that is named, if one is."""
        return next((q for q in self.qualifiers if q in MAPS), None)

    @property
    def pairs(self) -> Pairs:
        """The pairs of class numbers that are written out, if any are."""
        matches = [_PAIR.fullmatch(q) for q in self.qualifiers]
        return tuple((int(m[1]), int(m[2])) for m in matches if m)

    def with_map(self, name: str) -> NoiseSpec:
        """Return this spec with the confusion map called `name` written out."""
        return NoiseSpec(self.kind, self.rate, (*(q for q in self.qualifiers if q != name), name))

    def with_pairs(self, pairs: Pairs) -> NoiseSpec:
        """Return this spec with the pairs written out."""
        return NoiseSpec(self.kind, self.rate, (*self.qualifiers, *(f"{i}to{j}" for i, j in pairs)))

    def __str__(self) -> str:
        rate = f":{repr(self.rate).removesuffix('.0')}" if KINDS[self.kind].takes_rate else ""
        return self.kind + rate + ("@" + ",".join(self.qualifiers) if self.qualifiers else "")


def _canonical_pair(qualifier: str) -> str:
    true, given = qualifier.split("to")
    return f"{int(true)}to{int(given)}"  # 03to5 is 3to5


def _rate(number: str, text: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise InputError(
            f"the rate of {text!r} is {number!r}, expected a number in [0, 1] such as 0.4"
        ) from None


def _check_qualifier(kind: str, row: NoiseKind, qualifier: str) -> None:
    fits = [*row.conventions, *(MAPS if row.takes_map else ())]
    if qualifier in fits or (row.takes_map and _PAIR.fullmatch(qualifier)):
        return
    elsewhere = [name for name in KINDS if qualifier in KINDS[name].conventions]
    if qualifier in MAPS or _PAIR.fullmatch(qualifier):
        elsewhere = [name for name in KINDS if KINDS[name].takes_map]
    if elsewhere:
        raise InputError(
            f"the qualifier {qualifier!r} fits {' and '.join(elsewhere)} noise, not {kind}; write {row.form}"
        )
    if not fits:
        raise InputError(f"{kind} noise takes no qualifier, and {qualifier!r} came; write {row.form}")
    raise InputError(f"unknown qualifier {qualifier!r} of {kind} noise{did_you_mean(qualifier, fits)}")
