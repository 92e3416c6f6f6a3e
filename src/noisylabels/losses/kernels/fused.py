"""The fast path of the losses: compute a value and its gradient with respect to the logits in one pass.

It covers nearly all training: integer labels, one view, no wrapper, no label smoothing, and per-label
functions whose slopes are known (`slopes.py`). Everything else goes through the reference, `evaluation.py`;
the two agree up to rounding.

With ``x = -log p``, ``h_k = dv/dx_k`` and ``H = Σ_k h_k`` the gradient of a value v is ``p_j H - h_j``, and

- a cost at the label has ``h_k = [k=y] phi'(x_y)``: one number per example for any phi;
- a share of a sum over the labels, ``r = phi(x_y)/S``, has ``h_k = ([k=y] phi'(x_y) - r phi'(x_k))/S``. For
  cross entropy phi' is 1 and ``S = Σ_k x_k``: h is constant except at the label. Other functions need phi
  and phi' for all classes;
- the negative form has the same h, with S the sum of its gains.

So the gradient of every sum of terms is ``p_j H + lift + Σ c phi'(x_j) - [j=y] rise``, where H, lift, c and
rise are a few numbers per example.

Rows are processed in blocks that stay in the CPU cache, and the only N x K tensor is the gradient. The
softmax is split into its steps (maximum, difference, exponential, sum): its exponentials give the p that the
gradient needs, and ``torch.log_softmax`` goes row by row, which is slow for few classes.

On the CPU, the compiled kernel (`native.py`) does all this if it is installed and supports the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from noisylabels.losses import evaluation, pointwise
from noisylabels.losses.evaluation import Part, TargetOptions
from noisylabels.losses.forms import NEGATIVE, NORMALIZE, P_MIN, SELECT, Form, wider
from noisylabels.losses.kernels import native, slopes

BLOCK = 2**17
"""Logits per block and thread: half a MB, so that a block and its intermediates fit in a core's cache."""

SMALL_BLOCK = 2**16
"""The same for losses that need the costs of all classes."""

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""Types of logits that the fast path supports."""

KERNEL_DEVICES = ("cuda",)
"""Device types on which `gpu.py` is used if triton is installed."""

_Costs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | float]]


class _Steps(NamedTuple):
    """The weights and functions that a loss needs for one number of classes."""

    at_label: list[tuple[float, _Costs]]
    nce: float
    """The weight of normalized cross entropy, whose sum over the labels needs no extra pass."""
    shares: list[tuple[float, Callable[..., tuple[Tensor, Tensor]], Form | None]]
    """Weight, function and form of other shares of sums; a form of None means `slopes.fl_share`, the last."""
    wants_p: bool
    native: Any = None
    """The same as the compiled kernel reads it; None if it is not installed or does not support the loss."""


class Plan:
    """The parts of a loss, and the fast path's steps for them per number of classes."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self._steps: dict[int, _Steps] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts, "_steps": {}}  # the steps depend on this installation's kernel

    @property
    def fast(self) -> bool:
        """True if the fast path supports all parts."""
        return all(part.sloped is not None for part in self.parts)

    def steps(self, num_classes: int) -> _Steps | None:
        """Return the steps for `num_classes` classes, or None if the loss needs the reference."""
        if torch.compiler.is_compiling():  # torch.compile would guard on the cached steps
            return _steps(self.parts, num_classes) if self.fast else None
        found = self._steps.get(num_classes)
        if found is None and self.fast:
            found = _steps(self.parts, num_classes)
            if all(kind is None for _, _, kind in found.shares):  # at most one, a focal loss's
                nfl = found.shares[0][:2] if found.shares else None
                found = found._replace(native=native.prepare(found.at_label, found.nce, nfl))
            self._steps[num_classes] = found
        return found


def _steps(parts: Sequence[Part], num_classes: int) -> _Steps:
    at_label: list[tuple[float, _Costs]] = []
    shares: list[tuple[float, Any, Form | None]] = []
    nce = 0.0
    nfl = None
    wants_p = False
    for part in parts:
        assert part.sloped is not None
        form, row, parameters = part.sloped
        is_ce = row.function is pointwise.ce
        costs = partial(row.sloped, **parameters)
        total = 1.0 if form is SELECT else row.total(num_classes, parameters)
        if form is NEGATIVE:
            shares.append((part.weight, costs, NEGATIVE))
        elif total is not None:  # the sum over the labels is constant
            at_label.append((part.weight / total, costs))
            wants_p |= not is_ce
        elif is_ce:
            nce += part.weight
        elif row.function is pointwise.fl and nfl is None:
            share: Callable[..., Any] = slopes.fl_share
            nfl = part.weight, partial(share, **parameters)
        else:
            shares.append((part.weight, costs, NORMALIZE))
    if nfl is not None:
        shares.append((*nfl, None))
    return _Steps(at_label, nce, shares, wants_p)


def evaluate(plan: Plan, logits: Tensor | Sequence[Tensor], target: Tensor, options: TargetOptions) -> Tensor:
    """Return the reduced weighted sum of a plan's parts, by the fast path where it supports them."""
    if type(logits) is Tensor and type(target) is Tensor:
        steps = _fitting(plan, logits, target, options)
        if steps is not None:
            function = _Traced if torch.compiler.is_compiling() else _Fused
            try:
                if logits.requires_grad and torch.is_grad_enabled():
                    value: Tensor = function.apply(logits, target, plan, options)  # type: ignore[no-untyped-call]
                    return value
                return value_and_gradient(steps, logits, target, options, gradient=False)[0]
            except (RuntimeError, IndexError):
                evaluation.check_labels(target, logits.shape[1], options.ignore_index)
                raise
    return evaluation.evaluate(plan.parts, logits, target, options)


def _fitting(plan: Plan, logits: Tensor, target: Tensor, options: TargetOptions) -> _Steps | None:
    """Return the steps for these arguments, or None to let the reference compute or refuse them."""
    shape = logits.shape
    kind = target.dtype
    if (
        len(shape) < 2
        or shape[1] < 2
        or target.shape != (shape[:1] if len(shape) == 2 else shape[:1] + shape[2:])
        or logits.dtype not in DTYPES
        or (kind is not torch.int64 and (kind.is_floating_point or kind.is_complex or kind is torch.bool))
        or options.label_smoothing
        or logits.device.type == "meta"
        or logits.numel() == 0
        or is_transformed()
    ):
        return None
    if options.weight is not None and (options.weight.requires_grad or options.weight.shape != shape[1:2]):
        return None
    return plan.steps(shape[1])


def is_transformed() -> bool:
    """Return whether torch intercepts single operations: torch.func, forward-mode derivatives, tracers.

    Public functions for these checks cost more; torch's own functions use the same private ones.
    """
    return bool(
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or (not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack())
    )


class _Fused(torch.autograd.Function):
    """The value, with its gradient with respect to the logits computed in the forward pass.

    The first backward pass consumes the gradient. A second one through the same graph computes it again,
    and one with create_graph=True goes through the reference: both need the original logits, and torch raises
    an error if these have been changed in place.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, plan: Plan, options: TargetOptions) -> Tensor:
        steps = plan.steps(logits.shape[1])
        assert steps is not None
        value, ctx.gradient = value_and_gradient(steps, logits, target, options, gradient=True)
        ctx.save_for_backward(logits, target)
        ctx.plan, ctx.options, ctx.dtype = plan, options, logits.dtype
        return value

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor, None, None, None]:
        each = ctx.options.reduction == "none"
        if torch.is_grad_enabled():
            logits, target = ctx.saved_tensors
            value = evaluation.evaluate(ctx.plan.parts, logits, target, ctx.options)
            (gradient,) = torch.autograd.grad(value, logits, up, create_graph=True)
            return gradient, None, None, None
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            logits, target = ctx.saved_tensors
            gradient = value_and_gradient(
                ctx.plan.steps(logits.shape[1]), logits, target, ctx.options, gradient=True
            )[1]
        if each:
            gradient = _product(gradient, up.unsqueeze(1))
        elif not _is_one(up):
            gradient = _product(gradient, up)
        if gradient.dtype is not ctx.dtype:
            gradient = gradient.to(ctx.dtype)
        return gradient, None, None, None


class _Traced(torch.autograd.Function):
    """The same for torch.compile, which puts value and gradient into one graph; no second derivative."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, plan: Plan, options: TargetOptions) -> Tensor:
        steps = plan.steps(logits.shape[1])
        assert steps is not None
        value, gradient = value_and_gradient(steps, logits, target, options, gradient=True)
        ctx.save_for_backward(gradient)
        ctx.each, ctx.dtype = options.reduction == "none", logits.dtype
        return value

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * (up.unsqueeze(1) if ctx.each else up)).to(ctx.dtype), None, None, None


def _is_one(up: Tensor) -> bool:
    """Return whether a number on the CPU is 1; reading one on a GPU would synchronize, so that is False."""
    try:
        return up.device.type == "cpu" and up.item() == 1
    except RuntimeError:  # several at once, by vmap
        return False


def _product(gradient: Tensor, up: Tensor) -> Tensor:
    kernels = _kernels(gradient) if up.ndim == 0 else None
    if kernels is not None and kernels.multiply(gradient, up):
        return gradient
    try:
        return gradient.mul_(up)
    except RuntimeError:  # several at once, by vmap
        return gradient * up


def value_and_gradient(
    steps: _Steps,
    logits: Tensor,
    target: Tensor,
    options: TargetOptions,
    *,
    gradient: bool,
    into: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the reduced value and, if `gradient`, its gradient.

    The gradient is written to `into` if that is given, which may be the logits.
    """
    kernels = _kernels(logits)
    if kernels is not None:
        found: tuple[Tensor, Tensor | None] | None = kernels.run(
            steps, logits, target, options, gradient, into
        )
        if found is not None:
            return found
    if target.dtype is not torch.int64:
        target = target.long()
    if steps.native is not None and native.takes(logits, target, options.weight, into):
        return native.run(steps.native, logits, target, options, gradient, into)
    ignore = options.ignore_index
    if ignore is None:
        return _reduced(steps, logits, target, None, options, gradient, into)
    if logits.device.type != "cpu" or torch.compiler.is_compiling() or into is not None:
        valid = target != ignore  # computed first: logits that are overwritten cannot be tried again
    elif 0 <= ignore < logits.shape[1]:
        valid = target != ignore
        if bool(valid.all()):
            return _reduced(steps, logits, target, None, options, gradient, into)
    else:
        try:  # looking up an ignored label would fail
            return _reduced(steps, logits, target, None, options, gradient, into)
        except (RuntimeError, IndexError):
            valid = target != ignore
            if bool(valid.all()):
                raise
    return _reduced(steps, logits, torch.where(valid, target, 0), valid, options, gradient, into)


def _kernels(logits: Tensor) -> Any:
    """Return the module of the GPU kernels if it may support these logits, else None."""
    global _has_triton
    if logits.device.type not in KERNEL_DEVICES or logits.ndim != 2 or not _has_triton:
        return None
    try:
        from noisylabels.losses.kernels import gpu
    except ImportError:
        _has_triton = False
        return None
    return gpu


_has_triton = True


def _reduced(
    steps: _Steps,
    logits: Tensor,
    target: Tensor,
    valid: Tensor | None,
    options: TargetOptions,
    gradient: bool,
    into: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    mean = options.reduction == "mean"
    each: Tensor | None = None  # the weight of each value
    count: Any = target.numel()
    if options.weight is not None:
        kind = logits.dtype if logits.dtype is torch.float64 else torch.float32
        each = options.weight.to(kind).index_select(0, target.reshape(-1)).reshape(target.shape)
        each = each if valid is None else torch.where(valid, each, 0)
        count = each.sum()
    elif valid is not None:
        count = valid.sum()
    scale: Tensor | float
    if each is not None:
        scale = each / count if mean else each
        scale = (scale if valid is None else torch.where(valid, scale, 0)).unsqueeze(1)
    elif valid is not None:
        kind = logits.dtype if logits.dtype is torch.float64 else torch.float32
        scale = valid.to(kind)
        scale = torch.where(valid, scale / count, 0) if mean else scale
        scale = scale.unsqueeze(1)
    else:
        scale = 1.0 / count if mean else 1.0
    values, slopes = _blocks(steps, logits, target.unsqueeze(1), scale, gradient, into)
    values = values.squeeze(1)
    if valid is not None:
        values = torch.where(valid, values, 0)
    if each is not None:
        values = values * each
    if options.reduction == "none":
        return values, slopes
    if not mean:
        return values.sum(), slopes
    return (values.mean() if each is None and valid is None else values.sum() / count), slopes


def _blocks(
    steps: _Steps,
    logits: Tensor,
    label: Tensor,
    scale: Tensor | float,
    gradient: bool,
    into: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the values (N, 1, d1, ...) and their gradients times `scale`, block by block."""
    half = logits.dtype is torch.float16 or logits.dtype is torch.bfloat16
    # the gradients of float16 are rounded last: a gradient scaler multiplies them before
    kind = torch.float32 if logits.dtype is torch.float16 else logits.dtype
    size, rows = logits.numel(), len(logits)
    if size > SMALL_BLOCK and logits.device.type == "cpu" and not torch.compiler.is_compiling():
        limit = (SMALL_BLOCK if steps.shares else BLOCK) * torch.get_num_threads()
        rows = min(rows, max(1, limit * rows // size))
    if rows == len(logits) and into is None:
        values, found = _block(steps, logits.float() if half else logits, label, scale, None, None, gradient)
        return values, None if found is None else found.to(kind)
    whole = into
    if gradient and into is None:
        whole = torch.empty(logits.shape, dtype=kind, device=logits.device)
    room = None
    if steps.shares and steps.shares[-1][2] is None and not half and rows < len(logits):
        room = [torch.empty((rows, *logits.shape[1:]), dtype=kind) for _ in range(3)]
    collected = []
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        z = logits[part].float() if half else logits[part]
        here = None if whole is None else whole[part]
        values, found = _block(
            steps,
            z,
            label[part],
            scale[part] if isinstance(scale, Tensor) else scale,
            None if here is None or here.dtype is not z.dtype else here,
            room if room is None or len(z) == rows else [tensor[: len(z)] for tensor in room],
            gradient,
        )
        if here is not None and found is not None and here.dtype is not z.dtype:
            here.copy_(found)
        collected.append(values)
    return torch.cat(collected), whole


def _block(
    steps: _Steps,
    z: Tensor,
    y: Tensor,
    scale: Tensor | float,
    out: Tensor | None,
    room: list[Tensor] | None,
    gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the values (n, 1, ...) of a block and, in `out` if given, the gradients times `scale`."""
    classes = z.shape[1]
    d = torch.sub(z, z.amax(1, keepdim=True), out=out)
    d_y = d.gather(1, y)
    spread = d.sum(1, keepdim=True) if steps.nce else d_y
    e = torch.exp(d, out=None if room is None else room[0]) if steps.shares else d.exp_()
    s = e.sum(1, keepdim=True)
    log_s = s.log()
    x_y = log_s - d_y
    p_y = d_y.exp_().div_(s) if steps.wants_p else d_y
    value: Any = None
    rise: Any = None
    lift: Any = None
    unit, scales = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    for weight, costs in steps.at_label:
        cost, slope = costs(x_y, p_y)
        value = _plus(value, cost, weight)
        rise = _plus(rise, slope, weight * unit)
    if steps.nce:
        inverse = spread.sub_(log_s, alpha=classes).reciprocal_()  # -1/S
        share = x_y * inverse
        value = _plus(value, share, -steps.nce)
        rise = _plus(rise, inverse, -steps.nce * unit)
        lift = _plus(None, share.mul_(inverse), steps.nce * unit)
    sloped: Tensor | None = None  # Σ c phi'(x_k)
    if steps.shares:
        x = torch.sub(log_s, d, out=d)
        for weight, costs, kind in steps.shares:
            amounts, slope = _amounts(costs, kind, x, e, s, room)
            inverse = amounts.sum(1, keepdim=True).reciprocal_()
            share = amounts.gather(1, y).mul_(inverse)
            value = _plus(value, 1 - share if kind is NEGATIVE else share, weight)
            rise = _plus(rise, slope.gather(1, y).mul_(inverse), weight * unit)
            factor = _plus(None, share * inverse, weight * unit)
            if gradient:
                slope.mul_(factor if scales is None else factor * scales)
                sloped = slope if sloped is None else sloped.add_(slope)
    if not gradient:
        return value, None
    if scales is not None:
        rise = rise * scales
        lift = None if lift is None else lift * scales
    height = rise if lift is None else _plus(rise, lift, -classes)
    if sloped is None:
        found = e.mul_(height / s)
    else:
        height = (height - sloped.sum(1, keepdim=True)).div_(s)
        found = torch.addcmul(sloped, e, height, out=d)
    if lift is not None:
        found.add_(lift)
    fall = -rise if isinstance(rise, Tensor) else torch.full_like(s, -rise)
    return value, found.scatter_add_(1, y, fall)


def _amounts(
    costs: Callable[..., Any],
    kind: Form | None,
    x: Tensor,
    e: Tensor,
    s: Tensor,
    room: list[Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Return the amounts to sum over the labels, and their slopes, which the caller may overwrite."""
    if kind is NEGATIVE:
        return _gains(costs, x)
    amounts, slope = costs(x, e / s) if kind else costs(x, e, s, room if room is None else room[1:])
    if not isinstance(slope, Tensor) or slope is x or slope is amounts:  # possible for user-defined functions
        slope = torch.zeros_like(x) + slope
    return amounts, slope


def _gains(costs: _Costs, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative form's amounts, phi at p_min minus phi, and their slopes."""
    floor, wide = -math.log(P_MIN), wider(x)
    low = torch.full((), floor, dtype=wide, device=x.device)
    bound, _ = costs(low, (-low).exp())
    near = x.clamp_max(floor).to(wide)
    amounts, slopes = costs(near, (-near).exp())
    return (bound - amounts).to(x.dtype), (x <= floor).to(wide).mul_(slopes).to(x.dtype)


def _plus(total: Tensor | float | None, x: Tensor | float, weight: float) -> Any:
    """Return ``total + weight * x``; None stands for 0. Numbers stay numbers, because tensors cost time."""
    if total is None:
        return x if weight == 1 else x * weight
    if isinstance(x, Tensor) and isinstance(total, Tensor):
        return torch.add(total, x, alpha=weight) if weight != 1 else total + x
    return total + x * weight
