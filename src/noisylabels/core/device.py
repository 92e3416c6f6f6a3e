"""Choice of the compute device."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError
from noisylabels.core.process import world

if TYPE_CHECKING:
    import torch
    from torch import nn


def pick_device(name: str) -> torch.device:
    """Return the device `name`; "auto" is a GPU if one is available.

    Of several processes that torchrun started on a machine, each has the GPU of its number, or the only one
    that its launcher shows it.

    Raises:
        InputError: the device is not usable; several processes would share a GPU.
    """
    import torch

    here = world()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if here.size == 1 or name == "cpu":
            return torch.device(name)
    if here.size > 1 and name.startswith("cuda"):
        name = _of_process(name, here.local_rank, torch.cuda.device_count())
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"the device {name!r} is not usable here; try --device cpu or auto") from None
    return device


def _of_process(name: str, local_rank: int, count: int) -> str:
    """Return the GPU of one of several processes of a machine.

    Launchers such as srun with --gpus-per-task may show each process one GPU, which then is number 0. That
    processes do not share it is checked once they are joined.

    >>> _of_process("cuda", 1, 4), _of_process("cuda", 1, 1)
    ('cuda:1', 'cuda:0')
    """
    if name != "cuda":
        raise InputError(
            f"the device is {name!r}, and each of several processes uses the GPU of its number; "
            "use --device cuda, and CUDA_VISIBLE_DEVICES to choose the GPUs"
        )
    if count == 1:
        return "cuda:0"
    if count and local_rank >= count:
        raise InputError(
            f"process {local_rank + 1} of this machine has no GPU, it has {count}; start at most {count} "
            "processes per machine, or use --device cpu"
        )
    return f"cuda:{local_rank}"


def first_tensor(model: nn.Module) -> torch.Tensor:
    """Return the first parameter of a model, or its first buffer: device and type are those of the model.

    >>> from torch import nn
    >>> first_tensor(nn.Linear(2, 3)).shape
    torch.Size([3, 2])
    """
    return next(itertools.chain(model.parameters(), model.buffers()))
