"""T-revision and VolMinNet: matrices, importance weights and volume in NumPy, limits, and what is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import noisylabels as nl
from methods.test_arithmetic import B, Fixed, K, skewed, softmax, step
from methods.test_contract import RUN, setup
from noisylabels.data.loader import Batch
from noisylabels.methods.expression import method
from noisylabels.methods.fit import fit
from noisylabels.methods.t_revision import TRevision, importance, revised_transition
from noisylabels.methods.volminnet import VolMinNet, dominant_transition, log_volume
from noisylabels.noise.transition import symmetric
from noisylabels.training.method import Method
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater

draw = torch.Generator().manual_seed(5)
LOGITS = 2 * torch.randn(B, K, generator=draw, dtype=torch.float64)
TARGET = torch.randint(K, (B,), generator=draw)
P = np.array([softmax(row) for row in LOGITS.tolist()])


def test_a_revised_matrix_per_entry():
    T, delta = skewed(), np.random.default_rng(1).normal(scale=0.1, size=(K, K))
    found = revised_transition(torch.tensor(T), torch.tensor(delta))
    for i in range(K):
        row = [max(T[i, j] + delta[i, j], 0) for j in range(K)]
        np.testing.assert_allclose(found[i], np.array(row) / sum(row), rtol=1e-12)
    assert (found == 0).any()
    assert revised_transition(torch.eye(2), -2 * torch.eye(2)).tolist() == [[0, 0], [0, 0]]


def test_importance_per_example():
    T = skewed()
    found = importance(LOGITS, torch.tensor(T), TARGET)
    for n, y in enumerate(TARGET.tolist()):
        assert found[n].item() == pytest.approx(P[n, y] / sum(P[n, i] * T[i, y] for i in range(K)), rel=1e-9)


def test_the_mean_of_reweighted_losses_over_the_noise_is_the_loss_of_the_true_label():
    """For the true p: sum_j q_j (p_j / q_j) l_j = sum_j p_j l_j."""
    T = torch.tensor(skewed())
    each = torch.stack([importance(LOGITS, T, torch.full((B,), j)) for j in range(K)], 1).numpy()
    q, costs = P @ T.numpy(), -np.log(P)
    np.testing.assert_allclose((q * each * costs).sum(1), (P * costs).sum(1), rtol=1e-9)


@pytest.mark.parametrize("loss", ["ce", "gce", "nce+rce"])
def test_the_reweighted_loss_of_a_step(loss):
    T = skewed()
    values = nl.loss(loss, reduction="none")(LOGITS.float(), TARGET).double().numpy()
    weight = P[np.arange(B), TARGET] / (P @ T)[np.arange(B), TARGET]
    found, made = step("t_revision(how=reweight)", LOGITS, TARGET, nl.loss(loss), transition=T)
    assert found.item() == pytest.approx((weight * values).mean(), rel=1e-5)
    table = LOGITS.float().requires_grad_()  # the weights are constants before the revision
    (torch.tensor(weight) * nl.loss(loss, reduction="none")(table, TARGET)).mean().backward()
    torch.testing.assert_close(made.networks[0].table.grad, table.grad, rtol=1e-4, atol=1e-6)
    assert made.delta.grad.abs().sum() == 0


@pytest.mark.parametrize("how", ["forward", "reweight"])
def test_the_gradient_of_delta_is_that_of_a_difference_quotient(how):
    T = skewed()
    spec = method(f"t_revision(how={how},start=0)", transition=T)
    found = spec(Fixed(LOGITS), nl.loss("ce"))
    found.prepare(setup(B, K))
    found.begin_epoch(0)
    at = torch.arange(B)
    found.step(Batch(at.float()[:, None], TARGET, at))[0].backward()

    def value(delta: np.ndarray) -> float:
        R = T + delta
        R = R / R.sum(1, keepdims=True)
        own = (P @ R)[np.arange(B), TARGET]
        mine = P[np.arange(B), TARGET]
        return float(np.mean(-np.log(own) if how == "forward" else -mine / own * np.log(mine)))

    for i, j in ((0, 0), (1, 3), (4, 2)):
        small = np.zeros((K, K))
        small[i, j] = 1e-6
        expected = (value(small) - value(-small)) / 2e-6
        assert found.delta.grad[i, j].item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_an_entry_at_zero_can_grow_again():
    found = method("t_revision(start=0)", transition=skewed())(Fixed(LOGITS), nl.loss("ce"))
    found.prepare(setup(B, K))
    found.begin_epoch(0)
    with torch.no_grad():
        found.delta[0, 1] = -2.0
    at = torch.arange(B)
    found.step(Batch(at.float()[:, None], TARGET, at))[0].backward()
    assert (found.matrix + found.delta).min() == 0
    assert found.delta.grad[0, 1] != 0


LIMITS = [
    ("t_revision(lr_delta=0,start=0)", "forward", skewed(3)),
    ("t_revision(start=1)", "forward", skewed(3)),
    ("t_revision(how=reweight,lr_delta=0,start=0)", "standard", np.eye(3)),
]


@pytest.mark.parametrize(("expression", "limit", "T"), LIMITS)
@pytest.mark.parametrize("loss", ["ce", "nce+mae"])
def test_runs_without_a_revision(expression, limit, T, loss, sets, model):
    train, test = sets()
    one, other = model(), model()
    spec = method(expression, transition=T)
    history = fit(one, train, test, nl.loss(loss), method=spec, **RUN)
    limiting = method(limit, transition=T) if limit == "forward" else limit
    fit(other, train, test, nl.loss(loss), method=limiting, **RUN)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert history.final["revision"] == pytest.approx(0, abs=1e-6)


def test_the_volume_and_its_matrix_per_entry():
    w = 2 * torch.randn(K, K, generator=draw, dtype=torch.float64)
    T = dominant_transition(w)
    for i in range(K):
        row = [1.0 if i == j else 1 / (1 + np.exp(-w[i, j].item())) for j in range(K)]
        np.testing.assert_allclose(T[i], np.array(row) / sum(row), rtol=1e-12)
        assert T[i].argmax() == i
    assert log_volume(T).item() == pytest.approx(np.log(abs(np.linalg.det(T.numpy()))), rel=1e-9)


def test_volminnet_is_forward_by_its_own_matrix_and_the_volume():
    value, found = step("volminnet", LOGITS, TARGET, nl.loss("gce"))
    T = np.full((K, K), 1 / (1 + np.exp(2.0)))
    np.fill_diagonal(T, 1)
    T /= T.sum(1, keepdims=True)
    plain, other = step("forward", LOGITS, TARGET, nl.loss("gce"), transition=T)
    assert value.item() == pytest.approx(plain.item() + 1e-4 * np.log(np.linalg.det(T)), rel=1e-5)
    ours, theirs = (each.networks[0].table.grad for each in (found, other))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)
    assert found.columns() == {"transition_diagonal": pytest.approx(T[0, 0])}


def deltas(start: float, idle: int, steps: int, capturable: bool = False) -> torch.Tensor:
    """Return Delta after each step of the revision, which begins after some steps without it."""
    spec = method(f"t_revision(start={start},lr_delta=0.001)", transition=skewed())
    found = spec(Fixed(LOGITS), nl.loss("ce"))
    found.prepare(setup(B, K))  # of three epochs
    found.check_logits(K)
    settings = Settings(lr=1e-9, momentum=0.0, weight_decay=0.0)
    updater = Updater(found, settings, torch.device("cpu"), capturable=capturable)
    at = torch.arange(B)
    batch = Batch(at.float()[:, None], TARGET, at)
    if idle:
        for epoch in (0, 1):
            found.begin_epoch(epoch)
            for _ in range(idle // 2):
                updater(batch, 1e-9)
        assert found.delta.abs().sum() == 0
    found.begin_epoch(2 if idle else 0)
    seen = [found.delta.detach().clone()]
    for _ in range(steps):
        updater(batch, 1e-9)
        seen.append(found.delta.detach().clone())
    return torch.stack(seen)


@pytest.mark.parametrize("capturable", [False, True])
def test_the_optimizer_of_delta_begins_with_the_revision(capturable):
    """Its first step is the learning rate, and all are those of a revision from the beginning."""
    late = deltas(0.5, idle=600, steps=30, capturable=capturable)
    assert late[1].abs().max().item() == pytest.approx(0.001, rel=1e-3)
    torch.testing.assert_close(late, deltas(0.0, idle=0, steps=30), rtol=1e-4, atol=1e-8)


class Known(nn.Module):
    """A network that predicts the probabilities of the true label of each of some kinds of examples."""

    def __init__(self, probs: torch.Tensor) -> None:
        super().__init__()
        self.log_probs = nn.Parameter(probs.log())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.log_probs[inputs[:, 0].long()]


def matrix_after(found: Method, steps: int = 300) -> np.ndarray:
    """Return the matrix after training on the labels of seven kinds of examples, as frequent as p T says."""
    p = torch.tensor([[8, 1, 1], [1, 8, 1], [1, 1, 8], [6, 3, 1], [1, 6, 3], [3, 1, 6], [4, 3, 3]]) / 10
    T = torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])
    counts = (100 * p @ T).round().long()
    kind = torch.arange(7).repeat_interleave(100)
    target = torch.arange(3).repeat(7).repeat_interleave(counts.flatten())
    found.networks[0].log_probs.data.copy_(p.log())
    found.prepare(setup(len(kind)))
    found.check_logits(3)
    updater = Updater(found, Settings(lr=1e-6, momentum=0.0, weight_decay=0.0), torch.device("cpu"))
    found.begin_epoch(0)
    batch = Batch(kind.float()[:, None], target, torch.arange(len(kind)))
    for _ in range(steps):
        updater(batch, 1e-6)
    if isinstance(found, TRevision):
        return revised_transition(found.matrix, found.delta).detach().numpy()
    assert isinstance(found, VolMinNet)
    return dominant_transition(found.weights_of_t).detach().numpy()


@pytest.mark.parametrize("expression", ["t_revision(start=0,lr_delta=0.01)", "volminnet(lr_transition=0.1)"])
def test_the_true_matrix_is_learned_by_a_network_that_knows_the_true_probabilities(expression):
    spec = method(expression)
    spec = spec.with_inputs(transition=symmetric(3, 0.5)) if spec.needs else spec
    found = matrix_after(spec(Known(torch.full((7, 3), 1 / 3)), nl.loss("ce")))
    np.testing.assert_allclose(found, [[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]], atol=0.02)
