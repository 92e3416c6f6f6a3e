"""Selection: agreement with the trend, mixtures of losses, and `nl.Selector`, against NumPy."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from torch import nn

import noisylabels as nl
from methods.test_arithmetic import Fixed
from methods.test_contract import RUN, setup
from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.methods.agreement import Agreement, agrees, learned_classes, mean_of_selected, next_trend
from noisylabels.methods.fit import fit
from noisylabels.methods.mixture import clean_probability, noise_rate_of
from noisylabels.methods.selector import SELECTORS

K, N = 4, 30


def softmax(z: np.ndarray) -> np.ndarray:
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def cross_entropy(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -np.log(softmax(z)[np.arange(len(y)), y])


# Agreement ----------------------------------------------------------------------------------------


def test_the_trend_is_the_moving_average_and_selects_by_its_largest_class():
    draw = np.random.default_rng(0)
    trend, expected = torch.zeros(N, K, dtype=torch.float64), np.zeros((N, K))
    for _ in range(5):
        z = 3 * draw.normal(size=(N, K))
        trend = next_trend(trend, torch.tensor(z), 0.8)
        expected = 0.8 * expected + 0.2 * softmax(z)
    np.testing.assert_allclose(trend, expected, rtol=1e-12)
    np.testing.assert_allclose(trend.sum(1), 1 - 0.8**5)
    y = draw.integers(0, K, N)
    assert agrees(trend, torch.tensor(y)).tolist() == [
        int(np.argmax(t)) == k for t, k in zip(expected, y, strict=True)
    ]


def learned(trend: np.ndarray, labels: np.ndarray) -> list[bool]:
    found = []
    for k in range(trend.shape[1]):
        of_class = [int(np.argmax(t)) == k for t, y in zip(trend, labels, strict=True) if y == k]
        found.append(not of_class or np.mean(of_class) >= 1 / (2 * trend.shape[1]))
    return found


def test_learned_classes_against_counts():
    draw = np.random.default_rng(5)
    seen = set()
    for _ in range(40):
        trend, labels = draw.random((N, K)), draw.integers(0, K - 1, N)
        trend[:, draw.integers(K)] -= draw.random()
        found = learned_classes(torch.tensor(trend), torch.tensor(labels)).tolist()
        assert found == learned(trend, labels)
        seen |= set(found)
    assert seen == {True, False}


def test_averages_of_unseen_examples_agree_with_no_label():
    """Not with class 0, the first of equal averages."""
    found = learned_classes(torch.zeros(4, 3), torch.tensor([0, 0, 1, 2]))
    assert found.tolist() == [False, False, False]


def test_every_example_is_selected_in_the_first_epoch_without_warm_up():
    selector = nl.Selector("agreement(warmup=0)", num_examples=N)
    z, y = torch.randn(N, K), torch.arange(N) % K
    at = torch.arange(N)
    assert selector(at[:20], z[:20], y[:20]).tolist() == [1] * 20
    assert selector(at[20:], z[20:], y[20:]).tolist() == [1] * (N - 20)
    assert 0 < selector(at, z, y).sum() < N


def test_a_class_that_is_not_predicted_is_learned_all_the_same(sets, model, monkeypatch):
    """From a network that predicts class 0 alone, with the rule and without it."""
    train, test = sets(n=90)
    how = RUN | {"epochs": 25, "lr": 0.05, "augment": "none"}
    ends = []
    for rule in (True, False):
        if not rule:
            everything = lambda trend, labels: torch.ones(3, dtype=torch.bool)  # noqa: E731
            monkeypatch.setattr("noisylabels.methods.agreement.learned_classes", everything)
        network = model(norm=False)
        with torch.no_grad():
            network[-1].bias += torch.tensor([6.0, 0.0, 0.0])
        ends.append(
            fit(network, train, test, nl.loss("ce"), method="agreement(warmup=0,beta=0.5)", **how).final
        )
    assert [end["dead_classes"] for end in ends] == [[], [1, 2]]
    assert ends[0]["test_accuracy"] > ends[1]["test_accuracy"] + 0.2


def test_the_mean_of_selected_values():
    draw = np.random.default_rng(1)
    values, weights, chosen = draw.random(N), draw.random(N), draw.random(N) < 0.4
    found = mean_of_selected(torch.tensor(values), torch.tensor(chosen))
    assert found.item() == pytest.approx(values[chosen].mean())
    found = mean_of_selected(torch.tensor(values), torch.tensor(chosen), torch.tensor(weights))
    expected = (weights * values)[chosen].sum() / weights[chosen].sum() * weights.mean()
    assert found.item() == pytest.approx(expected)
    none = torch.zeros(N, dtype=torch.bool)
    infinite = torch.full((N,), torch.inf, requires_grad=True)
    value = mean_of_selected(infinite, none)
    value.backward()
    assert value.item() == 0
    assert infinite.grad.tolist() == [0] * N


def test_a_step_learns_from_the_selected_examples_alone():
    torch.manual_seed(0)
    z, y = 2 * torch.randn(N, K), torch.randint(K, (N,))
    found = Agreement(Fixed(z), nl.loss("ce"), warmup=2)
    found.prepare(setup(N, K))
    positions = torch.arange(N)
    batch = Batch(positions.float()[:, None], y, positions)
    expected = cross_entropy(z.double().numpy(), y.numpy())
    agreeing = (z.argmax(1) == y) | ~torch.tensor(learned(z.softmax(1).numpy(), y.numpy()))[y]
    assert 0 < agreeing.sum() < N
    for epoch, kept in ((1, torch.ones(N, dtype=torch.bool)), (2, agreeing)):
        found.begin_epoch(epoch)
        found.networks[0].table.grad = None
        value, _ = found.step(batch)
        value.backward()
        assert value.item() == pytest.approx(expected[kept.numpy()].mean(), rel=1e-5)
        assert (found.networks[0].table.grad.abs().sum(1) > 0).tolist() == kept.tolist()
        assert found.columns()["selected"] == pytest.approx(kept.double().mean().item())


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize(
    ("options", "per_class"),
    [({"ignore_index": 0}, [0, 1, 1, 1]), ({"weight": torch.tensor([0, 0.5, 1, 9])}, [0, 0.5, 1, 9])],
    ids=["ignored", "weights"],
)
def test_the_mean_of_agreeing_examples_is_that_of_labels_that_count(options, per_class, weighed):
    torch.manual_seed(0)
    z, y = 2 * torch.randn(N, K), torch.randint(K, (N,))
    found = Agreement(Fixed(z), nl.loss("ce", **options), warmup=0)
    w = torch.rand(N) if weighed else torch.ones(N)
    found.weights = w if weighed else None
    found.prepare(setup(N, K))
    positions = torch.arange(N)
    value, _ = found.step(Batch(positions.float()[:, None], y, positions))  # all are selected at first
    c, w = np.array(per_class, dtype=float)[y], w.double().numpy()
    costs = w * c * cross_entropy(z.double().numpy(), y.numpy())
    assert value.item() == pytest.approx(costs.sum() / c.sum(), rel=1e-5)
    found.begin_epoch(0)
    found.selecting.fill_(True)
    value, _ = found.step(Batch(positions.float()[:, None], y, positions))
    kept = (z.argmax(1) == y).numpy() & (c > 0)
    assert 0 < kept.sum() < (c > 0).sum()
    expected = costs[kept].sum() / w[kept].sum() * w[c > 0].sum() / c.sum()
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_within_the_warmup_it_is_standard_training(sets, model):
    train, test = sets()
    one, other = model(), model()
    fit(one, train, test, nl.loss("ce"), method="agreement(warmup=3)", **RUN)
    fit(other, train, test, nl.loss("ce"), **RUN)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


# Mixture of losses --------------------------------------------------------------------------------


def test_the_posterior_of_the_lower_part_against_scikit_learn():
    from sklearn.mixture import GaussianMixture

    draw = np.random.default_rng(2)
    losses = np.concatenate([draw.normal(0.4, 0.15, 600), draw.normal(3, 0.6, 400)]).clip(0)
    found = clean_probability(torch.tensor(losses)).numpy()
    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    theirs = GaussianMixture(2, max_iter=200, tol=1e-9, reg_covar=1e-3, random_state=0).fit(scaled[:, None])
    low = theirs.means_[:, 0].argmin()
    at = np.maximum(scaled, theirs.means_[low, 0])
    np.testing.assert_allclose(found, theirs.predict_proba(at[:, None])[:, low], atol=0.02)
    assert noise_rate_of(torch.tensor(losses)) == pytest.approx(0.4, abs=0.01)


def test_losses_that_are_equal_are_clean():
    assert clean_probability(torch.full((5,), 2.0)).tolist() == [1.0] * 5
    assert noise_rate_of(torch.zeros(3)) == 0


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
def test_the_probability_falls_with_the_loss(rate):
    draw = np.random.default_rng(3)
    losses = np.where(draw.random(500) < rate, draw.gamma(9, 0.4, 500), draw.gamma(1, 0.2, 500))
    order = np.argsort(losses)
    found = clean_probability(torch.tensor(losses[order])).numpy()
    assert (np.diff(found) <= 1e-9).all()
    assert noise_rate_of(torch.tensor(losses)) == pytest.approx(rate, abs=0.06)


# Selectors ----------------------------------------------------------------------------------------


def batches(seed: int, epochs: int, size: int = 7):
    """Yield positions, logits and target of each batch, examples in another order in each epoch."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(K, (N,), generator=draw)
    for _ in range(epochs):
        for positions in torch.randperm(N, generator=draw).split(size):
            yield positions, 2 * torch.randn(len(positions), K, generator=draw), y[positions]


def test_small_losses_of_each_batch_are_selected_by_the_schedule():
    selector = nl.Selector("small_loss(rate=0.4,num_gradual=3)", num_examples=N)
    seen = 0
    for positions, z, y in batches(0, 5):
        costs = cross_entropy(z.double().numpy(), y.numpy())
        share = 0.4 * min(1, (seen // N) / 2)
        keep = max(1, int((1 - share) * len(y) + 1e-6))
        expected = np.isin(np.arange(len(y)), np.argsort(costs, kind="stable")[:keep]).astype(float)
        assert selector(positions, z, y).tolist() == expected.tolist()
        seen += len(y)
    assert selector.rate == 0.4


def test_losses_and_logits_select_alike():
    one, other = (nl.Selector("small_loss(rate=0.5)", num_examples=N) for _ in range(2))
    for positions, z, y in batches(1, 4):
        costs = nn.functional.cross_entropy(z, y, reduction="none")
        assert torch.equal(one(positions, z, y), other(positions, costs))


def test_the_rate_is_estimated_from_the_last_loss_of_each_example():
    draw = np.random.default_rng(0)
    n = 400
    wrong = draw.random(n) < 0.3
    selector = nl.Selector("small_loss(num_gradual=0)", num_examples=n)
    weights = None
    for epoch in range(3):  # the first losses, which tell nothing, are forgotten
        losses = np.where(wrong & (epoch > 0), draw.normal(5, 0.5, n), draw.gamma(1, 0.1 + (epoch == 0), n))
        weights = selector(torch.arange(n), torch.tensor(losses))
        assert selector.rate == (pytest.approx(0.3, abs=0.05) if epoch else pytest.approx(0.3, abs=0.4))
    assert weights.sum() == pytest.approx(n * 0.7, abs=n * 0.05)
    assert (weights[torch.tensor(wrong)] == 0).double().mean() > 0.85


def test_agreement_is_that_of_the_method():
    selector = nl.Selector("agreement(beta=0.7,warmup=2)", num_examples=N)
    trend, seen, labels, epoch, of_class = np.zeros((N, K)), 0, np.full(N, -1), -1, np.ones(K, bool)
    for positions, z, y in batches(2, 5):
        at = positions.numpy()
        if seen // N > epoch:
            epoch = seen // N
            of_class = np.array(learned(trend[labels >= 0], labels[labels >= 0]))
        labels[at] = y
        trend[at] = 0.7 * trend[at] + 0.3 * softmax(z.double().numpy())
        expected = (trend[at].argmax(1) == y.numpy()) | (seen < 2 * N) | ~of_class[y]
        assert selector(positions, z, y).tolist() == expected.astype(float).tolist()
        seen += len(y)


@pytest.mark.parametrize("expression", ["small_loss", "small_loss(rate=0.3)", "agreement(warmup=1)"])
def test_a_restored_selector_goes_on_as_the_first_one(expression, tmp_path):
    whole, first = (nl.Selector(expression, num_examples=N) for _ in range(2))
    for k, (positions, z, y) in enumerate(batches(3, 6)):
        if k % 4 == 2:  # through a file, before and after an epoch's end
            torch.save(first.state_dict(), tmp_path / "selector.pt")
            first = nl.Selector(expression, num_examples=N)
            first.load_state_dict(torch.load(tmp_path / "selector.pt", weights_only=True))
        assert torch.equal(whole(positions, z, y), first(positions, z, y))
        assert whole.rate == first.rate


@pytest.mark.parametrize("expression", ["small_loss", "small_loss(rate=0.3)", "agreement(warmup=1)"])
def test_an_epoch_that_is_set_is_that_of_the_loop(expression):
    """Whatever part of the examples a selector sees, as in one of several processes."""
    whole, told, part = (nl.Selector(expression, num_examples=N) for _ in range(3))
    per_epoch = -(-N // 7)
    for k, (positions, z, y) in enumerate(batches(3, 12)):
        if k % per_epoch == 0:
            told.set_epoch(k // per_epoch)
            part.set_epoch(k // per_epoch)
        assert torch.equal(whole(positions, z, y), told(positions, z, y))
        if k % 4 == 0:
            part(positions, z, y)
        state = nl.Selector(expression, num_examples=N)
        state.load_state_dict(part.state_dict())
        assert state._rule.epoch == part._rule.epoch == k // per_epoch


def test_a_state_of_before_epochs_could_be_set_counts_examples():
    first, second = (nl.Selector("small_loss(rate=0.4)", num_examples=N) for _ in range(2))
    first(torch.arange(N), torch.rand(N))
    state = first.state_dict()
    del state["epoch"]
    second.load_state_dict(state)
    assert second._rule.epoch == 1
    for bad in (-1, 0.5, True):
        with pytest.raises(InputError, match="the epoch is"):
            second.set_epoch(bad)
    second.set_epoch(np.int64(4))
    assert second._rule.epoch == 4


@pytest.mark.parametrize("expression", list(SELECTORS))
def test_a_selector_changes_nothing_else(expression):
    torch.manual_seed(0)
    state, grad = torch.get_rng_state(), torch.is_grad_enabled()
    selector = nl.Selector(expression, num_examples=N)
    for positions, z, y in batches(4, 3):
        z.requires_grad_()
        before = z.detach().clone()
        weights = selector(positions, z, y)
        assert not weights.requires_grad
        assert weights.dtype == torch.float32
        assert torch.equal(z.detach(), before)
        assert set(weights.tolist()) <= {0.0, 1.0}
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() == grad


@pytest.mark.parametrize("expression", list(SELECTORS))
def test_sizes_and_types_of_batches(expression):
    selector = nl.Selector(expression, num_examples=N)
    for count, dtype in ((1, torch.float32), (0, torch.float32), (5, torch.bfloat16), (N, torch.float64)):
        z = torch.randn(count, K).to(dtype)
        weights = selector(torch.arange(count), z, torch.zeros(count, dtype=torch.int64))
        assert weights.shape == (count,)


def test_selection_helps_on_digits():
    """Both selectors against all examples, with 40 % noise, in a loop of one's own; means of three seeds."""
    train, test = nl.load("digits")
    X = train.images / 255
    found = dict.fromkeys((None, "small_loss", "agreement"), 0.0)
    for expression, seed in itertools.product(found, range(3)):
        noisy = nl.corrupt(train.labels, "symmetric:0.4", num_classes=10, seed=seed)
        y = torch.as_tensor(noisy.given)
        selector = None if expression is None else nl.Selector(expression, num_examples=len(y))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            for _ in range(30):
                for batch in torch.randperm(len(y)).split(64):
                    z = model(X[batch])
                    losses = nn.functional.cross_entropy(z, y[batch], reduction="none")
                    weights = torch.ones_like(losses) if selector is None else selector(batch, z, y[batch])
                    optimizer.zero_grad()
                    ((weights * losses).sum() / weights.sum().clamp_min(1)).backward()
                    optimizer.step()
        with torch.inference_mode():
            right = model(test.images / 255).argmax(1) == test.labels
        found[expression] += right.double().mean().item() / 3
    assert min(found["small_loss"], found["agreement"]) > found[None] + 0.04, found


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("smal_loss", "unknown selector 'smal_loss'; did you mean 'small_loss'?"),
        ("small_loss(rat=0.2)", "the selector 'small_loss' has no parameter 'rat'; did you mean 'rate'?"),
        ("small_loss(rate=1)", "the parameter rate of the selector 'small_loss' is 1, expected"),
        ("small_loss(rate=oracle)", "the parameter rate of the selector 'small_loss' is 'oracle'"),
        ("agreement(warmup=-1)", "the parameter warmup of the selector 'agreement' is -1"),
        ("agreement@cifar10", "the selector 'agreement' has no preset 'cifar10'"),
        ("", "the selector '' cannot be parsed"),
    ],
)
def test_a_wrong_expression(expression, words):
    with pytest.raises(InputError, match=re.escape(words)):
        nl.Selector(expression, num_examples=N)


def call(selector: str, positions, values, target=None):
    return nl.Selector(selector, num_examples=N)(positions, values, target)


def test_wrong_arguments():
    three, z, y = torch.arange(3), torch.randn(3, K), torch.zeros(3, dtype=torch.int64)
    for words, given in [
        ("needs logits (B, K) and the target, and got losses (B,)", ("agreement", three, z[:, 0])),
        ("got logits without a target", ("small_loss", three, z)),
        ("got losses and a target", ("small_loss", three, z[:, 0], y)),
        ("the values have shape (3, 4, 1)", ("small_loss", three, z[:, :, None], y)),
        ("positions reach from 0 to 30, expected 0 to 29", ("small_loss", torch.tensor([0, 3, 30]), z, y)),
        ("positions reach from -1 to 3", ("small_loss", torch.tensor([0, 3, -1]), z, y)),
        ("positions has shape (2,)", ("small_loss", three[:2], z, y)),
        ("type torch.float32, expected (3,) int64", ("small_loss", three.float(), z, y)),
        ("target has shape (2,)", ("small_loss", three, z, y[:2])),
        ("the target reaches from -100 to 0", ("small_loss", three, z, torch.tensor([0, -100, 0]))),
        ("from 0 to 4, expected 0 to 3", ("agreement", three, z, torch.tensor([0, 4, 1]))),
    ]:
        with pytest.raises(InputError, match=re.escape(words)):
            call(*given)
    with pytest.raises(InputError, match="num_examples"):
        nl.Selector("agreement", num_examples=0)
    selector = nl.Selector("agreement", num_examples=N)
    selector(three, z, y)
    with pytest.raises(InputError, match="the logits have 5 classes, expected 4"):
        selector(three, torch.randn(3, 5), y)


def test_the_state_of_another_selector_is_refused():
    state = nl.Selector("agreement", num_examples=N).state_dict()
    with pytest.raises(InputError, match="the state is that of the selector 'agreement"):
        nl.Selector("small_loss", num_examples=N).load_state_dict(state)
    with pytest.raises(InputError, match="the state is that of 30 examples, expected 20"):
        nl.Selector("agreement", num_examples=20).load_state_dict(state)
