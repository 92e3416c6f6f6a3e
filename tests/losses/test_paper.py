"""The paper's formulas as it writes them, in NumPy, term by term; docs/paper.md goes through them.

The other tests hold the losses to the short forms (rce is -A (1-p)); here stand the sums that the paper
has: over classes in section 3.3, over labels in Eq. 1, over the two halves in Eq. 2.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylabels.losses import PAPER, loss

K, GAMMA, A = 10, 0.5, -4.0
N = 64


def ce(p, y):
    return -np.log(p[y])


def fl(p, y):
    return -((1 - p[y]) ** GAMMA) * np.log(p[y])


def mae(p, y):
    return 2 * (1 - p[y])


def rce(p, y):
    """``-Σ_k p(k|x) log q'_k`` with ``q'_k = exp(A) if k ≠ y, else 1``."""
    pseudo = np.full(K, np.exp(A))
    pseudo[y] = 1
    return -np.sum(p * np.log(pseudo))


def normalized(l):
    """Eq. 1."""
    return lambda p, y: l(p, y) / sum(l(p, j) for j in range(K))


def combined(active, passive):
    """Eq. 2 with α = β = 1."""
    return lambda p, y: active(p, y) + passive(p, y)


BASE = {"ce": ce, "fl": fl, "mae": mae, "rce": rce}
SINGLE = BASE | {f"n{name}": normalized(l) for name, l in BASE.items()}
SUMS = {f"{a}+{b}": combined(SINGLE[a], SINGLE[b]) for a in ("nce", "nfl") for b in ("mae", "rce")}
WRITTEN = SINGLE | SUMS


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(N, K, generator=generator, dtype=torch.float64)
    return logits, torch.randint(K, (N,), generator=generator)


def probabilities(logits):
    e = np.exp(logits.numpy() - logits.numpy().max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_the_formulas_are_those_of_all_twelve_losses():
    assert set(WRITTEN) == set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_a_loss_is_what_the_paper_writes(name, batch):
    logits, target = batch
    ours = loss(name, reduction="none")(logits, target).numpy()
    written = [
        WRITTEN[name](p, y) for p, y in zip(probabilities(logits), target.numpy().tolist(), strict=True)
    ]
    np.testing.assert_allclose(ours, written, rtol=1e-12)
    assert (ours >= 0).all()  # RCE too: A is below 0, and so is log q'


@pytest.mark.parametrize("name", PAPER)
def test_its_gradient_is_the_slope_of_what_the_paper_writes(name, batch):
    """By central differences of the formula, along every logit of a few examples."""
    logits, target = (part[:8].clone() for part in batch)
    logits.requires_grad_()
    loss(name, reduction="none")(logits, target).sum().backward()
    step = 1e-5
    for n, y in enumerate(target.tolist()):
        for j in range(K):
            sides = []
            for sign in (1, -1):
                moved = logits.detach()[n : n + 1].clone()
                moved[0, j] += sign * step
                sides.append(WRITTEN[name](probabilities(moved)[0], y))
            assert logits.grad[n, j].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-8)


def test_four_of_the_twelve_are_one_function_in_four_sizes(batch):
    """MAE, RCE, NMAE and NRCE: 2, 4, 1/(K-1) and 1/(K-1) times 1 - p."""

    def value_and_gradient(name):
        logits = batch[0].clone().requires_grad_()
        value = loss(name, reduction="none")(logits, batch[1])
        return value.detach(), torch.autograd.grad(value.sum(), logits)[0]

    unit = [half / 2 for half in value_and_gradient("mae")]
    for name, factor in {"rce": 4, "nmae": 1 / (K - 1), "nrce": 1 / (K - 1)}.items():
        for found, one in zip(value_and_gradient(name), unit, strict=True):
            torch.testing.assert_close(found, factor * one, rtol=1e-12, atol=1e-16)


def test_pseudo_labels_that_sum_to_one_would_add_a_constant_and_break_the_appendix():
    """q' sums to 1 + (K-1) exp(A); divided by that, RCE gains a constant, and NRCE is A.3's no more."""
    p = probabilities(torch.linspace(-2, 2, K, dtype=torch.float64)[None])[0]
    pseudo = np.full((K, K), np.exp(A))
    np.fill_diagonal(pseudo, 1)
    total = pseudo[0].sum()
    assert total == pytest.approx(1.16484, abs=1e-5)
    divided = [-np.sum(p * np.log(row / total)) for row in pseudo]
    plain = np.array([rce(p, y) for y in range(K)])
    np.testing.assert_allclose(divided - plain, np.log(total), rtol=1e-12)
    assert abs(divided / np.sum(divided) - (1 - p) / (K - 1)).max() > 1e-4


@pytest.mark.parametrize(("name", "factor"), [("nmae@ma2020", 1 / 18), ("nrce_ma2020(A=-4)", 9)])
def test_the_factors_that_the_code_of_ma_et_al_puts_before_nmae_and_nrce(name, factor, batch):
    """A.3 speaks of "potential scaling factors": these are the ones known, 162 times apart."""
    ours = loss(name, reduction="none")(*batch)
    p = torch.from_numpy(probabilities(batch[0]))[torch.arange(N), batch[1]]
    torch.testing.assert_close(ours, factor * (1 - p), rtol=1e-12, atol=1e-16)
