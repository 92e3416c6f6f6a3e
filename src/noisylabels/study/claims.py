"""Claims about a study's results, judged: supported, contradicted, undecided or not measured.

A claim is a sentence and the differences that are expected if it is true, in the terms of `expectations`. A
user's file defines claims as functions under `@claim`. See docs/claims.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from noisylabels.core.checks import InputError
from noisylabels.core.user_code import failed, importable, run_file
from noisylabels.report.tables import Table
from noisylabels.study.comparisons import CONFIDENCE, Comparison, Status, some
from noisylabels.study.expectations import (
    Expectation,
    Pooled,
    Sometimes,
    alike,
    among_lowest,
    among_top,
    average,
    best,
    between,
    differs,
    less,
    lowest,
    more,
    negative,
    not_less,
    not_more,
    pooled,
    positive,
    sometimes,
)
from noisylabels.study.results import Results
from noisylabels.study.settings import against, each, equal_rates, highest, rates

__all__ = [
    "Claim",
    "Comparison",
    "Finding",
    "against",
    "alike",
    "among_lowest",
    "among_top",
    "average",
    "best",
    "between",
    "claim",
    "claims_table",
    "differs",
    "each",
    "equal_rates",
    "highest",
    "judge",
    "less",
    "load_claims",
    "lowest",
    "more",
    "negative",
    "not_less",
    "not_more",
    "pooled",
    "positive",
    "rates",
    "sometimes",
]

Expected = Expectation | Sometimes | Pooled | Comparison
Expects = Sequence[Expected] | Callable[[Results], Sequence[Expected]]

OWN = "own"
"""The section of a user's claims."""


@dataclass(frozen=True)
class Claim:
    """A sentence about results, and what is expected of them if it is true.

    Args:
        name: short, for tables.
        section: of the text that makes the claim, such as "4.2" of a paper; "own" for a user's.
        statement: one sentence.
        expected: all of it must hold; or a function of the results that returns such a list.
        file: where the function comes from, if it is a user's.
    """

    name: str
    section: str
    statement: str
    expected: Expects
    file: Path | None = None


@dataclass(frozen=True)
class Finding:
    """What results say to a claim.

    Args:
        claim: the claim.
        status: supported, contradicted, undecided or not measured.
        evidence: one sentence: the comparison that decides, or decides least, and how many there are.
        comparisons: all of them.
    """

    claim: Claim
    status: Status
    evidence: str
    comparisons: tuple[Comparison, ...]


def claim(
    name: str, statement: str, section: str = OWN
) -> Callable[[Callable[[Results], Sequence[Expected]]], Claim]:
    """Make a claim of a function from results to a list of expectations.

    >>> from noisylabels.study.results import accuracy
    >>> @claim("gce-wins", "GCE is more accurate than CE.")
    ... def gce_wins(results):
    ...     return [more(accuracy, "gce", "ce", "symmetric:0.4")]
    >>> gce_wins.section
    'own'
    """

    def made(function: Callable[[Results], Sequence[Expected]]) -> Claim:
        return Claim(name, section, statement, function)

    return made


# Judging ------------------------------------------------------------------------------------------


def judge(claims: Iterable[Claim], results: Results) -> list[Finding]:
    """Return what results say to each claim.

    A claim is supported if everything that it expects is; contradicted if one of its comparisons lies wholly
    outside what is expected, or for `sometimes` if all do; not measured if neither, and a run is missing; and
    otherwise undecided. A comparison that decides alone (a counterexample, or an example of `sometimes`) is
    held to the confidence ``1 - 0.05 / m``, m the comparisons of the claim (Bonferroni). Between
    claims nothing is corrected.

    Raises:
        InputError: what a user's claim does or returns is wrong.
    """
    return [_judge(claim, results) for claim in claims]


@dataclass(frozen=True)
class _Group:
    """What is judged together: all of the comparisons must hold, or one."""

    one: bool
    comparisons: list[Comparison]

    def status(self, alone: float) -> Status:
        strict = [comparison.status(alone) for comparison in self.comparisons]
        usual = [comparison.status() for comparison in self.comparisons]
        decisive: Status = "supported" if self.one else "contradicted"
        together: Status = "contradicted" if self.one else "supported"
        if decisive in strict:
            return decisive
        if "not measured" in usual:
            return "not measured"
        return together if set(usual) == {together} else "undecided"

    def telling(self, status: Status, alone: float) -> tuple[Comparison, float]:
        """Return the comparison that bears the status, and the confidence it is held to."""
        measured = [c for c in self.comparisons if c.values]
        decisive = "supported" if self.one else "contradicted"
        together = "contradicted" if self.one else "supported"
        bearing, held = measured, CONFIDENCE
        if status == decisive:
            bearing, held = [c for c in measured if c.status(alone) == decisive], alone
        elif status == "undecided":  # most tellingly what decides at 95 %, and not at what it is held to
            nearly = [c for c in measured if c.status() == decisive]
            bearing = nearly or [c for c in measured if c.status() != together]
            held = alone if nearly else CONFIDENCE
        return (max if self.one else min)(bearing, key=lambda c: c.room), held


def _judge(claim: Claim, results: Results) -> Finding:
    groups = _guarded(claim, results)
    comparisons = [comparison for group in groups for comparison in group.comparisons]
    measured = [comparison for comparison in comparisons if comparison.status() != "not measured"]
    alone = 1 - (1 - CONFIDENCE) / max(len(measured), 1)
    statuses = [group.status(alone) for group in groups]
    order: list[Status] = ["contradicted", "not measured", "undecided", "supported"]
    status = next(word for word in order if word in statuses)
    counts = {word: sum(c.status() == word for c in measured) for word in _ORDER}
    verdicts = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    tally = f"of {len(measured)} comparisons {verdicts}"
    if status == "not measured":
        missing = some([word for comparison in comparisons for word in comparison.missing])
        evidence = f"missing: {missing}" + (f"; else {tally}" if measured else "")
        return Finding(claim, status, evidence, tuple(comparisons))
    bearing = [group for group, word in zip(groups, statuses, strict=True) if word == status]
    bearing = [group for group in bearing if not group.one] or bearing
    chosen, held = min((group.telling(status, alone) for group in bearing), key=lambda pair: pair[0].room)
    evidence = chosen.text(held)
    if len(comparisons) > 1:
        introduced = _INTRODUCED[status]
        if status == "supported" and bearing[0].one:
            introduced = "an example"
        elif status == "undecided" and held > CONFIDENCE:
            introduced = "not sure enough"
        evidence = f"{tally}; {introduced}: {evidence}"
    return Finding(claim, status, evidence, tuple(comparisons))


_INTRODUCED = {
    "supported": "the narrowest",
    "contradicted": "against it",
    "undecided": "not decided",
}


def _guarded(claim: Claim, results: Results) -> list[_Group]:
    """Return the comparisons of a claim; an error in a user's code is one line."""
    try:
        expected = claim.expected(results) if callable(claim.expected) else claim.expected
        _check_expected(claim, expected)
        return [
            _Group(isinstance(e, Sometimes), [e] if isinstance(e, Comparison) else e.compare(results))
            for e in expected
        ]
    except InputError as error:
        if claim.file is None or str(error).startswith("the claim"):
            raise
        raise InputError(f"the claim {claim.name!r} of {claim.file.name}: {error}") from error
    except Exception as error:
        if claim.file is None:
            raise
        raise failed(claim.name, "claim", error) from error


def _check_expected(claim: Claim, expected: object) -> None:
    where = f" of {claim.file.name}" if claim.file else ""
    wanted = 'expected a list such as [less(gap, "nce", "ce", "symmetric:0.4")]'
    if not isinstance(expected, list | tuple):
        raise InputError(f"the claim {claim.name!r}{where} returned {_short(expected)}, {wanted}")
    wrong = [item for item in expected if not isinstance(item, Expected)]
    if wrong or not expected:
        what = f"a list with {_short(wrong[0])} in it" if wrong else "an empty list"
        raise InputError(f"the claim {claim.name!r}{where} returned {what}, {wanted}")


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# Tables -------------------------------------------------------------------------------------------


def claims_table(findings: Sequence[Finding], name: str = "claims", title: str = "Claims, tested") -> Table:
    """Return findings as a table: claim, verdict, section, evidence; what was not measured comes last."""
    counts = {word: sum(f.status == word for f in findings) for word in _ORDER}
    tally = ", ".join(f"{count} {word}" for word, count in counts.items())
    note = (
        f"{tally}. Differences are taken seed by seed and n counts seeds; intervals are Student's, 95 % "
        f"where none other is said. Where one comparison of several decides a claim it is held to more "
        f"(Bonferroni). A deviation counts as one unit of the last digit shown at least. "
        f"Between the {len(findings)} claims nothing is corrected: where in truth there is no difference, "
        f"about one claim in forty still comes out supported and as many contradicted."
    )
    shown = sorted(findings, key=lambda finding: finding.status == "not measured")
    rows = [[f"{f.claim.name}: {f.claim.statement}", f.status, f.claim.section, f.evidence] for f in shown]
    return Table(name, title, ("claim", "verdict", "section", "evidence"), rows, note)


_ORDER: tuple[Status, ...] = ("supported", "contradicted", "undecided", "not measured")


# A user's file ------------------------------------------------------------------------------------


def load_claims(path: str | Path) -> list[Claim]:
    """Return the claims of a Python file, in its order.

    Raises:
        InputError: no such file; an error in it, with its line; no claim in it; two of one name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        kind = "is a folder" if file.is_dir() else "is not there"
        raise InputError(
            f"the file of claims {path} {kind}, expected a Python file with functions under @claim"
        )
    with importable(f"{file}:claims"):
        try:
            module = run_file(file.resolve())
        except (Exception, SystemExit) as error:
            raise (
                error if isinstance(error, InputError) else failed(str(path), "file of claims", error)
            ) from error
    found = [value for value in vars(module).values() if isinstance(value, Claim)]
    if not found:
        raise InputError(
            f"{path} holds no claim; put @claim(NAME, STATEMENT) of noisylabels.study.claims above a function"
        )
    names = [claim.name for claim in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two claims of the name {twice!r}; give each its own")
    return [replace(claim, file=file) for claim in found]
