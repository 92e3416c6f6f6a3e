"""The text that names a noise: ``symmetric:0.4``, ``longtail:0.1 | asymmetric:0.4@cifar10,sequential``."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, replace

from noisylabels.core.checks import InputError, check_between, did_you_mean
from noisylabels.noise import confusion_maps
from noisylabels.noise.catalog import KINDS, Convention, NoiseKind
from noisylabels.noise.checks import Pairs
from noisylabels.noise.confusion_maps import MAPS

ALIASES = {"clean": "none"}

# "to" rather than ">": a shell would take asymmetric:0.4@3>5 for a file named 5
_PAIR = re.compile(r"(\d+)to(\d+)", re.ASCII)


@dataclass(frozen=True)
class Stage:
    """One noise by name: its kind, its rate or file, and how it is applied.

        KIND[:RATE or :FILE][@QUALIFIER[,QUALIFIER...]]

    A qualifier is a convention of the kind, a confusion map, pairs of class numbers (`3to5`) in place of a
    map, or a word that the kind asks for. `str()` gives the canonical text, which `parse` reads back to an
    equal stage.

    Args:
        kind: a name of `noise.catalog.KINDS`.
        rate: in [0, 1], above 0 where it is a ratio; 0 for a kind that takes none.
        qualifiers: conventions, maps and pairs in any order; kept as map or pairs first, convention last.
        file: a path, for a kind that takes one.
        word: what the kind's free qualifier names: a column, a data set.

    Raises:
        InputError: an unknown kind or qualifier, a rate outside its range, or a qualifier that does
            not fit.

    >>> str(Stage.parse("asymmetric:0.40@sequential,cifar10"))
    'asymmetric:0.4@cifar10,sequential'
    >>> Stage.parse("symetric:0.4")
    Traceback (most recent call last):
    ...
    noisylabels.core.checks.InputError: unknown noise 'symetric'; did you mean 'symmetric'?
    """

    kind: str
    rate: float = 0.0
    qualifiers: tuple[str, ...] = ()
    file: str = ""
    word: str = ""

    def __post_init__(self) -> None:
        row = KINDS[self.kind]
        rate = _checked_rate(self.rate, row) + 0.0
        if rate and row.takes not in ("rate", "ratio"):
            raise InputError(f"{self.kind} takes no rate, and {self.rate!r} came; write {row.form}")
        if bool(self.file) != (row.takes == "file"):
            raise InputError(
                f"{self.kind} takes {'a' if row.takes == 'file' else 'no'} file; write {row.form}"
            )
        if (self.word and not row.word) or (row.word_needed and not self.word):
            what = f"needs {row.word} after an @" if row.word_needed else f"takes no {self.word!r}"
            raise InputError(f"{self.kind} {what}; write {row.form}")
        qualifiers = tuple(confusion_maps.ALIASES.get(q, q) for q in self.qualifiers)
        for qualifier in qualifiers:
            _check_qualifier(self.kind, row, qualifier)
        conventions = [q for q in qualifiers if q in row.conventions]
        pairs = [q for q in qualifiers if _PAIR.fullmatch(q)]
        named = [q for q in qualifiers if q not in conventions and q not in pairs]
        if len(conventions) > 1:
            raise InputError(f"{' and '.join(conventions)} exclude each other; write one of them")
        if len(named) + bool(pairs) > 1:
            raise InputError(
                f"{' and '.join([*named, *pairs[:1]])} are two confusion maps; write one of them"
            )
        # the dataclass is frozen
        object.__setattr__(self, "rate", rate)  # -0.0 has become 0.0
        object.__setattr__(self, "qualifiers", (*named, *map(_canonical_pair, pairs), *conventions))
        object.__setattr__(self, "file", os.path.normpath(os.path.expanduser(self.file)) if self.file else "")
        object.__setattr__(self, "word", row.spell(self.word) if self.word else "")

    @classmethod
    def parse(cls, text: str) -> Stage:
        """Read a stage from its text.

        Raises:
            InputError: as for the class, or the text is not of the form above.
        """
        kind, colon, rest = text.strip().partition(":")
        if "@" in kind:  # none@fast, which has no colon
            kind, colon, rest = kind.partition("@")[0], "", text.strip()[text.strip().index("@") :]
        kind = kind.strip().lower()
        kind = ALIASES.get(kind, kind)
        row = KINDS[kind]
        if row.takes == "file":
            path, word = _file_and_word(rest, row)
            return cls(kind, file=path, word=word)
        number, at, tail = rest.partition("@")
        number = number.strip().lower()
        if colon and row.takes == "nothing":
            raise InputError(f"{kind} takes no rate, and {text!r} has one; write {row.form}")
        if row.takes != "nothing" and not number:
            raise InputError(f"{text!r} has no {row.takes}; write {row.form}, for example {kind}:0.4")
        parts = [part.strip() for part in tail.split(",")] if at else []
        word = ""
        if row.word:  # the first that is no convention is the word
            word = next((part for part in parts if part.lower() not in row.conventions), "")
            parts = [part for part in parts if part != word]
        qualifiers = tuple(part.lower() for part in parts)
        return cls(kind, _rate(number, text, row.takes) if number else 0.0, qualifiers, word=word)

    @property
    def row(self) -> NoiseKind:
        """The row of the kind."""
        return KINDS[self.kind]

    @property
    def convention(self) -> Convention:
        """The row of the convention that is named, or of the kind's default."""
        named = [q for q in self.qualifiers if q in self.row.conventions]
        return self.row.conventions[named[0]] if named else self.row.default

    @property
    def map_name(self) -> str | None:
        """The confusion map that is named, if one is."""
        return next((q for q in self.qualifiers if q in MAPS), None)

    @property
    def pairs(self) -> Pairs:
        """The pairs of class numbers that are written out, if any are."""
        matches = [_PAIR.fullmatch(q) for q in self.qualifiers]
        return tuple((int(m[1]), int(m[2])) for m in matches if m)

    def with_map(self, name: str) -> Stage:
        """Return this stage with the confusion map called `name` written out."""
        return replace(self, qualifiers=(*(q for q in self.qualifiers if q != name), name))

    def with_pairs(self, pairs: Pairs) -> Stage:
        """Return this stage with the pairs written out."""
        return replace(self, qualifiers=(*self.qualifiers, *(f"{i}to{j}" for i, j in pairs)))

    def __str__(self) -> str:
        after = {"rate": repr(self.rate).removesuffix(".0"), "file": self.file}
        after["ratio"] = after["rate"]
        value = f":{after[self.row.takes]}" if self.row.takes in after else ""
        qualifiers = [*([self.word] if self.word else []), *self.qualifiers]
        return self.kind + value + ("@" + ",".join(qualifiers) if qualifiers else "")


@dataclass(frozen=True)
class NoiseSpec:
    """A noise by name: stages that act one after the other, ``STAGE | STAGE | ...``; of no stage, none.

    Args:
        stages: in their order; those of the kind none are left out.

    Raises:
        InputError: a stage stands where it would undo another, or comes twice and may not.

    >>> str(NoiseSpec.parse("longtail:0.10|symmetric:.4"))
    'longtail:0.1 | symmetric:0.4'
    """

    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(stage for stage in self.stages if stage.kind != "none"))
        for place, stage in enumerate(self.stages):
            before = self.stages[:place]
            lost = [other for other in before if other.row.takes != "ratio"]
            if stage.row.first and lost:
                raise InputError(
                    f"{stage} replaces all labels, so that {lost[0]} before it would be lost; put it first"
                )
            # It goes by the labels given: after them no class has the noise that was asked for.
            flips = [other for other in before if other.row.takes != "ratio" and not other.row.first]
            flips = [other for other in flips if other.row.needs != "foreign images"]
            if stage.row.takes == "ratio" and flips:
                raise InputError(
                    f"{stage} chooses by the labels, so that {flips[0]} before it would not keep its rates; "
                    "put it first"
                )
        if sum(stage.row.needs == "foreign images" for stage in self.stages) > 1:
            raise InputError(
                "foreign images come in twice, and one set of them can be handled; leave one out"
            )

    @classmethod
    def parse(cls, text: object) -> NoiseSpec:
        """Read a spec from its text; a spec is returned as it is.

        Raises:
            InputError: as for the class and `Stage`.
        """
        if isinstance(text, NoiseSpec):
            return text
        if not isinstance(text, str):
            what = "None" if text is None else f"a {type(text).__name__}"
            raise InputError(f"noise is {what}, expected text such as 'symmetric:0.4'")
        parts = text.split("|")
        if len(parts) > 1 and not all(part.strip() for part in parts):
            raise InputError(f"a side of a | in {text!r} is empty; write a noise on both, or leave the | out")
        return cls(tuple(Stage.parse(part) for part in parts))

    @property
    def changes_labels(self) -> bool:
        """Whether any stage can make a label wrong."""
        return any(stage.row.takes != "ratio" for stage in self.stages)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it reads."""
        return tuple(stage.file for stage in self.stages if stage.file)

    @property
    def foreign(self) -> str:
        """The data set that foreign images are taken from; empty if there are none."""
        return next((stage.word for stage in self.stages if stage.row.needs == "foreign images"), "")

    def __str__(self) -> str:
        return " | ".join(map(str, self.stages)) or "none"


def _file_and_word(text: str, row: NoiseKind) -> tuple[str, str]:
    """Divide FILE@WORD; an @ in a folder's or file's name is part of the path."""
    path, at, word = text.strip().rpartition("@")
    if at and row.word and "/" not in word and "." not in word:
        return path.strip(), word.strip()
    return text.strip(), ""


def _checked_rate(rate: float, row: NoiseKind) -> float:
    """Return a rate or a ratio if it is in its range; numbers that are easily meant get a hint."""
    what = "ratio" if row.takes == "ratio" else "rate"
    try:
        return float(check_between(rate, what, 0, 1, open_low=what == "ratio"))
    except InputError as error:
        hint = ""
        if isinstance(rate, (int, float)) and 1 < rate < math.inf:
            meant = f"{1 / rate:.4g} for an imbalance factor of {rate:g}"
            hint = f"; write {meant if what == 'ratio' else f'{rate / 100:g} for {rate:g} %'}"
        raise InputError(f"{error}{hint}") from None


def _canonical_pair(qualifier: str) -> str:
    true, given = qualifier.split("to")
    return f"{int(true)}to{int(given)}"  # 03to5 is 3to5


def _rate(number: str, text: str, what: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise InputError(
            f"the {what} of {text!r} is {number!r}, expected a number in [0, 1] such as 0.4"
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
    if row.takes_map and (found := re.fullmatch(r"(\d+)\W+(\d+)", qualifier)):
        raise InputError(
            f"unknown qualifier {qualifier!r}; write a pair of classes as {found[1]}to{found[2]}"
        )
    if not fits:
        raise InputError(f"{kind} noise takes no qualifier, and {qualifier!r} came; write {row.form}")
    raise InputError(f"unknown qualifier {qualifier!r} of {kind} noise{did_you_mean(qualifier, fits)}")
