"""Corrected labels in the form in which the data came; each writer puts something new beside them."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.review.current import Exported, by_id, check_seen, shown
from noisylabels.core.checks import InputError
from noisylabels.core.files import check_target, read_text, replacing

if TYPE_CHECKING:
    from noisylabels.audit.review.session import Session
    from noisylabels.data.reading import Plan


# A table of paths -----------------------------------------------------------------------------------------


def _write_table(session: Session, plan: Plan, target: Path) -> Exported:
    """Write the table anew; a row whose label stays is written as it was, to the letter."""
    from noisylabels.data.table import LABEL_COLUMNS, PATH_COLUMNS

    source = plan.root
    check_target(target, (source.suffix.lower(),), "table")
    done = Exported(target)
    labels = by_id(session, done)
    number = {name: str(k) for k, name in enumerate(session.audit.class_names)}
    text = read_text(source)
    mark = "\ufeff" if source.read_bytes()[:3] == b"\xef\xbb\xbf" else ""
    lines = io.StringIO(text, newline="").readlines()
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    delimiter = _delimiter(source, lines)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    path = label = -1
    written, seen, at = [mark], set(), 0
    for row in reader:
        raw, at = "".join(lines[at : reader.line_num]), reader.line_num
        cells = [cell.strip() for cell in row]
        if path < 0 and any(cells):
            lower = [cell.lower() for cell in cells]
            path, label = (
                next(lower.index(name) for name in known if name in lower)
                for known in (PATH_COLUMNS, LABEL_COLUMNS)
            )
        elif any(cells):
            name = shown(cells[path].removeprefix("../"))
            if name in labels:
                seen.add(name)
                wanted = labels[name]
                if wanted is None:
                    continue
                if wanted not in (cells[label], number.get(cells[label])) and not _same_number(
                    wanted, cells[label]
                ):
                    row[label] = wanted
                    buffer = io.StringIO()
                    csv.writer(buffer, delimiter=delimiter, lineterminator=ending).writerow(row)
                    raw = buffer.getvalue()
        written.append(raw)
    check_seen(session, labels, seen, source)
    if target.resolve().parent != source.resolve().parent:
        done.notes.append(f"its paths are relative to {source.parent}; put it there to train on it")
    with replacing(target) as temporary:
        temporary.write_bytes("".join(written).encode("utf-8"))
    return done


def _delimiter(source: Path, lines: Collection[str]) -> str:
    """Return what parts the cells, as `read_cells` finds it."""
    first = next((line for line in lines if line.strip()), "")
    if source.suffix.lower() == ".tsv":
        return "\t"
    return next((mark for mark in ",;\t" if mark in first), ",")


def _same_number(name: str, cell: str) -> bool:
    """Return whether a cell such as 3.0 stands for the class 3."""
    with contextlib.suppress(ValueError):
        return name.isdecimal() and float(cell) == int(name)
    return False


# A folder with a folder a class ---------------------------------------------------------------------------


def _write_folder(session: Session, plan: Plan, target: Path) -> Exported:
    """Write the tree anew, of links to the images' contents where the disk has such, else of copies."""
    from noisylabels.data.files import folders_in, names_below
    from noisylabels.data.own import parts_of

    source, done = plan.root, Exported(target)
    labels = by_id(session, done)
    parts, _ = parts_of(source)
    depth = 0 if parts == [source] else 1  # of the class in cat/1.jpg and in train/cat/1.jpg
    folders = {(part / name).relative_to(source).as_posix() for part in parts for name in folders_in(part)}
    classes = {shown(name): name for part in parts for name in folders_in(part)}
    names = list(names_below(source))
    check_seen(session, labels, {shown(name) for name in names}, source)
    moves: dict[str, str] = {}
    moving: list[tuple[str, str]] = []
    for name in names:
        above = name.split("/")[:-1]
        label = labels.get(shown(name), "") if len(above) > depth else ""
        if label == "" or (label is not None and classes.get(label, label) == above[depth]):
            moves[name] = name  # it stays, or is none of the audit's
        elif label is not None:
            moving.append((name, classes.get(label, label)))
    taken = set(moves)
    for name, label in moving:
        parts_of_name = name.split("/")
        wanted = "/".join([*parts_of_name[:depth], label, *parts_of_name[depth + 1 :]])
        moves[name] = wanted if wanted not in taken else _free(wanted, parts_of_name[depth], taken)
        taken.add(moves[name])
    if renamed := sum(new.rpartition("/")[2] != old.rpartition("/")[2] for old, new in moves.items()):
        done.notes.append(f"{renamed:,} images got another name: their new class had one of that name")
    with _new_folder(target) as made:
        for folder in sorted(folders):  # an empty folder is a class too
            made.joinpath(folder).mkdir(parents=True, exist_ok=True)
        for old, new in moves.items():
            made.joinpath(new).parent.mkdir(parents=True, exist_ok=True)
            _link(source / old, made / new)
    return done


def _free(wanted: str, before: str, taken: set[str]) -> str:
    """Return a name that is not taken: that of the class it comes from is put behind it, or a number."""
    stem, suffix = os.path.splitext(wanted)
    found, number = f"{stem}-from-{before}{suffix}", 2
    while found in taken:
        found, number = f"{stem}-from-{before}-{number}{suffix}", number + 1
    return found


def _link(source: Path, target: Path) -> None:
    """Make `target` of what is in `source`, without its bytes twice where that can be."""
    if not source.is_symlink():
        with contextlib.suppress(OSError):  # another disk, or one without links
            os.link(source, target)
            return
    shutil.copy2(source, target)


@contextlib.contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` to fill; when the block ends well it gets that name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        yield made
        made.rename(target)


# Parquet --------------------------------------------------------------------------------------------------


def _write_parquet(session: Session, plan: Plan, target: Path) -> Exported:
    """Write the files anew, a row group at a time, with other numbers in the column of labels."""
    from noisylabels.data.parquet import Layout, parquet_files, split_name

    done = Exported(target)
    labels = by_id(session, done)
    number = {name: k for k, name in enumerate(session.audit.class_names)}
    files = parquet_files(plan.root)
    used = list(plan.files.values())
    column = Layout.of(used[0], []).label
    seen: set[str] = set()
    starts: dict[str, int] = {}

    def rewrite(file: Path, to: Path) -> None:
        split = split_name(file)
        names = _rewrite(file, to, column, f"{split}:", starts.get(split, 0), labels, number)
        starts[split] = starts.get(split, 0) + len(names)
        seen.update(names)

    if plan.root.is_file():
        check_target(target, (".parquet",), "Parquet file")
        with replacing(target) as temporary:
            rewrite(plan.root, temporary)
            check_seen(session, labels, seen, plan.root)
        return done
    with _new_folder(target) as made:
        for file in files:
            to = made / file.relative_to(plan.root)
            to.parent.mkdir(parents=True, exist_ok=True)
            if file in used:
                rewrite(file, to)
            else:
                _link(file, to)
        check_seen(session, labels, seen, plan.root)
    return done


def _rewrite(
    file: Path,
    to: Path,
    column: str,
    prefix: str,
    start: int,
    labels: dict[str, str | None],
    number: dict[str, int],
) -> list[str]:
    """Write a file with corrected labels and return the ids of its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names: list[str] = []
    try:
        with pq.ParquetFile(file) as parquet:
            schema, meta = parquet.schema_arrow, parquet.metadata
            codec = meta.row_group(0).column(0).compression if meta.num_row_groups else "SNAPPY"
            place = schema.get_field_index(column)
            with pq.ParquetWriter(
                to, schema, compression="NONE" if codec == "UNCOMPRESSED" else codec
            ) as writer:
                for group in range(meta.num_row_groups):
                    rows = parquet.read_row_group(group)
                    of_group = [f"{prefix}{start + len(names) + row}" for row in range(len(rows))]
                    names += of_group
                    values = rows.column(place).to_numpy().copy()
                    kept = np.ones(len(rows), dtype=bool)
                    for row, name in enumerate(of_group):
                        if name in labels and (label := labels[name]) is None:
                            kept[row] = False
                        elif name in labels:
                            values[row] = number[str(label)]
                    rows = rows.set_column(
                        place, schema.field(place), pa.array(values, schema.field(place).type)
                    )
                    writer.write_table(rows if kept.all() else rows.filter(pa.array(kept)))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be rewritten ({str(error).splitlines()[0]})") from None
    return names


# NumPy's archives -----------------------------------------------------------------------------------------


def _write_archive(session: Session, plan: Plan, target: Path) -> Exported:
    """Write the archive anew with corrected arrays of labels."""
    check_target(target, (".npz",), "archive")
    done = Exported(target)
    labels = by_id(session, done)
    number = {name: k for k, name in enumerate(session.audit.class_names)}
    parts_of_ids = {name.partition(":")[0] for name in session.audit.ids}
    prefixes = ["train", *sorted(parts_of_ids - {"train"})]  # there are no more than these two
    names: Any = plan.options["arrays"]
    parts = list(
        zip(names[0::2], names[1::2], strict=False)
    )  # class_names, if there, stands alone at the end
    with np.load(plan.root, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    seen = set()
    for prefix, (images, of_part) in zip(prefixes, parts, strict=False):
        values = arrays[of_part].copy()
        kept = np.ones(len(values), dtype=bool)
        for row in range(len(values)):
            name = f"{prefix}:{row}"
            if name not in labels:
                continue
            seen.add(name)
            if (label := labels[name]) is None:
                kept[row] = False
            else:
                values[row] = number[label]
        arrays[of_part] = values[kept]
        if not kept.all():
            arrays[images] = arrays[images][kept]
    check_seen(session, labels, seen, plan.root)
    with zipfile.ZipFile(plan.root) as archive_file:
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive_file.infolist())
    with replacing(target) as temporary, temporary.open("wb") as file:
        (np.savez_compressed if packed else np.savez)(file, **arrays)
    return done


WRITERS: dict[str, Callable[[Session, Plan, Path], Exported]] = {
    "folders": _write_folder,
    "table": _write_table,
    "parquet": _write_parquet,
    "arrays": _write_archive,
}
