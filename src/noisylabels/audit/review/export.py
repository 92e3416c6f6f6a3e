"""Export corrected labels as a table of ids, or in the format of the data; the data stay unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from noisylabels.audit.audited_data import check_rows
from noisylabels.audit.review.current import Exported, current
from noisylabels.core.checks import InputError
from noisylabels.core.columnar import write_parquet
from noisylabels.core.delimited import SUFFIXES, CellWriter
from noisylabels.core.files import atomic_replace, check_target, real_path
from noisylabels.core.tables import TABLES

if TYPE_CHECKING:
    from noisylabels.audit.review.session import Session

FORMS = ("auto", "labels", "input")


def export(
    session: Session,
    target: Path,
    form: str = "auto",
    overwrite: bool = False,
    escape_formulas: bool = False,
) -> Exported:
    """Write the current labels of a review.

    Args:
        session: the review.
        target: file or folder to write.
        form: "labels": a .csv, .tsv or .parquet with the columns id and label, one row per example of the
            audited set, with an empty label for discarded examples. "input": the format of the data with
            corrected labels and without discarded examples: a folder as a new folder, a table as a table,
            Parquet as Parquet, .npz as .npz. "auto": "labels" if the name ends in .csv, .tsv or .parquet,
            otherwise "input".
        overwrite: replace an existing file. Folders and the audited data are never overwritten.
        escape_formulas: for "labels" in .csv or .tsv: write cells so that a spreadsheet runs no formula, see
            `core.delimited.without_formula`.

    Raises:
        InputError: the target exists, is or lies in the data, or the form does not fit the data.
    """
    table = target.suffix.lower() in TABLES
    form = ("labels" if table else "input") if form == "auto" else form
    data = session.audit.summary.get("data")
    source = Path(data) if data and Path(data).exists() else None
    _check_free(target, source, overwrite)
    if escape_formulas and (form != "labels" or target.suffix.lower() not in SUFFIXES):
        raise InputError(
            "--escape-formulas is for labels in a .csv or .tsv; leave it out, or name such a file without "
            "--form input"
        )
    check_rows(session.audit)
    if form == "labels":
        check_target(target, TABLES, "file of labels")
        return _noted(session, _write_labels(session, target, escape_formulas))
    if source is None:
        raise InputError(
            f"the audited data are {data or 'arrays'}, which cannot be written as files; choose a name that "
            "ends in .csv or .parquet to write a table of ids and labels"
        )
    from noisylabels.audit.review.forms import Source, writer_for
    from noisylabels.data.formats import plan_path
    from noisylabels.data.reader import Options, Plan
    from noisylabels.data.shards import ShardPlan

    summary = session.audit.summary
    column, key = summary.get("label_column"), summary.get("id_column")
    options = Options(
        summary.get("image_size"), summary.get("bad_images") or "fail", label_column=column, id_column=key
    )
    plan = plan_path(source, options)
    reader = "shards" if isinstance(plan, ShardPlan) else "features"
    if isinstance(plan, Plan):
        reader = str(plan.options.get("reader", ""))
    write = writer_for(reader, plan.root)
    if write is None:
        raise InputError(
            f"{source} has a format that cannot be written; use --form labels with a name that ends in .csv "
            "or .parquet"
        )
    return _noted(session, write(session, Source(plan.root, reader == "features", column, key), target))


def _noted(session: Session, done: Exported) -> Exported:
    noise = session.audit.summary.get("noise") or "none"
    if noise != "none":
        done.notes.append(f"the audit added the noise {noise!r}; labels without a decision still contain it")
    return done


def write_rows(
    session: Session, text: TextIO, delimiter: str = ",", escape_formulas: bool = False
) -> Exported:
    """Write the columns id and label as CSV; see `export`."""
    done = Exported(Path())
    writer = CellWriter(text, delimiter, escape_formulas=escape_formulas)
    writer.row(["id", "label"])
    for name, label in current(session, done):
        writer.row([name, label or ""])
    return done


def _write_labels(session: Session, target: Path, escape_formulas: bool) -> Exported:
    if target.suffix.lower() in SUFFIXES:
        delimiter = "\t" if target.suffix.lower() == ".tsv" else ","
        with atomic_replace(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as text:
            done = write_rows(session, text, delimiter, escape_formulas)
    else:
        import pyarrow as pa

        done = Exported(target)
        rows = list(current(session, done))
        columns = {"id": [name for name, _ in rows], "label": [label for _, label in rows]}
        write_parquet(target, pa.table(columns, schema=pa.schema({name: pa.string() for name in columns})))
    done.path = target
    return done


def _check_free(target: Path, source: Path | None, overwrite: bool) -> None:
    if source is not None:
        whole, data = real_path(target), real_path(source)
        if whole == data:
            raise InputError(f"{target} is the audited data, which is never changed; choose another target")
        if source.is_dir() and whole.is_relative_to(data):
            raise InputError(
                f"{target} lies within the audited data, which is never changed; choose one outside {source}"
            )
    if target.is_dir():
        raise InputError(f"{target} already exists; folders are not overwritten, choose another")
    if target.exists() and not overwrite:
        raise InputError(f"{target} already exists; choose another, or replace it with --overwrite")
