"""The text of a noise: what it means, its canonical form, and what is said when it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisylabels.core.checks import InputError
from noisylabels.noise import KINDS, MAPS, NoiseSpec


@st.composite
def specs(draw: st.DrawFn) -> NoiseSpec:
    kind = draw(st.sampled_from(list(KINDS)))
    row = KINDS[kind]
    qualifiers = []
    if row.takes_map:
        pair = st.tuples(st.integers(0, 999), st.integers(0, 999)).map(lambda p: f"{p[0]}to{p[1]}")
        named = st.sampled_from(list(MAPS)).map(lambda name: [name])
        qualifiers += draw(st.one_of(st.just([]), named, st.lists(pair, max_size=4)))
    if row.conventions:
        qualifiers += draw(st.lists(st.sampled_from(list(row.conventions)), max_size=1))
    rate = draw(st.floats(0, 1)) if row.takes_rate else 0.0
    return NoiseSpec(kind, rate, tuple(qualifiers))


@given(specs())
def test_round_trip(spec: NoiseSpec) -> None:
    assert NoiseSpec.parse(str(spec)) == spec
    assert str(NoiseSpec.parse(str(spec))) == str(spec)


@given(specs(), st.randoms())
def test_case_space_and_order_of_qualifiers_do_not_matter(spec: NoiseSpec, random) -> None:
    # pairs keep their order, in which @sequential takes them
    if not spec.pairs:
        shuffled = random.sample(spec.qualifiers, len(spec.qualifiers))
        head, _, _ = str(spec).partition("@")
        text = f"  {head.upper().replace(':', ' : ')}" + (" @ " + " , ".join(shuffled) if shuffled else "")
        assert NoiseSpec.parse(text) == spec


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
        ("asymmetric:0.4@sequential,cifar10", "asymmetric:0.4@cifar10,sequential"),
        ("asymmetric:0.4@sequential,03to5,5to3", "asymmetric:0.4@3to5,5to3,sequential"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(NoiseSpec.parse(text)) == canonical


def test_what_a_spec_holds() -> None:
    spec = NoiseSpec.parse("asymmetric:0.4@3to5,5to3,sequential")
    assert (spec.kind, spec.rate, spec.qualifiers) == ("asymmetric", 0.4, ("3to5", "5to3", "sequential"))
    assert spec.pairs == ((3, 5), (5, 3))
    assert spec.map_name is None
    assert spec.convention is KINDS["asymmetric"].conventions["sequential"]
    assert NoiseSpec.parse("asymmetric:0.4@digits").map_name == "digits"
    assert NoiseSpec.parse("asymmetric:0.4").convention is KINDS["asymmetric"].default
    assert NoiseSpec.parse(spec) is spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symetric:0.4", "unknown noise 'symetric'; did you mean 'symmetric'?"),
        ("", "unknown noise ''; known: none, symmetric, asymmetric"),
        ("0.4", "unknown noise '0.4'; known: none, symmetric, asymmetric"),
        (None, "noise is None, expected text such as 'symmetric:0.4'"),
        (
            "symmetric",
            "'symmetric' has no rate; write symmetric:RATE[@exact|@uniform], for example symmetric:0.4",
        ),
        (
            "asymmetric:@cifar10",
            "'asymmetric:@cifar10' has no rate; write asymmetric:RATE[@MAP,sequential], "
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
        ("symmetric:40", "rate is 40.0, expected a number in [0, 1]"),
        ("symmetric:-0.1", "rate is -0.1, expected a number in [0, 1]"),
        ("none:0.4", "none takes no rate, and 'none:0.4' has one; write none"),
        ("clean:", "none takes no rate, and 'clean:' has one; write none"),
        ("symmetric:0.4@exat", "unknown qualifier 'exat' of symmetric noise; did you mean 'exact'?"),
        ("symmetric:0.4@", "unknown qualifier '' of symmetric noise; known: exact, uniform"),
        ("symmetric:0.4@exact@x", "unknown qualifier 'exact@x' of symmetric noise; did you mean 'exact'?"),
        (
            "asymmetric:0.4@cifar11",
            "unknown qualifier 'cifar11' of asymmetric noise; did you mean 'cifar10'?",
        ),
        (
            "symmetric:0.4@sequential",
            "the qualifier 'sequential' fits asymmetric noise, not symmetric; "
            "write symmetric:RATE[@exact|@uniform]",
        ),
        (
            "symmetric:0.4@cifar10",
            "the qualifier 'cifar10' fits asymmetric noise, not symmetric; "
            "write symmetric:RATE[@exact|@uniform]",
        ),
        (
            "symmetric:0.4@3to5",
            "the qualifier '3to5' fits asymmetric noise, not symmetric; "
            "write symmetric:RATE[@exact|@uniform]",
        ),
        (
            "asymmetric:0.4@exact",
            "the qualifier 'exact' fits symmetric noise, not asymmetric; "
            "write asymmetric:RATE[@MAP,sequential]",
        ),
        ("none@fast", "none noise takes no qualifier, and 'fast' came; write none"),
        ("symmetric:0.4@exact,uniform", "exact and uniform exclude each other; write one of them"),
        (
            "asymmetric:0.4@cifar10,digits",
            "cifar10 and digits are two confusion maps; write one of them",
        ),
        (
            "asymmetric:0.4@3to5,cifar10",
            "cifar10 and 3to5 are two confusion maps; write one of them",
        ),
    ],
)
def test_a_text_that_is_none(text, message: str) -> None:
    with pytest.raises(InputError) as error:
        NoiseSpec.parse(text)
    assert str(error.value) == message


def test_a_spec_made_by_hand_is_checked_as_well() -> None:
    with pytest.raises(InputError, match=r"^none takes no rate, and 0\.5 came; write none$"):
        NoiseSpec("none", 0.5)
    with pytest.raises(InputError, match=r"^rate is None, expected a number in \[0, 1\]$"):
        NoiseSpec("symmetric", None)  # type: ignore[arg-type]
