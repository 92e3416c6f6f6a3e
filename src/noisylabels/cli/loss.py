"""``noisylabels loss``: explain a loss in words, numbers and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from noisylabels.cli import output

_SHOWN = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""The probabilities of the label at which values are printed."""


@dataclass
class LossCommand:
    """Explain losses: equation, range, noise tolerance, source, values and a plot.

    A loss whose weights vary is shown at the start, in the middle and at the end of training.

    For example:
        noisylabels loss "nce + 2*mae" --plot loss.svg
        noisylabels loss "nce + linear(0.1,10)*mae"
        noisylabels loss ce mae nce+mae --plot losses.png
    """

    expressions: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="LOSS [LOSS ...]")]
    """one or more losses, such as ce, nce+mae, "2*nce + 0.5*rce(A=-4)", or your own as mine.py:bounded"""
    classes: int = 10
    """number of classes K"""
    plot: Path | None = None
    """file (.svg, .png or .html) for a plot of value and gradient against the probability of the label"""

    def run(self) -> int:
        """Print the explanation and write the plot."""
        from noisylabels.cli.terminal import console, table
        from noisylabels.core.checks import InputError, check_between
        from noisylabels.losses import loss
        from noisylabels.losses.curve import curve
        from noisylabels.losses.explain import at_stages, explain, weights_over_time

        if not self.expressions:
            raise InputError("no loss: give one or more, such as nce+mae")
        k = int(check_between(self.classes, "--classes", low=2))
        losses = [loss(text) for text in self.expressions]
        stages = {made: at_stages(made, agreement=True) for made in losses}
        curves = {fixed.expression: curve(fixed, k) for shown in stages.values() for fixed in shown.values()}
        if self.plot is not None:  # first, because a closed pipe ends the printing
            from noisylabels.report.figures import loss_curves, save
            from noisylabels.study.looks import loss_theme

            save(loss_curves(curves, k, loss_theme(list(curves))), self.plot.expanduser())
        for made in losses:
            facts = explain(made, k)
            lines = [f"{made.expression} {facts.pop('kind')}"]
            lines += [f"  {head:<17} {body}" for head, body in facts.items()]
            for line in lines:
                console().print(line, markup=False, soft_wrap=True)
            if rows := weights_over_time(made):
                console().print(table(rows[0], rows[1:]))
            for stage, fixed in stages[made].items():
                drawn = curves[fixed.expression]
                at = [round(share * (len(drawn["p"]) - 1)) for share in _SHOWN]
                rows = [
                    [label, *(f"{drawn[key][index]:.3f}" for index in at)]
                    for label, key in (
                        ("p of the label", "p"),
                        ("value", "value"),
                        ("gradient by its logit", "gradient"),
                        ("relative to that of ce", "weight"),
                    )
                ]
                if stage:
                    console().print(f"  {fixed.expression}, {stage}", markup=False, soft_wrap=True)
                console().print(table(rows[0], rows[1:]))
            console().print()
        if self.plot is not None:
            output.say(f"wrote the plot to {self.plot}")
        return 0
