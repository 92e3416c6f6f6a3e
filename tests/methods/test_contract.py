"""What every method of the catalog keeps: state, positions, weights, class counts, precision, graphs."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import noisylabels as nl
from methods.conftest import CASES, EXPRESSIONS, ready
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.images import image_set, replaced
from noisylabels.data.loader import Batch
from noisylabels.experiment import corrupt_set
from noisylabels.methods.catalog import METHODS
from noisylabels.methods.expression import method
from noisylabels.methods.fit import fit
from noisylabels.training import training_data
from noisylabels.training.callbacks import PauseWhen
from noisylabels.training.capture import Captured, is_static
from noisylabels.training.method import Method, Setup
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater
from tape import Tapes
from warm_process import WarmPopen

RUN = {"epochs": 3, "batch_size": 16, "lr": 0.05, "device": "cpu", "seed": 2, "augment": "crop:1+flip"}
CPU = torch.device("cpu")
EVERY = pytest.mark.parametrize("expression", CASES)


def test_every_method_is_seen():
    assert EXPRESSIONS.keys() == set(METHODS)
    assert len(METHODS) == 19
    assert [name for name, row in METHODS.items() if row.fitted] == ["knn"]
    for row in METHODS.values():
        assert row.title
        assert row.__doc__


def trained(expression: str, network: nn.Module, *given, loss: str = "ce", K: int = 3, **more):
    """Train, and return the method, for inspection, and the history."""
    made: list[Method] = []

    def make(model, criterion):
        found = ready(expression, K, n=len(given[0]))(model, criterion)
        prepare = found.prepare

        def prepare_and_remember(setup):
            prepare(setup)
            found.start = {name: value.detach().clone() for name, value in found.named_buffers()}
            found.start |= {name: value.detach().clone() for name, value in found.named_parameters()}

        found.prepare = prepare_and_remember
        made.append(found)
        return found

    train, test = given
    history = fit(network, train, test, nl.loss(loss), method=make, **RUN | more)
    return made[0], history


def without_times(history) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in history.rows]


# State --------------------------------------------------------------------------------------------


@EVERY
def test_a_run_interrupted_after_every_step_ends_bit_for_bit_the_same(expression, sets, model, tmp_path):
    more = {"ema": 0.8, "validation": 0.1}
    whole, history = trained(expression, model(dropout=0.3), *sets(), folder=tmp_path / "whole", **more)
    stops = 0
    while True:
        try:  # other weights at each start: only the checkpoint counts
            paused, again = trained(
                expression,
                model(dropout=0.3, seed=stops),
                *sets(),
                folder=tmp_path / "paused",
                callbacks=[PauseWhen(lambda: True)],
                **more,
            )
            break
        except Interrupted:
            stops += 1
    assert stops == 9
    assert without_times(again) == without_times(history)
    expected = whole.state_dict()
    for name, value in paused.state_dict().items():
        assert torch.equal(value, expected[name]) if torch.is_tensor(value) else value == expected[name], name


FLAGS = [
    *("digits", "--model", "small-cnn", "--width", "0.25", "--noise", "symmetric:0.3", "--loss", "nce+mae"),
    *("--method", "coteaching(num_gradual=3)", "--epochs", "6", "--batch-size", "32"),
    *("--checkpoint-minutes", "0.0001", "--device", "cpu"),
]


def start(out: Path) -> WarmPopen:
    source = str(Path(nl.__file__).parents[1])
    command = ["-m", "noisylabels", "train", *FLAGS, "--out", str(out)]
    return WarmPopen(
        command,
        env=os.environ | {"PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_run_resumes_with_its_inputs_and_ends_bit_for_bit_the_same(tmp_path):
    for name in ("whole", "killed"):
        process = start(tmp_path / name)
        if name == "killed":
            end = time.monotonic() + 120
            while not (tmp_path / name / "checkpoint.pt").exists() and time.monotonic() < end:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            kept = (tmp_path / name / "method.json").read_bytes()
            process = start(tmp_path / name)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    # the resumed run reads the noise rate that the killed one estimated
    assert "estimated" not in errors
    assert (tmp_path / "whole" / "method.json").read_bytes() == kept
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    for key in one:
        assert torch.equal(one[key], other[key]), key
    rows = [
        [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert [row["forget_rate"] for row in rows[0]] == [row["forget_rate"] for row in rows[1]]


@EVERY
def test_a_checkpoint_of_other_parameters_is_refused(expression, sets, model, tmp_path):
    with pytest.raises(Interrupted):
        trained(expression, model(), *sets(), folder=tmp_path, callbacks=[PauseWhen(lambda: True)])
    other = "elr(beta=0.5)" if expression != "elr(beta=0.5)" else "elr"
    with pytest.raises(InputError, match="whose method is"):
        trained(other, model(), *sets(), folder=tmp_path)


@pytest.mark.parametrize("name", ["forward", "backward", "t_revision"])
def test_a_checkpoint_with_another_matrix_is_refused(name, sets, model, tmp_path):
    train, test = sets()
    how = RUN | {"folder": tmp_path}
    one, other = (method(name, transition=T) for T in (np.eye(3), 0.7 * np.eye(3) + 0.1))
    with pytest.raises(Interrupted):
        fit(model(), train, test, nl.loss("ce"), method=one, callbacks=[PauseWhen(lambda: True)], **how)
    with pytest.raises(InputError, match="whose method is"):
        fit(model(), train, test, nl.loss("ce"), method=other, **how)


# Positions ----------------------------------------------------------------------------------------


def of_examples(found: Method, n: int) -> dict[str, torch.Tensor]:
    """Return the state of a method that has a row per example."""
    return {
        name: value
        for name, value in found.state_dict().items()
        if torch.is_tensor(value) and value.ndim == 2 and len(value) == n
    }


@EVERY
def test_state_per_example_is_that_of_the_examples_trained_on(expression, sets, model):
    """With a part of the set and a validation split; the number of examples is no other size here."""
    train, test = sets()
    positions = np.flatnonzero(np.arange(41) % 4 != 1)
    found, _ = trained(
        expression, model(), train, test, positions=positions, validation=0.2, epochs=1, lr=0.5
    )
    states = of_examples(found, 41)
    assert len(states) == {"elr": 1, "sop": 2, "agreement": 1}.get(method(expression).name, 0)
    kept = np.setdiff1d(positions, positions[held_out(len(positions))])
    for name, value in states.items():
        changed = (value != found.start[name]).any(1).nonzero().flatten().tolist()
        assert set(changed) <= set(kept.tolist()), name
        # v of an example changes once the predicted class is not the given one
        assert len(changed) == len(kept) or (name == "v" and changed), name


def held_out(n: int) -> np.ndarray:
    from noisylabels.data.split import validation_split

    return validation_split(n, 0.2, RUN["seed"])[1]


@EVERY
def test_a_long_tail_with_noise_and_a_validation_split(expression, model):
    whole, test = nl.load("digits")
    train, labels = corrupt_set(whole, "longtail:0.1 | symmetric:0.3", seed=1)
    assert len(train) < len(whole) / 1.5
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found, history = trained(
        expression, network, train, test, K=10, labels=labels, validation=0.1, epochs=2, batch_size=64, lr=0.1
    )
    assert history.final["validation_accuracy"] > 0.2
    for value in of_examples(found, len(train)).values():
        assert value.isfinite().all()


@EVERY
def test_foreign_images_and_a_validation_split(expression, sets, model):
    """A method sees given labels, and state of the examples in their places."""
    (train, test), (other, _) = sets(), sets(n=30, seed=5)
    labels = nl.corrupt(train.labels, "openset:0.3@x | symmetric:0.2", num_classes=3, foreign=30, seed=1)
    assert labels.foreign is not None
    assert len(labels.foreign) > 4
    mixed = replaced(train, labels.foreign, other)
    mixed = dataclasses.replace(mixed, arranged=labels.arrangement)
    found, history = trained(expression, model(), mixed, test, labels=labels, validation=0.2)
    assert np.isfinite(history.column("train_loss")).all()
    for name, value in of_examples(found, 41).items():
        changed = (value != found.start[name]).any(1).nonzero().flatten().numpy()
        assert len(changed)
        assert not set(changed) & set(held_out(41)), name


# Weights, targets ---------------------------------------------------------------------------------


@EVERY
def test_an_example_of_weight_0_has_no_say(expression, sets, model):
    if "ratio_balance" in expression:
        return  # the balance is that of the predictions, whatever their weight
    (train, _), (other, _) = sets(), sets()
    other.labels[:7] = (other.labels[:7] + 1) % 3
    weights = torch.ones(41)
    weights[:7] = 0
    ends = []
    for data in (train, other):
        network = model(norm=False)
        trained(expression, network, data, None, weights=weights, loss="ce")
        ends.append(network[-1].weight)
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-7)


CLASS_OPTIONS = {
    "plain": {},
    "class weights": {"weight": torch.tensor([0.3, 1.0, 4.0])},
    "ignored": {"ignore_index": 1},
}


NO_IGNORED = ("backward", "dividemix")
"""Methods that need a loss under every label."""


def refuses(expression: str, options: dict) -> bool:
    """Return whether a method is not defined for a loss with these options."""
    name = method(expression).name
    return bool(options) and (name == "sop" or (name in NO_IGNORED and "ignore_index" in options))


@EVERY
@pytest.mark.parametrize("options", CLASS_OPTIONS.values(), ids=CLASS_OPTIONS)
def test_weights_of_one_change_nothing(expression, options, sets, model):
    if refuses(expression, options):
        with pytest.raises(InputError, match=r"ignore_index is 1|has a loss of its own"):
            ready(expression)(model(), nl.loss("ce", **options))
        return
    ends = []
    for weights in (None, torch.ones(41)):
        network, (train, test) = model(), sets()
        loss = nl.loss("ce", **options)
        fit(network, train, test, loss, method=ready(expression), weights=weights, **RUN)
        ends.append(network[-1].weight)
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


@EVERY
@pytest.mark.parametrize("weights", [torch.zeros(41), torch.arange(41) % 4 == 1])
def test_weights_of_zero_are_refused(expression, weights, sets, model):
    train, test = sets()
    positions = np.flatnonzero(np.arange(41) % 4 != 1)
    with pytest.raises(InputError, match="the weights of all examples trained on are 0"):
        fit(
            *(model(), train, test, nl.loss("ce")),
            method=ready(expression),
            weights=weights,
            positions=positions,
            **RUN,
        )


def test_a_method_that_does_not_weigh_examples_refuses_weights(sets, model):
    class Plain(Method):
        def __init__(self, network, loss):
            super().__init__([network], loss)

        def step(self, batch):
            logits = self.logits(batch.inputs)
            return self.loss(logits, batch.target), logits

    train, test = sets()
    with pytest.raises(InputError, match="the method plain does not use them"):
        fit(model(), train, test, nl.loss("ce"), method=Plain, weights=torch.ones(41), **RUN)


@pytest.mark.parametrize("labels", [torch.rand(41, 3), torch.full((41,), -100)])
def test_soft_and_ignored_labels_are_refused_before_any_method(labels, sets):
    train, _ = sets()
    with pytest.raises(InputError, match="expected"):
        image_set(train.images, labels, train.class_names)


@EVERY
def test_a_loss_that_ignores_a_class(expression, sets, model):
    train, test = sets()
    criterion = nl.loss("ce", ignore_index=1)
    if method(expression).name in ("sop", *NO_IGNORED):
        with pytest.raises(InputError, match="ignore_index is 1"):
            fit(model(), train, test, criterion, method=ready(expression), **RUN)
        return
    history = fit(model(), train, test, criterion, method=ready(expression), **RUN)
    assert np.isfinite(history.column("train_loss")).all()


@pytest.mark.parametrize(
    "options", [{"ignore_index": 1}, {"weight": torch.tensor([0.2, 1.0, 5.0])}], ids=["ignored", "weights"]
)
def test_the_test_loss_is_that_of_the_set_whatever_its_batches(options, sets, model, monkeypatch):
    """Sorted by class, as a folder of images is: batches of 4 have no label that counts."""
    train, test = sets()
    order = test.labels.argsort()
    test = image_set(test.images[order], test.labels[order], test.class_names, name="tiny")
    found = []
    for size in (4, 20):
        monkeypatch.setattr(training_data, "evaluation_batch_size", lambda inputs, size=size: size)
        history = fit(model(), train, test, nl.loss("ce", **options), method="standard", **RUN)
        found.append(history.column("test_loss"))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@EVERY
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize(
    "options", [{"ignore_index": 1}, {"weight": torch.tensor([1.0, 0, 2])}], ids=["ignored", "weight 0"]
)
def test_a_batch_without_a_label_that_counts_teaches_nothing(expression, options, weighed, model):
    """The loss itself divides 0 by 0."""
    if refuses(expression, options):
        return
    for loss in (nl.loss("ce", **options), nn.CrossEntropyLoss(**options)):
        network = model(norm=False)
        found = ready(expression, n=40)(network, loss)
        found.weights = torch.ones(40) if weighed else None
        found.prepare(setup(40))
        for epoch in (0, 2):
            found.begin_epoch(epoch)
            views = [torch.randn(8, 1, 4, 4) for _ in range(2)]
            more = (views[1],) if found.views != 1 else ()
            batch = Batch(views[0], torch.ones(8).long(), torch.arange(8), epoch, more)
            value, _ = found.step(batch)
            value.backward()
            assert value.isfinite()
            assert network[-1].weight.grad.isfinite().all()
            if method(expression).name in ("standard", "forward", "ogc", "coteaching", "agreement", "mixup"):
                assert value == 0
                assert network[-1].weight.grad.abs().sum() == 0


@pytest.mark.parametrize(
    "name",
    [
        "coteaching",
        "coteaching_plus",
        "jocor",
        "early_stop",
        "ogc",
        "agreement",
        "relabel",
        "dividemix",
        "ssr",
    ],
)
def test_a_loss_without_values_per_example_is_refused(name, sets, model):
    train, test = sets()
    with pytest.raises(InputError, match=f"the method {name}.* needs a loss per example"):
        fit(model(), train, test, nn.functional.cross_entropy, method=ready(EXPRESSIONS[name][0]), **RUN)


@EVERY
def test_losses_of_torch(expression, sets, model):
    """A module and, where values per example are not needed, a function: the same as ours."""
    train, test = sets()
    ends = []
    losses = [nl.loss("ce"), nn.CrossEntropyLoss()]
    per_batch = ("standard", "elr", "elr_plus", "forward", "mixup", "volminnet")
    if (
        method(expression).name in per_batch
        or "=relabel" in expression
        or expression == "t_revision(start=0.3)"
    ):
        losses.append(nn.functional.cross_entropy)
    for loss in losses:
        network = model()
        fit(network, train, test, loss, method=ready(expression), **RUN)
        ends.append(network[-1].weight)
    for each in ends[1:]:
        torch.testing.assert_close(each, ends[0], rtol=1e-3, atol=1e-5)


# Sizes and precision ------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("K", [2, 100])
@pytest.mark.parametrize("loss", ["ce", "nce+rce"])
def test_few_and_many_classes(expression, K, loss, sets, model):
    if method(expression).own_loss not in (None, loss):
        with pytest.raises(InputError, match="has a loss of its own"):
            trained(expression, model(K=K), *sets(K=K), K=K, loss=loss)
        return
    train, test = sets(n=120, m=110, K=K)
    _, history = trained(expression, model(K=K), train, test, K=K, loss=loss)
    for name in ("train_loss", "test_loss"):
        assert np.isfinite(history.column(name)).all()


def setup(n: int, K: int = 3) -> Setup:
    zeros = torch.zeros(n, dtype=torch.int64)
    images = torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    batches = [Batch(images, zeros, torch.arange(n))]
    return Setup(n, K, zeros, torch.arange(n), 3, 3, 0, CPU, lambda: batches)


@EVERY
def test_a_batch_of_one(expression, model):
    network = model(norm=False)
    found = ready(expression, n=5)(network, nl.loss("ce"))
    found.prepare(setup(5))
    found.begin_epoch(0)
    view = torch.randn(1, 1, 4, 4)
    batch = Batch(view, torch.tensor([1]), torch.tensor([4]), 0, (view.flip(3),))
    value, logits = found.step(batch)
    value.backward()
    assert value.isfinite()
    assert logits.shape == (1, 3)
    assert network[-1].weight.grad.isfinite().all()


@EVERY
@pytest.mark.parametrize("loss", ["ce", "nce+mae"])
def test_half_precision_leaves_state_in_full(expression, loss, sets, model):
    if method(expression).own_loss not in (None, loss):
        return
    found, history = trained(expression, model(), *sets(), precision="bfloat16", loss=loss)
    assert np.isfinite(history.column("train_loss")).all()
    for name, value in found.state_dict().items():
        if torch.is_tensor(value) and value.is_floating_point():
            assert value.dtype in (torch.float32, torch.float64), name
            assert value.isfinite().all() or name == "tau", name


# CUDA graphs --------------------------------------------------------------------------------------


@EVERY
def test_a_replayed_step_is_the_plain_one_over_epochs(expression, model, monkeypatch):
    """With a tape in place of a graph, see tape.py: the batch and state change, and no Python number does."""
    monkeypatch.setattr("noisylabels.losses.kernels.fused.is_transformed", lambda: False)
    monkeypatch.setattr("noisylabels.losses.kernels.native.takes", lambda *given: False)

    def updater() -> Updater:
        torch.manual_seed(0)
        loss = method(expression).own_loss or "nce+mae"
        found = ready(expression, n=40)(model(norm=False).train(), nl.loss(loss))
        found.prepare(setup(40))
        found.check_logits(3)
        return Updater(found, Settings(lr=0.1), CPU, capturable=True)

    assert is_static(ready(expression)(model(), nl.loss("ce"))) == METHODS[method(expression).name].capturable
    if not METHODS[method(expression).name].capturable:
        assert method(expression).name in ("ogc", "volminnet", "early_stop", "dividemix")
        return
    plain, recorded = updater(), updater()
    notes: list[str] = []
    replayed = Captured(recorded, Tapes(recorded), 8, notes.append)
    draw = torch.Generator().manual_seed(1)
    for epoch in range(4):
        for each in (plain, recorded):
            each.method.begin_epoch(epoch)
        for _ in range(3):
            views = [torch.randn(8, 1, 4, 4, generator=draw) for _ in range(2)]
            positions = torch.randperm(40, generator=draw)[:8]
            target = torch.randint(3, (8,), generator=draw)
            batch = Batch(views[0], target, positions, epoch, (views[1],))
            state = torch.get_rng_state()
            for each in (plain, replayed):
                torch.set_rng_state(state)  # for what a method draws
                each(batch, 0.1 / (epoch + 1))
    assert notes == []
    assert replayed.recorder.recorded == 1
    ours, theirs = recorded.method.state_dict(), plain.method.state_dict()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-7)
    first = copy.deepcopy(updater().method.state_dict())
    assert any(not torch.equal(value, first[name]) for name, value in ours.items())


# Expressions --------------------------------------------------------------------------------------


@EVERY
def test_an_expression_is_read_back(expression):
    spec = method(expression)
    assert method(spec.expression).expression == spec.expression
    assert method(spec.expression).parameters == spec.parameters


def test_every_preset_is_read():
    seen = 0
    for name, row in METHODS.items():
        for key, preset in row.presets.items():
            assert method(f"{name}@{key}").expression == method(preset.expression).expression
            assert preset.source
            seen += 1
    assert seen == 33


@pytest.mark.parametrize("name", METHODS)
def test_a_class_checks_its_parameters_as_an_expression_does(name, model):
    row = METHODS[name]
    network = (
        nl.build_model("knn", channels=1, image_size=(4, 4), num_classes=3) if name == "knn" else model()
    )
    inputs = ready(name).inputs
    for parameter, limits in row.domain.items():
        wrong = ["no such word", -1, math.nan, None, "x", True] if "low" in limits else ["drob", 1, None]
        wrong += [1.0] if limits.get("open_high") else []
        for value in wrong:
            with pytest.raises(InputError, match=f"{parameter} of {row.__name__} is "):
                row(network, nl.loss("ce"), **{**inputs, parameter: value})
    counts = {"standard": 0, "forward": 0, "backward": 0, "mixup": 1, "relabel": 1, "sop": 4, "early_stop": 4}
    counts |= dict.fromkeys(("ogc", "coteaching_plus", "jocor", "t_revision", "volminnet"), 3)
    counts |= {"dividemix": 7, "elr_plus": 6, "ssr": 5}
    assert len(row.domain) == counts.get(name, 2)


def test_every_domain_names_parameters():
    from noisylabels.core.parameters import defaults_of

    for row in METHODS.values():
        takes = defaults_of(row)
        assert set(row.domain) <= set(takes)
        assert {name for name in row.needs if name in takes} <= set(row.needs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("erl", "unknown method 'erl'; did you mean 'elr'?"),
        ("elr(lamda=3)", "the method 'elr' has no parameter 'lamda'; did you mean 'lambda_'?"),
        ("elr(beta=1)", "the parameter beta of the method 'elr' is 1, expected a number in [0, 1)"),
        ("elr(beta=high)", "the parameter beta of the method 'elr' is 'high', expected a number"),
        ("elr(beta=0.7, beta=0.8)", "gives the parameter 'beta' twice"),
        ("elr(3)", "cannot be parsed"),
        ("elr(beta=[1])", "expected a number, True, False, a word, or a text in quotes"),
        ("elr@cifar1", "the method 'elr' has no preset 'cifar1'; did you mean 'cifar10'?"),
        ("forward(transition=neighbours)", "expected a transition matrix, as one of auto, oracle"),
        (
            "forward(transition=0.3)",
            "the parameter transition of the method 'forward' is 0.3, expected a word",
        ),
        ("coteaching(forget_rate=1.0)", "expected a number in [0, 1)"),
        ("coteaching(num_gradual=2.5)", "expected a whole number"),
        ("relabel(how=drob)", "the parameter how of the method 'relabel' is 'drob'; did you mean 'drop'?"),
        ("relabel(audit=orcale)", "expected an audit of the labels, as one of auto, oracle"),
        ("standard(x=1)", "the method 'standard' has no parameter 'x'; it has no parameters"),
        ("", "cannot be parsed"),
        (3, "the method is 3 (int), expected a name"),
    ],
)
def test_an_error_says_what_came_and_what_was_expected(text, words):
    with pytest.raises(InputError, match=re.escape(words)):
        method(text)


@EVERY
def test_placeholders_are_enough_to_time_a_step(expression, sets, model):
    from noisylabels.experiment.method_inputs import FINDERS, with_placeholders
    from noisylabels.methods.inputs import KINDS

    assert FINDERS.keys() == KINDS.keys()
    bare = method(method(expression).name)
    spec = with_placeholders(bare, 41, 3, lambda: model(seed=4))
    assert spec.needs == {}
    train, test = sets()
    history = fit(model(), train, test, nl.loss("ce"), method=spec, **RUN | {"epochs": 1})
    assert np.isfinite(history.final["train_loss"])


@pytest.mark.parametrize(
    "name",
    ["forward", "backward", "t_revision", "coteaching", "coteaching_plus", "jocor", "relabel"],
)
def test_fit_asks_for_what_a_method_needs(name, sets, model):
    train, test = sets()
    with pytest.raises(InputError, match=f"the method '{name}' needs an? .*; give it as nl.method"):
        fit(model(), train, test, nl.loss("ce"), method=name, **RUN)
    with pytest.raises(InputError, match="takes no input 'transitoin'"):
        method(name, transitoin=1)


def test_inputs_that_do_not_fit(sets, model):
    train, test = sets()
    with pytest.raises(InputError, match="has 4 classes, and the data have 3"):
        fit(model(), train, test, nl.loss("ce"), method=method("forward", transition=np.eye(4)), **RUN)
    with pytest.raises(InputError, match="row 0 of the transition matrix sums to"):
        method("forward", transition=np.ones((3, 3)))(model(), nl.loss("ce"))
    with pytest.raises(InputError, match=r"has the condition number .* use forward"):
        method("backward", transition=np.full((3, 3), 1 / 3))(model(), nl.loss("ce"))
