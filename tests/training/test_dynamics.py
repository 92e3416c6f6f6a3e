"""`Dynamics` against independent computations, and its promise to leave training as it is."""

from __future__ import annotations

import copy
import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import noisylabels as nl
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.loader import Batch
from noisylabels.methods.standard import Standard
from noisylabels.training.callbacks import Callback, Stop
from noisylabels.training.dynamics import Dynamics, read_dynamics, read_examples
from noisylabels.training.dynamics.gradients import GradientProbe
from noisylabels.training.dynamics.predictions import Predictions
from noisylabels.training.dynamics.recording import MEASURES
from noisylabels.training.dynamics.sharpness import largest_eigenvalue, loss_slice
from noisylabels.training.dynamics.sums import Sums
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater

CPU = torch.device("cpu")
K, B = 3, 12


@pytest.fixture
def noisy_sets(sets):
    train, test = sets(n=40, K=K)
    return train, test, nl.corrupt(train.labels, "symmetric:0.4@exact", seed=1)


def fit(model, noisy_sets, callbacks=(), loss="ce", **settings):
    train, test, labels = noisy_sets
    how = {"epochs": 3, "lr": 0.1, "batch_size": 8, "seed": 5} | settings
    return nl.fit(model, train, test, nl.loss(loss), labels=labels, callbacks=callbacks, **how)


# It leaves training as it is -----------------------------------------------------------------------

SETTINGS = [
    {},
    {"momentum": 0.0, "clip": 0.05, "l1": 0.01},
    {"optimizer": "adamw", "ema": 0.9},
    {"precision": "bfloat16", "validation": 0.2},
    {"augment": "crop:1+flip", "precision": "float16"},
    {"frozen_epochs": 2, "body_lr": 0.5},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda found: ",".join(found) or "default")
def test_weights_and_history_are_those_of_an_unrecorded_run(model, noisy_sets, settings):
    plain, recorded = model(dropout=0.2), model(dropout=0.2)
    one = fit(plain, noisy_sets, **settings)
    two = fit(recorded, noisy_sets, [Dynamics(stride=2, sharpness_epochs=2)], **settings)
    for a, b in zip(plain.state_dict().values(), recorded.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(one.rows, two.rows, strict=True):
        assert {k: v for k, v in a.items() if "seconds" not in k}.items() <= b.items()
    assert any(row["sharpness"] is not None for row in two.rows)


# Gradients against formulas ------------------------------------------------------------------------


@functools.cache
def measured(precision="float32", momentum=0.0):
    """Measure one update of a linear softmax classifier, whose gradients are known in closed form."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(B, 1, 2, 2, generator=draw)
    given, true = (torch.randint(K, (B,), generator=draw) for _ in range(2))
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, K))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(K, 4, generator=draw))
        network[1].bias.zero_()
    before = copy.deepcopy(network)
    method = Standard(network, nl.loss("ce"))
    method.check_logits(K)
    updater = Updater(method, Settings(lr=0.5, momentum=momentum, weight_decay=0.0, precision=precision), CPU)
    sums = Sums()
    updater.probes = [GradientProbe(network, given != true, sums)]
    updater(Batch(x, given, torch.arange(B)), 0.5)
    return before, x.flatten(1), given, given != true, sums


def formula():
    """Return the gradient at the logits, (p - onehot) / B, and the part of each example at the weights."""
    before, x, given, noisy, _ = measured()
    with torch.no_grad():
        p = before[1](x).softmax(1)
    at_logits = (p - nn.functional.one_hot(given, K)) / B
    at_weights = torch.cat([at_logits[:, :, None] * x[:, None, :], at_logits[:, :, None]], 2).flatten(1)
    return p, at_logits, at_weights, noisy


def test_the_gradient_at_the_logits():
    p, at_logits, _, noisy = formula()
    sums = measured()[-1]
    size = at_logits.norm(dim=1)
    assert sums.mean("logit_gradient") == pytest.approx(float(at_logits.norm()), rel=1e-5)
    assert sums.mean("logit_share", "noisy") == pytest.approx(float(size[noisy].sum() / size.sum()), rel=1e-5)
    given = measured()[2]
    own = p.gather(1, given[:, None])[:, 0]
    for part, mask in (("noisy", noisy), ("clean", ~noisy)):
        for place in range(10):
            inside = mask & (own >= place / 10) & (own < (place + 1) / 10)
            key = f"{place / 10:.1f}"
            assert sums.mean("bin_examples", part, key) == int(inside.sum())
            if inside.any():  # of the loss of one example
                mean = float(B * size[inside].mean())
                assert sums.mean("bin_logit_gradient", part, key) == pytest.approx(mean, rel=1e-5)


def test_the_gradient_at_the_weights_and_its_parts():
    _, _, each, noisy = formula()
    sums = measured()[-1]
    a, b = each[noisy].sum(0), each[~noisy].sum(0)
    assert sums.mean("weight_gradient") == pytest.approx(float((a + b).norm()), rel=1e-5)
    assert sums.mean("weight_gradient", "noisy") == pytest.approx(float(a.norm()), rel=1e-5)
    assert sums.mean("weight_gradient", "clean") == pytest.approx(float(b.norm()), rel=1e-5)
    assert sums.mean("cosine", "noisy") == pytest.approx(float(a @ b / (a.norm() * b.norm())), rel=1e-4)
    share = float(a.norm() / (a.norm() + b.norm()))
    assert sums.mean("weight_share", "noisy") == pytest.approx(share, rel=1e-5)


def test_the_relative_step_is_that_of_gradient_descent():
    before, *_ = measured()
    _, _, each, _ = formula()
    step = 0.5 * each.sum(0).view(K, 5)
    sums = measured()[-1]
    weight = before[1].weight.detach()
    found = sums.mean("layer_step", "all", "1.weight")
    assert found == pytest.approx(float(step[:, :4].norm() / weight.norm()), rel=1e-4)
    whole = torch.cat([weight, before[1].bias.detach()[:, None]], 1)
    assert sums.mean("relative_step") == pytest.approx(float(step.norm() / whole.norm()), rel=1e-4)


def test_the_pull_at_a_class_by_its_own_and_by_other_examples():
    _, at_logits, _, _ = formula()
    given, sums = measured()[2], measured()[-1]
    for k in range(K):
        own, others = (float(-at_logits[mask, k].sum()) for mask in (given == k, given != k))
        assert sums.mean("pull", "own", str(k)) == pytest.approx(own, abs=1e-6)
        assert sums.mean("pull", "others", str(k)) == pytest.approx(others, abs=1e-6)
        assert own >= 0 >= others


def test_the_parts_hold_no_gradient_that_comes_from_elsewhere():
    """A second view and a penalty reach the weights beside the logits of the step."""
    before, x, given, noisy, _ = measured()
    _, _, each, _ = formula()
    sums, network = Sums(), copy.deepcopy(before)
    probe = GradientProbe(network, noisy, sums)
    logits = network(x)
    value = nn.functional.cross_entropy(logits, given)
    value = value + 2 * network(-x).square().mean() + 3 * network[1].weight.square().sum()
    probe.before_backward(value, logits, Batch(x, given, torch.arange(B)), 1.0)
    value.backward()
    probe.after_backward(1.0)
    a, b = each[noisy].sum(0), each[~noisy].sum(0)
    assert sums.mean("weight_gradient", "noisy") == pytest.approx(float(a.norm()), rel=1e-4)
    assert sums.mean("weight_gradient", "clean") == pytest.approx(float(b.norm()), rel=1e-4)
    assert sums.mean("cosine", "noisy") == pytest.approx(float(a @ b / (a.norm() * b.norm())), rel=1e-4)
    assert sums.mean("weight_gradient") > 2 * float((a + b).norm())


def test_frozen_layers_are_measured_once_they_are_trained(model, noisy_sets):
    dynamics = Dynamics(stride=1)
    fit(model(), noisy_sets, [dynamics], frozen_epochs=1, epochs=2)
    layers = [{each.key for each in dynamics.entries() if each[:2] == (n, "layer_step")} for n in (1, 2)]
    assert 0 < len(layers[0]) < len(layers[1])
    assert layers[0] < layers[1]


def test_the_bins_at_the_weights_take_turns_and_cover_the_gradient():
    before, x, given, noisy, _ = measured()
    _, _, each, _ = formula()
    p = formula()[0].gather(1, given[:, None])[:, 0]
    sums = Sums()
    network = copy.deepcopy(before)
    probe = GradientProbe(network, noisy, sums)
    for _ in range(20):  # the same step again and again
        logits = network(x)
        value = nn.functional.cross_entropy(logits, given)
        probe.before_backward(value, logits, Batch(x, given, torch.arange(B)), 1.0)
        network.zero_grad()
        value.backward()
        probe.after_backward(1.0)
    seen = 0
    for part, mask in (("noisy", noisy), ("clean", ~noisy)):
        for place in range(10):
            inside = mask & ((p * 10).long() == place)
            found = sums.mean("bin_weight_gradient", part, f"{place / 10:.1f}")
            assert (found is None) == (not inside.any())
            if found is not None:
                assert found == pytest.approx(float(each[inside].sum(0).norm()), rel=1e-4)
                seen += 1
    assert seen > 4


def test_float16_is_measured_without_its_scale():
    full, half = measured()[-1], measured("float16")[-1]
    for measure, part in (
        ("weight_gradient", "all"),
        ("weight_gradient", "noisy"),
        ("logit_gradient", "all"),
    ):
        assert half.mean(measure, part) == pytest.approx(full.mean(measure, part), rel=0.02)


# Sharpness -----------------------------------------------------------------------------------------


def test_sharpness_is_the_largest_eigenvalue_of_the_hessian(model, noisy_sets):
    train, test, labels = noisy_sets
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    dynamics = Dynamics(sharpness_epochs=2)
    history = nl.fit(
        network, train, test, nl.loss("mae"), labels=labels, callbacks=[dynamics], epochs=2, lr=0.5
    )
    x = torch.cat([batch.inputs for batch in dynamics.start.batches(dynamics.sample)]).flatten(1)
    at = dynamics.sample
    for column, target in (("sharpness", labels.given_codes), ("sharpness_true", labels.true_codes)):
        y = torch.from_numpy(target)[at]

        def mae(w, y=y):
            return (2 - 2 * (x @ w.view(3, 16).T).softmax(1).gather(1, y[:, None])).mean()

        hessian = torch.autograd.functional.hessian(mae, network[1].weight.detach().flatten())
        values = torch.linalg.eigvalsh(hessian)
        largest = float(values[values.abs().argmax()])
        assert history.final[column] == pytest.approx(largest, rel=0.05)
        assert history.rows[0][column] is None


def test_a_negative_eigenvalue_and_unused_parameters():
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    found = largest_eigenvalue(
        lambda: w[0] ** 2 - 4 * w[1] ** 2 + w[2], [w, unused], torch.Generator().manual_seed(0)
    )
    assert found == pytest.approx(-8.0, rel=0.02)
    assert largest_eigenvalue(lambda: w.sum(), [w], torch.Generator()) == 0.0


def test_a_slice_moves_each_filter_by_its_norm_and_puts_the_weights_back(model):
    network = model()
    before = {name: each.detach().clone() for name, each in network.named_parameters()}

    def moved():
        pairs = [(each.detach() - before[name], before[name]) for name, each in network.named_parameters()]
        matrices = [(step.flatten(1), old.flatten(1)) for step, old in pairs if old.ndim > 1]
        assert not any(step.any() for step, old in pairs if old.ndim == 1)
        off = [(step.norm(dim=1) - old.norm(dim=1)).abs().max() for step, old in matrices]
        return [float(max(off)), float(sum(step.norm() for step, _ in matrices))]

    found = loss_slice(moved, list(network.parameters()), torch.Generator().manual_seed(0), points=3)
    assert [place for place, _ in found] == [-1, 0, 1]
    assert found[0][1][0] < 1e-5
    assert found[2][1][0] < 1e-5
    assert found[1][1][1] == 0
    assert all(torch.equal(each, before[name]) for name, each in network.named_parameters())


# Predictions ---------------------------------------------------------------------------------------


def test_learning_and_forgetting_epochs():
    given, true = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    #            epoch:  1  2  3  4
    predicted = [[0, 0, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]]  # per example
    found = Predictions(given, true, torch.arange(3))
    for epoch in range(1, 5):
        logits = 5.0 * nn.functional.one_hot(torch.tensor([each[epoch - 1] for each in predicted]), 2)
        found.add(epoch, torch.arange(3), logits)
        found.flush(epoch)
    table = {name: values.tolist() for name, values in found.examples().items()}
    assert table["noisy"] == [False, True, False]
    assert table["learned"] == [1, 3, 0]
    assert table["kept"] == [4, 0, 0]
    assert table["forgotten"] == [1, 1, 0]
    assert table["true_learned"] == [1, 1, 0]
    assert table["true_forgotten"] == [1, 1, 0]
    p = float(torch.tensor([5.0, 0.0]).softmax(0)[0])
    assert table["margin"] == pytest.approx([2 * p - 1, 1 - 2 * p, 1 - 2 * p])
    sums = Sums()
    found.summarize(sums)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert sums.mean("entropy", "clean") == pytest.approx(entropy, rel=1e-4)
    assert sums.mean("margin_share", "clean", "0.9") == 0.5
    assert sums.mean("margin_share", "noisy", "-1.0") == 1.0
    assert sums.mean("learned_share", "clean") == 0.5


def test_every_measure_is_described_in_the_code_and_on_the_page(model, noisy_sets):
    dynamics = Dynamics(stride=1, sharpness_epochs=1)
    fit(model(), noisy_sets, [dynamics])
    assert {each.measure for each in dynamics.entries()} <= MEASURES.keys()
    page = (Path(__file__).parents[2] / "docs/record-dynamics.md").read_text(encoding="utf-8")
    for name, text in MEASURES.items():
        assert f"| `{name}` | {text} |" in page


# Resuming ------------------------------------------------------------------------------------------


class StopAt(Callback):
    """Pauses after so many steps, once."""

    def __init__(self, steps):
        self.left = steps

    def on_step(self, step):
        self.left -= 1

    def should_stop(self, history):
        return Stop.PAUSE if self.left == 0 else None


@pytest.mark.parametrize("steps", [3, 5, 8])
def test_a_resumed_recording_equals_an_uninterrupted_one(model, noisy_sets, tmp_path, steps):
    whole = Dynamics(stride=2, sharpness_epochs=2)
    history = fit(model(), noisy_sets, [whole], folder=tmp_path / "whole")
    whole.write(tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(
            model(),
            noisy_sets,
            [Dynamics(stride=2, sharpness_epochs=2), StopAt(steps)],
            folder=tmp_path / "cut",
        )
    again = Dynamics(stride=2, sharpness_epochs=2)
    resumed = fit(model(), noisy_sets, [again], folder=tmp_path / "cut")
    again.write(tmp_path / "cut")
    for one, two in zip(history.rows, resumed.rows, strict=True):
        assert all(two[name] == value for name, value in one.items() if "seconds" not in name)
    for read in (read_dynamics, read_examples):
        one, two = read(tmp_path / "whole"), read(tmp_path / "cut")
        assert one.keys() == two.keys()
        for name in one:
            assert np.array_equal(one[name], two[name]), name


def test_a_recording_that_begins_late_says_so(model, noisy_sets, tmp_path):
    with pytest.raises(Interrupted):
        fit(model(), noisy_sets, [StopAt(7)], folder=tmp_path)
    late = Dynamics(stride=1)
    with pytest.warns(UserWarning, match="recorded from epoch 2 on"):
        fit(model(), noisy_sets, [late], folder=tmp_path)
    assert {entry.epoch for entry in late.entries()} == {2, 3}


# What cannot be measured ---------------------------------------------------------------------------


def test_unknown_true_labels_split_nothing(model, sets):
    train, test = sets(n=40, K=K)
    dynamics = Dynamics(stride=1)
    history = nl.fit(model(), train, test, nl.loss("ce"), callbacks=[dynamics], epochs=1)
    assert history.final["noisy_logit_share"] is None
    assert history.final["gradient_at_weights"] > 0
    assert {entry.part for entry in dynamics.entries()} == {"all", "own", "others"}


class Detached(nl.Method):
    """A method whose logits are not those of its loss."""

    def __init__(self, model, loss):
        super().__init__([model], loss)

    def step(self, batch):
        logits = self.logits(batch.inputs)
        return self.loss(logits, batch.target), logits.detach()


def test_a_method_whose_loss_does_not_depend_on_its_logits_says_so(model, sets):
    train, test = sets(n=40, K=K)
    dynamics = Dynamics(stride=1)
    with pytest.warns(UserWarning, match="gradients are not recorded"):
        history = nl.fit(model(), train, test, nl.loss("ce"), method=Detached, callbacks=[dynamics], epochs=1)
    assert history.final["gradient_at_logits"] is None
    assert any(entry.measure == "entropy" for entry in dynamics.entries())


def test_the_default_number_of_sharpness_measurements_takes_three_per_cent(model, sets):
    train, _ = sets(n=40, K=K)
    found = {}
    for epochs in (1, 4000):
        dynamics = Dynamics()
        method = Standard(model(), nl.loss("ce"))
        start = _start(method, train, epochs)
        dynamics.on_start(start)
        found[epochs] = dynamics.sharpness_epochs
    assert found[1] == 0
    assert 0 < found[4000] < 4000


def _start(method, train, epochs):
    from noisylabels.training.callbacks import RunStart

    labels = train.labels
    return RunStart(method, labels, None, torch.arange(len(labels)), K, epochs, 5, 0, lambda at: at, print)


def test_probes_are_asked_for_every_step_of_the_run(model, noisy_sets):
    asked = []

    class Asked(Callback):
        def probe(self, step):
            asked.append(step)

    fit(model(), noisy_sets, [Asked()], epochs=2)
    assert asked == list(range(10))


def test_bad_parameters_are_named():
    for arguments, words in itertools.product([{"stride": 0}], ["stride is 0"]):
        with pytest.raises(nl.InputError, match=words):
            Dynamics(**arguments)
    with pytest.raises(nl.InputError, match="sharpness_epochs is -1"):
        Dynamics(sharpness_epochs=-1)
