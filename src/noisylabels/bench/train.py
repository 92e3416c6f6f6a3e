"""Benchmark of a training step, data included, against a plain PyTorch loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  its usual name
from torch.utils.data import DataLoader, Dataset

from noisylabels.bench.timing import Ratio, compare
from noisylabels.data.augment import parse_augment
from noisylabels.data.loader import Batch, Batches
from noisylabels.losses.expression import loss
from noisylabels.methods.standard import Standard
from noisylabels.models.catalog import build_model
from noisylabels.training.settings import Settings
from noisylabels.training.update import Updater

EXAMPLES, SIDE, CLASSES = 2048, 32, 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def step_ratio(
    expression: str = "nce+mae",
    *,
    model: str = "cnn8",
    batch_size: int = 128,
    precision: str = "bfloat16",
    device: str = "cpu",
    rounds: int = 7,
) -> Ratio:
    """Return the time of a step of our loop relative to that of the plain loop.

    The plain loop: images decoded beforehand, cropped and flipped one by one with Pillow in a `Dataset`, a
    ``DataLoader`` in this process, float32 in torch's default layout, ``F.cross_entropy``, SGD. Ours: batches
    augmented as a whole, channels-last, `precision`, and the loss of `expression`. The images are random;
    both train the same model from the same weights with the same number of threads.

    Args:
        expression: of our loss.
        model: name of a model of the catalog.
        batch_size: examples per step.
        precision: of our loop; see `Settings`.
        device: on which both run.
        rounds: see `bench.timing.compare`.
    """
    where = torch.device(device)
    pixels, labels = examples()
    ours = our_step(pixels, labels, loss(expression), model, batch_size, precision, where)
    return compare(ours, plain_step(pixels, labels, model, batch_size, where), rounds=rounds, device=where)


def examples(count: int = EXAMPLES) -> tuple[Tensor, Tensor]:
    """Return random images, uint8 (N, 3, 32, 32), and their labels."""
    draw = np.random.default_rng(0)
    return (
        torch.from_numpy(draw.integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)),
        torch.arange(count) % CLASSES,
    )


def _model(name: str) -> nn.Module:
    return build_model(name, channels=3, image_size=(SIDE, SIDE), num_classes=CLASSES, seed=0)


def our_step(
    pixels: Tensor,
    labels: Tensor,
    criterion: Callable[[Tensor, Tensor], Tensor],
    model: str,
    batch_size: int,
    precision: str,
    device: torch.device,
) -> Callable[[], object]:
    """Return a function that does the next step of our loop, including its batch."""
    settings = Settings(precision=precision, batch_size=batch_size, device=str(device))
    network = _model(model).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = Batches(
        pixels,
        labels,
        batch_size=batch_size,
        device=device,
        mean=MEAN,
        std=STD,
        augment=parse_augment("crop:4+flip"),
        shuffle=True,
        seed=0,
        channels_last=True,
    )
    update = Updater(Standard(network.train(), criterion), settings, device)

    def endless() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from batches.epoch(epoch)
            epoch += 1

    source = endless()

    def one() -> Tensor:
        return update(next(source), settings.lr)[0]

    return one


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Pillow images, each cropped and flipped when it is read."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pictures = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pixels]
        self.labels = labels.tolist()
        self.random = np.random.default_rng(0)
        self.mean, self.std = (np.array(each, np.float32).reshape(3, 1, 1) for each in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        left, top = self.random.integers(0, 9, 2)
        picture = ImageOps.expand(self.pictures[place], 4)
        picture = picture.crop((left, top, left + SIDE, top + SIDE))
        if self.random.random() < 0.5:
            picture = ImageOps.mirror(picture)
        values = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
        return torch.from_numpy((values - self.mean) / self.std), self.labels[place]


def plain_step(
    pixels: Tensor, labels: Tensor, model: str, batch_size: int, device: torch.device
) -> Callable[[], object]:
    """Return a function that does the next step of the plain loop, including its batch."""
    network = _model(model).to(device).train()
    loader = DataLoader(_Pictures(pixels, labels), batch_size=batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def endless() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    source = endless()

    def one() -> float:
        images, target = (tensor.to(device) for tensor in next(source))
        value = F.cross_entropy(network(images), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.item()

    return one
