"""A validation split with noisy labels, to choose an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.core.rng import generator
from noisylabels.data.split import validation_split
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.methods.fit import fit
from noisylabels.noise.corruption import corrupt
from noisylabels.training.loop import TrainingDiverged

FAST = {"epochs": 2, "batch_size": 16, "lr": 0.05, "device": "cpu"}


def seen(sets, model, name: str, **more) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the examples that the loss saw in training and in evaluation, in their order.

    Each example is of a class of its own, so that its label says which it is; the test set has none but 0.
    """
    train, test = sets(n=40, m=1, K=40)
    criterion = parse_loss(name)
    parts: dict[bool, list[torch.Tensor]] = {True: [], False: []}

    def record(logits, target):
        parts[torch.is_grad_enabled()].append(target.clone())
        return criterion(logits, target)

    fit(model(K=40), train, test, record, **FAST | more)
    return torch.cat(parts[True]), torch.cat(parts[False])


@pytest.mark.parametrize("share", [0.025, 0.2, 0.5])
def test_what_is_held_out_is_never_trained_on_and_the_same_for_every_loss(sets, model, share):
    trained, evaluated = seen(sets, model, "ce", validation=share, seed=3)
    kept, held = validation_split(40, share, 3)
    assert len(held) == round(40 * share)
    assert sorted(trained.tolist()) == sorted([*kept, *kept])  # each once an epoch
    assert evaluated.tolist() == [0, *held, 0, *held]  # the test set's one, then those held out
    other = seen(sets, model, "nce+mae", validation=share, seed=3)
    assert torch.equal(trained, other[0])
    assert torch.equal(evaluated, other[1])


def test_without_validation_the_order_is_that_of_all_examples(sets, model):
    trained, evaluated = seen(sets, model, "ce", seed=3)
    expected = [torch.randperm(40, generator=generator(3, "order", epoch)) for epoch in (0, 1)]
    assert torch.equal(trained, torch.cat(expected))
    assert evaluated.tolist() == [0, 0]


@pytest.mark.parametrize("known", [True, False])
def test_measures_and_weights_against_a_loop_written_out(sets, model, known):
    """Noise first, then the split; trained on the rest, measured on each part's own labels."""
    train, test = sets(n=50)
    labels = corrupt(train.labels, "symmetric:0.4", num_classes=3, seed=1)
    given = torch.from_numpy(labels.given) if known else train.labels
    ours, theirs = model(), model()
    criterion = nn.CrossEntropyLoss()
    history = fit(
        ours, train, test, criterion, labels=labels if known else None, validation=0.2, seed=1, **FAST
    )
    kept, held = (torch.from_numpy(part) for part in validation_split(50, 0.2, 1))
    pixels = train.images.double() / 255  # of all 50
    x = (train.images.float() / 255 - pixels.mean().float()) / pixels.std(correction=0).float()
    x = x.contiguous(memory_format=torch.channels_last)
    theirs.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    for epoch, row in enumerate(history.rows):
        theirs.train()
        said: dict[int, int] = {}
        for index in kept[torch.randperm(40, generator=generator(1, "order", epoch))].split(16):
            optimizer.zero_grad()
            logits = theirs(x[index])
            criterion(logits, given[index]).backward()
            optimizer.step()
            said |= dict(zip(index.tolist(), logits.argmax(1).tolist(), strict=True))
        scheduler.step()
        assert sorted(said) == kept.tolist()

        def share(hits: list[bool]) -> float:
            return float(np.mean(hits))

        pairs = [(said[i], int(given[i]), int(train.labels[i])) for i in kept.tolist()]
        assert row["given_accuracy"] == pytest.approx(share([p == g for p, g, _ in pairs]))
        if known:
            wrong = [(p, g, t) for p, g, t in pairs if g != t]
            assert row["true_accuracy"] == pytest.approx(share([p == t for p, _, t in pairs]))
            assert row["memorized"] == pytest.approx(share([p == g for p, g, _ in wrong]))
            assert row["recovered"] == pytest.approx(share([p == t for p, _, t in wrong]))
        else:
            assert row["true_accuracy"] is row["memorized"] is row["recovered"] is None
        theirs.eval()
        with torch.no_grad():
            logits = theirs(x[held])
        assert row["validation_accuracy"] == pytest.approx(share((logits.argmax(1) == given[held]).tolist()))
        assert row["validation_loss"] == pytest.approx(criterion(logits, given[held]).item(), rel=1e-5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):  # of the last epoch
        assert torch.equal(a, b)


def test_only_a_run_with_a_split_has_its_columns(sets, model):
    plain = fit(model(), *sets(), nn.CrossEntropyLoss(), **FAST)
    held = fit(model(), *sets(), nn.CrossEntropyLoss(), validation=0.1, **FAST)
    assert held.rows[0].keys() - plain.rows[0].keys() == {"validation_loss", "validation_accuracy"}
    assert plain.chosen is None
    assert held.chosen in held.rows


def test_what_is_held_out_is_not_augmented(sets, model):
    """Nothing is learned at this rate, so only what is drawn could make two epochs differ."""
    how = {"validation": 0.3, "lr": 1e-30, "augment": "crop:2+flip"}
    first, second = fit(model(norm=False), *sets(), nn.CrossEntropyLoss(), **FAST | how).rows
    assert first["validation_loss"] == second["validation_loss"]
    assert first["train_loss"] != second["train_loss"]


@pytest.mark.parametrize("share", [-0.1, 0.51, 1, float("nan")])
def test_a_share_out_of_range_is_refused(sets, model, share):
    message = r"validation is .*, expected a number in \[0, 0.5\]|'validation' is nan, expected a finite"
    with pytest.raises(InputError, match=message):
        fit(model(), *sets(), nn.CrossEntropyLoss(), validation=share, **FAST)


def test_a_split_of_no_example_is_refused(sets, model):
    with pytest.raises(InputError, match=r"share of 0.01 of 40 training examples is 0, expected 1 to 39"):
        fit(model(), *sets(), nn.CrossEntropyLoss(), validation=0.01, **FAST)


def test_a_loss_that_is_not_finite_on_the_split_alone(sets, model):
    train, test = sets()
    held = torch.from_numpy(validation_split(40, 0.1, 0)[1])

    def broken(logits, target):
        value = nn.functional.cross_entropy(logits, target)
        return value if torch.is_grad_enabled() or len(target) != len(held) else value * torch.nan

    with pytest.raises(
        TrainingDiverged, match="in epoch 1, step 3: on the validation split, the loss was not finite"
    ):
        fit(model(), train, test, broken, validation=0.1, **FAST)
