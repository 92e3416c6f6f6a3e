"""The compiled CPU kernel of the fast path (`native.c`), if it is installed.

It is compiled when the package is installed, once per instruction set, if a C compiler is found
(`compile_native.py`). Without it, and for losses that it does not support, `fused.py` computes the same with
torch's operations. Set ``NOISYLABELS_NATIVE=0`` in the environment to disable it.
"""

from __future__ import annotations

import ctypes
import inspect
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisylabels.losses.evaluation import TargetOptions
from noisylabels.losses.kernels import slopes
from noisylabels.losses.kernels.compile_native import source_number

ABI = source_number()
"""The version of `native.c`: a kernel compiled from another one is not used."""

FUNCTIONS = (
    slopes.ce,
    slopes.fl,
    slopes.mae,
    slopes.rce,
    slopes.gce,
    slopes.taylor_ce,
    slopes.phuber_ce,
    slopes.agce,
    slopes.aul,
    slopes.ael,
    slopes.js,
    slopes.poly1,
)
"""In the order of `enum function` in `native.c`."""

_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}

TERMS = 16
"""The most terms that the kernel supports, `MAX_TERMS` in `native.c`."""

THREAD = 2**18
"""Logits per thread: a few hundred microseconds of work; starting a thread takes a tenth of that."""


class _Term(ctypes.Structure):
    _fields_ = (
        ("function", ctypes.c_int32),
        ("weight", ctypes.c_double),
        ("a", ctypes.c_double),
        ("b", ctypes.c_double),
    )


class _Plan(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int32),
        ("terms", _Term * TERMS),
        ("nce", ctypes.c_double),
        ("nfl", ctypes.c_double),
        ("gamma", ctypes.c_double),
        ("detach", ctypes.c_int32),
    )


def load(file: Path) -> ctypes.CDLL | None:
    """Return a compiled kernel, or None if the file is missing, outdated or of another platform."""
    try:
        library = ctypes.CDLL(str(file))
        if library.noisylabels_abi() != ABI:
            return None
    except (OSError, AttributeError):  # missing, or of another platform
        return None
    whole, size, at = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
    library.noisylabels_loss.argtypes = (*[at] * 7, size, size, whole, whole, size, whole, whole)
    return library


def runnable() -> list[str]:
    """Return the instruction sets of `compile_native.py` that this CPU supports, the fastest first."""
    least = {"AVX512": 0, "AVX2": 1}.get(torch.backends.cpu.get_cpu_capability(), 2)
    return ["avx512", "avx2", "plain"][least:]


def _installed() -> ctypes.CDLL | None:
    if os.environ.get("NOISYLABELS_NATIVE") == "0":
        return None
    files = (Path(__file__).with_name(f"_native-{name}.so") for name in runnable())
    return next((library for file in files if (library := load(file)) is not None), None)


_LIBRARY = _installed()


def name() -> str | None:
    """Return the instruction set of the losses' compiled CPU kernel; None if no kernel is in use.

    It is "avx512", "avx2" or "plain".
    """
    return None if _LIBRARY is None else Path(_LIBRARY._name).stem.removeprefix("_native-")


def prepare(
    at_label: Sequence[tuple[float, Callable[..., Any]]], nce: float, nfl: tuple[float, Any] | None
) -> _Plan | None:
    """Return these steps (`fused._Steps`) as the kernel reads them; None if it does not support them all."""
    if _LIBRARY is None or len(at_label) > TERMS:
        return None
    plan = _Plan(count=len(at_label), nce=nce)
    for slot, (weight, costs) in zip(plan.terms, at_label, strict=False):
        if not isinstance(costs, partial) or costs.func not in FUNCTIONS:
            return None
        slot.function, slot.weight = FUNCTIONS.index(costs.func), weight
        names = list(inspect.signature(costs.func).parameters)[2:]
        slot.a, slot.b = [*(costs.keywords[name] for name in names), 0.0, 0.0][:2]
    if nfl is not None:
        weight, share = nfl
        plan.nfl, plan.gamma, plan.detach = weight, share.keywords["gamma"], int(share.keywords["detach"])
    return plan


def takes(logits: Tensor, target: Tensor, weight: Tensor | None = None, into: Tensor | None = None) -> bool:
    """Return whether the kernel supports these logits, labels, class weights and this gradient buffer."""
    return (
        logits.dtype in _KINDS
        and logits.ndim == 2
        and _in_memory(logits)
        and logits.is_contiguous()
        and not logits.is_neg()
        and _in_memory(target)
        and (weight is None or _in_memory(weight))
        and (into is None or (into.dtype is _of_gradients(logits) and into.is_contiguous()))
        and not _is_tracing()
    )


def _is_tracing() -> bool:
    """Return whether torch.jit is tracing, which would record no operation of the kernel."""
    return bool(torch.jit.is_tracing())  # type: ignore[no-untyped-call, attr-defined]


def _in_memory(tensor: Tensor) -> bool:
    """Return whether a tensor's values are in the CPU's memory."""
    return tensor.device.type == "cpu" and tensor.layout is torch.strided and tensor.data_ptr() != 0


def _of_gradients(logits: Tensor) -> torch.dtype:
    return torch.float32 if logits.dtype is torch.float16 else logits.dtype


def run(
    plan: _Plan,
    logits: Tensor,
    target: Tensor,
    options: TargetOptions,
    gradient: bool,
    into: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the reduced value and its gradient: in `into` if given, which may be the logits.

    Raises:
        IndexError: a label is out of range; nothing is written.
    """
    assert _LIBRARY is not None
    n, classes = logits.shape
    target = target.contiguous()
    weight = None if options.weight is None else options.weight.detach().float().contiguous().resolve_neg()
    each = options.reduction == "none"
    # explicit, because torch's default dtype and device may be others
    value = torch.empty((n,) if each else (), dtype=torch.float32, device="cpu")
    slopes = into if gradient else None
    if gradient and slopes is None:
        slopes = torch.empty_like(logits, dtype=_of_gradients(logits))
    failed = _LIBRARY.noisylabels_loss(
        ctypes.byref(plan),
        logits.data_ptr(),
        target.data_ptr(),
        None if weight is None else weight.data_ptr(),
        value.data_ptr() if each else None,
        None if slopes is None else slopes.data_ptr(),
        None if each else value.data_ptr(),
        n,
        classes,
        _KINDS[logits.dtype],
        options.ignore_index is not None,
        options.ignore_index or 0,
        options.reduction == "mean",
        min(torch.get_num_threads(), max(1, n * classes // THREAD)),
    )
    if failed:
        raise (
            IndexError("a label is out of range") if failed == 1 else MemoryError("no memory for the loss")
        )
    return value, slopes
