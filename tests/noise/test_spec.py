"""Noise specs: parsing, canonical form, and errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisylabels.core.checks import InputError
from noisylabels.noise import KINDS, MAPS, NoiseSpec
from noisylabels.noise.spec import check_stage, convention_of, kind_of, map_of, parse_stage
from noisylabels.noise.stage import Stage


@st.composite
def specs(draw: st.DrawFn) -> Stage:
    kind = draw(st.sampled_from(list(KINDS)))
    row = KINDS[kind]
    qualifiers = []
    if row.takes_map:
        pair = st.tuples(st.integers(0, 999), st.integers(0, 999)).map(lambda p: f"{p[0]}to{p[1]}")
        named = st.sampled_from(list(MAPS)).map(lambda name: [name])
        qualifiers += draw(st.one_of(st.just([]), named, st.lists(pair, max_size=4)))
    if row.conventions:
        qualifiers += draw(st.lists(st.sampled_from(list(row.conventions)), max_size=1))
    rates = {"rate": st.floats(0, 1), "ratio": st.floats(0, 1, exclude_min=True)}
    rate = draw(rates.get(row.takes, st.just(0.0)))
    file = draw(st.sampled_from(["T.csv", "a b/c@d.pt", "/x/Y.npy", "../z"])) if row.takes == "file" else ""
    word = draw(st.sampled_from(["worse", "cifar100", "Own"])) if row.word else ""
    return check_stage(Stage(kind, rate, tuple(qualifiers), file, word))


@given(specs())
def test_round_trip(stage: Stage) -> None:
    assert parse_stage(str(stage)) == stage
    assert str(parse_stage(str(stage))) == str(stage)


@given(st.lists(specs(), max_size=4))
def test_round_trip_of_chains(stages: list[Stage]) -> None:
    stages = [s for s in stages if not kind_of(s).first and kind_of(s).needs != "foreign images"]
    stages.sort(key=lambda stage: kind_of(stage).takes != "ratio")  # which comes first
    spec = NoiseSpec(tuple(stages))
    assert NoiseSpec.parse(str(spec)) == spec
    assert len(spec.stages) == sum(stage.kind != "none" for stage in stages)
    assert NoiseSpec.parse(str(spec).replace(" | ", "|")) == spec
    assert NoiseSpec.parse(spec) is spec


@given(specs(), st.randoms())
def test_case_space_and_order_of_qualifiers_do_not_matter(spec: Stage, random) -> None:
    # pairs keep their order, in which @sequential takes them
    if not (spec.pairs or spec.file or spec.word):  # and files and words keep their case
        shuffled = random.sample(spec.qualifiers, len(spec.qualifiers))
        head, _, _ = str(spec).partition("@")
        text = f"  {head.upper().replace(':', ' : ')}" + (" @ " + " , ".join(shuffled) if shuffled else "")
        assert parse_stage(text) == spec


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("none", "none"),
        ("clean", "none"),
        ("symmetric:0", "symmetric:0"),
        ("symmetric:-0.0", "symmetric:0"),
        ("symmetric:1.0", "symmetric:1"),
        ("symmetric:.40", "symmetric:0.4"),
        ("symmetric:4e-1", "symmetric:0.4"),
        ("symmetric:0.4@uniform", "symmetric:0.4@uniform"),
        ("asymmetric:0.4@MNIST", "asymmetric:0.4@digits"),
        ("asymmetric:0.4@cifar100-blocks", "asymmetric:0.4@cifar100-blocks"),
        ("Pairflip:.45", "pairflip:0.45"),
        ("longtail:0.01@STEP", "longtail:0.01@step"),
        ("human: ./A/CIFAR-10_human.pt@worst", "human:A/CIFAR-10_human.pt@worse"),
        ("human:a.pt@Random_Label2", "human:a.pt@random2"),
        ("human:a@b/c.pt", "human:a@b/c.pt"),
        ("human:a@b/c.pt@aggre", "human:a@b/c.pt@aggre"),
        ("labels:a@b", "labels:a@b"),
        ("matrix:x/../T.csv", "matrix:T.csv"),
        ("openset:0.2@exact,/Data/Foreign", "openset:0.2@/Data/Foreign,exact"),
        ("openset:0.2@photos/", "openset:0.2@photos"),
        ("openset:0.2@./digits", "openset:0.2@./digits"),
        ("instance:0.2@parts", "instance:0.2@parts"),
        ("asymmetric:0.4@sequential,cifar10", "asymmetric:0.4@cifar10,sequential"),
        ("asymmetric:0.4@sequential,03to5,5to3", "asymmetric:0.4@3to5,5to3,sequential"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(parse_stage(text)) == canonical


def test_what_a_spec_holds() -> None:
    spec = parse_stage("asymmetric:0.4@3to5,5to3,sequential")
    assert (spec.kind, spec.rate, spec.qualifiers) == ("asymmetric", 0.4, ("3to5", "5to3", "sequential"))
    assert spec.pairs == ((3, 5), (5, 3))
    assert map_of(spec) is None
    assert convention_of(spec) is KINDS["asymmetric"].conventions["sequential"]
    assert map_of(parse_stage("asymmetric:0.4@digits")) == "digits"
    assert convention_of(parse_stage("asymmetric:0.4")) is KINDS["asymmetric"].default


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symetric:0.4", "unknown noise 'symetric'; did you mean 'symmetric'?"),
        ("", f"unknown noise ''; known: {', '.join(KINDS)}"),
        ("0.4", f"unknown noise '0.4'; known: {', '.join(KINDS)}"),
        ("matrix", "matrix takes a file; write matrix:FILE"),
        ("labels: ", "labels takes a file; write labels:FILE"),
        ("human:", "human takes a file; write human:FILE[@COLUMN]"),
        ("openset:0.2", "openset needs DATA after @; write openset:RATE@DATA[,exact]"),
        ("openset:0.2@exact", "openset needs DATA after @; write openset:RATE@DATA[,exact]"),
        ("longtail:0", "ratio is 0.0, expected a number in (0, 1]"),
        ("longtail", "'longtail' has no ratio; write longtail:RATIO[@step], for example longtail:0.4"),
        ("longtail:x", "the ratio of 'longtail:x' is 'x', expected a number in [0, 1] such as 0.4"),
        (
            "pairflip:0.4@exact",
            "the qualifier 'exact' belongs to symmetric, asymmetric and openset noise, not pairflip; "
            "write pairflip:RATE",
        ),
        (
            "symmetric",
            "'symmetric' has no rate; write symmetric:RATE[@exact|@uniform], for example symmetric:0.4",
        ),
        (
            "asymmetric:@cifar10",
            "'asymmetric:@cifar10' has no rate; write asymmetric:RATE[@MAP,exact|sequential], "
            "for example asymmetric:0.4",
        ),
        (
            "symmetric:40%",
            "the rate of 'symmetric:40%' is '40%', expected a number in [0, 1] such as 0.4",
        ),
        (
            "symmetric:0.4:0.2",
            "the rate of 'symmetric:0.4:0.2' is '0.4:0.2', expected a number in [0, 1] such as 0.4",
        ),
        (
            "symmetric:0.4 please",
            "the rate of 'symmetric:0.4 please' is '0.4 please', expected a number in [0, 1] such as 0.4",
        ),
        ("symmetric:nan", "rate is nan, expected a number in [0, 1]"),
        ("symmetric:inf", "rate is inf, expected a number in [0, 1]"),
        ("symmetric:40", "rate is 40.0, expected a number in [0, 1]; write 0.4 for 40 %"),
        (
            "longtail:100",
            "ratio is 100.0, expected a number in (0, 1]; write 0.01 for an imbalance factor of 100",
        ),
        ("asymmetric:0.4@3>5", "unknown qualifier '3>5'; write a pair of classes as 3to5"),
        ("openset:0.2@photos,exat", "unknown qualifier 'exat' of openset noise; did you mean 'exact'?"),
        ("symmetric:-0.1", "rate is -0.1, expected a number in [0, 1]"),
        ("none:0.4", "'none:0.4' has a rate, which none does not take; write none"),
        ("clean:", "'clean:' has a rate, which none does not take; write none"),
        ("symmetric:0.4@exat", "unknown qualifier 'exat' of symmetric noise; did you mean 'exact'?"),
        ("symmetric:0.4@", "unknown qualifier '' of symmetric noise; known: exact, uniform"),
        ("symmetric:0.4@exact@x", "unknown qualifier 'exact@x' of symmetric noise; did you mean 'exact'?"),
        (
            "asymmetric:0.4@cifar11",
            "unknown qualifier 'cifar11' of asymmetric noise; did you mean 'cifar10'?",
        ),
        (
            "symmetric:0.4@sequential",
            "the qualifier 'sequential' belongs to asymmetric noise, not symmetric; "
            "write symmetric:RATE[@exact|@uniform]",
        ),
        (
            "symmetric:0.4@cifar10",
            "the qualifier 'cifar10' belongs to asymmetric noise, not symmetric; "
            "write symmetric:RATE[@exact|@uniform]",
        ),
        (
            "symmetric:0.4@3to5",
            "the qualifier '3to5' belongs to asymmetric noise, not symmetric; "
            "write symmetric:RATE[@exact|@uniform]",
        ),
        (
            "asymmetric:0.4@cifar10,exact,sequential",
            "exact and sequential are two conventions, expected at most one; write one of them",
        ),
        ("none@fast", "the qualifier is 'fast', and none noise takes none; write none"),
        (
            "symmetric:0.4@exact,uniform",
            "exact and uniform are two conventions, expected at most one; write one of them",
        ),
        (
            "asymmetric:0.4@cifar10,digits",
            "cifar10 and digits are two confusion maps, expected at most one; write one of them",
        ),
        (
            "asymmetric:0.4@3to5,cifar10",
            "cifar10 and 3to5 are two confusion maps, expected at most one; write one of them",
        ),
    ],
)
def test_a_text_that_is_no_stage(text, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_stage(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "noise is None, expected text such as 'symmetric:0.4'"),
        (
            "symmetric:0.4 |",
            "'symmetric:0.4 |' has an empty stage, expected one on both sides of |; add it, or leave out |",
        ),
        ("symmetric:0.4 | symetric:0.2", "unknown noise 'symetric'; did you mean 'symmetric'?"),
        (
            "symmetric:0.4 | labels:a.csv",
            "labels:a.csv replaces all labels, including those of symmetric:0.4 before it; write it first",
        ),
        (
            "longtail:0.1 | human:a.pt@worse | labels:a.csv",
            "labels:a.csv replaces all labels, including those of human:a.pt@worse before it; write it first",
        ),
        (
            "symmetric:0.4 | longtail:0.1",
            "longtail:0.1 selects examples by label, so symmetric:0.4 before it would not keep its rate; "
            "write it first",
        ),
        (
            "openset:0.1@a | openset:0.2@b",
            "two stages add foreign images, expected at most one; leave one out",
        ),
    ],
)
def test_a_text_that_is_no_chain(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        NoiseSpec.parse(text)
    assert str(error.value) == message


def test_properties_of_a_chain() -> None:
    assert str(NoiseSpec()) == str(NoiseSpec.parse("none | clean")) == "none"
    assert not NoiseSpec.parse("longtail:0.1").changes_labels
    assert NoiseSpec.parse("longtail:0.1 | human:a.pt@worse").changes_labels
    assert NoiseSpec.parse("longtail:0.1 | openset:0.2@Foreign,exact").foreign == "Foreign"
    assert NoiseSpec.parse("symmetric:0.1").foreign == ""


def test_a_stage_made_by_hand_is_checked_as_well() -> None:
    with pytest.raises(InputError, match=r"^the rate is 0\.5, and none takes none; write none$"):
        check_stage(Stage("none", 0.5))
    with pytest.raises(InputError, match=r"^rate is None, expected a number in \[0, 1\]$"):
        check_stage(Stage("symmetric", None))
    with pytest.raises(InputError, match=r"^symmetric takes no file; write symmetric:RATE"):
        check_stage(Stage("symmetric", 0.1, file="x.csv"))
    with pytest.raises(InputError, match=r"^symmetric takes no 'x'; write symmetric:RATE"):
        check_stage(Stage("symmetric", 0.1, word="x"))
