"""Noise specs: ``symmetric:0.4``, ``longtail:0.1 | asymmetric:0.4@cifar10,sequential``."""

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
    """Return the canonical stage of a text.

    A qualifier is a convention of the noise model, a confusion map, pairs of class numbers (`3to5`) in place
    of a map, or a word that the model defines.

    Raises:
        InputError: the text does not have the syntax of `Stage`, or as `check_stage`.

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
        raise InputError(f"{text!r} has a rate, which {kind} does not take; write {row.form}")
    if row.takes != "nothing" and not number:
        raise InputError(f"{text!r} has no {row.takes}; write {row.form}, for example {kind}:0.4")
    parts = [part.strip() for part in tail.split(",")] if at else []
    word = ""
    if row.word:  # the first part that is no convention
        word = next((part for part in parts if part.lower() not in row.conventions), "")
        parts = [part for part in parts if part != word]
    rate = _rate(number, text, row.takes) if number else None
    return check_stage(Stage(kind, rate, tuple(part.lower() for part in parts), word=word))


def check_stage(stage: Stage) -> Stage:
    """Return a stage in its canonical form: aliases resolved, maps or pairs first, the convention last.

    Raises:
        InputError: an unknown kind or qualifier, a rate out of range, or a qualifier of another kind.
    """
    row = KINDS[stage.kind]
    rate = _checked_rate(stage, row)
    if bool(stage.file) != (row.takes == "file"):
        raise InputError(f"{stage.kind} takes {'a' if row.takes == 'file' else 'no'} file; write {row.form}")
    if (stage.word and not row.word) or (row.word_needed and not stage.word):
        what = f"needs {row.word} after @" if row.word_needed else f"takes no {stage.word!r}"
        raise InputError(f"{stage.kind} {what}; write {row.form}")
    return Stage(
        stage.kind,
        rate,
        _checked_qualifiers(stage, row),
        os.path.normpath(os.path.expanduser(stage.file)) if stage.file else "",
        row.spell(stage.word) if stage.word else "",
    )


def kind_of(stage: Stage) -> NoiseKind:
    """Return the catalog's row for a stage."""
    return KINDS[stage.kind]


def convention_of(stage: Stage) -> Convention:
    """Return the convention that a stage names, or the default."""
    row = KINDS[stage.kind]
    return next((row.conventions[q] for q in stage.qualifiers if q in row.conventions), row.default)


def map_of(stage: Stage) -> str | None:
    """Return the confusion map that a stage names, or None."""
    return next((q for q in stage.qualifiers if q in MAPS), None)


@dataclass(frozen=True)
class NoiseSpec:
    """A noise spec: stages applied one after the other, ``STAGE | STAGE | ...``; without stages, no noise.

    Args:
        stages: in order of application; those of the kind none are dropped.

    Raises:
        InputError: as for `check_stage`; a stage would undo an earlier one, or two stages add foreign images.

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
                    f"{stage} replaces all labels, including those of {lost[0]} before it; write it first"
                )
            # It selects by given labels: after flips, no class would keep the requested noise rate.
            flips = [other for other in lost if not kind_of(other).first]
            flips = [other for other in flips if kind_of(other).needs != "foreign images"]
            if kind_of(stage).takes == "ratio" and flips:
                raise InputError(
                    f"{stage} selects examples by label, so {flips[0]} before it would not keep its rate; "
                    "write it first"
                )
        if sum(kind_of(stage).needs == "foreign images" for stage in stages) > 1:
            raise InputError("two stages add foreign images, expected at most one; leave one out")

    @classmethod
    def parse(cls, text: object) -> NoiseSpec:
        """Return the spec of a text; a `NoiseSpec` is returned unchanged.

        Raises:
            InputError: as for `NoiseSpec` and `parse_stage`.
        """
        if isinstance(text, NoiseSpec):
            return text
        if not isinstance(text, str):
            what = "None" if text is None else f"a {type(text).__name__}"
            raise InputError(f"noise is {what}, expected text such as 'symmetric:0.4'")
        parts = text.split("|")
        if len(parts) > 1 and not all(part.strip() for part in parts):
            raise InputError(
                f"{text!r} has an empty stage, expected one on both sides of |; add it, or leave out |"
            )
        return cls(tuple(map(parse_stage, parts)))

    @property
    def changes_labels(self) -> bool:
        """Return whether any stage can change labels."""
        return any(kind_of(stage).takes != "ratio" for stage in self.stages)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the stages read."""
        return tuple(stage.file for stage in self.stages if stage.file)

    @property
    def foreign(self) -> str:
        """The data set of the foreign images; empty without any."""
        return next((stage.word for stage in self.stages if kind_of(stage).needs == "foreign images"), "")

    def __str__(self) -> str:
        return " | ".join(map(str, self.stages)) or "none"


def _file_and_word(text: str, row: NoiseKind) -> tuple[str, str]:
    """Return the parts of FILE@WORD; an @ in a folder's or file's name belongs to the path."""
    path, at, word = text.strip().rpartition("@")
    if at and row.word and "/" not in word and "." not in word:
        return path.strip(), word.strip()
    return text.strip(), ""


def _checked_rate(stage: Stage, row: NoiseKind) -> float | None:
    """Return the rate or ratio of a stage, checked; None for a kind without one.

    The error for a percentage or an imbalance factor suggests the number to write.
    """
    rate = stage.rate
    if row.takes not in ("rate", "ratio"):
        if rate:
            raise InputError(f"the rate is {rate!r}, and {stage.kind} takes none; write {row.form}")
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
        raise InputError(
            f"{' and '.join(conventions)} are two conventions, expected at most one; write one of them"
        )
    if len(named) + bool(pairs) > 1:
        raise InputError(
            f"{' and '.join([*named, *pairs[:1]])} are two confusion maps, expected at most one; "
            "write one of them"
        )
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
        kinds = " and ".join([", ".join(elsewhere[:-1]), elsewhere[-1]] if elsewhere[1:] else elsewhere)
        raise InputError(
            f"the qualifier {qualifier!r} belongs to {kinds} noise, not {kind}; write {row.form}"
        )
    if row.takes_map and (found := re.fullmatch(r"(\d+)\W+(\d+)", qualifier)):
        raise InputError(
            f"unknown qualifier {qualifier!r}; write a pair of classes as {found[1]}to{found[2]}"
        )
    if not fits:
        raise InputError(f"the qualifier is {qualifier!r}, and {kind} noise takes none; write {row.form}")
    raise InputError(f"unknown qualifier {qualifier!r} of {kind} noise{did_you_mean(qualifier, fits)}")
