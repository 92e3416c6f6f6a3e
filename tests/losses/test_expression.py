"""Expressions: the syntax, the canonical form, and the error messages."""

from __future__ import annotations

import math
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisylabels import losses
from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, PER_LABEL, loss
from noisylabels.losses.catalog import Named, find


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nce+mae", "nce+mae"),
        (" NCE  +\tMAE ", "nce+mae"),
        ("mae+nce", "nce+mae"),  # active before passive
        ("rce+mae+nfl+ce", "ce+nfl+mae+rce"),  # then by name
        ("2*nce+0.5*rce(A=-4)", "2*nce+0.5*rce"),  # a default is not written
        ("rce(A=-9.25)", "rce(A=-9.25)"),
        ("nce*2", "2*nce"),
        ("2*(nce+3*mae)", "2*nce+6*mae"),
        ("(nce)", "nce"),
        ("((nce+mae))*0.5", "0.5*nce+0.5*mae"),
        ("2*3*nce", "6*nce"),
        ("+2*nce", "2*nce"),
        ("nce+nce", "2*nce"),
        ("nce+2*nce+mae+0.5*mae", "3*nce+1.5*mae"),
        ("fl+fl(gamma=2)+fl(gamma=0.5)", "2*fl+fl(gamma=2)"),
        ("nce()", "nce"),
        ("1*nce", "nce"),
        ("1.0*nce", "nce"),
        ("1e-7*nce", "1e-07*nce"),
        ("1_000*nce", "1000*nce"),
        ("nfl(gamma=0)", "nfl(gamma=0)"),
        ("nfl(gamma=1e-3)", "nfl(gamma=0.001)"),
        ("0.1*nce+0.2*nce+0.3*nce", loss("0.3*nce+0.2*nce+0.1*nce").expression),
    ],
)
def test_canonical(text, canonical):
    made = loss(text)
    assert made.expression == canonical
    assert loss(canonical).terms == made.terms
    assert repr(made) == f'Loss("{canonical}")'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nec", "unknown loss 'nec'; did you mean 'nce'?"),
        ("nce + mea", "unknown loss 'mea'; did you mean 'mae'?"),
        ("zzzz", "unknown loss 'zzzz'; known: ce, nce, nnce, fl,"),
        ("fl(gama=2)", "the loss 'fl' has no parameter 'gama'; its parameters: gamma"),
        ("nce(gamma=2)", "the loss 'ce' has no parameter 'gamma'; its parameters: none"),
        ("rce(a=-4)", "the loss 'rce' has no parameter 'a'; its parameters: A"),
        ("fl(gamma=-1)", "the parameter gamma of 'fl' is -1.0, expected a number in [0, 100]"),
        ("rce(A=0)", "the parameter A of 'rce' is 0.0, expected a number in [-1e+06, -1e-06]"),
        ("fl(gamma=1e999)", "the parameter gamma of 'fl' is inf"),
        ("fl(gamma=x)", "a parameter of 'fl' in the loss 'fl(gamma=x)' is not a number"),
        ("fl(gamma=True)", "is not a number"),
        ("fl(gamma='2')", "is not a number"),
        ("fl(gamma=2j)", "is not a number"),
        ("fl(**{})", "is not a number"),
        ("fl(gamma=1,gamma=2)", "gives 'fl' the parameter 'gamma' twice"),
        ("fl(2)", "contains 'fl(2)', expected a sum such as"),
        ("0*nce", "the weight of 'nce' is 0.0, expected a number in (0, inf)"),
        ("-2*nce", "the weight of 'nce' is -2.0"),
        ("1e999*nce", "the weight of 'nce' is inf"),
        ("1e308*nce+1e308*nce", "the weight of 'nce' is inf"),
        ("1e-200*(1e-200*nce)", "the weight of 'nce' is 0.0"),
        ("1" + "0" * 400 + "*nce", "cannot be parsed"),
        ("nce*mae", "has a product without a number"),
        ("True*mae", "has a product without a number"),
        ("nce-mae", "contains 'nce - mae', expected a sum such as"),
        ("nce/2", "contains 'nce / 2'"),
        ("-nce", "contains '-nce'"),
        ("nce**2", " contains "),
        ("2", "contains '2'"),
        ("nce+1", "contains '1'"),
        ("'nce'", " contains "),
        ("nce, mae", " contains "),
        ("nce if mae else ce", " contains "),
        ("nce.mae", "contains 'nce.mae'"),
        ("nce[0]", " contains "),
        ("lambda: nce", " contains "),
        ("(yield)", " contains "),
        ("[nce for nce in mae]", " contains "),
        ("nce(mae)(ce)", " contains "),
        ("", "cannot be parsed, expected a sum such as 'nce + 2*mae'"),
        ("   ", "cannot be parsed"),
        ("nce +", "cannot be parsed"),
        ("nce mae", "cannot be parsed"),
        ("2nce", "cannot be parsed"),
        ("(nce", "cannot be parsed"),
        ("nce\n+ mae", "cannot be parsed"),
        ("nce; import os", "cannot be parsed"),
        ("x = nce", "cannot be parsed"),
        ("nce\0", "cannot be parsed"),
        ("(" * 300 + "nce" + ")" * 300, "cannot be parsed"),
        ("2*" * 3000 + "nce", "cannot be parsed"),
        (None, "the loss is None (NoneType), expected a sum such as"),
        (3, "the loss is 3 (int)"),
        (b"nce", "the loss is b'nce' (bytes)"),
    ],
    ids=lambda text: repr(text)[:24],
)
def test_errors_are_one_line_that_teaches(text, words):
    with pytest.raises(InputError) as caught:
        loss(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_expression_is_cut_where_it_is_named():
    for text in ("(" * 5000 + "nce", "nce+" * 3000, "nce-" * 2000 + "mae", "2*" * 3000 + "nce"):
        with pytest.raises(InputError) as caught:
            loss(text)
        assert len(str(caught.value)) < 300


def test_nothing_is_evaluated(tmp_path):
    touched = tmp_path / "touched"
    for text in (
        f"open({str(touched)!r}, 'w')",
        f"nce + __import__('pathlib').Path({str(touched)!r}).touch()",
        f"fl(gamma=open({str(touched)!r}, 'w').fileno())",
        f"fl(gamma=(lambda: __import__('os').mknod({str(touched)!r}))())",
        "().__class__.__bases__[0]",
        "9**9**9**9*nce",  # would not end
    ):
        with pytest.raises(InputError):
            loss(text)
    assert not touched.exists()


SINGLE = [
    prefix + name for name, row in PER_LABEL.items() for prefix in ("", "n", "nn")[: 1 + 2 * row.pointwise]
]
POSITIVE = st.floats(min_value=1e-6, max_value=1e6)


@st.composite
def sums(draw):
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from(SINGLE))
        row = find(name)[1]
        given = []
        for key in row.defaults:
            if draw(st.booleans()):
                size = draw(POSITIVE)
                size = -size if row.domain[key].get("high") == 0 else size
                try:
                    row.parameters({key: size})
                except InputError:  # outside its range
                    continue
                given.append(f"{key}={size!r}")
        text = name + (f"({', '.join(given)})" if given or draw(st.booleans()) else "")
        factor = draw(st.none() | POSITIVE)
        if factor is not None:
            text = draw(
                st.sampled_from([f"{factor!r} * {text}", f"{text}*{factor!r}", f"({factor!r}*{text})"])
            )
        parts.append(text)
    return parts


@settings(max_examples=60, deadline=None)
@given(sums(), st.randoms())
def test_round_trip_of_random_sums(parts, shuffle):
    made = loss(" + ".join(parts))
    again = loss(made.expression)
    assert again.terms == made.terms
    assert again.expression == made.expression
    shuffled = list(parts)
    shuffle.shuffle(shuffled)
    assert loss("+".join(shuffled)).expression == made.expression
    assert math.isfinite(sum(term.weight for term in made.terms))


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet=string.printable, max_size=30)
    | st.text(max_size=12)
    | st.text("nceflma+*()=.-2 ", max_size=20)
)
def test_any_text_is_a_loss_or_one_line(text):
    message = ""
    try:
        made = loss(text)
    except InputError as error:
        message = str(error)
    else:
        assert loss(made.expression).terms == made.terms
    assert "\n" not in message


def test_the_catalog_parses_its_own_names():
    for name, entry in LOSSES.items():
        assert loss(name).terms == loss(entry.expression).terms
    for stem in (stem for stem, row in PER_LABEL.items() if row.pointwise):
        assert find("nn" + stem)[1] is PER_LABEL[stem]


def test_functions_with_parameters_do_without_the_parser(monkeypatch):
    z, t = torch.zeros(2, 3), torch.tensor([0, 1])
    calls = (("sce", {"beta": 2.0}), ("jal_ce", {"a": 5.0}), ("ls", {"r": 0.3}), ("ngce", {"q": 0.5}))
    wanted = {
        name: loss(f"{name}({key}={value})")(z, t)
        for name, parameters in calls
        for key, value in parameters.items()
    }
    found = [losses.function(name) for name, _ in calls]
    monkeypatch.setattr("ast.parse", None)
    for function, (name, parameters) in zip(found, calls, strict=True):
        assert torch.equal(function(z, t, **parameters), wanted[name])


def test_a_sum_with_parameters_is_a_plain_sum():
    for template, words in (
        ("alpha*nce + (ce+mae)*alpha", "'ce \\+ mae' is neither a number nor a parameter"),
        ("alpha*(ce+mae)", r"contains 'alpha \* \(ce \+ mae\)', expected weight\*name"),
    ):
        with pytest.raises(InputError, match=words):
            Named("bad_", template, "", "", "", {"alpha": 1.0})
