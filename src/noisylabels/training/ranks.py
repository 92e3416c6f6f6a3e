"""The processes that share a training run, called ranks: who they are, and what they exchange.

torchrun starts them. Each has the whole run: the same order of examples, the same random draws, the same
state. They divide the work of the networks (`sharing.py`), and rank 0 alone writes files and messages.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.core.device import pick_device
from noisylabels.core.interrupt import Interrupted, RankLost
from noisylabels.core.process import World, world

_POLL_SECONDS = 0.05  # between looks at whether an earlier rank is done

_alone: list[bool] = []  # not empty within `alone`
_turns: list[int] = []  # of this process so far: all ranks take the same ones
_reports: list[bool] = []  # the answer of `reports`, once asked


class Ranks:
    """The ranks of a run; by default this process alone, and then nothing is exchanged.

    Args:
        rank: the number of this process, from 0.
        size: the number of processes.
        control: the group in which numbers on the CPU are exchanged.
    """

    def __init__(self, rank: int = 0, size: int = 1, control: dist.ProcessGroup | None = None) -> None:
        self.rank, self.size, self.control = rank, size, control
        self._asked: tuple[dist.Work, Tensor] | None = None
        self._kept: list[bool] = []

    @classmethod
    def of_this_run(cls, device: torch.device) -> Ranks:
        """Return the ranks of torch's process group, which all of them must ask for at the same time."""
        if _alone or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return cls()
        with _or_lost():
            # what a step decides is exchanged without the GPU, which would have to be waited for
            control = None if device.type == "cpu" else dist.new_group(backend="gloo")
        return cls(dist.get_rank(), dist.get_world_size(), control)

    @property
    def several(self) -> bool:
        """Whether the run has more than one process."""
        return self.size > 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def part(self, n: int, rank: int | None = None) -> tuple[int, int]:
        """Return the part of n rows that is a rank's, by default this one's, as begin and end.

        >>> [Ranks(rank, 3).part(8) for rank in range(3)]
        [(0, 2), (2, 5), (5, 8)]
        """
        rank = self.rank if rank is None else rank
        return n * rank // self.size, n * (rank + 1) // self.size

    # Exchange -------------------------------------------------------------------------------------

    def sum(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over the ranks."""
        if self.several:
            with _or_lost():
                dist.all_reduce(tensor)

    def mean(self, tensor: Tensor) -> None:
        """Replace a tensor by its mean over the ranks; equal ones stay as they are."""
        every = self.gather(tensor)
        first = every[0]
        tensor.copy_(first + torch.stack([each - first for each in every]).mean(0))

    def begin_sum(self, tensor: Tensor) -> Callable[[], object]:
        """Begin to replace a tensor by its sum, and return what waits for the end."""
        with _or_lost():
            work = dist.all_reduce(tensor, async_op=True)

        def wait() -> None:
            with _or_lost():
                work.wait()

        return wait

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, which have one shape."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        with _or_lost():
            dist.all_gather(found, tensor)
        return found

    def concatenate(self, tensor: Tensor) -> Tensor:
        """Return the tensors (n_r, ...) of all ranks, one after the other; lengths may differ."""
        if not self.several:
            return tensor
        lengths = [int(each) for each in self.gather(torch.tensor(len(tensor), device=tensor.device))]
        padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        return torch.cat([each[:n] for each, n in zip(self.gather(padded), lengths, strict=True)])

    def share_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of rank 0."""
        for tensor in tensors if self.several else ():
            whole = tensor.detach().contiguous()
            with _or_lost():
                dist.broadcast(whole, 0)
            tensor.detach().copy_(whole)

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Return which flags are set on any rank."""
        if not self.several:
            return list(flags)
        self._ask(flags)
        return self._answer(flags)

    def agree(self, flags: Sequence[bool], *, now: bool) -> list[bool]:
        """Return which flags were set on any rank in the call before, so that nothing waits for the answer.

        Args:
            flags: of this step, on this rank.
            now: include those of this call, for which it waits.
        """
        if not self.several:
            return list(flags)
        flags = [flag or kept for flag, kept in zip(flags, self._kept or flags, strict=True)]
        found = self._answer(flags)
        if any(found):  # acted on first; what else is asked now follows in the next call
            self._kept = [flag and not answered for flag, answered in zip(flags, found, strict=True)]
            return found
        self._kept = []
        self._ask(flags)
        return self._answer(flags) if now else found

    def _ask(self, flags: Sequence[bool]) -> None:
        asked = torch.tensor(flags, dtype=torch.int32)
        with _or_lost():
            work = dist.all_reduce(asked, dist.ReduceOp.MAX, group=self.control, async_op=True)
        assert work is not None
        self._asked = work, asked

    def _answer(self, flags: Sequence[bool]) -> list[bool]:
        if self._asked is None:
            return [False for _ in flags]
        (work, asked), self._asked = self._asked, None
        with _or_lost():
            work.wait()
        return [bool(each) for each in asked.tolist()]

    def check_same(self, text: str, message: str) -> None:
        """Raise an `InputError` with a message unless all ranks have the same text."""
        if not self.several:
            return
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        extremes = torch.tensor([digest, -digest])
        with _or_lost():
            dist.all_reduce(extremes, dist.ReduceOp.MAX, group=self.control)
        if int(extremes.sum()) != 0:
            raise InputError(message)

    @contextmanager
    def in_turn(self, stop: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Run the block on rank 0, then on the first rank of each other machine, then on all others.

        So what rank 0 prepares and writes is found by the others, and what a machine's first rank decodes,
        by those of its machine. A training within the block is that of this process alone. All leave it
        together, however long one of them takes; an exchange of numbers would end after torch's timeout.

        Raises:
            Interrupted: `stop` returned True while this process waited.
            RankLost: the block raised on another rank, which reports the error.
        """
        if not self.several:
            yield
            return
        store = dist.distributed_c10d._get_default_store()
        _turns.append(1)
        name = f"noisylabels/turn/{len(_turns)}"
        local = int(os.environ.get("LOCAL_RANK", self.rank))
        machines = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
        turn = 0 if self.first else 1 if local == 0 else 2

        def wait_for(turn: int | str, count: int) -> None:
            with _or_lost():
                while store.add(f"{name}/{turn}", 0) < count:
                    if stop():
                        raise Interrupted(0, 0, "while another process prepared the run")
                    if store.add(f"{name}/failed", 0):
                        raise RankLost(self.rank, self.size)
                    time.sleep(_POLL_SECONDS)

        try:
            for earlier, count in [(0, 1), (1, machines - 1)][:turn]:
                wait_for(earlier, count)
            with alone():
                yield
        except BaseException:
            reports()  # before the others notice
            with contextlib.suppress(RuntimeError):  # the process that holds the store has ended
                store.add(f"{name}/failed", 1)
            raise
        with _or_lost():
            store.add(f"{name}/{turn}", 1)
            store.add(f"{name}/all", 1)
        wait_for("all", self.size)


def processes() -> int:
    """Return the number of processes that this one has joined, itself included."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def alone() -> Iterator[None]:
    """Let trainings within the block be those of this process alone, whichever group it has joined."""
    _alone.append(True)
    try:
        yield
    finally:
        _alone.pop()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started; without torchrun, yield this process alone.

    A block that raises leaves the connections open until the process ends, so that it can report why
    before the others notice.

    Raises:
        InputError: the processes do not find each other.
    """
    here = world()
    if here.size == 1 or dist.is_initialized():
        yield Ranks(here.rank, here.size)
        return
    place = pick_device(device)
    if place.type not in ("cpu", "cuda"):
        raise InputError(f"several processes train on CPUs or CUDA GPUs, not on {place}; use --device cpu")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo")
    except (ValueError, RuntimeError, OSError) as error:
        where = f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"
        raise InputError(
            f"the {here.size} processes of this run cannot connect at {where!r} "
            f"({' '.join(str(error).split())[:120]}); start them by torchrun"
        ) from error
    if place.type == "cuda":
        name = f"{platform.node()} {torch.cuda.get_device_properties(place).uuid}"
        _check_unshared(name, here)
    yield Ranks(here.rank, here.size)
    with _or_lost():
        dist.barrier()
    dist.destroy_process_group()


def _check_unshared(gpu: str, here: World) -> None:
    """Raise an `InputError` if a process of a lower rank uses the same GPU, which NCCL does not allow.

    Args:
        gpu: a name that is the same in processes that use the same one.
        here: this process.
    """
    store = dist.distributed_c10d._get_default_store()
    store.set(f"noisylabels/gpu/{here.rank}", gpu)
    for rank in range(here.rank):
        if store.get(f"noisylabels/gpu/{rank}").decode() == gpu:  # waits for it
            raise InputError(
                f"processes {rank + 1} and {here.rank + 1} of this run use the same GPU; start one process "
                "per GPU, or use --device cpu"
            )


def reports() -> bool | None:
    """Return whether this process reports an error: the first one to ask; None unless it has joined.

    The other ranks mostly fail for the same reason, or because this one ends.
    """
    if not dist.is_available() or not dist.is_initialized():
        return None
    if not _reports:
        try:
            _reports.append(dist.distributed_c10d._get_default_store().add("noisylabels/reported", 1) == 1)
        except RuntimeError:  # the process that held the store has ended
            _reports.append(world().local_rank <= 1)
    return _reports[0]


@contextmanager
def _or_lost() -> Iterator[None]:
    """Turn the error of a connection into one that names it."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RankLost(dist.get_rank(), dist.get_world_size()) from error
