"""`Loss`: a weighted sum of forms of per-label functions, as an ``nn.Module`` with arithmetic."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError, check_between, check_choice, check_whole
from noisylabels.core.literals import written as number
from noisylabels.losses import properties
from noisylabels.losses.evaluation import (
    IGNORE,
    REDUCTIONS,
    TargetOptions,
    check_ignore_index,
    check_weight,
)
from noisylabels.losses.forms import SELECT
from noisylabels.losses.kernels import Plan, evaluate
from noisylabels.losses.terms import Term, canonical, check_evening, check_smoothing
from noisylabels.losses.varying_sum import evaluate_varying, varying_sum


class Loss(nn.Module):
    r"""A weighted sum of forms of per-label functions: :math:`\sum_i w_i\, r_i(\phi_i)`.

    Create one with `noisylabels.loss`, from your own function (`select`, `normalize`, `negative`), or by
    arithmetic: ``nce + 2 * mae``. It replaces ``nn.CrossEntropyLoss()`` in any loop.

    Args:
        terms: the parts; equal ones are merged and all are sorted (active before passive, then by name), so
            that equal losses have equal expressions.
        reduction: "mean", "sum" or "none", as in ``nn.CrossEntropyLoss``.
        weight: (K,) finite class weights of 0 or more. Each value is multiplied by its label's
            weight, and "mean" divides by the sum of those weights.
        ignore_index: an integer target that is ignored, also by the mean; None for none.
        label_smoothing: the target becomes (1 - s) target + s/K. An error for a symmetric loss: its costs
            sum to a constant over the labels, so that smoothing would only scale it.

    Shape:
        logits (N, K, d1, ...) or (K,) of any floating-point type, or a tuple of these with one per view of
        each example; target (N, d1, ...) integers in [0, K), or class probabilities in the shape of the
        logits. Returns a scalar, or (N, d1, ...) for "none". float16 and bfloat16 are computed and returned
        in float32.

    A loss is linear in its target: for class probabilities it is the mean over labels drawn from them (for
    cross entropy, its usual soft form). Given several views, a loss that does not compare them returns the
    mean over them.

    >>> import noisylabels as nl
    >>> nce, mae = nl.loss("nce"), nl.loss("mae")
    >>> nce + 2 * mae
    Loss("nce+2*mae")
    """

    weight: Tensor | None
    varying_weights: Tensor
    gradient_norms: Tensor

    def __init__(
        self,
        terms: Iterable[Term] | str | None,
        *,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = IGNORE,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(terms, Iterable) or isinstance(terms, str):
            raise InputError(
                f"Loss takes the terms of another loss, not {terms!r}; nl.loss('nce+mae') parses expressions"
            )
        self.terms = canonical(terms)
        check_evening(self.terms)
        self.reduction = check_choice(reduction, REDUCTIONS, "reduction")
        self.ignore_index = check_ignore_index(ignore_index)
        self.label_smoothing = check_smoothing(label_smoothing, self.terms)
        self.register_buffer("weight", check_weight(weight, wait=True))
        self._plan = Plan([term.part for term in self.terms])
        self._varying = varying_sum(self.terms)
        self._has_progress = False
        if self._varying is not None:
            self._varying.check(self.label_smoothing)
            # in checkpoints, and on the device, so that a CUDA graph reads the present values
            self.register_buffer("varying_weights", torch.tensor(self._varying.first, dtype=torch.float32))
            self.register_buffer("gradient_norms", torch.zeros(2))

    def _apply(self, *args: Any, **kwargs: Any) -> Loss:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        for name in ("varying_weights", "gradient_norms") if self.is_varying else ():
            found = getattr(self, name)
            if found.dtype.itemsize == 2:  # a moving average stands still in so few bits
                setattr(self, name, found.float())
        return self

    def forward(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the reduced loss of `logits` (N, K, d1, ...) at `target` (N, d1, ...) or (N, K, d1, ...)."""
        options = TargetOptions(self.weight, self.reduction, self.ignore_index, self.label_smoothing)
        if self._varying is None:
            return evaluate(self._plan, logits, target, options)
        weights, norms = self.varying_weights, self.gradient_norms
        learns = self.training and torch.is_grad_enabled()
        # a validation may come first, by the weights at the start or restored ones
        self._varying.check_ready(self._has_progress or not learns)
        return evaluate_varying(self._varying, weights, norms, logits, target, options, learns)

    def set_progress(self, progress: float, epochs: float | None = None) -> None:
        """Set the weights that follow a schedule to those at some training progress.

        Call it before each step of your own loop; `nl.fit`, `nl.run` and the command line do. It writes to a
        tensor on the device of the loss and never waits for the device. At progress 0 a rule forgets what it
        has learned from batches. A loss with fixed weights ignores it.

        Args:
            progress: steps done divided by all steps, from 0 to 1.
            epochs: of the whole training; only ``warmup(5)``, over a number of epochs, needs it.

        Raises:
            InputError: a progress outside [0, 1]; a warmup over epochs without their number.

        >>> import torch, noisylabels as nl
        >>> criterion = nl.loss("nce + linear(0,2)*mae")
        >>> criterion.set_progress(0.5)
        >>> criterion(torch.zeros(4, 10), torch.arange(4))  # 1/10 + 2 (1 - 1/10), as nce+mae
        tensor(1.9000)
        """
        check_between(progress, "the training progress", 0.0, 1.0)
        if self._varying is None:
            return
        with torch.no_grad():
            if progress == 0:
                self.varying_weights.fill_(1.0)
                self.gradient_norms.zero_()
            for place, term in enumerate(self._varying.terms):
                if term.varying is not None and not term.varying.rule:
                    self.varying_weights[place].fill_(term.varying.at(progress, epochs))
        self._has_progress = True

    def current_weights(self) -> dict[str, float]:
        """Return the present weight of each term whose weight varies, by the term's expression without it.

        Of terms that differ in their weights alone, the sum. For the rule agreement, a mean over about 100
        batches. Reads the device.
        """
        if self._varying is None:
            return {}
        found: dict[str, float] = {}
        for term, weight in zip(self._varying.terms, self.varying_weights.tolist(), strict=True):
            name = str(term.bare)
            found[name] = found.get(name, 0.0) + term.weight * weight
        return found

    def at(self, progress: float, epochs: float | None = None) -> Loss:
        """Return the loss with the fixed weights that its schedules have at some training progress.

        A weight that a rule sets stays as it is. Terms whose weight is 0 are left out.

        Args:
            progress: the share of training that is done, in [0, 1].
            epochs: of the whole training, for weights that count in epochs.

        Raises:
            InputError: as `set_progress`; all weights are 0.

        >>> import noisylabels as nl
        >>> nl.loss("nce + linear(0.1,10)*mae").at(0.5)
        Loss("nce+5.05*mae")
        """
        check_between(progress, "the training progress", 0.0, 1.0)
        terms = []
        for term in self.terms:
            if term.varying is None or term.varying.rule:
                terms.append(term)
            elif (weight := float(f"{term.weight * term.varying.at(progress, epochs):.6g}")) > 0:
                terms.append(replace(term, weight=weight, varying=None))
        if not terms:
            raise InputError(f"all weights of {self.expression!r} are 0 at training progress {progress:g}")
        return Loss(terms, **self._how())

    def with_auto(self, weight: float) -> Loss:
        """Return the loss with a number in the place of ``auto``.

        Args:
            weight: the number.

        >>> import noisylabels as nl
        >>> nl.loss("nce + 2*auto(rule=accuracy)*mae").with_auto(0.5)
        Loss("nce+mae")
        """
        ruled = [term.varying is not None and bool(term.varying.rule) for term in self.terms]
        terms = [
            replace(term, weight=weight * term.weight, varying=None) if rule else term
            for term, rule in zip(self.terms, ruled, strict=True)
        ]
        return Loss(terms, **self._how())

    @property
    def rule(self) -> str | None:
        """The rule that sets a weight, such as "gradient"; None without ``auto``."""
        return next((term.varying.rule for term in self.terms if term.varying and term.varying.rule), None)

    @property
    def is_varying(self) -> bool:
        """Whether a weight follows a schedule or a rule."""
        return self._varying is not None

    def __add__(self, other: Loss | int) -> Loss:
        if isinstance(other, int) and other == 0:  # so that sum([a, b]) works
            return self
        if not isinstance(other, Loss):
            return NotImplemented
        mine, theirs = self._how(), other._how()
        if not _same(mine.pop("weight"), theirs.pop("weight")) or mine != theirs:
            raise InputError(
                "the two losses differ in reduction or class weights, ignore_index or label_smoothing; "
                "give both the same"
            )
        return Loss(self.terms + other.terms, **self._how())

    __radd__ = __add__

    def _how(self) -> dict[str, Any]:
        names = ("reduction", "weight", "ignore_index", "label_smoothing")
        return {name: getattr(self, name) for name in names}

    def __mul__(self, factor: float | Tensor) -> Loss:
        if isinstance(factor, Tensor):
            raise InputError(
                f"a loss is multiplied by a tensor of shape {tuple(factor.shape)}, expected a number, "
                "such as float(tensor); to weight classes or examples, use weight or reduction='none'"
            )
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        terms = [replace(term, weight=factor * term.weight) for term in self.terms]
        return Loss(terms, **self._how())

    __rmul__ = __mul__

    def __truediv__(self, divisor: float | Tensor) -> Loss:
        if isinstance(divisor, Tensor):
            return self * divisor  # raises the error
        if isinstance(divisor, bool) or not isinstance(divisor, (int, float)):
            return NotImplemented
        if divisor == 0:
            raise InputError("a loss is divided by 0, expected a number greater than 0")
        terms = [replace(term, weight=term.weight / divisor) for term in self.terms]
        return Loss(terms, **self._how())

    @property
    def expression(self) -> str:
        """The canonical expression: equal losses of the catalog have equal ones, and `loss` parses it.

        Your own function is shown by its name; `loss` parses that once it is registered (`register`).
        """
        return "+".join(str(term) for term in self.terms)

    @property
    def kind(self) -> str:
        """ "active", "passive", or "active + passive"."""
        return " + ".join(sorted({term.kind for term in self.terms}))

    @property
    def needs(self) -> tuple[str, ...]:
        """What the loss needs besides logits and labels: "two views", "the whole batch".

        A loss with varying weights needs "the progress of training" or "the batches of training", and a rule
        that sets a weight before training, "a run's noisy data".
        """
        views = any(term.row.views for term in self.terms)
        batch = any(wrap.row.batch for term in self.terms for wrap in term.wraps)
        varying = dict.fromkeys(term.varying.row.needs for term in self.terms if term.varying)
        return ("two views",) * views + ("the whole batch",) * batch + tuple(varying)

    @property
    def equation(self) -> str:
        """The value at label y in terms of the probabilities p."""
        parts: list[str] = []
        changes = []
        for term in self.terms:
            y, k = (
                re.sub(r"\bp\b", f"p_{index}", term.row.equation)
                if term.row.pointwise
                else re.sub(r"_y\b", f"_{index}", term.row.equation)
                for index in "yk"
            )
            weight = "" if term.weight == 1 else number(term.weight) + " "
            weight += "" if term.varying is None else f"{term.varying} "
            body = term.form.equation.format(y=y, k=k)
            signed = bool(parts) and body.startswith("-")
            body = f"({body})" if (weight or signed) and term.form is SELECT else body
            for wrap in reversed(term.wraps):
                body = f"{wrap.row.name}({body})"
                changes.append(f"in {wrap.row.name} {wrap.row.equation}")
            parts.append(weight + body)
        return ";  ".join([" + ".join(parts), *dict.fromkeys(changes)])

    def _check_fixed(self) -> None:
        """Raise an `InputError` if the weights vary, on which the properties depend."""
        if self.is_varying:
            how = ".with_auto(1)" * (self.rule is not None)
            how += ".at(0.5)" * any(term.varying and not term.varying.rule for term in self.terms)
            raise InputError(
                f"the weights of {self.expression!r} vary during training, and its properties with them; "
                f"expected a loss with fixed weights, such as loss{how}"
            )

    def label_sum(self, num_classes: int) -> float | None:
        """Return the sum of the loss over all labels if it is constant (the loss is symmetric), else None.

        Like `bounds`, it describes the values before class weights are applied.

        Args:
            num_classes: K.
        """
        check_whole(num_classes, "num_classes", 2)
        self._check_fixed()
        parts = [term.label_sum(num_classes) for term in self.terms]
        return None if None in parts else sum(part for part in parts if part is not None)

    def bounds(self, num_classes: int) -> tuple[float, float]:
        """Return bounds (low, high) of the value of one example over all predictions.

        They are tight for a single term, and for a sum whose terms have their extremes at the same
        prediction. Each part is evaluated at its extremes: label certain; label excluded, the rest on one
        class; label excluded, the rest spread evenly; all even. The same is done with centered logits,
        because LogitClip depends on their norm. For K of 1000 or less, a search over the logits of the label,
        of one rival and of all others together adds the least and greatest value found. Peer loss has no
        bounds for one example.

        Args:
            num_classes: K.
        """
        check_whole(num_classes, "num_classes", 2)
        self._check_fixed()
        if "the whole batch" in self.needs:
            return -math.inf, math.inf
        return properties.bounds(self._plan.parts, num_classes)

    def dominance(self, num_classes: int, *, even: bool = False) -> float | None:
        """Return by what factor the true label must outweigh every other label to be the optimum.

        Let labels 1 to K have the weights w (say, the frequencies of an image's given labels) and w_m be the
        largest. If ``w_m >= c w_k`` for all other k, then the prediction that is certain of m, the best one
        if all labels are m, also minimizes ``sum_k w_k L(p, k)``. The result is the smallest such c, 1 or
        more; inf if none exists, as for cross entropy, whose optimum is p = w. The largest class of the
        optimum may be m at a smaller c too: for cross entropy it is at any c. The optimum need not be the
        only one: see `unique_optimum`.

        With `even`, all other labels have the same weight, as under symmetric noise; the result is then 1 if
        and only if it suffices that the true label is the most frequent, as for every symmetric loss (Ghosh
        2017).

        The search uses some 2,800 predictions (float64, the same each time), so that the result is a lower
        bound. It is tight in all cases known from theory, but for `sgce` and `eps_softmax`: within 3 %. A c
        above about 1e6, or one that is reached only within 1e-9 of certainty, may be returned as inf. The
        result is None for a loss that depends on the whole batch (it has no optimum for one image), for one
        that is unbounded below (it has no optimum), and for a user-defined function that is NaN where p is 0
        or 1.

        Source: Zhou et al. 2021, "Asymmetric loss functions for learning with noisy labels": a loss is
        asymmetric for weights w if the two minimizers agree.

        Args:
            num_classes: K.
            even: whether all other labels have the same weight.

        >>> import noisylabels as nl
        >>> nl.loss("mae").dominance(10), nl.loss("ce").dominance(10)
        (1.0, inf)
        """
        check_whole(num_classes, "num_classes", 2)
        self._check_fixed()
        if "the whole batch" in self.needs:
            return None
        if even and self.label_sum(num_classes) is not None:
            return 1.0
        found = _optimum(self.terms, num_classes)
        return found.even if even else found.dominance

    def unique_optimum(self, num_classes: int) -> bool | None:
        """Return whether every prediction that is best for a label has that label as its largest class.

        False for nce with 3 classes or more: its value also tends to 0 if p is large for a wrong class and
        that of the label falls far less than those of the others. Computed like `dominance`, and None where
        that is None.

        Args:
            num_classes: K.

        >>> import noisylabels as nl
        >>> nl.loss("nce").unique_optimum(10), nl.loss("nce+mae").unique_optimum(10)
        (False, True)
        """
        check_whole(num_classes, "num_classes", 2)
        self._check_fixed()
        if "the whole batch" in self.needs:
            return None
        found = _optimum(self.terms, num_classes)
        return None if found.dominance is None else found.unique

    def extra_repr(self) -> str:
        """Return the expression, for the printout of a module that contains this one."""
        return self.expression

    def __repr__(self) -> str:
        rest = "" if self.reduction == "mean" else f", reduction={self.reduction!r}"
        rest += "" if self.weight is None else f", weight=({self.weight.numel()} class weights)"
        rest += "" if self.ignore_index == IGNORE else f", ignore_index={self.ignore_index}"
        rest += f", label_smoothing={self.label_smoothing:g}" if self.label_smoothing else ""
        return f'Loss("{self.expression}"{rest})'


@lru_cache(maxsize=64)  # `explain` needs each of a loss's parts
def _optimum(terms: tuple[Term, ...], num_classes: int) -> properties.Optimum:
    return properties.optimum([term.part for term in terms], num_classes)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))
