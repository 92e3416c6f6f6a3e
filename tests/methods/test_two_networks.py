"""Co-teaching+ and JoCoR against formulas written out per example in NumPy, and their limits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from torch import nn

import noisylabels as nl
from methods.test_arithmetic import B, Fixed, K, softmax
from methods.test_contract import RUN, setup
from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.methods.coteaching import SmallLossPair, initialized_anew, mean_of_kept_among
from noisylabels.methods.coteaching_plus import disagreement
from noisylabels.methods.expression import method
from noisylabels.methods.fit import fit
from noisylabels.methods.jocor import symmetric_divergence
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater

draw = torch.Generator().manual_seed(8)
FIRST, SECOND = (2 * torch.randn(B, K, generator=draw, dtype=torch.float64) for _ in range(2))
SECOND[:4] = 1.1 * FIRST[:4]  # on which they agree
TARGET = torch.randint(K, (B,), generator=draw)
FIRST_P, SECOND_P = (np.array([softmax(row) for row in logits.tolist()]) for logits in (FIRST, SECOND))
COSTS = [-np.log(p[np.arange(B), TARGET.numpy()]) for p in (FIRST_P, SECOND_P)]


def step(expression: str, epoch: int = 0, second: torch.Tensor = SECOND, loss=None, weights=None):
    """Return the value of a step at these logits, and the method, with its gradients."""
    found = method(expression, second=Fixed(second))(Fixed(FIRST), loss or nl.loss("ce"))
    found.weights = weights
    found.prepare(setup(B, K))
    found.begin_epoch(epoch)
    at = torch.arange(B)
    value, _ = found.step(Batch(at.float()[:, None], TARGET, at, epoch))
    value.backward()
    return value.item(), found


def kept(costs: np.ndarray, among: np.ndarray, rate: float) -> np.ndarray:
    """Return the positions in `among` of the smallest costs there, all but a share of them, at least one."""
    order = sorted(among, key=lambda n: costs[n])
    return np.array(order[: max(1, int((1 - rate) * len(order) + 1e-9))])


# Co-teaching+ -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.95])
def test_each_network_learns_what_the_other_selects_among_disagreeing_examples(rate):
    differ = np.flatnonzero(FIRST_P.argmax(1) != SECOND_P.argmax(1))
    assert 4 < len(differ) <= B - 4
    assert disagreement(FIRST, SECOND).nonzero().flatten().tolist() == differ.tolist()
    value, found = step(f"coteaching_plus(forget_rate={rate},num_gradual=0,warmup=0)")
    chosen = [kept(costs, differ, rate) for costs in COSTS]
    expected = COSTS[0][chosen[1]].mean() + COSTS[1][chosen[0]].mean()
    assert value == pytest.approx(expected, rel=1e-5)
    for network, there in zip(found.networks, reversed(chosen), strict=True):
        assert network.table.grad.abs().sum(1).nonzero().flatten().tolist() == sorted(there)
    assert found.columns() == pytest.approx({"forget_rate": rate, "disagreement": len(differ) / B})


def test_weights_of_disagreeing_examples_count_as_copies():
    costs, among = COSTS[0], np.arange(4, B)
    order = torch.tensor(costs).argsort()
    weights = np.random.default_rng(0).integers(0, 3, B).astype(float)
    inside = torch.zeros(B, dtype=torch.bool)
    inside[4:] = True
    found = mean_of_kept_among(torch.tensor(costs), order, inside, torch.tensor(0.0), torch.tensor(weights))
    assert found.item() == pytest.approx((weights * costs)[among].sum() / len(among))
    infinite = torch.tensor(costs).index_fill(0, torch.arange(4), torch.inf)
    again = mean_of_kept_among(infinite, order, inside, torch.tensor(0.3))
    assert again.item() == pytest.approx(costs[kept(costs, among, 0.3)].mean())


def test_nothing_is_learned_where_the_networks_agree():
    value, found = step("coteaching_plus(forget_rate=0.3,warmup=0)", second=FIRST + 1)
    assert value == 0
    assert all(network.table.grad.abs().sum() == 0 for network in found.networks)
    assert found.columns()["disagreement"] == 0


def test_momentum_and_decay_move_the_networks_where_they_agree():
    """Gradients are 0, not None: the step is that of SGD with momentum after another batch."""
    found = method("coteaching_plus(forget_rate=0,warmup=1)", second=Fixed(FIRST + 1))(
        Fixed(FIRST), nl.loss("ce")
    )
    found.prepare(setup(B, K))
    found.check_logits(K)
    updater = Updater(found, Settings(lr=0.1, momentum=0.9, weight_decay=0.01), torch.device("cpu"))
    at = torch.arange(B)
    batch = Batch(at.float()[:, None], TARGET, at)
    tables = [network.table for network in found.networks]
    found.begin_epoch(0)
    before = [table.detach().clone() for table in tables]
    updater(batch, 0.1)
    buffers = [(a - b.detach()) / 0.1 for a, b in zip(before, tables, strict=True)]
    middle = [table.detach().clone() for table in tables]
    found.begin_epoch(1)
    updater(batch, 0.1)
    assert found.columns()["disagreement"] == 0
    for table, start, buffer in zip(tables, middle, buffers, strict=True):
        assert table.grad.abs().sum() == 0
        expected = start - 0.1 * (0.9 * buffer + 0.01 * start)
        torch.testing.assert_close(table.detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["ce", "gce", "nce+mae"])
def test_coteaching_plus_warms_up_as_coteaching(loss):
    ours, found = step("coteaching_plus(forget_rate=0.4,num_gradual=0,warmup=3)", 2, loss=nl.loss(loss))
    theirs, other = step("coteaching(forget_rate=0.4,num_gradual=0)", 2, loss=nl.loss(loss))
    assert ours == pytest.approx(theirs, rel=1e-6)
    for a, b in zip(found.networks, other.networks, strict=True):
        torch.testing.assert_close(a.table.grad, b.table.grad)
    late, _ = step("coteaching_plus(forget_rate=0.4,num_gradual=0,warmup=3)", 3, loss=nl.loss(loss))
    assert late != pytest.approx(ours, rel=1e-3)


def test_without_a_rate_disagreeing_networks_are_trained_as_two_standard_ones():
    value, found = step("coteaching_plus(forget_rate=0,warmup=0)", second=-FIRST)
    assert found.columns()["disagreement"] == 1
    for network, logits in zip(found.networks, (FIRST, -FIRST), strict=True):
        table = logits.float().requires_grad_()
        nn.functional.cross_entropy(table, TARGET).backward()
        torch.testing.assert_close(network.table.grad, table.grad)
    expected = sum(nn.functional.cross_entropy(logits, TARGET) for logits in (FIRST, -FIRST))
    assert value == pytest.approx(expected.item(), rel=1e-6)


# JoCoR --------------------------------------------------------------------------------------------


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * np.log(p / q)).sum(1) + (q * np.log(q / p)).sum(1)


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 0.9])
def test_the_joint_loss_selects_and_is_minimized(lambda_):
    np.testing.assert_allclose(symmetric_divergence(FIRST, SECOND), divergence(FIRST_P, SECOND_P), rtol=1e-9)
    joint = (1 - lambda_) * (COSTS[0] + COSTS[1]) + lambda_ * divergence(FIRST_P, SECOND_P)
    there = kept(joint, np.arange(B), 0.4)
    value, found = step(f"jocor(forget_rate=0.4,num_gradual=0,lambda_={lambda_})")
    assert value == pytest.approx(joint[there].mean(), rel=1e-5)
    for network in found.networks:
        assert network.table.grad.abs().sum(1).nonzero().flatten().tolist() == sorted(there)


def test_the_gradient_of_the_joint_loss_by_its_formula():
    """By z_k of one network, with g_k = log(p_k / q_k) + 1 - q_k / p_k: p_k (g_k - sum_j p_j g_j)."""
    _, found = step("jocor(forget_rate=0,lambda_=0.7)")
    onehot = np.eye(K)[TARGET.numpy()]
    for network, p, q in zip(found.networks, (FIRST_P, SECOND_P), (SECOND_P, FIRST_P), strict=True):
        g = np.log(p / q) + 1 - q / p
        divergence = p * (g - (p * g).sum(1, keepdims=True))
        expected = (0.3 * (p - onehot) + 0.7 * divergence) / B
        np.testing.assert_allclose(network.table.grad, expected, rtol=1e-4, atol=1e-6)


def test_class_weights_concern_the_losses_alone():
    weight = torch.tensor([0.5, 1.0, 2.0, 4.0, 0.1])
    value, _ = step("jocor(forget_rate=0,lambda_=0.7)", loss=nl.loss("ce", weight=weight))
    losses = sum(nn.functional.cross_entropy(z.float(), TARGET, weight=weight) for z in (FIRST, SECOND))
    expected = 0.3 * losses.item() + 0.7 * divergence(FIRST_P, SECOND_P).mean()
    assert value == pytest.approx(expected, rel=1e-5)


# Class weights and ignored classes ----------------------------------------------------------------

CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 40.0, 0.1])
PER_CLASS = {
    "weights": ({"weight": CLASS_WEIGHTS}, CLASS_WEIGHTS.double().numpy()),
    "a weight of 0": ({"weight": torch.tensor([1.0, 0, 1, 3, 1])}, np.array([1.0, 0, 1, 3, 1])),
    "ignored": ({"ignore_index": 1}, np.array([1.0, 0, 1, 1, 1])),
}
PAIRS = ["coteaching", "coteaching_plus", "jocor"]


def differing() -> np.ndarray:
    return FIRST_P.argmax(1) != SECOND_P.argmax(1)


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("case", PER_CLASS)
@pytest.mark.parametrize("name", PAIRS)
def test_labels_are_selected_by_losses_without_class_weights(name, case, rate):
    """And among those that the loss counts; the mean of what is kept is relative to the mean class weight."""
    options, per_class = PER_CLASS[case]
    c = per_class[TARGET.numpy()]
    assert 0 < (c == 0).sum() < B - 5 or case == "weights"
    relative = c / c[c > 0].mean()
    among = np.flatnonzero((c > 0) & (differing() if name == "coteaching_plus" else True))
    if name == "jocor":
        apart = divergence(FIRST_P, SECOND_P)
        chosen = [kept(0.3 * (COSTS[0] + COSTS[1]) + 0.7 * apart, among, rate)] * 2
        expected = (0.3 * relative * (COSTS[0] + COSTS[1]) + 0.7 * apart)[chosen[0]].mean()
    else:
        chosen = [kept(costs, among, rate) for costs in reversed(COSTS)]
        expected = sum((relative * costs)[at].mean() for costs, at in zip(COSTS, chosen, strict=True))
    more = {"coteaching_plus": ",warmup=0", "jocor": ",lambda_=0.7"}.get(name, "")
    for loss in (nl.loss("ce", **options), nn.CrossEntropyLoss(**options)):
        value, found = step(f"{name}(forget_rate={rate},num_gradual=0{more})", loss=loss)
        assert value == pytest.approx(expected, rel=1e-5)
        for network, there in zip(found.networks, chosen, strict=True):
            assert network.table.grad.abs().sum(1).nonzero().flatten().tolist() == sorted(there)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    "loss",
    [
        lambda **more: nn.CrossEntropyLoss(label_smoothing=0.4, **more),
        lambda **more: nl.loss("boot_soft(beta=0.7)", **more),
    ],
    ids=["smoothed", "boot_soft"],
)
def test_class_weights_of_other_labels_do_not_select_either(name, loss):
    """The costs of a smoothed label count with the weights of their own classes."""
    more = ",warmup=0" if name == "coteaching_plus" else ""
    rows = []
    for options in ({}, {"weight": CLASS_WEIGHTS}):
        _, found = step(f"{name}(forget_rate=0.4,num_gradual=0{more})", loss=loss(**options))
        rows.append(torch.stack([network.table.grad.abs().sum(1) > 0 for network in found.networks]))
    assert torch.equal(*rows)


@pytest.mark.parametrize("name", PAIRS)
def test_the_selection_leaves_a_loss_as_it_was(name):
    made, other = (nl.loss("ce+auto*gce", weight=CLASS_WEIGHTS) for _ in range(2))
    step(f"{name}(forget_rate=0.4)", loss=made)
    for logits in (FIRST, SECOND):
        other(logits.float().requires_grad_(), TARGET)
    assert made.current_weights() == other.current_weights() != {"gce": 1.0}
    assert torch.equal(made.weight, CLASS_WEIGHTS)


@pytest.mark.parametrize("name", PAIRS)
def test_weights_of_examples_and_of_classes(name):
    """Without a rate, the mean of weight times loss as the loss reduces it, as in standard training."""
    weights = torch.rand(B, generator=torch.Generator().manual_seed(3))
    for options, per_class in PER_CLASS.values():
        c = per_class[TARGET.numpy()]
        expected = sum((weights.double().numpy() * c * costs).sum() / c.sum() for costs in COSTS)
        more = {"coteaching_plus": ",warmup=9", "jocor": ",lambda_=0"}.get(name, "")
        loss = nl.loss("ce", **options)
        value, _ = step(f"{name}(forget_rate=0{more})", loss=loss, weights=weights)
        assert value == pytest.approx(expected, rel=1e-5)


# Limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expression", ["jocor(forget_rate=0,lambda_=0)", "coteaching_plus(forget_rate=0)"])
def test_runs_at_the_limit_are_two_standard_runs(expression, sets, model):
    """Without a rate: JoCoR without the divergence, and Co-teaching+ as long as its warm-up lasts."""
    train, test = sets()
    first, second = model(seed=1), model(seed=2)
    fit(first, train, test, nl.loss("nce+mae"), method=method(expression, second=second), **RUN)
    for ours, seed in ((first, 1), (second, 2)):
        theirs = model(seed=seed)
        fit(theirs, train, test, nl.loss("nce+mae"), **RUN)
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_divergence_draws_the_networks_together(sets, model):
    train, test = sets()
    ends = []
    for lambda_ in (0.0, 0.9):
        first, second = model(seed=1, norm=False), model(seed=2, norm=False)
        spec = method(f"jocor(forget_rate=0,lambda_={lambda_})", second=second)
        fit(first, train, test, nl.loss("ce"), method=spec, **RUN | {"epochs": 6})
        with torch.no_grad():
            inputs = test.images.float() / 255
            ends.append(symmetric_divergence(first(inputs), second(inputs)).mean().item())
    assert ends[1] < 0.7 * ends[0]


def test_the_shared_class_is_no_method():
    with pytest.raises(TypeError, match="abstract"):
        SmallLossPair(nn.Linear(1, 2), nl.loss("ce"), 0.2, 10, None)


@pytest.mark.parametrize(
    ("made", "hidden"),
    [
        (nn.utils.spectral_norm, "weight_orig"),
        (nn.utils.weight_norm, "weight_g"),
        (lambda layer: nn.utils.prune.random_unstructured(layer, "weight", 0.5), "weight_orig"),
    ],
)
def test_a_weight_that_hooks_compute_is_not_taken_for_new(made, hidden):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # weight_norm's own
        network = nn.Sequential(nn.Linear(4, 8), made(nn.Linear(8, 3)))
    with pytest.raises(InputError, match=f"the layer '1' .*its weight is computed from {hidden}, .*; give a"):
        initialized_anew(network)
