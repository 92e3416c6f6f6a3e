"""A linear layer and its loss in one, for very many classes: it never holds all N x K logits at once.

The forward pass works on blocks of rows: one matrix product writes logits to a buffer, the loss's gradient
overwrites them (`kernels.value_and_gradient`), and one product each turns that into the gradients of features
and weight. The backward pass multiplies these by the upstream gradient. So the memory beyond what any linear
layer needs (the gradients of its weight and input) is one block, bounded by `block_rows`.

Losses that the fast path does not support use the reference in the same blocks, which are recomputed in the
backward pass (``torch.utils.checkpoint``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from noisylabels.core.checks import InputError, check_whole
from noisylabels.losses import evaluation, kernels
from noisylabels.losses.evaluation import TargetOptions
from noisylabels.losses.expression import loss as read
from noisylabels.losses.modules import Loss

BLOCK_BYTES = 2**25
"""Size of a block of logits; half the size of the weight if that is larger."""

SLICE = 2**18
"""Elements of the weight's gradient per step when a half-precision product is added to float32."""


def linear_loss(
    loss: Loss | str, features: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return ``loss(features @ weight.T + bias, target)`` without ever holding all of the logits.

    For very many classes: tokens, products, faces. Beyond the arguments and their gradients it needs memory
    for one block of logits: 32 MiB, or half the size of `weight` if that is larger.

    Args:
        loss: a `Loss`, with its reduction, class weights and other options, or an expression.
        features: (..., D) floating point.
        weight: (K, D) of the linear layer, K of 2 or more, of the features' type; under autocast both are
            cast to its type.
        target: (...) integer labels in [0, K), or (..., K) class probabilities.
        bias: (K,) or None.

    Returns:
        A scalar, or (...) for reduction "none"; float32 for float16 and bfloat16.

    Raises:
        InputError: a shape, type or (on the CPU) label that does not fit; a loss that needs two views, the
            whole batch, or weights that vary during training (see `Loss.at`).

    The forward pass computes the gradients of features, weight and bias as far as they require one; the
    backward pass computes them for "none", and again when it runs a second time. Gradients of weight and bias
    are summed in float32 (float64 for float64). Second derivatives and torch.func's transforms hold all
    logits.

    >>> import torch, noisylabels as nl
    >>> features, head = torch.randn(8, 16), torch.nn.Linear(16, 50_000)
    >>> nl.losses.linear_loss("nce+mae", features, head.weight, torch.arange(8), head.bias).backward()
    >>> head.weight.grad.shape
    torch.Size([50000, 16])
    """
    made = read(loss) if isinstance(loss, str) else loss
    if not isinstance(made, Loss):
        raise InputError(f"loss is {loss!r}, expected a Loss or an expression such as 'nce+mae'")
    if made.needs:
        raise InputError(
            f"{made.expression!r} needs {' and '.join(made.needs)}, which blocks of rows do not have; "
            "call it with logits: loss(linear(features), target)"
        )
    _check(features, weight, target, bias, made)
    if torch.is_autocast_enabled(features.device.type):
        half = torch.get_autocast_dtype(features.device.type)
        features = features.to(half) if features.dtype is not torch.float64 else features
    elif features.dtype is not weight.dtype:
        raise InputError(
            f"features are {features.dtype} and the weight is {weight.dtype}, expected the same; cast one of "
            "them, or use torch.autocast"
        )
    options = TargetOptions(made.weight, made.reduction, made.ignore_index, made.label_smoothing)
    flat = target.flatten(0, features.ndim - 2) if features.ndim > 2 else target
    value = _evaluate(made._plan, features.reshape(-1, features.shape[-1]), weight, bias, flat, options)
    return value.reshape(features.shape[:-1]) if options.reduction == "none" else value


class LinearLoss(nn.Module):
    """A linear layer and its loss in one module, for very many classes: see `linear_loss`.

    Args:
        loss: a `Loss`, or an expression such as "nce+mae".
        in_features: D, the size of a feature vector.
        num_classes: K of 2 or more.
        bias: True for a layer with a bias.
        device, dtype: of the layer's parameters, as in ``nn.Linear``.

    The attribute `linear` is the layer, an ``nn.Linear``, and `loss` is the loss.

    >>> import torch, noisylabels as nl
    >>> head = nl.LinearLoss("nce+mae", in_features=16, num_classes=50_000)
    >>> features, target = torch.randn(8, 16), torch.arange(8)
    >>> head(features, target).backward()
    >>> head.logits(features).argmax(-1).shape
    torch.Size([8])
    """

    def __init__(
        self,
        loss: Loss | str,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_whole(in_features, "in_features", 1)
        check_whole(num_classes, "num_classes", 2)
        self.loss = read(loss) if isinstance(loss, str) else loss
        self.linear = nn.Linear(in_features, num_classes, bias, device=device, dtype=dtype)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the loss of `features` (..., D) at `target` (...), with the loss's reduction."""
        return linear_loss(self.loss, features, self.linear.weight, target, self.linear.bias)

    def logits(self, features: Tensor) -> Tensor:
        """Return all logits (..., K) of `features` (..., D), for prediction."""
        logits: Tensor = self.linear(features)
        return logits


def block_rows(weight: Tensor, itemsize: int) -> int:
    """Return how many rows of logits make one block for a weight (K, D): at least one.

    A product of few rows is bound by reading the weight; half the weight's size is little beside its
    gradient.
    """
    classes, size = weight.shape
    return max(1, max(BLOCK_BYTES, itemsize * classes * size // 2) // (itemsize * classes))


def _check(features: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None, loss: Loss) -> None:
    """Check shapes and types, never values."""
    given = {"features": features, "weight": weight, "target": target, "bias": bias}
    for name, one in given.items():
        if not isinstance(one, Tensor) and not (name == "bias" and one is None):
            raise InputError(f"{name} is of type {type(one).__name__}, expected a tensor")
    if not features.is_floating_point() or features.ndim < 2:
        raise InputError(
            f"features are {features.dtype} of shape {tuple(features.shape)}, expected floating-point "
            "(..., D)"
        )
    size = features.shape[-1]
    if not weight.is_floating_point() or weight.ndim != 2 or weight.shape[1] != size or len(weight) < 2:
        raise InputError(
            f"the weight is {weight.dtype} of shape {tuple(weight.shape)}, expected floating-point "
            f"(K, {size}) with K of 2 or more for features of shape {tuple(features.shape)}"
        )
    classes = len(weight)
    if bias is not None and (bias.shape != (classes,) or not bias.is_floating_point()):
        raise InputError(
            f"the bias is {bias.dtype} of shape {tuple(bias.shape)}, expected floating-point ({classes},)"
        )
    shape = tuple(features.shape[:-1])
    if target.shape != ((*shape, classes) if target.is_floating_point() else shape):
        raise InputError(
            f"target is {target.dtype} of shape {tuple(target.shape)}, expected integer labels of shape "
            f"{shape} or class probabilities of shape {(*shape, classes)}"
        )
    if loss.weight is not None and loss.weight.numel() != classes:
        raise InputError(
            f"there are {loss.weight.numel()} class weights for {classes} classes, expected one per class"
        )


def _evaluate(
    plan: kernels.Plan, x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, options: TargetOptions
) -> Tensor:
    """Return the reduced loss of features (N, D)."""
    fast = (
        plan.fast
        and len(x) > 0
        and not target.is_floating_point()
        and not options.label_smoothing
        and x.dtype in kernels.DTYPES
        and (options.weight is None or not options.weight.requires_grad)
    )
    if kernels.is_transformed() or torch.compiler.is_compiling():
        return kernels.evaluate(plan, _logits(x, weight, bias), target, options)
    try:
        if not fast:
            return _reference(plan, x, weight, bias, target, options)
        wants = tuple(
            torch.is_grad_enabled() and one is not None and one.requires_grad for one in (x, weight, bias)
        )
        if any(wants):
            value: Tensor = _Linear.apply(x, weight, bias, target, plan, options, wants)  # type: ignore[no-untyped-call]
            return value
        return _pass(plan, x, weight, bias, target, options, wants).value
    except (RuntimeError, IndexError):
        evaluation.check_labels(target, len(weight), options.ignore_index)
        raise


class _Found(NamedTuple):
    """The result of a pass over all blocks; its gradients are not yet divided by `divisor`."""

    value: Tensor
    features: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    divisor: Tensor | int
    """The divisor of a mean; 1 for other reductions."""


class _Linear(torch.autograd.Function):
    """The value, with its gradients computed in the forward pass, as in `kernels.fused._Fused`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        plan: kernels.Plan,
        options: TargetOptions,
        wants: tuple[bool, ...],
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, target)
        ctx.plan, ctx.options, ctx.wants = plan, options, wants
        if options.reduction == "none":  # the upstream gradient enters the sum over the rows
            ctx.found = None
            return _pass(plan, x, weight, bias, target, options, (False, False, False)).value
        ctx.found = _pass(plan, x, weight, bias, target, options, wants)
        value: Tensor = ctx.found.value
        return value

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, target = ctx.saved_tensors
        given = (x, weight, bias)
        if torch.is_grad_enabled():
            value = evaluation.evaluate(ctx.plan.parts, _logits(x, weight, bias), target, ctx.options)
            wanted = [one for one, wants in zip(given, ctx.wants, strict=True) if wants]
            derived = iter(torch.autograd.grad(value, wanted, up, create_graph=True))
            return *(next(derived) if wants else None for wants in ctx.wants), None, None, None, None
        each = ctx.options.reduction == "none"
        found, ctx.found = ctx.found, None
        if found is None:
            found = _pass(ctx.plan, x, weight, bias, target, ctx.options, ctx.wants, up if each else None)
        factor: Tensor | None = None
        if not each:
            count = torch.as_tensor(found.divisor, device=up.device, dtype=up.dtype)
            factor = torch.where(count > 0, up / count, 0)  # 0 if all labels are ignored
        gradients = (found.features, found.weight, found.bias)
        return (
            *(
                None if one is None else (one if factor is None else one.mul_(factor)).to(of.dtype)
                for one, of in zip(gradients, given, strict=True)
            ),
            None,
            None,
            None,
            None,
        )


def _logits(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the logits in the type of the features, which under autocast is not that of the weights."""
    return functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def _pass(
    plan: kernels.Plan,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    options: TargetOptions,
    wants: tuple[bool, ...],
    up: Tensor | None = None,
) -> _Found:
    """Compute all blocks once; rows of gradients are multiplied by `up` (N,) if given."""
    classes, kind = len(weight), x.dtype
    steps = plan.steps(classes)
    assert steps is not None
    wide = torch.float64 if kind is torch.float64 else torch.float32
    rows = min(len(x), block_rows(weight, kind.itemsize))
    block_options = options if options.reduction == "none" else options._replace(reduction="sum")
    wants_x, wants_weight, wants_bias = wants
    wants_any = any(wants)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        w, x = weight.detach().to(kind), x.detach()
        b = None if bias is None else bias.detach().to(kind)
        room = x.new_empty(rows, classes)
        grad_x = torch.empty_like(x) if wants_x else None
        grad_w = torch.empty(w.shape, dtype=wide, device=w.device) if wants_weight else None
        grad_b = torch.zeros(classes, dtype=wide, device=x.device) if wants_bias else None
        values = []
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            features = x[part]
            logits = room[: len(features)]
            if b is None:
                torch.mm(features, w.t(), out=logits)
            else:
                torch.addmm(b, features, w.t(), out=logits)
            value, slopes = kernels.value_and_gradient(
                steps,
                logits,
                target[part],
                block_options,
                gradient=wants_any,
                into=logits if wants_any else None,
            )
            values.append(value)
            if slopes is None:
                continue
            if up is not None:
                slopes.mul_(up[part].unsqueeze(1))
            if grad_b is not None:
                grad_b += slopes.sum(0, dtype=wide)
            if grad_x is not None:
                torch.mm(slopes, w, out=grad_x[part])
            if grad_w is not None:
                _add_product(grad_w, slopes, features, first=start == 0)
        if options.reduction == "none":
            return _Found(torch.cat(values), grad_x, grad_w, grad_b, 1)
        total = torch.stack(values).sum()
        if options.reduction == "sum":
            return _Found(total, grad_x, grad_w, grad_b, 1)
        count = evaluation.divisor(target, options, total.dtype)
        return _Found(total / count, grad_x, grad_w, grad_b, count)


def _add_product(total: Tensor, slopes: Tensor, features: Tensor, *, first: bool) -> None:
    """Add ``slopes.T @ features`` to the float32 `total`, or overwrite it if `first`."""
    if slopes.dtype is total.dtype:
        total.addmm_(slopes.t(), features, beta=0 if first else 1)
        return
    step = max(1, SLICE // total.shape[1]) if total.device.type == "cpu" else len(total)
    for start in range(0, len(total), step):
        product = torch.mm(slopes[:, start : start + step].t(), features)
        here = total[start : start + step]
        if first:
            here.copy_(product)
        else:
            here.add_(product.float())  # adding another type directly is several times slower on the CPU


def _reference(
    plan: kernels.Plan, x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, options: TargetOptions
) -> Tensor:
    """Return the same by the reference, block by block; the backward pass recomputes each block."""
    rows = block_rows(weight, max(4, x.dtype.itemsize))
    each = options._replace(reduction="none")
    kind = x.dtype
    if kind.itemsize == 2:  # so that autograd sums the gradients of the blocks in float32
        weight, bias = weight.float(), None if bias is None else bias.float()

    def block(features: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor) -> Tensor:
        return evaluation.evaluate(plan.parts, _logits(features, weight, bias), target, each)

    values = []
    for start in range(0, max(1, len(x)), rows):
        part = slice(start, start + rows)
        given = (x[part], weight, bias, target[part])
        if torch.is_grad_enabled():
            values.append(checkpoint(block, *given, use_reentrant=False, preserve_rng_state=False))
        else:
            values.append(block(*given))
    found = torch.cat(values)
    if options.reduction != "mean":
        return found.sum() if options.reduction == "sum" else found
    if target.is_floating_point():
        return found.sum() / len(x)
    return found.sum() / evaluation.divisor(target, options, found.dtype)
