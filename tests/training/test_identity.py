"""A run's folder belongs to one loss, one method and one model, told apart by more than their names."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data.features import feature_set
from noisylabels.methods.elr import EarlyLearning
from noisylabels.methods.standard import Standard
from noisylabels.training.identity import constants

SCALE = 2.0


class Scaled(nn.Module):
    """Cross entropy times a number; it counts its calls."""

    def __init__(self, factor: float, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.factor, self.calls, self.inner = factor, 0, inner

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return self.factor * functional.cross_entropy(logits, target)


class Smooth:
    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(logits, target, label_smoothing=self.share)

    def method(self, logits: Tensor, target: Tensor) -> Tensor:
        return self(logits, target)


def closed(share: float) -> Any:
    def inner(logits: Tensor, target: Tensor, factor: float = share) -> Tensor:
        return factor * functional.cross_entropy(logits, target, label_smoothing=share)

    return inner


def weighted(weights: Any) -> Any:
    return lambda logits, target: functional.cross_entropy(logits, target, weight=torch.as_tensor(weights))


def by_global(factor: Any, used: str = "SCALE", more: str = "") -> Any:
    names = {"SCALE": factor, "functional": functional, "__name__": __name__, "device": factor}
    lines = [
        "def loss(logits, target):",
        more,
        f"    return {used} * functional.cross_entropy(logits, target)",
    ]
    exec("\n".join(lines), names)
    return names["loss"]


LOSSES: dict[str, Callable[[float], Any]] = {
    "argument of torch's": lambda x: nn.CrossEntropyLoss(label_smoothing=x),
    "class to ignore": lambda x: nn.CrossEntropyLoss(ignore_index=int(10 * x)),
    "attribute": Scaled,
    "attribute of a module inside": lambda x: Scaled(1.0, Scaled(x)),
    "partial": lambda x: functools.partial(functional.cross_entropy, label_smoothing=x),
    "object": Smooth,
    "bound method": lambda x: Smooth(x).method,
    "closure": closed,
    "global": by_global,
    "code": lambda x: (lambda z, y: z.mean()) if x < 0.4 else (lambda z, y: z.std()),
    "code inside": lambda x: (lambda z, y: (lambda: 1)()) if x < 0.4 else (lambda z, y: (lambda: 2)()),
    "tensor of a partial": lambda x: functools.partial(
        functional.cross_entropy, weight=torch.tensor([x, 1.0, 1.0])
    ),
    "tensor in a closure": lambda x: weighted(torch.tensor([x, 1.0, 1.0], dtype=torch.bfloat16)),
    "array in a closure": lambda x: weighted(np.array([x, 1.0, 1.0])),
    "array of an object": lambda x: Smooth(np.float64([x])),  # type: ignore[arg-type]
    "many numbers": lambda x: weighted([x] * 101),
    "global of a function inside": lambda x: by_global(x, "(lambda: SCALE)()"),
    "global list": lambda x: by_global([1.0, x], "SCALE[1]"),
    "helper": lambda x: by_global((lambda: 1) if x < 0.4 else (lambda: 2), "SCALE()"),
    "function in a loss of ours": lambda x: nl.losses.select(lambda l: -x * l),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_of_one_name_are_told_apart(kind: str) -> None:
    first, again, other = (constants(LOSSES[kind](x), "loss") for x in (0.3, 0.3, 0.5))
    assert first == again
    assert first != other
    assert not any("0x" in value for value in first.values())  # an address, which changes


def test_what_a_loss_does_not_compute_with_is_not_compared() -> None:
    # an attribute of the name of a global value
    of_attribute = (constants(by_global(x, "(logits.device != target)"), "loss") for x in (0.3, 0.5))
    assert len({str(found) for found in of_attribute}) == 1
    described = constants(by_global(1, more='    """Weigh."""'), "loss")
    assert described == constants(by_global(1), "loss")


def test_another_process_finds_the_same() -> None:
    lines = [
        "from noisylabels.training.identity import constants",
        "def loss(z, y, k=2, *, s={'a': [1, (2.5, 'b')]}):",
        "    return sum(x for x in (lambda q: z * q)(k) if x in {'c', 'd', 'e', 'f'})",
        "found = sorted(constants(loss, 'loss').items())",
    ]
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    other = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, "print(found)"])],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "code of" in other.stdout
    assert other.stdout.strip() == str(names["found"])


DATA = feature_set(
    torch.from_numpy(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)),
    np.arange(60) % 3,
    ("a", "b", "c"),
)


class Wave(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.rate * x)


def fit(folder: Path, loss: Any = None, method: Any = "standard", act: nn.Module | None = None) -> nl.History:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), act or nn.ReLU(), nn.Linear(8, 3))
    loss = nn.CrossEntropyLoss() if loss is None else loss
    return nl.fit(model, DATA, None, loss, method=method, folder=folder, epochs=2, batch_size=30)


@dataclass
class Shape:
    rate: float


class Shaped(Wave):
    def __init__(self, shape: Shape) -> None:
        super().__init__(1.0)
        self.shape = shape


class Own(Standard):
    def __init__(self, model: nn.Module, loss: Any, rates: tuple[float, ...]) -> None:
        super().__init__(model, loss)
        self.rates = rates


class Acts(Wave):
    def __init__(self, act: Any) -> None:
        super().__init__(1.0)
        self.act = act


CALLS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "loss": ({"loss": Scaled(1.0)}, {"loss": Scaled(2.0)}, "loss.factor is 1.0, this one's 2.0"),
    "method": (
        {"method": lambda m, l: EarlyLearning(m, l, lambda_=1.0)},
        {"method": lambda m, l: EarlyLearning(m, l, lambda_=2.0)},
        "method.lambda_ is 1.0, this one's 2.0",
    ),
    "model": ({}, {"act": nn.Tanh()}, "model.1.class is 'ReLU', this one's 'Tanh'"),
    "layer more": (
        {"act": nn.Sequential(nn.ReLU())},
        {"act": nn.Sequential(nn.ReLU(), nn.ReLU())},
        "model.1.1.class is missing, this one's 'ReLU'",
    ),
    "layer less": (
        {"act": nn.Sequential(nn.ReLU(), nn.ReLU())},
        {"act": nn.Sequential(nn.ReLU())},
        "model.1.1.class is 'ReLU', this one's missing",
    ),
    "argument more": (
        {"loss": functools.partial(functional.cross_entropy)},
        {"loss": functools.partial(functional.cross_entropy, label_smoothing=0.5)},
        r"loss.keywords\['label_smoothing'\] is missing, this one's 0.5",
    ),
    "tuple of a method": (
        {"method": lambda m, l: Own(m, l, (1.0,))},
        {"method": lambda m, l: Own(m, l, (9.0,))},
        r"method.rates\[0\] is 1.0, this one's 9.0",
    ),
    "settings of a model": (
        {"act": Shaped(Shape(1.0))},
        {"act": Shaped(Shape(9.0))},
        "model.1.shape.rate is 1.0, this one's 9.0",
    ),
    "function of a model": (
        {"act": Acts(torch.tanh)},
        {"act": Acts(torch.sigmoid)},
        "model.1.act.name is .*tanh', this one's .*sigmoid'",
    ),
    "number in the model": ({"act": Wave(1.0)}, {"act": Wave(9.0)}, "model.1.rate is 1.0, this one's 9.0"),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_folder_does_not_return_another_run(what: str, tmp_path: Path) -> None:
    first, second, said = CALLS[what]
    done = fit(tmp_path, **first)
    with pytest.raises(InputError, match=f"is of another .*; use another folder, .*its {said}"):
        fit(tmp_path, **second)
    assert fit(tmp_path, **first).rows == done.rows


def test_a_loss_that_training_changed_is_still_the_same(tmp_path: Path) -> None:
    loss = Scaled(1.0)
    done = fit(tmp_path, loss)
    assert loss.calls > 0
    for again in (loss, Scaled(1.0)):
        assert fit(tmp_path, again).rows == done.rows


def test_a_checkpoint_without_the_entry_is_resumed(tmp_path: Path) -> None:
    done = fit(tmp_path)
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["constants"]
    torch.save(state, path)
    assert fit(tmp_path).rows == done.rows
