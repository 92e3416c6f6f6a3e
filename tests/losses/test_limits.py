"""The limits that the papers state, and constants of the literature by preset."""

from __future__ import annotations

import math

import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, PRESETS, loss
from noisylabels.losses.tempered import log_tempered_softmax


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(40, 10, generator=generator, dtype=torch.float64)
    return z, torch.randint(10, (40,), generator=generator)


@pytest.mark.parametrize(
    ("one", "other", "tolerance"),
    [
        ("gce(q=1)", "0.5*mae", 1e-14),
        ("gce(q=1e-7)", "ce", 1e-5),
        ("taylor_ce(t=1)", "0.5*mae", 1e-14),
        ("js(w=1e-7)", "ce", 1e-4),
        ("boot_soft(beta=1)", "ce", 1e-14),
        ("boot_hard(beta=1)", "ce", 1e-14),
        ("bi_tempered(t1=1,t2=1)", "ce", 1e-13),
        ("bi_tempered(t1=0.9999999,t2=1.0000001)", "ce", 1e-4),
        ("eps_softmax(m=0,floor=0)", "ce", 1e-14),
        ("logit_clip(tau=1e6)", "ce", 1e-14),
        ("peer(alpha=0)", "ce", 1e-14),
        ("ls(r=0)", "ce", 1e-14),
        ("agce(q=1)", "0.5*mae", 1e-13),
        ("aul(q=1)", "0.5*mae", 1e-13),
        ("phuber_ce(tau=1e30)", "ce", 1e-14),
        ("fl(gamma=0)", "ce", 1e-13),
        ("agce(a=1e-12,q=0.7)", "gce", 1e-9),
        ("phuber_ce(tau=1.0000001)", "0.5*mae", 1e-6),
        ("nfl(gamma=0)", "nce", 1e-13),
        ("ngce(q=1)", "nmae", 1e-13),
    ],
)
def test_limits(one, other, tolerance, batch):
    ours, wanted = (with_slope(text, *batch) for text in (one, other))
    for found, limit in zip(ours, wanted, strict=True):
        torch.testing.assert_close(found, limit, rtol=tolerance, atol=tolerance)


def with_slope(text, z, t):
    z = z.clone().requires_grad_()
    value = loss(text, reduction="none")(z, t)
    return value.detach(), torch.autograd.grad(value.sum(), z)[0]


def test_eps_softmax_is_symmetric_once_m_is_large(batch):
    z, _ = batch
    made = loss("eps_softmax(ce,m=1e9)", reduction="none")
    sums = sum(made(z, torch.full((len(z),), k)) for k in range(10))
    torch.testing.assert_close(sums, torch.full_like(sums, sums[0]), rtol=1e-9, atol=0)
    spread = [
        sum(loss(f"eps_softmax(ce,m={m!r})", reduction="none")(z, torch.full((40,), k)) for k in range(10))
        for m in (1.0, 1e5)
    ]
    relative = [float(sums.std() / sums.mean()) for sums in spread]
    assert relative[0] > 3 * relative[1] > 0


def test_js_tends_to_half_of_mae_as_slowly_as_a_logarithm(batch):
    wanted = loss("0.5*mae", reduction="none")(*batch)
    far = [
        (loss(f"js(w={1 - gap!r})", reduction="none")(*batch) - wanted).abs().max()
        for gap in (1e-3, 1e-6, 1e-12)
    ]
    for gap, distance in zip((1e-3, 1e-6, 1e-12), far, strict=True):
        assert distance < 1.5 / -math.log(gap)
    assert far[0] > far[1] > far[2]


def test_taylor_ce_with_many_terms_is_ce_where_p_is_not_small(batch):
    z, t = batch
    likely = z.softmax(1)[torch.arange(40), t] > 0.3
    assert likely.sum() > 3
    ours, wanted = (loss(text, reduction="none")(z[likely], t[likely]) for text in ("taylor_ce(t=100)", "ce"))
    torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-10)


def test_logit_clip_is_continuous_at_its_threshold():
    z = torch.randn(1, 10, dtype=torch.float64)
    z, t = z / z.norm(), torch.tensor([3])
    inside, at, outside = (loss("logit_clip(tau=1)")((1 + step) * z, t) for step in (-1e-9, 0, 1e-9))
    assert abs(inside - at) < 1e-8
    assert abs(outside - at) < 1e-15
    assert loss("logit_clip(tau=1)")(100 * z, t) == pytest.approx(at.item())


def test_eps_softmax_cuts_the_gradient_below_its_floor_as_the_authors_code_does():
    z = torch.tensor([[10.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)  # p = 4.5e-5 of label 1
    t = torch.tensor([1])
    (cut,) = torch.autograd.grad(loss("eps_softmax(m=1e5)")(z, t), z)
    (whole,) = torch.autograd.grad(loss("eps_softmax(m=1e5,floor=0)")(z, t), z)
    assert cut.abs().max() < 1e-6 < whole.abs().max()


@pytest.mark.parametrize("t", [0.2, 0.5, 0.9, 0.999, 1.001, 1.2, 2.0, 4.0, 8.0])
def test_the_tempered_softmax_sums_to_one(t):
    for K, scale in ((2, 1), (10, 3), (10, 1e4), (1000, 1), (100_000, 0)):
        generator = torch.Generator().manual_seed(K)
        z = scale * torch.randn(4, K, generator=generator, dtype=torch.float64)
        sums = log_tempered_softmax(z, t).exp().sum(1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-9, atol=0)


def test_the_least_value_of_label_smoothing_is_the_entropy_of_the_smoothed_label():
    for K, r in ((2, 0.1), (3, 0.4), (10, 0.1)):
        others = r / K
        entropy = -(1 - r + others) * math.log(1 - r + others) - (K - 1) * others * math.log(others)
        low, high = loss(f"ls(r={r})").bounds(K)
        assert low == pytest.approx(entropy, rel=1e-8)
        assert high == math.inf
    assert loss("ls(r=-0.5)").bounds(10)[0] == -math.inf


def test_every_preset_is_a_loss():
    count = 0
    for name, presets in PRESETS.items():
        assert name in LOSSES
        for key, preset in presets.items():
            made = loss(f"{name}@{key}")
            assert made.expression == loss(preset.expression).expression
            assert preset.source
            count += 1
    assert count == 125


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nce+mae@cifar100", "10*nce+0.5*mae"),
        (" RCE + nce @ CIFAR100", "10*nce+0.1*rce(A=-9.210340371976182)"),
        ("nfl@ma2020", "nfl(detach=1)"),
        ("nmae@ma2020", "0.5*nmae"),
        ("jal_ce@cifar100", "5*nce+amse(a=20)"),
        ("nce+agce@cifar10", "4*agce(a=6,q=1.5)+nce"),
        ("sce(beta=2)", "0.1*ce+2*rce"),
        ("logit_clip(nce+mae,tau=2)", "logit_clip(nce,tau=2)+logit_clip(mae,tau=2)"),
        ("ls", "ls(ce)"),
        ("ls(ce+mae)", "ls(ce)+ls(mae)"),  # not symmetric, in one pair of brackets or two
        ("ls(ce)+mae", "ls(ce)+mae"),
        ("logit_clip(nce+rce@cifar10)", "logit_clip(nce)+logit_clip(rce(A=-9.210340371976182))"),
        ("nce+rce@cifar10 + mae", "nce+mae+rce(A=-9.210340371976182)"),
        ("mae + (nce + mae@cifar100)", "10*nce+1.5*mae"),
        ("2*(nce+mae@CIFAR100)", "20*nce+mae"),
        ("nce+mae@zhou2021_mnist", "nce+50*mae"),
        ("nce+mae@ye2023_cifar100", "10*nce+0.05*mae"),
        ("eps_softmax@cifar10_asym", "0.02*eps_softmax(ce)+5*mae"),
        ("gjs@cifar10_sym40", "gjs(w=0.9)"),
        ("anl_fl(gamma=2)", "5*nfl(gamma=2)+5*nnfl(gamma=2)"),
        ("jal_fl(gamma=1,a=5)", "nfl(gamma=1)+amse(a=5)"),
        ("rce(A=ln(1e-4))", "rce(A=-9.210340371976182)"),
        ("temper(logit_norm(mae),T=4)", "temper(logit_norm(mae),T=4)"),
        ("2*peer(ls(ce,r=0.2),alpha=3)", "2*peer(ls(ce,r=0.2),alpha=3)"),
    ],
)
def test_presets_and_wrappers_in_expressions(text, canonical):
    assert loss(text).expression == canonical
    assert loss(canonical).terms == loss(text).terms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nce+mae@cifar1000", "no preset 'cifar1000'; did you mean 'cifar100'"),
        ("ce@cifar10", "the loss 'ce' has no presets, and 'cifar10' came"),
        ("nce+mea@cifar10", "did you mean 'mae'"),
        ("sce(gamma=2)", "the loss 'sce' has no parameter 'gamma'; its parameters: alpha, beta, A"),
        ("ls(r=1)", "the parameter r of 'ls' is 1.0, expected a number in"),
        ("taylor_ce(t=1.5)", "the parameter t of 'taylor_ce' is 1.5, expected a whole number"),
        ("logit_clip(ce, mae)", ", expected a sum such as"),
        (
            "nce+rce@cifar10@cifar100",
            "has 'nce + rce @ cifar10' before '@cifar100', expected a loss and one preset",
        ),
        ("nce@2", "before '@2', expected a loss and one preset"),
        ("nce@", "cannot be parsed"),
        ("2*nce+rce@cifar10", "the loss '2*nce+rce' has no presets"),
        ("js@cifar10", "did you mean 'cifar10_sym"),
        ("rce(A=ln(0))", "is not a number"),
        ("rce(A=ln(nce))", "is not a number"),
        ("rce(A=exp(1))", "is not a number"),
        ("ce(mae)", ", expected a sum such as"),
        ("nboot_soft", "unknown loss 'nboot_soft'"),
        ("ls(mae)", "'ls(mae)' smooths the labels of a symmetric loss"),
        ("ls(nce+mae, r=-0.5)", "smooths the labels of a symmetric loss"),
        ("ce+ls(mae)", "'ls(mae)' smooths the labels of a symmetric loss"),
        ("peer(ls(gce(q=1)))", "smooths the labels of a symmetric loss"),
    ],
)
def test_errors_of_presets_and_wrappers(text, words):
    with pytest.raises(InputError) as caught:
        loss(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_js_of_the_webvision_scripts_is_not_scaled(batch):
    """Their JSWC there: w KL(e_y, m) + (1-w) KL(p, m), by torch's own divergence."""
    z, t = batch
    p, label = z.softmax(1), torch.nn.functional.one_hot(t, 10).double()
    m = (0.1 * label + 0.9 * p).log()
    wanted = sum(
        w * torch.nn.functional.kl_div(m, q, reduction="batchmean") for w, q in ((0.1, label), (0.9, p))
    )
    torch.testing.assert_close(loss("js@webvision")(z, t), wanted)


@pytest.mark.parametrize(("key", "alpha", "m"), [("cifar10_sym", 0.01, 1e5), ("cifar10_asym", 0.02, 1e3)])
def test_eps_softmax_presets_are_the_authors_code(batch, key, alpha, m):
    """Written out; p' sums to 1 again here and not there, a difference of K floor = 1e-7 at most."""
    z, t = batch
    p = z.softmax(1)
    moved = p.clone()
    moved[torch.arange(40), p.argmax(1)] += m
    ece = torch.nn.functional.nll_loss((moved / (m + 1)).clamp_min(1e-8).log(), t)
    wanted = alpha * ece + 5 * 2 * (1 - p[torch.arange(40), t]).mean()
    assert abs(loss(f"eps_softmax@{key}")(z, t) - wanted) < alpha * 1e-7


def test_one_is_the_other(batch):
    for one, other in (
        ("poly1(epsilon=3)", "ce+1.5*mae"),
        ("tgce(k=0.001)", "gce"),  # none of the batch is below
        ("temper(T=1)", "ce"),
        ("conf_penalty(beta=0)", "ce"),
        ("logit_norm(tau=0.5)", "logit_norm(temper(ce,T=0.5),tau=1)"),  # the outer one comes first
    ):
        for ours, wanted in zip(with_slope(one, *batch), with_slope(other, *batch), strict=True):
            torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-13)
    ce = loss("ce", reduction="none")(*batch)
    torch.testing.assert_close(loss("ldr_kl(c=0)", reduction="none")(*batch), ce - math.log(10))
    torch.testing.assert_close(10 * loss("amse(a=1)")(*batch), loss("mse")(*batch))
    onehot = torch.nn.functional.one_hot(batch[1], 10)
    brier = torch.nn.functional.mse_loss(batch[0].softmax(1), onehot.double(), reduction="sum") / 40
    torch.testing.assert_close(loss("mse")(*batch), brier)


def test_negative_learning_is_the_mean_over_the_draws_of_another_label(batch):
    z, t = batch
    draws = [-torch.log(1 - z.softmax(1))[torch.arange(40), (t + step) % 10] for step in range(1, 10)]
    torch.testing.assert_close(loss("nl")(z, t), torch.stack(draws).mean())
    two = z[:, :2], t % 2
    torch.testing.assert_close(loss("nl")(*two), loss("ce")(*two))


def test_ma2020_in_value(batch):
    """Against the formulas of that code's loss.py, written out."""
    z, t = batch
    p = z.softmax(1)
    at = p[torch.arange(40), t]
    log_zero = math.log(1e-4)
    torch.testing.assert_close(loss("mae@ma2020")(z, t), (1 - at).mean())
    torch.testing.assert_close(loss("nmae@ma2020")(z, t), (1 - at).mean() / 18)
    torch.testing.assert_close(loss("rce@ma2020")(z, t), -log_zero * (1 - at).mean())
    torch.testing.assert_close(loss("nrce@ma2020")(z, t), -log_zero * (1 - at).mean() * 9 / 4)
    x = z.clone().requires_grad_()
    l = torch.log_softmax(x, 1)
    focal = -((1 - l.detach().exp()) ** 0.5) * l
    wanted = (focal[torch.arange(40), t] / focal.sum(1)).mean()
    y = z.clone().requires_grad_()
    ours = loss("nfl@ma2020")(y, t)
    torch.testing.assert_close(ours, wanted)
    torch.testing.assert_close(torch.autograd.grad(ours, y)[0], torch.autograd.grad(wanted, x)[0])
