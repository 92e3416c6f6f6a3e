"""DivideMix, ELR+ and SSR: their functions and steps against NumPy, example by example."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import noisylabels as nl
from methods.test_contract import CPU
from noisylabels.core.checks import InputError
from noisylabels.data.features import feature_set
from noisylabels.data.loader import Batch
from noisylabels.methods.dividemix import (
    DivideMix,
    co_guess,
    co_refine,
    has_learned,
    longest_warmup,
    mixmatch,
    prior_penalty,
    sharpen,
    unlabeled_share,
)
from noisylabels.methods.elr_plus import EarlyLearningPlus, averaged_targets, sigmoid_ramp
from noisylabels.methods.fit import fit
from noisylabels.methods.mixture import clean_probability
from noisylabels.methods.ssr import (
    Ssr,
    balanced_weights,
    consistent,
    neighbor_votes,
    partners_among,
    relabel,
)
from noisylabels.training.method import Setup

B, K, D = 8, 4, 6
LABELS = torch.arange(B) % K


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def networks() -> list[nn.Module]:
    torch.manual_seed(5)
    return [nn.Sequential(nn.Linear(D, 7), nn.Tanh(), nn.Linear(7, K)) for _ in range(2)]


def setup(evaluated: torch.Tensor | None = None, labels: torch.Tensor = LABELS) -> Setup:
    n = len(labels)
    inputs = torch.zeros(n, D) if evaluated is None else evaluated
    batches = [Batch(inputs[i::2], labels[i::2], torch.arange(n)[i::2]) for i in (0, 1)]
    order = torch.cat([each.positions for each in batches])
    return Setup(n, K, labels, order, 4, 5, 0, CPU, lambda: batches)


def batch_of(*views: torch.Tensor, epoch: int = 0) -> Batch:
    return Batch(views[0], LABELS, torch.arange(B).flip(0), epoch, tuple(views[1:]))


def logits_of(network: nn.Module, inputs) -> np.ndarray:
    return network(torch.as_tensor(inputs, dtype=torch.float32)).detach().double().numpy()


# DivideMix ----------------------------------------------------------------------------------------


def sharp(p: np.ndarray, T: float) -> np.ndarray:
    return np.array([[q ** (1 / T) for q in row] for row in p]) / (p ** (1 / T)).sum(1, keepdims=True)


@pytest.mark.parametrize("T", [0.5, 1.0, 2.0])
def test_targets_are_those_of_the_formulas(T):
    draw = np.random.default_rng(0)
    one, other = (softmax(draw.normal(size=(B, K))) for _ in range(2))
    w, y = draw.random(B), np.eye(K)[LABELS]
    p, q = torch.tensor(one), torch.tensor(other)
    np.testing.assert_allclose(sharpen(p, T), sharp(one, T))
    refined = [[w[i] * y[i, k] + (1 - w[i]) * one[i, k] for k in range(K)] for i in range(B)]
    found = co_refine(torch.tensor(y), p, torch.tensor(w), T)
    np.testing.assert_allclose(found, sharp(np.array(refined), T))
    np.testing.assert_allclose(co_guess([p, q, q], T), sharp((one + 2 * other) / 3, T))


def test_mixtures_and_the_penalty_are_those_of_the_formulas():
    draw = np.random.default_rng(1)
    x, t = draw.normal(size=(B, 2, 3)), softmax(draw.normal(size=(B, K)))
    partner, s = draw.permutation(B), 0.75
    given = [torch.tensor(each) for each in (x, t, partner)]
    mixed, target = mixmatch(*given, torch.tensor(s))
    for i, j in enumerate(partner):
        np.testing.assert_allclose(mixed[i], s * x[i] + (1 - s) * x[j], rtol=1e-6)
        np.testing.assert_allclose(target[i], s * t[i] + (1 - s) * t[j], rtol=1e-6)
    z = draw.normal(size=(B, K))
    mean = softmax(z).mean(0)
    expected = sum(1 / K * np.log(1 / K / each) for each in mean)
    assert prior_penalty(torch.tensor(z)).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["ce", "nce+mae"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_of_dividemix_is_that_of_the_formula(loss, weighted):
    first, second = networks()
    found = DivideMix(first, nl.loss(loss), rate=0.35, lambda_u=30.0, warmup=1, ramp=2, second=second)
    found.prepare(setup())
    found.mixing = True
    found.clean.copy_(torch.rand(2, B))
    found.mixed_steps.fill_(4)  # of 2 epochs of 5 steps
    weights = torch.rand(B) if weighted else torch.ones(B)
    found.weights = weights if weighted else None
    batch = batch_of(torch.randn(B, D), torch.randn(B, D), epoch=1)
    state = torch.get_rng_state()
    drawn = [found.mixer.draw(2 * B) for _ in (0, 1)]
    torch.set_rng_state(state)
    value, _ = found.step(batch)

    each = nl.loss(loss, reduction="none")
    probs = [[softmax(logits_of(net, view)) for view in batch.views] for net in (first, second)]
    at, w, y = batch.positions.numpy(), found.clean.numpy(), np.eye(K)[LABELS]
    x = np.concatenate([view.numpy() for view in batch.views])
    total = 0.0
    for net, (partner, share) in enumerate(drawn):
        s, j = share.item(), partner.numpy()
        clean = w[1 - net][at]
        labeled = clean > 0.5
        mean = (probs[net][0] + probs[net][1]) / 2
        refined = sharp(clean[:, None] * y + (1 - clean)[:, None] * mean, 0.5)
        guessed = sharp(np.mean([*probs[0], *probs[1]], axis=0), 0.5)
        t = np.tile(np.where(labeled[:, None], refined, guessed), (2, 1))
        z = logits_of((first, second)[net], s * x + (1 - s) * x[j])
        target = s * t + (1 - s) * t[j]
        costs = each(torch.tensor(z), torch.tensor(target)).numpy()
        counts = np.tile(weights.numpy()[at], 2)
        counts = s * counts + (1 - s) * counts[j]
        rows = np.tile(labeled, 2)
        Lx = (costs * counts)[rows].mean()
        Lu = (((softmax(z) - target) ** 2).mean(1) * counts)[~rows].mean()
        p = softmax(z).mean(0)
        total += Lx + 30 * 0.5 * 0.4 * Lu - np.log(K * p).mean()
    assert value.item() == pytest.approx(total, rel=1e-4)


def test_a_network_is_divided_by_its_own_losses_before_an_epoch():
    torch.manual_seed(0)
    inputs = torch.randn(60, D)
    first, second = networks()
    labels = torch.where(torch.rand(60) < 0.3, torch.randint(K, (60,)), first(inputs).argmax(1))
    found = DivideMix(first, nl.loss("nce+mae"), rate=0.3, warmup=2, second=second)
    found.prepare(setup(inputs, labels))
    found.weights = (torch.arange(60) % 5 > 0).float()
    found.begin_epoch(1)
    assert (found.clean == 1).all()
    assert found.columns() == {"labeled": None, "mixture_noise_rate": None, "lambda_u": None}
    found.begin_epoch(2)
    used = found.weights > 0
    for net, clean in zip((first, second), found.clean, strict=True):
        z = logits_of(net, inputs)
        losses = torch.tensor([-np.log(softmax(z)[n, labels[n]]) for n in range(60)])
        torch.testing.assert_close(clean[used].double(), clean_probability(losses[used]), atol=1e-4, rtol=0)
        assert (clean[~used] == 0).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_what_the_networks_predict_is_that_of_the_examples_with_weight(weighted):
    torch.manual_seed(0)
    inputs, weights = torch.randn(60, D), (torch.arange(60) % 3 > 0).float()
    nets = networks()
    nets[1].load_state_dict({name: each.roll(1, 0) for name, each in nets[0].state_dict().items()})
    labels = torch.where(torch.arange(60) < 45, nets[0](inputs).argmax(1), nets[1](inputs).argmax(1))
    found = DivideMix(nets[0], nl.loss("ce"), rate=0.3, second=nets[1])
    found.prepare(setup(inputs, labels))
    found.weights = weights if weighted else None
    positions, given, losses, shares = found._evaluated()
    kept = weights > 0 if weighted else torch.ones(60, dtype=torch.bool)
    assert sorted(positions.tolist()) == torch.arange(60)[kept].tolist()
    assert given.tolist() == labels[positions].tolist()
    for net, each, share in zip(nets, losses, shares, strict=True):
        right = (net(inputs).argmax(1) == labels)[kept]
        assert share == pytest.approx(float(right.double().mean()))
        expected = nn.functional.cross_entropy(net(inputs), labels, reduction="none")[positions]
        torch.testing.assert_close(each, expected)
    assert shares[0] != shares[1]


@pytest.mark.parametrize(
    ("shares", "epoch", "divided"),
    [
        ((0.59, 0.61), 3, False),  # 0.3 + 0.8 * 0.4 = 0.62
        ((0.61, 0.99), 3, False),
        ((0.63, 0.63), 3, True),
        ((0.99, 0.99), 0, False),  # one epoch at least
        ((0.0, 0.0), 9, False),
        ((0.0, 0.0), 10, True),
    ],
)
def test_a_warm_up_ends_once_each_network_has_learned(shares, epoch, divided):
    first, second = networks()
    found = DivideMix(first, nl.loss("ce"), rate=0.3, second=second)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    found.prepare(setup(torch.randn(10, D), labels))
    losses = torch.rand(10)
    found._evaluated = lambda: (torch.arange(10), labels, [losses, losses], list(shares))
    found.begin_epoch(epoch)
    assert found.mixing == divided == bool((found.clean != 1).any())


@pytest.mark.parametrize(
    ("predicted", "rate", "chance", "learned"),
    [
        (0.419, 0.5, 0.1, False),
        (0.421, 0.5, 0.1, True),
        (0.55, 0.4, 0.5, False),  # two classes, one prediction for all
        (0.59, 0.4, 0.5, True),
        (0.7, 0.2, 0.7, False),  # a class of 70 %, predicted for all
        (0.12, 0.9, 0.1, False),
        (0.9, 0.95, 0.1, False),  # nothing to learn from
    ],
)
def test_a_network_that_predicts_by_chance_has_not_learned(predicted, rate, chance, learned):
    assert has_learned(predicted, rate, chance) == learned


def test_the_longest_warm_up_is_a_tenth():
    assert [longest_warmup(epochs) for epochs in (4, 100, 300)] == [10, 10, 30]


def test_a_warm_up_that_has_ended_does_not_begin_again():
    torch.manual_seed(0)
    inputs = torch.randn(40, D)
    first, second = networks()
    data = setup(inputs, first(inputs).argmax(1))
    found = DivideMix(first, nl.loss("ce"), rate=0.2, second=second)
    found.prepare(data)
    found.begin_epoch(10)
    found.begin_epoch(2)  # the second network predicts too few
    assert found.mixing
    again = DivideMix(first, nl.loss("ce"), rate=0.2, second=second)
    again.prepare(data)
    again.load_state_dict(found.state_dict())
    assert again.mixing


@pytest.mark.parametrize(
    ("warmup", "message"),
    [
        (1.5, "1.5, expected a whole number"),
        (-1.0, r"-1.0, expected a number in \[0, inf\)"),
        ("atuo", "auto"),
    ],
)
def test_a_warm_up_that_cannot_be_is_refused(warmup, message):
    with pytest.raises(InputError, match=message):
        nl.method(f"dividemix(warmup={warmup})")
    with pytest.raises(InputError, match=message):
        DivideMix(networks()[0], nl.loss("ce"), rate=0.2, warmup=warmup)


def test_the_weight_of_the_unlabeled_part_follows_the_noise_rate():
    assert [round(unlabeled_share(rate), 3) for rate in (0.0, 0.2, 0.26, 0.5, 0.9)] == [0, 0, 0.2, 1, 1]
    with pytest.raises(InputError, match="the method 'dividemix' needs a noise rate"):
        nl.method("dividemix")(networks()[0], nl.loss("ce"))


def test_the_warm_up_penalizes_confidence_on_demand():
    first, second = networks()
    batch = batch_of(torch.randn(B, D), torch.randn(B, D))
    values = []
    for on in (False, True):
        found = DivideMix(first, nl.loss("ce"), rate=0.4, confidence_penalty=on, second=second)
        found.prepare(setup())
        values.append(found.step(batch)[0].item())
    p = [softmax(logits_of(net, batch.inputs)) for net in (first, second)]
    assert values[1] - values[0] == pytest.approx(sum((q * np.log(q)).sum(1).mean() for q in p), rel=1e-4)


# ELR+ ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"decay_ramp": 0.0, "decay": 0.6}, {"lambda_ramp": 0.5, "alpha": 0.0}]
)
def test_three_steps_of_elr_plus_are_those_of_the_formula(options):
    given = networks()
    found = EarlyLearningPlus(given[0], nl.loss("ce"), second=given[1], **options)
    found.prepare(setup())
    found.weights = torch.rand(B)
    decay, decay_ramp = options.get("decay", 0.997), options.get("decay_ramp", 0.5)
    averages, t = [copy.deepcopy(net) for net in given], np.zeros((2, B, K))
    optimizer = torch.optim.SGD(found.networks.parameters(), 0.5)
    for step in range(1, 4):
        batch = batch_of(torch.randn(B, D))
        state = torch.get_rng_state()
        drawn = [found.mixer.draw(B) for _ in (0, 1)]
        torch.set_rng_state(state)
        d = decay * np.exp(-5 * (1 - step / 10) ** 2) if decay_ramp else min(1 - 1 / step, decay)
        for average, net in zip(averages, given, strict=True):
            for kept, latest in zip(average.parameters(), net.parameters(), strict=True):
                kept.data = d * kept.data + (1 - d) * latest.data
        rise = np.exp(-5 * (1 - step / 10) ** 2) if options.get("lambda_ramp") else 1.0
        at, x, w = batch.positions.numpy(), batch.inputs.numpy(), found.weights.numpy()
        total = 0.0
        for net, (partner, share) in enumerate(drawn):
            j, s = partner.numpy(), share.item()
            t[net][at] = 0.7 * t[net][at] + 0.3 * softmax(logits_of(averages[1 - net], x))
            p = softmax(logits_of(given[net], s * x + (1 - s) * x[j]))
            for i in range(B):
                a, b = at[i], at[j[i]]
                total -= s * w[a] * np.log(p[i, LABELS[i]]) / B
                total -= (1 - s) * w[b] * np.log(p[i, LABELS[j[i]]]) / B
                q = s * t[net][a] + (1 - s) * t[net][b]
                total += 3 * rise * (s * w[a] + (1 - s) * w[b]) * np.log(1 - (q * p[i]).sum()) / B
        value, _ = found.step(batch)
        assert value.item() == pytest.approx(total, rel=1e-4)
        np.testing.assert_allclose(found.targets, t, rtol=1e-4)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()


def test_targets_need_no_gradient_and_ramps_end_at_one():
    logits = torch.randn(3, K, requires_grad=True)
    assert not averaged_targets(torch.zeros(3, K), logits, 0.5).requires_grad
    assert sigmoid_ramp(torch.tensor(7.0), 7) == sigmoid_ramp(torch.tensor(0.0), 0) == 1


# SSR ----------------------------------------------------------------------------------------------


def test_votes_are_those_of_a_loop_over_neighbors():
    draw = np.random.default_rng(3)
    features, labels = draw.normal(size=(40, 5)), draw.choice(K, 40, p=[0.5, 0.3, 0.1, 0.1])
    found = neighbor_votes(torch.tensor(features), torch.tensor(labels), K, 7)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for n in range(40):
        near = sorted(range(40), key=lambda m: -unit[n] @ unit[m])[:7]
        votes = np.array([sum(labels[m] == k for m in near) / (labels == k).mean() for k in range(K)])
        np.testing.assert_allclose(found[n], votes / votes.sum(), rtol=1e-5)
        for theta in (0.6, 1.0):
            kept = consistent(found[n : n + 1], torch.tensor(labels[n : n + 1]), theta)
            assert bool(kept) == (votes[labels[n]] / votes.max() >= theta - 1e-9)


def test_labels_change_where_predictions_are_confident():
    probs = torch.tensor([[0.9, 0.1], [0.91, 0.09], [0.05, 0.95]])
    assert relabel(torch.tensor([1, 1, 1]), probs, 0.9).tolist() == [1, 0, 1]
    assert relabel(torch.tensor([1, 1, 1]), torch.eye(2)[[0, 0, 0]], 1.0).tolist() == [1, 1, 1]


def test_selected_examples_weigh_the_same_in_each_class_and_have_selected_partners():
    labels, selected = torch.randint(K, (50,)), torch.rand(50) < 0.6
    weights = balanced_weights(labels, selected, K + 1)  # a class without examples
    sums = [float(weights[labels == k].sum()) for k in range(K)]
    np.testing.assert_allclose(sums, float(selected.sum()) / K, rtol=1e-5)
    assert (weights[~selected] == 0).all()
    partner = partners_among(selected, torch.rand(50))
    assert sorted(partner[selected].tolist()) == selected.nonzero().flatten().tolist()
    none = torch.zeros(5, dtype=torch.bool)
    assert balanced_weights(labels[:5], none, K).tolist() == [0.0] * 5
    assert partners_among(none, torch.rand(5)).tolist() == list(range(5))


@pytest.mark.parametrize("lambda_fc", [0.0, 2.0])
def test_a_step_of_ssr_is_that_of_the_formula(lambda_fc, monkeypatch):
    torch.manual_seed(2)
    network = networks()[0]
    found = Ssr(network, nl.loss("ce"), lambda_fc=lambda_fc)
    found.prepare(setup())
    found.labels.copy_(torch.randint(K, (B,)))
    found.sampled.copy_(torch.tensor([0, 1.5, 0.5, 0, 1, 1, 0.5, 2]))
    partner = partners_among((found.sampled > 0).flip(0).repeat(2), torch.rand(2 * B))
    monkeypatch.setattr("noisylabels.methods.ssr.partners_among", lambda *given: partner)
    monkeypatch.setattr(found.mixer, "share", lambda: torch.tensor(0.7))
    views = [torch.randn(B, D) for _ in range(3)]
    batch = batch_of(*views)
    value, logits = found.step(batch)
    at, x = batch.positions.repeat(2), torch.cat(views[-2:]).numpy()
    z = logits_of(network, 0.7 * x + 0.3 * x[partner])
    np.testing.assert_allclose(logits.detach(), z[:B], rtol=1e-4, atol=1e-6)
    cost = -np.log(softmax(z))
    rows = [n for n in range(2 * B) if found.sampled[at[n]] > 0]
    total = 0.0
    for n in rows:
        for part, m in ((0.7, n), (0.3, int(partner[n]))):
            total += part * float(found.sampled[at[m]]) * cost[n, found.labels[at[m]]] / len(rows)
    if lambda_fc:
        weak, strong = (found.project(network[:2](view)) for view in views[:2])
        guess = found.predict_other(strong).detach().numpy()
        known = weak.detach().numpy()
        cosine = (guess * known).sum(1) / np.linalg.norm(guess, axis=1) / np.linalg.norm(known, axis=1)
        total -= lambda_fc * cosine.mean()
    assert value.item() == pytest.approx(total, rel=1e-4)


def test_ssr_needs_a_last_layer():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(D, K))

        def forward(self, inputs):
            return inputs @ self.weight

    found = Ssr(Odd(), nl.loss("ce"))
    with pytest.raises(InputError, match="the method ssr needs a last layer with 4 outputs"):
        found.prepare(setup())


# Features -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dividemix(rate=0.4,warmup=1)", "elr_plus", "ssr"])
def test_methods_of_several_views_train_on_features(name):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % K
    rows = torch.randn(K, D, generator=draw)[labels] * 2 + torch.randn(200, D, generator=draw)
    data = feature_set(rows.numpy(), labels, "abcd")
    noisy = nl.corrupt(labels, "symmetric:0.4", seed=0, num_classes=K)
    network = nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Linear(16, K))
    how = {"epochs": 6, "batch_size": 20, "lr": 0.05, "device": "cpu", "labels": noisy}
    history = fit(network, data, data, nl.loss("ce"), method=name, **how)
    assert history.final["test_accuracy"] > 0.75
