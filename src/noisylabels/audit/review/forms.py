"""Write a copy of the audited data, in their own format, with corrected labels."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.review.current import Exported, Wanted, says
from noisylabels.core.checks import InputError
from noisylabels.core.columnar import CHECKED, array_names, open_parquet, read_array
from noisylabels.core.delimited import SUFFIXES as TABLES
from noisylabels.core.delimited import CellWriter, csv_reader, delimiter_of
from noisylabels.core.files import (
    atomic_folder,
    atomic_replace,
    check_name,
    check_target,
    link_or_copy,
    make_folder,
    read_text,
    real_path,
)
from noisylabels.core.opening import open_file
from noisylabels.core.tables import role_columns
from noisylabels.core.written_names import plain_name

if TYPE_CHECKING:
    from noisylabels.audit.review.session import Session


@dataclass(frozen=True)
class Source:
    """The audited data: their path, whether they are rows of features, and the columns that a user named."""

    root: Path
    features: bool = False
    label_column: str | None = None
    id_column: str | None = None


Writer = Callable[["Session", Source, Path], Exported]


def writer_for(reader: str, root: Path) -> Writer | None:
    """Return the writer for the format of a reader in `noisylabels.data`; None if there is none."""
    from noisylabels.data.parquet import parquet_files

    if reader == "folders":
        return _write_folder
    if reader in ("table", "features") and root.suffix.lower() in TABLES:
        return _write_table
    if reader in ("parquet", "features") and parquet_files(root):
        return _write_parquet
    if reader in ("arrays", "features") and root.suffix.lower() == ".npz":
        return _write_archive
    return None


# A table of paths -----------------------------------------------------------------------------------------


def _write_table(session: Session, source: Source, target: Path) -> Exported:
    """Write a copy of the table; rows whose label stays are copied byte for byte."""
    check_target(target, (source.root.suffix.lower(),), "table")
    done = Exported(target)
    wanted, classes = Wanted(session, done), set(session.audit.class_names)
    text = read_text(source.root)
    with open_file(source.root) as opened:
        mark = "\ufeff" if opened.read(3) == b"\xef\xbb\xbf" else ""
    lines = io.StringIO(text, newline="").readlines()
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    delimiter = delimiter_of(source.root, lines)
    reader = csv_reader(lines, delimiter)
    columns: tuple[int | None, int] | None = None
    ids = iter(_ids_of_lines(source, lines, delimiter))
    written, at = [mark], 0
    for row in reader:
        raw, at = "".join(lines[at : reader.line_num]), reader.line_num
        cells = [cell.strip() for cell in row]
        if columns is None and any(cells):
            columns = _columns(cells, source)
        elif columns is not None and any(cells):
            place, name = columns[1], next(ids)
            if wanted.find(name, cells[place]):
                if (label := wanted.labels[name]) is None:
                    continue
                if not says(cells[place], label, classes):
                    row[place] = label
                    buffer = io.StringIO()
                    CellWriter(buffer, delimiter, ending).row(row)
                    raw = buffer.getvalue()
        written.append(raw)
    wanted.check(source.root)
    if not source.features and real_path(target).parent != real_path(source.root).parent:
        done.notes.append(f"its paths are relative to {source.root.parent}; move it there to train on it")
    with atomic_replace(target) as temporary:
        temporary.write_bytes("".join(written).encode("utf-8"))
    return done


def _ids_of_lines(source: Source, lines: list[str], delimiter: str) -> list[str]:
    """Return the id of each row, which is numbered where an earlier row has the same."""
    from noisylabels.data.names import path_ids, unique_names

    reader = csv_reader(lines, delimiter)
    rows = [cells for row in reader if any(cells := [cell.strip() for cell in row])]
    key = _columns(rows[0], source)[0]
    if key is None:
        return [f"row:{number}" for number in range(len(rows) - 1)]
    plain = source.features or source.id_column is not None
    names, _ = (unique_names if plain else path_ids)(cells[key] for cells in rows[1:])
    return [plain_name(name) for name in names]


def _columns(heading: list[str], source: Source) -> tuple[int | None, int]:
    """Return the column positions of a table's ids, or None, and of its labels."""
    from noisylabels.data.feature_rows import id_place

    if source.label_column in heading:
        label = heading.index(source.label_column)
    else:
        label = role_columns(heading, "label", "features" if source.features else "")[0]
    if source.id_column in heading:
        return heading.index(source.id_column), label
    return id_place(heading) if source.features else role_columns(heading, "path")[0], label


# A folder with one folder per class -----------------------------------------------------------------------


def _write_folder(session: Session, source: Source, target: Path) -> Exported:
    """Write a copy of the folder tree, with hard links to the images where the disk supports them."""
    from noisylabels.data.file_sources import folders_in, names_below
    from noisylabels.data.user_data import parts_of

    root, done = source.root, Exported(target)
    found = Wanted(session, done)
    parts, _ = parts_of(root)
    depth = 0 if parts == [root] else 1  # of the class in cat/1.jpg and in train/cat/1.jpg
    folders = {(part / name).relative_to(root).as_posix() for part in parts for name in folders_in(part)}
    classes = {plain_name(name): name for part in parts for name in folders_in(part)}
    names = list(names_below(root))
    for name in names:
        found.find(plain_name(name))
    found.check(root)
    moves: dict[str, str] = {}
    moving: list[tuple[str, str]] = []
    for name in names:
        above = name.split("/")[:-1]
        label = found.labels.get(plain_name(name), "") if len(above) > depth else ""
        if label == "" or (label is not None and classes.get(label, label) == above[depth]):
            moves[name] = name  # the label stays, or the audit did not include the image
        elif label is not None:
            moving.append((name, check_name(classes.get(label, label), "class")))
    taken = set(moves)
    for name, label in moving:
        parts_of_name = name.split("/")
        wanted = "/".join([*parts_of_name[:depth], label, *parts_of_name[depth + 1 :]])
        moves[name] = wanted if wanted not in taken else _free(wanted, parts_of_name[depth], taken)
        taken.add(moves[name])
    if renamed := sum(new.rpartition("/")[2] != old.rpartition("/")[2] for old, new in moves.items()):
        done.notes.append(
            f"{renamed:,} images were renamed: their new class already had an image of that name"
        )
    others = [name for name in _other_files(root, names) if name not in taken]
    if others:
        done.notes.append(
            f"{len(others):,} other files are copied as they are, first {plain_name(others[0])}"
        )
    moves |= {name: name for name in others}
    with atomic_folder(target) as made:
        for folder in sorted(folders):  # an empty folder is a class too
            make_folder(made / folder, made)
        for old, new in moves.items():
            make_folder((made / new).parent, made)
            link_or_copy(root / old, made / new)
    return done


def _other_files(root: Path, images: Collection[str]) -> list[str]:
    """Return the files below a folder that are no readable images, without hidden and special ones."""
    known, found = set(images), []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            relative = path.relative_to(root).as_posix()
            if relative not in known and not name.startswith(".") and path.is_file():
                found.append(relative)
    return found


def _free(wanted: str, before: str, taken: set[str]) -> str:
    """Return a free name: the wanted one with its previous class appended, and a number if needed."""
    stem, suffix = os.path.splitext(wanted)
    found, number = f"{stem}-from-{before}{suffix}", 2
    while found in taken:
        found, number = f"{stem}-from-{before}-{number}{suffix}", number + 1
    return found


# Parquet --------------------------------------------------------------------------------------------------


def _write_parquet(session: Session, source: Source, target: Path) -> Exported:
    """Write copies of the files, one row group at a time, with a corrected label column."""
    from noisylabels.data.parquet import choose_parts, parquet_files

    done = Exported(target)
    wanted, root = Wanted(session, done), source.root
    parts = choose_parts(root, [])
    column, key = _parquet_columns(parts[0][1][0], source)
    used: dict[Path, str] = {}
    for name, files in parts:
        prefix = "row" if source.features and len(parts) == 1 else name
        used |= dict.fromkeys(files, prefix)
    starts = dict.fromkeys(used.values(), 0)
    ids = {} if key is None else _ids_of_files(list(used), key)

    def rewrite(file: Path, to: Path) -> None:
        prefix = used[file]
        starts[prefix] += _rewrite(file, to, column, ids.get(file), (prefix, starts[prefix]), wanted)

    if root.is_file():
        check_target(target, (".parquet",), "Parquet file")
        with atomic_replace(target) as temporary:
            rewrite(root, temporary)
            wanted.check(root)
        return done
    with atomic_folder(target) as made:
        for file in parquet_files(root):
            to = made / file.relative_to(root)
            make_folder(to.parent, made)
            if file in used:
                rewrite(file, to)
            else:
                link_or_copy(file, to)
        wanted.check(root)
    return done


def _parquet_columns(file: Path, source: Source) -> tuple[str, str | None]:
    """Return the name of the label column and, for rows of features, of the id column, or None."""
    from noisylabels.data.feature_rows import id_place
    from noisylabels.data.parquet import Layout, class_label_names

    if not source.features:
        return Layout.of(file, [], source.label_column).label, source.id_column
    with open_parquet(file) as parquet:
        schema = parquet.schema_arrow
    key, label = (
        _columns(schema.names, source)
        if source.label_column or not class_label_names(schema)
        else (
            schema.names.index(source.id_column) if source.id_column else id_place(schema.names),
            schema.names.index(next(iter(class_label_names(schema)))),
        )
    )
    return schema.names[label], None if key is None else schema.names[key]


def _ids_of_files(files: Sequence[Path], key: str) -> dict[Path, list[str]]:
    """Return the ids of each file's rows, which are numbered where an earlier row has the same."""
    from noisylabels.data.names import unique_names
    from noisylabels.data.parquet import ids_in

    columns = [ids_in(file, key) for file in files]
    names = iter(unique_names(name for column in columns for name in column)[0])
    return {file: [next(names) for _ in column] for file, column in zip(files, columns, strict=True)}


def _rewrite(
    file: Path,
    to: Path,
    column: str,
    ids: Sequence[str] | None,
    numbered: tuple[str, int],
    wanted: Wanted,
) -> int:
    """Write a file with corrected labels and return the number of its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from noisylabels.data.parquet import class_label_names

    done = 0
    with open_parquet(file) as parquet:
        schema, meta = parquet.schema_arrow, parquet.metadata
        codec = meta.row_group(0).column(0).compression if meta.num_row_groups else "SNAPPY"
        codec = "NONE" if codec == "UNCOMPRESSED" else codec
        place = schema.get_field_index(column)
        kind = schema.field(place).type
        words = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
        named = class_label_names(schema).get(column, ())
        value_of = _values(words, pa.types.is_boolean(kind), named)
        with pq.ParquetWriter(to, schema, compression=codec, **CHECKED) as writer:
            for group in range(meta.num_row_groups):
                rows = parquet.read_row_group(group)
                first = numbered[1] + done
                if ids is None:
                    of_group = [f"{numbered[0]}:{row}" for row in range(first, first + len(rows))]
                else:
                    of_group = list(ids[done : done + len(rows)])
                done += len(rows)
                values = rows.column(place).to_pylist()
                kept = np.ones(len(rows), dtype=bool)
                for row, name in enumerate(of_group):
                    if not wanted.find(name, _cell(values[row], named)):
                        continue
                    if (label := wanted.labels[name]) is None:
                        kept[row] = False
                    else:
                        values[row] = value_of(label)
                rows = rows.set_column(place, schema.field(place), pa.array(values, kind))
                writer.write_table(rows if kept.all() else rows.filter(pa.array(kept)))
    return done


def _values(words: bool, truth: bool, named: Sequence[str]) -> Callable[[str], Any]:
    """Return a function from a class name to its value in the data."""
    if named:
        return {name: k for k, name in enumerate(named)}.__getitem__
    if truth:
        return lambda label: label.lower() == "true"
    return str if words else _integer


def _cell(value: Any, named: Sequence[str]) -> str:
    """Return a label of the data as a cell of a table; None is an empty one."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if named and isinstance(value, int) and 0 <= value < len(named):
        return named[value]
    return "" if value is None else str(value)


def _integer(label: str) -> int:
    return int(float(label)) if "." in label else int(label)  # floats would change a number of 17 digits


# NumPy's archives -----------------------------------------------------------------------------------------


def _write_archive(session: Session, source: Source, target: Path) -> Exported:
    """Write a copy of the archive with corrected label arrays."""
    from noisylabels.data.arrays import choose_arrays, ids_of

    check_target(target, (".npz",), "archive")
    done = Exported(target)
    wanted, root = Wanted(session, done), source.root
    chosen = choose_arrays(root)
    arrays, unread = dict[str, Any](), list[str]()
    for name in array_names(root):
        try:
            arrays[name] = read_array(root, name)
        except InputError:  # such as an array of Python objects, which the audit did not read either
            if name in chosen.used:
                raise
            unread.append(name)
    named = [str(name) for name in arrays[chosen.class_names]] if chosen.class_names else []
    counts = [len(arrays[part.labels]) for part in chosen.parts]
    alone = "row" if source.features else chosen.parts[0].name
    ids = iter(plain_name(name) for name in ids_of(chosen, root, counts, alone, []))
    kept_of = dict[str, np.ndarray]()  # part -> the rows that stay
    for part in chosen.parts:
        found = arrays[part.labels]
        words = found.dtype.kind in "US"
        of_classes = () if words else named
        value_of = _values(words, found.dtype.kind == "b", of_classes)
        values = found.astype(object)
        kept = np.ones(len(values), dtype=bool)
        for row, name in zip(range(len(values)), ids, strict=False):
            if not wanted.find(name, _cell(found[row].item(), of_classes)):
                continue
            if (label := wanted.labels[name]) is None:
                kept[row] = False
            else:
                value = value_of(label)
                values[row] = value.encode() if found.dtype.kind == "S" else value
        # the width of the text must fit new labels too
        arrays[part.labels] = values[kept].astype(found.dtype.kind if words else found.dtype)
        kept_of[part.name] = kept
        arrays[part.images] = arrays[part.images][kept]
    others = {name: arrays[name] for name in arrays if name not in chosen.used or name in chosen.ids}
    arrays |= _without_rows(others, kept_of, done)
    wanted.check(root)
    if unread:
        done.notes.append(f"arrays that are not read are copied as they are: {', '.join(unread)}")
    with (
        open_file(root) as opened,
        zipfile.ZipFile(opened) as before,
        atomic_replace(target) as temporary,
        temporary.open("wb") as made,
        zipfile.ZipFile(made, "w") as archive,
    ):
        for entry in before.infolist():  # np.savez would refuse an array called "file"
            name = entry.filename.removesuffix(".npy")
            if name in unread:
                archive.writestr(entry, before.read(entry))
            elif name in arrays:
                with archive.open(_new_entry(entry), "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, arrays[name], allow_pickle=False)
    return done


def _new_entry(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return the head of a file in an archive in place of another: of its name, compressed if that was."""
    made = zipfile.ZipInfo(entry.filename)
    made.compress_type = entry.compress_type
    return made


def _without_rows(
    arrays: dict[str, np.ndarray], kept_of: dict[str, np.ndarray], done: Exported
) -> dict[str, np.ndarray]:
    """Return arrays without the discarded rows if they have one value per example; a note names the others.

    Args:
        arrays: arrays that are neither the images nor the labels of a part.
        kept_of: part -> which of its rows stay, bool (n,).
        done: receives the note.
    """
    from noisylabels.data.splits import split_of

    if all(kept.all() for kept in kept_of.values()):
        return {}
    made, whole = {}, []
    for name, values in arrays.items():
        words = re.split("[-_. ]+", name.lower())
        named = split_of(words[0]) or split_of(words[-1])
        fit = [
            kept
            for part, kept in kept_of.items()
            if values.shape[:1] == kept.shape and named in (None, split_of(part))
        ]
        if len(fit) == 1:
            made[name] = values[fit[0]]
        else:
            whole.append(name)
    if whole:
        done.notes.append(f"arrays without one value per example of a part are unchanged: {', '.join(whole)}")
    return made
