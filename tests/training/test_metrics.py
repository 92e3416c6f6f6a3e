from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from torch import nn

import noisylabels as nl
from noisylabels.data.loader import Batches
from noisylabels.methods.standard import Standard
from noisylabels.training.metrics import dead_classes, evaluate, label_metrics, recall
from noisylabels.training.running_metrics import RunningMetrics, zero_sum

CPU = torch.device("cpu")


def share(hits: list[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


CLASS = st.integers(0, 3)


@hypothesis_given(st.lists(st.tuples(CLASS, CLASS, st.integers(-1, 3)), min_size=1, max_size=30))
def test_label_metrics_against_a_naive_loop(rows):
    """A true label of -1 is that of an image of no class."""
    predicted, given, true = (torch.tensor(column) for column in zip(*rows, strict=True))
    wrong = [(p, g, t) for p, g, t in rows if g != t]
    assert label_metrics(predicted, given, true) == {
        "given_accuracy": share([p == g for p, g, _ in rows]),
        "true_accuracy": share([p == t for p, _, t in rows if t >= 0]),
        "memorized": share([p == g for p, g, _ in wrong]),
        "recovered": share([p == t for p, _, t in wrong if t >= 0]),
    }


def test_label_metrics_by_hand():
    given, true = torch.tensor([0, 1, 1, 0, 2]), torch.tensor([0, 0, 1, 2, 1])  # three wrong labels
    predicted = torch.tensor([0, 1, 0, 2, 0])
    assert label_metrics(predicted, given, true) == {
        "given_accuracy": 0.4,
        "true_accuracy": 0.4,
        "memorized": pytest.approx(1 / 3),
        "recovered": pytest.approx(1 / 3),
    }


def test_what_is_unknown_is_none_and_never_nan():
    labels = torch.tensor([0, 1])
    unknown = {"given_accuracy": 1.0, "true_accuracy": None, "memorized": None, "recovered": None}
    assert label_metrics(labels, labels, None) == unknown
    assert label_metrics(labels, labels, labels) == unknown | {"true_accuracy": 1.0}


@hypothesis_given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40), st.integers(5, 7)
)
def test_recall_against_a_naive_loop(rows, K):
    predicted, labels = (torch.tensor(column) for column in zip(*rows, strict=True))
    expected = [share([p == k for p, t in rows if t == k]) for k in range(K)]
    assert recall(predicted, labels, K) == expected


def test_dead_classes():
    # one in a hundred is dead still; a class without test images is not known to be
    assert dead_classes([0.0, 0.01, 0.011, None, 1.0]) == [0, 1]
    assert dead_classes([]) == []


class Fixed(nn.Module):
    """Answers with the logits of the images' numbers, which are their pixels."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return self.logits[images.view(-1).mul(255).round().long()]


def numbered(labels: torch.Tensor, batch_size: int) -> Batches:
    """Return batches whose images are one pixel each, the image's number."""
    pixels = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    how = {"device": "cpu", "mean": [0.0], "std": [1.0], "augment": None, "shuffle": False, "seed": 0}
    return Batches(pixels, labels, batch_size=batch_size, **how)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 100])
def test_evaluate_against_a_naive_loop_whatever_the_batches(batch_size):
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    off = functools.partial(torch.autocast, "cpu", enabled=False)
    said = evaluate(Fixed(logits).eval(), numbered(labels, batch_size), nn.CrossEntropyLoss(), off)
    assert said.predicted.tolist() == [max(range(4), key=row.__getitem__) for row in logits.tolist()]
    assert said.labels.tolist() == labels.tolist()
    losses = [nn.functional.cross_entropy(logits[i], labels[i]).item() for i in range(7)]
    assert said.loss == pytest.approx(sum(losses) / 7, rel=1e-6)
    assert said.finite is True


@pytest.mark.parametrize("batch_size", [1, 2, 3, 9, 100])
@pytest.mark.parametrize(
    "own", [nl.loss, lambda _, **more: nn.CrossEntropyLoss(**more)], ids=["ours", "torch"]
)
@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"weight": torch.tensor([0.1, 0.0, 2.0, 7.0])}, [0.1, 0.0, 2.0, 7.0]),
        ({"ignore_index": 1}, [1, 0, 1, 1]),
        ({"ignore_index": 2, "weight": torch.tensor([0.1, 4.0, 2.0, 7.0])}, [0.1, 4.0, 0, 7.0]),
    ],
    ids=["weights", "ignored", "both"],
)
def test_the_loss_of_a_set_does_not_depend_on_the_batches(options, weights, own, batch_size):
    """Sorted by class, as a folder of images is, so that batches have no label that counts."""
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 3])
    off = functools.partial(torch.autocast, "cpu", enabled=False)
    method = Standard(nn.Linear(1, 4), own("ce", **options))
    how = {"loss": method.evaluation_loss, "autocast": off, "sums": method.evaluation_sums}
    said = evaluate(Fixed(logits).eval(), numbered(labels, batch_size), **how)
    each = [nn.functional.cross_entropy(logits[i], labels[i]).item() for i in range(9)]
    w = [weights[y] for y in labels.tolist()]
    assert said.loss == pytest.approx(sum(a * b for a, b in zip(w, each, strict=True)) / sum(w), rel=1e-6)
    assert said.loss == pytest.approx(own("ce", **options)(logits, labels).item(), rel=1e-6)


def test_a_set_without_a_label_that_counts_has_no_loss():
    off = functools.partial(torch.autocast, "cpu", enabled=False)
    method = Standard(nn.Linear(1, 4), nl.loss("ce", ignore_index=0))
    how = {"loss": method.evaluation_loss, "autocast": off, "sums": method.evaluation_sums}
    said = evaluate(Fixed(torch.zeros(5, 3)).eval(), numbered(torch.zeros(5).long(), 2), **how)
    assert math.isnan(said.loss)


def test_an_evaluation_loss_of_a_method_s_own_is_averaged_over_the_examples():
    class Own(Standard):
        def evaluation_loss(self, logits, target):
            return torch.tensor(float(len(target)))

    off = functools.partial(torch.autocast, "cpu", enabled=False)
    method = Own(nn.Linear(1, 4), nl.loss("ce", ignore_index=1))
    how = {"loss": method.evaluation_loss, "autocast": off, "sums": method.evaluation_sums}
    said = evaluate(Fixed(torch.zeros(5, 3)).eval(), numbered(torch.zeros(5).long(), 3), **how)
    assert said.loss == (3 * 3 + 2 * 2) / 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_evaluate_sees_a_single_logit_that_is_not_finite(bad):
    logits = torch.zeros(5, 3)
    logits[4, 1] = bad
    off = functools.partial(torch.autocast, "cpu", enabled=False)
    # a loss that hides it
    said = evaluate(
        Fixed(logits).eval(), numbered(torch.zeros(5).long(), 2), lambda l, t: torch.tensor(1.0), off
    )
    assert (said.loss, said.finite) == (1.0, False)


def test_running_metrics_count_the_steps_before_the_first_that_was_not_finite():
    running = RunningMetrics(6, CPU)
    nan, one, fine = torch.tensor(float("nan")), torch.tensor(1.0), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    running.add(torch.tensor([4, 1]), one, fine)
    running.add(torch.tensor([0, 2]), nan, fine)
    again = RunningMetrics(6, CPU)
    again.load_state_dict(running.state_dict())
    for each in (running, again):
        each.add(torch.tensor([3, 5]), one, fine.log())  # -inf
        assert each.finite_steps.tolist() == [1, 2]
        assert each.predicted.tolist() == [1, 0, 0, 1, 1, 0]
        each.clear()
        each.add(torch.tensor([0, 1]), one, fine)
        assert each.finite_steps.tolist() == [1, 1]
        assert each.loss_sum.item() == 1.0


def test_sums_are_double_except_where_there_is_no_double():
    assert zero_sum(CPU).dtype == torch.float64
    assert zero_sum(torch.device("meta")).dtype == torch.float64
