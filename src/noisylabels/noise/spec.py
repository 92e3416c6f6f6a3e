"""The text that names a noise: ``symmetric:0.4``, ``longtail:0.1 | asymmetric:0.4@cifar10,sequential``."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

from noisylabels.core.checks import InputError, check_between, did_you_mean
from noisylabels.noise import confusion_maps
from noisylabels.noise.catalog import KINDS, Convention, NoiseKind
from noisylabels.noise.confusion_maps import MAPS
from noisylabels.noise.stage import Stage, pair_text, read_pair

ALIASES = {"clean": "none"}


def parse_stage(text: str) -> Stage:
    """Read a stage from its text, and return it canonical.

    A qualifier is a convention of the kind, a confusion map, pairs of class numbers (`3to5`) in place of a
    map, or a word that the kind asks for.

    Raises:
        InputError: the text is not of the form that `Stage` names, or as `check_stage`.

    >>> str(parse_stage("asymmetric:0.40@sequential,cifar10"))
    'asymmetric:0.4@cifar10,sequential'
    >>> parse_stage("symetric:0.4")
    Traceback (most recent call last):
    ...
    noisylabels.core.checks.InputError: unknown noise 'symetric'; did you mean 'symmetric'?
    """
    kind, colon, rest = text.strip().partition(":")
    if "@" in kind:  # none@fast, which has no colon
        kind, colon, rest = kind.partition("@")[0], "", text.strip()[text.strip().index("@") :]
    kind = kind.strip().lower()
    kind = ALIASES.get(kind, kind)
    row = KINDS[kind]
    if row.takes == "file":
        path, word = _file_and_word(rest, row)
        return check_stage(Stage(kind, file=path, word=word))
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
    rate = _rate(number, text, row.takes) if number else None
    return check_stage(Stage(kind, rate, tuple(part.lower() for part in parts), word=word))


def check_stage(stage: Stage) -> Stage:
    """Return a stage in its canonical form: aliases resolved, maps or pairs first, the convention last.

    Raises:
        InputError: an unknown kind or qualifier, a rate outside its range, or a qualifier that does
            not fit.
    """
    row = KINDS[stage.kind]
    rate = _checked_rate(stage, row)
    if bool(stage.file) != (row.takes == "file"):
        raise InputError(f"{stage.kind} takes {'a' if row.takes == 'file' else 'no'} file; write {row.form}")
    if (stage.word and not row.word) or (row.word_needed and not stage.word):
        what = f"needs {row.word} after an @" if row.word_needed else f"takes no {stage.word!r}"
        raise InputError(f"{stage.kind} {what}; write {row.form}")
    return Stage(
        stage.kind,
        rate,
        _checked_qualifiers(stage, row),
        os.path.normpath(os.path.expanduser(stage.file)) if stage.file else "",
        row.spell(stage.word) if stage.word else "",
    )


def kind_of(stage: Stage) -> NoiseKind:
    """Return the catalog's row of a stage's kind."""
    return KINDS[stage.kind]


def convention_of(stage: Stage) -> Convention:
    """Return the convention that a stage names, or its kind's default."""
    row = KINDS[stage.kind]
    return next((row.conventions[q] for q in stage.qualifiers if q in row.conventions), row.default)


def map_of(stage: Stage) -> str | None:
    """Return the confusion map that a stage names, or None."""
    return next((q for q in stage.qualifiers if q in MAPS), None)


@dataclass(frozen=True)
class NoiseSpec:
    """A noise by name: stages that act one after the other, ``STAGE | STAGE | ...``; of no stage, none.

    Args:
        stages: in their order; those of the kind none are left out.

    Raises:
        InputError: as for `check_stage`; a stage stands where it would undo another, or comes twice and may
            not.

    >>> str(NoiseSpec.parse("longtail:0.10|symmetric:.4"))
    'longtail:0.1 | symmetric:0.4'
    """

    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        stages = tuple(stage for stage in map(check_stage, self.stages) if stage.kind != "none")
        object.__setattr__(self, "stages", stages)  # the dataclass is frozen
        for place, stage in enumerate(stages):
            before = stages[:place]
            lost = [other for other in before if kind_of(other).takes != "ratio"]
            if kind_of(stage).first and lost:
                raise InputError(
                    f"{stage} replaces all labels, so that {lost[0]} before it would be lost; put it first"
                )
            # It goes by the labels given: after them no class has the noise that was asked for.
            flips = [other for other in lost if not kind_of(other).first]
            flips = [other for other in flips if kind_of(other).needs != "foreign images"]
            if kind_of(stage).takes == "ratio" and flips:
                raise InputError(
                    f"{stage} chooses by the labels, so that {flips[0]} before it would not keep its rates; "
                    "put it first"
                )
        if sum(kind_of(stage).needs == "foreign images" for stage in stages) > 1:
            raise InputError(
                "foreign images come in twice, and one set of them can be handled; leave one out"
            )

    @classmethod
    def parse(cls, text: object) -> NoiseSpec:
        """Read a spec from its text; a spec is returned as it is.

        Raises:
            InputError: as for the class and `parse_stage`.
        """
        if isinstance(text, NoiseSpec):
            return text
        if not isinstance(text, str):
            what = "None" if text is None else f"a {type(text).__name__}"
            raise InputError(f"noise is {what}, expected text such as 'symmetric:0.4'")
        parts = text.split("|")
        if len(parts) > 1 and not all(part.strip() for part in parts):
            raise InputError(f"a side of a | in {text!r} is empty; write a noise on both, or leave the | out")
        return cls(tuple(map(parse_stage, parts)))

    @property
    def changes_labels(self) -> bool:
        """Whether any stage can make a label wrong."""
        return any(kind_of(stage).takes != "ratio" for stage in self.stages)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it reads."""
        return tuple(stage.file for stage in self.stages if stage.file)

    @property
    def foreign(self) -> str:
        """The data set that foreign images are taken from; empty if there are none."""
        return next((stage.word for stage in self.stages if kind_of(stage).needs == "foreign images"), "")

    def __str__(self) -> str:
        return " | ".join(map(str, self.stages)) or "none"


def _file_and_word(text: str, row: NoiseKind) -> tuple[str, str]:
    """Divide FILE@WORD; an @ in a folder's or file's name is part of the path."""
    path, at, word = text.strip().rpartition("@")
    if at and row.word and "/" not in word and "." not in word:
        return path.strip(), word.strip()
    return text.strip(), ""


def _checked_rate(stage: Stage, row: NoiseKind) -> float | None:
    """Return a rate or a ratio if it is in its range, and None for a kind that takes none.

    Numbers that are easily meant get a hint.
    """
    rate = stage.rate
    if row.takes not in ("rate", "ratio"):
        if rate:
            raise InputError(f"{stage.kind} takes no rate, and {rate!r} came; write {row.form}")
        return None
    try:
        checked = check_between(rate, row.takes, 0, 1, open_low=row.takes == "ratio")  # type: ignore[arg-type]
        return float(checked) + 0.0  # -0.0 becomes 0.0
    except InputError as error:
        hint = ""
        if isinstance(rate, (int, float)) and 1 < rate < math.inf:
            meant = f"{1 / rate:.4g} for an imbalance factor of {rate:g}"
            hint = f"; write {meant if row.takes == 'ratio' else f'{rate / 100:g} for {rate:g} %'}"
        raise InputError(f"{error}{hint}") from None


def _checked_qualifiers(stage: Stage, row: NoiseKind) -> tuple[str, ...]:
    """Return the qualifiers in their canonical spelling and order."""
    qualifiers = tuple(confusion_maps.ALIASES.get(q, q) for q in stage.qualifiers)
    for qualifier in qualifiers:
        _check_qualifier(stage.kind, row, qualifier)
    conventions = [q for q in qualifiers if q in row.conventions]
    pairs = [pair_text(pair) for q in qualifiers if (pair := read_pair(q)) is not None]  # 03to5 is 3to5
    named = [q for q in qualifiers if q not in conventions and read_pair(q) is None]
    if len(conventions) > 1:
        raise InputError(f"{' and '.join(conventions)} exclude each other; write one of them")
    if len(named) + bool(pairs) > 1:
        raise InputError(f"{' and '.join([*named, *pairs[:1]])} are two confusion maps; write one of them")
    return (*named, *pairs, *conventions)


def _rate(number: str, text: str, what: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise InputError(
            f"the {what} of {text!r} is {number!r}, expected a number in [0, 1] such as 0.4"
        ) from None


def _check_qualifier(kind: str, row: NoiseKind, qualifier: str) -> None:
    fits = [*row.conventions, *(MAPS if row.takes_map else ())]
    if qualifier in fits or (row.takes_map and read_pair(qualifier) is not None):
        return
    elsewhere = [name for name in KINDS if qualifier in KINDS[name].conventions]
    if qualifier in MAPS or read_pair(qualifier) is not None:
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
