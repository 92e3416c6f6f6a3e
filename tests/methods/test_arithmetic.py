"""The arithmetic of each method against formulas written out per example in NumPy, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import noisylabels as nl
from methods.conftest import an_audit
from methods.test_contract import RUN, setup
from noisylabels.data.loader import Batch
from noisylabels.losses import LOSSES
from noisylabels.methods.backward import backward_weights
from noisylabels.methods.coteaching import forget_rate_at, mean_of_kept, small_loss
from noisylabels.methods.elr import elr_regularizer, elr_targets
from noisylabels.methods.expression import method
from noisylabels.methods.fit import fit
from noisylabels.methods.forward import forward_logits
from noisylabels.methods.mixture import fit_two_parts
from noisylabels.methods.ogc import appended, gradient_ratio, threshold
from noisylabels.methods.sop import balance, consistency, sop_terms
from noisylabels.noise.transition import symmetric
from noisylabels.training.method import Method

K, B = 5, 12


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(B, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture
def target() -> torch.Tensor:
    return torch.randint(K, (B,), generator=torch.Generator().manual_seed(4))


def softmax(row) -> list[float]:
    top = max(row)
    parts = [math.exp(z - top) for z in row]
    return [part / sum(parts) for part in parts]


def skewed(K: int = K) -> np.ndarray:
    """A transition matrix without any symmetry."""
    T = 0.6 * np.eye(K) + 0.4 * np.random.default_rng(0).dirichlet(np.ones(K), K)
    return T / T.sum(1, keepdims=True)


# ELR ----------------------------------------------------------------------------------------------


def test_elr_per_example(logits):
    before = torch.rand(B, K, dtype=torch.float64) / K
    wide = 6 * logits  # so that probabilities are clamped
    found = elr_targets(before, wide, 0.7)
    terms = elr_regularizer(wide, found)
    clamped_ones = 0
    for n in range(B):
        p = [min(max(q, 1e-4), 1 - 1e-4) for q in softmax(wide[n].tolist())]
        clamped_ones += min(p) == 1e-4
        t = [0.7 * before[n, k].item() + 0.3 * p[k] / sum(p) for k in range(K)]
        np.testing.assert_allclose(found[n], t, rtol=1e-12)
        inner = sum(t[k] * p[k] for k in range(K))
        assert terms[n].item() == pytest.approx(math.log(1 - inner), rel=1e-10)
    assert clamped_ones > 3


def test_the_gradient_of_elr_by_its_formula(logits):
    """Lemma 2 of the paper: the gradient by z_k is p_k / (1 - <t, p>) sum_j (t_k - t_j) p_j, negated."""
    targets = torch.rand(B, K, dtype=torch.float64) / K
    z = logits.clone().requires_grad_()
    elr_regularizer(z, targets).sum().backward()
    for n in range(B):
        p, t = softmax(logits[n].tolist()), targets[n].tolist()
        if min(p) < 1e-4 or max(p) > 1 - 1e-4:
            continue
        inner = sum(a * b for a, b in zip(t, p, strict=True))
        for k in range(K):
            expected = p[k] / (1 - inner) * sum((t[j] - t[k]) * p[j] for j in range(K))
            assert z.grad[n, k].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


# Forward and backward -----------------------------------------------------------------------------


def test_forward_per_example(logits):
    T = skewed()
    found = forward_logits(logits, torch.from_numpy(T)).exp()
    for n in range(B):
        p = softmax(logits[n].tolist())
        expected = [sum(p[i] * T[i, j] for i in range(K)) for j in range(K)]
        np.testing.assert_allclose(found[n], expected, rtol=1e-10)


def test_forward_keeps_its_value_and_gradient_far_from_the_label():
    """Where the probability underflows: -log q is that of the largest part, and pulls with full strength."""
    z = torch.tensor([[0.0, -500.0, -300.0]], requires_grad=True)
    T = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.4, 0.6]])
    value = -forward_logits(z, T)[0, 1]
    value.backward()
    # the part of class 2, e^-300 0.4, underflows too, and that of the label, e^-500, remains
    assert value.item() == pytest.approx(500, rel=1e-6)
    assert z.grad.tolist()[0][1] == pytest.approx(-1, abs=1e-6)
    assert z.grad.isfinite().all()


def test_backward_is_the_mean_of_the_losses_under_all_labels(logits, target):
    T = skewed()
    inverse = np.linalg.inv(T)
    np.testing.assert_allclose(backward_weights(T), inverse)
    for expression in ("ce", "nce+rce", "gce"):
        loss = nl.loss(expression, reduction="none")
        each = torch.stack([loss(logits.float(), torch.full((B,), k)) for k in range(K)], 1).numpy()
        expected = [sum(inverse[y, j] * each[n, j] for j in range(K)) for n, y in enumerate(target.tolist())]
        for criterion in (nl.loss(expression), Unknown(expression)):
            found = step("backward", logits, target, criterion, transition=T)[0]
            assert found.item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_backward_by_a_soft_target_is_the_sum_over_the_labels_for_every_loss(logits, target):
    T, seen = skewed(), 0
    for name, row in LOSSES.items():
        if nl.loss(row.expression).needs:  # another view, or the other examples of the batch
            continue
        ours = step("backward", logits, target, nl.loss(row.expression), transition=T)
        other = step("backward", logits, target, Unknown(row.expression), transition=T)
        torch.testing.assert_close(ours[0], other[0], rtol=1e-4, atol=1e-5, msg=name)
        grads = [found.networks[0].table.grad for _, found in (ours, other)]
        torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-5, msg=name)
        seen += 1
    assert seen >= 68


@pytest.mark.parametrize(
    "name",
    [
        *(
            "elr",
            "forward",
            "t_revision",
            "t_revision(how=reweight)",
            "volminnet",
            "ogc",
            "agreement",
            "mixup",
        ),
        *("coteaching", "coteaching_plus", "jocor", "relabel"),
    ],
)
def test_every_loss_of_the_catalog_fits_inside(name, logits, target):
    seen = 0
    for row in LOSSES.values():
        if "two views" in nl.loss(row.expression).needs:
            continue
        pair = {"forget_rate": 0.3, "second": Fixed(logits.flip(1))}
        matrix = {"transition": skewed()}
        inputs = {
            **dict.fromkeys(("forward", "t_revision", "t_revision(how=reweight)"), matrix),
            **dict.fromkeys(("coteaching", "coteaching_plus", "jocor"), pair),
            "ogc": {"tau": 1.2},
            "relabel": {"audit": an_audit(B, K)},
        }
        value, found = step(name, logits, target, nl.loss(row.expression), **inputs.get(name, {}))
        assert value.isfinite(), row.name
        assert all(network.table.grad.isfinite().all() for network in found.networks), row.name
        seen += 1
    assert seen >= 69


def test_the_mean_of_backward_over_the_noise_is_the_loss_of_the_true_label(logits):
    T = skewed()
    loss = nl.loss("ce", reduction="none")
    costs = torch.stack([loss(logits.float(), torch.full((B,), k)) for k in range(K)], 1).double().numpy()
    corrected = costs @ backward_weights(T).T  # of the given label y
    np.testing.assert_allclose(corrected @ T.T, costs, rtol=1e-9)


class Unknown(nn.Module):
    """A loss that the library knows nothing of, but for its reduction."""

    def __init__(self, expression: str) -> None:
        super().__init__()
        self.inner = nl.loss(expression, reduction="none")
        self.reduction = "mean"

    def forward(self, logits, target):
        values = self.inner(logits, target)
        return values.mean() if self.reduction == "mean" else values


# SOP ----------------------------------------------------------------------------------------------


def test_sop_per_example(logits, target):
    draw = torch.Generator().manual_seed(0)
    u = torch.randn(B, 1, generator=draw, dtype=torch.float64)
    v = torch.randn(B, K, generator=draw, dtype=torch.float64)
    onehot = nn.functional.one_hot(target, K).double()
    cross_entropy, error = sop_terms(logits, onehot, u, v)
    seen = set()
    for n in range(B):
        p, y = softmax(logits[n].tolist()), target[n].item()
        U = [min(u[n, 0].item() ** 2, 1) if k == y else 0.0 for k in range(K)]
        V = [0.0 if k == y else min(v[n, k].item() ** 2, 1) for k in range(K)]
        q = [max(p[k] + U[k] - V[k], 1e-4) for k in range(K)]
        q = [min(max(each / sum(q), 1e-4), 1) for each in q]
        assert cross_entropy[n].item() == pytest.approx(-math.log(q[y]), rel=1e-9)
        top = max(range(K), key=lambda k: p[k])
        expected = sum(((k == top) + U[k] - V[k] - (k == y)) ** 2 for k in range(K))
        assert error[n].item() == pytest.approx(expected, rel=1e-9)
        seen |= {U[y] == 1, top == y}
    assert seen == {True, False}


def test_the_parts_of_sop_that_have_a_gradient(logits, target):
    """The cross entropy trains network and u, the squared error u and v."""
    onehot = nn.functional.one_hot(target, K).double()
    z = logits.clone().requires_grad_()
    u = torch.full((B, 1), 0.3, dtype=torch.float64, requires_grad=True)
    v = torch.full((B, K), 0.3, dtype=torch.float64, requires_grad=True)
    cross_entropy, error = sop_terms(z, onehot, u, v)
    first = torch.autograd.grad(cross_entropy.sum(), [z, u, v], allow_unused=True, retain_graph=True)
    assert [g is not None and bool(g.abs().sum() > 0) for g in first] == [True, True, False]
    second = torch.autograd.grad(error.sum(), [z, u, v], allow_unused=True)
    assert [g is not None and bool(g.abs().sum() > 0) for g in second] == [False, True, True]


def test_balance_and_consistency(logits):
    probs = logits.softmax(1)
    expected = -np.mean([math.log(probs[:, k].mean().item()) for k in range(K)])
    assert balance(probs).item() == pytest.approx(expected, rel=1e-9)
    others = logits.flip(0)
    for n in range(B):
        p, q = softmax(logits[n].tolist()), softmax(others[n].tolist())
        expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert consistency(logits, others)[n].item() == pytest.approx(expected, rel=1e-9)


# Co-teaching --------------------------------------------------------------------------------------


def test_small_losses_and_their_mean():
    draw = np.random.default_rng(0)
    for size in (1, 2, 7, 10, 128):
        values, weights = draw.random(size), draw.integers(0, 3, size).astype(float)
        for rate in (0.0, 0.2, 0.4, 0.45, 0.9):
            keep = max(1, int((1 - rate) * size + 1e-9))
            order = sorted(range(size), key=lambda n: values[n])
            assert small_loss(torch.tensor(values), keep).tolist() == order[:keep]
            found = mean_of_kept(torch.tensor(values), torch.tensor(order), torch.tensor(rate))
            assert found.item() == pytest.approx(np.mean(values[order[:keep]]))
            # a weight of 2 equals an example given twice, 0 one that is not there
            twice = np.repeat(values, weights.astype(int))
            if len(twice):
                twice_keep = max(1, int((1 - rate) * len(twice) + 1e-9))
                within = mean_of_kept(
                    torch.tensor(values), torch.tensor(order), torch.tensor(rate), torch.tensor(weights)
                )
                few, many = np.sort(twice)[: max(1, twice_keep - 2)], np.sort(twice)[: twice_keep + 1]
                mean = len(twice) / size  # of the weights
                assert mean * few.mean() - 1e-6 <= within.item() <= mean * many.mean() + 1e-6


def test_the_share_that_is_left_out():
    """As in the authors' schedule: linspace(0, rate, num_gradual), then rate."""
    for rate, gradual in ((0.4, 10), (0.2, 5), (0.5, 1)):
        schedule = np.full(12, rate)
        schedule[:gradual] = np.linspace(0, rate, gradual)
        np.testing.assert_allclose([forget_rate_at(e, rate, gradual) for e in range(12)], schedule)
    assert forget_rate_at(0, 0.3, 0) == 0.3


def test_each_network_learns_what_the_other_selects(logits, target):
    other = torch.randn(B, K, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    second = Fixed(other)
    found = step("coteaching", logits, target, forget_rate=0.5, second=second)
    costs = [nn.functional.cross_entropy(z.float(), target, reduction="none") for z in (logits, other)]
    chosen = [set(each.argsort()[: B // 2].tolist()) for each in costs]
    assert chosen[0] != chosen[1]
    used = [set(net.table.grad.abs().sum(1).nonzero().flatten().tolist()) for net in found[1].networks]
    assert used == [chosen[1], chosen[0]]


# OGC ----------------------------------------------------------------------------------------------


def test_the_mixture_of_two_parts():
    draw = np.random.default_rng(1)
    values = np.concatenate([draw.normal(0.3, 0.2, 700), draw.normal(4, 1.0, 300)])
    found = fit_two_parts(torch.tensor(values))
    from sklearn.mixture import GaussianMixture

    theirs = GaussianMixture(2, max_iter=300, tol=1e-9, reg_covar=1e-3, random_state=0).fit(values[:, None])
    order = theirs.means_[:, 0].argsort()
    np.testing.assert_allclose(found.mean, theirs.means_[order, 0], atol=0.01)
    np.testing.assert_allclose(found.variance, theirs.covariances_[order, 0, 0], rtol=0.02)
    np.testing.assert_allclose(found.share, theirs.weights_[order], atol=0.005)


def test_the_threshold_reaches_the_ratio():
    """For cross entropy, whose slope is 1/p: against a fine search."""
    H = np.linspace(1e-7, 16, 1000)
    clean, noisy = np.exp(-((H - 0.5) ** 2) / 0.5), np.exp(-((H - 4) ** 2) / 4)
    slopes = np.exp(H)

    def ratio(tau: float) -> float:
        g = np.minimum(slopes, tau)
        return (g * noisy).sum() / (g * clean).sum() * clean.sum() / noisy.sum()

    given = [torch.tensor(each) for each in (slopes, clean, noisy)]
    assert gradient_ratio(torch.tensor(3.0), *given).item() == pytest.approx(ratio(3.0))
    for most in (1.2, 2.0, 5.0):
        tau = 1 / threshold(lambda p: 1 / p, *given, most).item()
        wanted = min(np.linspace(1.001, 60, 20000), key=lambda t: abs(ratio(t) - most))
        assert abs(1 / tau - 1 / wanted) < 1.1 / 1024
    assert threshold(lambda p: 1 / p, *given, 1e12).item() == 0.0


@pytest.mark.parametrize(
    ("expression", "slope"), [("ce", lambda p: 1 / p), ("gce(q=0.7)", lambda p: p**-0.3)]
)
def test_the_gradient_of_ogc_is_clipped_by_probability(logits, target, expression, slope):
    """For a loss l(p_y): dl/dz_k = l'(p_y) p_y ([k = y] - p_k), with |l'| at most tau."""
    for tau in (1.05, 1.3, 4.0):
        _, found = step("ogc", logits, target, nl.loss(expression), tau=tau)
        grad = found.networks[0].table.grad
        clipped = 0
        for n, y in enumerate(target.tolist()):
            p = softmax(logits[n].tolist())
            size = min(slope(p[y]), tau)
            clipped += slope(p[y]) > tau
            expected = [-size * p[y] * ((k == y) - p[k]) / B for k in range(K)]
            np.testing.assert_allclose(grad[n], expected, rtol=1e-3, atol=1e-7)
        assert clipped


def test_the_slope_of_a_loss_of_all_probabilities():
    """nce, with all other probabilities equal: against a difference quotient in p_y."""
    _, found = step("ogc", torch.zeros(B, K), torch.zeros(B, dtype=torch.int64), nl.loss("nce"))
    p = torch.tensor([0.02, 0.3, 0.7, 0.95], dtype=torch.float64)

    def nce(q: float) -> float:
        rest = (1 - q) / (K - 1)
        return -math.log(q) / (-math.log(q) - (K - 1) * math.log(rest))

    expected = [abs(nce(q + 1e-6) - nce(q - 1e-6)) / 2e-6 for q in p.tolist()]
    for label in (0, K - 1):
        np.testing.assert_allclose(found.slope_at(p, torch.tensor(label)), expected, rtol=1e-6)


def queued(loss: nn.Module, logits: torch.Tensor, target: torch.Tensor) -> Method:
    """Return the method with a full queue, and the thresholds that follow from it."""
    _, found = step("ogc", logits, target, loss)
    found.queue.copy_(torch.linspace(0.1, 6.0, len(found.queue)))
    found.lr = 0.01
    found.tau.copy_(found._thresholds())
    return found


@pytest.mark.parametrize(
    "options", [{"ignore_index": 0}, {"weight": torch.tensor([0.0, 1, 1, 1, 1])}], ids=["ignored", "weight 0"]
)
def test_ogc_with_a_first_class_that_has_no_loss(logits, target, options):
    """The threshold is that of the other classes, not 0, with which nothing would be trained."""
    plain, other = (queued(loss, logits, target) for loss in (nl.loss("ce"), nl.loss("ce", **options)))
    assert 1 < plain.tau[1] < math.inf
    assert torch.equal(plain.tau, plain.tau[:1].expand(K))
    torch.testing.assert_close(other.tau[1:], plain.tau[1:], rtol=1e-6, atol=0)


def test_ogc_clips_a_class_in_proportion_to_its_weight(logits, target):
    """An example's gradient is w_y times that without weights, clipped or not, and w sum to B in a batch."""
    weight = torch.tensor([0.2, 1.0, 3.0, 10.0, 0.5])
    grads = []
    for loss in (nl.loss("ce"), nl.loss("ce", weight=weight)):
        found = queued(loss, logits, target)
        table = found.networks[0].table
        table.grad = None
        positions = torch.arange(B)
        value, _ = found.step(Batch(positions.float()[:, None], target, positions))
        value.backward()
        grads.append(table.grad)
    torch.testing.assert_close(
        grads[1], grads[0] * (weight / weight[target].mean())[target, None], rtol=1e-4, atol=1e-7
    )
    assert (found.tau < 50 * weight).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_ogc_with_a_loss_of_torch_has_the_thresholds_of_ours(logits, target, weighted):
    """Its class weights are float32, and the slopes on the grid float64."""
    weight = torch.tensor([0.2, 1.0, 3.0, 10.0, 0.5]) if weighted else None
    theirs = nn.CrossEntropyLoss(weight=weight)
    ours, other = (queued(loss, logits, target) for loss in (nl.loss("ce", weight=weight), theirs))
    torch.testing.assert_close(other.tau, ours.tau, rtol=1e-6, atol=0)
    p = torch.tensor([1e-7, 0.3, 1 - 1e-7], dtype=torch.float64)
    for label in range(K):
        found = other.slope_at(p, torch.tensor(label))
        w = weight[label].item() if weighted else 1.0
        np.testing.assert_allclose(found, w / p, rtol=1e-6)  # |d(-w log p)/dp|
    assert theirs.weight is None or theirs.weight.dtype == torch.float32
    assert theirs.reduction == "mean"


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 0.5])])
def test_a_run_of_ogc_with_a_loss_of_torch(weight, sets, model):
    ends = []
    for loss in (nl.loss("ce", weight=weight), nn.CrossEntropyLoss(weight=weight)):
        network, (train, test) = model(), sets()
        fit(network, train, test, loss, method="ogc(epsilon=1,time_frame=2,queue_size=24)", **RUN)
        ends.append(network[-1].weight)
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-3, atol=1e-5)


def test_the_queue_keeps_its_order_and_forgets_the_oldest():
    draw = np.random.default_rng(0)
    ours, theirs = torch.full((7,), torch.nan), [math.nan] * 7
    for size in (3, 5, 1, 9, 4):
        values, counts = draw.random(size).astype(np.float32), draw.random(size) < 0.6
        ours = appended(ours, torch.from_numpy(values), torch.from_numpy(counts))
        theirs = [*theirs, *values[counts]][-7:]
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(appended(ours, torch.ones(2)), [*theirs[2:], 1, 1])


# Limits -------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """A network whose logits are its parameters, one row per example; its input is the example's number."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table.float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.table[inputs[:, 0].long()]


def step(
    name: str, logits: torch.Tensor, target: torch.Tensor, loss=None, tau: float | None = None, **inputs
) -> tuple[torch.Tensor, Method]:
    """Return the value of a step at these logits, and the method with its gradients."""
    count = len(logits)
    if "forget_rate" in inputs:
        rate = inputs.pop("forget_rate")
        spec = method(f"{name}(forget_rate={rate},num_gradual=0)", **inputs)
    else:
        spec = method(name, **inputs)
    found = spec(Fixed(logits), loss or nl.loss("ce"))
    found.prepare(setup(count, logits.shape[1]))
    if tau is not None:
        found.tau.fill_(tau)
    found.begin_epoch(0)
    positions = torch.arange(count)
    value, _ = found.step(Batch(positions.float()[:, None], target, positions))
    value.backward()
    return value.detach(), found


LIMITS = [
    ("elr(lambda_=0)", {}),
    ("forward", {"transition": np.eye(K)}),
    ("backward", {"transition": np.eye(K)}),
    ("t_revision", {"transition": np.eye(K)}),
    ("t_revision(how=reweight)", {"transition": np.eye(K)}),
    ("volminnet(initial=99)", {}),
    ("ogc", {}),  # whose threshold is infinite at first
    ("agreement(warmup=9)", {}),
]


@pytest.mark.parametrize(("expression", "inputs"), LIMITS)
@pytest.mark.parametrize(
    "options", [{}, {"weight": torch.tensor([0.2, 1.0, 3.0, 9.0, 0.5])}, {"ignore_index": 2}]
)
@pytest.mark.parametrize("loss", ["ce", "gce", "nce+rce", "nce+mae", "nfl+rce", "anl_ce"])
def test_the_limit_of_a_method_is_the_loss(expression, inputs, loss, options, logits, target):
    if "ignore_index" in options and expression == "backward":
        return  # refuses it
    plain = step("standard", logits, target, nl.loss(loss, **options))
    found = step(expression, logits, target, nl.loss(loss, **options), **inputs)
    torch.testing.assert_close(found[0], plain[0])
    torch.testing.assert_close(
        found[1].networks[0].table.grad, plain[1].networks[0].table.grad, rtol=1e-4, atol=1e-7
    )


def test_without_a_rate_coteaching_is_two_standard_runs(sets, model):
    train, test = sets()
    one, other = model(seed=1), model(seed=2)
    first, second = model(seed=1), model(seed=2)
    fit(
        first,
        train,
        test,
        nl.loss("nce+mae"),
        method=method("coteaching(forget_rate=0)", second=second),
        **RUN,
    )
    for network in (one, other):
        fit(network, train, test, nl.loss("nce+mae"), **RUN)
    for ours, theirs in ((first, one), (second, other)):
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("expression", ["elr(lambda_=0)", "ogc", "forward"])
def test_runs_at_the_limit_are_standard_runs(expression, sets, model):
    train, test = sets()
    inputs = {"transition": np.eye(3)} if expression == "forward" else {}
    one, other = model(), model()
    fit(one, train, test, nl.loss("ce"), method=method(expression, **inputs), **RUN)
    fit(other, train, test, nl.loss("ce"), **RUN)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_forward_learns_the_true_probabilities():
    """With the right matrix, the minimum of cross entropy is at the true probabilities."""
    T, p = torch.from_numpy(symmetric(3, 0.4)).float(), torch.tensor([0.7, 0.2, 0.1])
    z = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        nn.functional.cross_entropy(forward_logits(z, T), (p @ T)[None]).backward()
        optimizer.step()
    torch.testing.assert_close(z.softmax(1)[0], p, atol=1e-3, rtol=0)
