"""Weights that vary during training: schedules over the training progress, and rules that set one.

An expression has one in the place of a number: ``nce + linear(0.1,10)*mae``, ``nce +
auto(rule=gradient)*mae``. A schedule is a pure function of the progress. A rule looks at the batches of
training (gradient, agreement), or at the noisy data before training (accuracy, noise); none needs a clean
label.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from noisylabels.core.checks import InputError, check_between, check_choice
from noisylabels.core.literals import written as number
from noisylabels.core.registry import Registry

AUTO = "auto"
"""The word of a weight that a rule sets."""

DEFAULT_RULE = "gradient"
"""The rule of a plain ``auto``."""

NOISY_DATA = "a run's noisy data"
"""What a loss needs whose rule sets a weight before training, in `Loss.needs`."""

_POSITIVE = {"low": 0.0, "open_low": True}


def linear(progress: float, start: float, end: float, until: float = 1.0) -> float:
    """Return a weight that moves evenly from `start` to `end`, reached at the progress `until`."""
    return start + (end - start) * min(1.0, progress / until)


def cosine(progress: float, start: float, end: float, until: float = 1.0) -> float:
    """Return a weight that moves from `start` to `end` along half a cosine, level at both ends."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress / until)))


def step(progress: float, start: float, end: float, at: float = 0.5) -> float:
    """Return `start` before the progress `at`, and `end` from then on."""
    return end if progress >= at else start


def warmup(progress: float, length: float) -> float:
    """Return a weight that rises evenly from 0 to 1 over the first `length` of training."""
    return min(1.0, progress / length)


@dataclass(frozen=True, eq=False)
class VaryingRow:
    """A schedule or a rule, as expressions name it.

    Args:
        name: the word in expressions; for a rule, the value of the parameter `rule`.
        title: what it does, in a few words.
        equation: the weight.
        source: where it comes from.
        defaults: the parameters; None for one that must be given.
        domain: limits of each parameter, as keyword arguments of `check_between`.
        value: the weight as a function of the training progress and the parameters; None for a rule.
        prior: whether a rule sets the weight before training, from the noisy data.
    """

    name: str
    title: str
    equation: str
    source: str
    defaults: Mapping[str, float | None] = field(default_factory=dict)
    domain: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    value: Callable[..., float] | None = None
    prior: bool = False

    @property
    def needs(self) -> str:
        """What a loss with such a weight needs besides logits and labels."""
        if self.prior:
            return NOISY_DATA
        return "the batches of training" if self.value is None else "the progress of training"

    @property
    def what(self) -> str:
        """What it is and its name, for messages."""
        return f"the {'rule' if self.value is None else 'schedule'} {self.name!r}"


def _parameters(function: Callable[..., float]) -> dict[str, float | None]:
    found = list(inspect.signature(function).parameters.values())[1:]
    return {each.name: None if each.default is each.empty else each.default for each in found}


_ENDS = {"start": {"low": 0.0}, "end": {"low": 0.0}}
_FRACTION = {"low": 0.0, "open_low": True, "high": 1.0}

SCHEDULES: Registry[VaryingRow] = Registry("schedule")
for _function, _title, _equation, _domain in (
    (linear, "an even change", "start + (end - start) min(1, t/until)", {**_ENDS, "until": _FRACTION}),
    (
        cosine,
        "a change along half a cosine",
        "end + (start - end) (1 + cos(pi min(1, t/until)))/2",
        {**_ENDS, "until": _FRACTION},
    ),
    (step, "a jump", "start before t = at, then end", {**_ENDS, "at": {**_FRACTION, "open_high": True}}),
    (warmup, "a rise from 0 to 1", "min(1, t/length)", {"length": _POSITIVE}),
):
    _name = _function.__name__
    SCHEDULES.add(
        _name,
        VaryingRow(_name, _title, _equation, "ours", _parameters(_function), _domain, value=_function),
    )

RULES: Registry[VaryingRow] = Registry("rule of auto")
RULES.add(
    "gradient",
    VaryingRow(
        "gradient",
        "gives the gradient at the logits the norm of the rest of the sum's",
        "ratio mean |d rest/dz| / mean |d part/dz|, moving averages",
        "ours; after Chen et al. 2018, who balance norms over tasks",
        {"ratio": 1.0, "decay": 0.99},
        {"ratio": _POSITIVE, "decay": {"low": 0.0, "high": 1.0, "open_high": True}},
    ),
)
RULES.add(
    "agreement",
    VaryingRow(
        "agreement",
        "weighs each example by how far the model agrees with its label",
        "(p_y / max_k p_k)^power, without a gradient",
        "ours",
        {"power": 1.0},
        {"power": _POSITIVE},
    ),
)
RULES.add(
    "accuracy",
    VaryingRow(
        "accuracy",
        "takes the weight of the most accurate short training, by held-out given labels",
        "successive halving over weights from 0.01 to 30",
        "successive halving: Jamieson and Talwalkar 2016; noisy labels as a criterion: Chen et al. 2021",
        {"budget": 1.0},
        {"budget": _POSITIVE},
        prior=True,
    ),
)
RULES.add(
    "noise",
    VaryingRow(
        "noise",
        "takes the weight nearest to 1 whose optimum is the true label at the estimated noise rate",
        "dominance(weight) <= (1 - rate)(K - 1)/rate",
        "ours; asymmetric losses: Zhou et al. 2021; the parameter a of JAL: Wang et al. 2025",
        {"rate": math.nan},
        {"rate": {"low": 0.0, "high": 1.0, "open_high": True}},
        prior=True,
    ),
)

WORDS = (*SCHEDULES, AUTO)
"""Words that stand for a weight in expressions, and so for no loss."""


@dataclass(frozen=True)
class Varying:
    """A weight that varies: a schedule or a rule with its parameters.

    Args:
        name: a schedule, or "auto".
        rule: the rule of "auto"; empty for a schedule.
        given: parameters that differ from their defaults, in the order of the row.
    """

    name: str
    rule: str = ""
    given: tuple[tuple[str, float], ...] = ()

    @property
    def row(self) -> VaryingRow:
        """The row of the catalog."""
        return RULES[self.rule] if self.rule else SCHEDULES[self.name]

    @property
    def parameters(self) -> dict[str, float]:
        """All parameters with their values."""
        return {name: float(value or 0.0) for name, value in self.row.defaults.items()} | dict(self.given)

    def at(self, progress: float, epochs: float | None = None) -> float:
        """Return the weight of a schedule at some training progress.

        Args:
            progress: steps done divided by all steps, from 0 to 1.
            epochs: of the whole training; needed by a warmup over a number of epochs.

        Raises:
            InputError: a warmup over epochs whose number is unknown.
        """
        assert self.row.value is not None
        values = self.parameters
        if self.name == "warmup" and values["length"] >= 1:
            if epochs is None and progress > 0:
                raise InputError(
                    f"{self} is over {values['length']:g} epochs, and those of the training are unknown; "
                    "call set_progress(progress, epochs=...), or give a fraction of it, as in warmup(0.1)"
                )
            values["length"] = values["length"] / (epochs or 1.0)
        return self.row.value(progress, **values)

    def __str__(self) -> str:
        given = dict(self.given)
        required = [name for name, value in self.row.defaults.items() if value is None]
        inside = [f"rule={self.rule}"] if self.rule else []
        inside += [number(given[name]) for name in required]
        inside += [f"{name}={number(value)}" for name, value in self.given if name not in required]
        return f"{self.name}({','.join(inside)})"


def varying(name: str, positional: list[float], given: Mapping[str, float], rule: str = "") -> Varying:
    """Return a schedule or a rule with its parameters checked.

    Args:
        name: a word of `WORDS`.
        positional: numbers without a name, in the order of the parameters.
        given: numbers by name.
        rule: the rule of "auto"; the default one if empty.

    Raises:
        InputError: an unknown rule or parameter, one that is missing, given twice or outside its range.

    >>> str(varying("linear", [0.1], {"end": 10}))
    'linear(0.1,10)'
    """
    rule = (rule or DEFAULT_RULE) if name == AUTO else ""
    row = RULES[rule] if rule else SCHEDULES[name]
    names = list(row.defaults)
    takes = ", ".join(names)
    if len(positional) > (0 if rule else len(names)):
        raise InputError(
            f"{row.what} is given {len(positional)} without a name, expected "
            + (f"names, as in auto(rule={rule},{names[0]}=1)" if rule else f"at most {len(names)}: {takes}")
        )
    values = dict(zip(names, positional, strict=False))
    for key, value in given.items():
        check_choice(key, names, f"parameter of {row.what}")
        if key in values:
            raise InputError(f"{row.what} is given the parameter {key!r} twice")
        values[key] = value
    for key, default in row.defaults.items():
        if key not in values and default is None:
            raise InputError(f"{row.what} is not given its parameter {key!r}; it takes {takes}")
    for key, value in values.items():
        check_between(value, f"the parameter {key} of {row.what}", **row.domain[key])
    if values.get("start") == 0 and values.get("end") == 0:
        raise InputError(f"{row.what} goes from 0 to 0, expected a weight above 0 at one end")
    ordered = ((key, float(values[key])) for key in names if key in values)
    return Varying(name, rule, tuple((key, value) for key, value in ordered if value != row.defaults[key]))
