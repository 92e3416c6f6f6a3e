"""The value of a sum whose weights vary during training, for every loss and target.

The terms with a fixed weight make one plan, and each other term makes its own. The current weights are a
tensor on the device of the loss, so that a CUDA graph or a compiled step reads their present values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.losses import evaluation
from noisylabels.losses.evaluation import TargetOptions
from noisylabels.losses.kernels import DTYPES, Plan, evaluate, is_transformed, value_and_gradient
from noisylabels.losses.terms import Term
from noisylabels.losses.varying import AUTO

LOW, HIGH = 1e-3, 1e3
"""The limits of a weight that balances gradients: one of the two norms may vanish."""

AGREEMENT_DECAY = 0.99
"""Of the moving average of the agreement that a run records."""


class VaryingSum(NamedTuple):
    """The plans of a sum with varying weights.

    Args:
        fixed: the terms with a fixed weight; None without any.
        terms: the terms with a varying weight.
        plans: one per such term, with its factor but without its varying weight.
    """

    fixed: Plan | None
    terms: tuple[Term, ...]
    plans: tuple[Plan, ...]

    @property
    def rule(self) -> int | None:
        """The place among the varying terms of the one whose weight a rule sets; None without a rule."""
        return next((place for place, term in enumerate(self.terms) if _rule(term)), None)

    @property
    def first(self) -> list[float]:
        """The weight of each varying term before training: of a schedule the start, of a rule 1."""
        return [1.0 if term.varying is None or _rule(term) else term.varying.at(0.0) for term in self.terms]

    def check(self, label_smoothing: float) -> None:
        """Raise an `InputError` for the rule agreement and a label that is smoothed or changed otherwise."""
        for term in self.terms:
            if _rule(term) != "agreement":
                continue
            if label_smoothing:
                raise InputError(
                    f"label_smoothing is {label_smoothing:g}, and the rule agreement weighs the cost of the "
                    "given label; leave one of them out"
                )
            if term.part.label_maps:
                raise InputError(
                    f"{str(term.bare)!r} has costs of other labels than the given one, whose cost the rule "
                    "agreement weighs; use a loss of the given label, or another rule"
                )

    def check_ready(self, has_progress: bool) -> None:
        """Raise an `InputError` if a weight has not been set."""
        for term in self.terms:
            assert term.varying is not None
            if term.varying.row.prior:
                raise InputError(
                    f"the weight {term.varying} of {str(term.bare)!r} is not set: a run of nl.run, or "
                    "`noisylabels train`, sets it from its noisy data; elsewhere give a number, as with "
                    "loss.with_auto(0.5)"
                )
            if not term.varying.rule and not has_progress:
                raise InputError(
                    f"the weight of {str(term.bare)!r} follows the schedule {term.varying}, and the progress "
                    "of training is unknown; call loss.set_progress(done / total) before each step"
                )


def varying_sum(terms: Sequence[Term]) -> VaryingSum | None:
    """Return the plans of these terms, or None if all weights are fixed.

    Raises:
        InputError: more than one rule, or one without a term that it can be compared with.
    """
    changing = tuple(term for term in terms if term.varying is not None)
    if not changing:
        return None
    fixed = [term for term in terms if term.varying is None]
    ruled = [term for term in changing if _rule(term)]
    said = "+".join(map(str, terms))
    if len(ruled) > 1:
        raise InputError(f"the loss {said!r} has {len(ruled)} weights {AUTO}, expected at most one")
    if ruled and len(terms) == 1:
        raise InputError(
            f"the loss {said!r} has nothing to weigh {ruled[0].bare} against, expected a sum, such as "
            f"nce+{AUTO}*mae"
        )
    if ruled and _rule(ruled[0]) != "agreement" and len(changing) > 1:
        raise InputError(
            f"the loss {said!r} has a rule and a schedule, expected fixed weights beside {ruled[0].varying}"
        )
    return VaryingSum(
        Plan([term.part for term in fixed]) if fixed else None,
        changing,
        tuple(Plan([term.part]) for term in changing),
    )


def _rule(term: Term) -> str:
    return "" if term.varying is None else term.varying.rule


def evaluate_varying(
    whole: VaryingSum,
    weights: Tensor,
    norms: Tensor,
    logits: Tensor | Sequence[Tensor],
    target: Tensor,
    options: TargetOptions,
    learns: bool,
) -> Tensor:
    """Return the reduced sum, and, if `learns`, update what its rule has learned.

    Args:
        whole: the sum.
        weights: (V,), the present weight of each varying term.
        norms: (2,), moving averages of the gradient norm of the part with the rule, and of the rest; for the
            rule agreement, the share of the batches in the moving average of its record, and nothing.
        logits, target, options: as for `evaluation.evaluate`.
        learns: whether this is a batch of training.
    """
    views = evaluation.check_tensors(logits, target)
    evaluation.check_shapes(views, target, options)
    place = whole.rule if learns and not is_transformed() else None
    try:
        if place is not None and _rule(whole.terms[place]) == "gradient":
            _balance(whole, place, weights[place], norms, views, target, options)
        parts = [] if whole.fixed is None else [evaluate(whole.fixed, logits, target, options)]
        present = weights.clone().unbind()  # the backward pass needs them when a later call has changed them
        for term, plan, weight in zip(whole.terms, whole.plans, present, strict=True):
            if _rule(term) == "agreement":
                learned = None if place is None else (weights[place], norms[0])
                parts.append(_agreeing(plan, term, views, target, options, learned))
            else:
                part = evaluate(plan, logits, target, options)
                parts.append(part * weight.to(part.dtype))
    except (RuntimeError, IndexError):
        # only after a failure: reading the values of a target synchronizes with a GPU
        evaluation.check_labels(target, views[0].shape[min(views[0].ndim, 2) - 1], options.ignore_index)
        raise
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _balance(
    whole: VaryingSum,
    place: int,
    weight: Tensor,
    norms: Tensor,
    views: Sequence[Tensor],
    target: Tensor,
    options: TargetOptions,
) -> None:
    """Set the weight in place to the ratio of the moving averages of the gradient norms."""
    varying = whole.terms[place].varying
    assert whole.fixed is not None
    assert varying is not None
    found = torch.stack([_norm(plan, views, target, options) for plan in (whole.plans[place], whole.fixed)])
    _follow(norms, found.to(norms.dtype), varying.parameters["decay"], found.sum() > 0)
    ratio = norms[1] / norms[0].clamp_min(torch.finfo(norms.dtype).tiny)
    weight.copy_(torch.where(norms.sum() > 0, (varying.parameters["ratio"] * ratio).clamp(LOW, HIGH), weight))


def _follow(average: Tensor, found: Tensor, decay: float, counts: Tensor | bool = True) -> None:
    """Update a moving average in place, unless a batch has no label that counts or is not finite."""
    known = found.isfinite().all() & counts
    average.copy_(torch.where(known, average.lerp(found, 1 - decay), average))


def _record(average: Tensor, share: Tensor, found: Tensor) -> None:
    """Update a moving average in place that begins with the first batch, unless a batch has no finite value.

    `share` is 1 - decay^n after n batches: the weights of their values in an average that began at 0.
    """
    known = found.isfinite()
    grown = share + (1 - AGREEMENT_DECAY) * (1 - share)
    average.copy_(torch.where(known, average.lerp(found, (1 - AGREEMENT_DECAY) / grown), average))
    share.copy_(torch.where(known, grown, share))


def _norm(plan: Plan, views: Sequence[Tensor], target: Tensor, options: TargetOptions) -> Tensor:
    """Return the mean over examples of the norm of the gradient at the logits, ()."""
    z, axis = views[0].detach(), min(views[0].ndim, 2) - 1
    each = options._replace(reduction="sum")
    plain = len(views) == 1 and axis == 1 and z.numel() > 0 and z.dtype in DTYPES
    steps = plan.steps(z.shape[1]) if plain and plan.fast else None
    if steps is not None and not target.is_floating_point() and not options.label_smoothing:
        gradients = [value_and_gradient(steps, z, target, each, gradient=True)[1]]
    else:
        by_autograd = _by_autograd
        if torch.compiler.is_compiling():  # as a decorator it would import the compiler, for a second
            by_autograd = torch.compiler.disable(_by_autograd)
        gradients = by_autograd(plan, views, target, each)
    norms = [found.float().norm(dim=axis).mean() for found in gradients if found is not None]
    return torch.stack(norms).mean()


def _by_autograd(
    plan: Plan, views: Sequence[Tensor], target: Tensor, options: TargetOptions
) -> list[Tensor | None]:
    own = [view.detach().requires_grad_() for view in views]
    with torch.enable_grad():
        total = evaluate(plan, own[0] if len(own) == 1 else own, target, options)
    return list(torch.autograd.grad(total, own))


def _agreeing(
    plan: Plan,
    term: Term,
    views: Sequence[Tensor],
    target: Tensor,
    options: TargetOptions,
    learned: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Return the reduced value of a part whose costs are weighed by the model's agreement with each label.

    `learned` follows the mean agreement of the labels, for the record, see `_record`.
    """
    assert term.varying is not None
    if single := views[0].ndim == 1:
        views, target = [view.unsqueeze(0) for view in views], target.unsqueeze(0)
    each = agreement(views, term.varying.parameters["power"])
    logits = views[0] if len(views) == 1 else views
    # such a loss is linear in its label, see `VaryingSum.check`, so that each label's cost has a weight
    if target.is_floating_point():
        at = (target * each).sum(1)
        found = evaluate(plan, logits, target * each.to(target.dtype), options)
        count: Tensor | int = at.numel()
    else:
        found = evaluate(plan, logits, target, options._replace(reduction="none"))
        inside = target.long().clamp(0, each.shape[1] - 1)
        at = each.gather(1, inside.unsqueeze(1)).squeeze(1)
        if options.ignore_index is not None:
            at = torch.where(target != options.ignore_index, at, 0)
        found = found * at.to(found.dtype)
        count = evaluation.divisor(target, options._replace(weight=None), at.dtype)
        if options.reduction != "none":
            found = found.sum()
        if options.reduction == "mean":
            found = found / evaluation.divisor(target, options, found.dtype)
    if learned is not None:
        _record(*learned, (at.sum() / count).to(learned[0].dtype))
    return found.squeeze(0) if single and options.reduction == "none" else found


def agreement(views: Sequence[Tensor], power: float = 1.0) -> Tensor:
    """Return ``(p_k / max p)^power`` for each class, (N, K, d1, ...), without a gradient.

    Args:
        views: logits (N, K, d1, ...), one per view; p is the mean over them.
        power: above 0.
    """
    wide = [view.detach().float() if view.dtype.itemsize == 2 else view.detach() for view in views]
    p = torch.stack([torch.softmax(view, 1) for view in wide]).mean(0)
    return (p / p.amax(1, keepdim=True)) ** power
