"""A step recorded once as a CUDA graph and then replayed: one launch in place of some hundreds.

A graph repeats the very operations that were recorded, on the very memory. So what changes from step to step
lies in memory that stays: the batch is copied into it, the learning rate is a tensor, optimizer, gradient
scaler and average are changed in place. What Python decides is decided once, while the step is recorded.
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
"""Steps before the recording: they make the state of the optimizer and let libraries choose their ways."""

KNOWN = ("noisylabels", "torch", "timm")
"""Packages whose modules do the same in every step, but for what their tensors hold and the device draws."""

StepOutput = tuple[Tensor, Tensor]
"""What a step returns: the loss () and the logits (B, K)."""


class Recorder(Protocol):
    """What records work on a device."""

    def warm(self, work: Callable[[], StepOutput]) -> StepOutput:
        """Carry out `work` where it will be recorded, and return what it returns."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record `work` without carrying it out; return what carries it out."""


class CudaGraphs:
    """Records on a stream of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def warm(self, work: Callable[[], StepOutput]) -> StepOutput:
        """Carry out `work` on the recording's stream, after what is under way and before what follows."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            taken = work()
        here.wait_stream(self.stream)
        for tensor in taken:
            tensor.record_stream(here)
        return taken

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record `work`; the default generator's draws are new ones in each replay."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                work()
        except BaseException:
            # a recording that broke off leaves the generator believing that it goes on; a copy does not
            generator = torch.cuda.default_generators[self.stream.device.index]
            generator.graphsafe_set_state(generator.clone_state())
            raise
        return graph.replay


class Captured:
    """An update that is replayed for every batch of the full size; it is called as the `Updater` is.

    Batches of another size, and the first ones, go through the plain update. So do all if recording fails,
    which is reported once: where something waits for the device or a value is read into Python. Whatever is
    loaded into the updater must be loaded before the first call.

    Args:
        updater: made with ``capturable=True``.
        recorder: of the updater's device.
        batch_size: of the batches to replay.
        note: called with the reason, should recording fail.
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
        self._batch: Batch | None = None  # what the recording reads
        self._output: list[Tensor] = []  # loss and logits: where it writes

    def __call__(self, batch: Batch, lr: float) -> StepOutput:
        """Update the weights once; what is returned holds until the next call."""
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
            # the gradients are then made in the recording's own memory, where each replay makes them anew
            for optimizer in updater.optimizers:
                optimizer.zero_grad(set_to_none=True)
            self._replay = self.recorder.record(work)
            self._batch = kept
        except Exception as error:  # whatever the model or the loss does that cannot be recorded
            self.failed = True
            self._output = []
            for optimizer in updater.optimizers:  # nothing has been written into these gradients
                optimizer.zero_grad(set_to_none=True)
            updater.renew_scaler(scaler)
            first: BaseException = error
            while first.__context__ is not None:  # ending a broken recording raises errors of its own
                first = first.__context__
            self.note(
                "the training step cannot be captured as a CUDA graph, and runs operation by operation, "
                f"more slowly ({one_line(first)}); --capture off hides this note"
            )


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    return (*batch.views, batch.target, batch.positions)


def is_static(method: Method) -> bool:
    """Return whether method, networks and loss are known to run the same operations in every step.

    A graph would freeze what user code may decide anew in Python: a schedule, a draw, a counter.
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
    """Return the package that a function or class, bound to arguments or not, comes from."""
    part = getattr(part, "func", part)
    return str(getattr(part, "__module__", None) or type(part).__module__).partition(".")[0]
