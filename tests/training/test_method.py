"""The interface of methods: every kind of state is trained, saved and resumed, that of losses too."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.loader import Batch
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.methods.fit import fit
from noisylabels.methods.standard import Standard
from noisylabels.training.callbacks import Callback, PauseWhen, Stop
from noisylabels.training.checkpoint import load_checkpoint
from noisylabels.training.history import History
from noisylabels.training.method import LossFunction, Method, ParameterGroup, Setup
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater

RUN = {"epochs": 3, "batch_size": 16, "lr": 0.05, "device": "cpu", "seed": 2, "augment": "crop:1+flip"}


class Everything(Method):
    """Every kind of state at once: two networks, targets per example, parameters with an optimizer of their
    own, a plain value, two views, and a draw in every step.
    """

    views = 2

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        twin = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
        super().__init__([model, twin], loss)
        self.epochs_begun = 0

    def prepare(self, setup: Setup) -> None:
        self.register_buffer("targets", torch.zeros(setup.num_examples, setup.num_classes))
        self.shift = nn.Parameter(torch.zeros(setup.num_examples, setup.num_classes, device=setup.device))
        self.sizes = [len(batch.target) for batch in setup.evaluation_batches()]

    def begin_epoch(self, epoch: int) -> None:
        self.epochs_begun += 1
        assert self.epochs_begun == epoch + 1

    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        own = ParameterGroup([self.shift], "adamw", lr=0.3, momentum=0.0, weight_decay=0.0, scheduled=False)
        return [*super().parameter_groups(settings), own]

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        first, second = batch.views
        logits, other = self.logits(first), self.logits(second, network=1)
        mixed = torch.rand((), device=logits.device)
        with torch.no_grad():
            old = self.targets[batch.positions]
            self.targets[batch.positions] = 0.7 * old + 0.3 * logits.softmax(1)
        value = self.loss(logits + self.shift[batch.positions], batch.target) + mixed * (
            self.loss(other, batch.target)
            + (other.softmax(1) - self.targets[batch.positions]).square().mean()
        )
        return value, logits

    def predict(self, networks: list[nn.Module], inputs: Tensor) -> Tensor:
        first, second = networks
        return first(inputs) + second(inputs)

    def columns(self) -> dict[str, float | None]:
        return {"target_sum": float(self.targets.sum()), "begun": float(self.epochs_begun)}

    def get_extra_state(self) -> int:
        return self.epochs_begun

    def set_extra_state(self, state: int) -> None:
        self.epochs_begun = state


class Shifted(nn.Module):
    """A loss with a parameter, a constant, and a buffer that training changes."""

    reduction = "mean"

    def __init__(self, constant: float = 1.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))
        self.register_buffer("constant", torch.tensor(constant))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.seen += self.constant
        return nn.functional.cross_entropy(logits + self.shift, target)


def without_times(history: History) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in history.rows]


Train = Callable[..., tuple[Method, History]]


@pytest.fixture
def train_one(sets, model) -> Train:
    """Return how to train a method, kept for inspection."""
    train, test = sets(channels=3)

    def train_one(
        kind: type[Method] = Everything, loss: LossFunction | None = None, start: int = 0, **more
    ) -> tuple[Method, History]:
        made: list[Method] = []

        def make(network: nn.Module, criterion: LossFunction) -> Method:
            torch.manual_seed(start)
            made.append(kind(network, criterion))
            return made[0]

        network = model(channels=3, dropout=0.3, seed=start)
        history = fit(network, train, test, loss or nn.CrossEntropyLoss(), method=make, **RUN | more)
        return made[0], history

    return train_one


@pytest.mark.parametrize(
    "more", [{}, {"ema": 0.8, "precision": "bfloat16", "clip": 0.5, "optimizer": "adamw"}]
)
def test_state_of_every_kind_is_in_the_checkpoint(train_one, tmp_path, more):
    whole, history = train_one(loss=Shifted(), **more, folder=tmp_path / "whole")
    stops = 0
    while True:
        try:  # other weights at each start: only the checkpoint counts
            paused, again = train_one(
                loss=Shifted(),
                start=stops,
                folder=tmp_path / "paused",
                callbacks=[PauseWhen(lambda: True)],
                **more,
            )
            break
        except Interrupted:
            stops += 1
    assert stops == 9
    assert without_times(again) == without_times(history)
    assert history.column("begun") == [1.0, 2.0, 3.0]
    expected = whole.state_dict()
    assert {"targets", "shift", "loss.shift", "loss.seen", "_extra_state"} < expected.keys()
    for name, value in paused.state_dict().items():
        assert torch.equal(value, expected[name]) if torch.is_tensor(value) else value == expected[name], name
    assert whole.targets.abs().sum() > 0 < whole.shift.abs().sum()


def test_two_networks_are_evaluated_as_the_method_says(train_one, sets):
    _, test = sets(channels=3)
    method, history = train_one()
    mean, std = sets(channels=3)[0].mean_std()
    images = (test.images.float() / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(
        1, 3, 1, 1
    )
    with torch.no_grad():
        logits = method.networks[0](images) + method.networks[1](images)
    right = (logits.argmax(1) == test.labels).double().mean().item()
    assert history.final["test_accuracy"] == right
    assert not any(network.training for network in method.networks)


def test_views_come_from_streams_of_their_own(sets):
    from noisylabels.data.augment import parse_augment
    from noisylabels.data.loader import Batches

    train, _ = sets(channels=3)
    mean, std = train.mean_std()

    def made(views: int) -> list[Batch]:
        augment = parse_augment("crop:1+flip")
        how = {"batch_size": 16, "device": "cpu", "mean": mean, "std": std, "augment": augment}
        return list(Batches(train.images, train.labels, shuffle=True, seed=1, views=views, **how).epoch(0))

    for one, three in zip(made(1), made(3), strict=True):
        assert torch.equal(one.inputs, three.inputs)  # the first view is the one without others
        assert len(three.views) == 3
        assert not torch.equal(three.views[1], three.views[2])
        assert not torch.equal(three.views[0], three.views[1])


class Alternating(Method):
    """Two networks with an optimizer each; every step trains one of them."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__([model, nn.Sequential(nn.Flatten(), nn.Linear(48, 3))], loss)
        self.steps = 0

    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        first, second = self.networks
        return [
            ParameterGroup(list(first.parameters())),
            ParameterGroup(list(second.parameters()), "adamw", lr=0.01),
        ]

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self.steps += 1
        logits = self.logits(batch.inputs, network=self.steps % 2)
        return self.loss(logits, batch.target), logits

    def predict(self, networks: list[nn.Module], inputs: Tensor) -> Tensor:
        return self.logits(inputs) + self.logits(inputs, network=1)  # each enters autocast again


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_an_optimizer_may_have_nothing_to_do_in_a_step(train_one, precision):
    method, history = train_one(Alternating, precision=precision, clip=1.0)
    assert method.steps == 9
    assert history.final["test_accuracy"] > 0.4
    assert not torch.is_autocast_enabled("cpu")


class Modes(Standard):
    """Evaluates in `begin_epoch`, and records the mode in which each step finds the network."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__(model, loss)
        self.modes: list[bool] = []

    def begin_epoch(self, epoch: int) -> None:
        self.modes.append(self.networks[0].training)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self.modes.append(self.networks[0].training)
        return super().step(batch)


def test_an_epoch_begins_in_evaluation_mode_and_trains_in_training_mode(train_one):
    method, _ = train_one(Modes)
    assert method.modes == [False, True, True, True] * 3


class Rates(Standard):
    """Records the learning rate that it sees in each step."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__(model, loss)
        self.rates: list[float] = []

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self.rates.append(self.lr)
        return super().step(batch)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "onecycle"])
def test_a_step_knows_the_learning_rate(train_one, tmp_path, schedule):
    from noisylabels.training.optim import learning_rate

    method, _ = train_one(Rates, schedule=schedule)
    settings = Settings(**RUN | {"schedule": schedule})
    assert method.rates == [learning_rate(settings, e, done / 3) for e in range(3) for done in range(3)]
    steps = iter(range(100))
    with pytest.raises(Interrupted):
        train_one(Rates, schedule=schedule, folder=tmp_path, callbacks=[PauseWhen(lambda: next(steps) >= 3)])
    resumed, _ = train_one(Rates, schedule=schedule, folder=tmp_path)
    assert resumed.rates == method.rates[4:]


class Forgetful(Standard):
    """Has a parameter that no group trains."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__(model, loss)
        self.u = nn.Parameter(torch.zeros(3))


class Unreduced(Standard):
    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = self.logits(batch.inputs)
        return nn.functional.cross_entropy(logits, batch.target, reduction="none"), logits


class Flat(Standard):
    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        value, logits = super().step(batch)
        return value, logits.argmax(1)


class Pickled(Standard):
    def get_extra_state(self) -> object:
        return np.float64(1.0)

    def set_extra_state(self, state: object) -> None:
        pass


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Forgetful, "the parameter 'u' of the method Forgetful is in no parameter group"),
        (Unreduced, r"the step of Unreduced returns the loss \(16,\), expected a scalar tensor"),
        (Flat, r"the step of Flat returns logits \(16,\), expected \(16, 3\)"),
        (Pickled, r"'_extra_state' is a float64, which a checkpoint cannot hold"),
    ],
)
def test_a_method_that_would_fail_later_is_refused_at_once(train_one, tmp_path, kind, words):
    with pytest.raises(InputError, match=words):
        train_one(kind, folder=tmp_path)


# Losses with state --------------------------------------------------------------------------------


def test_parameters_of_a_loss_are_trained_at_their_own_rate(train_one):
    """Against a loop written out: one example per step would differ, one batch per epoch does not."""
    losses = {}
    for rate in (None, 0.0, 0.5):
        losses[rate] = Shifted()
        train_one(Standard, losses[rate], loss_lr=rate, l1=0.5, weight_decay=0.9)
    assert losses[0.0].shift.abs().sum() == 0
    assert 0 < losses[None].shift.abs().sum() < losses[0.5].shift.abs().sum()  # no decay and no penalty on it


def test_the_first_step_of_a_losss_parameter_by_hand(model):
    loss = Shifted()
    network = model(channels=3).train()
    batch = Batch(torch.randn(8, 3, 4, 4), torch.arange(8) % 3, torch.arange(8))
    with torch.no_grad():
        p = network(batch.inputs).softmax(1)
    expected = -0.2 * (p - nn.functional.one_hot(batch.target, 3)).mean(0)
    Updater(Standard(network, loss), Settings(loss_lr=0.2), torch.device("cpu"))(batch, 0.01)
    torch.testing.assert_close(loss.shift.detach(), expected * (0.01 / 0.01))


def test_the_same_call_resumes_with_the_loss_as_it_is_then(train_one, tmp_path):
    """In a notebook: the loss object is the one that training has changed."""
    whole = Shifted()
    _, history = train_one(Standard, whole)
    loss, steps = Shifted(), iter(range(100))
    with pytest.raises(Interrupted):
        train_one(Standard, loss, folder=tmp_path, callbacks=[PauseWhen(lambda: next(steps) >= 4)])
    assert 0 < loss.seen < 9
    _, resumed = train_one(Standard, loss, folder=tmp_path)
    assert without_times(resumed) == without_times(history)
    assert loss.seen == whole.seen == 9
    assert torch.equal(loss.shift, whole.shift)


def test_a_loss_with_another_constant_is_another_loss(train_one, tmp_path):
    with pytest.raises(Interrupted):
        train_one(Standard, Shifted(), folder=tmp_path, callbacks=[PauseWhen(lambda: True)])
    with pytest.raises(InputError, match="whose loss is"):
        train_one(Standard, Shifted(constant=2.0), folder=tmp_path)
    with pytest.raises(InputError, match="whose method is 'standard', this one's is 'everything'"):
        train_one(Everything, Shifted(), folder=tmp_path)


# Callbacks ----------------------------------------------------------------------------------------


class Counting(Callback):
    """Adds a column, has a state, and ends the run."""

    def __init__(self, last: int = 100) -> None:
        self.steps, self.last, self.saved, self.starts = 0, last, 0, []

    def on_epoch_start(self, epoch: int) -> None:
        self.starts.append(epoch)

    def on_step(self, step) -> None:
        self.steps += 1

    def on_epoch_end(self, row) -> None:
        row["steps_so_far"] = self.steps

    def on_saved(self, history: History) -> None:
        self.saved += 1

    def should_stop(self, history: History) -> Stop | None:
        return Stop.FINISH if len(history) >= self.last else None

    def state_dict(self) -> dict:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.steps = state["steps"]


def test_a_callback_adds_columns_keeps_its_state_and_ends_a_run(train_one, tmp_path):
    counting = Counting(last=2)
    _, history = train_one(Standard, folder=tmp_path / "whole", callbacks=[counting])
    assert history.column("steps_so_far") == [3, 6]
    assert (counting.starts, counting.saved) == ([1, 2], 2)
    assert History.read(tmp_path / "whole" / "history.jsonl").rows == history.rows
    steps = iter(range(100))
    with pytest.raises(Interrupted):
        train_one(
            Standard, folder=tmp_path / "part", callbacks=[Counting(2), PauseWhen(lambda: next(steps) >= 3)]
        )
    _, resumed = train_one(Standard, folder=tmp_path / "part", callbacks=[Counting(2)])
    assert without_times(resumed) == without_times(history)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"callbacks": [Counting]}, "expected an instance of a subclass of nl.Callback"),
        ({"callbacks": [lambda row: None]}, r"callbacks\[0\] is <function"),
    ],
)
def test_what_is_no_callback_is_refused(train_one, more, words):
    with pytest.raises(InputError, match=words):
        train_one(Standard, **more)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (None, "the method is None, expected an expression such as"),
        ("stanard", "unknown method 'stanard'; did you mean 'standard'?"),
        (lambda model, loss: model, "the method returns a Sequential, expected an nl.Method"),
    ],
)
def test_what_is_no_method_is_refused(sets, model, method, words):
    train, test = sets()
    with pytest.raises(InputError, match=re.escape(words)):
        fit(model(), train, test, nn.CrossEntropyLoss(), method=method, epochs=1)


def test_a_wrong_answer_of_a_callback_is_refused(train_one):
    class Yes(Callback):
        def should_stop(self, history):
            return True

    with pytest.raises(InputError, match=r"should_stop of Yes returns True, expected nl\.Stop\.PAUSE"):
        train_one(Standard, callbacks=[Yes()])


def test_a_note_that_no_callback_handles_is_a_warning(train_one):
    with pytest.warns(UserWarning, match="loss_lr has no effect"):
        train_one(Standard, loss_lr=0.1, callbacks=[Counting()])


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"optimizer": "adm"}, "unknown optimizer of a parameter group 'adm'"),
        ({"lr": -1.0}, "lr of a parameter group is -1"),
        ({"parameters": []}, "a parameter group has no parameters"),
    ],
)
def test_a_wrong_parameter_group_is_refused(group, words):
    with pytest.raises(InputError, match=words):
        ParameterGroup(**{"parameters": [nn.Parameter(torch.zeros(1))], **group})


class Twice(Standard):
    def parameter_groups(self, settings: Settings) -> list[ParameterGroup]:
        every = list(self.networks.parameters())
        return [ParameterGroup(every), ParameterGroup(every[:1], "adamw")]


class Wide(Standard):
    def predict(self, networks: list[nn.Module], inputs: Tensor) -> Tensor:
        return networks[0](inputs).repeat(1, 2)


class Detached(Standard):
    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        value, logits = super().step(batch)
        return value.detach(), logits


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Twice, "is in 2 parameter groups, expected one"),
        (Wide, r"predict of Wide returns \(20, 6\), expected logits \(20, 3\)"),
        (Detached, "has no gradient; do not detach it"),
    ],
)
def test_other_mistakes_of_a_method_are_refused(train_one, kind, words):
    with pytest.raises(InputError, match=words):
        train_one(kind)


class Drawn(Standard):
    def prepare(self, setup: Setup) -> None:
        self.register_buffer("draw", torch.rand(4))


def test_draws_in_prepare_follow_from_the_seed(train_one):
    draws = [
        train_one(Drawn, start=start, seed=seed, epochs=1)[0].draw for start, seed in ((1, 5), (2, 5), (2, 6))
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_loss_with_state_learns_nothing_from_the_test_set(train_one):
    class Counts(nn.Module):
        reduction = "mean"
        seen = 0

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            self.seen += len(target) if self.training else 0
            return nn.functional.cross_entropy(logits, target)

    loss = Counts()
    train_one(Standard, loss)
    assert loss.seen == 3 * 40
    assert loss.training


def test_two_callbacks_of_a_class_keep_a_state_each(train_one, tmp_path):
    class Offset(Counting):
        def on_epoch_end(self, row) -> None:
            row[f"steps_{self.last}"] = self.steps

    steps = iter(range(100))
    first = [Offset(50), Offset(60), PauseWhen(lambda: next(steps) >= 4)]
    first[1].steps = 1000
    with pytest.raises(Interrupted):
        train_one(Standard, folder=tmp_path, callbacks=first)
    _, history = train_one(Standard, folder=tmp_path, callbacks=[Offset(50), Offset(60)])
    assert history.column("steps_50") == [3, 6, 9]
    assert history.column("steps_60") == [1003, 1006, 1009]


def test_a_column_may_begin_later(train_one):
    class Late(Callback):
        def on_epoch_end(self, row) -> None:
            if row["epoch"] == 2:
                row["late"] = np.float64(0.5)

    _, history = train_one(Standard, callbacks=[Late()])
    assert history.column("late") == [None, 0.5, None]
    assert type(history.rows[1]["late"]) is float


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mine", float("nan"), "adds nan as the history's column 'mine'"),
        ("mine", [1.0], r"adds \[1.0\] as the history's column 'mine'"),
        ("lr", 3.0, "changes the column 'lr'"),
    ],
)
def test_a_column_that_is_no_number_or_not_its_own_is_refused(train_one, name, value, words):
    class Wrong(Callback):
        def on_epoch_end(self, row) -> None:
            row[name] = value

    with pytest.raises(InputError, match=f"Wrong {words}"):
        train_one(Standard, callbacks=[Wrong()])


# Checkpoints of version 0.1 -----------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["ce", "nce+mae", "weighted"])
def test_a_checkpoint_of_version_0_1_is_resumed(train_one, tmp_path, loss):
    """Its form was that of one network and one optimizer, and its history had other names."""
    made = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0])) if loss == "weighted" else parse_loss(loss)
    _, history = train_one(Standard, made, ema=0.8)
    steps = iter(range(100))
    callbacks = [PauseWhen(lambda: next(steps) >= 4)]
    with pytest.raises(Interrupted):
        train_one(Standard, made, ema=0.8, folder=tmp_path, callbacks=callbacks)
    path = tmp_path / "checkpoint.pt"
    _as_version_0_1(path, made)
    with pytest.raises(Interrupted):
        train_one(Standard, made, ema=0.8, folder=tmp_path, callbacks=[PauseWhen(lambda: True)])
    assert torch.load(path, weights_only=True)["format"] == 3
    _, resumed = train_one(Standard, made, ema=0.8, folder=tmp_path)
    assert without_times(resumed) == without_times(history)
    assert "memorized" in resumed.final


def _as_version_0_1(path: Path, loss: nn.Module) -> None:
    from noisylabels.training.identity import loss_identity

    state = torch.load(path, weights_only=True)
    update = state.pop("update")
    network = {
        re.sub("^networks[.]0[.]", "", name): value
        for name, value in update["method"].items()
        if name.startswith("networks.")
    }
    (optimizer,) = update["optimizers"]
    for group in optimizer["param_groups"]:
        del group["own_lr"], group["scheduled"]
    (average,) = update["averages"]
    state["step"] = {
        "model": network,
        "optimizer": optimizer,
        "scaler": update["scaler"],
        "ema": average,
    }
    state["tally"] = state.pop("running_metrics")
    for name in ("loss_constants", "callbacks"):
        del state[name]
    for name in ("method", "loss_lr"):
        del state["made_for"][name]
    state["made_for"]["loss"] = loss_identity(loss)
    old = {"memorized": "memorised", "recovered": "corrected"}
    state["rows"] = [{old.get(name, name): value for name, value in row.items()} for row in state["rows"]]
    torch.save(state | {"format": 2}, path)
    assert load_checkpoint(path, torch.device("cpu")) is not None
