"""Weights that vary during training: their syntax, their values, and what they refuse."""

from __future__ import annotations

import copy
import importlib.util
import math
import pickle
from pathlib import Path

import pytest
import torch

from noisylabels import losses
from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, loss
from noisylabels.losses.categories import category, parts
from noisylabels.losses.curve import curve
from noisylabels.losses.explain import explain
from noisylabels.losses.varying import RULES, SCHEDULES

K = 5


def _load_naive():  # --import-mode=importlib knows no neighbors
    spec = importlib.util.spec_from_file_location("tests_losses_naive", Path(__file__).parent / "naive.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


naive = _load_naive()


def logits_of(n: int = 12, *more: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(n, K, *more, generator=draw, dtype=torch.float64)).requires_grad_()


def labels_of(n: int = 12, *more: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(K, (n, *more), generator=torch.Generator().manual_seed(seed))


def value_and_slope(made, z, t):
    value = made(z, t)
    (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" NCE + Linear( 0.1 , 10 ) * MAE", "nce+linear(0.1,10)*mae"),
        ("nce+mae*linear(start=0.1,end=10)", "nce+linear(0.1,10)*mae"),
        ("linear(0.1,10,until=1)*mae+nce", "nce+linear(0.1,10)*mae"),  # a default is not written
        ("nce+linear(0.1,10,0.5)*mae", "nce+linear(0.1,10,until=0.5)*mae"),
        ("nce+2*cosine(1,0)*3*mae", "nce+6*cosine(1,0)*mae"),
        ("nce+step(0,1,at=0.25)*mae", "nce+step(0,1,at=0.25)*mae"),
        ("nce+warmup(5)*(mae+rce)", "nce+warmup(5)*mae+warmup(5)*rce"),
        ("2*(nce+warmup(0.1)*mae)", "2*nce+2*warmup(0.1)*mae"),
        ("warmup(5)*mae+warmup(5)*mae+mae", "2*warmup(5)*mae+mae"),  # equal ones are merged
        ("logit_clip(nce+linear(0,1)*mae,tau=2)", "logit_clip(nce,tau=2)+linear(0,1)*logit_clip(mae,tau=2)"),
        ("nce + auto*mae", "nce+auto(rule=gradient)*mae"),
        ("nce + AUTO(ratio=2,rule=Gradient)*mae", "nce+auto(rule=gradient,ratio=2)*mae"),
        ("auto(rule=agreement)*nce+mae", "auto(rule=agreement)*nce+mae"),
        ("nce+2*auto(rule=accuracy)*agce(a=6)", "2*auto(rule=accuracy)*agce(a=6)+nce"),
        ("nce+auto(rule=noise,rate=0.4)*mae", "nce+auto(rule=noise,rate=0.4)*mae"),
        ("normalize(linear(1,2)*ce)+mae", "nce+mae"),  # a factor cancels out
        ("-(-1)*linear(1,2)*ce", "linear(1,2)*ce"),
    ],
)
def test_canonical(text, canonical):
    made = loss(text)
    assert made.expression == canonical
    assert loss(canonical).terms == made.terms
    assert pickle.loads(pickle.dumps(made)).expression == canonical
    assert (2 * made / 2).expression == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear(1)*mae", "'linear' is not given its parameter 'end'; it takes start, end, until"),
        ("linear(1,2,1,4)*mae", "at most 3: start, end, until"),
        ("linear(1,2,start=3)*mae", "given the parameter 'start' twice"),
        ("linear(1,2,utnil=0.5)*mae", "did you mean 'until'"),
        (
            "linear(1,2,until=0)*mae",
            r"the parameter until of the schedule 'linear' is 0.0, expected .* \(0, 1\]",
        ),
        ("linear(-1,2)*mae", "the parameter start of the schedule 'linear' is -1"),
        ("linear(0,0)*mae", "from 0 to 0"),
        ("step(1,2,at=1)*mae", "the parameter at"),
        ("warmup(0)*mae", "the parameter length"),
        ("linear(a,2)*mae", "takes numbers"),
        ("linear(1,b=c)*mae", "is not a number"),
        ("linear(1,2)", "without a loss to multiply"),
        ("nce+auto", "without a loss to multiply"),
        ("linear(1,2)*cosine(1,2)*mae", "expected one of them"),
        ("linear(1,2)*(ce+auto*mae)", "expected one of them"),
        ("lineer(1,2)*mae", "product without a number or a schedule"),
        ("nce+auto(rule=gradiant)*mae", "did you mean 'gradient'"),
        ("nce+auto(rule=3)*mae", "is not one word"),
        ("nce+auto(2)*mae", "expected names, as in auto\\(rule=gradient,ratio=1\\)"),
        ("nce+auto(decay=1)*mae", "the parameter decay of the rule 'gradient'"),
        ("nce+auto(rule=noise,rate=1)*mae", "the parameter rate"),
        ("auto*mae", "nothing to weigh mae against"),
        ("auto*ce+auto*mae", "2 weights auto, expected at most one"),
        ("nce+linear(1,2)*rce+auto*mae", "a rule and a schedule"),
        ("linear(1,2)*nce+mae@cifar10", "has no presets"),
        ("-1*linear(1,2)*mae", "the weight of 'mae'"),
    ],
)
def test_what_an_expression_refuses(text, message):
    with pytest.raises(InputError, match=message) as error:
        loss(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "epochs", "values"),  # at the shares 0, 1/4, 1/2, 3/4 and 1
    [
        ("linear(2,10)", None, [2, 4, 6, 8, 10]),
        ("linear(2,10,until=0.5)", None, [2, 6, 10, 10, 10]),
        ("cosine(10,2)", None, [10, 6 + 4 * math.sqrt(0.5), 6, 6 - 4 * math.sqrt(0.5), 2]),
        ("cosine(0,2,until=0.5)", None, [0, 1, 2, 2, 2]),
        ("step(3,7)", None, [3, 3, 7, 7, 7]),
        ("step(3,7,at=0.75)", None, [3, 3, 3, 7, 7]),
        ("warmup(0.5)", None, [0, 0.5, 1, 1, 1]),
        ("warmup(5)", 10, [0, 0.5, 1, 1, 1]),  # over 5 epochs of 10
        ("warmup(5)", 4, [0, 0.2, 0.4, 0.6, 0.8]),  # of 4: it never ends
        ("warmup(1)", 1, [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_schedules(text, epochs, values):
    made = loss(f"nce+3*{text}*mae")
    for share, value in zip((0, 0.25, 0.5, 0.75, 1), values, strict=True):
        made.set_progress(share, epochs)
        assert made.current_weights()["mae"] == pytest.approx(3 * value, rel=1e-6)
        fixed = [term.weight for term in made.at(share, epochs).terms if term.name == "mae"]
        assert fixed == (pytest.approx([3 * value], rel=1e-5) if value else [])
    assert set(SCHEDULES) == {"linear", "cosine", "step", "warmup"}


TARGETS = {
    "labels": ({}, (), False),
    "sum": ({"reduction": "sum"}, (), False),
    "none": ({"reduction": "none"}, (), False),
    "class weights": ({"weight": torch.linspace(0.5, 2, K, dtype=torch.float64)}, (), False),
    "ignored": ({"ignore_index": 2}, (), False),
    "dense": ({"weight": torch.linspace(0.5, 2, K, dtype=torch.float64), "ignore_index": 2}, (3, 2), False),
    "soft": ({}, (), True),
    "soft, class weights": ({"weight": torch.linspace(0.5, 2, K, dtype=torch.float64)}, (), True),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("text", ["nce+2*{}*mae", "{}*amse+{}*nce", "2*{}*logit_clip(ce)"])
def test_a_schedule_is_its_weight(case, text):
    """The parts, computed one by one with fixed weights, add up to the sum."""
    options, more, soft = TARGETS[case]
    z, t = logits_of(12, *more), labels_of(12, *more)
    if soft:
        t = torch.softmax(logits_of(12, seed=1).detach(), 1)
    made = loss(text.format("linear(1,4)", "step(0,1)"), **options)
    for share, weight in ((0, 1), (0.5, 2.5), (1, 4)):
        made.set_progress(share)
        numbers = text.format(weight, 1.0 if share >= 0.5 else 1e-300)
        wanted = value_and_slope(loss(numbers, **options), z, t)
        for got, want in zip(value_and_slope(made, z, t), wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


def test_the_value_is_that_of_plain_python():
    z, t = logits_of(), labels_of()
    made = loss("nce + linear(0.5,4.5)*mae", reduction="none")
    made.set_progress(0.25)
    rows = torch.log_softmax(z.detach(), 1).tolist()
    wanted = [naive.value("nce+1.5*mae", row, y) for row, y in zip(rows, t.tolist(), strict=True)]
    torch.testing.assert_close(made(z, t).detach(), torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("weight", ["linear(0.5,4.5)", "warmup(5)"])
def test_a_validation_may_come_before_the_first_step(weight):
    z, t = logits_of(), labels_of()
    made, trained = loss(f"nce+{weight}*mae"), loss(f"nce+{weight}*mae")
    trained.set_progress(1.0, epochs=10)
    start, end = trained.at(0.0, epochs=10), trained.at(1.0, epochs=10)
    assert start(z, t) != end(z, t)
    for wanted in (start, end):
        with torch.no_grad():
            torch.testing.assert_close(made(z, t), wanted(z, t))  # as Lightning's sanity check
        made.eval()
        torch.testing.assert_close(made(z, t), wanted(z, t))
        made.train()
        made.load_state_dict(trained.state_dict())  # as Lightning's validate(ckpt_path=...)
    with pytest.raises(InputError, match="before each step"):
        made(z, t)


def test_what_is_not_set_is_an_error():
    z, t = logits_of(), labels_of()
    with pytest.raises(InputError, match=r"call loss.set_progress\(done / total\) before each step"):
        loss("nce+linear(0,1)*mae")(z, t)
    with pytest.raises(InputError, match="those of the training are unknown"):
        loss("nce+warmup(5)*mae").set_progress(0.5)
    for rule in ("accuracy", "noise"):
        with pytest.raises(InputError, match=r"is not set: a run .* sets it .* loss.with_auto\(0.5\)"):
            loss(f"nce+auto(rule={rule})*mae")(z, t)
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="the training progress is"):
            loss("ce").set_progress(share)
    with pytest.raises(InputError, match=r"all weights of 'linear.0,1.*' are 0"):
        loss("linear(0,1)*ce").at(0)
    loss("ce").set_progress(0.5)  # nothing to set


@pytest.mark.parametrize(
    "text", ["nce+linear(0,1)*mae", "nce+auto*mae", "linear(1,2)*nce+auto(rule=agreement)*mae"]
)
def test_properties_ask_for_fixed_weights(text):
    made = loss(text)
    for ask in (made.bounds, made.label_sum, made.dominance, made.unique_optimum):
        with pytest.raises(InputError, match="vary during training, and its properties with them") as error:
            ask(10)
        shown = str(error.value).rpartition("such as loss")[2]
        assert eval(f"loss(text){shown}").label_sum(10) > 0  # what the message proposes has them


def test_smoothing_and_blocks_of_rows():
    with pytest.raises(InputError, match=r"label_smoothing is 0\.1, and the rule agreement"):
        loss("auto(rule=agreement)*ce+gce", label_smoothing=0.1)
    with pytest.raises(InputError, match="label_smoothing"):
        loss("nce+linear(1,2)*mae", label_smoothing=0.1)  # symmetric at every weight
    head = torch.nn.Linear(4, K)
    with pytest.raises(InputError, match="needs the progress of training, which blocks of rows do not have"):
        losses.linear_loss("ce+linear(1,2)*mae", torch.randn(3, 4), head.weight, torch.arange(3), head.bias)


@pytest.mark.parametrize("name", [name for name in LOSSES if len(loss(name).terms) == 1])
def test_the_rule_agreement_treats_a_label_as_its_one_hot_weights(name):
    """For every loss of the catalog that it takes: those that spread the label over others are refused."""
    text = f"auto(rule=agreement)*{name}+unhinged"
    if name in ("ls", "peer"):
        with pytest.raises(InputError, match="has costs of other labels than the given one"):
            loss(text)
        return
    made = loss(text, weight=torch.rand(K, dtype=torch.float64), reduction="none")
    z, t = logits_of(12), labels_of(12)
    views = (z, logits_of(12, seed=1)) if name == "gjs" else z
    hot = torch.nn.functional.one_hot(t, K).double()
    torch.testing.assert_close(made(views, hot), made(views, t))


@pytest.mark.parametrize("text", ["auto(rule=agreement)*ls(ce)+mae", "mae+2*auto(rule=agreement)*peer(gce)"])
def test_the_rule_agreement_refuses_a_label_that_is_changed(text):
    with pytest.raises(InputError, match="has costs of other labels than the given one"):
        loss(text)
    loss(text.replace("agreement", "gradient"))
    loss("auto(rule=agreement)*mae+ls(ce)" if "ls" in text else "auto(rule=agreement)*ce+peer(gce)")


def test_names_and_relations():
    for word in [*SCHEDULES, "auto"]:
        with pytest.raises(InputError, match="means a weight in expressions"):
            losses.register(word, lambda l: -l)
    assert category("linear(1,2)*nce") == "normalized"
    assert category("nce+auto*mae") == "combined"
    assert parts("nce+2*linear(1,2)*mae") == ["nce", "mae"]
    assert loss("nce+auto*mae").needs == ("the batches of training",)
    assert loss("nce+auto(rule=accuracy)*mae").needs == ("a run's noisy data",)
    assert loss("nce+2*auto(rule=noise)*mae").with_auto(0.5).expression == "nce+mae"


# Rules


def closed_form_norms(z, t):
    """Return the mean norms of the gradients of nce and mae at the logits, from their derivatives."""
    p = torch.softmax(z.detach(), 1)
    l = p.log()
    at = torch.arange(len(t))
    hot = torch.zeros_like(p)
    hot[at, t] = 1
    p_y = p[at, t].unsqueeze(1)
    mae = -2 * p_y * (hot - p)
    total = -l.sum(1, keepdim=True)
    own = -l[at, t].unsqueeze(1)
    nce = ((p - hot) * total - own * (K * p - 1)) / total**2
    return nce.norm(dim=1).mean(), mae.norm(dim=1).mean()


def test_the_rule_gradient_balances_the_norms():
    made = loss("3*nce + 2*auto(ratio=0.5,decay=0.8)*mae")
    norms = torch.zeros(2, dtype=torch.float64)
    for seed in range(4):
        z, t = logits_of(seed=seed), labels_of(seed=seed)
        value = made(z, t).detach()
        nce, mae = closed_form_norms(z, t)
        norms = 0.8 * norms + 0.2 * torch.stack([3 * nce, 2 * mae])
        weight = 0.5 * float(norms[0] / norms[1])
        assert made.current_weights() == {"mae": pytest.approx(2 * weight, rel=1e-5)}
        assert float(value) == pytest.approx(float(loss(f"3*nce+{2 * weight}*mae")(z.detach(), t)), rel=1e-6)
    before = made.current_weights()
    made.set_progress(0.5)
    made.eval()
    made(logits_of(seed=9), labels_of(seed=9))
    made.train()
    with torch.no_grad():
        made(logits_of(seed=9), labels_of(seed=9))
    assert made.current_weights() == before  # only training teaches it
    made.set_progress(0.0)  # another training begins
    z, t = logits_of(), labels_of()
    made(z, t)
    nce, mae = closed_form_norms(z, t)
    assert made.current_weights() == {"mae": pytest.approx(2 * 0.5 * float(3 * nce / (2 * mae)), rel=1e-5)}


def test_the_gradient_is_balanced_outside_the_fast_path_too():
    z, t = logits_of(), labels_of()
    fast, slow = loss("nce+auto*mae"), loss("nce+auto*mae")
    hot = torch.nn.functional.one_hot(t, K).double()
    torch.testing.assert_close(fast(z, t), slow(z, hot))
    assert slow.current_weights() == pytest.approx(fast.current_weights(), rel=1e-5)
    one, dense = loss("nce+auto*mae"), loss("nce+auto*mae")
    dense(z.reshape(3, 4, K).transpose(1, 2), t.reshape(3, 4))
    assert dense.current_weights() == pytest.approx(fast.current_weights(), rel=1e-5)
    one(z[0], t[0])
    wanted = [float(found) for found in closed_form_norms(z[:1], t[:1])]
    assert one.current_weights() == {"mae": pytest.approx(wanted[0] / wanted[1], rel=1e-5)}


def test_a_part_without_a_gradient_gets_a_finite_weight():
    z = torch.zeros(2, K)
    z[:, 0] = 200.0  # certain: both norms vanish
    made = loss("nce+auto*mae")
    assert bool(torch.isfinite(made(z.requires_grad_(), torch.zeros(2, dtype=torch.int64))))
    assert 1e-3 <= made.current_weights()["mae"] <= 1e3


@pytest.mark.parametrize("case", TARGETS)
def test_the_rule_agreement_weighs_each_example(case):
    options, more, soft = TARGETS[case]
    z, t = logits_of(12, *more), labels_of(12, *more)
    if soft:
        t = torch.softmax(logits_of(12, seed=1).detach(), 1)
    made = loss("auto(rule=agreement,power=2)*ce + mae", **options)
    p = torch.softmax(z, 1)
    share = ((p / p.amax(1, keepdim=True)) ** 2).detach()
    hot = t if soft else torch.nn.functional.one_hot(t, K).double().movedim(-1, 1)
    w = options.get("weight", torch.ones(K, dtype=torch.float64)).view(1, -1, *[1] * len(more))
    each = (hot * w * (-share * p.log() + 2 * (1 - p))).sum(1)
    valid = torch.ones_like(each) if soft else (t != options.get("ignore_index", -100)).double()
    each = each * valid
    divisor = len(z) if soft else (valid * (hot * w).sum(1)).sum()
    reduction = options.get("reduction", "mean")
    wanted = {"none": each, "sum": each.sum(), "mean": each.sum() / divisor}[reduction]
    (slope,) = torch.autograd.grad(wanted.sum(), z)
    for got, want in zip(value_and_slope(made, z, t), (wanted.detach(), slope), strict=True):
        torch.testing.assert_close(got, want)
    mean = float(((hot * share).sum(1) * valid).sum() / valid.sum())
    assert made.current_weights() == {"ce": pytest.approx(mean, rel=1e-5)}


def test_the_record_of_the_rule_agreement_is_a_mean_that_fades():
    """Of the batches so far, each with 0.99 of the weight of the next one, and of nothing else."""
    made = loss("nce+auto(rule=agreement)*mae")
    means = []
    for seed in range(30):
        z, t = logits_of(seed=seed), labels_of(seed=seed)
        p = torch.softmax(z.detach() * (1 + seed), 1)
        means.append(float((p[torch.arange(12), t] / p.amax(1)).mean()))
        made(z * (1 + seed), t)
        if seed == 14:  # a checkpoint in between
            state, made = made.state_dict(), loss("nce+auto(rule=agreement)*mae")
            made.load_state_dict(state)
        faded = [0.99 ** (seed - k) for k in range(seed + 1)]
        wanted = sum(a * b for a, b in zip(faded, means, strict=True)) / sum(faded)
        assert made.current_weights() == {"mae": pytest.approx(wanted, rel=1e-5)}
    made.set_progress(0.0)  # another training begins
    assert made.current_weights() == {"mae": 1.0}
    made(logits_of(), labels_of())
    assert made.current_weights() == {"mae": pytest.approx(means[0], rel=1e-5)}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("rule", ["gradient", "agreement"])
@pytest.mark.parametrize("bad", ["all ignored", "empty", "infinite", "nan"])
def test_a_rule_learns_nothing_from_a_batch_without_a_value(rule, bad, reduction):
    z, t = logits_of(), labels_of()
    wrong = {
        "all ignored": (z, torch.full_like(t, -100)),
        "empty": (z[:0], t[:0]),
        "infinite": (torch.full_like(z, math.inf).requires_grad_(), t),
        "nan": (torch.full_like(z, math.nan).requires_grad_(), t),
    }[bad]
    made, undisturbed = (loss(f"nce+auto(rule={rule})*mae", reduction=reduction) for _ in range(2))
    made(*wrong)  # also as the first batch
    assert made.current_weights() == {"mae": 1.0}
    for _ in range(3):
        made(z, t)
        made(*wrong)
        undisturbed(z, t)
    assert made.current_weights() == undisturbed.current_weights()
    assert made.current_weights()["mae"] != 1.0


@pytest.mark.parametrize("rule", ["gradient", "agreement"])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_loss_that_is_cast_with_its_model_learns_as_precisely(rule, kind):
    made, plain = (loss(f"nce+auto(rule={rule})*mae") for _ in range(2))
    torch.nn.ModuleList([made]).to(kind)
    for step in range(60):
        z = logits_of(seed=step).detach() * (1 + step / 10)
        for each in (made, plain):
            each(z.requires_grad_(), labels_of(seed=step))
    assert made.current_weights()["mae"] == pytest.approx(plain.current_weights()["mae"], rel=1e-5)


def test_a_single_example_and_wrong_input():
    z, t = logits_of(), labels_of()
    for text in ("nce+linear(1,2)*mae", "nce+auto*mae", "auto(rule=agreement)*nce+mae"):
        each, batch = loss(text, reduction="none"), loss(text, reduction="none")
        each.set_progress(0.5)
        batch.set_progress(0.5)
        assert each(z[0], t[0]).shape == ()
        torch.testing.assert_close(batch(z[:1], t[:1])[0], each(z[0], t[0]))
        for logits, labels, message in (
            (z, t[:3], "target is"),
            (z, torch.full_like(t, K), rf"target\[0\] is {K}, expected a label in \[0, {K - 1}\]"),
            (z.tolist(), t, "logits is of type list"),
        ):
            with pytest.raises(InputError, match=message):
                each(logits, labels)


@pytest.mark.parametrize("text", ["nce+linear(1,3)*mae", "nce+auto*mae"])
def test_two_calls_before_one_backward_pass(text):
    """Methods with two networks, or with mixtures, call a loss twice in a step."""
    (a, b), t = (logits_of(seed=0), logits_of(seed=1)), labels_of()
    made, other = loss(text), loss(text)
    made.set_progress(0.0)
    first = made(a, t)
    made.set_progress(1.0)
    second = made(b, t)
    slopes = torch.autograd.grad(first + second, (a, b))
    for z, share, slope in zip((a, b), (0.0, 1.0), slopes, strict=True):
        other.set_progress(share)
        torch.testing.assert_close(slope, value_and_slope(other, z, t)[1])


def test_copies_and_states():
    z, t = logits_of(), labels_of()
    for text in ("nce+linear(1,3)*mae", "nce+auto*mae"):
        made = loss(text)
        made.set_progress(0.5)
        made(z, t)
        other = loss(text)
        other.load_state_dict(made.state_dict())
        twin = copy.deepcopy(made)
        assert other.current_weights() == twin.current_weights() == made.current_weights()
        twin.set_progress(1.0)
        twin(logits_of(seed=1), t)
        assert twin.current_weights() != made.current_weights()
    assert loss("nce+mae").state_dict() == {}  # checkpoints of fixed weights stay as they are


@pytest.mark.filterwarnings("ignore:.*Function.> should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("text", ["nce+cosine(0.1,10)*mae", "nce+auto*mae", "auto(rule=agreement)*nce+mae"])
def test_it_compiles_once_without_graph_breaks(text):
    torch._dynamo.reset()
    made, plain = loss(text), loss(text)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(made, fullgraph=True, backend=backend)
    for step in range(5):
        z, t = logits_of(seed=step).detach().float().requires_grad_(), labels_of(seed=step)
        for each in (made, plain):
            each.set_progress(step / 5)
        torch.testing.assert_close(compiled(z, t), plain(z, t))
        assert made.current_weights() == pytest.approx(plain.current_weights())
    assert len(graphs) == 1  # a weight is no constant of the graph
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:.*Function.> should not be instantiated:DeprecationWarning")
def test_it_compiles_around_gradients_by_autograd():
    torch._dynamo.reset()
    made, plain = (loss("ce+auto*gce", label_smoothing=0.1) for _ in range(2))
    compiled = torch.compile(made, backend="eager")
    for step in range(3):
        z, t = logits_of(seed=step).detach().float().requires_grad_(), labels_of(seed=step)
        torch.testing.assert_close(compiled(z, t), plain(z, t))
        assert made.current_weights() == pytest.approx(plain.current_weights())
    assert made.current_weights() != loss("ce+auto*gce").current_weights()
    torch._dynamo.reset()


# What is shown


def test_explained_at_the_stages_of_training():
    facts = explain(loss("ce+linear(1,3)*mae"), 10)
    assert facts["weights"].startswith("mae: 1 at the start, 2 in the middle, 3 at the end (an even change")
    assert facts["needs"] == "logits and labels, the progress of training"
    facts = explain(loss("linear(0,1)*phuber_ce+step(1,0)*mae"), 10)
    assert facts["symmetric"] == (
        "at the start: yes: it sums to 18 over the 10 labels for every prediction; "
        "in the middle: no: its sum over the labels depends on the prediction; "
        "at the end: no: its sum over the labels depends on the prediction"
    )
    facts = explain(loss("ce+auto*mae"), 10)
    assert facts["range"] == "at the weight 1: [0, inf] for 10 classes"
    assert "rule gradient" in facts["weights"]


def test_the_present_weight_of_two_terms_that_differ_in_their_weights_alone():
    made = loss("ce+2*warmup(0.5)*mae+linear(0,4)*mae+linear(1,3)*agce(a=2)")
    made.set_progress(0.25)
    assert made.current_weights() == {"agce(a=2)": 1.5, "mae": 2 * 0.5 + 1.0}


def test_the_curve_of_the_rule_agreement():
    drawn = curve(loss("auto(rule=agreement)*ce+mae"), num_classes=3, points=3)
    p, k = 1e-4, (1 - 1e-4) / 2
    assert drawn["value"][0] == pytest.approx(p / k * -math.log(p) + 2 * (1 - p))
    assert drawn["value"][2] == pytest.approx(-math.log(1 - 1e-4) + 2e-4, rel=1e-6)


def test_each_word_has_its_row():
    assert set(RULES) == {"gradient", "agreement", "accuracy", "noise"}
    for row in [*SCHEDULES.values(), *RULES.values()]:
        assert row.title, row.name
        assert row.equation, row.name
        assert row.domain.keys() == row.defaults.keys(), row.name
