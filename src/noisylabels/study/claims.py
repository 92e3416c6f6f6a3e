"""Test claims about a study's results: supported, contradicted, undecided or not measured.

A claim is a sentence with the differences that it implies, expressed by `expectations`. Users define claims
as functions decorated with `@claim` in a Python file. See docs/claims.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from noisylabels.core.checks import InputError
from noisylabels.core.files import real_path
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
from noisylabels.study.results import Results, Run
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
    "judge_by_machine",
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
"""Section of user-defined claims."""


@dataclass(frozen=True)
class Claim:
    """A statement about results, and the expectations that must hold if it is true.

    Args:
        name: short name for tables.
        section: section of the text that makes the claim, such as "4.2"; "own" for user-defined claims.
        statement: one sentence.
        expected: expectations that must all hold, or a function from results to such a list.
        file: the user's file that defines the claim, if any.
    """

    name: str
    section: str
    statement: str
    expected: Expects
    file: Path | None = None


@dataclass(frozen=True)
class Finding:
    """The verdict on a claim.

    Args:
        claim: the claim.
        status: supported, contradicted, undecided or not measured.
        evidence: one sentence: counts of the comparisons and the one that determines the verdict.
        comparisons: all comparisons.
    """

    claim: Claim
    status: Status
    evidence: str
    comparisons: tuple[Comparison, ...]


def claim(
    name: str, statement: str, section: str = OWN
) -> Callable[[Callable[[Results], Sequence[Expected]]], Claim]:
    """Turn a function from results to a list of expectations into a claim.

    Args:
        name: short, unique within the file.
        statement: one sentence, as tables show it.
        section: of the paper, or "own".

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
    """Return the verdict on each claim.

    A claim is supported if all its expectations are; contradicted if the interval of one comparison (of all,
    for `sometimes`) lies entirely outside the expected range; not measured if neither holds and runs are
    missing; otherwise undecided. A comparison that decides alone (a counterexample, or an example for
    `sometimes`) is tested at the confidence level ``1 - 0.05 / m`` for m comparisons of the claim
    (Bonferroni). There is no correction across claims.

    Args:
        claims: what `load_claims` returns, or functions under `claim`.
        results: the runs of a study, of `read_results`.

    Raises:
        InputError: a user-defined claim fails or returns something else than expectations.
    """
    return [_judge(claim, results) for claim in claims]


def judge_by_machine(claims: Sequence[Claim], results: Results) -> dict[str, list[Finding]]:
    """Return the verdicts on the runs of each machine alone, the machine with most runs first.

    Processors differ in rounding, and training magnifies that: a verdict that only one machine's runs give
    may change with the next. The result is empty if one machine made all runs.

    Args:
        claims, results: as for `judge`.
    """
    runs: dict[str, list[Run]] = {}
    for run in results.runs:
        runs.setdefault(run.machine, []).append(run)
    if len(runs) < 2:
        return {}
    most = sorted(runs, key=lambda machine: -len(runs[machine]))
    return {machine: judge(claims, replace(results, runs=runs[machine])) for machine in most}


@dataclass(frozen=True)
class _Group:
    """Comparisons tested together: all must hold, or at least one (`one`)."""

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

    def decisive(self, status: Status, alone: float) -> tuple[Comparison, float]:
        """Return the comparison that determines the status, and the confidence level of its test."""
        measured = [c for c in self.comparisons if c.values]
        decisive = "supported" if self.one else "contradicted"
        together = "contradicted" if self.one else "supported"
        bearing, held = measured, CONFIDENCE
        if status == decisive:
            bearing, held = [c for c in measured if c.status(alone) == decisive], alone
        elif status == "undecided":  # preferably one that is decided at 95 % but not after the correction
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
    count = f"{len(measured)} comparison{'' if len(measured) == 1 else 's'}"
    tally = f"{count}: {verdicts}"
    if status == "not measured":
        missing = some([word for comparison in comparisons for word in comparison.missing])
        evidence = f"missing: {missing}" + (f"; {tally}" if measured else "")
        return Finding(claim, status, evidence, tuple(comparisons))
    bearing = [group for group, word in zip(groups, statuses, strict=True) if word == status]
    bearing = [group for group in bearing if not group.one] or bearing
    chosen, held = min((group.decisive(status, alone) for group in bearing), key=lambda pair: pair[0].room)
    evidence = chosen.text(held)
    if len(comparisons) > 1:
        introduced = _INTRODUCED[status]
        if status == "supported" and bearing[0].one:
            introduced = "example"
        elif status == "undecided" and held > CONFIDENCE:
            introduced = "not significant after the correction"
        evidence = f"{tally}; {introduced}: {evidence}"
    return Finding(claim, status, evidence, tuple(comparisons))


_INTRODUCED = {
    "supported": "smallest margin",
    "contradicted": "contradicted by",
    "undecided": "for example",
}


def _guarded(claim: Claim, results: Results) -> list[_Group]:
    """Return the comparisons of a claim; report an error in the user's code in one line."""
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


def claims_table(
    findings: Sequence[Finding],
    name: str = "claims",
    title: str = "Tests of claims",
    by_machine: Mapping[str, Sequence[Finding]] | None = None,
) -> Table:
    """Return findings as a table: claim, verdict, section, evidence; claims not measured come last.

    With `by_machine`, of `judge_by_machine`, a column has the verdicts on each machine's runs alone.

    Args:
        findings: of `judge`.
        name, title: of the table.
        by_machine: of `judge_by_machine`, or None.
    """
    counts = {word: sum(f.status == word for f in findings) for word in _ORDER}
    tally = ", ".join(f"{count} {word}" for word, count in counts.items())
    note = (
        f"{tally}. Differences are paired by seed, and n is the number of seeds. Confidence intervals (CI) "
        "are Student's t at 95 % unless another level is stated: 99 % for two seeds; where one of several "
        "comparisons decides a claim, its level is Bonferroni-corrected. A standard deviation counts as at "
        f"least one unit of the last digit shown. There is no correction across the {len(findings)} claims: "
        "where there is no true difference, about one claim in forty is still supported and as many are "
        "contradicted."
    )
    shown = sorted(findings, key=lambda finding: finding.status == "not measured")
    rows = [[f"{f.claim.name}: {f.claim.statement}", f.status, f.claim.section, f.evidence] for f in shown]
    columns = ["claim", "verdict", "section", "evidence"]
    if by_machine:
        alone = {machine: {f.claim.name: f.status for f in found} for machine, found in by_machine.items()}
        columns.append("on one machine's runs alone")
        for row, f in zip(rows, shown, strict=True):
            row.append("; ".join(f"{machine}: {found[f.claim.name]}" for machine, found in alone.items()))
    return Table(name, title, columns, rows, note)


_ORDER: tuple[Status, ...] = ("supported", "contradicted", "undecided", "not measured")


# A user's file ------------------------------------------------------------------------------------


def load_claims(path: str | Path) -> list[Claim]:
    """Return the claims that a Python file defines, in order.

    Args:
        path: of the Python file, which is executed.

    Raises:
        InputError: no such file; an error in it, with its line; no claim; two claims of the same name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        kind = "is a folder" if file.is_dir() else "does not exist"
        raise InputError(
            f"the claims file {path} {kind}, expected a Python file with functions decorated with @claim"
        )
    with importable(f"{file}:claims"):
        try:
            module = run_file(real_path(file))
        except (Exception, SystemExit) as error:
            raise (
                error if isinstance(error, InputError) else failed(str(path), "claims file", error)
            ) from error
    found = [value for value in vars(module).values() if isinstance(value, Claim)]
    if not found:
        raise InputError(
            f"{path} defines no claim; decorate a function with @claim(NAME, STATEMENT) "
            "of noisylabels.study.claims"
        )
    names = [claim.name for claim in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two claims named {twice!r}; give each its own name")
    return [replace(claim, file=file) for claim in found]
