"""``noisylabels audit``: how noisy labels are, which are probably wrong, and a page to see them."""

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
    """Say how noisy labels are, which are probably wrong, and what they should be.

    Models are trained on all folds but one and judge the one that they have not seen. The audit is a folder:
    ranked labels as CSV, Parquet and JSON, and a page of the most doubtful pictures. The same command goes
    on where a stopped one left off, and shows the result of a finished one.

    noisylabels audit photos/

    noisylabels audit photos/ --probs probs.csv --out audits/photos

    noisylabels audit digits --noise symmetric:0.2
    """

    data: Annotated[str, tyro.conf.Positional]
    """a name of `noisylabels list data`, or a path in one of the forms of `noisylabels list formats`, such
    as a folder with a folder a class"""
    out: Path | None = None
    """folder of the audit (default: audits/ and a name made of the data)"""
    probs: Path | None = None
    """probabilities of your own model, out of fold: .npy (N, K), or .csv, .tsv, .parquet with a column a
    class and perhaps id; then nothing is trained"""
    noise: str = "none"
    """noise to add to a clean set first, to see how well it is found"""
    part: Literal["all", "train"] = "all"
    """what to audit: all of it, or the training part alone"""
    labels: Path | None = None
    """corrected labels (.csv or .parquet of id,label) to audit in place of those of the data"""
    folds: int = 4
    """how many models are trained"""
    epochs: int | None = None
    """of each (default: those of an audit's recipe)"""
    loss: str = "auto"
    """auto, or a loss as of `noisylabels train`; a robust one"""
    model: str = "auto"
    """as of `noisylabels train`"""
    width: float | None = None
    """factor of the model's layer widths"""
    batch_size: int | None = None
    """images a step"""
    lr: float | None = None
    """learning rate at the start"""
    seed: int = 0
    """of folds, weights, order, augmentation and noise"""
    image_size: int | None = None
    """side in pixels to bring images to; needed only if they differ in size or are large"""
    bad_images: str = "fail"
    """what to do with images that cannot be read: fail, or skip"""
    label_column: str | None = None
    """column of the labels in a table or in Parquet (default: the one called label, class, target or y)"""
    data_root: str | None = None
    """folder that holds the named data set, or to which the path is relative"""
    download: bool = False
    """get the named data set if it is not there"""
    device: str = "auto"
    """auto, cpu, cuda"""
    precision: str | None = None
    """float32, bfloat16 or float16"""

    def run(self) -> int:
        """Audit, with progress in a terminal, and print a summary."""
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
            print(f"noisylabels: {stopped}; the same command goes on from there", file=sys.stderr)
            return 128 + stopped.signal
        except TrainingDiverged as error:
            print(f"noisylabels: {error}", file=sys.stderr)
            return 1
        print(summary(found, out))
        return 0


DOUBTFUL, PAIRS = 10, 5


def summary(found: Audit, out: Path) -> str:
    """Return what a person wants to know of an audit, a screenful."""
    from noisylabels.audit.page import lead, next_steps, warning

    about = found.summary
    copies = about["duplicates"]
    lines = [f"{found.name}: {lead(found)[:1].lower()}{lead(found)[1:]}"]
    if doubt := warning(found):
        lines.append(f"  warning: {doubt}")
    if known := about["known"]:
        scores = [f"truly wrong {_percent(known['rate'])}"]
        scores += [
            f"{words} {_percent(known[name])}"
            for name, words in (
                ("average_precision", "average precision"),
                ("precision", "precision of the flagged"),
                ("recall", "found of the wrong"),
                ("suggestions", "right suggestions"),
            )
            if known[name] is not None
        ]
        lines.append(f"  the truth is known here: {', '.join(scores)}")
    if about["pairs"]:
        lines.append("  most frequent among the flagged (labeled -> looks like):")
        shown = about["pairs"][:PAIRS]
        names = [f"{_cut(pair['given'], 24)} -> {_cut(pair['suggested'], 24)}" for pair in shown]
        wide = max(map(len, names))
        for words, pair in zip(names, shown, strict=True):
            share = f"{_percent(pair['share'])} of all labeled {_cut(pair['given'], 24)}"
            lines.append(f"    {words:{wide}}  {pair['count']:>6,}  {share}")
    if copies["groups"]:
        count = len(copies["conflicts"])
        differ = f", in {count} of them labeled differently" if count else ", always labeled the same"
        groups = "1 group" if copies["groups"] == 1 else f"{copies['groups']:,} groups"
        lines.append(f"  there more than once: {groups} of examples{differ}")
    rows = list(found.rows(DOUBTFUL))
    if rows:
        lines.append("  the most doubtful (score: 0 probably wrong, 1 probably right):")
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
    """Return text on one line, its end cut off if it is long; the end of a file's name tells the most."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= most else f"{text[: most // 2 - 1]}...{text[-(most - most // 2 - 2) :]}"
