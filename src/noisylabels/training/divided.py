"""What keeps the processes of a run alike: their start, batch normalization, and what they may not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from noisylabels.core.checks import InputError
from noisylabels.training.callbacks import Callback
from noisylabels.training.method import Method
from noisylabels.training.ranks import Ranks
from noisylabels.training.sharing import Sharing

SYNCHRONIZED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Layers that SyncBatchNorm replaces exactly; a class derived from one may compute something else."""


def check_divisible(name: str, rank_inputs: str | None, size: int) -> None:
    """Raise an `InputError` if a method of this name trains in one process only, see `Method.rank_inputs`."""
    if rank_inputs is None:
        raise InputError(
            f"the method {name} runs in one process, and {size} were started; leave out torchrun, or define "
            "rank_inputs in a method of your own"
        )


class DividedRun:
    """The method of a run on several processes; for one process nothing here has an effect.

    Args:
        ranks: the processes.
        method: their method, with networks on the device.
        callbacks: of the run.

    Raises:
        InputError: the method, or a callback, needs one process.
    """

    def __init__(self, ranks: Ranks, method: Method, callbacks: Sequence[Callback]) -> None:
        self.ranks, self.method = ranks, method
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        if not ranks.several:
            return
        check_divisible(method.identity()["method"], method.rank_inputs, ranks.size)
        for callback in callbacks:
            if type(callback).probe is not Callback.probe:
                raise InputError(
                    f"{type(callback).__name__} looks into single steps, which needs one process, and "
                    f"{ranks.size} were started; leave it out (--record none), or leave out torchrun"
                )
        self._share()

    def _share(self) -> None:
        """Take over the state of rank 0, so that networks that were created differently are alike."""
        state = self.method.state_dict().items()
        found = {name: each for name, each in state if isinstance(each, torch.Tensor)}
        self.ranks.check_same(
            repr([(name, each.shape, each.dtype) for name, each in found.items()]),
            "the processes of this run were given different models or data",
        )
        self.ranks.share_first(found.values())

    def prepared(self, device: torch.device, frozen: bool, note: Callable[[str], None]) -> None:
        """Make networks that `prepare` created alike, and batch normalization common where it can be.

        Args:
            device: of the networks.
            frozen: whether batch normalization keeps its statistics.
            note: shows the user a message.
        """
        if not self.ranks.several:
            return
        self._share()
        if frozen:
            return
        if device.type == "cuda":
            self._synchronize_normalization()
        if any(type(each) is not nn.SyncBatchNorm for each in self._normalizations()):
            note(
                f"each of the {self.ranks.size} processes normalizes by the statistics of its own part of a "
                "batch (batch normalization), so that results depend on their number"
            )

    def _normalizations(self) -> list[_BatchNorm]:
        return [each for each in self.method.modules() if isinstance(each, _BatchNorm)]

    def _synchronize_normalization(self) -> None:
        """Let SyncBatchNorm, with the same parameters and buffers, take the place of batch normalization."""
        made: dict[int, nn.Module] = {}
        for parent in list(self.method.networks.modules()):
            for name, child in list(parent.named_children()):
                if type(child) in SYNCHRONIZED:
                    if id(child) not in made:
                        made[id(child)] = nn.SyncBatchNorm.convert_sync_batchnorm(child)
                    parent._modules[name] = made[id(child)]
                    self._replaced.append((parent, name, child))

    def average_statistics(self, averages: Sequence[nn.Module]) -> None:
        """Replace running statistics that differ between processes by their means, and the rest by rank 0's.

        Args:
            averages: networks of averaged weights.
        """
        if not self.ranks.several:
            return
        own: set[int] = set()
        for module in (each for root in (self.method, *averages) for each in root.modules()):
            if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
                for buffer in (module.running_mean, module.running_var):
                    if buffer is not None and id(buffer) not in own:
                        own.add(id(buffer))
                        self.ranks.mean(buffer)
        for network in (*self.method.networks, *averages):
            self.ranks.share_first(each for each in network.buffers() if id(each) not in own)

    @contextmanager
    def passes(self) -> Iterator[None]:
        """Divide the passes of networks within the block, which is no step, by rows."""
        self.method.sharing = Sharing(self.ranks) if self.ranks.several else None
        try:
            yield
        finally:
            self.method.sharing = None

    def restore(self) -> None:
        """Put the layers back that the caller's networks had."""
        for parent, name, child in self._replaced:
            parent._modules[name] = child
        self._replaced.clear()
