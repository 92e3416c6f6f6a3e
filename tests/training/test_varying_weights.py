"""Losses whose weights vary, in the loop: progress, history, and a run that is cut off and goes on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from noisylabels.losses import loss
from noisylabels.methods.fit import fit
from noisylabels.methods.standard import Standard
from noisylabels.training.callbacks import Callback

LOSSES = ["nce+linear(0.1,10)*mae", "nce+warmup(2)*mae", "nce+auto*mae", "auto(rule=agreement)*nce+mae"]
SETTINGS = {"epochs": 4, "batch_size": 8, "lr": 0.1, "validation": 0.2, "device": "cpu", "seed": 3}


def without_times(history):
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in history.rows]


class CutOffError(RuntimeError):
    pass


class CutOffAfter(Callback):
    """Ends the run without any further word, as SIGKILL does, some steps after a checkpoint."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_step(self, step):
        self.left -= 1
        if self.left < 0:
            raise CutOffError


@pytest.mark.parametrize("text", LOSSES)
def test_a_run_that_is_cut_off_goes_on_bit_for_bit(text, sets, model, tmp_path):
    train, test = sets()
    whole = model()
    history = fit(whole, train, test, loss(text), **SETTINGS)
    # 4 steps an epoch; cut off at the start of an epoch, within one, and after its last step
    for steps in (1, 3, 5):
        network = model()
        with pytest.raises(CutOffError):
            fit(
                network,
                train,
                test,
                loss(text),
                folder=tmp_path,
                callbacks=[CutOffAfter(steps)],
                checkpoint_minutes=0.0,
                **SETTINGS,
            )
    resumed = model()
    found = fit(resumed, train, test, loss(text), folder=tmp_path, checkpoint_minutes=0.0, **SETTINGS)
    assert without_times(found) == without_times(history)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_second_run_with_the_same_loss_begins_anew(sets, model):
    train, test = sets()
    for text in LOSSES:
        made = loss(text)
        first, second = (fit(model(), train, test, made, **SETTINGS) for _ in range(2))
        assert without_times(first) == without_times(second)


def test_the_history_has_the_weight_at_the_end_of_each_epoch(sets, model):
    train, test = sets()
    history = fit(model(), train, test, loss("nce+2*linear(1,5)*agce(a=6)"), **SETTINGS)
    assert history.column("weight_agce_a_6") == pytest.approx([4, 6, 8, 10])
    history = fit(model(), train, test, loss("nce+warmup(2)*mae"), **SETTINGS)
    assert history.column("weight_mae") == pytest.approx([0.5, 1, 1, 1])
    plain = fit(model(), train, test, loss("nce+mae"), **SETTINGS)
    assert not any(name.startswith("weight_") for name in plain.rows[0])


def test_steps_see_the_share_of_training_that_is_done(sets, model):
    class Follows(nn.Module):
        reduction = "mean"

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[float, int]] = []

        def set_progress(self, share, epochs):
            self.seen.append((share, epochs))

        def forward(self, logits, target):
            return nn.functional.cross_entropy(logits, target)

    train, test = sets()
    made = Follows()
    fit(model(), train, test, made, **SETTINGS | {"epochs": 2})
    # before an epoch begins, before each of its 4 steps, and at its end
    shares = [0, 0, 1 / 8, 2 / 8, 3 / 8, 0.5, 0.5, 0.5, 5 / 8, 6 / 8, 7 / 8, 1]
    assert made.seen == [(share, 2) for share in shares]


@pytest.mark.parametrize("method", ["standard", "elr", "mixup", "coteaching(forget_rate=0.2)"])
def test_within_methods(method, sets, model):
    from noisylabels.methods.expression import method as read

    train, test = sets()
    made = read(method, second=model(seed=1)) if method.startswith("co") else read(method)
    history = fit(model(), train, test, loss("nce+linear(1,3)*mae"), method=made, **SETTINGS)
    assert history.column("weight_mae") == pytest.approx([1.5, 2, 2.5, 3])
    history = fit(model(), train, test, loss("nce+auto*mae"), method=made, **SETTINGS)
    weights = history.column("weight_mae")
    assert len(set(weights)) == 4
    assert all(0 < weight < 2 for weight in weights)


def test_a_loss_per_example_learns_in_training_alone(sets, model):
    """Weights of examples take the loss per example, of which the method has a copy."""
    train, test = sets()
    weights = torch.ones(len(train))
    plain = fit(model(), train, test, loss("nce+auto*mae"), **SETTINGS)
    weighted = fit(model(), train, test, loss("nce+auto*mae"), weights=weights, **SETTINGS)
    assert weighted.column("weight_mae") == pytest.approx(plain.column("weight_mae"), rel=1e-4)


def test_a_rule_learns_from_the_logits_of_examples_alone(sets, model):
    """The method ogc looks for its threshold by losses at logits of no example."""
    train, test = sets()
    plain = fit(model(), train, test, loss("nce+auto*mae"), **SETTINGS)
    for text in ("ogc(time_frame=1)", "ogc(time_frame=1,queue_size=1000)"):  # that never fills
        found = fit(model(), train, test, loss("nce+auto*mae"), method=text, **SETTINGS)
        assert found.column("weight_mae")[0] == pytest.approx(plain.column("weight_mae")[0], rel=1e-4)
    assert found.column("weight_mae") == pytest.approx(plain.column("weight_mae"), rel=1e-4)


class LossesFirst(Standard):
    """A method that looks at losses before each epoch, as DivideMix does."""

    def prepare(self, setup):
        self.batches = setup.evaluation_batches

    def begin_epoch(self, epoch):
        with torch.no_grad():
            values = [self.loss_values(self.logits(batch.inputs), batch.target) for batch in self.batches()]
        self.seen = [*getattr(self, "seen", []), float(torch.cat(values).mean())]


def test_a_schedule_is_set_before_an_epoch_begins(sets, model, tmp_path):
    train, test = sets()
    network = model()
    plain = fit(network, train, test, loss("nce+linear(1,3)*mae"), method=LossesFirst, **SETTINGS)
    with pytest.raises(CutOffError):
        fit(
            model(),
            train,
            test,
            loss("nce+linear(1,3)*mae"),
            method=LossesFirst,
            folder=tmp_path,
            callbacks=[CutOffAfter(9)],
            **SETTINGS,
        )
    resumed = fit(
        model(), train, test, loss("nce+linear(1,3)*mae"), method=LossesFirst, folder=tmp_path, **SETTINGS
    )
    assert without_times(resumed) == without_times(plain)
