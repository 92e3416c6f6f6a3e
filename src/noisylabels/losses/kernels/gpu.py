"""The fast path on a GPU: one program per row; one launch computes value and gradient.

The arithmetic is that of `fused.py`, which calls `run` for (N, K) logits on CUDA. A row of up to `WHOLE`
classes is read once and stays in registers; a longer one is read once for its statistics (an online
softmax), once more if sums over the labels need the probabilities (nfl, the negative form), and once for
the gradient. What the kernel does not support (float64, more terms than it has places for, user-defined
functions) is left to `fused.py`. After the first failure of a kernel everything is, with one warning.

Importing this file needs triton. A label out of range gives NaN: checking labels would synchronize.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor

from noisylabels.losses.evaluation import TargetOptions
from noisylabels.losses.forms import NEGATIVE
from noisylabels.losses.kernels import slopes, triton_kernels

WHOLE = 16_384
"""The most classes of a row that stays in registers."""

LOOP = 8192
"""Classes per pass of the loop over a longer row."""

LABEL_PLACES, SHARE_PLACES = 3, 2
"""The most terms at the label, and the most shares of sums over the labels, besides nce."""

MOST_TERMS = 32
"""The most terms of a Taylor cross entropy, whose loop is unrolled."""

_TYPES = (torch.float32, torch.bfloat16, torch.float16)

_working = True
"""False after the first failure of a kernel in this process."""


# A loss as numbers


def encode(steps: Any) -> tuple[list[int], list[float]] | None:
    """Return a loss as codes and numbers for the kernel, or None if it does not support the loss.

    Codes: a function for each place at the label; a function and whether its form is negative for each
    place of a share. Numbers: the weight of nce, then weight, a, b of each place.
    """
    if len(steps.at_label) > LABEL_PLACES or len(steps.shares) > SHARE_PLACES:
        return None
    codes: list[int] = []
    numbers: list[float] = [steps.nce]
    for weight, costs in steps.at_label:
        found = _encode(costs)
        if found is None:
            return None
        codes.append(found[0])
        numbers += [weight, *found[1:]]
    missing = LABEL_PLACES - len(steps.at_label)
    codes += [0] * missing
    numbers += [0.0] * 3 * missing
    for weight, costs, form in steps.shares:
        found = _encode(costs)
        if found is None:
            return None
        codes += [found[0], int(form is NEGATIVE)]
        numbers += [weight, *found[1:]]
    missing = SHARE_PLACES - len(steps.shares)
    codes += [0, 0] * missing
    numbers += [0.0] * 3 * missing
    return codes, numbers


def _encode(costs: Any) -> tuple[int, float, float] | None:
    """Return the code of a function of `slopes.py` and its two parameters, or None for any other function."""
    if not isinstance(costs, partial):
        return None
    given = costs.keywords
    function = slopes.fl if costs.func is slopes.fl_share else costs.func
    if function is slopes.taylor_ce:
        t = int(given["t"])
        return (triton_kernels.TAYLOR.value + t, 0.0, 0.0) if t <= MOST_TERMS else None
    found = _CODES.get(function)
    if found is None:
        return None
    code, names = found
    a, b = (*(float(given[name]) for name in names), 0.0, 0.0)[:2]
    return code, a, math.log(a) if function is slopes.phuber_ce else b


_CODES: dict[Any, tuple[int, tuple[str, ...]]] = {
    slopes.ce: (triton_kernels.CE.value, ()),
    slopes.fl: (triton_kernels.FL.value, ("gamma", "detach")),
    slopes.mae: (triton_kernels.MAE.value, ()),
    slopes.rce: (triton_kernels.RCE.value, ("A",)),
    slopes.gce: (triton_kernels.GCE.value, ("q",)),
    slopes.phuber_ce: (triton_kernels.PHUBER.value, ("tau",)),
    slopes.agce: (triton_kernels.AGCE.value, ("a", "q")),
    slopes.aul: (triton_kernels.AUL.value, ("a", "q")),
    slopes.ael: (triton_kernels.AEL.value, ("a",)),
    slopes.js: (triton_kernels.JS.value, ("w",)),
    slopes.poly1: (triton_kernels.POLY1.value, ("epsilon",)),
}


# Launches

_NONE = -(2**62)
"""Stands for ignore_index=None."""


def _launch(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int | None,
    codes: Sequence[int],
    numbers: Sequence[float],
    gradient: bool,
    into: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    n, classes = logits.shape
    if logits.stride(1) != 1:
        logits = logits.contiguous()
    target = target.contiguous()
    weight = None if weight is None else weight.contiguous()
    values = torch.empty(n, dtype=torch.float32, device=logits.device)
    found = into
    if gradient and found is None:
        # the gradients of float16 are rounded last: a gradient scaler multiplies them before
        kind = torch.float32 if logits.dtype is torch.float16 else logits.dtype
        found = torch.empty(logits.shape, dtype=kind, device=logits.device)
    mean = reduction == "mean"
    ignore = _NONE if ignore_index is None else ignore_index
    factor = values
    if mean:
        factor = torch.empty((), dtype=torch.float32, device=logits.device)
        triton_kernels.one_over_count[(1,)](
            target,
            values if weight is None else weight,
            factor,
            n,
            classes,
            ignore,
            WEIGHTED=weight is not None,
            BLOCK=1024,
            num_warps=4,
        )
    one = classes <= WHOLE
    block = max(16, triton.next_power_of_2(classes)) if one else LOOP
    triton_kernels.rows[(n,)](
        logits,
        target,
        values if weight is None else weight,
        factor,
        values,
        values if found is None else found,
        logits.stride(0),
        0 if found is None else found.stride(0),
        classes,
        ignore,
        *numbers,
        *codes,
        NCE=numbers[0] != 0,
        WEIGHTED=weight is not None,
        MEAN=mean,
        IGNORES=ignore_index is not None,
        GRADIENT=gradient,
        BLOCK=block,
        ONE=one,
        num_warps=min(16, max(1, block // 512)),
    )
    return values if reduction == "none" else values.sum(), found if gradient else None


@torch.library.custom_op(
    "noisylabels::rows",
    mutates_args=(),
    schema="(Tensor logits, Tensor target, Tensor? weight, str reduction, int? ignore_index, int[] codes, "
    "float[] numbers) -> (Tensor, Tensor)",
)
def rows(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int | None,
    codes: Sequence[int],
    numbers: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Return value and gradient of (N, K) logits; one operator, for torch.compile."""
    value, found = _launch(logits, target, weight, reduction, ignore_index, codes, numbers, True)
    assert found is not None
    return value, found


@rows.register_fake
def _(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int | None,
    codes: Sequence[int],
    numbers: Sequence[float],
) -> tuple[Tensor, Tensor]:
    shape = logits.shape[:1] if reduction == "none" else ()
    kind = torch.float32 if logits.dtype is torch.float16 else logits.dtype
    return logits.new_empty(shape, dtype=torch.float32), torch.empty(
        logits.shape, dtype=kind, device=logits.device
    )


# The functions that `fused.py` calls


def run(
    steps: Any, logits: Tensor, target: Tensor, options: TargetOptions, gradient: bool, into: Tensor | None
) -> tuple[Tensor, Tensor | None] | None:
    """Return the reduced value for (N, K) logits and, if `gradient`, the gradient; None if not supported."""
    global _working
    if not _working or logits.dtype not in _TYPES:
        return None
    encoded = encode(steps)
    if encoded is None:
        return None
    codes, numbers = encoded
    if torch.compiler.is_compiling():
        value, found = rows(
            logits, target, options.weight, options.reduction, options.ignore_index, codes, numbers
        )
        return value, found if gradient else None
    try:
        return _launch(
            logits,
            target,
            options.weight,
            options.reduction,
            options.ignore_index,
            codes,
            numbers,
            gradient,
            into,
        )
    except Exception as error:  # any error of the compiler, the driver or the card
        _fail(error)
        return None


def multiply(gradient: Tensor, up: Tensor) -> bool:
    """Multiply a contiguous gradient in place by `up`, a number on its device; return False if it cannot."""
    if not _working or gradient.dtype not in _TYPES or not gradient.is_contiguous() or up.numel() != 1:
        return False
    size = gradient.numel()
    try:
        triton_kernels.multiply[(triton.cdiv(size, 4096),)](gradient, up, size, BLOCK=4096, num_warps=8)
    except Exception as error:
        _fail(error)
        return False
    return True


def _fail(error: Exception) -> None:
    global _working
    _working = False
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    warnings.warn(
        f"the losses' GPU kernel failed ({said}); this process uses the slower torch operations from here on",
        RuntimeWarning,
        stacklevel=3,
    )
