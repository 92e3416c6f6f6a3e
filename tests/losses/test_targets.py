"""Targets as ``nn.CrossEntropyLoss`` has them: ignored, weighted, smoothed, soft, dense; and views."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from noisylabels import losses
from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, loss

WEIGHT = torch.tensor([0.0, 0.1, 1.0, 2.0, 7.3], dtype=torch.float64)


def batch(rest, soft):
    generator = torch.Generator().manual_seed(len(rest))
    z = 2 * torch.randn(6, 5, *rest, generator=generator, dtype=torch.float64)
    if soft:
        return z, torch.randn(6, 5, *rest, generator=generator, dtype=torch.float64).softmax(1)
    t = torch.randint(5, (6, *rest), generator=generator)
    t[1] = 3
    t[4] = -100
    return z, t


def both(criterion, z, t):
    z = z.clone().requires_grad_()
    value = criterion(z, t)
    (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


@pytest.mark.parametrize("rest", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_ce_is_cross_entropy_in_every_mode(rest, soft, reduction, smoothing, weighted):
    z, t = batch(rest, soft)
    for ignore in (-100,) if soft else (-100, 3):
        if ignore == 3:
            t = torch.where(t == -100, 1, t)
        given = {"reduction": reduction, "label_smoothing": smoothing, "weight": WEIGHT if weighted else None}
        wanted = both(nn.CrossEntropyLoss(**given, ignore_index=ignore), z, t)
        for made in (
            loss("ce", **given, ignore_index=ignore),
            lambda z, t, given=given, ignore=ignore: losses.ce(z, t, **given, ignore_index=ignore),
        ):
            for ours, theirs in zip(both(made, z, t), wanted, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_one_example_without_a_batch():
    z, t = torch.randn(5, dtype=torch.float64), torch.tensor(2)
    for reduction in ("mean", "sum", "none"):
        ours, wanted = (
            made(reduction=reduction) for made in (lambda **k: loss("ce", **k), nn.CrossEntropyLoss)
        )
        torch.testing.assert_close(ours(z, t), wanted(z, t))
        torch.testing.assert_close(ours(z, z.softmax(0)), wanted(z, z.softmax(0)))


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_examples_count_for_nothing(name):
    z, t = batch((3,), soft=False)
    kept = [0, 1, 2, 3, 5]
    for reduction in ("mean", "sum"):
        made = loss(name, reduction=reduction)
        value, slope = both(made, z, t)
        wanted, wanted_slope = both(made, z[kept], t[kept])
        torch.testing.assert_close(value, wanted)
        torch.testing.assert_close(slope[kept], wanted_slope)
        assert not slope[4].any()
    assert not loss(name, reduction="none")(z, t)[4].any()
    assert loss(name)(z, torch.full_like(t, -100)).isnan()  # as nn.CrossEntropyLoss
    with pytest.raises(InputError, match=r"target\[12\] is -100, expected a label in \[0, 4\]$"):
        loss(name, ignore_index=None)(z, t)


@pytest.mark.parametrize("name", LOSSES)
def test_a_soft_target_is_the_mean_over_its_labels(name):
    z, q = batch((), soft=True)
    made = loss(name, reduction="none", weight=WEIGHT)
    each = [made(z, torch.full((6,), k)) for k in range(5)]
    if name == "peer":  # the label shares of the batch are others
        each = [losses.ce(z, torch.full((6,), k), reduction="none", weight=WEIGHT) for k in range(5)]
        shares = q.mean(0)
        wanted = sum((q[:, k] - shares[k]) * each[k] for k in range(5))
    else:
        wanted = sum(q[:, k] * each[k] for k in range(5))
    torch.testing.assert_close(made(z, q), wanted)
    onehot = nn.functional.one_hot(torch.arange(5), 5).double()
    torch.testing.assert_close(loss(name)(z[:5], onehot), loss(name)(z[:5], torch.arange(5)))
    assert torch.autograd.gradcheck(lambda z: made(z, q), (z.clone().requires_grad_(),), atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_label_smoothing_is_a_soft_target_or_an_error(name):
    z, t = batch((), soft=False)
    t = t.clamp_min(0)
    if loss(name).label_sum(5) is None:
        q = 0.8 * nn.functional.one_hot(t, 5).double() + 0.04
        torch.testing.assert_close(loss(name, label_smoothing=0.2)(z, t), loss(name)(z, q))
        return
    with pytest.raises(InputError, match="is symmetric: its sum over the labels is constant"):
        loss(name, label_smoothing=0.2)
    with pytest.raises(InputError, match="is symmetric"):
        losses.function(name)(z, t, label_smoothing=0.2)


def test_label_smoothing_knows_the_parameters_of_the_call():
    z, t = torch.zeros(2, 5), torch.tensor([0, 1])
    assert losses.gce(z, t, q=0.5, label_smoothing=0.2) > 0
    with pytest.raises(InputError, match=r"'gce\(q=1\)' is symmetric"):
        losses.gce(z, t, q=1.0, label_smoothing=0.2)
    with pytest.raises(InputError, match="is symmetric"):
        loss("peer(mae)", label_smoothing=0.2)


def test_label_smoothing_by_name_is_torchs():
    z, t = batch((2,), soft=False)
    for weight in (None, WEIGHT):
        wanted = nn.CrossEntropyLoss(label_smoothing=0.1, weight=weight)(z, t)
        torch.testing.assert_close(loss("ls", weight=weight)(z, t), wanted)
        torch.testing.assert_close(losses.ls(z, t, r=0.1, weight=weight), wanted)
    negative = 1.4 * losses.ce(z, t) - 0.4 * torch.log_softmax(z, 1).neg().mean(1)[t >= 0].mean()
    torch.testing.assert_close(loss("ls(r=-0.4)")(z, t), negative)


def test_wrong_targets_are_named():
    z = torch.zeros(3, 5)
    with pytest.raises(InputError, match=r"of shape \(3, 4\), .* probabilities of shape \(3, 5\)"):
        loss("ce")(z, torch.zeros(3, 4))
    with pytest.raises(InputError, match=r"label_smoothing is 1\.5"):
        loss("ce", label_smoothing=1.5)
    with pytest.raises(InputError, match="the views are"):
        loss("gjs")((z, torch.zeros(3, 4)), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="an empty list"):
        loss("gjs")([], torch.zeros(3, dtype=torch.int64))


BAD_WEIGHTS = [
    (torch.ones(4), "there are 4 class weights for 5 classes"),
    (torch.ones(5, 1), r"class weights are \[\[1.0\], .* expected \(K,\) finite numbers of 0 or more"),
    (torch.tensor(1.0), "class weights are 1.0, expected"),
    (torch.tensor([-1.0, 1, 1, 1, 1]), r"class weights are \[-1.0, "),
    (torch.tensor([torch.nan, 1, 1, 1, 1]), r"class weights are \[nan, "),
    ("balanced", "class weights are 'balanced', expected"),
]


@pytest.mark.parametrize(("weight", "words"), BAD_WEIGHTS, ids=lambda x: str(x)[:20])
def test_modules_and_functions_refuse_the_same_class_weights(weight, words):
    z, t = torch.zeros(3, 5), torch.tensor([0, 1, 4])
    with pytest.raises(InputError, match=words):
        loss("ce", weight=weight)(z, t)
    for function in (losses.ce, losses.ls, losses.function("nce+mae")):
        with pytest.raises(InputError, match=words):
            function(z, t, weight=weight)


def test_class_weights_may_be_a_list():
    z, t = torch.randn(3, 5), torch.tensor([0, 1, 4])
    wanted = nn.functional.cross_entropy(z, t, weight=torch.tensor([1.0, 2, 3, 4, 5]))
    torch.testing.assert_close(loss("ce", weight=[1, 2, 3, 4, 5])(z, t), wanted)
    torch.testing.assert_close(losses.ce(z, t, weight=[1, 2, 3, 4, 5]), wanted)


@pytest.mark.parametrize("bad", ["x", -100.5, True, torch.tensor(1)])
def test_an_ignore_index_that_is_none(bad):
    z, t = torch.zeros(3, 5), torch.tensor([0, 1, 4])
    with pytest.raises(InputError, match=r"ignore_index is .*, expected an integer, or None"):
        loss("ce", ignore_index=bad)
    with pytest.raises(InputError, match=r"ignore_index is .*, expected an integer, or None"):
        losses.ce(z, t, ignore_index=bad)


@pytest.mark.parametrize(
    "beyond", [2**63, 2**64 + 3, -(2**63) - 1, -(2**64), pytest.param(10**6000, id="6000 digits")]
)
def test_an_ignore_index_beyond_the_labels_64_bits(beyond):
    """2^64 + 3 in 64 bits is 3: label 3 would be ignored without a word."""
    z, t = torch.zeros(4, 5), torch.arange(4)
    with pytest.raises(InputError, match=r"ignore_index has \d+ bits, expected an integer from -2\^63 to"):
        loss("ce", ignore_index=beyond)
    with pytest.raises(InputError, match=r"ignore_index has \d+ bits"):
        losses.ce(z, t, ignore_index=beyond)


@pytest.mark.parametrize("most", [2**63 - 1, -(2**63)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_an_ignore_index_at_the_ends_ignores_that_label_alone(most, reduction):
    z = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([1, most, 3, most])
    wanted = nn.functional.cross_entropy(z, t, ignore_index=most, reduction=reduction)
    torch.testing.assert_close(loss("ce", ignore_index=most, reduction=reduction)(z, t), wanted)


def test_an_ignore_index_means_nothing_for_class_probabilities():
    z, q = batch((), soft=True)
    with pytest.raises(RuntimeError, match="ignore_index"):
        nn.CrossEntropyLoss(ignore_index=2)(z, q)
    for attempt in (lambda: loss("ce", ignore_index=2)(z, q), lambda: losses.mae(z, q, ignore_index=2)):
        with pytest.raises(InputError, match="ignore_index is 2, but the target is class probabilities"):
            attempt()
    for harmless in (-100, None):
        assert loss("ce", ignore_index=harmless)(z, q) == loss("ce")(z, q)


def test_what_is_no_tensor_is_named():
    z, t = torch.zeros(3, 5), torch.tensor([0, 1, 4])
    for bad, words in (
        (z.numpy(), "logits are of type numpy.ndarray, expected a tensor"),
        (None, "logits are of type NoneType"),
        (z.tolist(), "view 0 of the logits is of type list, expected a tensor"),
        ((z, 2), "view 1 of the logits is of type int"),
        ((), "an empty list"),
    ):
        for criterion in (loss("gjs"), losses.nce):
            with pytest.raises(InputError, match=words):
                criterion(bad, t)
    for bad, kind in (([0, 1, 4], "list"), (None, "NoneType"), (t.numpy(), "numpy.ndarray"), (3, "int")):
        with pytest.raises(InputError, match=f"target is of type {kind}, expected a tensor"):
            loss("ce")(z, bad)
    for bad in ("nce", None, 3, ["nce"], [loss("nce")]):
        with pytest.raises(
            InputError, match=r"Loss takes the terms of another loss, not .*nl.loss\('nce\+mae'\)"
        ):
            losses.Loss(bad)


def test_two_views():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([0, 1, 4, 4])
    torch.testing.assert_close(loss("ce")((a, b), t), (loss("ce")(a, t) + loss("ce")(b, t)) / 2)
    w, Z = 0.3, -0.7 * torch.tensor(0.7, dtype=torch.float64).log()
    wanted = []
    for n, label in enumerate(t):
        label = nn.functional.one_hot(label, 5).double()
        ps = [label, a[n].softmax(0), b[n].softmax(0)]
        mean = sum(u * p for u, p in zip((w, 0.35, 0.35), ps, strict=True))
        kl = [torch.special.xlogy(p, p).sum() - (p * mean.log()).sum() for p in ps]
        wanted.append(sum(u * d for u, d in zip((w, 0.35, 0.35), kl, strict=True)) / Z)
    torch.testing.assert_close(loss("gjs(w=0.3)", reduction="none")((a, b), t), torch.stack(wanted))
    torch.testing.assert_close(loss("gjs(w=0.3)")((a, a), t), loss("js(w=0.3)")(a, t))
    assert loss("gjs").needs == ("two views",)
    assert torch.autograd.gradcheck(
        lambda a, b: loss("gjs")((a, b), t), (a.requires_grad_(), b.requires_grad_())
    )


def test_peer_loss_is_the_mean_over_the_draws_of_peers():
    z, t = batch((), soft=False)
    t = t.clamp_min(0)
    pairs = itertools.product(range(6), range(6))  # whose image, whose label
    peers = torch.stack([losses.ce(z[i : i + 1], t[j : j + 1]) for i, j in pairs]).mean()
    torch.testing.assert_close(loss("peer(alpha=0.7)")(z, t), losses.ce(z, t) - 0.7 * peers)
