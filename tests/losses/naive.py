"""Independent implementations of the losses in plain Python, one example at a time.

A loss that enters the catalog needs its formula here, as a function of log p and of 1 - p (handed in
separately, so that both are exact at their ends), and may have a line of parameters to try.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

PHI: dict[str, Callable[..., float]] = {
    "ce": lambda log_p, rest: -log_p,
    "fl": lambda log_p, rest, gamma=0.5: -(rest**gamma) * log_p,
    "mae": lambda log_p, rest: 2 * rest,
    "rce": lambda log_p, rest, A=-4.0: -A * rest,
    "gce": lambda log_p, rest, q=0.7: -math.expm1(q * log_p) / q,
    "taylor_ce": lambda log_p, rest, t=2.0: math.fsum(rest**i / i for i in range(1, int(t) + 1)),
    "phuber_ce": lambda log_p, rest, tau=2.0: (
        -log_p if log_p > -math.log(tau) else math.log(tau) + 1 - tau * math.exp(log_p)
    ),
    "agce": lambda log_p, rest, a=0.6, q=0.6: ((a + 1) ** q - (a + math.exp(log_p)) ** q) / q,
    "aul": lambda log_p, rest, a=5.5, q=3.0: ((a - math.exp(log_p)) ** q - (a - 1) ** q) / q,
    "ael": lambda log_p, rest, a=2.5: math.exp(-math.exp(log_p) / a),
    "js": lambda log_p, rest, w=0.5: _js(math.exp(log_p), log_p, rest, w),
    "poly1": lambda log_p, rest, epsilon=2.0: -log_p + epsilon * rest,
}


def _js(p: float, log_p: float, rest: float, w: float) -> float:
    """Jensen-Shannon from its definition, KL to the mean, for a label of p and one other class of 1 - p."""
    mean = w + (1 - w) * p
    kl_label = -math.log(mean)
    kl_p = p * (log_p - math.log(mean)) + rest * -math.log(1 - w)  # elsewhere the mean is (1-w) p_k
    return (w * kl_label + (1 - w) * kl_p) / (-(1 - w) * math.log(1 - w))


def _entropy(ps: Sequence[float]) -> float:
    return -math.fsum(p * math.log(p) for p in ps if p > 0)


def _log_tempered(log_p: Sequence[float], t: float) -> list[float]:
    """The logarithm of the tempered softmax, by bisection."""
    if t == 1:
        return list(log_p)
    top = max(log_p)

    def probabilities(shift: float) -> list[float]:
        return [max(1 + (1 - t) * (x - top - shift), 0.0) ** (1 / (1 - t)) for x in log_p]

    low, high = 0.0, 1.0
    while math.fsum(probabilities(high)) > 1:
        high *= 2
    while low < (middle := (low + high) / 2) < high:  # to the last bit
        low, high = (middle, high) if math.fsum(probabilities(middle)) > 1 else (low, middle)
    return [math.log(p) for p in probabilities(high)]


def _bi_tempered(log_p: Sequence[float], label: int, t1: float = 0.8, t2: float = 1.2) -> float:
    """The Bregman divergence of the one-hot label and the prediction, class by class, as in the paper."""
    total = []
    for k, x in enumerate(_log_tempered(log_p, t2)):
        if k == label:  # log_t1 y - log_t1 p, with log_t1 1 = 0
            total.append(-x if t1 == 1 else -math.expm1((1 - t1) * x) / (1 - t1))
        total.append(-(float(k == label) - math.exp((2 - t1) * x)) / (2 - t1))
    return math.fsum(total)


def _gjs(log_p: Sequence[float], label: int, w: float = 0.5) -> float:
    ps = [math.exp(x) for x in log_p]
    mean = [w * (k == label) + (1 - w) * p for k, p in enumerate(ps)]
    return (_entropy(mean) - (1 - w) * _entropy(ps)) / (-(1 - w) * math.log(1 - w))


def _log_sum_exp(xs: Sequence[float]) -> float:
    top = max(xs)
    return top + math.log(math.fsum(math.exp(x - top) for x in xs))


def _ldr_kl(log_p: Sequence[float], label: int, lam: float, c: float) -> float:
    """The worst of the other labels, softly, by its definition."""
    leads = [(x - log_p[label] + c * (k != label)) / lam for k, x in enumerate(log_p)]
    return lam * (_log_sum_exp(leads) - math.log(len(leads)))


VECTORWISE: dict[str, Callable[..., float]] = {
    "boot_soft": lambda l, y, beta=0.95: (
        -math.fsum((beta * (k == y) + (1 - beta) * math.exp(x)) * x for k, x in enumerate(l))
    ),
    # the entry of the largest probability, l at argmax
    "boot_hard": lambda l, y, beta=0.8: -(beta * l[y] + (1 - beta) * max(l)),
    "amse": lambda l, y, a=30.0: (
        math.fsum((math.exp(x) - a * (k == y)) ** 2 for k, x in enumerate(l)) / len(l)
    ),
    "bi_tempered": _bi_tempered,
    "gjs": _gjs,
    "mse": lambda l, y: math.fsum((math.exp(x) - (k == y)) ** 2 for k, x in enumerate(l)),
    "tgce": lambda l, y, q=0.7, k=0.5: (1 - max(math.exp(l[y]), k) ** q) / q,
    "blurry": lambda l, y, gamma=0.5, detach=0.0: -math.exp(gamma * l[y]) * l[y],
    "piecewise_zero": lambda l, y, c=0.05: -l[y] if l[y] >= math.log(c) else 0.0,
    "unhinged": lambda l, y: -math.fsum(l[y] - x for x in l) / len(l),
    "sgce": lambda l, y, q=0.7: math.fsum(math.exp(q * x) - math.exp(q * l[y]) for x in l) / (q * len(l)),
    "nl": lambda l, y: (
        -math.fsum(
            _log_sum_exp([x for j, x in enumerate(l) if j != k])
            if math.exp(l[k]) > 0.5
            else math.log1p(-math.exp(l[k]))
            for k in range(len(l))
            if k != y
        )
        / (len(l) - 1)
    ),
    "ldr_kl": lambda l, y, lam=1.0, c=0.1: _ldr_kl(l, y, lam, c),
    "conf_penalty": lambda l, y, beta=0.1: (
        -l[y] - beta * -math.fsum(math.exp(x) * x for x in l if math.exp(x) > 0)
    ),
    "nrce_ma2020": lambda l, y, A=-9.210340371976182: (
        -A * math.fsum(math.exp(x) for k, x in enumerate(l) if k != y) * (len(l) - 1) / 4
    ),
}


def _eps_softmax(z: Sequence[float], m: float = 1e3, floor: float = 1e-8) -> list[float]:
    ps = [math.exp(x) for x, _ in log_probs(z)]
    top = ps.index(max(ps))
    relaxed = [max((p + m * (k == top)) / (1 + m), floor) for k, p in enumerate(ps)]
    total = math.fsum(relaxed)
    return [math.log(p / total) for p in relaxed]


def _logit_clip(z: Sequence[float], tau: float = 1.0) -> list[float]:
    norm = math.sqrt(math.fsum(x * x for x in z))
    return [x * tau / norm for x in z] if norm > tau else list(z)


def _logit_norm(z: Sequence[float], tau: float = 0.04) -> list[float]:
    norm = max(math.sqrt(math.fsum(x * x for x in z)), 1e-3)
    return [x / (tau * norm) for x in z]


LOGITS: dict[str, Callable[..., list[float]]] = {
    "eps_softmax": _eps_softmax,
    "logit_clip": _logit_clip,
    "logit_norm": _logit_norm,
    "temper": lambda z, T=2.0: [x / T for x in z],
}

LABELS: dict[str, Callable[..., list[float]]] = {
    "ls": lambda q, shares, r=0.1: [(1 - r) * x + r / len(q) for x in q],
    "peer": lambda q, shares, alpha=1.0: [x - alpha * share for x, share in zip(q, shares, strict=True)],
}

PARAMETERS: dict[str, list[dict[str, float]]] = {
    "fl": [{"gamma": 0.0}, {"gamma": 0.1}, {"gamma": 1.0}, {"gamma": 2.0}, {"gamma": 3.5}],
    "rce": [{"A": -1.0}, {"A": math.log(1e-4)}],
    "gce": [{"q": 0.1}, {"q": 1.0}],
    "taylor_ce": [{"t": 1.0}, {"t": 6.0}],
    "phuber_ce": [{"tau": 10.0}],
    "agce": [{"a": 6.0, "q": 1.5}, {"a": 1.8, "q": 3.0}],
    "aul": [{"a": 3.0, "q": 0.1}, {"a": 6.3, "q": 1.5}],
    "ael": [{"a": 5.0}],
    "js": [{"w": 0.1}, {"w": 0.9}, {"w": 1e-3}],
    "poly1": [{"epsilon": -0.5}],
    "tgce": [{"q": 0.3, "k": 0.2}],
    "blurry": [{"gamma": 0.1}, {"gamma": 1.0}],
    "piecewise_zero": [{"c": 0.2}],
    "sgce": [{"q": 0.1}, {"q": 1.0}],
    "ldr_kl": [{"lam": 10.0, "c": 1.0}, {"lam": 0.5, "c": 0.0}],
    "conf_penalty": [{"beta": 1.0}],
    "logit_norm": [{"tau": 1.0}],
    "temper": [{"T": 0.5}],
    "gjs": [{"w": 0.1}, {"w": 0.9}],
    "boot_soft": [{"beta": 0.5}],
    "boot_hard": [{"beta": 0.5}],
    "amse": [{"a": 1.0}, {"a": 5.0}],
    "bi_tempered": [{"t1": 0.2, "t2": 4.0}, {"t1": 1.0, "t2": 1.0}, {"t1": 0.5, "t2": 1.0}],
    "ls": [{"r": 0.4}],
    "peer": [{"alpha": 0.5}],
    "eps_softmax": [{"m": 10.0}],
    "logit_clip": [{"tau": 2.5}],
}


COMPOSITES = {
    "sce": "0.1*ce+rce",
    "anl_ce": "5*nce+5*nnce",
    "anl_fl": "5*nfl+5*nnfl",
    "jal_ce": "nce+amse(a=30)",
    "jal_fl": "nfl+amse(a=30)",
}


class Term(NamedTuple):
    """A term of an expression."""

    weight: float
    prefix: str
    name: str
    given: dict[str, float]
    wraps: tuple[tuple[str, dict[str, float]], ...] = ()


def stem(name: str) -> tuple[str, str]:
    """Return the form's prefix ("", "n", "nn") and the name of the per-label function."""
    for prefix in ("", "n", "nn"):
        if name.startswith(prefix) and name[len(prefix) :] in PHI:
            return prefix, name[len(prefix) :]
    if name in VECTORWISE:
        return "", name
    raise AssertionError(f"the loss {name!r} has no formula in tests/losses/naive.py: write it there")


def terms(expression: str) -> list[Term]:
    """Return the terms of a canonical expression."""
    return _terms(ast.parse(expression, mode="eval").body)


def _terms(node: ast.expr) -> list[Term]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _terms(node.left) + _terms(node.right)
    if isinstance(node, ast.BinOp):
        assert isinstance(node.op, ast.Mult)
        return [t._replace(weight=ast.literal_eval(node.left) * t.weight) for t in _terms(node.right)]
    given: dict[str, float] = {}
    inner = None
    if isinstance(node, ast.Call):
        given = {k.arg or "": float(ast.literal_eval(k.value)) for k in node.keywords}
        inner = node.args[0] if node.args else None
        node = node.func
    assert isinstance(node, ast.Name)
    if node.id in COMPOSITES:
        return terms(COMPOSITES[node.id])
    if node.id in LOGITS or node.id in LABELS:
        return [
            t._replace(wraps=((node.id, given), *t.wraps))
            for t in _terms(inner or ast.parse("ce", mode="eval").body)
        ]
    return [Term(1.0, *stem(node.id), given)]


def log_probs(logits: Sequence[float]) -> list[tuple[float, float]]:
    """Return (log p, 1 - p) of every class."""
    top = max(logits)
    parts = [math.exp(z - top) for z in logits]
    total = math.fsum(parts)
    largest = parts.index(max(parts))
    others = math.fsum(part for k, part in enumerate(parts) if k != largest)  # exact 1 - p of the winner
    return [
        (
            -math.log1p(others) if k == largest else z - top - math.log(total),
            others / total if k == largest else (total - part) / total,
        )
        for k, (z, part) in enumerate(zip(logits, parts, strict=True))
    ]


def value(expression: str, logits: Sequence[float], label: int, labels: Sequence[int] | None = None) -> float:
    """Return the loss of one example; `labels` are those of its batch, by default its own alone."""
    labels = [label] if labels is None else labels
    shares = [labels.count(k) / len(labels) for k in range(len(logits))]
    total = 0.0
    for weight, prefix, name, given, wraps in terms(expression):
        z, q = list(logits), [float(k == label) for k in range(len(logits))]
        for wrap, parameters in wraps:
            if wrap in LOGITS:
                z = LOGITS[wrap](z, **parameters)
            else:
                q = LABELS[wrap](q, shares, **parameters)
        pairs = log_probs(z)
        if any(wrap in LABELS for wrap, _ in wraps):
            total += weight * math.fsum(x * _cost(prefix, name, given, pairs, k) for k, x in enumerate(q))
        else:
            total += weight * _cost(prefix, name, given, pairs, label)
    return total


def _cost(
    prefix: str, name: str, given: dict[str, float], pairs: list[tuple[float, float]], label: int
) -> float:
    if name in VECTORWISE:
        return VECTORWISE[name]([log_p for log_p, _ in pairs], label, **given)

    def phi(pair: tuple[float, float]) -> float:
        return PHI[name](*pair, **given)

    if prefix == "":
        return phi(pairs[label])
    if prefix == "n":
        return phi(pairs[label]) / math.fsum(phi(pair) for pair in pairs)
    floor = (math.log(1e-7), 1 - 1e-7)
    gains = [phi(floor) - phi(pair if pair[0] > floor[0] else floor) for pair in pairs]
    return 1 - gains[label] / math.fsum(gains)


def slope(
    expression: str,
    logits: Sequence[float],
    label: int,
    k: int,
    step: float = 1e-3,
    labels: Sequence[int] | None = None,
) -> float:
    """Return the derivative of the loss with respect to logit k, by central differences of fourth order."""
    ends = []
    for steps in (-2, -1, 1, 2):
        moved = list(logits)
        moved[k] += steps * step
        ends.append(value(expression, moved, label, labels))
    return (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
