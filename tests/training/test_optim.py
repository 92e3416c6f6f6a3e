from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from noisylabels.core.checks import InputError
from noisylabels.training.optim import build_optimizer, learning_rate
from noisylabels.training.settings import Settings


def scheduled(count: int, lr: float, make) -> list[float]:
    """Return the learning rates of a scheduler of torch, one a step of it."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings(action="ignore"):  # the last step may go past the end
            scheduler.step() if len(rates) < count else None
    return rates


@pytest.mark.parametrize("epochs", [1, 2, 7, 120])
def test_cosine_is_that_of_torch_stepped_once_an_epoch(epochs):
    settings = Settings(epochs=epochs, lr=0.01)
    ours = [learning_rate(settings, epoch, fraction) for epoch in range(epochs) for fraction in (0.0, 0.7)]
    theirs = scheduled(epochs, 0.01, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=epochs))
    assert ours[::2] == pytest.approx(theirs, rel=1e-12)
    assert ours[1::2] == ours[::2]  # it stays within an epoch


def test_the_papers_cosine_by_hand():
    settings = Settings()
    assert learning_rate(settings, 0, 0.0) == 0.01
    assert learning_rate(settings, 60, 0.0) == pytest.approx(0.005)
    assert learning_rate(settings, 40, 0.5) == pytest.approx(0.0075)
    assert 0 < learning_rate(settings, 119, 0.9) < 2e-6


@pytest.mark.parametrize("epochs", [4, 8, 120])
def test_step_is_that_of_torch(epochs):
    settings = Settings(epochs=epochs, lr=0.3, schedule="step")
    ours = [learning_rate(settings, epoch, 0.0) for epoch in range(epochs)]
    milestones = [epochs // 2, 3 * epochs // 4]
    theirs = scheduled(epochs, 0.3, lambda o: lr_scheduler.MultiStepLR(o, milestones, gamma=0.1))
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_step_may_fall_within_an_epoch_when_the_epochs_do_not_divide():
    settings = Settings(epochs=3, lr=1.0, schedule="step")
    assert [learning_rate(settings, 1, f) for f in (0.25, 0.5, 0.75)] == pytest.approx([1, 0.1, 0.1])


def test_onecycle_rises_in_a_line_and_falls_as_that_of_torch():
    epochs, steps = 10, 20
    settings = Settings(epochs=epochs, lr=0.5, schedule="onecycle")
    total = epochs * steps
    ours = np.array([learning_rate(settings, i // steps, i % steps / steps) for i in range(total)])
    rising = np.arange(total) < 0.3 * total
    line = np.interp(np.arange(total) / total, [0, 0.3], [0.5 / 25, 0.5])
    assert ours[rising] == pytest.approx(line[rising])
    theirs = scheduled(
        total,
        0.5,
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.5, total_steps=total, pct_start=0.3, div_factor=25, final_div_factor=400
        ),
    )  # torch's last step stands where our run ends: theirs is a step ahead
    assert ours[1:][~rising[1:]] == pytest.approx(np.array(theirs)[:-1][~rising[1:]])
    assert ours.max() == pytest.approx(0.5)


def test_constant():
    settings = Settings(epochs=3, lr=0.2, schedule="constant")
    assert {learning_rate(settings, epoch, f) for epoch in range(3) for f in (0.0, 0.9)} == {0.2}


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step"])
def test_warm_up_rises_from_zero_step_by_step_and_then_leaves_the_schedule_alone(schedule):
    plain = Settings(epochs=10, lr=0.1, schedule=schedule)
    warm = Settings(epochs=10, lr=0.1, schedule=schedule, warmup_epochs=2.5)
    for epoch in range(10):
        for fraction in (0.0, 0.25, 0.5, 0.75):
            factor = min(1.0, (epoch + fraction) / 2.5)
            expected = factor * learning_rate(plain, epoch, fraction)
            assert learning_rate(warm, epoch, fraction) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_optimizers_take_momentum_and_decay(name):
    parameter = nn.Parameter(torch.tensor([2.0]))
    settings = Settings(optimizer=name, lr=0.1, momentum=0.8, weight_decay=0.5)
    optimizer = build_optimizer([parameter], settings)
    # by hand: two steps with the gradients 1 and 3
    w, m, v = 2.0, 0.0, 0.0
    for t, g in enumerate((1.0, 3.0), start=1):
        parameter.grad = torch.tensor([g])
        optimizer.step()
        if name == "sgd":
            g += 0.5 * w  # L2: part of the gradient
            m = g if t == 1 else 0.8 * m + g
            w -= 0.1 * m
        else:
            w -= 0.1 * 0.5 * w  # decoupled
            m, v = 0.8 * m + 0.2 * g, 0.999 * v + 0.001 * g * g
            w -= 0.1 * (m / (1 - 0.8**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    assert parameter.item() == pytest.approx(w, rel=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "adam"}, "unknown optimizer 'adam'; did you mean 'adamw'"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"precision": "float"}, "unknown precision 'float'"),
        ({"precision": "bf16"}, "unknown precision 'bf16'"),
        ({"lr": 0.0}, r"lr is 0.0, expected a number in \(0"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"momentum": 1.0}, r"momentum is 1.0, expected a number in \[0, 1\)"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"clip": -1.0}, "clip is -1.0"),
        ({"l1": -1.0}, "l1 is -1.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"checkpoint_minutes": -1.0}, "checkpoint_minutes is -1.0"),
        ({"capture": "graph"}, "unknown capture 'graph'; known: auto, on, off"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"checkpoint_epochs": 0}, "checkpoint_epochs is 0"),
        ({"warmup_epochs": 120.0}, "warmup_epochs is 120, expected less than the 120 epochs"),
        ({"warmup_epochs": 1.0, "schedule": "onecycle"}, "onecycle has a warm-up of its own"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Settings(**wrong)


def test_the_defaults_are_the_papers_recipe():
    s = Settings()
    assert (s.epochs, s.batch_size, s.optimizer, s.lr) == (120, 128, "sgd", 0.01)
    assert (s.momentum, s.weight_decay, s.schedule) == (0.9, 1e-4, "cosine")
    assert (s.l1, s.clip, s.warmup_epochs, s.ema, s.precision) == (0, 0, 0, 0, "float32")
