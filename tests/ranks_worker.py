"""Train in several processes, or in this one: cases of `training/test_ranks.py`, and the program of a rank.

    python ranks_worker.py WORK

The rank RANK of WORLD_SIZE finds the others by a file in the folder WORK, trains every case of cases.json
there, and saves what it ends with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted, RankLost
from noisylabels.data.images import ImageSet, image_set
from noisylabels.data.loader import Batch
from noisylabels.methods.expression import MethodSpec, method
from noisylabels.methods.fit import fit
from noisylabels.noise.transition import symmetric
from noisylabels.training.callbacks import PauseWhen
from warm_process import WarmPopen

K, N = 3, 41
RUN = {"epochs": 3, "batch_size": 16, "lr": 0.05, "device": "cpu", "seed": 2, "augment": "crop:1+flip"}


def sets() -> tuple[ImageSet, ImageSet]:
    """Return images whose brightness follows their class, and a third of the training labels wrong."""
    draw = torch.Generator().manual_seed(0)

    def part(count: int, rate: float) -> ImageSet:
        labels = torch.arange(count) % K
        level = (labels.float() + 0.5) * 255 / K
        pixels = level.view(-1, 1, 1, 1) + 40 * torch.randn(count, 1, 4, 4, generator=draw)
        wrong = torch.rand(count, generator=draw) < rate
        labels = torch.where(wrong, torch.randint(K, (count,), generator=draw), labels)
        return image_set(pixels.clamp(0, 255).to(torch.uint8), labels, ["a", "b", "c"], name="tiny")

    return part(N, 0.3), part(20, 0.0)


def network(norm: bool = False, dropout: float = 0.0, seed: int = 0) -> nn.Module:
    """Return a small network, by default without batch statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(96, K))


class Undivided(nl.Method):
    """A method of a user's own that does not say how it is divided."""

    def __init__(self, model: nn.Module, loss: Any) -> None:
        super().__init__([model], loss)

    def step(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and the logits."""
        logits = self.logits(batch.inputs)
        return self.loss(logits, batch.target), logits


def ready(expression: str) -> MethodSpec | type[nl.Method]:
    """Return a method with the inputs that a run would estimate; "one process" is `Undivided`."""
    draw = np.random.default_rng(0)
    audit = np.column_stack([draw.random(N), draw.integers(0, K, N)])
    made = {"transition": symmetric(K, 0.3), "noise_rate": 0.3, "label_quality": audit}
    if expression == "one process":
        return Undivided
    spec = method(expression)
    return spec.with_inputs(**{name: made[kind] for name, (kind, _) in spec.needs.items() if kind in made})


def trained(case: dict[str, Any]) -> dict[str, Any]:
    """Return the history, the state of the method, and where a case stopped or why it failed.

    Args:
        case: `method`, `loss`, `options` of the loss, `network` with the arguments of `network`, `settings`,
            `folder`, `stop`: steps after which to pause, `stop_rank`: the only rank that asks to, `by_rank`:
            what a rank has in place of these, `gradient` or `alone`: run that instead.
    """
    if "gradient" in case:
        return gradient(case["gradient"])
    if "alone" in case:
        return alone()
    made: list[nl.Method] = []
    rank = int(os.environ.get("RANK", "0"))
    case = case | case.get("by_rank", {}).get(str(rank), {})

    def make(model: nn.Module, loss: Any) -> nl.Method:
        made.append(ready(case.get("method", "standard"))(model, loss))
        return made[0]

    steps = iter(range(10**9))
    stop = case.get("stop") if case.get("stop_rank", rank) == rank else None
    pause = PauseWhen(lambda: next(steps) + 1 >= (10**9 if stop is None else stop))
    model = network(**case.get("network", {}))
    loss = nl.loss(case.get("loss", "ce"), **_options(case))
    weights = torch.linspace(0, 2, N) if case.get("weights") else None
    settings = RUN | case.get("settings", {})
    found: dict[str, Any] = {"rows": [], "stopped": None, "error": None, "network": model.state_dict()}
    try:
        how = {"method": make, "callbacks": [pause], "folder": case.get("folder"), "weights": weights}
        found["rows"] = without_times(fit(model, *sets(), loss, **how, **settings).rows)
    except Interrupted as stopped:
        found["stopped"] = [stopped.epoch, stopped.step]
    except (InputError, RankLost) as error:
        found["error"] = str(error)
    state = made[0].state_dict() if made else {}
    return found | {"state": {name: value for name, value in state.items() if torch.is_tensor(value)}}


def alone() -> dict[str, Any]:
    """Return the classes that a classifier of rank 0 alone predicts."""
    if os.environ.get("RANK", "0") != "0":
        return {}
    draw = np.random.default_rng(0)
    labels = np.arange(60) % K
    X = draw.normal(size=(60, 4)).astype(np.float32) + 3 * np.eye(K, 4)[labels].astype(np.float32)
    how = {"model": "mlp", "loss": "ce", "epochs": 2, "device": "cpu", "random_state": 0}
    classifier = nl.NoisyLabelClassifier(**how).fit(X, labels)
    return {"predicted": classifier.predict(X).tolist()}


def gradient(how: str) -> dict[str, Any]:
    """Return the gradient of a network that the user has wrapped, for a loss of this library.

    Each of two ranks has the same number of examples of the 12, and the loss is the mean over them; "ddp sum"
    gives the first one 8, and divides the sum of the losses by the global count.
    """
    draw = torch.Generator().manual_seed(1)
    inputs, target = torch.randn(12, 1, 4, 4, generator=draw), torch.arange(12) % K
    model, loss = network(), nl.loss("nce+mae")
    if dist.is_initialized():
        rank, size = dist.get_rank(), dist.get_world_size()
        parts = [8, 4] if how == "ddp sum" else 12 // size
        inputs, target = inputs.split(parts)[rank], target.split(parts)[rank]
    if how == "ddp sum":
        total, count = nl.loss("nce+mae", reduction="sum"), torch.tensor(float(len(target)))
        dist.all_reduce(count)
        wrapped = nn.parallel.DistributedDataParallel(model)
        (total(wrapped(inputs), target) * size / count).backward()
    elif how == "ddp":
        wrapped = nn.parallel.DistributedDataParallel(model)  # which must live until the gradients are there
        loss(wrapped(inputs), target).backward()
    elif how == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
        loss(model(inputs), target).backward()
    else:
        loss(model(inputs), target).backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: each.full_tensor() if how == "fsdp" else each for name, each in grads.items()}


def _options(case: dict[str, Any]) -> dict[str, Any]:
    options = dict(case.get("options", {}))
    return options | ({"weight": torch.tensor(options["weight"])} if "weight" in options else {})


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a history without durations."""
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in rows]


def on_ranks(size: int, cases: list[dict[str, Any]], work: Path) -> list[list[dict[str, Any]]]:
    """Return what each rank ends every case with, by rank, after running them on `size` processes."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "cases.json").write_text(json.dumps(cases, default=str))
    source = str(Path(nl.__file__).parents[1])
    path = os.pathsep.join([source, str(Path(__file__).parent)])
    started = [
        WarmPopen(
            [__file__, str(work)],
            env=os.environ | {"PYTHONPATH": path, "RANK": str(rank), "WORLD_SIZE": str(size)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    return [torch.load(work / f"{rank}.pt", weights_only=True) for rank in range(size)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    work = Path(sys.argv[1])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", f"file://{work}/group", rank=rank, world_size=size)
    torch.save([trained(case) for case in json.loads((work / "cases.json").read_text())], work / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
