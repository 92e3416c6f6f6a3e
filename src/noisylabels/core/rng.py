"""Random streams: many independent, named streams derived from one seed.

Noise, weights, order and augmentation each draw from their own stream, named by words and numbers,
for example ``("order", epoch)``. A stream's seed is a hash of the user's seed and its name. So adding
a stream, or drawing more from one, leaves all others unchanged, and a run resumes from the middle
without saved generator state: the stream of epoch 7 is derived from its name.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

GLOBAL_STREAM = threading.RLock()
"""Held while the state of torch's global generator, which the threads of a process share, is set or must not
be: a network initialized in one thread does not depend on what another one seeds."""

_PIECE = 8192  # numbers drawn at once: a processor's cache holds them


def derive_seed(seed: int, *name: str | int) -> int:
    """Return the seed, in [0, 2**63), of the stream called `name` under the user's `seed`.

    >>> derive_seed(0, "noise") == derive_seed(0, "noise") != derive_seed(0, "order")
    True
    """
    came: object = seed  # NumPy's integers are numbers.Integral too
    if isinstance(came, bool) or not isinstance(came, Integral) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected an integer of 0 or more")
    text = "/".join([str(int(seed)), *(str(part) for part in name)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big") >> 1


def derive_seeds(seed: int, *name: str | int, last: Iterable[str], count: int) -> np.ndarray:
    """Return the seeds of `count` streams whose names differ in the last part, int64, (count,).

    >>> derive_seeds(0, "noise", last=["a", "b"], count=2).tolist()[1] == derive_seed(0, "noise", "b")
    True
    """
    import numpy as np

    derive_seed(seed, *name)  # checks
    text = "/".join([str(int(seed)), *(str(part) for part in name), ""])
    first = np.fromiter(
        (hashlib.sha256((text + part).encode("utf-8", "surrogateescape")).digest()[:8] for part in last),
        dtype="S8",
        count=count,
    )
    return (first.view(">u8") >> np.uint64(1)).astype(np.int64)


def uniforms(n: int, seed: int, *name: str | int) -> np.ndarray:
    """Return n float64 numbers in [0, 1) from the stream called `name`, the same on every platform.

    They are computed from the raw output of a counter-based bit generator (Philox), the part of
    NumPy's random numbers that is guaranteed not to change between releases.
    """
    import numpy as np  # late: printing help checks a seed, and NumPy is slow to import

    raw = np.random.Philox(key=derive_seed(seed, *name)).random_raw(n)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def resample(n: int, seed: int, *name: str | int, out: np.ndarray | None = None) -> np.ndarray:
    """Return n positions in [0, n), drawn with replacement: floor(n u), with u from `uniforms`; int64.

    Args:
        out: (n,) int64, the array to write to and return. Many samples into one array take half the time,
            because the system need not clear memory for each.

    >>> resample(4, 0, "bootstrap", 1).tolist() == (uniforms(4, 0, "bootstrap", 1) * 4).astype(int).tolist()
    True
    """
    import numpy as np

    bits = np.random.Philox(key=derive_seed(seed, *name))
    made = np.empty(n, np.int64) if out is None else out
    piece = np.empty(min(n, _PIECE))
    for start in range(0, n, _PIECE):
        raw = bits.random_raw(min(_PIECE, n - start))
        raw >>= np.uint64(11)
        np.copyto(u := piece[: len(raw)], raw.view(np.int64))  # signed numbers are faster to convert
        u *= n * 2.0**-53
        made[start : start + _PIECE] = u
    return made


def normals(n: int, seed: int, *name: str | int) -> np.ndarray:
    """Return n standard normal float64 numbers of a stream, by the Box-Muller transform (1958).

    The last bits of logarithms and sines, and so of these numbers, differ between machines.
    """
    import numpy as np

    half = (n + 1) // 2
    u = uniforms(2 * half, seed, *name)
    radius = np.sqrt(-2 * np.log1p(-u[:half]))  # log of a number in (0, 1]
    angle = 2 * math.pi * u[half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]


def generator(seed: int, *name: str | int) -> torch.Generator:
    """Return a CPU torch generator at the start of the stream called `name`."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *name))


@contextmanager
def global_stream(seed: int, *name: str | int) -> Iterator[None]:
    """Let torch's global CPU generator draw from the stream called `name`, and leave its state as it was.

    For what takes no generator, such as the initialization of layers; one thread at a time.

    >>> import torch
    >>> with global_stream(0, "weights"):
    ...     first = torch.rand(2)
    >>> torch.equal(first, torch.rand(2, generator=generator(0, "weights")))
    True
    """
    import torch

    with GLOBAL_STREAM, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, *name))  # those of GPUs do not change
        yield


@contextmanager
def global_state_kept(devices: Sequence[torch.device]) -> Iterator[None]:
    """Leave torch's global generators, those of some GPUs included, as they were; other threads may go on."""
    import torch

    forked = torch.random.fork_rng(devices=devices)
    with GLOBAL_STREAM:
        forked.__enter__()
    try:
        yield
    finally:
        with GLOBAL_STREAM:
            forked.__exit__(None, None, None)


def start_global_stream(seed: int, *name: str | int) -> None:
    """Let torch's global generators, those of GPUs included, draw from the stream called `name`."""
    import torch

    with GLOBAL_STREAM:
        torch.manual_seed(derive_seed(seed, *name))
