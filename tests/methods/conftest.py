"""Fixtures of the tests of methods: tiny sets and networks, and each method ready for K classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from noisylabels.data.images import ImageSet, image_set
from noisylabels.methods.catalog import METHODS
from noisylabels.methods.expression import MethodSpec, method
from noisylabels.noise.transition import symmetric

EXPRESSIONS = {
    "standard": ["standard"],
    "elr": ["elr"],
    "sop": ["sop", "sop(lr_u=1,ratio_consistency=0.9,ratio_balance=0.1)"],
    "forward": ["forward"],
    "backward": ["backward"],
    "t_revision": ["t_revision(start=0.3)", "t_revision(how=reweight,start=0.3)"],
    "volminnet": ["volminnet"],
    "coteaching": ["coteaching(forget_rate=0.3,num_gradual=3)"],
    "coteaching_plus": ["coteaching_plus(forget_rate=0.3,num_gradual=3,warmup=1)"],
    "jocor": ["jocor(forget_rate=0.3,num_gradual=3,lambda_=0.5)"],
    "early_stop": ["early_stop(T1=0,T2=1,T3=1)"],
    "ogc": ["ogc(epsilon=1,time_frame=2,queue_size=24)"],
    "agreement": ["agreement(warmup=1)"],
    "mixup": ["mixup"],
    "relabel": ["relabel", "relabel(how=relabel)", "relabel(how=reweigh)"],
    "elr_plus": ["elr_plus(lambda_ramp=0.5)"],
    "dividemix": ["dividemix(rate=0.4,warmup=1,ramp=1)", "dividemix(rate=0.6)"],
    "ssr": ["ssr(k=5)"],
    "knn": ["knn(smallest=3,largest=7)"],
}
"""Each method of the catalog as the contract suite runs it, so that all of its parts are at work."""

CASES = [
    expression
    for name, expressions in EXPRESSIONS.items()
    for expression in expressions
    if not METHODS[name].fitted  # these have no network: test_knn.py
]


def an_audit(n: int, K: int) -> np.ndarray:
    """Return the quality of n labels, and suggested classes."""
    draw = np.random.default_rng(0)
    return np.column_stack([draw.random(n), draw.integers(0, K, n)])


def ready(
    expression: str, K: int = 3, network: Callable[[], nn.Module] | None = None, n: int = 41
) -> MethodSpec:
    """Return a method with inputs for n examples of K classes."""
    spec = method(expression)
    made = {
        "transition": lambda: symmetric(K, 0.3),
        "noise_rate": lambda: 0.3,
        "label_quality": lambda: an_audit(n, K),
        "network": network,
    }
    found = {name: made[kind] for name, (kind, _) in spec.needs.items() if made[kind] is not None}
    return spec.with_inputs(**{name: make() for name, make in found.items()})


@pytest.fixture
def sets() -> Callable[..., tuple[ImageSet, ImageSet]]:
    """Images whose brightness follows their class, with some noise, and a third of the labels wrong."""

    def make(n: int = 41, m: int = 20, K: int = 3, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        draw = torch.Generator().manual_seed(seed)

        def part(count: int, rate: float) -> ImageSet:
            labels = torch.arange(count) % K
            level = (labels.float() + 0.5) * 255 / K
            noise = 40 * torch.randn(count, 1, 4, 4, generator=draw)
            pixels = (level.view(-1, 1, 1, 1) + noise).clamp(0, 255).to(torch.uint8)
            wrong = torch.rand(count, generator=draw) < rate
            labels = torch.where(wrong, torch.randint(K, (count,), generator=draw), labels)
            return image_set(pixels, labels, [f"class {k}" for k in range(K)], name="tiny")

        return part(n, 0.3), part(m, 0.0)

    return make


@pytest.fixture
def model() -> Callable[..., nn.Module]:
    """A convolution with batch normalization, or without, and dropout on demand; always the same."""

    def make(K: int = 3, dropout: float = 0.0, norm: bool = True, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(1, 6, 3, padding=1),
                nn.BatchNorm2d(6) if norm else nn.Identity(),
                nn.ReLU(),
                nn.Flatten(),
                nn.Dropout(dropout),
                nn.Linear(96, K),
            )

    return make
