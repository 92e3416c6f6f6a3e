"""Progressive early stopping: the parts of a network, their epochs, the selection and the loss, by counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import noisylabels as nl
from methods.test_arithmetic import B, Fixed, K
from methods.test_contract import CPU, RUN
from noisylabels.core.checks import InputError
from noisylabels.data.loader import Batch
from noisylabels.methods.early_stop import EarlyStop, class_factors, layers_of, mean_by, num_later
from noisylabels.methods.expression import method
from noisylabels.methods.fit import fit
from noisylabels.training.method import Method, Setup

# Parts --------------------------------------------------------------------------------------------


def test_the_later_layers_of_a_residual_network_are_those_of_the_authors():
    network = nl.build_model("resnet18", channels=3, image_size=(32, 32), num_classes=10, width=0.125)
    layers = layers_of(network)
    later = [name for layer in layers[-num_later(len(layers), 0.25) :] for name, _ in layer]
    last_stage = [name for name, module in network.named_modules() if list(module.parameters(recurse=False))]
    assert len(layers) == 21
    assert later == last_stage[-11:]  # five convolutions with their normalizations, and the linear layer
    assert len({name.split(".")[0] for name in later[:-1]}) == 1
    assert network.get_submodule(later[-1]).out_features == 10


def test_each_parameter_is_in_one_layer():
    for name in ("small-cnn", "preact-resnet18", "mlp"):
        network = nl.build_model(name, channels=1, image_size=(8, 8), num_classes=3, width=0.125)
        found = [
            id(each) for layer in layers_of(network) for _, module in layer for each in module.parameters()
        ]
        assert sorted(found) == sorted(map(id, network.parameters())), name


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


class Steps(nl.Callback):
    """Notes which parameters each epoch has changed by its last step."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.seen, self.changed = network, weights(network), []

    def on_epoch_end(self, row):
        now = weights(self.network)
        self.changed.append({name for name in now if not torch.equal(now[name], self.seen[name])})
        self.seen = now


def test_which_layers_are_trained_in_which_epochs(sets):
    train, test = sets()
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )
    callback = Steps(network)
    how = RUN | {"epochs": 8, "weight_decay": 0.1, "momentum": 0.9}
    fit(network, train, test, nl.loss("ce"), method="early_stop(T1=2,T2=2,T3=1)", callbacks=[callback], **how)
    every, later, last = (
        set(callback.seen),
        {"4.weight", "4.bias", "6.weight", "6.bias"},
        {"6.weight", "6.bias"},
    )
    assert callback.changed == [every, every, later, later, last, every, every, every]
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_model_that_is_partly_frozen_stays_so(sets, model):
    train, test = sets()
    network = model()
    network[0].requires_grad_(False)
    before = network[0].weight.clone()
    fit(network, train, test, nl.loss("ce"), method="early_stop(T1=1,T2=1,T3=0)", **RUN)
    assert torch.equal(network[0].weight, before)
    assert not network[0].weight.requires_grad
    assert network[-1].weight.requires_grad


def test_later_layers_begin_anew(sets, model):
    """Not from where the whole network left them, and by draws of the run's seed."""
    train, test = sets()
    ends = []
    for seed in (2, 2, 3):
        network = model()
        with torch.no_grad():
            network[-1].weight.fill_(50.0)
        how = RUN | {"epochs": 1, "lr": 1e-9, "seed": seed, "momentum": 0.0}
        fit(network, train, test, nl.loss("ce"), method="early_stop(T1=0,T2=1,T3=0)", **how)
        ends.append(network[-1].weight.detach())
    assert ends[0].abs().max() < 1
    assert torch.equal(ends[0], ends[1])
    assert not torch.allclose(ends[0], ends[2])


def test_each_phase_begins_with_new_optimizers(sets, model, monkeypatch):
    """Else the momentum of the layers before they began anew moves those after."""
    train, test = sets()
    epochs, callback = [], nl.Callback()
    callback.on_epoch_start = lambda epoch: epochs.append(epoch)
    renewed = []
    monkeypatch.setattr(EarlyStop, "renew_optimizer", lambda self, _: renewed.append(len(epochs)))
    how = RUN | {"epochs": 8}
    fit(model(), train, test, nl.loss("ce"), method="early_stop(T1=2,T2=2,T3=1)", callbacks=[callback], **how)
    assert renewed == [2, 4, 5]


def test_a_layer_that_cannot_be_initialized_anew_is_named():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 3))

        def forward(self, inputs):
            return inputs @ self.scale

    with pytest.raises(
        InputError, match=r"the layer '1' .* has parameters and no reset_parameters; give that"
    ):
        prepared(nn.Sequential(nn.Linear(1, 3), Own()))


# Selection and loss -------------------------------------------------------------------------------


def prepared(network: nn.Module, target=None, weights=None, loss=None, **changes) -> Method:
    """Return the method for examples whose input is their number, all of whose epochs select."""
    target = torch.zeros(B, dtype=torch.int64) if target is None else target
    at = torch.arange(B)
    batches = [Batch(part.float()[:, None], target[part], part) for part in at.split(5)]
    found = EarlyStop(network, loss or nl.loss("ce"), T1=0, T2=0, T3=0)
    found.weights = weights
    found.prepare(Setup(B, K, target, at, 3, 3, 0, CPU, lambda: batches, **changes))
    return found


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_the_confident_examples(weighted, ignored):
    draw = np.random.default_rng(3)
    logits = 2 * draw.normal(size=(B, K))
    target = logits.argmax(1)
    target[::3] = (target[::3] + 1) % (K - 1)  # not predicted
    w = draw.random(B) if weighted else np.ones(B)
    network = Fixed(torch.tensor(logits))
    network.reset_parameters = lambda: None
    loss = nl.loss("ce", ignore_index=0 if ignored else None)
    found = prepared(network, torch.tensor(target), torch.tensor(w).float() if weighted else None, loss)
    found.begin_epoch(0)
    confident = logits.argmax(1) == target
    assert 3 < confident.sum() < B
    assert found.confident.tolist() == confident.tolist()
    assert found.columns() == {"confident": pytest.approx(confident.mean())}
    counts = [w[confident & (target == k)].sum() for k in range(K)]
    mean = sum(counts) / sum(count > 0 for count in counts)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    above = below = 0.0
    counted = target != 0 if ignored else np.ones(B, dtype=bool)
    assert (confident & ~counted).any() == ignored
    for n in np.flatnonzero(confident & counted):
        factor = w[n] * mean / counts[target[n]]
        above += factor * -np.log(p[n, target[n]])
        below += factor
    value, _ = found.step(Batch(torch.arange(B).float()[:, None], torch.tensor(target), torch.arange(B)))
    assert value.item() == pytest.approx(above / below * w[counted].mean(), rel=1e-5)
    value.backward()
    assert (
        found.networks[0].table.grad.abs().sum(1).nonzero().flatten().tolist()
        == np.flatnonzero(confident & counted).tolist()
    )


def test_factors_give_classes_an_equal_say():
    counts = torch.tensor([5.0, 0.0, 1.0, 3.0])
    factors = class_factors(counts)
    np.testing.assert_allclose(factors * counts, [3, 0, 3, 3], rtol=1e-6)
    assert class_factors(torch.zeros(3)).tolist() == [0, 0, 0]


def test_a_batch_without_a_confident_example_teaches_nothing():
    values = torch.tensor([torch.inf, 2.0], requires_grad=True)
    value = mean_by(values, torch.zeros(2))
    value.backward()
    assert value.item() == 0
    assert values.grad.tolist() == [0, 0]


def test_a_run_shorter_than_its_first_part_is_a_standard_one(sets, model):
    train, test = sets()
    one, other = model(), model()
    fit(one, train, test, nl.loss("nce+mae"), method=method("early_stop"), **RUN)
    fit(other, train, test, nl.loss("nce+mae"), **RUN)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
