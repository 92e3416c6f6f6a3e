"""User-defined per-label functions: their forms, and their registration under a name."""

from __future__ import annotations

import copy
import functools
import pickle

import pytest
import torch

from noisylabels import losses
from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, PER_LABEL, loss, negative, normalize, register, select, unregister
from noisylabels.losses.catalog import Named


@pytest.fixture(autouse=True)
def _the_catalog_stays_as_it_was():
    before, rows = dict(LOSSES), dict(PER_LABEL)
    yield
    assert dict(LOSSES) == before
    assert dict(PER_LABEL) == rows


@pytest.fixture
def own():
    """Register under a name; taken out again at the end."""
    names = []

    def enter(name, *args, **kwargs):
        register(name, *args, **kwargs)
        names.append(name)

    yield enter
    for name in names:
        unregister(name)


def power(l, q=2.0):
    return (1 - l.exp()) ** q


class Gentle:
    """A function with state."""

    def __init__(self, floor):
        self.floor = floor

    def __call__(self, l, q=1.0):
        return -((l.exp() + self.floor) ** q).log()


P = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], dtype=torch.float64)
T = torch.tensor([0, 2])


def values(made):
    return losses.Loss(made.terms, reduction="none")(P.log(), T).tolist()


def test_forms_of_a_lambda():
    def squared(p):
        return (1 - p) ** 2

    rows = P.tolist()
    assert values(select(lambda l: (1 - l.exp()) ** 2)) == pytest.approx([squared(0.5), squared(0.7)])
    assert values(normalize(lambda l: (1 - l.exp()) ** 2)) == pytest.approx(
        [squared(row[t]) / sum(map(squared, row)) for row, t in zip(rows, T, strict=True)]
    )
    gains = [[squared(1e-7) - squared(p) for p in row] for row in rows]
    assert values(negative(lambda l: (1 - l.exp()) ** 2)) == pytest.approx(
        [1 - row[t] / sum(row) for row, t in zip(gains, T, strict=True)]
    )


def test_parameters_and_objects():
    assert values(select(power, q=3)) == pytest.approx([0.5**3, 0.3**3])
    assert values(normalize(power, q=1)) == pytest.approx([0.5 / 2, 0.3 / 2])  # as nmae
    assert values(select(Gentle(0.25), q=2)) == pytest.approx(
        [-2 * torch.tensor(0.75).log().item(), -2 * torch.tensor(0.95).log().item()]
    )
    assert values(select(functools.partial(power, q=3.0))) == pytest.approx([0.5**3, 0.3**3])
    assert values(normalize(torch.neg)) == pytest.approx(values(loss("nce")))  # written in C: no signature
    assert values(select(torch.nn.ReLU())) == [0.0, 0.0]
    with pytest.raises(InputError, match="the loss 'power' has no parameter 'r'; its parameters: q"):
        select(power, r=1)
    with pytest.raises(InputError, match="expected a function of log-probabilities"):
        normalize(3)


def test_arithmetic_and_names():
    mine = 2 * normalize(power) + loss("mae")
    assert mine.expression == "2*npower+mae"
    assert mine.label_sum(10) == 20.0
    assert normalize(lambda l: -l).expression == "nphi"
    assert select(Gentle(0.1)).expression == "Gentle"

    def mae(l):
        return 1 - l.exp()

    assert normalize(mae).expression == "nyour_mae"  # not the catalog's
    again = copy.deepcopy(mine)
    assert (mine + again).expression == "4*npower+2*mae"


def test_gradients_of_the_forms():
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0, 1, 2])
    for form in (select, normalize, negative):
        made = form(power, q=1.7)
        assert torch.autograd.gradcheck(lambda z, made=made: made(z, t), (z,))


def test_registering_gives_all_three_forms(own):
    before = len(LOSSES)
    own(
        "power",
        power,
        title="power loss",
        equation="(1-p)^q",
        source="me, 2026",
        use="Try it.",
        domain={"q": {"low": 0.0, "open_low": True}},
    )
    assert len(LOSSES) == before + 3
    assert values(loss("power(q=3)")) == values(select(power, q=3))
    assert values(loss("npower")) == values(normalize(power))
    assert values(loss("nnpower")) == values(negative(power))
    assert loss("NPOWER + 2*mae").expression == "npower+2*mae"
    assert losses.npower(P.log(), T, q=1.0) == pytest.approx(losses.nmae(P.log(), T).item())
    assert "npower" in dir(losses)
    assert "Normalized power loss." in losses.npower.__doc__
    assert "q: default 2, range (0, inf)." in losses.npower.__doc__
    assert loss("2 * npower").equation == "2 [(1-p_y)^q] / Σ_k [(1-p_k)^q]"
    with pytest.raises(
        InputError, match=r"the parameter q of 'power' is 0.0, expected a number in \(0, inf\)"
    ):
        loss("power(q=0)")
    with pytest.raises(InputError, match="did you mean 'npower'"):
        loss("npowr")
    assert pickle.loads(pickle.dumps(loss("npower"))).terms == loss("npower").terms


def test_unregistering_forgets(own):
    register("fleeting", lambda l: -l)
    old = losses.fleeting
    value = old(P.log(), T)
    unregister("fleeting")
    with pytest.raises(AttributeError, match="no loss or attribute 'fleeting'"):
        _ = losses.fleeting
    with pytest.raises(InputError, match="unknown loss"):
        loss("nfleeting")
    own("fleeting", lambda l: -3 * l)
    assert losses.fleeting(P.log(), T) == pytest.approx(3 * value.item())  # not the old one's
    with pytest.raises(InputError, match="unknown loss 'flaating'"):
        unregister("flaating")


@pytest.mark.parametrize("name", ["ce", "nce", "nnce"])
def test_taken_names(name):
    with pytest.raises(InputError, match="exists already; choose another name than"):
        register(name, power)


def test_names_whose_forms_are_taken(own):
    own("nsq", power)
    with pytest.raises(InputError, match="the loss 'nsq' exists already; choose another name than 'sq'"):
        register("sq", power)


@pytest.mark.parametrize("name", ["Sq", "s q", "2sq", "", "s-q", "lambda", "is"])
def test_names_that_expressions_could_not_say(name):
    with pytest.raises(InputError, match="expected a lower-case identifier"):
        register(name, power)


def test_other_mistakes():
    with pytest.raises(InputError, match="unknown kind of loss 'activ'; did you mean 'active'"):
        register("sq", power, kind="activ")
    with pytest.raises(InputError, match="expected a function of log-probabilities"):
        register("sq", "power")
    with pytest.raises(InputError, match="label_sum of 'sq' is 1 for 2 labels, but phi sums to"):
        register("sq", power, label_sum=lambda K, q: K - 1)


@pytest.mark.parametrize(
    ("phi", "given", "words"),
    [
        (
            lambda l: -l,
            {"domain": {"q": {"low": 1.0}}},
            "names 'q', which is not a parameter of phi; its parameters: none",
        ),
        (power, {"domain": {"r": {}}}, "names 'r', which is not a parameter of phi; its parameters: q"),
        (
            power,
            {"domain": {"q": {"lo": 1.0}}},
            "unknown limit of the parameter q of 'sq' 'lo'; did you mean 'low'",
        ),
        (
            power,
            {"domain": {"q": {"low": 3.0}}},
            "the parameter q of 'sq' is 2.0, expected a number in [3, inf)",
        ),
        (power, {"domain": {"q": {"high": 2.0, "open_high": True}}}, "expected a number in (-inf, 2)"),
        (lambda: 3, {}, "fails on log-probabilities of shape (2, 3) (TypeError"),
        (
            lambda l, q: l * q,
            {},
            "missing 1 required positional argument: 'q'), expected a function of one tensor",
        ),
        (
            lambda l: l.mean(),
            {},
            "returns shape () for log-probabilities of shape (2, 3), expected one cost per label",
        ),
        (lambda l: 3.0, {}, "returns float for log-probabilities"),
        (lambda l: l.sum(1), {"pointwise": False}, "returns shape (2,) for"),
        (lambda l: l, {"views": True}, "returns shape (2, 2, 3) for log-probabilities of shape (2, 2, 3)"),
    ],
)
def test_rows_that_would_fail_later_are_refused(phi, given, words):
    with pytest.raises(InputError) as caught:
        register("sq", phi, **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_taken_out():
    with pytest.raises(InputError, match=r"'nce' is a form of 'ce'; remove both with unregister\('ce'\)"):
        unregister("nce")
    for name in ("sce", "nce+mae", "ls"):
        with pytest.raises(InputError, match="is not a per-label function"):
            unregister(name)


def test_a_claimed_sum_is_used(own):
    own("lin", lambda l, c=1.0: c * (1 - l.exp()), kind="passive", label_sum=lambda K, c: c * (K - 1))
    assert loss("2*lin(c=3)").label_sum(5) == 24.0
    assert values(loss("nlin(c=3)")) == pytest.approx(values(loss("nmae")))


def test_a_sum_may_have_a_name_of_its_own():
    """Symmetric cross entropy (Wang 2019), as a row of the catalog would name it."""
    LOSSES.add("sce_", Named("sce_", "ce+2*rce", "symmetric cross entropy", "Wang et al. 2019", ""))
    try:
        assert loss("sce_").expression == "ce+2*rce"
        assert loss("0.5*sce_+mae").expression == "0.5*ce+mae+rce"
        with pytest.raises(
            InputError,
            match=r"'sce_' has no parameter 'A'; .* \(it stands for 'ce\+2\*rce'\)",
        ):
            loss("sce_(A=-1)")
    finally:
        LOSSES.remove("sce_")


def test_a_label_sum_that_holds_for_three_classes_only_is_refused():
    with pytest.raises(InputError, match="for 2 labels"):
        register("bad_", lambda l: 2 * (1 - l.exp()), label_sum=lambda K: 4.0)
