"""``noisylabels audit``: estimate the noise rate and rank labels by quality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from noisylabels.cli import output

if TYPE_CHECKING:
    from noisylabels.audit.result import Audit


@dataclass
class AuditCommand:
    """Estimate the noise rate, rank labels by quality and suggest corrections.

    The audit trains one model per fold on the other folds and compares its held-out predictions with the
    given labels. It writes a folder: the ranked labels as CSV, Parquet and JSON, and a page of the labels of
    lowest quality. Running the same command again resumes a stopped audit, or shows the result of a
    finished one.

    For example:
        noisylabels audit photos/
        noisylabels audit photos/ --probs probs.csv --out audits/photos
        noisylabels audit digits --noise symmetric:0.2
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """data set: a name in `noisylabels list data`, or a path in a format of `noisylabels list formats`, such
    as a folder of images with one folder per class"""
    out: Path | None = None
    """folder of the audit (default: audits/ and a name derived from the data)"""
    probs: Path | None = None
    """held-out probabilities of your own model, so that none is trained: .npy (N, K), or .csv, .tsv or
    .parquet with one column per class and an id column; without one, rows are in the order of the file or of
    the sorted paths"""
    noise: str = "none"
    """noise to add to a clean data set first, to measure how well the audit finds it"""
    part: Literal["all", "train"] = "all"
    """part to audit: all examples, or only the training set"""
    labels: Path | None = None
    """file with corrected labels (.csv or .parquet with columns id,label) to audit in place of the data's"""
    classifier: str | None = None
    """score the labels with a classifier of scikit-learn in place of a network: logistic, forest,
    extra-trees, boosting, knn, or a class or function of your own, MODULE:NAME or FILE.py:NAME"""
    folds: int = 4
    """number of folds; one model is trained per fold"""
    epochs: int | None = None
    """epochs per model (default: those of the audit's recipe)"""
    loss: str = "auto"
    """auto, or a robust loss as in `noisylabels train`"""
    model: str = "auto"
    """as in `noisylabels train`"""
    features: str = "auto"
    """frozen encoder through which images or texts are seen: auto (efficientnet-lite0 for photographs, if it
    is installed), none (the model is trained from scratch), or a name in `noisylabels list encoders`"""
    width: float | None = None
    """multiplier of the model's layer widths"""
    batch_size: int | None = None
    """examples per step"""
    lr: float | None = None
    """peak learning rate"""
    seed: int = 0
    """seed of the folds, initial weights, order, augmentation and noise"""
    image_size: int | None = None
    """side in pixels to resize images to; needed only if their sizes differ or are large"""
    bad_images: str = "fail"
    """fail or skip: what to do with images that cannot be read"""
    label_column: str | None = None
    """column of labels in a table or Parquet file (default: the one named label, class, target or y)"""
    id_column: str | None = None
    """column of ids in a table or Parquet file (default: id; for images their paths, or their rows)"""
    text_column: str | None = None
    """column of free text in a table, or several with commas between them (default: those of sentences)"""
    trusted: str | None = None
    """labels checked by hand, which are never flagged: a part of the data (train, test, val), a column of the
    table whose cells are true or false, or a file of ids (.csv, .tsv, .txt, .parquet)"""
    escape_formulas: bool = False
    """put an apostrophe before cells of labels.csv that a spreadsheet would run as a formula; such names then
    differ from those of the data"""
    data_root: str | None = None
    """folder that contains the named data set, or to which the path is relative"""
    download: bool = False
    """download the named data set if it is missing"""
    device: str = "auto"
    """auto, cpu or cuda"""
    precision: str | None = None
    """float32, bfloat16 or float16"""

    def run(self) -> int:
        """Audit, report progress in the terminal, and print a summary."""
        from noisylabels.audit.inputs import read_subject, seen_through
        from noisylabels.audit.running import audit_labels, default_out, recipe_epochs
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.training.loop import TrainingDiverged

        names = (
            "part",
            "noise",
            "seed",
            "image_size",
            "bad_images",
            "label_column",
            "id_column",
            "text_column",
        )
        about: dict[str, Any] = {
            name: getattr(self, name) for name in (*names, "data_root", "download", "labels")
        }
        about["features"] = seen_through(self.features, self.model, self.width)
        how: dict[str, Any] = {name: getattr(self, name) for name in ("folds", "loss", "model", "width")}
        if self.classifier is not None:
            how["classifier"] = self.classifier
        extra = {
            name: getattr(self, name)
            for name in ("epochs", "batch_size", "lr", "device", "precision")
            if getattr(self, name) is not None
        }
        out = self.out or default_out(read_subject(self.data, **about), how | extra, self.probs, self.trusted)
        keep_freed_memory()
        limit_threads()
        try:
            with TerminalReporter(self.epochs or recipe_epochs(), self.folds) as reporter:
                found = audit_labels(
                    self.data,
                    out=out,
                    probs=self.probs,
                    trusted=self.trusted,
                    escape_formulas=self.escape_formulas,
                    reporter=reporter,
                    **about,
                    **how,
                    **extra,
                )
        except TrainingDiverged as error:
            output.complain(str(error))
            return 1
        output.say(summary(found, out))
        return 0


LOWEST, PAIRS = 10, 5
"""Most labels of lowest quality, and most class pairs, in the summary."""


def summary(found: Audit, out: Path) -> str:
    """Return a summary of an audit that fits on a screen."""
    from noisylabels.audit.page import expected_line, lead, next_steps, trusted_line, warning

    about = found.summary
    duplicates = about["duplicates"]
    lines = [f"{found.name}: {lead(found)[:1].lower()}{lead(found)[1:]}"]
    if text := warning(found):
        lines.append(f"  warning: {text}")
    if text := expected_line(found):
        lines.append(f"  {text}")
    if known := about["known"]:
        scores = [f"noise rate {_percent(known['rate'])}"]
        scores += [
            f"{words} {_percent(known[name])}"
            for name, words in (
                ("average_precision", "average precision"),
                ("precision", "precision"),
                ("recall", "recall"),
                ("suggestions", "correct suggestions"),
                ("after", "noise rate after accepting all suggestions"),
            )
            if known.get(name) is not None
        ]
        lines.append(f"  measured on true labels: {', '.join(scores)}")
    if checked := about.get("trusted"):
        lines.append(f"  {trusted_line(checked)}")
    if about["pairs"]:
        lines.append("  class pairs most often flagged (given -> suggested):")
        shown = about["pairs"][:PAIRS]
        names = [f"{_cut(pair['given'], 24)} -> {_cut(pair['suggested'], 24)}" for pair in shown]
        wide = max(map(len, names))
        for words, pair in zip(names, shown, strict=True):
            share = f"{_percent(pair['share'])} of all labeled {_cut(pair['given'], 24)}"
            lines.append(f"    {words:{wide}}  {pair['count']:>6,}  {share}")
    if duplicates["groups"]:
        count = len(duplicates["conflicts"])
        groups = "1 group" if duplicates["groups"] == 1 else f"{duplicates['groups']:,} groups"
        lines.append(
            f"  near-duplicates: {groups}, {f'{count:,}' if count else 'none'} with different labels"
        )
    rows = list(found.rows(LOWEST))
    if rows:
        lines.append("  lowest label quality (score: 0 likely mislabeled, 1 likely correct):")
        wide = max(len(_cut(row["id"], 40)) for row in rows)
        for row in rows:
            lines.append(f"    {row['score']:.3f}  {_cut(row['id'], 40):{wide}}  {_cut(row['why'], 90)}")
    lines.append(f"  table: {out / 'labels.csv'} (.parquet, .json)")
    lines.append(f"  page:  {(out / 'page.html').absolute()}")
    lines += [f"  next:  {command}" for _, command in next_steps(found, out)[:1]]
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _cut(text: str, most: int) -> str:
    """Return text on one line, its middle cut out if it is long: a file's name often differs at its end."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= most else f"{text[: most // 2 - 1]}...{text[-(most - most // 2 - 2) :]}"
