"""Three classes worked by hand.

    p = (1/2, 1/4, 1/4), that is logits (log 2, 0, 0); write L for log 2 = 0.693147...
    log p = (-L, -2L, -2L)          1 - p = (1/2, 3/4, 3/4)

    label                   0                            1
    ce   = -log p           L                            2L
    fl   = sqrt(1-p) ce     sqrt(1/2) L                  sqrt(3/4) 2L = sqrt(3) L
    mae  = 2 (1-p)          1                            3/2
    rce  = 4 (1-p)          2                            3

    sums over the labels:   ce: L + 2L + 2L = 5L         fl: (sqrt(1/2) + 2 sqrt(3)) L
                            mae: 1 + 3/2 + 3/2 = 4       rce: 2 + 3 + 3 = 8

    nce                     1/5                          2/5
    nfl                     sqrt(1/2) / (sqrt(1/2) + 2 sqrt(3)) = 1 / (1 + 2 sqrt(6))
                                                         sqrt(3) / (sqrt(1/2) + 2 sqrt(3))
                                                         = sqrt(6) / (1 + 2 sqrt(6))
    nmae                    1/4                          3/8
    nrce                    2/8 = 1/4                    3/8

    nce+mae                 1/5 + 1 = 6/5                2/5 + 3/2 = 19/10
    nce+rce                 1/5 + 2 = 11/5               2/5 + 3 = 17/5
    nfl+mae, nfl+rce        likewise

Gradients with respect to the logits, from dp_k/dz_j = p_k ([k=j] - p_j):
    ce, label 0:   p - onehot = (-1/2, 1/4, 1/4)
    mae, label 0:  -2 dp_0 = -2 p_0 ([0=j] - p_j) = (-1/2, 1/4, 1/4)
    mae, label 1:  -2 p_1 ([1=j] - p_j) = -1/2 (-1/2, 3/4, -1/4) = (1/4, -3/8, 1/8)
    nce, label 0:  l_0 / S with S = l_0 + l_1 + l_2 (l = log p); dl_k = [k=j] - p_j, dS = 1 - 3 p_j
                   dl_0 = (1/2, -1/4, -1/4), dS = (-1/2, 1/4, 1/4), l_0 = -L, S = -5L
                   (dl_0 S - l_0 dS) / S^2 = (-5L dl_0 + L dS) / (25 L^2) = (dS - 5 dl_0) / (25 L)
                   = (-1/2 - 5/2, 1/4 + 5/4, 1/4 + 5/4) / (25 L) = (-3, 3/2, 3/2) / (25 L)
"""

from __future__ import annotations

import math

import pytest
import torch

from noisylabels.losses import PAPER, loss

L = math.log(2)
ROOT6 = math.sqrt(6)

VALUES = {
    "ce": (L, 2 * L),
    "fl": (math.sqrt(0.5) * L, math.sqrt(3) * L),
    "mae": (1, 3 / 2),
    "rce": (2, 3),
    "nce": (1 / 5, 2 / 5),
    "nfl": (1 / (1 + 2 * ROOT6), ROOT6 / (1 + 2 * ROOT6)),
    "nmae": (1 / 4, 3 / 8),
    "nrce": (1 / 4, 3 / 8),
    "nce+mae": (6 / 5, 19 / 10),
    "nce+rce": (11 / 5, 17 / 5),
    "nfl+mae": (1 / (1 + 2 * ROOT6) + 1, ROOT6 / (1 + 2 * ROOT6) + 3 / 2),
    "nfl+rce": (1 / (1 + 2 * ROOT6) + 2, ROOT6 / (1 + 2 * ROOT6) + 3),
}

SLOPES = {
    ("ce", 0): (-1 / 2, 1 / 4, 1 / 4),
    ("mae", 0): (-1 / 2, 1 / 4, 1 / 4),
    ("mae", 1): (1 / 4, -3 / 8, 1 / 8),
    ("nce", 0): (-3 / (25 * L), 1.5 / (25 * L), 1.5 / (25 * L)),
}


def logits():
    return torch.tensor([[L, 0.0, 0.0]] * 2, dtype=torch.float64)


def test_all_twelve_losses_of_the_paper_are_here():
    assert tuple(VALUES) == PAPER


@pytest.mark.parametrize("name", PAPER)
def test_values(name):
    found = loss(name, reduction="none")(logits(), torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx(list(VALUES[name]), rel=1e-14)
    assert loss(name)(logits(), torch.tensor([0, 1])).item() == pytest.approx(
        sum(VALUES[name]) / 2, rel=1e-14
    )


@pytest.mark.parametrize(("name", "label"), SLOPES, ids=str)
def test_slopes(name, label):
    z = logits()[:1].requires_grad_()
    loss(name)(z, torch.tensor([label])).backward()
    assert z.grad[0].tolist() == pytest.approx(list(SLOPES[name, label]), rel=1e-14)
