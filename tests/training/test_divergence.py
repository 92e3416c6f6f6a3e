"""A loss that becomes non-finite: reported step, cause, and remaining files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import noisylabels as nl
from noisylabels.methods.fit import fit
from noisylabels.training.callbacks import PauseWhen
from noisylabels.training.loop import TrainingDiverged

RUN = {"epochs": 3, "batch_size": 16, "lr": 0.05, "device": "cpu"}  # 3 steps an epoch


class Broken(nn.Module):
    """Cross entropy that is `value` at the given step of training (from 1), or in evaluation."""

    def __init__(self, at: int | str, value: float = float("nan")) -> None:
        super().__init__()
        self.at, self.value, self.steps = at, value, 0

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.cross_entropy(logits, target)
        if not torch.is_grad_enabled():
            return loss * self.value if self.at == "test" else loss
        self.steps += 1
        return loss * self.value if self.steps == self.at else loss


def diverged(model, sets, loss, **more) -> TrainingDiverged:
    with pytest.raises(TrainingDiverged) as caught:
        fit(model, *sets, loss, **RUN | more)
    return caught.value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("at", "epoch", "step"), [(1, 1, 1), (3, 1, 3), (5, 2, 2), (9, 3, 3)])
def test_a_loss_that_is_not_finite_on_finite_logits(sets, model, value, at, epoch, step):
    error = diverged(model(), sets(), Broken(at, value))
    assert (error.epoch, error.step) == (epoch, step)
    assert "the loss was not finite although the logits were" in error.cause
    assert str(error) == f"training diverged in epoch {epoch}, step {step}: {error.cause}"
    assert error.history.column("epoch") == list(range(1, epoch))  # what was measured stays


def test_weights_that_blow_up(sets, model):
    error = diverged(model(norm=False), sets(), nn.CrossEntropyLoss(), lr=1e30)
    # the first update makes them huge, the second step's logits overflow
    assert (error.epoch, error.step) == (1, 2)
    assert "the logits were not finite: the weights diverged at lr 1e+30; lower lr or set clip" in str(error)
    assert "bfloat16" not in error.cause


def test_logits_that_are_not_finite_behind_a_loss_that_hides_it(sets, model):
    def hiding(logits, target):
        return nn.functional.cross_entropy(logits.nan_to_num(0, 0, 0), target)

    class Bad(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.steps = model(), 0

        def forward(self, images):
            self.steps += self.training
            logits = self.inner(images)
            return logits.log() if self.steps == 5 else logits  # NaN where negative

    error = diverged(Bad(), sets(), hiding)
    assert (error.epoch, error.step) == (2, 2)
    assert "the logits were not finite" in error.cause


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_on_the_test_set(sets, model, value):
    error = diverged(model(), sets(), Broken("test", value))
    assert (error.epoch, error.step, len(error.history)) == (1, 3, 0)
    assert error.cause.startswith("on the test set, the loss was not finite although the logits were")


def test_weights_that_the_last_update_of_an_epoch_broke(sets, model):
    error = diverged(model(norm=False), sets(n=16), nn.CrossEntropyLoss(), lr=1e38, weight_decay=1.0)
    assert (error.epoch, error.step) == (1, 1)
    assert error.cause.startswith("on the test set, the logits were not finite: the weights diverged")


def test_test_logits_that_are_not_finite_behind_a_loss_that_hides_it(sets):
    class BadInEvaluation(nn.Linear):
        def forward(self, images):
            logits = super().forward(images.flatten(1))
            return logits if self.training else logits / 0

    def hiding(logits, target):
        return nn.functional.cross_entropy(logits.nan_to_num(0, 0, 0), target)

    error = diverged(BadInEvaluation(16, 3), sets(), hiding)
    assert (error.epoch, error.step) == (1, 3)
    assert error.cause.startswith("on the test set, the logits were not finite")


def test_float16_that_overflows_says_what_to_take_instead(sets):
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 3)

        def forward(self, images):
            return self.linear(images.flatten(1)) * 1e6

    error = diverged(Large(), sets(), nn.CrossEntropyLoss(), precision="float16")
    assert "use precision bfloat16 (float16 overflows at 65504)" in error.cause


def test_float16_steps_that_the_scaler_skips_are_no_failure(sets, model):
    def steep(logits, target):
        return 1e3 * nn.functional.cross_entropy(logits, target)

    history = fit(model(), *sets(), steep, **RUN, precision="float16")
    assert len(history) == 3


def test_a_run_stopped_after_it_has_diverged_and_never_saves_what_is_broken(sets, model, tmp_path):
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 5  # a step after the bad one

    error = diverged(model(), sets(), Broken(4), folder=tmp_path, callbacks=[PauseWhen(stop)])
    assert (error.epoch, error.step) == (2, 1)
    assert "the loss was not finite" in error.cause
    assert len(error.history) == 1
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (saved["epoch"], saved["done"]) == (1, 0)
    assert all(value.isfinite().all() for value in saved["update"]["method"].values())


def test_a_method_that_can_cause_it_says_what_to_do(sets, model):
    T = 0.55 * torch.eye(3) + 0.15 * torch.ones(3, 3)
    method = nl.method("backward", transition=T.numpy())
    error = diverged(model(norm=False), sets(), nn.CrossEntropyLoss(), method=method, lr=1e30)
    assert error.cause.endswith("use forward, or a bounded loss such as gce")
    assert "check the loss" not in error.cause
