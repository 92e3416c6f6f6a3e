"""Statistics against SciPy, naive loops and hand numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from noisylabels.core.checks import InputError
from noisylabels.study.statistics import Summary, compare, contrast, rank, summarize, top

SHARES = st.floats(0, 1)


@given(st.lists(SHARES, min_size=2, max_size=8))
def test_summaries_are_those_of_scipy(values):
    found = summarize(values)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-15)
    assert found.n == len(values)
    if found.deviation > 1e-9:
        error = found.deviation / math.sqrt(found.n)
        low, high = stats.t.interval(0.95, found.n - 1, loc=found.mean, scale=error)
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_summaries_by_hand():
    one = summarize([0.5])
    assert (one.mean, one.deviation, one.low, one.high, one.n) == (0.5, None, None, None, 1)
    three = summarize([1.0, 2.0, 3.0])
    assert (three.mean, three.deviation) == (2.0, 1.0)
    assert three.high - 2.0 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)  # t of 2 degrees, a table
    for wrong in ([], [math.nan], [1.0, math.inf]):
        with pytest.raises(InputError, match="expected one or more finite numbers"):
            summarize(wrong)


@given(st.dictionaries(st.integers(0, 20), st.tuples(SHARES, SHARES), min_size=2, max_size=8))
def test_paired_comparison_is_that_of_scipy(pairs):
    first = {key: a for key, (a, _) in pairs.items()}
    second = {key: b for key, (_, b) in pairs.items()} | {99: 1.0}
    found = compare(first, second)
    differences = [a - b for a, b in pairs.values()]
    assert found.difference.mean == pytest.approx(np.mean(differences), abs=1e-15)
    assert found.better == sum(1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in differences)
    if np.std(differences) > 1e-6:
        assert found.p == pytest.approx(stats.ttest_rel(*zip(*pairs.values(), strict=True)).pvalue, rel=1e-6)


def test_paired_comparison_at_its_ends():
    assert compare({1: 0.5}, {1: 0.25}).p is None
    assert compare({1: 0.5, 2: 0.75}, {1: 0.25, 2: 0.5}).p == 0.0
    assert compare({1: 0.5, 2: 0.75}, {1: 0.5, 2: 0.75}).p == 1.0
    with pytest.raises(InputError, match="no run in common"):
        compare({1: 0.5}, {2: 0.5})


SAMPLES = st.lists(st.floats(10, 95).map(lambda x: round(x, 2)), min_size=2, max_size=6)


@given(SAMPLES, SAMPLES)
def test_a_contrast_of_two_means_is_welchs_as_scipy_has_it(first, second):
    found = contrast(summarize(first), summarize(second))
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))
    if np.std(first) > 0.01 and np.std(second) > 0.01:
        interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-6)


def test_a_contrast_with_a_single_number_is_an_interval_for_one_more_run():
    """t of 2 degrees of freedom at 0.975 is 4.3027; of 1, 12.7062; tables have them."""
    ours, single = summarize([51.0, 52.0, 53.0]), summarize([59.54])
    found = contrast(ours, single)
    half = 4.302653 * 1.0 * math.sqrt(1 / 3 + 1)
    assert found.difference == pytest.approx(-7.54)
    assert (found.low, found.high) == pytest.approx((-7.54 - half, -7.54 + half), abs=1e-5)
    assert found.verdict == "lower"
    back = contrast(single, ours)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert back.verdict == "higher"
    of_three = contrast(ours, Summary(59.54, None, None, None, 3))
    assert of_three.high - of_three.low == pytest.approx(2 * 4.302653 * math.sqrt(2 / 3), abs=1e-5)
    two = contrast(summarize([51.0, 53.0]), single)
    assert two.verdict == "not significant"
    assert two.high == pytest.approx(-7.54 + 12.706205 * math.sqrt(2) * math.sqrt(1.5), abs=1e-4)


def test_a_contrast_at_its_ends():
    bare = contrast(summarize([50.0]), Summary(60.0, 0.5, None, None, 1))  # a deviation over who knows what
    assert (bare.difference, bare.low, bare.high, bare.verdict) == (-10.0, None, None, "no interval")
    stuck = contrast(summarize([10.0, 10.0, 10.0]), summarize([10.0, 10.0]))
    assert (stuck.low, stuck.high, stuck.verdict) == (0.0, 0.0, "not significant")
    assert contrast(summarize([10.0, 10.0]), summarize([10.5])).verdict == "lower"


TABLES = st.integers(3, 6).flatmap(
    lambda k: st.lists(st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8]), min_size=k, max_size=k), min_size=2)
)


@given(TABLES)
def test_ranks_against_a_naive_loop_and_scipy(rows):
    names = "abcdef"[: len(rows[0])]
    found = rank({name: {n: row[i] for n, row in enumerate(rows)} for i, name in enumerate(names)})
    for i, name in enumerate(names):
        ranks = [1 + sum(v > row[i] for v in row) + (sum(v == row[i] for v in row) - 1) / 2 for row in rows]
        assert found.mean[name] == pytest.approx(sum(ranks) / len(rows))
    assert list(found.mean.values()) == sorted(found.mean.values())
    if any(len(set(row)) > 1 for row in rows):
        scipys = stats.friedmanchisquare(*zip(*rows, strict=True)).pvalue
        assert found.p == pytest.approx(scipys, abs=1e-12)


def test_the_critical_difference_is_that_of_the_tables():
    """q of Nemenyi's test at 0.05, as Demšar 2006 lists it in Table 5a, for 3, 4 and 10 losses."""
    for k, q in ((3, 2.343), (4, 2.569), (10, 3.164)):
        table = {f"l{i}": {n: float((i * 7 + n) % k) for n in range(14)} for i in range(k)}
        assert rank(table).critical == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * 14)), rel=3e-4)


DEMSAR = {  # Table 5a (Nemenyi) of Demšar 2006, for 3 to 10 classifiers
    0.05: (2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164),
    0.10: (2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920),
}


@pytest.mark.parametrize("alpha", DEMSAR)
def test_the_whole_published_table_of_critical_values(alpha):
    for k, q in enumerate(DEMSAR[alpha], start=3):
        found = rank({f"l{i}": {n: float((i * 7 + n) % k) for n in range(14)} for i in range(k)}, alpha)
        assert found.critical == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * 14)), abs=1e-3)


def test_what_is_no_number_has_no_rank():
    with pytest.raises(InputError, match="a value of 'b' is nan"):
        rank({"a": {1: 0.5, 2: 0.5}, "b": {1: 0.5, 2: math.nan}, "c": {1: 0.5, 2: 0.5}})
    last = rank({"a": {1: 0.5, 2: 0.5}, "b": {1: 0.25, 2: -math.inf}, "c": {1: 0.5, 2: 0.5}})
    assert last.mean["b"] == 3.0


def test_groups_of_losses_that_do_not_differ():
    table = {f"l{k}": {n: -float(k) for n in range(40)} for k in range(6)}  # always in the same order
    found = rank(table)
    assert found.mean == {f"l{k}": k + 1.0 for k in range(6)}
    assert 1 < found.critical < 2
    assert found.groups == tuple((f"l{k}", f"l{k + 1}") for k in range(5))
    assert found.p < 1e-6
    alike = rank({name: {1: 0.5, 2: 0.5} for name in "abc"})
    assert (alike.p, set(alike.mean.values())) == (1.0, {2.0})
    few = rank({"a": {1: 1.0}, "b": {1: 0.0}})
    assert (few.p, few.critical, few.groups) == (None, None, ())
    with pytest.raises(InputError, match="cannot rank 1 losses"):
        rank({"a": {1: 1.0}})
    with pytest.raises(InputError, match="no setting is common to all losses"):
        rank({"a": {1: 1.0}, "b": {2: 1.0}})


def test_the_top_two_as_printed():
    assert top({"a": 0.91234, "b": 0.91236, "c": 0.5}, digits=3) == {"a", "b"}
    assert top({"a": 0.9, "b": 0.8, "c": 0.8, "d": 0.7}) == {"a", "b", "c"}
    assert top({"a": 0.9}) == {"a"}
    assert top({}) == set()
