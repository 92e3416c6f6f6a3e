"""A step against autograd and by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from noisylabels.data.loader import Batch
from noisylabels.methods.standard import Standard
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater

CPU = torch.device("cpu")


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    return Batch(torch.randn(8, 1, 4, 4, generator=draw), torch.arange(8) % 3, torch.arange(8))


def made(model: nn.Module, loss=None, **settings) -> Updater:
    return Updater(Standard(model, loss or nn.CrossEntropyLoss()), Settings(**settings), CPU)


def taken(model: nn.Module, batch, loss=None, steps: int = 1, **settings) -> tuple[Updater, list[float]]:
    """Return the step after `steps` of lr 0.1, and its losses."""
    step = made(model, loss, **settings)
    model.train()
    return step, [step(batch, 0.1)[0].item() for _ in range(steps)]


def assert_close(model: nn.Module, reference: nn.Module, **tolerance) -> None:
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda m, n=name: f"{n}: {m}", **tolerance)


def test_l1_and_l2_and_clip_against_autograd_of_the_penalties(model, batch):
    ours, theirs = model(), model()
    l1, l2, clip = 0.02, 0.3, 0.7
    taken(ours, batch, momentum=0.0, l1=l1, weight_decay=l2, clip=clip)

    theirs.train()
    images, target = batch.inputs, batch.target
    value = nn.functional.cross_entropy(theirs(images), target)
    weights = list(theirs.parameters())
    value = value + l1 * sum(w.abs().sum() for w in weights)
    gradients = torch.autograd.grad(value, weights)
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    assert norm > clip  # else nothing is tested
    with torch.no_grad():
        for w, g in zip(weights, gradients, strict=True):
            # the decay is the optimizer's and not clipped: the gradient of l2 / 2 * |w|^2
            w -= 0.1 * (g * (clip / (norm + 1e-6)) + l2 * w)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_weight_decay_of_sgd_is_the_l2_penalty(model, batch):
    def penalized(logits, target):
        return nn.functional.cross_entropy(logits, target) + 0.5 * 0.3 * sum(
            w.square().sum() for w in theirs.parameters()
        )

    ours, theirs = model(), model()
    taken(ours, batch, steps=3, weight_decay=0.3)
    taken(theirs, batch, penalized, steps=3, weight_decay=0.0)
    assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_wide_clip_changes_nothing(model, batch):
    ours, theirs = model(), model()
    taken(ours, batch, steps=2, clip=1e6)
    taken(theirs, batch, steps=2)
    assert_close(ours, theirs, rtol=0, atol=0)


def test_l1_leaves_weights_that_do_not_train_alone(model, batch):
    ours = model()
    ours[0].weight.requires_grad_(False)
    before = ours[0].weight.clone()
    taken(ours, batch, l1=0.5, weight_decay=0.5)
    assert torch.equal(ours[0].weight, before)


def test_the_average_against_a_hand_loop(model, batch):
    ours, decay = model(), 0.8
    step = made(ours, ema=decay)
    ours.train()
    expected: dict[str, torch.Tensor] = {}
    for count in range(4):
        step(batch, 0.1)
        for name, value in ours.state_dict().items():
            if count == 0 or not value.is_floating_point():
                expected[name] = value.clone()
            else:
                expected[name] = decay * expected[name] + (1 - decay) * value
        averaged = step.evaluated[0].state_dict()
        assert averaged.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(averaged[name], value, rtol=1e-6, atol=1e-7)
    assert not torch.equal(step.evaluated[0].state_dict()["0.weight"], ours.state_dict()["0.weight"])


def test_the_average_is_the_one_of_torch(model, batch):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    ours = model()
    theirs = AveragedModel(ours, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    step = made(ours, ema=0.9)
    ours.train()
    for _ in range(5):
        step(batch, 0.1)
        theirs.update_parameters(ours)
    for name, value in step.evaluated[0].state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, theirs.module.state_dict()[name]), name


def test_the_average_holds_no_gradients(model, batch):
    step, _ = taken(model(), batch, steps=2, ema=0.5)
    assert all(p.grad is None for p in step.evaluated[0].parameters())


def test_the_loss_sees_float32_whatever_the_precision(model, batch):
    def loss(logits, target):
        seen.append((logits.dtype, torch.is_autocast_enabled("cpu")))
        return nn.functional.cross_entropy(logits, target)

    for precision in ("float32", "bfloat16", "float16"):
        seen: list[object] = []
        trained = model()
        step, _ = taken(trained, batch, loss, precision=precision)
        assert seen == [(torch.float32, False)]
        assert {p.dtype for p in trained.parameters()} == {torch.float32}
        with step.autocast():
            assert trained(batch[0]).dtype == getattr(torch, precision)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_what_float32_does(model, batch, precision):
    _, full = taken(model(), batch, steps=10)
    _, half = taken(model(), batch, steps=10, precision=precision)
    assert half[-1] < 0.5 * half[0]
    assert half == pytest.approx(full, rel=0.05, abs=0.02)


@pytest.mark.parametrize("how", [{"clip": 0.5}, {"l1": 0.02}, {"clip": 0.5, "l1": 0.02}])
def test_clip_and_l1_act_on_unscaled_gradients_in_float16(model, batch, how):
    ours, theirs = model(), model()
    taken(ours, batch, precision="float16", **how)
    taken(theirs, batch, **how)
    assert_close(ours, theirs, rtol=0.02, atol=1e-3)


def test_a_step_whose_scaled_gradients_overflow_is_skipped_and_no_failure(model, batch):
    trained = model()
    before = copy.deepcopy(trained.state_dict())
    # 65,536 (the scaler's start) times this is no float16 gradient; the loss itself is finite
    step, losses = taken(
        trained, batch, lambda l, t: 1e4 * nn.functional.cross_entropy(l, t), precision="float16"
    )
    assert losses[0] < float("inf")
    for name, parameter in trained.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert step.scaler.get_scale() == 65536 / 2


def test_what_a_step_returns_holds_no_graph(model, batch):
    step = made(model())
    value, logits = step(batch, 0.1)
    assert (value.shape, logits.shape) == ((), (8, 3))
    assert not value.requires_grad
    assert not logits.requires_grad


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_renewed_optimizers_move_as_new_ones(model, batch, optimizer):
    how = {"optimizer": optimizer, "momentum": 0.9, "weight_decay": 0.0}
    network = model()
    step, _ = taken(network, batch, steps=3, **how)
    step.method.renew_optimizer(network.parameters())
    other = copy.deepcopy(network)
    step(batch, 0.1)
    made(other, **how)(batch, 0.1)
    assert_close(network, other, rtol=0, atol=0)
