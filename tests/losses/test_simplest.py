"""`categories.simplest`: what it calls equal is equal to the last bit, in value and gradient."""

from __future__ import annotations

import pytest
import torch

from noisylabels.losses import LOSSES, PER_LABEL, loss
from noisylabels.losses.categories import simplest

EQUAL = {
    "nrce": "nmae",
    "nnrce": "nnmae",
    "rce": "2*mae",
    "0.3*rce": "0.6*mae",
    "nrce(A=-8)": "nmae",
    "nrce(A=-1)": "nmae",
    "nce+rce": "nce+2*mae",
    "nfl+rce": "nfl+2*mae",
    "nce+nrce": "nce+nmae",
    "3*ngce+0.1*rce(A=-16)": "3*ngce+0.8*mae",
    "sce": "0.1*ce+2*mae",
    "logit_clip(nrce)": "logit_clip(nmae)",
}
DIFFERENT = (
    "rce(A=-3)",
    "nrce(A=-3)",
    "mae+rce",
    "nmae+nrce",
    "logit_clip(rce)",
    "nce+auto*rce",
    "rce(A=-1e-06)",
)


@pytest.mark.parametrize("expression", EQUAL)
def test_what_is_called_equal_is_spelled_so(expression):
    assert simplest(expression) == loss(EQUAL[expression]).expression
    assert simplest(EQUAL[expression]) == loss(EQUAL[expression]).expression


@pytest.mark.parametrize("expression", DIFFERENT)
def test_what_is_not_proven_stays(expression):
    assert simplest(expression) == loss(expression).expression


def bits(made, logits, target):
    logits = logits.clone().requires_grad_()
    value = made(logits, target)
    value.sum().backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("expression", EQUAL)
def test_what_is_called_equal_is_so_to_the_last_bit(expression, dtype):
    random = torch.Generator().manual_seed(0)
    for n, k, scale, reduction in ((64, 10, 1, "mean"), (64, 10, 30, "none"), (7, 3, 200, "sum")):
        logits = (scale * torch.randn((n, k), generator=random)).to(dtype)
        labels = torch.randint(k, (n,), generator=random)
        soft = torch.rand((n, k), generator=random, dtype=torch.float64).to(dtype)
        for target in (labels, soft):
            ours, theirs = (
                bits(loss(text, reduction=reduction), logits, target)
                for text in (expression, EQUAL[expression])
            )
            for a, b in zip(ours, theirs, strict=True):
                assert torch.equal(a, b)


def test_every_multiple_is_one():
    """What a row of the catalog declares, for its default parameters and others."""
    found = [row for row in PER_LABEL.values() if row.multiple_of is not None]
    assert [row.name for row in found] == ["rce"]
    l = torch.rand(50, dtype=torch.float64).log()
    for row in found:
        name, factor = row.multiple_of
        assert not PER_LABEL[name].defaults
        for A in (-4.0, -3.0, -0.5):
            torch.testing.assert_close(row.function(l, A=A), factor(A) * PER_LABEL[name].function(l))


def test_other_losses_of_the_catalog_are_no_others():
    """Each loss of the catalog is its own simplest form, but for reverse cross entropy."""
    same: dict[str, list[str]] = {}
    for name in LOSSES:
        same.setdefault(simplest(name), []).append(name)
    assert [names for names in same.values() if len(names) > 1] == [["nmae", "nrce"], ["nnmae", "nnrce"]]
