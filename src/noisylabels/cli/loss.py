"""``noisylabels loss``: explain a loss in words, numbers and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from noisylabels.cli import output


@dataclass
class LossCommand:
    """Explain losses: equation, range, noise tolerance, source, values and a plot.

    For example:
        noisylabels loss "nce + 2*mae" --plot loss.svg
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
        from noisylabels.losses.explain import explain

        if not self.expressions:
            raise InputError("no loss: give one or more, such as nce+mae")
        k = int(check_between(self.classes, "--classes", low=2))
        losses = [loss(text) for text in self.expressions]
        curves = {made.expression: curve(made, k) for made in losses}
        if self.plot is not None:  # first, because a closed pipe ends the printing
            from noisylabels.report.figures import loss_curves, save

            save(loss_curves(curves, k), self.plot.expanduser())
        for made in losses:
            facts = explain(made, k)
            lines = [f"{made.expression} {facts.pop('kind')}"]
            lines += [f"  {head:<17} {body}" for head, body in facts.items()]
            for line in lines:
                console().print(line, markup=False, soft_wrap=True)
            drawn = curves[made.expression]
            at = [round(share * (len(drawn["p"]) - 1)) for share in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)]
            rows = [
                [label, *(f"{drawn[key][index]:.3f}" for index in at)]
                for label, key in (
                    ("p of the label", "p"),
                    ("value", "value"),
                    ("gradient by its logit", "gradient"),
                )
            ]
            console().print(table(rows[0], rows[1:]))
            console().print()
        if self.plot is not None:
            output.say(f"wrote the plot to {self.plot}")
        return 0
