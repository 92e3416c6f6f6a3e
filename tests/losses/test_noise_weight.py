"""The weight for a noise rate, beside what follows by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.losses import loss
from noisylabels.losses.noise_weight import weight_for_noise


@pytest.mark.parametrize("rate", [0.6, 0.75, 0.85])
@pytest.mark.parametrize("num_classes", [4, 10])
def test_mse_plus_mae(rate, num_classes):
    """Moving e from the label to another class costs 2we, and gains (2w + 4)e under that class's label.

    It gains 2e under each of the K - 2 other labels too: c = (2w + 2K)/(2w), and c <= (1 - r)(K - 1)/r.
    """
    if rate >= (num_classes - 1) / num_classes:
        return  # no loss has the true label as its optimum
    needed = (1 - rate) * (num_classes - 1) / rate
    wanted = max(1.0, num_classes / (needed - 1))
    found = weight_for_noise(loss("mse+auto(rule=noise)*mae"), num_classes, rate)
    assert wanted * 0.999 <= found.weight <= wanted * 1.02
    assert found.weight == float(f"{found.weight:.3g}")


@pytest.mark.parametrize("a", [1.5, 3.0, 30.0])
@pytest.mark.parametrize("num_classes", [3, 10, 100])
def test_amse_is_a_sum_of_mse_and_mae(a, num_classes):
    """K amse(a) = mse + (a - 1) mae + (a - 1)^2, in value and so in gradient."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn((20, num_classes), generator=generator, dtype=torch.float64)
    target = torch.randint(num_classes, (20,), generator=generator)
    ours = loss(f"mse+{a - 1}*mae", reduction="none")(logits, target) + (a - 1) ** 2
    theirs = num_classes * loss(f"amse(a={a})", reduction="none")(logits, target)
    torch.testing.assert_close(theirs, ours)


@pytest.mark.parametrize("sum_", ["mse+{}*mae", "nce+mse+{}*mae", "nce+0.1*mse+0.1*{}*mae"])
@pytest.mark.parametrize(("num_classes", "rate"), [(3, 0.4), (10, 0.4), (10, 0.6), (10, 0.8), (100, 0.8)])
def test_the_weight_is_the_parameter_of_jal(sum_, num_classes, rate):
    """1/(T_yy - T_yj) is the least a at which no move from the true class lowers the expected AMSE."""
    labels = np.full(num_classes, rate / (num_classes - 1))
    labels[0] = 1 - rate
    least = 1 / (labels[0] - labels[1])
    found = weight_for_noise(loss(sum_.format("auto(rule=noise)")), num_classes, rate)
    a = found.weight + 1
    assert max(2.0, least) * 0.999 <= a <= max(2.0, least) * 1.02

    def falls(a):
        """Return whether some step from the true class lowers the expected loss, Σ p² - 2a Σ q p."""
        moved = np.linspace(0, 1, 1001)[1:, None] * (np.eye(num_classes)[1:2] - np.eye(num_classes)[:1])
        p = np.eye(num_classes)[:1] + moved
        costs = (p**2).sum(1) - 2 * a * p @ labels
        return bool((costs < 1 - 2 * a * labels[0] - 1e-12).any())

    assert not falls(1.001 * least)
    assert falls(0.95 * least)


@pytest.mark.parametrize(("tau", "rate"), [(2.0, 0.88), (10.0, 0.8), (10.0, 0.3)])
def test_phuber_ce_plus_mae(tau, rate):
    """The slope is 1 at p = 1 and tau at p = 0: c = (tau + 2w)/(1 + 2w)."""
    needed = (1 - rate) * 9 / rate
    wanted = max(1.0, (tau - needed) / (2 * (needed - 1)))
    found = weight_for_noise(loss(f"phuber_ce(tau={tau})+auto(rule=noise)*mae"), 10, rate)
    assert wanted * 0.999 <= found.weight <= wanted * 1.02
    # the same sum, written with the weight on the other part
    other = weight_for_noise(loss(f"auto(rule=noise)*phuber_ce(tau={tau})+mae"), 10, rate)
    assert 1 / other.weight == pytest.approx(found.weight, rel=0.02)


def test_where_the_weight_does_not_matter():
    found = weight_for_noise(loss("nce+auto(rule=noise)*mae"), 10, 0.6)
    assert found == (
        1.0,
        "at 60.0 % noise and 10 classes the true label is the optimum at the weight 1, as at every weight, "
        "since the loss is symmetric",
    )
    assert weight_for_noise(loss("ce+auto*mae"), 10, 0.0).weight == 1.0
    found = weight_for_noise(loss("ce+auto(rule=noise)*mae"), 10, 0.4)
    assert found.weight == 1.0
    assert "at no weight from 0.001 to 1000; 1 is kept" in found.why


def test_what_it_refuses():
    with pytest.raises(InputError, match="has no weight auto"):
        weight_for_noise(loss("nce+mae"), 10, 0.4)
    for rate in (-0.1, 1.0):
        with pytest.raises(InputError, match="the noise rate is"):
            weight_for_noise(loss("nce+auto*mae"), 10, rate)
