"""A captured step against the plain one.

There may be no GPU: a tape then stands in for the graph. It records the operations that reach the dispatcher
with the very tensors they are given, refuses to read a value into Python, and repeats them, writing each
result where the first one lies: what was a number in Python when it was recorded stays that number.
"""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from noisylabels.data.loader import Batch
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.methods.fit import fit
from noisylabels.methods.standard import Standard
from noisylabels.models.catalog import build_model
from noisylabels.training.capture import WARM_STEPS, Captured, CudaGraphs, is_static
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater
from tape import Tapes

CPU = torch.device("cpu")
B = 8


@pytest.fixture(autouse=True)
def the_fast_path(monkeypatch):
    """Our losses leave their fast path where somebody looks at each operation, as a tape does.

    The processor's compiled kernel is no operation that a tape could see, and of no GPU.
    """
    for module in ("kernels.fused", "varying_sum"):
        monkeypatch.setattr(f"noisylabels.losses.{module}.is_transformed", lambda: False)
    monkeypatch.setattr("noisylabels.losses.kernels.native.takes", lambda *given: False)


def batches(count: int, size: int = B) -> list[Batch]:
    draw = torch.Generator().manual_seed(1)
    return [
        Batch(
            torch.randn(size, 1, 4, 4, generator=draw),
            torch.randint(3, (size,), generator=draw),
            torch.arange(size),
        )
        for _ in range(count)
    ]


def made(
    model: nn.Module, loss=None, device: torch.device = CPU, capturable: bool = True, **settings
) -> Updater:
    method = Standard(model.train(), loss or nn.CrossEntropyLoss())
    method.check_logits(3)
    return Updater(method, Settings(**settings), device, capturable=capturable)


def captured(model: nn.Module, loss=None, **settings) -> tuple[Captured, list[str]]:
    told: list[str] = []
    updater = made(model, loss, **settings)
    return Captured(updater, Tapes(updater), B, told.append), told


def assert_equal(ours: Updater, theirs: Updater) -> None:
    mine, other = tree_flatten(ours.state_dict()), tree_flatten(theirs.state_dict())
    assert mine[1] == other[1]
    for a, b in zip(mine[0], other[0], strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


SETTINGS = [
    {},
    {"momentum": 0.0},
    {"optimizer": "adamw"},
    {"ema": 0.9},
    {"clip": 0.1, "l1": 0.01, "weight_decay": 0.1},
    {"precision": "bfloat16"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("loss", ["ce", "nce+rce", "nfl+mae"])
def test_replays_are_the_plain_step_bit_for_bit_at_each_learning_rate(model, settings, loss):
    update, told = captured(model(), parse_loss(loss), **settings)
    plain = made(model(), parse_loss(loss), **settings)
    for number, batch in enumerate(batches(9)):
        lr = 0.1 / (1 + number)
        value, logits = update(batch, lr)
        expected = plain(batch, lr)
        assert torch.equal(value, expected[0])
        assert torch.equal(logits, expected[1])
        assert_equal(update.updater, plain)
    assert (update.recorder.warmed, update.recorder.recorded) == (WARM_STEPS, 1)
    assert told == []


@pytest.mark.parametrize(
    "loss",
    ["nce+linear(0.1,10)*mae", "nce+2*warmup(0.5)*agce", "nce+auto*mae", "auto(rule=agreement)*nce+mae"],
)
def test_a_replay_reads_the_present_weights_of_the_loss(model, loss):
    """Were a weight a number when it is recorded, the replays would keep it."""
    update, told = captured(model(), parse_loss(loss))
    plain = made(model(), parse_loss(loss))
    for number, batch in enumerate(batches(9)):
        for each in (update.updater, plain):
            each.method.set_progress(number / 9)
        value, _ = update(batch, 0.1)
        assert torch.equal(value, plain(batch, 0.1)[0])
        assert_equal(update.updater, plain)
    columns = plain.method.loss_columns()
    assert update.updater.method.loss_columns() == columns
    assert set(columns.values()) != {1.0}
    assert (update.recorder.recorded, told) == (1, [])


def test_the_tape_is_one(model):
    """Were the learning rate a number when it is recorded, the replays would keep it."""
    update, _ = captured(model())
    for batch in batches(WARM_STEPS + 1):
        update(batch, 0.1)
    parameters = update.updater.parameters[0]
    before = [p.clone() for p in parameters]
    update(batches(1)[0], 0.0)
    assert all(torch.equal(p, q) for p, q in zip(parameters, before, strict=True))


def test_batches_of_another_size_go_through_the_plain_step_between_replays(model):
    update, _ = captured(model())
    plain = made(model())
    sizes = [5, B, B, B, 5, B, B, 5, B + 1, B]
    for size, whole in zip(sizes, batches(len(sizes), 9), strict=True):
        batch = Batch(*(tensor[:size] for tensor in whole[:3]))
        update(batch, 0.1)
        plain(batch, 0.1)
        assert_equal(update.updater, plain)
    assert (update.recorder.warmed, update.recorder.recorded) == (WARM_STEPS, 1)


def test_probed_steps_are_plain_ones_between_replays(model):
    from noisylabels.training.dynamics.gradients import GradientProbe
    from noisylabels.training.dynamics.sums import Sums

    update, told = captured(model())
    plain, sums = made(model()), Sums()
    probe = GradientProbe(update.updater.method.networks[0], None, sums)
    for number, batch in enumerate(batches(11)):
        if number % 4 == 2:  # as the loop does
            update.updater.probes = [probe]
            update.updater(batch, 0.1)
            update.updater.probes = []
        else:
            update(batch, 0.1)
        plain(batch, 0.1)
        assert_equal(update.updater, plain)
    assert (update.recorder.warmed, update.recorder.recorded) == (WARM_STEPS, 1)
    assert sums.mean("relative_step") > 0
    assert told == []


def test_a_replay_reads_and_writes_where_the_recording_did(model):
    update, _ = captured(model())
    results = [update(batch, 0.1) for batch in batches(6)]
    assert results[-1][0] is results[-2][0]
    assert results[-1][1] is results[-2][1]
    given = batches(1)[0]
    kept = [tensor.clone() for tensor in given[:3]]
    update(given, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(given[:3], kept, strict=True))
    assert update._batch.inputs is not given.inputs


def test_dropout_draws_anew_in_each_replay(model):
    update, _ = captured(model(dropout=0.5))
    batch = batches(1)[0]
    torch.manual_seed(0)
    logits = [update(batch, 0.0)[1].clone() for _ in range(WARM_STEPS + 3)]
    assert len({tuple(each.flatten().tolist()) for each in logits}) == len(logits)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_what_waits_for_the_device_falls_back_says_so_once_and_changes_nothing(model, precision):
    def loss(logits, target):
        if target.min().item() < 0:
            raise AssertionError("not here")
        return nn.functional.cross_entropy(logits, target)

    update, told = captured(model(), loss, precision=precision)
    plain = made(model(), loss, precision=precision)
    for batch in batches(7):
        update(batch, 0.1)
        plain(batch, 0.1)
        assert_equal(update.updater, plain)
    assert update.recorder.recorded == 1
    assert len(told) == 1
    assert "cannot be captured" in told[0]
    assert "not permitted when stream is capturing" in told[0]
    assert "--capture off" in told[0]


def test_it_goes_on_from_a_checkpoint_and_from_one_of_a_plain_step(model):
    stream = batches(10)
    whole, _ = captured(model(), optimizer="adamw")
    for batch in stream:
        whole(batch, 0.1)
    first, _ = captured(model(), optimizer="adamw")
    for batch in stream[:5]:
        first(batch, 0.1)
    state = copy.deepcopy(first.updater.state_dict())
    assert all(type(group["lr"]) is float for group in state["optimizers"][0]["param_groups"])
    second, _ = captured(model(seed=5), optimizer="adamw")
    second.updater.load_state_dict(state)
    for batch in stream[5:]:
        second(batch, 0.1)
    assert_equal(second.updater, whole.updater)
    assert second.recorder.recorded == 1

    for optimizer in ("sgd", "adamw"):  # the states of a CPU and of a GPU fit each other
        plain = made(model(norm=False), capturable=False, optimizer=optimizer)
        plain(stream[0], 0.1)
        there, _ = captured(model(norm=False, seed=5), optimizer=optimizer)
        there.updater.load_state_dict(copy.deepcopy(plain.state_dict()))
        back = made(model(norm=False, seed=6), capturable=False, optimizer=optimizer)
        for batch in stream[1:7]:
            there(batch, 0.01)
            plain(batch, 0.01)
        back.load_state_dict(copy.deepcopy(there.updater.state_dict()))
        assert back.optimizers[0].param_groups[0]["fused"] is None
        back(stream[7], 0.01)
        plain(stream[7], 0.01)
        for ours, theirs in zip(back.parameters[0], plain.parameters[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def static(model: nn.Module, loss) -> bool:
    return is_static(Standard(model, loss))


def test_what_is_known_to_do_the_same(model):
    ours = build_model("cnn8", channels=3, image_size=(32, 32), num_classes=10, width=0.1)
    for known in (parse_loss("nce+0.5*ls(gce,r=0.2)"), nn.CrossEntropyLoss(), nn.functional.cross_entropy):
        assert static(ours, known)
    assert static(ours, functools.partial(nn.functional.cross_entropy, label_smoothing=0.1))
    assert static(ours, parse_loss("nce+linear(0.1,10)*mae"))
    assert static(ours, parse_loss("nce+auto*mae"))

    class Mine(nn.Linear):
        pass

    def loss(logits, target):
        return logits.sum()

    assert not static(nn.Sequential(nn.Flatten(), Mine(4, 3)), nn.CrossEntropyLoss())
    assert not static(ours, loss)
    assert not static(ours, functools.partial(loss, target=None))


def test_a_loss_of_ones_own_in_an_expression_is_not(tmp_path):
    (tmp_path / "mine.py").write_text("def bounded(l):\n    return 1 - l.exp()\n")
    own = parse_loss(f"'{tmp_path / 'mine.py'}:bounded'")
    assert not static(nn.Linear(4, 3), own)
    assert not static(nn.Linear(4, 3), own + parse_loss("nce"))


@pytest.mark.parametrize("weighted", [False, True])
def test_on_a_cpu_nothing_is_captured_and_who_wants_it_is_told(sets, model, recwarn, weighted):
    train, test = sets()
    weights = torch.ones(len(train)) if weighted else None
    ends = []
    for capture in ("auto", "off", "on"):
        assert not recwarn.list
        ends.append(model())
        fit(
            ends[-1],
            train,
            test,
            nn.CrossEntropyLoss(),
            epochs=2,
            batch_size=16,
            device="cpu",
            capture=capture,
            weights=weights,
        )
    (told,) = recwarn.list
    assert str(told.message).startswith("capture on has no effect: ")
    assert "cpu" in str(told.message)
    for other in ends[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ends[0].parameters(), other.parameters(), strict=True))


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_gpu
@pytest.mark.parametrize("settings", [*SETTINGS, {"precision": "float16"}], ids=str)
def test_on_a_gpu_replays_are_the_plain_step(model, settings):
    device = torch.device("cuda")
    steps = [made(model().to(device), parse_loss("nce+rce"), device, **settings) for _ in range(2)]
    told: list[str] = []
    update = Captured(steps[0], CudaGraphs(device), B, told.append)
    for number, batch in enumerate(batches(9)):
        for step in (update, steps[1]):
            value, _ = step(Batch(*(tensor.to(device) for tensor in batch[:3])), 0.1 / (1 + number))
            assert value.isfinite()
    assert told == []
    for ours, theirs in zip(steps[0].parameters[0], steps[1].parameters[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@needs_gpu
def test_on_a_gpu_a_step_waits_for_nothing_and_a_broken_recording_falls_back(model):
    device = torch.device("cuda")

    def waits(logits, target):
        return nn.functional.cross_entropy(logits, target) * (1.0 if target.sum().item() >= 0 else 0.0)

    for loss, precision, why in ((parse_loss("nce+rce"), "float16", 0), (waits, "float32", 1)):
        told: list[str] = []
        network = model(dropout=0.2).to(device)
        update = Captured(
            made(network, loss, device, precision=precision), CudaGraphs(device), B, told.append
        )
        stream = [Batch(*(tensor.to(device) for tensor in batch[:3])) for batch in batches(8)]
        for number, batch in enumerate(stream):
            torch.cuda.set_sync_debug_mode("error" if number > WARM_STEPS and not why else "default")
            try:
                value, _ = update(batch, 0.1)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert value.isfinite()
        assert len(told) == why
