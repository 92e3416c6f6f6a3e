"""One stage of a noise spec as a plain value, which `noise.spec` and `noise.catalog` interpret."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from noisylabels.noise.checks import Pairs

# "to" rather than ">": a shell would redirect asymmetric:0.4@3>5 to a file named 5
_PAIR = re.compile(r"(\d+)to(\d+)", re.ASCII)


@dataclass(frozen=True)
class Stage:
    """One stage of a noise spec: its kind, its rate or file, and its qualifiers.

        KIND[:RATE or :FILE][@QUALIFIER[,QUALIFIER...]]

    `str()` returns this text. Nothing is validated here: `noise.spec.check_stage` returns the canonical
    stage, and a `NoiseSpec` holds only canonical ones.

    Args:
        kind: a name of `noise.catalog.KINDS`.
        rate: in [0, 1], above 0 for a ratio; None for a kind without one.
        qualifiers: a confusion map or pairs of class numbers (`3to5`) first, a convention last.
        file: a path, for a kind that reads one.
        word: the kind's free qualifier: a column, a data set.

    >>> str(Stage("asymmetric", 0.4, ("cifar10", "sequential")))
    'asymmetric:0.4@cifar10,sequential'
    """

    kind: str
    rate: float | None = None
    qualifiers: tuple[str, ...] = ()
    file: str = ""
    word: str = ""

    @property
    def pairs(self) -> Pairs:
        """The pairs of class numbers among the qualifiers."""
        return tuple(pair for qualifier in self.qualifiers if (pair := read_pair(qualifier)) is not None)

    def with_map(self, name: str) -> Stage:
        """Return this stage with the confusion map `name` as its qualifier."""
        return replace(self, qualifiers=(name, *(q for q in self.qualifiers if q != name)))

    def with_pairs(self, pairs: Pairs) -> Stage:
        """Return this stage with the pairs as qualifiers."""
        return replace(self, qualifiers=(*map(pair_text, pairs), *self.qualifiers))

    def __str__(self) -> str:
        value = self.file if self.rate is None else repr(self.rate).removesuffix(".0")
        qualifiers = ",".join([*([self.word] if self.word else []), *self.qualifiers])
        return self.kind + (value and f":{value}") + (qualifiers and f"@{qualifiers}")


def read_pair(qualifier: str) -> tuple[int, int] | None:
    """Return the classes (true, given) of a pair, or None for any other qualifier.

    >>> read_pair("03to5"), read_pair("cifar10")
    ((3, 5), None)
    """
    found = _PAIR.fullmatch(qualifier)
    return (int(found[1]), int(found[2])) if found else None


def pair_text(pair: tuple[int, int]) -> str:
    """Return a pair of classes as a qualifier.

    >>> pair_text((3, 5))
    '3to5'
    """
    return f"{pair[0]}to{pair[1]}"
