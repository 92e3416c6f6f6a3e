"""The fast path on a GPU: one program a row, value and gradient from one launch.

The arithmetic is that of `fused.py`, which calls `run` for (N, K) logits on CUDA. A row of up to `WHOLE`
classes is read once and stays in registers; a longer one is read once for its statistics (an online
softmax), once more if sums over the labels need the probabilities (nfl, the negative reading), and once for
the gradient. What the kernel does not know (float64, more terms than it has places for, functions of one's
own) is the business of `fused.py`, and so is everything from the first failure of a kernel on, with one
warning.

Importing this file needs triton. A label out of range gives NaN: the values of labels are not looked at.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from noisylabels.losses import slopes
from noisylabels.losses.evaluation import Target
from noisylabels.losses.readings import NEGATIVE, P_MIN

WHOLE = 16_384
"""Classes of a row that stays in registers."""

LOOP = 8192
"""Classes at a time of a longer one."""

LABEL_PLACES, SHARE_PLACES = 3, 2
"""How many terms at the label, and how many shares of sums over the labels, beside nce."""

_TYPES = (torch.float32, torch.bfloat16, torch.float16)

_working = True
"""Whether no kernel has failed yet in this process."""

# Numbers of the functions, 0 being none; a Taylor cross entropy of t terms is _TAYLOR + t.
_CE = tl.constexpr(1)
_FL = tl.constexpr(2)
_MAE = tl.constexpr(3)
_RCE = tl.constexpr(4)
_GCE = tl.constexpr(5)
_PHUBER = tl.constexpr(6)
_AGCE = tl.constexpr(7)
_AUL = tl.constexpr(8)
_AEL = tl.constexpr(9)
_JS = tl.constexpr(10)
_POLY1 = tl.constexpr(11)
_TAYLOR = tl.constexpr(100)
_MOST_TERMS = 32  # of a Taylor cross entropy, each of which is written out

_X_MOST = tl.constexpr(-math.log(P_MIN))  # x at p_min, where the negative reading is bounded
_TINY = tl.constexpr(1.1754943508222875e-38)
_LEAST = tl.constexpr(-3.4028234663852886e38)


# What a loss is, in numbers


def encode(steps: Any) -> tuple[list[int], list[float]] | None:
    """Return a loss as codes and numbers for the kernel, or None if it has no place for it.

    Codes: a function for each place at the label; a function and whether its reading is negative for each
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
    for weight, costs, reading in steps.shares:
        found = _encode(costs)
        if found is None:
            return None
        codes += [found[0], int(reading is NEGATIVE)]
        numbers += [weight, *found[1:]]
    missing = SHARE_PLACES - len(steps.shares)
    codes += [0, 0] * missing
    numbers += [0.0] * 3 * missing
    return codes, numbers


def _encode(costs: Any) -> tuple[int, float, float] | None:
    """Return the code of a function of `slopes.py` and its two numbers, or None for another function."""
    if not isinstance(costs, partial):
        return None
    given = costs.keywords
    function = slopes.fl if costs.func is slopes.fl_share else costs.func
    if function is slopes.taylor_ce:
        t = int(given["t"])
        return (_TAYLOR.value + t, 0.0, 0.0) if t <= _MOST_TERMS else None
    found = _CODES.get(function)
    if found is None:
        return None
    code, names = found
    a, b = (*(float(given[name]) for name in names), 0.0, 0.0)[:2]
    return code, a, math.log(a) if function is slopes.phuber_ce else b


_CODES: dict[Any, tuple[int, tuple[str, ...]]] = {
    slopes.ce: (_CE.value, ()),
    slopes.fl: (_FL.value, ("gamma", "detach")),
    slopes.mae: (_MAE.value, ()),
    slopes.rce: (_RCE.value, ("A",)),
    slopes.gce: (_GCE.value, ("q",)),
    slopes.phuber_ce: (_PHUBER.value, ("tau",)),
    slopes.agce: (_AGCE.value, ("a", "q")),
    slopes.aul: (_AUL.value, ("a", "q")),
    slopes.ael: (_AEL.value, ("a",)),
    slopes.js: (_JS.value, ("w",)),
    slopes.poly1: (_POLY1.value, ("epsilon",)),
}


# The kernels


@triton.jit
def _expm1(x):  # type: ignore[no-untyped-def]
    # (e - 1) / log e changes slowly, so that the rounding of e = exp x does not matter
    e = tl.exp(x)
    near = (e - 1) * x / tl.log(tl.where((e == 1) | (e == 0), 2.0, e))
    return tl.where(e == 1, x, tl.where(tl.abs(x) > 1, e - 1, near))


@triton.jit
def _log1p(x):  # type: ignore[no-untyped-def]
    w = 1 + x
    return tl.where(w == 1, x, tl.log(w) * x / tl.where(w == 1, 1.0, w - 1))


@triton.jit
def _costs(CODE: tl.constexpr, x, p, a, b):  # type: ignore[no-untyped-def]
    """Return a function of `slopes.py` and its slope: see there, and `pointwise.py`."""
    cost = x
    slope = x * 0 + 1
    if CODE == _FL:
        # 1 - p is x p or more: a bound where p has been rounded up to 1
        rest = tl.maximum(tl.maximum(1 - p, x * p), _TINY)
        slope = tl.exp(a * tl.log(rest))
        cost = slope * x
        slope += tl.where(b == 0, a * cost * p / rest, 0.0)
    elif CODE == _MAE:
        cost = 2 - 2 * p
        slope = 2 * p
    elif CODE == _RCE:
        cost = a * p - a
        slope = -a * p
    elif CODE == _GCE:
        cost = -_expm1(-a * x) / a
        slope = tl.exp(-a * x)
    elif CODE == _PHUBER:
        cost = tl.where(x < b, x, b + 1 - a * p)
        slope = tl.where(x < b, 1.0, a * p)
    elif CODE == _AGCE:
        near = _log1p(_expm1(-tl.minimum(x, 1.0)) / (a + 1))
        log_ratio = tl.where(x < 1, near, tl.log(a + p) - tl.log(a + 1))
        cost = -tl.exp(b * tl.log(a + 1)) / b * _expm1(b * log_ratio)
        slope = tl.exp((b - 1) * tl.log(a + p)) * p
    elif CODE == _AUL:
        cost = tl.exp(b * tl.log(a - 1)) / b * _expm1(b * _log1p(-_expm1(-x) / (a - 1)))
        slope = tl.exp((b - 1) * tl.log(a - p)) * p
    elif CODE == _AEL:
        cost = tl.exp(-p / a)
        slope = cost * p / a
    elif CODE == _JS:
        rest = -_expm1(-x)
        log_w = tl.log(a)
        log_v = _log1p(-a)
        above = tl.maximum(-x, log_w)
        likely = a * above + (a + (1 - a) * tl.exp(above)) * _log1p(a * _expm1(-above))
        m = a + (1 - a) * p
        log_m = tl.where(a > 0.5, _log1p(-(1 - a) * rest), tl.log(m))
        cost = rest + tl.where(-x > log_w, likely, m * log_m + (1 - a) * p * x) / ((1 - a) * log_v)
        log_ratio = tl.where(x < 60, _log1p(a * _expm1(tl.minimum(x, 60.0))), x + log_w)
        slope = p * (1 - log_ratio / log_v)
    elif CODE == _POLY1:
        cost = x - a * _expm1(-x)
        slope = 1 + a * p
    elif CODE > _TAYLOR:
        u = -_expm1(-x)
        cost = u / (CODE - _TAYLOR)
        slope = x * 0 + 1
        for k in tl.static_range(1, CODE - _TAYLOR):
            cost = u * (cost + 1.0 / (CODE - _TAYLOR - k))
            slope = slope * u + 1
        slope *= p
    return cost, slope


@triton.jit
def _amounts(CODE: tl.constexpr, NEGATIVE: tl.constexpr, x, p, a, b):  # type: ignore[no-untyped-def]
    """Return what a share is of the sum of, and its slope."""
    if NEGATIVE:
        near = tl.minimum(x, _X_MOST)
        cost, slope = _costs(CODE, near, tl.exp(-near), a, b)
        # by the same arithmetic, so that the amount at p_min is 0 and not rounding times K
        most = a * 0 + _X_MOST
        bound, _ = _costs(CODE, most, tl.exp(-most), a, b)
        amount = bound - cost
        slope = tl.where(x <= _X_MOST, slope, 0.0)
    else:
        amount, slope = _costs(CODE, x, p, a, b)
    return amount, slope


@triton.jit
def _sums(CODE: tl.constexpr, NEGATIVE: tl.constexpr, x, p, mask, a, b):  # type: ignore[no-untyped-def]
    """Return the sums over the labels of amounts and slopes."""
    amount, slope = _amounts(CODE, NEGATIVE, x, p, a, b)
    return tl.sum(tl.where(mask, amount, 0.0)), tl.sum(tl.where(mask, slope, 0.0))


@triton.jit
def _rows(  # type: ignore[no-untyped-def]
    logits,
    target,
    weight,
    factor,
    values,
    gradient,
    stride,
    gradient_stride,
    classes,
    ignore_index,
    nce,
    w0,
    a0,
    b0,
    w1,
    a1,
    b1,
    w2,
    a2,
    b2,
    v0,
    c0,
    d0,
    v1,
    c1,
    d1,
    F0: tl.constexpr,
    F1: tl.constexpr,
    F2: tl.constexpr,
    G0: tl.constexpr,
    N0: tl.constexpr,
    G1: tl.constexpr,
    N1: tl.constexpr,
    NCE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    MEAN: tl.constexpr,
    IGNORES: tl.constexpr,
    GRADIENT: tl.constexpr,
    BLOCK: tl.constexpr,
    ONE: tl.constexpr,
):
    """Values and gradients of a row; ONE: all its classes are in one block."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    gradient += row * gradient_stride
    columns = tl.arange(0, BLOCK)
    y = tl.load(target + row).to(tl.int64)
    valid = y != ignore_index if IGNORES else y == y
    inside = (y >= 0) & (y < classes)
    z_y = tl.load(logits + y, mask=inside, other=float("nan")).to(tl.float32)

    # maximum, sum of exponentials, sum of differences from the maximum
    if ONE:
        mask = columns < classes
        z = tl.load(logits + columns, mask=mask, other=float("-inf")).to(tl.float32)
        top = tl.maximum(tl.max(z), _LEAST)
        s = tl.sum(tl.exp(z - top))
        spread = top * 0
        if NCE:
            spread = tl.sum(tl.where(mask, z - top, 0.0))
    else:
        top = z_y * 0 + _LEAST
        top = tl.where(top == top, top, _LEAST)
        s = top * 0
        spread = top * 0
        for start in range(0, classes, BLOCK):
            mask = start + columns < classes
            z = tl.load(logits + start + columns, mask=mask, other=float("-inf")).to(tl.float32)
            higher = tl.maximum(top, tl.max(z))
            s = s * tl.exp(top - higher) + tl.sum(tl.exp(z - higher))
            if NCE:
                moved = tl.where(start > 0, start * (top - higher), 0.0)
                spread += moved + tl.sum(tl.where(mask, z - higher, 0.0))
            top = higher

    log_s = tl.log(s)
    x_y = log_s - (z_y - top)
    p_y = tl.exp(z_y - top) / s
    value = x_y * 0
    rise = x_y * 0
    lift = x_y * 0
    if F0 > 0:
        cost, slope = _costs(F0, x_y, p_y, a0, b0)
        value += w0 * cost
        rise += w0 * slope
    if F1 > 0:
        cost, slope = _costs(F1, x_y, p_y, a1, b1)
        value += w1 * cost
        rise += w1 * slope
    if F2 > 0:
        cost, slope = _costs(F2, x_y, p_y, a2, b2)
        value += w2 * cost
        rise += w2 * slope
    if NCE:
        inverse = 1 / (classes * log_s - spread)
        value += nce * x_y * inverse
        rise += nce * inverse
        lift = nce * x_y * inverse * inverse
    height = rise - classes * lift

    # other shares: sums over the labels of amounts and slopes
    factor0 = x_y * 0
    factor1 = x_y * 0
    if G0 > 0:
        if ONE:
            x = log_s - (z - top)
            p = tl.exp(z - top) / s
            total0, slopes0 = _sums(G0, N0, x, p, mask, c0, d0)
            if G1 > 0:
                total1, slopes1 = _sums(G1, N1, x, p, mask, c1, d1)
        else:
            total0 = s * 0
            slopes0 = s * 0
            total1 = s * 0
            slopes1 = s * 0
            for start in range(0, classes, BLOCK):
                mask = start + columns < classes
                z = tl.load(logits + start + columns, mask=mask, other=float("-inf")).to(tl.float32)
                x = log_s - (z - top)
                p = tl.exp(z - top) / s
                amount, slope = _sums(G0, N0, x, p, mask, c0, d0)
                total0 += amount
                slopes0 += slope
                if G1 > 0:
                    amount, slope = _sums(G1, N1, x, p, mask, c1, d1)
                    total1 += amount
                    slopes1 += slope
        amount, slope = _amounts(G0, N0, x_y, p_y, c0, d0)
        share = amount / total0
        value += v0 * ((1 - share) if N0 else share)
        rise += v0 * slope / total0
        factor0 = v0 * share / total0
        height += v0 * slope / total0 - factor0 * slopes0
        if G1 > 0:
            amount, slope = _amounts(G1, N1, x_y, p_y, c1, d1)
            share = amount / total1
            value += v1 * ((1 - share) if N1 else share)
            rise += v1 * slope / total1
            factor1 = v1 * share / total1
            height += v1 * slope / total1 - factor1 * slopes1

    scale = tl.load(factor) if MEAN else 1.0
    nothing = 0.0 * scale  # NaN where none counts, as a mean over none is
    if WEIGHTED:
        scale *= tl.load(weight + y, mask=inside, other=0.0).to(tl.float32)
    tl.store(values + row, tl.where(valid, value * scale, nothing))

    if GRADIENT:
        scale = tl.where(valid, scale, 0.0)
        fall = tl.where(valid, rise * scale, 0.0)
        lift = tl.where(valid, lift * scale, 0.0)
        height = tl.where(valid, height * scale / s, 0.0)
        factor0 = tl.where(valid, factor0 * scale, 0.0)
        factor1 = tl.where(valid, factor1 * scale, 0.0)
        for start in range(0, classes, BLOCK):
            if not ONE:
                mask = start + columns < classes
                z = tl.load(logits + start + columns, mask=mask, other=float("-inf")).to(tl.float32)
            e = tl.exp(z - top)
            found = e * height + lift
            if G0 > 0:
                _, slope_k = _amounts(G0, N0, log_s - (z - top), e / s, c0, d0)
                found += factor0 * slope_k
                if G1 > 0:
                    _, slope_k = _amounts(G1, N1, log_s - (z - top), e / s, c1, d1)
                    found += factor1 * slope_k
            found = tl.where(start + columns == y, found - fall, found)
            tl.store(gradient + start + columns, found.to(gradient.dtype.element_ty), mask=mask)


@triton.jit
def _one_over_count(  # type: ignore[no-untyped-def]
    target,
    weight,
    found,
    n,
    classes,
    ignore_index,
    WEIGHTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """1 over the number of labels that count, or over the sum of their weights."""
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        y = tl.load(target + at, mask=at < n, other=-1).to(tl.int64)
        valid = (at < n) & (y != ignore_index)
        if WEIGHTED:
            inside = valid & (y >= 0) & (y < classes)
            total += tl.load(weight + y, mask=inside, other=0.0).to(tl.float32)
        else:
            total += tl.where(valid, 1.0, 0.0)
    tl.store(found, 1 / tl.sum(total))


@triton.jit
def _multiply(x, up, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Multiply by a number on the device, unless it is 1, as it is in most backward passes."""
    by = tl.load(up).to(tl.float32)
    if by != 1:
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        product = tl.load(x + at, mask=at < size).to(tl.float32) * by
        tl.store(x + at, product.to(x.dtype.element_ty), mask=at < size)


# Their launches

_NONE = -(2**62)
"""Stands for no ignore_index."""


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
        _one_over_count[(1,)](
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
    _rows[(n,)](
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
    """The value and the gradient of (N, K) logits as one operator, for torch.compile."""
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


# What `fused.py` calls


def run(
    steps: Any, logits: Tensor, target: Tensor, how: Target, gradient: bool, into: Tensor | None
) -> tuple[Tensor, Tensor | None] | None:
    """Return the reduced value of (N, K) logits, and the gradient if wanted; None: not for the kernel."""
    global _working
    if not _working or logits.dtype not in _TYPES:
        return None
    encoded = encode(steps)
    if encoded is None:
        return None
    codes, numbers = encoded
    if torch.compiler.is_compiling():
        value, found = rows(logits, target, how.weight, how.reduction, how.ignore_index, codes, numbers)
        return value, found if gradient else None
    try:
        return _launch(
            logits, target, how.weight, how.reduction, how.ignore_index, codes, numbers, gradient, into
        )
    except Exception as error:  # whatever a compiler, a driver or a card may say
        _fail(error)
        return None


def multiply(gradient: Tensor, up: Tensor) -> bool:
    """Multiply a contiguous gradient in place by the number `up` on its device; return whether it is done."""
    if not _working or gradient.dtype not in _TYPES or not gradient.is_contiguous() or up.numel() != 1:
        return False
    size = gradient.numel()
    try:
        _multiply[(triton.cdiv(size, 4096),)](gradient, up, size, BLOCK=4096, num_warps=8)
    except Exception as error:
        _fail(error)
        return False
    return True


def _fail(error: Exception) -> None:
    global _working
    _working = False
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    warnings.warn(
        f"the losses' GPU kernel failed ({said}); the slower way is taken for the rest of this process",
        RuntimeWarning,
        stacklevel=3,
    )
