"""``noisylabels predict``: write labels and probabilities of images or of rows of a table as CSV."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from noisylabels.cli import output
from noisylabels.core.checks import InputError


@dataclass
class Predict:
    """Predict the labels of images or of the rows of a table with a trained run.

    The result is CSV: image,label,probability for images, id,label,probability for a table. The probability
    is calibrated for the label noise where the run compared models on held-out rows, as on features and
    tables; otherwise it is the network's softmax, which is too low for the true class if labels are noisy.

    For example:
        noisylabels predict runs/photos new-photos/ --out labels.csv
        noisylabels predict runs/table new.csv --out labels.csv
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """folder of a finished run"""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH [PATH ...]")]
    """image files, or folders that are searched for them; or one table with the columns of training"""
    out: Path | None = None
    """file to write (default: standard output)"""
    all_classes: bool = False
    """add a column with the probability of every class"""
    escape_formulas: bool = False
    """put an apostrophe before cells that a spreadsheet would run as a formula; such names then differ from
    those of the files"""
    bad_images: str = "fail"
    """fail or skip: what to do with images that cannot be read"""
    id_column: str | None = None
    """column of ids in a table (default: that of the training table)"""
    device: str = "auto"
    """auto, cpu or cuda"""
    model: str | None = None
    """only for a run with your own model: the MODULE:FUNCTION that builds it; naming it here allows its code
    to run"""
    features: str | None = None
    """only for a run with an encoder of your own: its FILE.py:FUNCTION, likewise"""

    def run(self) -> int:
        """Predict, and write or print the predictions."""
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.core.delimited import CellWriter
        from noisylabels.core.files import write_text
        from noisylabels.experiment.prediction import load_model, predict_files, predict_table

        if not self.images:
            raise InputError("no images or table; give files or folders after the folder of the run")
        trained = load_model(self.run_folder.expanduser(), self.device, self.model, self.features)
        notes: list[str] = []
        if trained.encoder is None and self.id_column is not None:
            raise InputError("images have no columns; leave out --id-column")
        if trained.encoder is None:
            with TerminalReporter(1) as reporter:
                names, probs = predict_files(trained, self.images, self.bad_images, notes, reporter.decoding)
        elif len(self.images) > 1:
            raise InputError(
                f"the run was trained on a table, and {len(self.images)} paths were given; give one table"
            )
        else:
            table = self.images[0].expanduser()
            with TerminalReporter(1) as reporter:
                names, probs = predict_table(trained, table, notes, self.id_column, reporter.decoding)
        for note in notes:
            output.note(note)
        best, label = probs.max(1)
        text = io.StringIO()
        writer = CellWriter(text, escape_formulas=self.escape_formulas)
        extra = list(trained.class_names) if self.all_classes else []
        writer.row(["image" if trained.encoder is None else "id", "label", "probability", *extra])
        for row, name in enumerate(names):
            every = [f"{value:.6f}" for value in probs[row].tolist()] if self.all_classes else []
            writer.row([name, trained.class_names[int(label[row])], f"{float(best[row]):.6f}", *every])
        if self.out is None:
            output.write_data(text.getvalue())
        else:
            write_text(self.out.expanduser(), text.getvalue())
            output.say(f"wrote {len(names)} predictions to {self.out}")
        return 0
