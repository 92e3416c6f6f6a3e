"""Record a step once as a CUDA graph and replay it: one launch in place of some hundreds.

A graph repeats the recorded operations on the same memory. Whatever changes between steps is therefore in
fixed memory: the batch is copied into it, the learning rate is a tensor, and optimizer, gradient scaler and
averages are updated in place. Decisions in Python are made once, during recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from noisylabels.core.checks import one_line
from noisylabels.data.loader import Batch
from noisylabels.training.method import Method
from noisylabels.training.update import Updater

WARM_STEPS = 3
"""Steps before the recording: they create the optimizer's state and let libraries select their kernels."""

KNOWN = ("noisylabels", "torch", "timm")
"""Packages whose modules run the same operations in every step; only tensors and random draws differ."""

StepOutput = tuple[Tensor, Tensor]
"""The result of a step: the loss () and the logits (B, K)."""


class Recorder(Protocol):
    """An object that records work on a device."""

    def warm(self, work: Callable[[], StepOutput]) -> StepOutput:
        """Run `work` on the stream where it will be recorded, and return its result."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record `work` without running it; return a function that runs it."""


class CudaGraphs:
    """Records CUDA graphs on a stream of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def warm(self, work: Callable[[], StepOutput]) -> StepOutput:
        """Run `work` on the recording stream, between earlier and later work of the current stream."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            output = work()
        here.wait_stream(self.stream)
        for tensor in output:
            tensor.record_stream(here)
        return output

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record `work`; each replay draws new numbers from the default generator."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                work()
        except BaseException:
            # a failed recording leaves the generator in recording mode; a copy of its state is not
            generator = torch.cuda.default_generators[self.stream.device.index]
            generator.graphsafe_set_state(generator.clone_state())
            raise
        return graph.replay


class Captured:
    """An update that is replayed for every full batch; it is called like an `Updater`.

    Batches of another size, and the first ones, use the plain update. So do all batches if recording fails,
    for example because an operation waits for the device or reads a value into Python; this is reported once.
    Any state must be loaded into the updater before the first call.

    Args:
        updater: created with ``capturable=True``.
        recorder: of the updater's device.
        batch_size: of the batches to replay.
        note: called with the reason if recording fails.
    """

    def __init__(
        self, updater: Updater, recorder: Recorder, batch_size: int, note: Callable[[str], object]
    ) -> None:
        self.updater = updater
        self.recorder = recorder
        self.batch_size = batch_size
        self.note = note
        self.warmed = 0
        self.failed = False
        self._replay: Callable[[], None] | None = None
        self._batch: Batch | None = None  # the memory that the recording reads
        self._output: list[Tensor] = []  # loss and logits, which it writes

    def __call__(self, batch: Batch, lr: float) -> StepOutput:
        """Update the weights once; the returned tensors are valid until the next call."""
        if self.failed or len(batch.target) != self.batch_size:
            return self.updater(batch, lr)
        if self.warmed < WARM_STEPS:
            self.warmed += 1
            return self.recorder.warm(lambda: self.updater(batch, lr))
        if self._replay is None:
            self._record(batch)
        if self._replay is None or self._batch is None:
            return self.updater(batch, lr)
        for kept, new in zip(_tensors(self._batch), _tensors(batch), strict=True):
            kept.copy_(new)
        self.updater.set_lr(lr)
        self._replay()
        value, logits = self._output
        return value, logits

    def _record(self, batch: Batch) -> None:
        updater = self.updater
        views = [view.clone() for view in batch.views]  # a clone keeps the layout
        kept = Batch(views[0], batch.target.clone(), batch.positions.clone(), batch.epoch, tuple(views[1:]))
        scaler = updater.scaler.state_dict()

        def work() -> None:
            self._output = list(updater.update(kept))

        try:
            # so that gradients are allocated in the recording's memory, where each replay writes them
            for optimizer in updater.optimizers:
                optimizer.zero_grad(set_to_none=True)
            self._replay = self.recorder.record(work)
            self._batch = kept
        except Exception as error:  # anything in model, loss or method that cannot be recorded
            self.failed = True
            self._output = []
            for optimizer in updater.optimizers:  # nothing has been written into these gradients
                optimizer.zero_grad(set_to_none=True)
            updater.renew_scaler(scaler)
            first: BaseException = error
            while first.__context__ is not None:  # ending a failed recording raises further errors
                first = first.__context__
            self.note(
                "the training step cannot be captured as a CUDA graph and runs without one, more slowly "
                f"({one_line(first)}); --capture off hides this note"
            )


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    return (*batch.views, batch.target, batch.positions)


def is_static(method: Method) -> bool:
    """Return whether method, networks and loss are known to run the same operations in every step.

    A graph would freeze decisions that user code makes in Python: a schedule, a draw, a counter.
    """
    from noisylabels.losses.user_loss import user_specs

    loss = method.loss
    terms = getattr(loss, "terms", ())
    if not method.capturable or user_specs(terms):
        return False
    parts: list[Any] = [*(term.row.function for term in terms), *map(type, method.networks.modules())]
    parts += [type(method), type(loss) if isinstance(loss, nn.Module) else loss]
    return all(_package(part) in KNOWN for part in parts)


def _package(part: Any) -> str:
    """Return the package of a function, partial or class."""
    part = getattr(part, "func", part)
    return str(getattr(part, "__module__", None) or type(part).__module__).partition(".")[0]
