"""Claims: verdicts checked by hand arithmetic, and the claims of a user's file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylabels.core.checks import InputError
from noisylabels.report.tables import markdown
from noisylabels.study.claims import (
    Claim,
    Comparison,
    Finding,
    against,
    alike,
    among_lowest,
    among_top,
    average,
    best,
    between,
    claim,
    claims_table,
    differs,
    each,
    equal_rates,
    highest,
    judge,
    judge_by_machine,
    less,
    load_claims,
    lowest,
    more,
    negative,
    not_less,
    not_more,
    pooled,
    positive,
    rates,
    sometimes,
)
from noisylabels.study.comparisons import PER_CENT, POINTS
from noisylabels.study.results import Results, Run, accuracy, decline, epoch_seconds, gap, instability

T2 = 4.302652729911275  # Student's t, 97.5 %, two degrees of freedom
DEFAULTS = {"accuracy": 50.0, "gap": 0.0, "decline": 1.0, "instability": 0.3, "seconds": 6.0}


def made(loss: str, noise: str, seed: int, machine: str = "one", **numbers: Any) -> Run:
    """Return a run in which the measures are these: points, and seconds."""
    precision = numbers.pop("precision", "float32")
    n = {**DEFAULTS, **numbers}
    last = n["accuracy"] / 100
    # five of ten values are lower by a, whose sample deviation is a sqrt(10 / 4 / 9)
    lower = n["instability"] / 100 / math.sqrt(10 / 36)
    test = np.array([last + n["decline"] / 100, *([last - lower, last] * 5)])
    curves = {
        "epoch": np.arange(1.0, 12.0),
        "test_accuracy": test,
        "given_accuracy": np.full(11, last + n["gap"] / 100),
        "train_seconds": np.full(11, n["seconds"]),
    }
    config = {"loss": loss, "noise": noise, "seed": seed, "data": "digits", "precision": precision}
    return Run(f"{loss}-{noise}-{seed}", "done", "", config, curves, machine=machine, alone=True)


def rows(table: Mapping[tuple[str, str], Iterable[float]], of: str = "accuracy") -> Results:
    """Return results with a measure seed by seed, seeds from 1 on."""
    return Results(
        [
            made(loss, noise, seed, **{of: value})
            for (loss, noise), values in table.items()
            for seed, value in enumerate(values, 1)
        ]
    )


def judged(results: Results, *expected: Any) -> Finding:
    [finding] = judge([Claim("c", "own", "A sentence.", expected)], results)
    return finding


def test_the_made_up_runs_have_the_measures_they_were_made_with() -> None:
    run = made("ce", "none", 1, accuracy=60, gap=12, decline=5, instability=0.7, seconds=3)
    found = [measure(run) for measure in (accuracy, gap, decline, instability, epoch_seconds)]
    assert found == pytest.approx([0.6, 0.12, 0.05, 0.007, 3.0])


# One comparison -----------------------------------------------------------------------------------

S4 = "symmetric:0.4"
THREE = {("a", S4): (60.0, 70.0, 80.0), ("b", S4): (50.0, 50.0, 50.0)}  # differences 10, 20, 30


def test_a_difference_with_its_interval_by_hand() -> None:
    finding = judged(rows(THREE), more(accuracy, "a", "b", S4))
    half = T2 * 10 / math.sqrt(3)  # 24.8 points
    found = finding.comparisons[0].summary()
    assert (found.mean, found.low, found.high, found.n) == pytest.approx(
        (0.2, 0.2 - half / 100, 0.2 + half / 100, 3)
    )
    assert finding.status == "undecided"
    assert (
        finding.evidence
        == "accuracy of a minus that of b at symmetric:0.4: +20.0 points (95 % CI −4.8 to +44.8, n = 3)"
    )


CLOSE = {("a", S4): (69.0, 70.0, 71.0), ("b", S4): (50.0, 50.0, 50.0)}  # 19, 20, 21: 20 ± 2.48


@pytest.mark.parametrize(
    ("expectation", "status"),
    [
        (more(accuracy, "a", "b", S4), "supported"),
        (more(accuracy, "a", "b", S4, by=0.17), "supported"),
        (more(accuracy, "a", "b", S4, by=0.18), "undecided"),
        (more(accuracy, "a", "b", S4, by=0.23), "contradicted"),
        (less(accuracy, "b", "a", S4), "supported"),
        (less(accuracy, "b", "a", S4, by=0.23), "contradicted"),
        (less(accuracy, "a", "b", S4), "contradicted"),
        (not_less(accuracy, "b", "a", S4, margin=0.23), "supported"),
        (not_less(accuracy, "b", "a", S4, margin=0.22), "undecided"),
        (not_less(accuracy, "b", "a", S4, margin=0.17), "contradicted"),
        (not_more(accuracy, "a", "b", S4, margin=0.23), "supported"),
        (not_more(accuracy, "a", "b", S4, margin=0.20), "undecided"),
        (not_more(accuracy, "a", "b", S4, margin=0.17), "contradicted"),
        (alike(accuracy, "a", "b", S4, within=0.23), "supported"),
        (alike(accuracy, "a", "b", S4, within=0.21), "undecided"),
        (alike(accuracy, "a", "b", S4, within=0.1), "contradicted"),
        (positive(accuracy, "a", S4, by=0.67), "supported"),
        (positive(accuracy, "a", S4, by=0.73), "contradicted"),
        (negative(accuracy, "a", S4), "contradicted"),
        (between(accuracy, "a", S4, 0.67, 0.73), "supported"),
        (between(accuracy, "a", S4, 0.69, 0.71), "undecided"),
        (between(accuracy, "a", S4, 0.0, 0.67), "contradicted"),
    ],
)
def test_the_words_of_one_comparison(expectation: Any, status: str) -> None:
    assert judged(rows(CLOSE), expectation).status == status


def test_one_seed_has_no_interval_and_decides_nothing() -> None:
    finding = judged(rows({("a", S4): (90.0,), ("b", S4): (10.0,)}), more(accuracy, "a", "b", S4))
    assert finding.status == "undecided"
    assert finding.evidence.endswith("at symmetric:0.4: +80.0 points (one seed, no CI)")


def test_pairs_are_those_of_the_seeds_both_have() -> None:
    runs = [made("a", S4, seed, accuracy=60 + seed) for seed in (1, 2, 3)]
    runs += [made("b", S4, seed, accuracy=50 + seed) for seed in (2, 3, 4)]
    found = judged(Results(runs), more(accuracy, "a", "b", S4)).comparisons[0].summary()
    assert (found.mean, found.n) == (pytest.approx(0.1), 2)
    other = Results([made("a", S4, 1), made("b", S4, 2)])
    finding = judged(other, more(accuracy, "a", "b", S4))
    assert (finding.status, finding.evidence) == ("not measured", "missing: a common seed")


def test_differences_that_are_all_alike_have_the_printed_digit_as_their_deviation() -> None:
    same = rows({("nmae", S4): (60.0, 70.0, 65.0), ("nrce", S4): (60.0, 70.0, 65.0)})
    t2 = 4.302652729911275
    assert judged(same, alike(accuracy, "nmae", "nrce", S4, within=0.01)).status == "supported"
    found = judged(same, more(accuracy, "nmae", "nrce", S4))
    assert found.status == "undecided"
    assert found.comparisons[0].summary().high == pytest.approx(t2 * 0.001 / math.sqrt(3))
    shifted = rows({("a", S4): (60.0, 70.0), ("b", S4): (40.0, 50.0)})
    assert judged(shifted, more(accuracy, "a", "b", S4)).status == "supported"


def test_times_are_compared_as_shares_and_on_one_machine_only() -> None:
    results = rows({("a", S4): (11.0, 11.0, 11.0), ("b", S4): (10.0, 10.0, 10.0)}, of="seconds")
    finding = judged(results, not_more(epoch_seconds, "a", "b", S4, margin=0.12))
    assert finding.status == "supported"
    assert "+10.0 %" in finding.evidence
    assert finding.evidence.endswith("expected below +12.0)")
    assert "seconds" in judged(results, positive(epoch_seconds, "a", S4)).evidence
    apart = Results([made("a", S4, 1, "one"), made("b", S4, 1, "other")])
    finding = judged(apart, less(epoch_seconds, "a", "b", S4))
    assert (finding.status, finding.evidence) == (
        "not measured",
        "missing: a common seed on the same machine",
    )


def test_times_count_only_of_runs_that_had_the_machine_to_themselves() -> None:
    runs = rows({("a", S4): (11.0, 11.0, 11.0), ("b", S4): (10.0, 10.0, 10.0)}, of="seconds").runs
    busy = Results([replace(run, alone=run.loss == "b") for run in runs])
    finding = judged(busy, more(epoch_seconds, "a", "b", S4))
    assert (finding.status, finding.evidence) == (
        "not measured",
        "missing: a at symmetric:0.4 with the machine to itself",
    )
    assert judged(busy, more(accuracy, "a", "b", S4)).status == "undecided"  # accuracies do not care
    some = Results([replace(run, alone=run.seed != 3) for run in runs])
    assert judged(some, more(epoch_seconds, "a", "b", S4)).comparisons[0].summary().n == 2


def test_two_seeds_are_judged_at_99_per_cent() -> None:
    two = rows({("a", S4): (60.0, 61.0), ("b", S4): (50.0, 50.5)})  # 10.25 points, deviation 0.354
    finding = judged(two, more(accuracy, "a", "b", S4))
    half = 63.65674116 * 0.5 / 2  # t of one degree of freedom at 99.5 %, times half the range
    assert f"99 % CI {10.25 - half:+.1f} to {10.25 + half:+.1f}, n = 2".replace("-", "−") in finding.evidence
    assert finding.status == "undecided"  # at 95 %: 7.1 to 13.4
    three = rows({("a", S4): (60.0, 61.0, 60.5), ("b", S4): (50.0, 50.5, 50.25)})
    assert "95 % CI" in judged(three, more(accuracy, "a", "b", S4)).evidence
    assert judged(three, more(accuracy, "a", "b", S4)).status == "supported"


def test_verdicts_on_each_machines_runs_alone() -> None:
    def runs(machine: str, first: int, *better: float) -> list[Run]:
        seeds = range(first, first + len(better))
        pairs = [(made("a", S4, s, machine, accuracy=50 + x), s) for s, x in zip(seeds, better, strict=True)]
        return [one for run, s in pairs for one in (run, made("b", S4, s, machine, accuracy=50))]

    claims = [Claim("a-wins", "own", "A sentence.", [more(accuracy, "a", "b", S4)])]
    results = Results(runs("one", 1, 5.0, 5.2, 5.1) + runs("other", 4, 5.0, -5.0, 5.0, -5.2))
    found = judge_by_machine(claims, results)
    assert {machine: [f.status for f in each] for machine, each in found.items()} == {
        "other": ["undecided"],
        "one": ["supported"],
    }
    table = claims_table(judge(claims, results), by_machine=found)
    assert table.rows[0][-1] == "other: undecided; one: supported"
    assert judge_by_machine(claims, Results(runs("one", 1, 5.0, 5.2))) == {}


def test_how_numbers_are_printed() -> None:
    assert POINTS.show(-0.783) == "−78.3 points"
    assert POINTS.show(-0.0001) == "0.0 points"
    assert PER_CENT.show(0.05, name=False) == "+5.0"
    missing = Comparison("x", POINTS, missing=("a", "b", "c", "d", "e", "a")).text()
    assert missing == "x: not measured, a, b, c, d and 1 more missing"

    def own(run: Run) -> float:
        return run.seed / 1000

    finding = judged(rows(CLOSE), positive(own, "a", S4))
    assert finding.evidence.startswith("own of a at symmetric:0.4: +0.002 (95 % CI")


# Sides --------------------------------------------------------------------------------------------

FIVE = {
    (loss, S4): (value, value + 1)
    for loss, value in {"a": 90.0, "b": 80.0, "c": 70.0, "d": 60.0, "e": 50.0}.items()
}


def test_the_mean_and_the_best_of_several() -> None:
    results = rows(FIVE)
    found = judged(results, more(accuracy, "b", average("c", "d", "e"), S4)).comparisons[0]
    assert found.summary().mean == pytest.approx(0.2)
    found = judged(results, less(accuracy, "c", best("a", "b", "d"), S4)).comparisons[0]
    assert (found.summary().mean, "a (the highest of a, b, d)" in found.words) == (pytest.approx(-0.2), True)
    found = judged(results, more(accuracy, "c", lowest("a", "c", "d", "e", place=2), S4)).comparisons[0]
    assert found.summary().mean == pytest.approx(0.1)  # c itself is not among them
    assert "d (the 2nd lowest of a, d, e)" in found.words
    with pytest.raises(InputError, match="the place among losses is 0"):
        best("a", "b", place=0)


@pytest.mark.parametrize(("loss", "status"), [("a", "supported"), ("b", "supported"), ("c", "contradicted")])
def test_among_the_top_two(loss: str, status: str) -> None:
    assert judged(rows(FIVE), among_top(accuracy, loss, 2, S4, of="abcde")).status == status
    mirrored = {"a": "e", "b": "d", "c": "c"}[loss]
    assert judged(rows(FIVE), among_lowest(accuracy, mirrored, 2, S4, of="abcde")).status == status


def test_the_top_needs_every_loss_of_its_field() -> None:
    finding = judged(rows(FIVE), among_top(accuracy, "a", 2, S4, of=["a", "b", "gce", "ce"]))
    assert (finding.status, finding.evidence) == ("not measured", f"missing: gce at {S4}, ce at {S4}")


@pytest.mark.parametrize("spelled", ["nce+0.5*mae", "nce + 0.5*mae", "0.5 * mae + nce"])
def test_a_loss_is_not_compared_with_itself_however_it_is_spelled(spelled: str) -> None:
    found = {("nce+0.5*mae", S4): (70.0, 71.0), ("ce", S4): (50.0, 51.0), ("mae", S4): (60.0, 61.0)}
    of = ("ce", "nce+0.5*mae", "mae", "nce + 0.5*mae")
    for expected in (among_top(accuracy, spelled, 1, S4, of=of), more(accuracy, spelled, best(*of), S4)):
        [comparison] = judged(rows(found), expected).comparisons
        assert comparison.summary().mean == pytest.approx(0.1)  # from mae
    [comparison] = judged(rows(found), more(accuracy, "mae", best(spelled, *of, place=2), S4)).comparisons
    assert comparison.summary().mean == pytest.approx(0.1)  # from ce: one loss above it, spelled in two ways


def test_no_loss_is_proved_to_be_among_the_top_three_of_three() -> None:
    finding = judged(rows(FIVE), among_top(accuracy, "a", 3, S4, of="abc"))
    assert (finding.status, finding.evidence) == (
        "not measured",
        f"missing: 3 losses to choose from at {S4}",
    )


def test_losses_and_noises_may_be_spelled_otherwise_and_a_wrong_one_is_named() -> None:
    results = rows({("nce+mae", S4): (90.0, 91.0), ("ce", S4): (10.0, 11.0)})
    assert judged(results, more(accuracy, "MAE + NCE", "ce", "symmetric:0.40")).status == "supported"
    with pytest.raises(InputError, match="did you mean 'nce'"):
        judged(results, more(accuracy, "nec", "ce", S4))


# Noises -------------------------------------------------------------------------------------------


def noises_of(where: Any, *run: str) -> list[tuple[str, str]]:
    return where(Results([made("ce", noise, 1) for noise in run]))


def test_where_to_look() -> None:
    run = ("none", "symmetric:0.2", "symmetric:0.6", "asymmetric:0.2", "asymmetric:0.3")
    assert noises_of(highest("symmetric", 0.6), *run) == [("symmetric:0.6",) * 2]
    assert noises_of(highest("symmetric", 0.7), *run) == [("symmetric noise at a rate of 0.7 or more",) * 2]
    assert noises_of(highest("symmetric"), "none") == [("symmetric noise at a rate of 0 or more",) * 2]
    assert noises_of(each("asymmetric", clean=True), *run) == [
        (n, n) for n in ("none", "asymmetric:0.2", "asymmetric:0.3")
    ]
    assert noises_of(each("symmetric", most=0.5), *run) == [("symmetric:0.2",) * 2]
    assert noises_of(each("symmetric", least=0.8), *run) == [("symmetric noise at rates of 0.8 to 1",) * 2]
    assert noises_of(rates("asymmetric", 0.3, 0.4), *run) == [(f"asymmetric:{r}",) * 2 for r in (0.3, 0.4)]
    assert noises_of(against(highest("symmetric"), "none"), *run) == [("symmetric:0.6", "none")]
    assert noises_of(equal_rates("asymmetric", "symmetric"), *run) == [("asymmetric:0.2", "symmetric:0.2")]
    assert noises_of(equal_rates("asymmetric", "symmetric"), "none") == [
        ("asymmetric and symmetric noise at equal rates",) * 2
    ]
    assert noises_of(highest("symmetric"), "symmetric:0.4@exact") == [("symmetric:0.4@exact",) * 2]


def test_a_loss_against_itself_under_another_noise() -> None:
    results = rows({("ce", "none"): (90.0, 92.0, 91.0), ("ce", S4): (50.0, 51.0, 50.5)})
    finding = judged(results, differs(accuracy, "ce", against(S4, "none"), high=-0.2))
    assert finding.status == "supported"
    assert "accuracy of ce at symmetric:0.4 minus that at clean labels: −40.5 points" in finding.evidence


# Several comparisons ------------------------------------------------------------------------------

S2, S6 = "symmetric:0.2", "symmetric:0.6"


def several(*differences: tuple[float, float, float]) -> Results:
    """Return a less b under as many noises, seed by seed."""
    noises = (S2, S4, S6)
    table = {("b", noise): (50.0,) * 3 for noise in noises[: len(differences)]}
    table |= {("a", noise): tuple(50 + d for d in ds) for noise, ds in zip(noises, differences, strict=False)}
    return rows(table)


UP, DOWN, OPEN = (9.0, 10.0, 11.0), (-11.0, -10.0, -9.0), (-10.0, 0.0, 10.0)
ALL = more(accuracy, "a", "b", each("symmetric"))


@pytest.mark.parametrize(
    ("differences", "all_of", "one_of"),
    [
        ((UP, UP, UP), "supported", "supported"),
        ((UP, UP, OPEN), "undecided", "supported"),
        ((UP, UP, DOWN), "contradicted", "supported"),
        ((DOWN, OPEN, OPEN), "contradicted", "undecided"),
        ((DOWN, DOWN, DOWN), "contradicted", "contradicted"),
        ((OPEN, OPEN, OPEN), "undecided", "undecided"),
    ],
)
def test_all_and_sometimes(differences: Any, all_of: str, one_of: str) -> None:
    results = several(*differences)
    assert judged(results, ALL).status == all_of
    assert judged(results, sometimes(ALL)).status == one_of


def test_the_comparison_that_is_told_and_the_counts() -> None:
    finding = judged(several(UP, (19.0, 20.0, 21.0), UP), ALL)
    assert finding.evidence.startswith("3 comparisons: 3 supported; smallest margin: accuracy of a")
    assert "+10.0 points (95 % CI +7.5 to +12.5, n = 3)" in finding.evidence
    finding = judged(several(UP, OPEN, DOWN), ALL)
    assert finding.evidence.startswith(
        "3 comparisons: 1 supported, 1 contradicted, 1 undecided; contradicted by: accuracy of a minus "
        "that of b at symmetric:0.6: −10.0 points (98.33 % CI"
    )


def test_an_example_is_told_as_one() -> None:
    evidence = judged(several(UP, (19.0, 20.0, 21.0), DOWN), sometimes(ALL)).evidence
    assert "example: accuracy of a minus that of b at symmetric:0.4: +20.0" in evidence
    evidence = judged(several(DOWN, (-21.0, -20.0, -19.0)), sometimes(ALL)).evidence
    assert (
        "contradicted by: accuracy of a minus that of b at symmetric:0.2: −10.0" in evidence
    )  # its best chance


def test_one_that_decides_alone_is_held_to_more() -> None:
    weak = (-8.0, -10.0, -12.0)  # −10 ± 4.97 at 95 %, ± 8.8 at 98.33 %: both exclude zero
    weaker = (-7.0, -10.0, -13.0)  # ± 7.45 at 95 %, ± 13.2 at 98.33 %: the second does not
    assert judged(several(UP, UP, weak), ALL).status == "contradicted"
    finding = judged(several(UP, UP, weaker), ALL)
    assert finding.status == "undecided"
    assert "1 contradicted; not significant after the correction" in finding.evidence
    assert "98.33 % CI −23.2 to +3.2" in finding.evidence
    assert judged(several(weaker), ALL).status == "contradicted"  # the only one


def test_the_evidence_against_is_a_counterexample_not_the_lowest_mean() -> None:
    wide = (-90.0, 0.0, 0.0)  # −30 ± 129
    finding = judged(several(UP, wide, DOWN), ALL)
    assert finding.status == "contradicted"
    assert "contradicted by: accuracy of a minus that of b at symmetric:0.6: −10.0 points" in finding.evidence
    apart = [more(accuracy, "a", "b", noise) for noise in (S2, S4, S6)]  # the same, said one by one
    assert judged(several(UP, wide, DOWN), *apart).evidence == finding.evidence


def test_pooled_over_noises_is_one_mean_a_seed() -> None:
    results = several((0.0, 10.0, 20.0), (30.0, 20.0, 10.0))  # means of seeds: 15, 15, 15
    finding = judged(results, pooled(ALL))
    assert finding.status == "supported"
    assert finding.comparisons[0].values == pytest.approx((0.15, 0.15, 0.15))
    assert (
        "accuracy of a minus that of b, averaged over symmetric:0.2, symmetric:0.4: +15.0" in finding.evidence
    )
    results = several((0.0, 10.0), (30.0,))
    assert judged(results, pooled(ALL)).comparisons[0].values == pytest.approx((0.15,))
    with pytest.raises(InputError, match="differ in measure or range"):
        judged(results, pooled(ALL, less(accuracy, "a", "b", S4)))


def test_missing_runs_are_named_unless_a_counterexample_decides() -> None:
    more_at = more(accuracy, "a", "b", rates("symmetric", 0.2, 0.8))
    finding = judged(several(UP), more_at)
    assert (finding.status, finding.evidence) == (
        "not measured",
        "missing: runs at symmetric:0.8; 1 comparison: 1 supported",
    )
    assert judged(several(DOWN), more_at).status == "contradicted"
    assert judged(several(UP), sometimes(more_at)).status == "supported"
    assert judged(several(DOWN), sometimes(more_at)).status == "not measured"
    assert judged(several(UP), pooled(more_at)).status == "not measured"


def test_the_table_of_findings() -> None:
    claims = [
        Claim("second", "own", "Two.", [less(gap, "ce", "fl", S4)]),
        Claim("first", "4.2", "One.", [ALL]),
    ]
    table = claims_table(judge(claims, several(UP, UP)))
    assert list(table.columns) == ["claim", "verdict", "section", "evidence"]
    assert [row[1] for row in table.rows] == ["supported", "not measured"]
    assert "1 supported, 0 contradicted, 0 undecided, 1 not measured" in table.note
    assert "no correction across the 2 claims" in table.note
    assert "| first: One. | supported | 4.2 | 2 comparisons: 2 supported" in markdown(table)


# A user's file ------------------------------------------------------------------------------------

OWN = """
from noisylabels.study.claims import claim, less, more
from noisylabels.study.results import accuracy


def last_loss(run):
    return run.last("train_loss")


@claim("a-wins", "a is more accurate than b.")
def a_wins(results):
    assert results.losses
    return [more(accuracy, "a", "b", "symmetric:0.4")]


@claim("b-wins", "b is more accurate than a.", section="thesis")
def b_wins(results):
    return [less(accuracy, "a", "b", "symmetric:0.4")]
"""


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    claims = load_claims(path)
    findings = judge(claims, rows(CLOSE))
    assert [(f.claim.name, f.claim.section, f.status) for f in findings] == [
        ("a-wins", "own", "supported"),
        ("b-wins", "thesis", "contradicted"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"the claims file .*mine.py does not exist, expected a Python file"),
        ("x = 1\n", r"mine.py defines no claim; decorate a function with @claim\(NAME, STATEMENT\)"),
        ("x = 1\ny = x / 0\n", r"the claims file .* failed: ZeroDivisionError: .* \(mine.py, line 2\)"),
        ("def f(:\n", r"the claims file .* failed: SyntaxError: .* \(mine.py, line 1\)"),
        ("import no_such_module\n", r"failed: ModuleNotFoundError: .*no_such_module.* \(mine.py, line 1\)"),
        (OWN.replace("b-wins", "a-wins"), "mine.py has two claims named 'a-wins'"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_one_line(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        load_claims(path)
    assert "\n" not in str(caught.value)


def test_a_folder_or_another_kind_of_file_is_no_file_of_claims(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, expected a Python file"):
        load_claims(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text("x = 1")
    with pytest.raises(InputError, match=r"mine.toml cannot be imported; expected a Python file"):
        load_claims(path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 3", r"the claim 'a-wins' of mine.py returned 3, expected a list such as \[less"),
        ("return [3]", "the claim 'a-wins' of mine.py returned a list with 3 in it, expected"),
        ("return []", "the claim 'a-wins' of mine.py returned an empty list, expected"),
        ("return [more(accuracy, 'nec', 'b', 'none')]", "the claim 'a-wins' of mine.py: unknown loss 'nec'"),
        ("return [results.nothing]", r"the claim 'a-wins' failed: AttributeError: .* \(mine.py, line 13\)"),
        (
            "return [more(lambda run: run.config['x'], 'a', 'b', 'symmetric:0.4')]",
            r"the claim 'a-wins' failed: KeyError: 'x' \(mine.py, line 13\)",
        ),
    ],
)
def test_an_error_of_a_claim_is_one_line(tmp_path: Path, body: str, words: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN.replace('return [more(accuracy, "a", "b", "symmetric:0.4")]', body))
    noise = "none" if "nec" in body else S4
    results = rows({("a", noise): (1.0, 2.0), ("b", noise): (1.0, 2.0)})
    with pytest.raises(InputError, match=words) as caught:
        judge(load_claims(path), results)
    assert "\n" not in str(caught.value)


def test_a_claim_may_bring_a_comparison_of_its_own() -> None:
    @claim("own", "Computed elsewhere.")
    def own(results: Results) -> list[Comparison]:
        return [Comparison("something", values=(1.0, 2.0, 3.0), low=-2.0)]

    assert own.section == "own"
    [finding] = judge([own], rows(CLOSE))
    assert finding.status == "supported"
    assert finding.evidence == ("something: +2.000 (95 % CI −0.484 to +4.484, n = 3; expected above −2.000)")


def test_the_claims_of_the_document_are_judged(tmp_path: Path) -> None:
    document = Path(__file__).parents[2] / "docs" / "claims-own.md"
    [block] = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "mine.py"
    path.write_text(block, encoding="utf-8")
    table = {("gce", S6): (80.0, 81.0, 82.0), ("ce", S6): (40.0, 41.0, 42.0), ("mae", S6): (60.0, 61.0, 62.0)}
    findings = judge(load_claims(path), rows(table))
    assert [finding.claim.name for finding in findings] == ["gce-robust", "gce-better", "gce-memorizes"]
    assert "3 losses to choose from" in findings[0].evidence
