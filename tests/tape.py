"""A stand-in for CUDA graphs on a CPU: a recording repeats its operations on the very same tensors."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from noisylabels.training.update import Updater


class Tape(TorchDispatchMode):
    """Records operations."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, first in self.operations:
            now = func(*args, **kwargs)
            for new, old in zip(tree_flatten(now)[0], tree_flatten(first)[0], strict=True):
                if isinstance(new, torch.Tensor) and new is not old:
                    old.copy_(new)


class Tapes:
    """A recorder; as a recording carries nothing out, it puts back what the tape has changed."""

    def __init__(self, updater: Updater) -> None:
        self.updater = updater
        self.warmed = self.recorded = 0

    def warm(self, work):
        self.warmed += 1
        return work()

    def _state(self) -> list[torch.Tensor]:
        modules = [self.updater.method, *(average.model for average in self.updater.averages)]
        found = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        for optimizer in self.updater.optimizers:
            for state in optimizer.state.values():
                found += [value for value in state.values() if isinstance(value, torch.Tensor)]
        return [tensor.detach() for tensor in found]

    def record(self, work):
        self.recorded += 1
        kept = [(tensor, tensor.clone()) for tensor in self._state()]
        random = torch.get_rng_state()
        tape = Tape()
        try:
            with tape:
                work()
        finally:
            for tensor, before in kept:
                tensor.copy_(before)
            torch.set_rng_state(random)
        return tape.replay
