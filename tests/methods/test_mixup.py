"""Mixup: the mixed loss per example in NumPy, the distribution of the shares, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torch import nn

import noisylabels as nl
from methods.test_arithmetic import K
from methods.test_contract import RUN, setup
from noisylabels.data.loader import Batch
from noisylabels.methods.fit import fit
from noisylabels.methods.mixup import Mixup, mix

B = 12


class Recorded(nn.Module):
    """A linear network that keeps its inputs."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.linear = nn.Linear(columns, K)
        self.seen: list[torch.Tensor] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen.append(inputs)
        return self.linear(inputs.flatten(1))


def prepared(network: nn.Module, loss: str = "ce", alpha: float = 1.0) -> Mixup:
    found = Mixup(network, nl.loss(loss), alpha=alpha)
    found.prepare(setup(B, K))
    return found


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4)])
@pytest.mark.parametrize("loss", ["ce", "nce+rce"])
def test_a_step_is_that_of_the_formula_written_out(shape, loss):
    torch.manual_seed(3)
    network = Recorded(int(np.prod(shape)))
    found = prepared(network, loss)
    found.weights = torch.rand(B)
    batch = Batch(torch.randn(B, *shape), torch.randint(K, (B,)), torch.randperm(B))
    state = torch.get_rng_state()
    partner, share = found.mixer.draw(B)
    torch.set_rng_state(state)
    value, logits = found.step(batch)

    x, s = batch.inputs.numpy().astype(float), share.item()
    each = nl.loss(loss, reduction="none")
    total = 0.0
    for n in range(B):
        m = partner[n].item()
        np.testing.assert_allclose(network.seen[0][n], s * x[n] + (1 - s) * x[m], rtol=1e-4, atol=1e-6)
        for part, k in ((s, n), (1 - s, m)):
            weight = found.weights[batch.positions[k]].item()
            total += part * weight * each(logits[n : n + 1], batch.target[k : k + 1]).item()
    assert value.item() == pytest.approx(total / B, rel=1e-5)


def test_cross_entropy_of_mixed_targets_is_the_mixed_cross_entropy():
    torch.manual_seed(0)
    network = Recorded(4)
    found = prepared(network)
    batch = Batch(torch.randn(B, 4), torch.randint(K, (B,)), torch.arange(B))
    state = torch.get_rng_state()
    partner, share = found.mixer.draw(B)
    torch.set_rng_state(state)
    value, logits = found.step(batch)
    onehot = nn.functional.one_hot(batch.target, K).float()
    torch.testing.assert_close(value, nn.functional.cross_entropy(logits, mix(onehot, partner, share)))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_follow_the_beta_distribution_and_partners_are_a_random_order(alpha):
    torch.manual_seed(1)
    found = prepared(Recorded(2), alpha=alpha)
    draws = [found.mixer.draw(6) for _ in range(2000)]
    shares = np.array([share.item() for _, share in draws])
    assert shares.min() >= 0.5
    # the larger of b and 1 - b: its distribution function on [1/2, 1] is F(s) - F(1 - s)
    law = beta(alpha, alpha)
    assert kstest(shares, lambda s: law.cdf(s) - law.cdf(1 - s)).pvalue > 1e-3
    partners = np.array([partner.tolist() for partner, _ in draws])
    assert (np.sort(partners, 1) == np.arange(6)).all()
    counts = np.stack([(partners == k).mean(0) for k in range(6)])
    np.testing.assert_allclose(counts, 1 / 6, atol=5 * (5 / 36 / 2000) ** 0.5)


def test_the_mixtures_of_a_batch_are_distributed_as_with_shares_on_both_sides_of_a_half():
    """The claim by which the larger share is the example's own: moments of all mixtures, both ways."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=8)

    def moments(own: bool) -> np.ndarray:
        found = []
        for _ in range(20_000):
            s, order = draw.beta(0.5, 0.5), draw.permutation(8)
            s = max(s, 1 - s) if own else s
            mixed = np.sort(s * x + (1 - s) * x[order])
            found.append([mixed[0], mixed[3], mixed[-1], (mixed**2).mean()])
        return np.array(found)

    one, other = moments(True), moments(False)
    error = (one.std(0) ** 2 / len(one) + other.std(0) ** 2 / len(other)) ** 0.5
    assert (abs(one.mean(0) - other.mean(0)) < 4 * error).all()


def test_without_mixing_it_is_standard_training(sets, model):
    train, test = sets()
    one, other = model(), model()
    fit(one, train, test, nl.loss("nce+mae"), method="mixup(alpha=0)", **RUN)
    fit(other, train, test, nl.loss("nce+mae"), **RUN)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_another_seed_mixes_otherwise(sets, model):
    train, test = sets()
    ends = []
    for seed in (1, 1, 2):
        network = model()
        fit(network, train, test, nl.loss("ce"), method="mixup", **RUN | {"seed": seed, "epochs": 1})
        ends.append(network[-1].weight)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_half_precision_inputs_keep_their_type():
    values = torch.randn(4, 3, dtype=torch.bfloat16)
    assert mix(values, torch.tensor([1, 0, 3, 2]), torch.tensor(0.7)).dtype == torch.bfloat16
