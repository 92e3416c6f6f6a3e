"""Measure the gradients of one update, and split them between clean and noisy labels.

The gradient at the weights is a sum over examples, ``g = sum_i J_i^T d_i`` with ``d_i`` the gradient at the
logits of example i and ``J_i`` the derivative of these logits. Masking rows of d therefore splits g exactly,
also where batch normalization makes the logits of one example depend on the others. What reaches the weights
in another way, such as by a second view or a penalty, belongs to neither part. Every part costs one backward
pass through the graph of the step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from noisylabels.data.loader import Batch
from noisylabels.training.callbacks import Probe
from noisylabels.training.dynamics.sums import Sums

BINS = 10
"""Bins of the probability of the given label, of equal width."""


def bin_of(p: Tensor) -> Tensor:
    """Return the bin of each probability, int64: 0 for [0, 0.1) to 9 for [0.9, 1]."""
    return (p * BINS).long().clamp(0, BINS - 1)


def bin_key(place: int) -> str:
    """Return the key of a bin: its lower end.

    >>> bin_key(3)
    '0.3'
    """
    return f"{place / BINS:.1f}"


class GradientProbe(Probe):
    """Measures updates of a method's first network; one object serves the whole run.

    Args:
        network: the network, whose logits the method's step returns.
        noisy: bool, (N,): whether the given label of an example is wrong; None if unknown.
        sums: receives the measurements.
    """

    def __init__(self, network: nn.Module, noisy: Tensor | None, sums: Sums) -> None:
        self.network, self.noisy, self.sums = network, noisy, sums
        self.turn = 0  # the part by bin that the next step measures at the weights
        self.unmeasurable = False
        self.names: list[str] = []  # of the parameters that the current step trains
        self.parameters: list[nn.Parameter] = []
        self._parts: dict[str, list[Tensor]] = {}
        self._bin_part: tuple[str, str, list[Tensor]] | None = None
        self._before: list[Tensor] = []

    def before_backward(self, value: Tensor, logits: Tensor, batch: Batch, scale: float) -> None:
        """Measure the gradient at the logits, and compute those parts of the gradient at the weights."""
        self._parts, self._bin_part = {}, None
        trained = {name: each for name, each in self.network.named_parameters() if each.requires_grad}
        self.names, self.parameters = list(trained), list(trained.values())  # some may be frozen at first
        self._before = [parameter.detach().clone() for parameter in self.parameters]
        gradient = None
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(value, logits, retain_graph=True, allow_unused=True)
        if gradient is None or logits.shape[0] != batch.target.shape[0]:
            self.unmeasurable = True
            return
        noisy = None if self.noisy is None else self.noisy[batch.positions]
        p = logits.detach().softmax(1).gather(1, batch.target[:, None])[:, 0]
        self._at_logits(gradient, noisy, bin_of(p), batch.target)
        if noisy is not None:
            for part, mask in (("noisy", noisy), ("clean", ~noisy)):
                self._parts[part] = self._part(logits, gradient, mask, scale)
        self._one_bin(logits, gradient, noisy, bin_of(p), scale)

    def after_backward(self, scale: float) -> None:
        """Measure the gradient at the weights, whole and in parts."""
        total = [_of(parameter) / scale for parameter in self.parameters]
        norm = norm_of(total)
        self.sums.add("weight_gradient", "all", "", norm)
        for name, each in zip(self.names, _norms(total), strict=True):
            self.sums.add("layer_gradient", "all", name, each)
        if self._parts:
            norms = {part: norm_of(gradient) for part, gradient in self._parts.items()}
            for part, size in norms.items():
                self.sums.add("weight_gradient", part, "", size)
            if sum(norms.values()) > 0:
                self.sums.add("weight_share", "noisy", "", norms["noisy"] / sum(norms.values()))
            if min(norms.values()) > 0:
                self.sums.add("cosine", "noisy", "", cosine(self._parts["noisy"], self._parts["clean"]))
        if self._bin_part is not None:
            part, key, gradient = self._bin_part
            size, clean = norm_of(gradient), self._parts.get("clean", total)
            self.sums.add("bin_weight_gradient", part, key, size)
            if size > 0 and norm_of(clean) > 0:
                self.sums.add("bin_cosine", part, key, cosine(gradient, clean))
        self._parts, self._bin_part = {}, None

    def after_update(self) -> None:
        """Measure the relative step, |update| / |weights|, of each layer and of all weights together."""
        with torch.no_grad():
            moved = [new - old for new, old in zip(self.parameters, self._before, strict=True)]
        moves, sizes = _norms(moved), _norms(self._before)
        for name, move, size in zip(self.names, moves, sizes, strict=True):
            if size > 0:
                self.sums.add("layer_step", "all", name, move / size)
        whole = norm_of(self._before)
        if whole > 0:
            self.sums.add("relative_step", "all", "", norm_of(moved) / whole)
        self._before = []

    def _at_logits(self, gradient: Tensor, noisy: Tensor | None, bins: Tensor, target: Tensor) -> None:
        """Measure the gradient at the logits: its norms, the share of noisy labels, bins, and pulls."""
        size = gradient.norm(dim=1)
        self.sums.add("logit_gradient", "all", "", float(gradient.norm()))
        parts = {"all": torch.ones_like(size, dtype=torch.bool)}
        if noisy is not None:
            parts = {"noisy": noisy, "clean": ~noisy}
            whole = float(size.sum())
            if whole > 0:
                self.sums.add("logit_share", "noisy", "", float((size * noisy).sum()) / whole)
        for part, mask in parts.items():
            counts = torch.bincount(bins[mask], minlength=BINS).tolist()
            empty = torch.zeros(BINS, dtype=size.dtype, device=size.device)
            totals = empty.index_add_(0, bins, size * mask).tolist()
            for place, (count, total) in enumerate(zip(counts, totals, strict=True)):
                key = bin_key(place)
                self.sums.add("bin_examples", part, key, count)
                if count:  # of the loss of one example: the batch's loss is a mean
                    self.sums.add("bin_logit_gradient", part, key, len(size) * total / count, count)
        self._pulls(gradient, target)

    def _pulls(self, gradient: Tensor, target: Tensor) -> None:
        """Measure the pull at each class: how the update moves its logit, by its own and by other examples.

        ``-sum_i d_ik`` over the examples whose given label is k ("own", upwards), and over the others.
        """
        pull = -gradient
        own = pull.gather(1, target[:, None])[:, 0]
        K = gradient.shape[1]
        up = torch.zeros(K, dtype=own.dtype, device=own.device).index_add_(0, target, own)
        down = pull.sum(0) - up
        for part, values in (("own", up.tolist()), ("others", down.tolist())):
            for k, each in enumerate(values):
                self.sums.add("pull", part, str(k), each)

    def _one_bin(
        self, logits: Tensor, gradient: Tensor, noisy: Tensor | None, bins: Tensor, scale: float
    ) -> None:
        """Compute the gradient at the weights of one bin and part; each measured step takes the next one."""
        parts = ("noisy", "clean") if noisy is not None else ("all",)
        choices = [(part, place) for place in range(BINS) for part in parts]
        counts: dict[str, list[int]] = {}
        for part in parts:
            mask = bins >= 0 if noisy is None else (noisy if part == "noisy" else ~noisy)
            counts[part] = torch.bincount(bins[mask], minlength=BINS).tolist()
        for further in range(len(choices)):
            turn = (self.turn + further) % len(choices)
            part, place = choices[turn]
            if counts[part][place]:
                mask = bins == place
                if noisy is not None:
                    mask = mask & (noisy if part == "noisy" else ~noisy)
                self._bin_part = (part, bin_key(place), self._part(logits, gradient, mask, scale))
                self.turn = (turn + 1) % len(choices)
                return

    def _part(self, logits: Tensor, gradient: Tensor, mask: Tensor, scale: float) -> list[Tensor]:
        """Return the part of the gradient at the weights that comes from some examples.

        It is scaled like the backward pass of the step, so that float16 does not underflow.
        """
        found: Sequence[Tensor | None] = torch.autograd.grad(
            logits,
            self.parameters,
            gradient * mask[:, None] * scale,
            retain_graph=True,
            allow_unused=True,
        )
        pairs = zip(found, self.parameters, strict=True)
        return [torch.zeros_like(each) if part is None else part / scale for part, each in pairs]


def _of(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach()


def _norms(tensors: Sequence[Tensor]) -> list[float]:
    """Return the norm of each tensor, with one wait for the device."""
    each: list[float] = torch.stack(torch._foreach_norm(list(tensors))).tolist()
    return each


def norm_of(tensors: Sequence[Tensor]) -> float:
    """Return the norm of tensors as one vector."""
    return float(torch.stack(torch._foreach_norm(list(tensors))).norm())


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Return the cosine of the angle between two lists of tensors as vectors."""
    inner = sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))
    return inner / (norm_of(a) * norm_of(b))
