"""Triton kernels of the fast path on a GPU; `gpu.py` launches them."""

from __future__ import annotations

import math

import triton
import triton.language as tl

from noisylabels.losses.forms import P_MIN
from noisylabels.losses.pointwise import FAR

# Codes of the functions, 0 for none; a Taylor cross entropy of t terms is TAYLOR + t.
CE = tl.constexpr(1)
FL = tl.constexpr(2)
MAE = tl.constexpr(3)
RCE = tl.constexpr(4)
GCE = tl.constexpr(5)
PHUBER = tl.constexpr(6)
AGCE = tl.constexpr(7)
AUL = tl.constexpr(8)
AEL = tl.constexpr(9)
JS = tl.constexpr(10)
POLY1 = tl.constexpr(11)
TAYLOR = tl.constexpr(100)

_X_MOST = tl.constexpr(-math.log(P_MIN))  # x at p_min, the bound of the negative form
_TINY = tl.constexpr(1.1754943508222875e-38)
_FAR = tl.constexpr(FAR)
_LEAST = tl.constexpr(-3.4028234663852886e38)


@triton.jit
def _expm1(x):  # type: ignore[no-untyped-def]
    # (e - 1) / log e changes slowly, so that rounding e = exp x does not matter
    e = tl.exp(x)
    near = (e - 1) * x / tl.log(tl.where((e == 1) | (e == 0), 2.0, e))
    return tl.where(e == 1, x, tl.where(tl.abs(x) > 1, e - 1, near))


@triton.jit
def _log1p(x):  # type: ignore[no-untyped-def]
    w = 1 + x
    return tl.where(w == 1, x, tl.log(w) * x / tl.where(w == 1, 1.0, w - 1))


@triton.jit
def _costs(CODE: tl.constexpr, x, p, a, b):  # type: ignore[no-untyped-def]
    """Return cost and slope of a function as in `slopes.py` and `pointwise.py`."""
    cost = x
    slope = p * 0 + 1
    near = tl.minimum(x, _FAR)  # 0 times infinity is NaN, at a class masked by -inf
    if CODE == FL:
        # 1 - p is at least x p: a bound where p has been rounded up to 1
        rest = tl.maximum(tl.maximum(1 - p, near * p), _TINY)
        slope = tl.exp(a * tl.log(rest))
        cost = slope * x
        slope += tl.where(b == 0, a * (slope * near) * p / rest, 0.0)
    elif CODE == MAE:
        cost = 2 - 2 * p
        slope = 2 * p
    elif CODE == RCE:
        cost = a * p - a
        slope = -a * p
    elif CODE == GCE:
        cost = -_expm1(-a * x) / a
        slope = tl.exp(-a * x)
    elif CODE == PHUBER:
        cost = tl.where(x < b, x, b + 1 - a * p)
        slope = tl.where(x < b, 1.0, a * p)
    elif CODE == AGCE:
        likely = _log1p(_expm1(-tl.minimum(x, 1.0)) / (a + 1))
        log_ratio = tl.where(x < 1, likely, tl.log(a + p) - tl.log(a + 1))
        cost = -tl.exp(b * tl.log(a + 1)) / b * _expm1(b * log_ratio)
        slope = tl.exp((b - 1) * tl.log(a + p)) * p
    elif CODE == AUL:
        cost = tl.exp(b * tl.log(a - 1)) / b * _expm1(b * _log1p(-_expm1(-x) / (a - 1)))
        slope = tl.exp((b - 1) * tl.log(a - p)) * p
    elif CODE == AEL:
        cost = tl.exp(-p / a)
        slope = cost * p / a
    elif CODE == JS:
        rest = -_expm1(-x)
        log_w = tl.log(a)
        log_v = _log1p(-a)
        above = tl.maximum(-x, log_w)
        likely = a * above + (a + (1 - a) * tl.exp(above)) * _log1p(a * _expm1(-above))
        m = a + (1 - a) * p
        log_m = tl.where(a > 0.5, _log1p(-(1 - a) * rest), tl.log(m))
        cost = rest + tl.where(-x > log_w, likely, m * log_m + (1 - a) * p * near) / ((1 - a) * log_v)
        log_ratio = tl.where(x < 60, _log1p(a * _expm1(tl.minimum(x, 60.0))), near + log_w)
        slope = p * (1 - log_ratio / log_v)
    elif CODE == POLY1:
        cost = x - a * _expm1(-x)
        slope = 1 + a * p
    elif CODE > TAYLOR:
        u = -_expm1(-x)
        cost = u / (CODE - TAYLOR)
        slope = p * 0 + 1
        for k in tl.static_range(1, CODE - TAYLOR):
            cost = u * (cost + 1.0 / (CODE - TAYLOR - k))
            slope = slope * u + 1
        slope *= p
    return cost, slope


@triton.jit
def _amounts(CODE: tl.constexpr, NEGATIVE: tl.constexpr, x, p, a, b):  # type: ignore[no-untyped-def]
    """Return the amount that is summed over the labels, and its slope."""
    if NEGATIVE:
        near = tl.minimum(x, _X_MOST)
        cost, slope = _costs(CODE, near, tl.exp(-near), a, b)
        # by the same arithmetic, so that the amount at p_min is 0 and rounding does not add up over K classes
        most = a * 0 + _X_MOST
        bound, _ = _costs(CODE, most, tl.exp(-most), a, b)
        amount = bound - cost
        slope = tl.where(x <= _X_MOST, slope, 0.0)
    else:
        amount, slope = _costs(CODE, x, p, a, b)
    return amount, slope


@triton.jit
def _sums(CODE: tl.constexpr, NEGATIVE: tl.constexpr, x, p, mask, a, b):  # type: ignore[no-untyped-def]
    """Return the sums of amounts and slopes over the labels."""
    amount, slope = _amounts(CODE, NEGATIVE, x, p, a, b)
    return tl.sum(tl.where(mask, amount, 0.0)), tl.sum(tl.where(mask, slope, 0.0))


@triton.jit
def rows(  # type: ignore[no-untyped-def]
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
    """Store value and gradient of one row; ONE: all its classes are in one block."""
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
    value = p_y * 0
    rise = p_y * 0
    lift = p_y * 0
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
    factor0 = p_y * 0
    factor1 = p_y * 0
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
    nothing = 0.0 * scale  # NaN if no label counts, like a mean over nothing
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
def one_over_count(  # type: ignore[no-untyped-def]
    target,
    weight,
    found,
    n,
    classes,
    ignore_index,
    WEIGHTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Store 1 over the number of labels that are not ignored, or over the sum of their weights."""
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
def multiply(x, up, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Multiply x in place by a number on the device; skip the work if it is 1, as in most backward passes."""
    by = tl.load(up).to(tl.float32)
    if by != 1:
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        product = tl.load(x + at, mask=at < size).to(tl.float32) * by
        tl.store(x + at, product.to(x.dtype.element_ty), mask=at < size)
