"""Set the weight of a loss before training, by a rule that looks at the noisy data alone.

``auto(rule=accuracy)`` compares short trainings by the accuracy on held-out given labels, and
``auto(rule=noise)`` uses the estimated noise rate (`losses.noise_weight`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from noisylabels.core.checks import InputError
from noisylabels.methods.inputs import AUTO

if TYPE_CHECKING:
    from noisylabels.experiment.method_inputs import MethodData
    from noisylabels.losses.modules import Loss

CANDIDATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""The weights to compare: the published ones of passive terms go from 0.002 to 10, nearly all from 0.01."""

FEWER = {8: CANDIDATES, 4: (0.03, 0.3, 1.0, 10.0), 2: (0.1, 1.0)}
"""The weights by their number: a small budget compares fewer."""

VALIDATION = 0.1
"""The share of the training set that is held out while weights are compared, unless the run holds out one."""


@dataclass(frozen=True)
class WeightChoice:
    """A chosen weight.

    Args:
        loss: the expression of the loss with the weight.
        weight: the weight that replaces ``auto``.
        why: the reason, in words.
        rounds: what was compared: per round the epochs of each training, and accuracies by weight, None for a
            training that diverged.
    """

    loss: str
    weight: float
    why: str
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as plain values, for JSON."""
        found = {"loss": self.loss, "why": self.why, "weight": self.weight}
        return found | ({"rounds": self.rounds} if self.rounds else {})


def choose_weight(loss: Loss, data: MethodData) -> WeightChoice:
    """Return the weight that a loss's rule sets for the data of a run.

    Args:
        loss: a loss whose rule is accuracy or noise.
        data: of the run; its `settings` are those of each training.

    Raises:
        Interrupted: `data.stop` returned True.
        InputError: a rule that sets no weight before training.
    """
    from noisylabels.losses.noise_weight import weight_for_noise
    from noisylabels.losses.varying import NOISY_DATA

    if NOISY_DATA not in loss.needs:
        raise InputError(f"the loss {loss.expression!r} has no weight that is set before training")
    given = next(term.varying.parameters for term in loss.terms if term.varying and term.varying.rule)
    if loss.rule == "noise":
        rate = given["rate"]
        if math.isnan(rate):
            rate = data.find(AUTO).rate
        found = weight_for_noise(loss, data.train.num_classes, rate)
        return WeightChoice(loss.with_auto(found.weight).expression, found.weight, found.why)
    return _by_accuracy(loss, data, given["budget"])


def plan_rounds(epochs: int, budget: float) -> tuple[Sequence[float], list[int]]:
    """Return the weights to compare, and the epochs of each training in each round of successive halving.

    Each round trains the better half of the weights of the one before for twice as many epochs, so that all
    rounds cost the same. Together they take about ``budget * epochs`` epochs, and 2 or more.

    >>> plan_rounds(60, 1.0)
    ((0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), [2, 4, 8])
    >>> plan_rounds(10, 1.0), plan_rounds(1, 1.0)
    (((0.03, 0.3, 1.0, 10.0), [1, 2]), ((0.1, 1.0), [1]))
    """
    for count, weights in FEWER.items():
        rounds = round(math.log2(count))
        first = int(budget * epochs / (rounds * count))
        if first >= 1:
            return weights, [first * 2**each for each in range(rounds)]
    return FEWER[2], [1]


def _by_accuracy(loss: Loss, data: MethodData, budget: float) -> WeightChoice:
    weights, rounds = plan_rounds(int(data.settings["epochs"]), budget)
    left = list(weights)
    record: list[dict[str, Any]] = []
    for epochs in rounds:
        found = {weight: _accuracy(loss.with_auto(weight), data, epochs) for weight in left}
        record.append({"epochs": epochs, "accuracy": {f"{weight:g}": found[weight] for weight in left}})
        # of equally accurate ones the nearest to 1, the usual weight; those that diverged last
        ranks = {weight: math.inf if value is None else -value for weight, value in found.items()}
        left.sort(key=lambda weight: (ranks[weight], abs(math.log(weight))))
        left = left[: len(left) // 2]
    (weight,) = left
    last = record[-1]
    spent = sum(each["epochs"] * len(each["accuracy"]) for each in record)
    values = ", ".join(
        f"{name}: " + ("diverged" if value is None else f"{100 * value:.1f} %")
        for name, value in last["accuracy"].items()
    )
    why = (
        f"of {len(weights)} weights, {weight:g} is the most accurate on held-out given labels after "
        f"{last['epochs']} epochs ({values}); {spent} epochs in all"
    )
    return WeightChoice(loss.with_auto(weight).expression, weight, why, record)


def _accuracy(loss: Loss, data: MethodData, epochs: int) -> float | None:
    """Return the accuracy on held-out given labels after a short training of the run's network.

    None if it diverged.
    """
    from noisylabels.methods.fit import fit
    from noisylabels.training.callbacks import PauseWhen
    from noisylabels.training.loop import TrainingDiverged

    settings = dict(data.settings) | {"epochs": epochs, "keep_epoch": "last", "frozen_epochs": 0}
    settings["validation"] = settings.get("validation") or VALIDATION
    settings["warmup_epochs"] = min(settings.get("warmup_epochs", 0.0), epochs / 2)
    try:
        history = fit(
            data.make_model(data.seed),
            data.train,
            None,
            loss,
            labels=data.labels,
            positions=data.positions,
            callbacks=[PauseWhen(data.stop)],
            **settings,
        )
    except TrainingDiverged:
        return None
    return float(history.final["validation_accuracy"])
