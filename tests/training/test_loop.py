"""The loop against a plain torch loop, and its guarantees about randomness."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.core.device import pick_device
from noisylabels.core.rng import derive_seed
from noisylabels.data.augment import parse_augment
from noisylabels.data.images import image_set
from noisylabels.data.loader import Batches
from noisylabels.data.split import validation_split
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.methods.fit import fit
from noisylabels.models.catalog import build_model
from noisylabels.noise.corruption import corrupt
from noisylabels.noise.labels import NoisyLabels
from noisylabels.training.callbacks import Callback

FAST = {"epochs": 2, "batch_size": 16, "lr": 0.05, "device": "cpu"}


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def orders(n: int, batch_size: int, seed: int, epochs: int) -> list[list[torch.Tensor]]:
    """Return the positions in the batches of each epoch."""
    how = {"device": "cpu", "mean": [0.0], "std": [1.0], "augment": None, "shuffle": True, "seed": seed}
    batches = Batches(
        torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.zeros(n).long(), batch_size=batch_size, **how
    )
    return [[batch.positions for batch in batches.epoch(epoch)] for epoch in range(epochs)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_is_bit_for_bit_a_plain_loop(sets, model, channels, layout):
    train, test = sets(n=41, channels=channels)  # 41 = 16 + 16 + 9
    ours, theirs = model(channels=channels), model(channels=channels)
    history = fit(
        ours,
        train,
        test,
        nn.CrossEntropyLoss(),
        epochs=3,
        batch_size=16,
        lr=0.05,
        seed=7,
        device="cpu",
        channels_last=layout is torch.channels_last,
    )

    def prepared(images: torch.Tensor) -> torch.Tensor:
        pixels = train.images.double() / 255
        mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
        x = images.float() / 255
        x = (x - mean.float().view(1, -1, 1, 1)) / std.float().view(1, -1, 1, 1)
        return x.contiguous(memory_format=layout)

    theirs.to(memory_format=layout)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    for epoch, order in enumerate(orders(41, 16, 7, 3)):
        theirs.train()
        losses, right = [], 0
        for index in order:
            optimizer.zero_grad()
            logits = theirs(prepared(train.images[index]))
            value = criterion(logits, train.labels[index])
            value.backward()
            optimizer.step()
            losses.append(value.item())
            right += (logits.argmax(1) == train.labels[index]).sum().item()
        theirs.eval()
        with torch.no_grad():
            logits = theirs(prepared(test.images))
        row = history.rows[epoch]
        assert row["epoch"] == epoch + 1
        assert row["lr"] == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        assert row["train_loss"] == pytest.approx(np.mean(losses), rel=1e-12)
        assert row["given_accuracy"] == right / 41
        assert row["test_loss"] == pytest.approx(criterion(logits, test.labels).item(), rel=1e-6)
        assert row["test_accuracy"] == (logits.argmax(1) == test.labels).double().mean().item()
        scheduler.step()
    assert same(ours, theirs)
    assert not ours.training


def test_it_learns(sets, model):
    train, test = sets(n=120, m=60)
    history = fit(model(), train, test, parse_loss("nce+mae"), **FAST | {"epochs": 8})
    assert history.final["test_accuracy"] > 0.8


PROMISED = {
    "epoch": int,
    "lr": float,
    "train_loss": float,
    "given_accuracy": float,
    "true_accuracy": float,
    "memorized": float,
    "recovered": float,
    "test_loss": float,
    "test_accuracy": float,
    "recall": list,
    "dead_classes": list,
    "train_seconds": float,
    "data_seconds": float,
    "eval_seconds": float,
}


def test_a_row_has_what_is_promised_and_is_written_as_it_is(sets, model, tmp_path):
    train, test = sets()
    labels = corrupt(train.labels, "symmetric:0.3", num_classes=3, seed=0)
    told: list[dict] = []
    steps: list[tuple[int, int, int]] = []

    class Follower(Callback):
        def on_step(self, step):
            steps.append((step.epoch, step.done, step.total))

        def on_epoch_end(self, row):
            told.append(row)

    history = fit(
        model(),
        train,
        test,
        nn.CrossEntropyLoss(),
        labels=labels,
        folder=tmp_path,
        callbacks=[Follower()],
        **FAST,
    )
    for row in history.rows:
        assert {name: type(value) for name, value in row.items()} == PROMISED
        assert row["train_seconds"] > 0 < row["eval_seconds"]
        assert 0 <= row["data_seconds"] < row["train_seconds"]
        times = [row[f"{name}_seconds"] for name in ("train", "data", "eval")]
        assert times == [round(value, 4) for value in times]
    assert steps == [(e, d, 3) for e in (1, 2) for d in (1, 2, 3)]
    assert told == history.rows
    written = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert written == history.rows
    assert sorted(f.name for f in tmp_path.iterdir()) == ["checkpoint.pt", "history.jsonl"]


class Oracle(nn.Module):
    """Predicts the class encoded in each image's (single, noise-free) pixel; cannot learn."""

    def __init__(self, says: list[int], K: int) -> None:
        super().__init__()
        self.says = torch.tensor(says)
        self.K = K
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # pixels 0, 10, 20, ... after normalization: their rank in the whole set is their number
        number = torch.searchsorted(self.values, images.view(-1))
        return nn.functional.one_hot(self.says[number], self.K).float() + 0 * self.weight

    def know(self, pixels: torch.Tensor, mean: float, std: float) -> Oracle:
        self.values = (pixels.float() / 255 - mean) / std - 1e-3
        self.values = torch.sort(self.values).values + 0.0
        return self


def test_memorized_recovered_and_dead_classes_by_hand():
    #         image   0  1  2  3  4  5  6  7
    true = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    given = np.array([0, 1, 1, 0, 2, 0, 1, 2])  # wrong: 1, 3, 5, 6
    says = [0, 1, 1, 1, 1, 0, 2, 0]  # memorized: 1, 5; recovered: 3, 6
    pixels = (torch.arange(8) * 30).to(torch.uint8).view(8, 1, 1, 1)
    train = image_set(pixels, torch.tensor(true), ("a", "b", "c"))
    test = image_set(pixels[2:6], torch.tensor(true[2:6]), ("a", "b", "c"))  # says 1, 1, 1, 0 of 1, 1, 2, 2
    (mean,), (std,) = train.mean_std()
    labels = NoisyLabels(given, true, "people", 0, 3)

    class Shifted(Oracle):
        def forward(self, images):
            return super().forward(images - 2e-3)  # just below its own value: the rank is its number

    model = Shifted(says, 3).know(pixels.view(-1), mean, std)
    row = fit(
        model, train, test, nn.CrossEntropyLoss(), labels=labels, epochs=1, batch_size=3, device="cpu"
    ).final
    assert row["given_accuracy"] == 4 / 8  # 0, 1, 2, 5
    assert row["true_accuracy"] == 4 / 8  # 0, 2, 3, 6
    assert (row["memorized"], row["recovered"]) == (2 / 4, 2 / 4)
    assert row["recall"] == [None, 1.0, 0.0]
    assert row["dead_classes"] == [2]
    assert row["test_accuracy"] == 2 / 4


def test_without_noisy_labels_the_truth_is_unknown(sets, model):
    row = fit(model(), *sets(), nn.CrossEntropyLoss(), **FAST).final
    assert row["given_accuracy"] is not None
    assert row["true_accuracy"] is row["memorized"] is row["recovered"] is None


def test_the_test_set_selects_nothing(sets, model):
    train, test = sets()
    _, other = sets(m=33, seed=5)
    one, two = model(dropout=0.3), model(dropout=0.3)
    fit(one, train, test, nn.CrossEntropyLoss(), **FAST)
    fit(two, train, other, nn.CrossEntropyLoss(), **FAST)
    assert same(one, two)


def test_the_callers_random_state_neither_matters_nor_changes(sets, model):
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        trained = model(dropout=0.3)
        fit(trained, *sets(), nn.CrossEntropyLoss(), augment="crop:1+flip", **FAST)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(trained)
    assert same(*ends)


@pytest.mark.parametrize("changed", ["noise", "validation", "weights", "order", "augment", "model"])
def test_each_random_stream_is_its_own(sets, monkeypatch, changed):
    """Change the seed of one stream: its own draws change, those of the others stay."""
    train, _ = sets(n=50, size=8)

    def drawn() -> dict[str, bytes]:
        order = [index for epoch in orders(50, 16, 0, 2) for index in epoch]
        draws = parse_augment("crop:2+flip").draw(50, 0, 1)
        network = build_model("small-cnn", channels=1, image_size=(8, 8), num_classes=3, width=0.1)
        masks: list[torch.Tensor] = []

        class Mask(nn.Dropout):
            def forward(self, x):
                if self.training:
                    masks.append(super().forward(torch.ones(4)))
                return x

        head = nn.Sequential(nn.Flatten(), Mask(), nn.Linear(64, 3))
        fit(head, train, train, nn.CrossEntropyLoss(), **FAST)
        given = corrupt(train.labels, "symmetric:0.4", num_classes=3, seed=0).given
        return {
            "noise": given.tobytes(),
            "validation": validation_split(50, 0.2, 0)[1].tobytes(),
            "weights": torch.cat([p.detach().flatten() for p in network.parameters()]).numpy().tobytes(),
            "order": torch.cat(order).numpy().tobytes(),
            "augment": draws.shift.numpy().tobytes() + draws.flip.numpy().tobytes(),
            "model": torch.cat(masks).numpy().tobytes(),
        }

    before = drawn()

    def other(seed: int, *name: str | int) -> int:
        return derive_seed(seed + (name[:1] == (changed,)), *name)

    for module in ("core.rng", "models.catalog", "training.loop", "noise.labels", "noise.corruption"):
        monkeypatch.setattr(f"noisylabels.{module}.derive_seed", other, raising=False)
    after = drawn()
    assert {name for name in before if before[name] != after[name]} == {changed}


def test_every_loss_of_a_study_is_trained_on_the_same_labels_and_order(sets, model):
    train, test = sets()
    labels = corrupt(train.labels, "symmetric:0.4", num_classes=3, seed=3)
    seen: dict[str, list] = {}
    for name in ("ce", "nce+mae", "mae"):
        criterion, targets = parse_loss(name), seen.setdefault(name, [])

        def record(logits, target, criterion=criterion, targets=targets):
            targets.append(target.clone())
            return criterion(logits, target)

        fit(model(), train, test, record, labels=labels, seed=3, **FAST)
    first = torch.cat(seen["ce"])
    assert all(torch.equal(torch.cat(targets), first) for targets in seen.values())


def test_losses_of_any_make(sets, model):
    def plain(logits, target):
        return (torch.logsumexp(logits, 1) - logits.gather(1, target[:, None])[:, 0]).mean()

    rows = [
        fit(model(), *sets(), loss, **FAST).final
        for loss in (nn.CrossEntropyLoss(), nn.functional.cross_entropy, plain, parse_loss("ce"))
    ]
    for row in rows:
        assert row["test_loss"] == pytest.approx(rows[0]["test_loss"], rel=1e-4)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("size", [4, 5])
def test_models_with_and_without_normalization_even_where_one_example_remains(sets, model, norm, size):
    # 33 = 16 + 16 + 1: the last joins the batch before it, because batch norm cannot train on one
    train, test = sets(n=33, m=501, size=size)  # 501 = 500 + 1: evaluation takes the one
    history = fit(model(norm=norm, size=size), train, test, nn.CrossEntropyLoss(), **FAST)
    assert len(history) == 2
    assert math.isfinite(history.final["test_loss"])


def test_a_set_smaller_than_a_batch(sets, model):
    assert len(fit(model(), *sets(n=5, m=1), nn.CrossEntropyLoss(), **FAST | {"batch_size": 128})) == 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_augmentation_and_extra_at_once(sets, model, precision):
    history = fit(
        model(channels=3, dropout=0.1),
        *sets(n=60, channels=3),
        parse_loss("nce+mae"),
        precision=precision,
        augment="crop:1+flip",
        ema=0.5,
        clip=1.0,
        l1=1e-5,
        optimizer="adamw",
        schedule="step",
        warmup_epochs=0.5,
        **FAST,
    )
    assert len(history) == 2


def test_the_average_is_what_is_evaluated_and_kept(sets, model):
    train, test = sets()
    plain, averaged = model(), model()
    fit(plain, train, test, nn.CrossEntropyLoss(), **FAST)
    history = fit(averaged, train, test, nn.CrossEntropyLoss(), ema=0.9, **FAST)
    assert not same(plain, averaged)
    mean, std = train.mean_std()
    with torch.no_grad():
        logits = averaged((test.images.float() / 255 - mean[0]) / std[0])
    expected = nn.functional.cross_entropy(logits, test.labels).item()
    assert history.final["test_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'"),
        ({"epochs": 1.5}, "the setting 'epochs' is 1.5"),
        ({"device": "tpu"}, "the device 'tpu' is not usable here"),
        ({"device": "meta"}, "the device 'meta' is not usable here"),
        ({"device": "cuda:99"}, "the device 'cuda:99' is not usable here"),
        ({"augment": "cropp:4"}, "unknown augmentation 'cropp:4'"),
    ],
)
def test_wrong_settings_are_one_clear_line(sets, model, wrong, message):
    with pytest.raises(InputError, match=message):
        fit(model(), *sets(), nn.CrossEntropyLoss(), **FAST | wrong)


def test_labels_and_sets_must_fit_each_other(sets, model):
    train, test = sets()
    labels = corrupt(train.labels[:-1], "symmetric:0.4", num_classes=3)
    with pytest.raises(InputError, match="39 labels of 3 classes, expected 40 of 3 classes"):
        fit(model(), train, test, nn.CrossEntropyLoss(), labels=labels, **FAST)
    labels = corrupt(train.labels, "symmetric:0.4", num_classes=4)
    with pytest.raises(InputError, match="40 labels of 4 classes, expected 40 of 3 classes"):
        fit(model(), train, test, nn.CrossEntropyLoss(), labels=labels, **FAST)
    wider = dataclasses.replace(test, class_names=("a", "b", "c", "d"))
    with pytest.raises(InputError, match="the test set has 4 classes, expected 3"):
        fit(model(), train, wider, nn.CrossEntropyLoss(), **FAST)


def test_the_device_that_auto_picks():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_loss_that_is_no_mean_is_refused(sets, model, reduction):
    with pytest.raises(InputError, match=f"reduction '{reduction}', expected 'mean'"):
        fit(model(), *sets(), nn.CrossEntropyLoss(reduction=reduction), epochs=1)


def test_the_folder_may_be_a_string(sets, model, tmp_path):
    fit(model(), *sets(), nn.CrossEntropyLoss(), epochs=1, folder=str(tmp_path))
    assert (tmp_path / "history.jsonl").exists()


def test_labels_and_losses_that_are_none_are_named(sets, model):
    train, test = sets(n=12)

    def refused(message: str, **given) -> None:
        with pytest.raises(InputError, match=message):
            fit(
                model(),
                train,
                test,
                given.pop("loss", nn.CrossEntropyLoss()),
                epochs=1,
                device="cpu",
                **given,
            )

    refused("the loss is 'ce', expected a function or a module, such as nl.loss", loss="ce")
    refused("labels are a ndarray, expected NoisyLabels", labels=train.labels.numpy())
    tail = corrupt(train.labels, "longtail:0.1", num_classes=train.num_classes)
    assert len(tail) < 12
    refused("removes examples: use the set that nl.corrupt_set returns", labels=tail)
    swapped = corrupt(train.labels, "openset:0.5@x", num_classes=train.num_classes, foreign=12)
    refused(
        "removed examples or foreign images; use the set that nl.corrupt_set returns with them",
        labels=swapped,
    )
    other = corrupt([0, 1], "none", num_classes=train.num_classes)
    refused("there are 2 labels of .*, expected 12 of .*; corrupt the labels of this set", labels=other)


def test_a_part_of_a_set_is_trained_on_and_nothing_else_seen(sets, model):
    train, _ = sets(n=40)
    part = np.arange(40)[np.arange(40) % 4 != 1]
    seen = []

    class Observer(Callback):
        def on_step(self, step):
            seen.append((step.epoch, step.positions.tolist()))

    net = model()
    fit(
        net,
        train,
        None,
        nn.CrossEntropyLoss(),
        positions=part,
        callbacks=[Observer()],
        **FAST,
    )
    for epoch in (1, 2):
        assert sorted(i for e, index in seen for i in index if e == epoch) == part.tolist()
    # what is left aside is not looked at: other labels there change nothing
    other = train.labels.clone()
    other[1::4] = 0
    again = model()
    changed = dataclasses.replace(train, labels=other)
    fit(again, changed, None, nn.CrossEntropyLoss(), positions=part, **FAST)
    assert same(net, again)


@pytest.mark.parametrize("positions", [[1, 0], [0, 0, 1], [-1, 2], [2, 40], [], [0.0, 1.0], [[0, 1]]])
def test_positions_that_are_none_are_refused(sets, model, positions):
    train, _ = sets(n=40)
    with pytest.raises(
        InputError, match="positions are invalid, expected int64 numbers from 0 to 39 in ascending order"
    ):
        fit(model(), train, None, nn.CrossEntropyLoss(), positions=np.array(positions), **FAST)


def test_a_checkpoint_of_another_part_is_refused(sets, model, tmp_path):
    train, _ = sets(n=40)
    parts = [None, np.arange(30), np.arange(31)]
    for i, positions in enumerate(parts):
        fit(
            model(), train, None, nn.CrossEntropyLoss(), positions=positions, folder=tmp_path / str(i), **FAST
        )
        for other in parts:
            if other is not positions:
                with pytest.raises(InputError, match="of a run whose part of the training set is"):
                    fit(
                        model(),
                        train,
                        None,
                        nn.CrossEntropyLoss(),
                        positions=other,
                        folder=tmp_path / str(i),
                        **FAST,
                    )
