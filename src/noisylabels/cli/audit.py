"""``noisylabels audit``: estimate the noise rate and find likely mislabeled examples."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from noisylabels.audit.result import Audit


@dataclass
class AuditCommand:
    """Estimate the noise rate, find likely mislabeled examples, and suggest their labels.

    Trains one model per fold and compares each given label with what the models predict. Writes a folder with
    all labels ranked by quality, as CSV, Parquet and JSON, and a page of those of lowest quality. The same
    command resumes a stopped audit, and shows the result of a finished one.

    noisylabels audit photos/

    noisylabels audit photos/ --probs probs.csv --out audits/photos

    noisylabels audit digits --noise symmetric:0.2
    """

    data: Annotated[str, tyro.conf.Positional]
    """name from `noisylabels list data`, or path in a format from `noisylabels list formats`, such as a
    folder with one folder per class"""
    out: Path | None = None
    """folder of the audit (default: audits/, the name of the data, and a hash of the settings)"""
    probs: Path | None = None
    """out-of-fold probabilities of your own model, instead of training: .npy (N, K), or .csv, .tsv, .parquet
    with one column per class and optionally id"""
    noise: str = "none"
    """noise to add to clean labels first, to measure how well it is found"""
    part: Literal["all", "train"] = "all"
    """what to audit: all examples, or the training part alone"""
    labels: Path | None = None
    """corrected labels (.csv or .parquet of id,label) to audit in place of those of the data"""
    folds: int = 4
    """number of folds; one model is trained per fold"""
    epochs: int | None = None
    """epochs per fold (default: 20)"""
    loss: str = "auto"
    """auto, or a robust loss, as in `noisylabels train`"""
    model: str = "auto"
    """model, as in `noisylabels train`"""
    width: float | None = None
    """factor of the model's layer widths"""
    batch_size: int | None = None
    """examples per step"""
    lr: float | None = None
    """initial learning rate"""
    seed: int = 0
    """seed of folds, weights, order, augmentation and noise"""
    image_size: int | None = None
    """side in pixels to resize images to; needed only if they differ in size or are large"""
    bad_images: str = "fail"
    """what to do with unreadable images: fail, or skip"""
    label_column: str | None = None
    """column of the labels in a table or in Parquet (default: the one named label, class, target or y)"""
    data_root: str | None = None
    """folder that holds the named data set, or to which the path is relative"""
    download: bool = False
    """download the named data set if it is missing"""
    device: str = "auto"
    """auto, cpu, cuda"""
    precision: str | None = None
    """float32, bfloat16 or float16"""

    def run(self) -> int:
        """Audit, report progress in the terminal, and print a summary."""
        from noisylabels.audit.inputs import read_subject
        from noisylabels.audit.running import audit_labels, default_out, recipe_epochs
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.training.interrupt import Interrupted
        from noisylabels.training.loop import TrainingDiverged

        names = ("part", "noise", "seed", "image_size", "bad_images", "label_column", "data_root", "download")
        about: dict[str, Any] = {name: getattr(self, name) for name in (*names, "labels")}
        how: dict[str, Any] = {name: getattr(self, name) for name in ("folds", "loss", "model", "width")}
        extra = {
            name: getattr(self, name)
            for name in ("epochs", "batch_size", "lr", "device", "precision")
            if getattr(self, name) is not None
        }
        out = self.out or default_out(read_subject(self.data, **about), how | extra, self.probs)
        keep_freed_memory()
        limit_threads()
        try:
            with TerminalReporter(self.folds * (self.epochs or recipe_epochs())) as reporter:
                found = audit_labels(
                    self.data, out=out, probs=self.probs, reporter=reporter, **about, **how, **extra
                )
        except Interrupted as stopped:
            print(f"noisylabels: {stopped}; the same command resumes from there", file=sys.stderr)
            return 128 + stopped.signal
        except TrainingDiverged as error:
            print(f"noisylabels: {error}", file=sys.stderr)
            return 1
        print(summary(found, out))
        return 0


LOWEST, PAIRS = 10, 5
"""Most labels of lowest quality, and most class pairs, in the summary."""


def summary(found: Audit, out: Path) -> str:
    """Return a summary of an audit that fits on a screen."""
    from noisylabels.audit.page import lead, next_steps, warning

    about = found.summary
    duplicates = about["duplicates"]
    lines = [f"{found.name}: {lead(found)[:1].lower()}{lead(found)[1:]}"]
    if text := warning(found):
        lines.append(f"  warning: {text}")
    if known := about["known"]:
        scores = [f"noise rate {_percent(known['rate'])}"]
        scores += [
            f"{words} {_percent(known[name])}"
            for name, words in (
                ("average_precision", "average precision"),
                ("precision", "precision"),
                ("recall", "recall"),
                ("suggestions", "correct suggestions"),
            )
            if known[name] is not None
        ]
        lines.append(f"  measured on true labels: {', '.join(scores)}")
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
