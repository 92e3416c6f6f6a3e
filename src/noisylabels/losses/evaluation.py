"""The reference computation of a reduced loss from logits and target, for every loss and target.

Modules and functions call `kernels.evaluate`, which calls this one for what the fast path does not support.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.losses.forms import Form, Hard, Label, Soft

REDUCTIONS = ("mean", "sum", "none")

IGNORE = -100
"""The target that ``nn.CrossEntropyLoss`` ignores by default."""


class Sloped(NamedTuple):
    """A form of a per-label function whose slope is known, for the fast path (`fused.py`)."""

    form: Form
    row: Any  # a `catalog.PerLabel`, which this file cannot import
    parameters: Mapping[str, float]


class Part(NamedTuple):
    """A term with all parameters bound: its values are ``weight * read(l, label)``.

    Parts with equal `logit_maps` share one softmax; a part `of_logits` reads the logits themselves.
    """

    weight: float
    read: Callable[[Tensor, Label], Tensor]
    logit_maps: tuple[Callable[[Tensor], Tensor], ...] = ()
    label_maps: tuple[Callable[[Tensor], Tensor], ...] = ()
    compares_views: bool = False
    of_logits: bool = False
    sloped: Sloped | None = None


class TargetOptions(NamedTuple):
    """Class weights, reduction, ignore_index and label_smoothing, as in ``nn.CrossEntropyLoss``."""

    weight: Tensor | None
    reduction: str
    ignore_index: int | None
    label_smoothing: float


def evaluate(
    parts: Sequence[Part], logits: Tensor | Sequence[Tensor], target: Tensor, options: TargetOptions
) -> Tensor:
    """Return the reduced weighted sum of the parts."""
    views = check_tensors(logits, target)
    check_shapes(views, target, options)
    if single := views[0].ndim == 1:
        views, target = [view.unsqueeze(0) for view in views], target.unsqueeze(0)
    # Half precision is computed and returned in float32: a sum over K log-probabilities, or 1 - p near 1, has
    # no meaning in 8 or 11 bits.
    views = [view.float() if view.dtype in (torch.float16, torch.bfloat16) else view for view in views]
    try:
        result = _reduced(parts, views, target, options)
    except (RuntimeError, IndexError):
        # Only after a failure: reading the values of a target synchronizes with a GPU.
        check_labels(target, views[0].shape[1], options.ignore_index)
        raise
    return result.squeeze(0) if single and options.reduction == "none" else result


def _reduced(parts: Sequence[Part], views: list[Tensor], target: Tensor, options: TargetOptions) -> Tensor:
    weight = None if options.weight is None else options.weight.to(views[0].dtype)
    valid = None
    label: Label
    if target.is_floating_point():
        label = Soft(target.to(views[0].dtype))
        count: Tensor | int = target.numel() // target.shape[1]
    else:
        target = target.long()
        if options.ignore_index is not None:
            valid = target != options.ignore_index
            target = torch.where(valid, target, 0)
        label = Hard(target)
        count = target.numel() if valid is None else valid.sum()
    values = _values(parts, views, label, valid, weight, options.label_smoothing)
    if valid is not None:
        values = torch.where(valid, values, 0)
    if options.reduction != "mean":
        return values.sum() if options.reduction == "sum" else values
    if weight is not None and not label.soft:
        weights = weight[target]
        return values.sum() / (weights if valid is None else torch.where(valid, weights, 0)).sum()
    return values.sum() / count


def divisor(target: Tensor, options: TargetOptions, kind: torch.dtype) -> Tensor | int:
    """Return the divisor of a mean over these integer labels; class weights count as type `kind`."""
    valid = None if options.ignore_index is None else target != options.ignore_index
    if options.weight is None:
        return target.numel() if valid is None else valid.sum()
    labels = target.long() if valid is None else torch.where(valid, target.long(), 0)
    each = options.weight.to(kind)[labels]
    return (each if valid is None else torch.where(valid, each, 0)).sum()


def _values(
    parts: Sequence[Part],
    views: list[Tensor],
    label: Label,
    valid: Tensor | None,
    weight: Tensor | None,
    smoothing: float,
) -> Tensor:
    """Return the weighted sum of the parts per example (and position), class weights applied."""
    logs: list[tuple[tuple[Any, bool], list[Tensor]]] = []
    total: Tensor | None = None
    for part in parts:
        key = (part.logit_maps, part.of_logits)
        l = next((known for made, known in logs if made == key), None)
        if l is None:
            mapped = views
            for change in part.logit_maps:
                mapped = [change(view) for view in mapped]
            l = mapped if part.of_logits else [torch.log_softmax(view, 1) for view in mapped]
            logs.append((key, l))
        at: Label = label
        if label.soft or part.label_maps or smoothing:
            q = _weights(label, views[0])
            q = (1 - smoothing) * q + smoothing / q.shape[1] if smoothing else q
            for change in part.label_maps:
                q = change(q if valid is None else torch.where(valid.unsqueeze(1), q, 0))
            at = Soft(q if weight is None else q * weight.view(1, -1, *[1] * (q.ndim - 2)))
        if part.compares_views:
            values = part.read(torch.stack(l), at)
        else:
            each = [part.read(view, at) for view in l]
            values = each[0] if len(each) == 1 else torch.stack(each).mean(0)
        values = part.weight * values
        if weight is not None and isinstance(at, Hard):
            values = values * weight[at.target]
        total = values if total is None else total + values
    assert total is not None
    return total


def _weights(label: Label, like: Tensor) -> Tensor:
    """Return the weight of each class, (N, K, d1, ...)."""
    if isinstance(label, Soft):
        return label.weights
    return torch.zeros_like(like).scatter(1, label.target.unsqueeze(1), 1.0)


def check_tensors(logits: Tensor | Sequence[Tensor], target: Tensor) -> list[Tensor]:
    """Return the list of views if logits and target are tensors, else raise an `InputError`."""
    if not isinstance(target, Tensor):
        raise InputError(f"target is of type {_kind(target)}, expected a tensor; use torch.as_tensor(...)")
    if isinstance(logits, Tensor):
        return [logits]
    if not isinstance(logits, (list, tuple)):
        raise InputError(
            f"logits are of type {_kind(logits)}, expected a tensor, or a tuple with one per view; "
            "use torch.as_tensor(...)"
        )
    if not logits:
        raise InputError("logits are an empty list, expected (N, K, ...) or a tuple of views of that shape")
    for number, view in enumerate(logits):
        if not isinstance(view, Tensor):
            raise InputError(
                f"view {number} of the logits is of type {_kind(view)}, expected a tensor; for a list of "
                "numbers use torch.tensor(...)"
            )
    return list(logits)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")


def check_weight(weight: Any, *, wait: bool) -> Tensor | None:
    """Return class weights as a floating-point tensor if they are (K,) finite numbers of 0 or more, or None.

    Without `wait`, values on a GPU are not checked, because reading them would synchronize.
    """
    if weight is None:
        return None
    found: Tensor = weight
    if not isinstance(weight, Tensor):
        try:
            found = torch.as_tensor(weight)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(
                f"class weights are {weight!r}, expected (K,) finite numbers of 0 or more in a tensor"
            ) from None
    if found.is_complex():
        raise InputError(f"class weights are of type {found.dtype}, expected real numbers of 0 or more")
    found = found if found.is_floating_point() else found.float()
    looks = wait or (found.device.type == "cpu" and not torch.compiler.is_compiling())
    if found.ndim != 1 or (looks and not bool((torch.isfinite(found) & (found >= 0)).all())):
        raise InputError(
            f"class weights are {found.tolist()}, expected (K,) finite numbers of 0 or more in a tensor"
        )
    return found


def check_ignore_index(ignore_index: int | None) -> int | None:
    """Return `ignore_index` if it is a 64-bit integer or None, else raise an `InputError`."""
    if ignore_index is None:
        return None
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
        raise InputError(f"ignore_index is {ignore_index!r}, expected an integer, or None for none")
    if not -(2**63) <= ignore_index < 2**63:  # labels have 64 bits; beyond, it would stand for another label
        raise InputError(
            f"ignore_index has {ignore_index.bit_length()} bits, expected an integer from -2^63 to 2^63 - 1, "
            "as labels are, or None for none"
        )
    return ignore_index


def check_shapes(views: Sequence[Tensor], target: Tensor, options: TargetOptions) -> None:
    """Check shapes and types, never values: reading these would synchronize with the device."""
    logits = views[0]
    classes = min(logits.ndim, 2) - 1
    if not logits.is_floating_point() or logits.ndim < 1 or logits.shape[classes] < 2:
        raise InputError(
            f"logits are {logits.dtype} of shape {tuple(logits.shape)}, "
            "expected floating-point (N, K, ...) with K of 2 or more"
        )
    for view in views[1:]:
        if view.shape != logits.shape or view.dtype != logits.dtype:
            raise InputError(
                f"the views are {logits.dtype} of shape {tuple(logits.shape)} and {view.dtype} of shape "
                f"{tuple(view.shape)}, expected the same type and shape"
            )
    soft = target.is_floating_point()
    shape = tuple(logits.shape)
    wanted = shape if soft else (*shape[:classes], *shape[classes + 1 :])
    if target.shape != wanted or target.dtype == torch.bool:
        raise InputError(
            f"target is {target.dtype} of shape {tuple(target.shape)}, expected integer labels of shape "
            f"{(*shape[:classes], *shape[classes + 1 :])} or class probabilities of shape {shape} for logits "
            f"of shape {shape}"
        )
    if soft and options.ignore_index not in (None, IGNORE):
        raise InputError(
            f"ignore_index is {options.ignore_index}, but the target is class probabilities, which name no "
            "class to ignore; leave out ignore_index and those examples"
        )
    if options.weight is not None and options.weight.numel() != shape[classes]:
        raise InputError(
            f"there are {options.weight.numel()} class weights for {shape[classes]} classes, expected one "
            "per class"
        )


def check_labels(target: Tensor, num_classes: int, ignore_index: int | None) -> None:
    """Raise an `InputError` that names the first label outside [0, num_classes) that is not ignored."""
    if target.is_floating_point():
        return
    outside = (target < 0) | (target >= num_classes)
    if ignore_index is not None:
        outside &= target != ignore_index
    found = outside.flatten().nonzero()
    if len(found):
        at = int(found[0])
        raise InputError(
            f"target[{at}] is {int(target.flatten()[at])}, expected a label in [0, {num_classes - 1}]"
            + ("" if ignore_index is None else f" or {ignore_index}, which is ignored")
        )
