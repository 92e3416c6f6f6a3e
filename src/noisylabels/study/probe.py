"""Measure how long an epoch of a cell takes, from a few steps on random data of the same shape.

As a program, one line per configuration, in a process like those of a study:

    {"configs": [{...}, ...], "seconds": 5.0}   ->   {"began": true} when the first step begins
                                                     {"epoch": 2.1, "setup": 0.4, "how": "9 epochs"}
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from noisylabels.training.callbacks import Callback, StepResult, Stop

if TYPE_CHECKING:
    from noisylabels.data.features import Examples
    from noisylabels.encoders.encoder import FrozenEncoder
    from noisylabels.experiment import RunConfig
    from noisylabels.training.history import History

MOST_BYTES, LEAST_BATCHES = 4_000_000, 8
"""Random data are no larger than this, except that they make at least so many batches."""

WARM_UP = 2
"""Steps that are not counted, if there are others: they allocate memory and choose kernels."""


class Shape(NamedTuple):
    """The shape of a data set: of one input, and the numbers of classes, training and test examples."""

    inputs: tuple[int, ...]
    classes: int
    train: int
    test: int


KNOWN = {
    "digits": Shape((1, 8, 8), 10, 1438, 359),
    "cifar10": Shape((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": Shape((3, 32, 32), 100, 50_000, 10_000),
    "cifar100-coarse": Shape((3, 32, 32), 20, 50_000, 10_000),
    "mnist": Shape((1, 28, 28), 10, 60_000, 10_000),
    "fashion-mnist": Shape((1, 28, 28), 10, 60_000, 10_000),
}
"""Data sets that need not be there, or be read, to know their shape."""


@dataclass(frozen=True)
class Measured:
    """Times of a cell.

    Args:
        epoch: seconds per epoch, with its evaluation.
        setup: seconds before the first step is done.
        how: what was measured, in words.
        at_least: whether the times are lower bounds, because not one step ended in time.
        embedding: seconds to compute the features of all images, once for all cells; 0 without an encoder.
    """

    epoch: float
    setup: float
    how: str
    at_least: bool = False
    embedding: float = 0.0


class _Watch(Callback):
    """Record when steps and epochs end, and pause the run when the time is up."""

    def __init__(self, seconds: float, began: Callable[[], None]) -> None:
        self.began = time.perf_counter()
        self.until = self.began + seconds
        self.tell = began
        self.epochs: list[float] = []  # their starts
        self.steps: list[list[float]] = []  # per epoch, the ends of its steps

    def on_epoch_start(self, epoch: int) -> None:
        if not self.epochs:
            self.tell()
        self.epochs.append(time.perf_counter())
        self.steps.append([])

    def on_step(self, step: StepResult) -> None:
        if step.loss.device.type == "cuda":
            float(step.loss)  # waits for the device
        self.steps[-1].append(time.perf_counter())

    def on_note(self, text: str) -> None:
        """Ignore notes."""

    def should_stop(self, history: History) -> Stop | None:
        # a machine that is busy or slow still does the first steps
        enough = sum(map(len, self.steps)) > WARM_UP + 1 and time.perf_counter() > self.until
        return Stop.PAUSE if enough else None

    def step_seconds(self) -> tuple[float, int]:
        """Return the median duration of a step, and of how many."""
        gaps = [b - a for times in self.steps for a, b in itertools.pairwise(times)]
        gaps = gaps[WARM_UP - 1 :] if len(gaps) > WARM_UP else gaps
        return (median(gaps), len(gaps)) if gaps else (self.steps[0][0] - self.epochs[0], 1)


def data_shape(config: RunConfig) -> Shape:
    """Return the shape of a configuration's images or rows; data that are not in `KNOWN` are read.

    Texts count as the rows of their features.
    """
    from noisylabels.encoders.embedding import embed_sets
    from noisylabels.experiment.sets import load_sets

    if (known := KNOWN.get(config.data)) is not None:
        if config.image_size is not None:
            known = known._replace(inputs=(known.inputs[0], config.image_size, config.image_size))
        return known
    train, test = load_sets(config)
    if train.inputs.ndim == 2:
        train, test = embed_sets([train, test], config.features, device=config.device)
    return Shape(tuple(train.inputs.shape[1:]), train.num_classes, len(train), len(test))


def encoder_of(config: RunConfig, data: Shape) -> FrozenEncoder | None:
    """Return the encoder of a configuration whose data are images; None without one.

    Raises:
        InputError: it is not installed.
    """
    from noisylabels.encoders.catalog import chosen_for, find_encoder
    from noisylabels.encoders.names import AUTO, NONE

    name = config.features
    if len(data.inputs) == 1 or name == NONE:
        return None
    if name == AUTO and (name := chosen_for(random_set(data, 2))[0]) == NONE:
        return None
    return find_encoder(name, image_side=min(data.inputs[1:]), device=config.device)


def shape_of(config: RunConfig) -> Shape:
    """Return the shape of what a configuration trains on: its data, or their features."""
    data = data_shape(config)
    encoder = encoder_of(config, data)
    return data if encoder is None else data._replace(inputs=(encoder.dimension,))


def embedding_seconds(encoder: FrozenEncoder, data: Shape) -> float:
    """Return the seconds to embed all examples, from the second of two batches of random images."""
    from noisylabels.data.pixel_source import in_memory

    batch = in_memory(random_set(data, encoder.batch_size).inputs, "the estimate")
    encoder.encode(batch)
    began = time.perf_counter()
    encoder.encode(batch)
    return (time.perf_counter() - began) * (data.train + data.test) / len(batch)


def measure(config: RunConfig, seconds: float, began: Callable[[], None] = lambda: None) -> Measured:
    """Train for about so many seconds on random data, and return what an epoch takes.

    `began` is called before the first step. Data of up to `MOST_BYTES` have their full size, so that whole
    epochs are measured if there is time for three; otherwise the duration of a step and of an evaluated
    example are multiplied.
    """
    import torch

    from noisylabels.core.interrupt import Interrupted
    from noisylabels.data.catalog import default_augment
    from noisylabels.experiment import resolve
    from noisylabels.experiment.method_inputs import with_placeholders
    from noisylabels.experiment.running import model_shape
    from noisylabels.losses.expression import loss
    from noisylabels.losses.varying import NOISY_DATA
    from noisylabels.methods.fit import fit
    from noisylabels.models.catalog import build_model
    from noisylabels.training.settings import Settings

    start, embedding = time.perf_counter(), 0.0
    shape = data_shape(config)
    if (encoder := encoder_of(config, shape)) is not None:
        embedding = embedding_seconds(encoder, shape)
        shape = shape._replace(inputs=(encoder.dimension,))
    total = max(2, round(shape.train * config.train_share))
    each = math.prod(shape.inputs) * (1 if len(shape.inputs) == 3 else 4)
    count = min(total, max(LEAST_BATCHES * config.batch_size, MOST_BYTES // each))
    train, test = random_set(shape, count), random_set(shape, min(shape.test, count))
    resolved = resolve(config)
    criterion = resolved.loss or loss("gce")
    if NOISY_DATA in criterion.needs:
        criterion = criterion.with_auto(1.0)
    model = build_model(**model_shape(config, train), seed=config.seed)
    augment = default_augment(config.data, train) if config.augment == "auto" else config.augment
    settings = {name: getattr(config, name) for name in Settings.__dataclass_fields__} | {"augment": augment}
    settings |= {"epochs": max(config.epochs, 3)}
    watch = _Watch(seconds - (time.perf_counter() - start), began)
    whole = count == total
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Interrupted):
        method = with_placeholders(resolved.method, len(train), shape.classes, lambda: copy.deepcopy(model))
        where = folder if whole else None
        fit(model, train, test, criterion, method=method, folder=where, callbacks=[watch], **settings)
    setup = watch.steps[0][0] - watch.began
    if whole and len(watch.epochs) > 3:
        durations = [b - a for a, b in itertools.pairwise(watch.epochs)]
        return Measured(median(durations[1:]), setup, f"{len(durations)} epochs", embedding=embedding)
    kept = total - round(total * config.validation)
    batches, (step, steps) = math.ceil(kept / config.batch_size), watch.step_seconds()
    evaluated = shape.test + total - kept
    torch.manual_seed(0)
    epoch = batches * step + evaluated * example_seconds(model, test, config)
    how = f"{steps} steps of {1000 * step:,.{0 if step >= 0.01 else 1}f} ms, {batches} per epoch"
    return Measured(epoch, setup, how, embedding=embedding)


def random_set(shape: Shape, count: int) -> Examples:
    """Return so many random examples of a shape."""
    import torch

    from noisylabels.data.features import feature_set
    from noisylabels.data.images import image_set

    draw = torch.Generator().manual_seed(0)
    labels, names = torch.arange(count) % shape.classes, [f"class {k}" for k in range(shape.classes)]
    if len(shape.inputs) == 1:
        return feature_set(torch.randn(count, *shape.inputs, generator=draw), labels, names)
    pixels = torch.randint(0, 256, (count, *shape.inputs), dtype=torch.uint8, generator=draw)
    return image_set(pixels, labels, names)


def example_seconds(model: Any, data: Examples, config: RunConfig) -> float:
    """Return the seconds per evaluated example, from the first evaluation batch."""
    import torch

    from noisylabels.core.device import first_tensor
    from noisylabels.data.loader import evaluation_batch_size

    device = first_tensor(model).device
    few = torch.arange(min(len(data), evaluation_batch_size(data.inputs)))
    inputs = data.inputs.index_select(0, few).to(device).float()
    if config.channels_last and inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(config.precision)
    model.eval()
    best = math.inf
    with torch.no_grad(), torch.autocast(device.type, dtype=half, enabled=half is not None):
        for part in (inputs[:32], inputs):
            began = time.perf_counter()
            float(model(part).sum())
            best = min(best, (time.perf_counter() - began) / len(part))
    return best


def main() -> None:
    """Measure the configurations of the line on standard input; print one line for each."""
    from noisylabels.core.checks import InputError, one_line
    from noisylabels.core.process import keep_freed_memory
    from noisylabels.experiment import RunConfig

    keep_freed_memory()
    order = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # user code that prints must not interfere

    def began() -> None:
        print(json.dumps({"began": True}), file=answers, flush=True)

    for config in order["configs"]:
        try:
            answer = vars(measure(RunConfig(**config), order["seconds"], began))
        except (Exception, SystemExit) as error:  # the user's own code can raise anything
            answer = {"error": str(error) if isinstance(error, InputError) else one_line(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
