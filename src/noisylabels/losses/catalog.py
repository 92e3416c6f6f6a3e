"""What is known of each loss: a row a per-label function, a row a named combination.

A new pointwise loss is one line in `pointwise.py` and one row here; it then has its plain,
normalized and negative forms, its function, its place in expressions, and its tests.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from noisylabels.core.checks import InputError, check_between, check_choice
from noisylabels.core.registry import Registry
from noisylabels.losses import pointwise
from noisylabels.losses.readings import NEGATIVE, NORMALIZE, READINGS, SELECT, Reading


@dataclass(frozen=True, eq=False)  # compared by identity, so that a row can be a key
class Pointwise:
    """A per-label function and what is known of it.

    `phi` maps log-probabilities to costs, entry by entry; its keyword arguments are the loss's
    parameters, their defaults the defaults. `domain` gives the limits of each parameter as keyword
    arguments of `check_between`. `label_sum(K, **parameters)` is the sum of the loss over all K
    labels where that is constant (then the loss is symmetric, hence noise-tolerant: Ghosh 2017).
    """

    name: str
    phi: Callable[..., Tensor]
    title: str
    equation: str  # as a function of p
    kind: str  # "active" raises the probability of the label only, "passive" lowers the others too
    source: str
    use: str  # when to take it, a sentence
    domain: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    label_sum: Callable[..., float] | None = None
    defaults: Mapping[str, float] = field(init=False)  # the parameters, read off phi's signature

    def __post_init__(self) -> None:
        if not callable(self.phi):
            raise InputError(
                f"phi of {self.name!r} is {self.phi!r}, expected a function of log-probabilities"
            )
        object.__setattr__(self, "defaults", _numeric_defaults(self.phi))  # the dataclass is frozen

    def __deepcopy__(self, memo: dict[int, Any]) -> Pointwise:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        # By name if the catalog has it: an unpickled loss then equals one made anew, and label_sum,
        # often a lambda, need not be pickled.
        if POINTWISE.get(self.name) is self:
            return _row, (self.name,)
        return super().__reduce_ex__(protocol)

    def parameters(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return defaults with `given` over them, each name and value checked."""
        for name, value in given.items():
            if name not in self.defaults:
                takes = ", ".join(self.defaults) or "none"
                raise InputError(f"the loss {self.name!r} has no parameter {name!r}; its parameters: {takes}")
            check_between(value, f"the parameter {name} of {self.name!r}", **self.domain.get(name, {}))
        return {name: float(given.get(name, default)) for name, default in self.defaults.items()}

    def read(self, reading: Reading, parameters: Mapping[str, float], l: Tensor, target: Tensor) -> Tensor:
        """Return the values of a reading of this function with all its `parameters`: (N, d1, ...)."""
        phi = partial(self.phi, **parameters)
        if reading is NORMALIZE and self.label_sum is not None:
            # The sum over the labels is a known constant (the paper's A.3): no pass over the classes,
            # and no rounding of 1 where the gradient is made of a small p.
            return SELECT.apply(phi, l, target) / self.label_sum(l.shape[1], **parameters)
        return reading.apply(phi, l, target)


def _numeric_defaults(phi: Callable[..., Tensor]) -> dict[str, float]:
    try:
        parameters = inspect.signature(phi).parameters.values()
    except ValueError:  # written in C, as torch.neg is
        return {}
    return {
        parameter.name: float(parameter.default)
        for parameter in parameters
        if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool)
    }


POINTWISE: Registry[Pointwise] = Registry("loss")


def _row(name: str) -> Pointwise:
    return POINTWISE[name]


@dataclass(frozen=True)
class Named:
    """A loss that the literature has a name for: an entry of the catalog."""

    name: str
    expression: str
    title: str
    source: str
    use: str


LOSSES: Registry[Named] = Registry("loss")

_READING_SOURCE = {
    SELECT.name: "{}",
    NORMALIZE.name: "{}; normalized: Ma et al. 2020 (the paper's Eq. 1)",
    NEGATIVE.name: "{}; negative: Ye et al. 2023",
}
_READING_USE = {
    SELECT.name: "{}",
    NORMALIZE.name: "Tolerant of label noise, but it underfits alone: combine it with a passive loss.",
    NEGATIVE.name: "The passive half of Active Negative Loss; use it beside a normalized loss.",
}


def register(
    name: str,
    phi: Callable[..., Tensor],
    *,
    title: str = "",
    equation: str = "phi(p)",
    kind: str = "active",
    source: str = "yours",
    use: str = "",
    domain: Mapping[str, Mapping[str, Any]] | None = None,
    label_sum: Callable[..., float] | None = None,
) -> None:
    """Enter a per-label function into the catalog, so that expressions know it and its readings.

    Args:
        name: a lower-case identifier, free in the catalog.
        phi: from log-probabilities (any shape) to costs (same shape), entry by entry; keyword
            arguments with float defaults are the loss's parameters.
        title, equation, source, use: words for people.
        kind: "active" or "passive".
        domain: limits of each parameter, as keyword arguments of `check_between`.
        label_sum: the sum over all labels as a function of K and the parameters, if constant.

    Raises:
        InputError: the name, or one of its readings, is taken or no lower-case identifier; phi is no
            function; phi does not sum to what label_sum says.

    >>> import noisylabels as nl
    >>> nl.losses.register("sq", lambda l: (1 - l.exp()) ** 2)
    >>> nl.loss("nsq + mae").expression
    'nsq+mae'
    >>> nl.losses.unregister("sq")
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise InputError(f"a loss's name is {name!r}, expected a lower-case identifier such as 'sq'")
    check_choice(kind, ("active", "passive"), "kind of loss")
    names = [reading.prefix + name for reading in READINGS.values()]
    for taken in (n for n in names if n in LOSSES):
        raise InputError(f"the loss {taken!r} exists already; choose another name than {name!r}")
    row = Pointwise(name, phi, title or name, equation, kind, source, use, domain or {}, label_sum)
    _check_label_sum(row)
    POINTWISE.add(name, row)
    for reading, full_name in zip(READINGS.values(), names, strict=True):
        LOSSES.add(
            full_name,
            Named(
                full_name,
                full_name,
                reading.title.format(row.title),
                _READING_SOURCE[reading.name].format(source),
                _READING_USE[reading.name].format(use),
            ),
        )


def _check_label_sum(row: Pointwise) -> None:
    """Hold phi to its claimed sum over the labels, which the normalized reading divides by."""
    if row.label_sum is None:
        return
    for K in (2, 3, 7):
        rising = torch.arange(1, K + 1, dtype=torch.float64)
        p = torch.stack([rising / rising.sum(), torch.full_like(rising, 1 / K)])
        sums, claim = row.phi(p.log()).sum(1).tolist(), row.label_sum(K, **row.defaults)
        if any(abs(found - claim) > 1e-6 * abs(claim) for found in sums):
            raise InputError(
                f"label_sum of {row.name!r} says {claim:g} for {K} labels, but phi sums to {sums[0]:g} "
                f"at p rising as 1, 2, ..., {K} and to {sums[1]:g} at equal p"
            )


def unregister(name: str) -> None:
    """Take a per-label function and its readings out of the catalog."""
    POINTWISE.remove(name)
    for reading in READINGS.values():
        LOSSES.remove(reading.prefix + name)


def find(name: str) -> tuple[Reading, Pointwise]:
    """Return the reading and the per-label function behind a name such as "nce"."""
    for reading in READINGS.values():
        stem = name.removeprefix(reading.prefix)
        if name.startswith(reading.prefix) and stem in POINTWISE:
            return reading, POINTWISE[stem]
    check_choice(name, [n for n in LOSSES if n.isidentifier()], "loss")
    raise InputError(f"the loss {name!r} is a sum and has no parameters; write {LOSSES[name].expression!r}")


register(
    "ce",
    pointwise.ce,
    title="cross entropy",
    equation="-log p",
    source="maximum likelihood",
    use="The baseline: best on clean labels, memorises wrong ones.",
)
register(
    "fl",
    pointwise.fl,
    title="focal loss",
    equation="-(1-p)^gamma log p",
    source="Lin et al. 2017",
    use="Weighs easy examples down; made for imbalance, not for noise.",
    domain={"gamma": {"low": 0.0}},
)
register(
    "mae",
    pointwise.mae,
    title="mean absolute error",
    equation="2 (1-p)",
    kind="passive",
    source="Ghosh et al. 2017",
    use="Provably noise-tolerant; slow to fit, and apt to lose whole classes.",
    label_sum=lambda K: 2.0 * (K - 1),
)
register(
    "rce",
    pointwise.rce,
    title="reverse cross entropy",
    equation="-A (1-p)",
    kind="passive",
    source="Wang et al. 2019, with log 0 = A",
    use="MAE times -A/2: the passive partner of an active loss.",
    domain={"A": {"high": 0.0, "open_high": True}},
    label_sum=lambda K, A: -A * (K - 1),
)

_APL = "Ma et al. 2020, Active Passive Loss (the paper's Eq. 2)"
for _active in ("nce", "nfl"):
    for _passive in ("mae", "rce"):
        _name = f"{_active}+{_passive}"
        LOSSES.add(
            _name,
            Named(
                _name,
                _name,
                f"{LOSSES[_active].title} + {LOSSES[_passive].title}",
                _APL,
                "Active Passive Loss: tolerant and still able to fit. The first to try on noisy labels.",
            ),
        )

PAPER = ("ce", "fl", "mae", "rce", "nce", "nfl", "nmae", "nrce", "nce+mae", "nce+rce", "nfl+mae", "nfl+rce")
"""The 12 losses of the paper's Tables 1 and 2, in its order."""
